//! What is uploaded for a step, and where it lies: one buffer, one write.
//!
//! ```text
//! 0      Header            uniform: n_rows, n_outputs, n_best
//! 256    RowEntry × rows   storage
//! …      u32 × outputs     storage, at the next multiple of 256
//! …      u32 × pages       storage, at the next multiple of 256: the page tables of the sequences, one after the other
//! ```

use bytemuck::{Pod, Zeroable, bytes_of, cast_slice};

use crate::plan::{RowInput, Step, Want};

/// Where bindings may begin, at WebGPU's default limits.
const ALIGN: usize = 256;

/// `struct Step` of common.wgsl.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Header {
    /// T.
    pub n_rows: u32,
    /// Rows that ask for outputs.
    pub n_outputs: u32,
    /// How many of the best logits are wanted.
    pub n_best: u32,
    /// Not used.
    pub unused: u32,
}

/// `struct Row` of common.wgsl.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct RowEntry {
    /// Token id, or index of an embedding row.
    pub input: u32,
    /// 0 for a token, 1 for an embedding row.
    pub kind: u32,
    /// Position in its sequence.
    pub position: u32,
    /// Where the page table of its sequence begins.
    pub pages: u32,
}

const _: () = assert!(size_of::<Header>() == 16 && size_of::<RowEntry>() == 16);

/// Places of the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Regions {
    /// Most rows of a step.
    max_rows: usize,
    /// Most outputs of a step.
    max_outputs: usize,
    /// Most pages of all sequences together.
    pub max_pages: usize,
}

impl Regions {
    /// For steps of so many rows, outputs and pages.
    pub fn new(max_rows: usize, max_outputs: usize, max_pages: usize) -> Self {
        Self { max_rows, max_outputs, max_pages }
    }

    /// Offset and length of the rows, bytes.
    pub fn rows(&self) -> (usize, usize) {
        (ALIGN, self.max_rows * size_of::<RowEntry>())
    }

    /// Offset and length of the outputs, bytes.
    pub fn outputs(&self) -> (usize, usize) {
        let (offset, len) = self.rows();
        ((offset + len).next_multiple_of(ALIGN), self.max_outputs.max(1) * 4)
    }

    /// Offset and length of the pages, bytes.
    pub fn pages(&self) -> (usize, usize) {
        let (offset, len) = self.outputs();
        ((offset + len).next_multiple_of(ALIGN), self.max_pages.max(1) * 4)
    }

    /// Length of everything, bytes.
    pub fn n_bytes(&self) -> usize {
        let (offset, len) = self.pages();
        offset + len
    }

    /// Writes a step that was checked against the plan. `bytes` keeps its room from call to call.
    pub fn write(&self, step: &Step<'_>, bytes: &mut Vec<u8>) {
        let n_pages: usize = step.sequences.iter().map(|s| s.len()).sum();
        bytes.clear();
        bytes.resize(self.pages().0 + 4 * n_pages.max(1), 0);
        let n_best = match step.want {
            Want::All => 0,
            Want::Best(n) => n as u32,
        };
        let header = Header { n_rows: step.rows.len() as u32, n_outputs: step.outputs.len() as u32, n_best, unused: 0 };
        put(bytes, 0, bytes_of(&header));
        let mut starts = vec![];
        let mut at = self.pages().0;
        for pages in step.sequences {
            starts.push(((at - self.pages().0) / 4) as u32);
            for page in *pages {
                put(bytes, at, bytes_of(&page.0));
                at += 4;
            }
        }
        for (i, row) in step.rows.iter().enumerate() {
            let (input, kind) = match row.input {
                RowInput::Token(token) => (token, 0),
                RowInput::Embedding(index) => (index, 1),
            };
            let pages = starts.get(row.sequence as usize).copied().unwrap_or_default();
            let entry = RowEntry { input, kind, position: row.position, pages };
            put(bytes, self.rows().0 + i * size_of::<RowEntry>(), bytes_of(&entry));
        }
        put(bytes, self.outputs().0, cast_slice(step.outputs));
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}
