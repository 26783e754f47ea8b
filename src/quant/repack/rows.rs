//! The file bytes of the rows of a panel.

use super::blocks::raised;
use crate::quant::{self, Format};

/// Up to eight rows of file bytes.
pub(super) struct Rows<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) row_bytes: usize,
    pub(super) n_rows: usize,
    pub(super) block_bytes: usize,
}

impl Rows<'_> {
    /// Block b of row r; rows that are missing read as zeros.
    pub(super) fn block(&self, r: usize, b: usize) -> &[u8] {
        static ZEROS: [u8; 34] = [0; 34];
        let start = r * self.row_bytes + b * self.block_bytes;
        if r < self.n_rows { &self.bytes[start..start + self.block_bytes] } else { &ZEROS[..self.block_bytes] }
    }

    pub(super) fn each<T>(&self, b: usize, f: impl Fn(&[u8]) -> T) -> [T; 8] {
        core::array::from_fn(|r| f(self.block(r, b)))
    }

    /// The first row that holds a number that is not finite.
    pub(super) fn first_non_finite(&self, format: Format) -> Option<usize> {
        self.bytes.chunks_exact(self.row_bytes.max(1)).position(|row| quant::first_non_finite(format, row).is_some())
    }

    /// Whether a number in F16 is too large to be raised.
    pub(super) fn has_large_half(&self) -> bool {
        let (halves, _) = self.bytes.as_chunks::<2>();
        halves.iter().any(|h| raised(u16::from_le_bytes(*h)).is_none())
    }

    /// Whether a scale of Q4_0, Q4_1 or Q8_0 is subnormal.
    pub(super) fn has_subnormal_scale(&self, format: Format) -> bool {
        let n_scales = if format == Format::Q4_1 { 2 } else { 1 };
        self.bytes
            .chunks_exact(self.block_bytes)
            .any(|block| (0..n_scales).map(|i| u16_at(block, 2 * i)).any(|h| h & 0x7c00 == 0 && h & 0x03ff != 0))
    }
}

pub(super) fn u16_at(x: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([x[offset], x[offset + 1]])
}
