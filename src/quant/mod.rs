//! Block formats of tensors: one table of facts, one file per format with its bytes drawn and its formula.
//!
//! Formats are values and layout only; the layouts that an executor reads are made by the executor. [`dequantize`] is what
//! a format means, [`quantize`] is ggml's reference for tests and for weights that are made here, [`first_non_finite`] is
//! the check that every weight passes while it arrives. Layer 0: no I/O.

mod coded;
mod float;
mod half;
mod iq4_nl;
mod iq4_xs;
mod mxfp4;
pub mod planes;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
pub mod q8_0;
pub mod repack;
mod tq1_0;
mod tq2_0;

pub use float::{BlockBf16, BlockF16, BlockF32};
pub use half::{bf16_to_f32, f16_is_non_finite, f16_to_f32, f32_to_bf16, f32_to_f16};
pub use iq4_nl::BlockIq4Nl;
pub use iq4_xs::BlockIq4Xs;
pub use mxfp4::BlockMxfp4;
pub use q2_k::BlockQ2K;
pub use q3_k::BlockQ3K;
pub use q4_0::BlockQ4_0;
pub use q4_1::BlockQ4_1;
pub use q4_k::BlockQ4K;
pub use q5_0::BlockQ5_0;
pub use q5_1::BlockQ5_1;
pub use q5_k::BlockQ5K;
pub use q6_k::BlockQ6K;
pub use q8_0::BlockQ8_0;
pub use tq1_0::BlockTq1_0;
pub use tq2_0::BlockTq2_0;

use self::coded::{CodedBlock, Reader};
use crate::error::{Error, Result};

/// A tensor format that this engine reads. Names are ggml's, the order is that of ggml's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, non_camel_case_types, reason = "ggml's names; each format is documented in its own file")]
pub enum Format {
    F32,
    F16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    IQ4_NL,
    IQ4_XS,
    BF16,
    TQ1_0,
    TQ2_0,
    MXFP4,
}

/// The table of facts, in the order of [`Format`]: name, ggml's number (ggml.h), block and length in weights, whether blocks
/// can be made here.
static FACTS: [Facts; Format::ALL.len()] = [
    made::<BlockF32, 1>(plain::<BlockF32, 1>("F32", 0)),
    made::<BlockF16, 1>(plain::<BlockF16, 1>("F16", 1)),
    made::<BlockQ4_0, 32>(plain::<BlockQ4_0, 32>("Q4_0", 2)),
    made::<BlockQ4_1, 32>(plain::<BlockQ4_1, 32>("Q4_1", 3)),
    made::<BlockQ5_0, 32>(coded::<BlockQ5_0, 32>("Q5_0", 6)),
    made::<BlockQ5_1, 32>(coded::<BlockQ5_1, 32>("Q5_1", 7)),
    made::<BlockQ8_0, 32>(plain::<BlockQ8_0, 32>("Q8_0", 8)),
    coded::<BlockQ2K, 256>("Q2_K", 10),
    coded::<BlockQ3K, 256>("Q3_K", 11),
    coded::<BlockQ4K, 256>("Q4_K", 12),
    coded::<BlockQ5K, 256>("Q5_K", 13),
    coded::<BlockQ6K, 256>("Q6_K", 14),
    coded::<BlockIq4Nl, 32>("IQ4_NL", 20),
    coded::<BlockIq4Xs, 256>("IQ4_XS", 23),
    made::<BlockBf16, 1>(plain::<BlockBf16, 1>("BF16", 30)),
    coded::<BlockTq1_0, 256>("TQ1_0", 34),
    coded::<BlockTq2_0, 256>("TQ2_0", 35),
    coded::<BlockMxfp4, 32>("MXFP4", 39),
];

/// Makes blocks of weights.
type Maker = fn(&[f32], &mut [u8]);

/// What is known about a format.
#[derive(Debug, Clone, Copy)]
struct Facts {
    name: &'static str,
    ggml_type: u32,
    block_len: usize,
    block_bytes: usize,
    dequantize: fn(&[u8], &mut [f32]),
    first_non_finite: fn(&[u8]) -> Option<usize>,
    quantize: Option<Maker>,
    reader: Option<Reader>,
}

const fn plain<B: BlockFormat<N>, const N: usize>(name: &'static str, ggml_type: u32) -> Facts {
    Facts {
        name,
        ggml_type,
        block_len: N,
        block_bytes: size_of::<B>(),
        dequantize: dequantize_blocks::<B, N>,
        first_non_finite: first_non_finite_block::<B, N>,
        quantize: None,
        reader: None,
    }
}

