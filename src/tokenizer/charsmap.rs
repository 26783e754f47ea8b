//! SentencePiece's precompiled character map, `tokenizer.ggml.precompiled_charsmap`: what stands in a text, and what it becomes
//! (NFKC and more). Called by `unigram`.
//!
//! ```text
//! u32 n | n bytes: double array, u32 each          | strings, each ended by NUL
//!         bit 31 value: bits 0–30 where a string begins
//!         bits 0–7 the byte that leads here, bit 8 a value hangs below, bits 10–30 offset (bit 9: × 256)
//! ```
//!
//! A child of the node at `i` by byte `b` is at `i ^ offset ^ b`. The longest entry that the text begins with counts
//! (SentencePiece, llama.cpp; Hugging Face's takes the shortest of each user-perceived character and drops the rest of it). The
//! map comes from a file: an index beyond the array, or a string beyond the end or that is no UTF-8, is no entry.

use crate::error::{Error, Result, try_vec};
use crate::gguf::{Array, Metadata, Value};

const KEY: &str = "tokenizer.ggml.precompiled_charsmap";
/// The longest string that is accepted, bytes; the longest known has 33.
const MAX_STRING_BYTES: usize = 256;

/// A map of strings to strings.
#[derive(Debug, Clone)]
pub(super) struct Charsmap {
    nodes: Vec<u32>,
    strings: Vec<u8>,
}

impl Charsmap {
    /// The map of a file, if it has one.
    pub(super) fn from_metadata(metadata: &Metadata) -> Result<Option<Self>> {
        match metadata.get(KEY) {
            None => Ok(None),
            Some(Value::Array(Array::U8(bytes))) => Self::read(bytes),
            Some(Value::Array(Array::I8(bytes))) => Self::read(bytemuck::cast_slice(bytes)),
            Some(_) => Err(Error::file(format!("{KEY} is no array of bytes"))),
        }
    }

    fn read(bytes: &[u8]) -> Result<Option<Self>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let short = || Error::file(format!("{KEY} has {} bytes, fewer than its header says", bytes.len()));
        let (n, rest) = bytes.split_first_chunk().ok_or_else(short)?;
        let n = u32::from_le_bytes(*n) as usize;
        let (array, strings) = rest.split_at_checked(n).ok_or_else(short)?;
        let longest = strings.split(|byte| *byte == 0).map(<[u8]>::len).max().unwrap_or(0);
        if longest > MAX_STRING_BYTES {
            return Err(Error::FileLimit {
                what: format!("{KEY}: bytes of a string"),
                found: longest as u64,
                limit: MAX_STRING_BYTES as u64,
                offset: None,
            });
        }
        let mut nodes = try_vec(n / 4, KEY)?;
        nodes
            .extend(array.chunks_exact(4).map(|chunk| chunk.iter().rev().fold(0, |n, byte| n << 8 | u32::from(*byte))));
        let mut copy = try_vec(strings.len(), KEY)?;
        copy.extend_from_slice(strings);
        Ok(Some(Self { nodes, strings: copy }))
    }

    /// `text` with everything that has an entry replaced.
    pub(super) fn apply(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let found = self.longest(rest.as_bytes()).and_then(|(len, string)| Some((rest.get(len..)?, string)));
            if let Some((after, string)) = found {
                out.push_str(string);
                rest = after;
            } else {
                out.push(c);
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
            }
        }
        out
    }

    /// The longest entry that `text` begins with: its length and what it becomes.
    fn longest(&self, text: &[u8]) -> Option<(usize, &str)> {
        let offset = |node: u32| (node >> 10) << ((node & 1 << 9) >> 6);
        let mut at = offset(*self.nodes.first()?);
        let mut found = None;
        for (i, byte) in text.iter().enumerate() {
            at ^= u32::from(*byte);
            let Some(node) = self.nodes.get(at as usize).filter(|node| **node & (1 << 31 | 0xFF) == u32::from(*byte))
            else {
                break;
            };
            at ^= offset(*node);
            if *byte != 0 && node >> 8 & 1 == 1 {
                found = self.nodes.get(at as usize).map(|value| (i + 1, value & !(1 << 31))).or(found);
            }
        }
        let (len, start) = found?;
        let string = self.strings.get(start as usize..)?.split(|byte| *byte == 0).next()?;
        Some((len, str::from_utf8(string).ok()?))
    }
}
