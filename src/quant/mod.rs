//! Block formats of tensors: one table of facts, one file per format with its bytes drawn and its formula.
//!
//! Formats are values and layout only; the layouts that an executor reads are made by the executor. [`dequantize`] is what
//! a format means, [`quantize`] is ggml's reference for tests and for weights that are made here, [`first_non_finite`] is
//! the check that every weight passes while it arrives. Layer 0: no I/O.

mod float;
mod half;
pub mod planes;
mod q4_0;
mod q4_1;
mod q8_0;
pub mod repack;

pub use float::{BlockBf16, BlockF16, BlockF32};
pub use half::{bf16_to_f32, f16_is_non_finite, f16_to_f32, f32_to_bf16, f32_to_f16};
pub use q4_0::BlockQ4_0;
pub use q4_1::BlockQ4_1;
pub use q8_0::BlockQ8_0;

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

/// Writes the weights of whole blocks: `bytes` holds exactly `out.len()` weights. The same bits as ggml's
/// `dequantize_row_*`; a block with a scale that is not finite gives numbers that are not finite.
pub fn dequantize(format: Format, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    check_lengths(format, bytes.len(), out.len())?;
    match format {
        Format::F32 => dequantize_blocks::<BlockF32, 1>(bytes, out),
        Format::F16 => dequantize_blocks::<BlockF16, 1>(bytes, out),
        Format::BF16 => dequantize_blocks::<BlockBf16, 1>(bytes, out),
        Format::Q4_0 => dequantize_blocks::<BlockQ4_0, 32>(bytes, out),
        Format::Q4_1 => dequantize_blocks::<BlockQ4_1, 32>(bytes, out),
        Format::Q8_0 => dequantize_blocks::<BlockQ8_0, 32>(bytes, out),
    }
    Ok(())
}

/// The inverse of [`dequantize`] as near as the format allows: the same bytes as ggml's `quantize_row_*_ref`. Where 1 / d
/// overflows (a block whose largest weight is below about 10⁻³⁶) ggml's conversion to an integer is undefined; here it
/// gives what x86 gives, and d is zero in the file anyway.
pub fn quantize(format: Format, values: &[f32], bytes: &mut [u8]) -> Result<()> {
    check_lengths(format, bytes.len(), values.len())?;
    match format {
        Format::F32 => quantize_blocks::<BlockF32, 1>(values, bytes),
        Format::F16 => quantize_blocks::<BlockF16, 1>(values, bytes),
        Format::BF16 => quantize_blocks::<BlockBf16, 1>(values, bytes),
        Format::Q4_0 => quantize_blocks::<BlockQ4_0, 32>(values, bytes),
        Format::Q4_1 => quantize_blocks::<BlockQ4_1, 32>(values, bytes),
        Format::Q8_0 => quantize_blocks::<BlockQ8_0, 32>(values, bytes),
    }
    Ok(())
}

/// The first block whose scale, minimum or value is infinite or a NaN. Bytes after the last whole block are not looked at.
pub fn first_non_finite(format: Format, bytes: &[u8]) -> Option<usize> {
    match format {
        Format::F32 => first_non_finite_block::<BlockF32, 1>(bytes),
        Format::F16 => first_non_finite_block::<BlockF16, 1>(bytes),
        Format::BF16 => first_non_finite_block::<BlockBf16, 1>(bytes),
        Format::Q4_0 => first_non_finite_block::<BlockQ4_0, 32>(bytes),
        Format::Q4_1 => first_non_finite_block::<BlockQ4_1, 32>(bytes),
        Format::Q8_0 => first_non_finite_block::<BlockQ8_0, 32>(bytes),
    }
}

/// A block of `N` weights as it lies in the file: bytes only, so that it may start at any address.
trait BlockFormat<const N: usize>: bytemuck::Pod {
    /// The weights.
    fn dequantize(&self, out: &mut [f32; N]);
    /// The block nearest to these weights, as ggml's reference makes it.
    fn quantize(values: &[f32; N]) -> Self;
    /// Whether every weight is finite, whatever the quants.
    fn is_finite(&self) -> bool;
}

fn dequantize_blocks<B: BlockFormat<N>, const N: usize>(bytes: &[u8], out: &mut [f32]) {
    let (out, _) = out.as_chunks_mut::<N>();
    for (block, out) in blocks::<B>(bytes).zip(out) {
        block.dequantize(out);
    }
}

fn quantize_blocks<B: BlockFormat<N>, const N: usize>(values: &[f32], bytes: &mut [u8]) {
    let (values, _) = values.as_chunks::<N>();
    for (values, bytes) in values.iter().zip(bytes.chunks_exact_mut(size_of::<B>())) {
        bytes.copy_from_slice(bytemuck::bytes_of(&B::quantize(values)));
    }
}

fn first_non_finite_block<B: BlockFormat<N>, const N: usize>(bytes: &[u8]) -> Option<usize> {
    blocks::<B>(bytes).position(|block| !block.is_finite())
}

/// The whole blocks of `bytes`, in place.
fn blocks<B: bytemuck::Pod>(bytes: &[u8]) -> impl Iterator<Item = B> {
    bytes.chunks_exact(size_of::<B>()).map(bytemuck::pod_read_unaligned)
}

/// The parser has checked what a file says about its lengths, so a mismatch here is this engine's own mistake.
fn check_lengths(format: Format, n_bytes: usize, n_weights: usize) -> Result<()> {
    let expected = format.row_bytes(n_weights)?;
    if expected == n_bytes {
        return Ok(());
    }
    Err(Error::internal(format!("{n_weights} weights of {} are {expected} bytes, not {n_bytes}", format.name())))
}

/// C's `(uint8_t)(int8_t) x` as x86 does it: the low byte of the number cut towards zero, 0 where it is no i32.
fn truncate_to_u8(x: f32) -> u8 {
    if x.abs() < 2_147_483_648.0 { x as i32 as u8 } else { 0 }
}

/// The table of facts and the blocks say the same.
const _: () = {
    assert!(size_of::<BlockF32>() == Format::F32.block_bytes());
    assert!(size_of::<BlockF16>() == Format::F16.block_bytes());
    assert!(size_of::<BlockBf16>() == Format::BF16.block_bytes());
    assert!(size_of::<BlockQ4_0>() == Format::Q4_0.block_bytes());
    assert!(size_of::<BlockQ4_1>() == Format::Q4_1.block_bytes());
    assert!(size_of::<BlockQ8_0>() == Format::Q8_0.block_bytes());
};
