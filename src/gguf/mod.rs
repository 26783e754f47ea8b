//! GGUF files: a push parser that is fed chunks and gives out the header, the metadata, the tensor directory and then
//! the bytes of each tensor in order; and what joins the headers of a model in several files. Layer 0: no I/O. Format: ggml's `docs/gguf.md`, versions 2 and 3, little-endian.

mod directory;
mod header;
pub mod limits;
mod magic;
mod parser;
mod parts;
mod reader;
mod types;
mod value;

pub use parser::{Event, Parser, Summary};
pub use parts::{MAX_PARTS, Part, Parts, refuse_part};
pub use types::GgmlType;
pub use value::{Array, Metadata, StringArray, Value};

use crate::quant::Format;

/// Everything before the tensor data.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// GGUF version, 2 or 3.
    pub version: u32,
    /// Key-value pairs.
    pub metadata: Metadata,
    /// The tensor directory, in file order (offsets ascend, no overlap, no hole beyond the alignment).
    pub tensors: Vec<TensorInfo>,
    /// Alignment of tensor data, bytes.
    pub alignment: u64,
    /// Where tensor data begins in the file, bytes.
    pub data_offset: u64,
    /// Where the last tensor ends in the file, bytes: the file must be at least this long.
    pub end_offset: u64,
    /// FNV-1a 64 of the header's bytes, of a model in several files of all headers: tells models apart.
    pub fingerprint: u64,
}

/// One entry of the tensor directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// GGUF name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// Shape, outermost first (the reverse of the file's `ne`), so a matrix is [N, K]: N rows of K weights.
    pub shape: Vec<usize>,
    /// Format of the data.
    pub format: Format,
    /// Where the data begins in the file, bytes.
    pub offset: u64,
    /// Length of the data, bytes.
    pub n_bytes: u64,
}

/// A key or a name out of a file as it may stand in a message: escaped, and not longer than a line.
fn quoted(name: &str) -> String {
    const MAX_CHARS: usize = 80;
    let mut out: String = name.chars().take(MAX_CHARS).flat_map(char::escape_debug).collect();
    if name.chars().nth(MAX_CHARS).is_some() {
        out.push('…');
    }
    out
}