const fn coded<B: CodedBlock, const N: usize>(name: &'static str, ggml_type: u32) -> Facts {
    Facts { reader: Some(Reader::of::<B>()), ..plain::<B, N>(name, ggml_type) }
}

const fn made<B: Quantize<N>, const N: usize>(facts: Facts) -> Facts {
    Facts { quantize: Some(quantize_blocks::<B, N>), ..facts }
}

impl Format {
    /// Every format, in the order of ggml's numbers.
    pub const ALL: [Self; 18] = [
        Self::F32,
        Self::F16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::IQ4_NL,
        Self::IQ4_XS,
        Self::BF16,
        Self::TQ1_0,
        Self::TQ2_0,
        Self::MXFP4,
    ];

    /// The format with this `ggml_type` number (ggml.h), or `None` where it is unknown, removed or not supported.
    pub fn from_ggml_type(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.ggml_type() == id)
    }

    const fn facts(self) -> &'static Facts {
        &FACTS[self as usize]
    }

    /// ggml's number of the format.
    pub const fn ggml_type(self) -> u32 {
        self.facts().ggml_type
    }

    /// ggml's name, as in file names and messages.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// Weights per block.
    pub const fn block_len(self) -> usize {
        self.facts().block_len
    }

    /// Bytes per block in the file.
    pub const fn block_bytes(self) -> usize {
        self.facts().block_bytes
    }

    /// Whether [`quantize`] makes it. The others' makers search for the best scales; who needs such blocks has a file of them.
    pub const fn can_be_made(self) -> bool {
        self.facts().quantize.is_some()
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
    (format.facts().dequantize)(bytes, out);
    Ok(())
}

/// The inverse of [`dequantize`] as near as the format allows: the same bytes as ggml's `quantize_row_*_ref`, for the formats
/// that [can be made](Format::can_be_made). Where 1 / d overflows (a block whose largest weight is below about 10⁻³⁶) ggml's
/// conversion to an integer is undefined; here it gives what x86 gives, and d is zero in the file anyway.
pub fn quantize(format: Format, values: &[f32], bytes: &mut [u8]) -> Result<()> {
    check_lengths(format, bytes.len(), values.len())?;
    match format.facts().quantize {
        Some(quantize) => quantize(values, bytes),
        None => return Err(Error::internal(format!("blocks of {} are not made here", format.name()))),
    }
    Ok(())
}

/// The first block whose scale, minimum or value is infinite or a NaN. Bytes after the last whole block are not looked at.
pub fn first_non_finite(format: Format, bytes: &[u8]) -> Option<usize> {
    (format.facts().first_non_finite)(bytes)
}

/// A block of `N` weights as it lies in the file: bytes only, so that it may start at any address.
trait BlockFormat<const N: usize>: bytemuck::Pod {
    /// The weights.
    fn dequantize(&self, out: &mut [f32; N]);
    /// Whether every weight is finite, whatever the quants.
    fn is_finite(&self) -> bool;
}

/// A block that can be made without a search.
trait Quantize<const N: usize>: BlockFormat<N> {
    /// The block nearest to these weights, as ggml's reference makes it.
    fn quantize(values: &[f32; N]) -> Self;
}

fn dequantize_blocks<B: BlockFormat<N>, const N: usize>(bytes: &[u8], out: &mut [f32]) {
    let (out, _) = out.as_chunks_mut::<N>();
    for (block, out) in blocks::<B>(bytes).zip(out) {
        block.dequantize(out);
    }
}

fn quantize_blocks<B: Quantize<N>, const N: usize>(values: &[f32], bytes: &mut [u8]) {
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

/// The smallest and the largest weight, as ggml's loops find them: a NaN is neither.
fn bounds(values: &[f32; 32]) -> (f32, f32) {
    let (mut min, mut max) = (f32::MAX, f32::MIN);
    for &x in values {
        if x < min {
            min = x;
        }
        if x > max {
            max = x;
        }
    }
    (min, max)
}

/// C's `(uint8_t)(int8_t) x` as x86 does it: the low byte of the number cut towards zero, 0 where it is no i32.
fn truncate_to_u8(x: f32) -> u8 {
    if x.abs() < 2_147_483_648.0 { x as i32 as u8 } else { 0 }
}

/// [`Format::ALL`] has every format at its own place, and so has the table of facts.
const _: () = {
    let mut i = 0;
    while i < Format::ALL.len() {
        assert!(Format::ALL[i] as usize == i);
        i += 1;
    }
};
