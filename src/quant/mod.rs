//! Block formats of tensors: one table of facts, one file per format with its bytes drawn and its formula.
//!
//! Formats are values and layout only; the layouts that the executors read are made by [`repack`]. Layer 0: no I/O.

use crate::error::{Error, Result};

/// A tensor format that this engine reads. Names are ggml's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each format is documented in its own file")]
pub enum Format {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q8_0,
}

impl Format {
    /// Every format, in the order of ggml's numbers.
    pub const ALL: [Self; 6] = [Self::F32, Self::F16, Self::Q4_0, Self::Q4_1, Self::Q8_0, Self::BF16];

    /// The format with this `ggml_type` number (ggml.h), or `None` where it is unknown, removed or not supported.
    pub fn from_ggml_type(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.ggml_type() == id)
    }

    /// ggml's number of the format.
    pub const fn ggml_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q8_0 => 8,
            Self::BF16 => 30,
        }
    }

    /// ggml's name, as in file names and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q8_0 => "Q8_0",
        }
    }

    /// Weights per block.
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q8_0 => 32,
        }
    }

    /// Bytes per block in the file.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q8_0 => 34,
        }
    }

    /// Bytes of a row of `n` weights in the file; `n` must be a multiple of the block.
    pub fn row_bytes(self, n: usize) -> Result<usize> {
        let blocks = n / self.block_len();
        if blocks * self.block_len() != n {
            return Err(Error::file(format!("a row of {n} weights is no multiple of a {} block", self.name())));
        }
        blocks.checked_mul(self.block_bytes()).ok_or_else(|| Error::file(format!("a row of {n} weights is too long")))
    }
}
