//! Panels of Q4_0, Q4_1, Q8_0 and of numbers.
//!
//! ```text
//! Q4_0, Q4_1   d[8] f16 │ (m[8] f16) │ q[8] × 16 bytes.  q[2g + h] holds rows 4h..4h+4, 4 bytes each;
//!              byte j of a row: weight 4g + j in the low nibble, weight 16 + 4g + j in the high one
//! Q8_0         d[8] f16 │ q[16] × 16 bytes, in one of two arrangements ([`Arrangement`]):
//!              pairs   q[p] holds 8 rows × 2 weights: k and k + 2 with k = 4·(p/2) + p%2
//!              fours   q[2g + h] holds rows 4h..4h+4, 4 bytes each: weights 4g..4g+4 with 128 added, whatever they are taken for
//! F32          the same weight of 8 rows
//! F16 BF16     the same weight of 8 rows: of rows r and 4 + r in the halves of a u32; F16 times 2¹⁰
//! ```
//!
//! As large as in the file. f16 subnormals are slow for the kernels' decoding. A scale that is one makes the matrix be kept with f32
//! scales ("wide"), which gives the same bits. Weights in F16 are none once they are raised by 2¹⁰, which is exact below 64; a matrix
//! that has a larger one is kept in F32.

use std::hint::black_box;

use super::{
    BLOCK,
    rows::{Rows, u16_at},
};
use crate::quant::Format;

/// Eight f16 (or bf16), one per row.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(16))]
pub struct Half8(pub [u16; 8]);

/// Eight f16 (or bf16) weights, one per row: of the rows 0, 4, 1, 5, 2, 6, 3, 7.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub struct Paired8(pub [u16; 8]);

/// Eight f32, one per row.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub struct Single8(pub [f32; 8]);

/// Q4_0: `w = d · (q − 8)`. S is [`Half8`] or [`Single8`].
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub struct Q40x8<S> {
    /// Scales.
    pub d: S,
    /// Nibbles, see the module.
    pub q: [[u8; 16]; 8],
}

/// Q4_1: `w = d · q + m`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub struct Q41x8<S> {
    /// Scales.
    pub d: S,
    /// Minima.
    pub m: S,
    /// Nibbles, see the module.
    pub q: [[u8; 16]; 8],
}

/// Q8_0: `w = d · q`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub struct Q80x8<S> {
    /// Scales.
    pub d: S,
    /// Bytes, see the module.
    pub q: [[u8; 16]; 16],
}

/// How the bytes of Q8_0 lie: pairs for 16-bit dot products, fours for 8-bit ones that take any bytes, as signed or as unsigned ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "see the module")]
pub enum Arrangement {
    #[default]
    Pairs,
    SignedFours,
    UnsignedFours,
}

const _: () = assert!(size_of::<Q40x8<Half8>>() == 8 * Format::Q4_0.block_bytes());
const _: () = assert!(size_of::<Q41x8<Half8>>() == 8 * Format::Q4_1.block_bytes());
const _: () = assert!(size_of::<Q80x8<Half8>>() == 8 * Format::Q8_0.block_bytes());

impl Rows<'_> {
    pub(super) fn half(&self, b: usize, offset: usize) -> Half8 {
        Half8(self.each(b, |x| u16_at(x, offset)))
    }

    pub(super) fn nibbles(&self, b: usize, offset: usize) -> [[u8; 16]; 8] {
        let mut q = [[0; 16]; 8];
        for r in 0..8 {
            let block = &self.block(r, b)[offset..offset + 16];
            for g in 0..4 {
                q[2 * g + r / 4][4 * (r % 4)..][..4].copy_from_slice(&block[4 * g..4 * g + 4]);
            }
        }
        q
    }

    pub(super) fn bytes(&self, b: usize, arrangement: Arrangement) -> [[u8; 16]; 16] {
        let mut q = [[0; 16]; 16];
        for r in 0..8 {
            let block = &self.block(r, b)[2..34];
            match arrangement {
                Arrangement::Pairs => {
                    for (p, pair) in q.iter_mut().enumerate() {
                        let k = first_of_pair(p);
                        pair[2 * r] = block[k];
                        pair[2 * r + 1] = block[k + 2];
                    }
                }
                Arrangement::SignedFours | Arrangement::UnsignedFours => {
                    for (g, four) in block.as_chunks::<4>().0.iter().enumerate() {
                        q[2 * g + r / 4][4 * (r % 4)..][..4].copy_from_slice(&four.map(|byte| byte ^ SIGN));
                    }
                }
            }
        }
        q
    }
}

