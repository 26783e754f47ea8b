//! Panels of Q4_0, Q4_1, Q8_0 and of numbers.
//!
//! ```text
//! Q4_0, Q4_1   d[8] f16 │ (m[8] f16) │ q[8] × 16 bytes.  q[2g + h] holds rows 4h..4h+4, 4 bytes each;
//!              byte j of a row: weight 4g + j in the low nibble, weight 16 + 4g + j in the high one
//! Q8_0         d[8] f16 │ q[16] × 16 bytes.  q[p] holds 8 rows × 2 weights: k and k + 2 with k = 4·(p/2) + p%2
//! F32 F16 BF16 the same weight of 8 rows
//! ```
//!
//! As large as in the file. Scales that are f16 subnormals are slow for the kernels' decoding; a weight that has one is kept with
//! f32 scales ("wide"), which gives the same bits.

use super::{
    BLOCK,
    rows::{Rows, u16_at},
};
use crate::quant::Format;

/// Eight f16 (or bf16), one per row.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(16))]
pub struct Half8(pub [u16; 8]);

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
    /// Pairs, see the module.
    pub q: [[i8; 16]; 16],
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

    pub(super) fn pairs(&self, b: usize) -> [[i8; 16]; 16] {
        let mut q = [[0; 16]; 16];
        for r in 0..8 {
            let block = &self.block(r, b)[2..34];
            for (p, pair) in q.iter_mut().enumerate() {
                let k = first_of_pair(p);
                pair[2 * r] = block[k] as i8;
                pair[2 * r + 1] = block[k + 2] as i8;
            }
        }
        q
    }
}

/// The first weight of pair p; the second is two further.
pub const fn first_of_pair(p: usize) -> usize {
    4 * (p / 2) + p % 2
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

pub(super) fn read_blocks<B: ReadRow>(blocks: &[B], r: usize, out: &mut [f32]) {
    for (block, out) in blocks.iter().zip(out.chunks_exact_mut(BLOCK)) {
        block.row(r, out);
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

impl<S: Scales> ReadRow for Q80x8<S> {
    fn row(&self, r: usize, out: &mut [f32]) {
        let d = self.d.value(r);
        for (p, pair) in self.q.iter().enumerate() {
            let k = first_of_pair(p);
            out[k] = d * f32::from(pair[2 * r]);
            out[k + 2] = d * f32::from(pair[2 * r + 1]);
        }
    }
}

pub(super) fn f16(h: u16) -> f32 {
    half::f16::from_bits(h).to_f32_const()
}
