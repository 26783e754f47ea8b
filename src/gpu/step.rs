//! What is uploaded for a step, and where it lies: one buffer, one write.
//!
//! ```text
//! 0      Header            uniform: n_rows, n_outputs, n_best
//! 256    RowEntry × rows   storage
//! …      u32 × outputs     storage, at the next multiple of 256
//! …      u32 × pages       storage, at the next multiple of 256: the page tables of the sequences and of their memories, one after
//!                          the other
//! ```

use bytemuck::{Pod, Zeroable, bytes_of, cast_slice};

use crate::{
    kv::PageId,
    plan::{RowInput, Step, Want},
};

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
    /// Bit 0: an embedding row, no token; bit 1: the second text of a pair.
    pub kind: u32,
    /// Position in its sequence.
    pub position: u32,
    /// Where the page table of its sequence begins.
    pub pages: u32,
    /// The first row of its sequence in the step.
    pub first_row: u32,
    /// How many rows of its sequence there are.
    pub n_rows: u32,
    /// Where the page table of its sequence's memory begins.
    pub memory: u32,
    /// Positions of that memory, 0 where there is none.
    pub n_memory: u32,
}

const _: () = assert!(size_of::<Header>() == 16 && size_of::<RowEntry>() == 32);

/// Places of the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Regions {
    /// Most rows of a step.
    max_rows: usize,
    /// Most outputs of a step.
    max_outputs: usize,
    /// Most pages of all sequences and memories together.
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
        let n_pages = n_pages(step);
        bytes.clear();
        bytes.resize(self.pages().0 + 4 * n_pages.max(1), 0);
        let n_best = match step.want {
            Want::All => 0,
            Want::Best(n) => n as u32,
        };
        let header = Header { n_rows: step.rows.len() as u32, n_outputs: step.outputs.len() as u32, n_best, unused: 0 };
        put(bytes, 0, bytes_of(&header));
        let mut at = self.pages().0;
        let mut table = |pages: &[PageId]| {
            let start = ((at - self.pages().0) / 4) as u32;
            for page in pages {
                put(bytes, at, bytes_of(&page.0));
                at += 4;
            }
            start
        };
        let starts: Vec<u32> = step.sequences.iter().map(|pages| table(pages)).collect();
        let memories: Vec<(u32, u32)> = step.memories.iter().map(|m| (table(m.pages), m.n_positions as u32)).collect();
        let runs = runs(step);
        for (i, row) in step.rows.iter().enumerate() {
            let (input, kind) = match row.input {
                RowInput::Token(token) => (token, 0),
                RowInput::Embedding(index) => (index, 1),
            };
            let sequence = row.sequence as usize;
            let pages = starts.get(sequence).copied().unwrap_or_default();
            let (memory, n_memory) = memories.get(sequence).copied().unwrap_or_default();
            let (first_row, n_rows) = runs.get(sequence).copied().unwrap_or_default();
            let kind = kind | row.segment << 1;
            let entry = RowEntry { input, kind, position: row.position, pages, first_row, n_rows, memory, n_memory };
            put(bytes, self.rows().0 + i * size_of::<RowEntry>(), bytes_of(&entry));
        }
        put(bytes, self.outputs().0, cast_slice(step.outputs));
    }
}

/// Pages of all sequences and memories together.
pub fn n_pages(step: &Step<'_>) -> usize {
    let memories = step.memories.iter().map(|m| m.pages.len());
    step.sequences.iter().map(|s| s.len()).chain(memories).sum()
}

/// First row and number of rows of each sequence.
fn runs(step: &Step<'_>) -> Vec<(u32, u32)> {
    let mut runs = vec![(0, 0); step.sequences.len()];
    for (i, row) in step.rows.iter().enumerate() {
        if let Some((first, n)) = runs.get_mut(row.sequence as usize) {
            if *n == 0 {
                *first = i as u32;
            }
            *n += 1;
        }
    }
    runs
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}