/// The first weight of pair p; the second is two further.
const fn first_of_pair(p: usize) -> usize {
    4 * (p / 2) + p % 2
}

/// Signed bytes become themselves and 128.
const SIGN: u8 = 0x80;

/// What an f16 weight is multiplied with: the least normal f16 then is the least f16.
const RAISED: f32 = 1024.0;

impl Paired8 {
    /// Of eight rows in their order.
    pub(super) fn of(rows: [u16; 8]) -> Self {
        Self(core::array::from_fn(|i| rows[i / 2 + 4 * (i % 2)]))
    }

    pub(super) fn row(&self, r: usize) -> u16 {
        self.0[2 * (r % 4) + r / 4]
    }

    /// What row `r` holds of an F16 matrix.
    pub(super) fn raised_row(&self, r: usize) -> f32 {
        f16(self.row(r)) / RAISED
    }
}

/// An f16 weight as it is kept, where f16 has that.
pub(super) fn raised(h: u16) -> Option<u16> {
    const EXPONENT: u16 = 0x7c00;
    match h & EXPONENT {
        // The exponent by ten more.
        exponent if exponent != 0 => (exponent < EXPONENT - (10 << 10)).then(|| h + (10 << 10)),
        _ => Some(crate::quant::f32_to_f16(f16(h) * RAISED)),
    }
}

impl Half8 {
    pub(super) fn widen(self) -> Single8 {
        Single8(self.0.map(f16))
    }
}

/// A set of eight scales.
pub(super) trait Scales {
    fn value(&self, r: usize) -> f32;
}

impl Scales for Half8 {
    fn value(&self, r: usize) -> f32 {
        f16(self.0[r])
    }
}

impl Scales for Single8 {
    fn value(&self, r: usize) -> f32 {
        self.0[r]
    }
}

/// A block that can give one of its rows.
pub(super) trait ReadRow {
    fn row(&self, r: usize, out: &mut [f32]);
}

/// Row r of blocks. Rows are read one by one, and seldom: loops whose length LLVM does not know stay small.
pub(super) fn read_blocks<B: ReadRow>(blocks: &[B], r: usize, out: &mut [f32]) {
    for (block, out) in blocks.iter().zip(out.chunks_exact_mut(BLOCK)) {
        block.row(r, black_box(out));
    }
}

fn nibble(q: &[[u8; 16]; 8], r: usize, k: usize) -> f32 {
    let j = k % 16;
    let byte = q[2 * (j / 4) + r / 4][4 * (r % 4) + j % 4];
    f32::from(if k < 16 { byte & 15 } else { byte >> 4 })
}

impl<S: Scales> ReadRow for Q40x8<S> {
    fn row(&self, r: usize, out: &mut [f32]) {
        let d = self.d.value(r);
        out.iter_mut().enumerate().for_each(|(k, o)| *o = d * (nibble(&self.q, r, k) - 8.0));
    }
}

impl<S: Scales> ReadRow for Q41x8<S> {
    fn row(&self, r: usize, out: &mut [f32]) {
        let (d, m) = (self.d.value(r), self.m.value(r));
        out.iter_mut().enumerate().for_each(|(k, o)| *o = d * nibble(&self.q, r, k) + m);
    }
}

pub(super) fn read_bytes<S: Scales>(blocks: &[Q80x8<S>], arrangement: Arrangement, r: usize, out: &mut [f32]) {
    for (block, out) in blocks.iter().zip(out.chunks_exact_mut(BLOCK)) {
        let (d, out) = (block.d.value(r), black_box(out));
        match arrangement {
            Arrangement::Pairs => {
                for (p, pair) in black_box(&block.q[..]).iter().enumerate() {
                    let k = first_of_pair(p);
                    out[k] = d * f32::from(pair[2 * r] as i8);
                    out[k + 2] = d * f32::from(pair[2 * r + 1] as i8);
                }
            }
            Arrangement::SignedFours | Arrangement::UnsignedFours => {
                for (k, out) in out.iter_mut().enumerate() {
                    *out = d * f32::from((block.q[2 * (k / 4) + r / 4][4 * (r % 4) + k % 4] ^ SIGN) as i8);
                }
            }
        }
    }
}

pub(super) fn f16(h: u16) -> f32 {
    half::f16::from_bits(h).to_f32_const()
}
