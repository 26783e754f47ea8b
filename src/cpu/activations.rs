//! Activations as the kernels read them: quantized to int8 per 32 values, in one of two records, or plain f32.
//!
//! `d = max|x| / 127`, `q = round(x · 127 / max|x|)` to the nearest, ties to even, as ggml's Q8_0 and Q8_1 do on x86; d and
//! the block sum stay f32 (ggml rounds them to f16: that only costs accuracy).

use super::simd::{F32x4, TWO_112};
use crate::quant::repack::{BLOCK, first_of_pair};

/// A block for the kernels with an 8-bit dot product (relaxed SIMD) on nibbles.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct Act8 {
    /// `q[g]`: weights 4g..4g+4.
    pub(crate) q: [[i8; 4]; 8],
    /// d · 2¹¹²: for scales decoded by [`F32x4::from_f16_scaled`].
    pub(crate) d_112: f32,
    /// d
    pub(crate) d: f32,
    /// d · Σ q
    pub(crate) sum: f32,
    /// −8 · Σ of the q that meet in each 16-bit lane: Q4_0's offset, as the accumulators' first value.
    pub(crate) init: [i16; 2],
}

/// A block for the kernels with a 16-bit dot product.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct Act16 {
    /// Pair p: the weights k and k + 2 with k = [`first_of_pair`]\(p\).
    pub(crate) q: [[i16; 2]; 16],
    /// d · 2¹¹²
    pub(crate) d_112: f32,
    /// d
    pub(crate) d: f32,
    /// d · Σ q
    pub(crate) sum: f32,
    /// 8 · Σ q
    pub(crate) sum_8: i32,
}

impl Act8 {
    pub(crate) const ZERO: Self = Self { q: [[0; 4]; 8], d_112: 0.0, d: 0.0, sum: 0.0, init: [0; 2] };
}

impl Act16 {
    pub(crate) const ZERO: Self = Self { q: [[0; 2]; 16], d_112: 0.0, d: 0.0, sum: 0.0, sum_8: 0 };
}

/// Quantizes 32 values: q and d.
#[inline(always)]
fn quantize(x: &[f32; BLOCK]) -> ([i8; BLOCK], f32) {
    let (quads, _) = x.as_chunks::<4>();
    let mut amax = F32x4::splat(0.0);
    for q in quads {
        amax = amax.max(F32x4::load(q).abs());
    }
    let amax = amax.reduce_max();
    // Below this, 127 / amax could overflow; such a block counts as zero.
    let (inverse, d) = if amax < 1e-36 { (0.0, 0.0) } else { (127.0 / amax, amax / 127.0) };
    let mut out = [0; BLOCK];
    let (outs, _) = out.as_chunks_mut::<4>();
    for (q, o) in quads.iter().zip(outs) {
        *o = F32x4::load(q).mul(F32x4::splat(inverse)).nearest().to_i32().to_array().map(|v| v as i8);
    }
    // A NaN makes the scale NaN, so that it is not lost on the way through the integers.
    let d = if x.iter().any(|v| v.is_nan()) { f32::NAN } else { d };
    (out, d)
}

/// x [K] to blocks.
pub(crate) fn quantize_8(x: &[f32], out: &mut [Act8]) {
    let (blocks, _) = x.as_chunks::<BLOCK>();
    for (x, out) in blocks.iter().zip(out) {
        let (q, d) = quantize(x);
        let (groups, _) = q.as_chunks::<4>();
        let mut init = [0_i16; 2];
        let mut sum = 0;
        for (g, group) in groups.iter().enumerate() {
            out.q[g] = *group;
            let [a, b, c, e] = group.map(i16::from);
            init[0] -= 8 * (a + b);
            init[1] -= 8 * (c + e);
            sum += i32::from(a + b + c + e);
        }
        out.init = init;
        (out.d, out.d_112, out.sum) = (d, d * TWO_112, d * sum as f32);
    }
}

/// x [K] to blocks.
pub(crate) fn quantize_16(x: &[f32], out: &mut [Act16]) {
    let (blocks, _) = x.as_chunks::<BLOCK>();
    for (x, out) in blocks.iter().zip(out) {
        let (q, d) = quantize(x);
        let mut sum = 0;
        for (p, pair) in out.q.iter_mut().enumerate() {
            let k = first_of_pair(p);
            *pair = [i16::from(q[k]), i16::from(q[k + 2])];
            sum += i32::from(q[k]) + i32::from(q[k + 2]);
        }
        out.sum_8 = 8 * sum;
        (out.d, out.d_112, out.sum) = (d, d * TWO_112, d * sum as f32);
    }
}
