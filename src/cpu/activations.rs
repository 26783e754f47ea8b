//! Activations as the kernels read them: quantized to int8 per 32 values, in one of two records, or plain f32.
//!
//! `d = max|x| / 127`, `q = round(x · 127 / max|x|)` to the nearest, ties to even, as ggml's Q8_0 and Q8_1 do on x86; d and
//! the block sum stay f32 (ggml rounds them to f16: that only costs accuracy).
//!
//! Where probabilities are what is asked for, and in queries that meet whole numbers, [`quantize_fine`] keeps 12 bits, 2047 for 127: what
//! that rounds off is a sixteenth.

use super::simd::{F32x4, I8x16, I16x8, I32x4, TWO_112};
use crate::quant::repack::BLOCK;

/// What the whole numbers of a block stand for.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Scale {
    /// d · 2¹¹²: for scales decoded by [`F32x4::from_f16_scaled`].
    pub(crate) d_112: f32,
    /// d
    pub(crate) d: f32,
    /// d · Σ q
    pub(crate) sum: f32,
}

/// A block for the kernels with an 8-bit dot product (relaxed SIMD).
#[derive(Debug, Clone, Copy)]
#[repr(C, align(4))]
pub(crate) struct Act8 {
    /// `q[g]`: weights 4g..4g+4.
    pub(crate) q: [[i8; 4]; 8],
    pub(crate) scale: Scale,
    /// Of each half: Σ of the q that meet in each 16-bit lane, those of the weights 4g, 4g + 1 and of 4g + 2, 4g + 3.
    pub(crate) sums: [[i16; 2]; 2],
}

/// A block for the kernels with a 16-bit dot product.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct Act16 {
    /// Pair p: the weights k and k + 2 with k = 4 · (p / 2) + p % 2.
    pub(crate) q: [[i16; 2]; 16],
    pub(crate) scale: Scale,
    /// Σ q of the two halves.
    pub(crate) sums: [i16; 2],
}

impl Scale {
    const ZERO: Self = Self { d_112: 0.0, d: 0.0, sum: 0.0 };

    #[inline(always)]
    fn new(d: f32, sum: i32) -> Self {
        Self { d_112: d * TWO_112, d, sum: d * sum as f32 }
    }
}

impl Act8 {
    pub(crate) const ZERO: Self = Self { q: [[0; 4]; 8], scale: Scale::ZERO, sums: [[0; 2]; 2] };
}

impl Act16 {
    pub(crate) const ZERO: Self = Self { q: [[0; 2]; 16], scale: Scale::ZERO, sums: [0; 2] };
}

/// The largest value of a block is so much: as much as 8 bits hold, and as much as a half block's sum of 16 bits allows.
const MAX_8: f32 = 127.0;
const MAX_FINE: f32 = 2047.0;

/// Quantizes 32 values to ±`max`: q and d. A NaN or infinity makes d NaN, so that it is not lost on the way through the integers.
#[inline(always)]
fn quantize(x: &[f32; BLOCK], max: f32) -> ([I32x4; 8], f32) {
    let (quads, _) = x.as_chunks::<4>();
    let x: [F32x4; 8] = core::array::from_fn(|i| F32x4::load(&quads[i]));
    let mut amax = F32x4::splat(0.0);
    let mut zero = F32x4::splat(0.0);
    for x in x {
        amax = amax.max(x.abs());
        zero = zero.add(x.sub(x));
    }
    let amax = amax.reduce_max();
    // Below this, max / amax could overflow; such a block counts as zero.
    let (inverse, d) = if amax < max * 1e-38 { (0.0, 0.0) } else { (max / amax, amax / max) };
    let inverse = F32x4::splat(inverse);
    (x.map(|x| x.mul(inverse).nearest().to_i32()), d + zero.sum())
}

/// As 8 bits.
#[inline(always)]
fn bytes(q: [I32x4; 8]) -> [I8x16; 2] {
    [I8x16::narrow([q[0], q[1], q[2], q[3]]), I8x16::narrow([q[4], q[5], q[6], q[7]])]
}

/// x [K] to blocks.
pub(crate) fn quantize_8(x: &[f32], out: &mut [Act8]) {
    let (blocks, _) = x.as_chunks::<BLOCK>();
    for (x, out) in blocks.iter().zip(out) {
        let (q, d) = quantize(x, MAX_8);
        let q = bytes(q);
        let (halves, _) = out.q.as_flattened_mut().as_chunks_mut::<16>();
        q[0].store(&mut halves[0]);
        q[1].store(&mut halves[1]);
        out.sums = q.map(|half| half.pair_sums().sum_pairs());
        out.scale = Scale::new(d, out.sums.as_flattened().iter().map(|sum| i32::from(*sum)).sum());
    }
}

/// x [K] to blocks, with the values of [`quantize_8`].
pub(crate) fn quantize_16(x: &[f32], out: &mut [Act16]) {
    blocks_16(x, MAX_8, out);
}

/// x [K] to blocks, with 12 bits.
pub(crate) fn quantize_fine(x: &[f32], out: &mut [Act16]) {
    blocks_16(x, MAX_FINE, out);
}

#[inline(always)]
fn blocks_16(x: &[f32], max: f32, out: &mut [Act16]) {
    let (blocks, _) = x.as_chunks::<BLOCK>();
    for (x, out) in blocks.iter().zip(out) {
        let (q, d) = quantize(x, max);
        let [a, b, c, e] = [0, 2, 4, 6].map(|i| I16x8::narrow([q[i], q[i + 1]]));
        let (quarters, _) = out.q.as_flattened_mut().as_chunks_mut::<8>();
        for (q, out) in [a, b, c, e].into_iter().zip(quarters) {
            q.pairs_of_fours().store(out);
        }
        out.sums = [a.add(b), c.add(e)].map(|half| half.dot(I16x8::splat(1)).sum() as i16);
        out.scale = Scale::new(d, i32::from(out.sums[0]) + i32::from(out.sums[1]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(x: [f32; BLOCK]) -> (Act8, Act16) {
        let (mut a, mut b) = ([Act8::ZERO], [Act16::ZERO]);
        quantize_8(&x, &mut a);
        quantize_16(&x, &mut b);
        (a[0], b[0])
    }

    #[test]
    fn both_records_hold_the_same() {
        let x: [f32; BLOCK] = core::array::from_fn(|k| (k as f32 * 1.7).sin() * k as f32);
        let amax = x.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
        let q = x.map(|x| (x * (127.0 / amax)).round_ties_even() as i32);
        let (a, b) = both(x);
        assert_eq!(a.q.as_flattened().iter().map(|q| i32::from(*q)).collect::<Vec<_>>(), q);
        for (p, pair) in b.q.iter().enumerate() {
            let k = 4 * (p / 2) + p % 2;
            assert_eq!(pair.map(i32::from), [q[k], q[k + 2]]);
        }
        let sum: i32 = q.iter().sum();
        assert_eq!(b.sums.map(i32::from), [q[..16].iter().sum::<i32>(), q[16..].iter().sum()]);
        for (half, sums) in q.chunks(16).zip(a.sums) {
            let lane = |i: usize| half.chunks(4).map(|q| q[i] + q[i + 1]).sum::<i32>();
            assert_eq!(sums.map(i32::from), [lane(0), lane(2)]);
        }
        let (a, b) = (a.scale, b.scale);
        assert_eq!((a.d, a.sum), (amax / 127.0, amax / 127.0 * sum as f32));
        assert_eq!((a.d, a.d_112, a.sum), (b.d, b.d_112, b.sum));
    }

    /// Twelve bits lose a sixteenth of what eight lose, and the sums still fit.
    #[test]
    fn fine_activations_are_nearer() {
        let x: [f32; BLOCK] = core::array::from_fn(|k| (k as f32 * 1.7).sin() * k as f32);
        let lost = |quantize: fn(&[f32], &mut [Act16])| {
            let mut out = [Act16::ZERO];
            quantize(&x, &mut out);
            let value = |p: usize, i: usize| f32::from(out[0].q[p][i]) * out[0].scale.d;
            let differences = (0..16).flat_map(|p| {
                let k = 4 * (p / 2) + p % 2;
                [(value(p, 0) - x[k]).abs(), (value(p, 1) - x[k + 2]).abs()]
            });
            differences.fold(0.0_f32, f32::max)
        };
        let (fine, plain) = (lost(quantize_fine), lost(quantize_16));
        assert!(plain > 0.01 && fine < plain / 10.0, "{fine} and {plain}");
        let mut out = [Act16::ZERO];
        quantize_fine(&[-5.0; BLOCK], &mut out);
        assert_eq!((out[0].sums, out[0].scale.d), ([-32752; 2], 5.0 / 2047.0));
        assert!((out[0].scale.sum + 160.0).abs() < 1e-3);
        quantize_fine(&[1e-36; BLOCK], &mut out);
        assert_eq!((out[0].q, out[0].scale.d), ([[0; 2]; 16], 0.0));
        quantize_fine(&core::array::from_fn::<f32, BLOCK, _>(|k| if k == 9 { f32::NAN } else { 1.0 }), &mut out);
        assert!(out[0].scale.d.is_nan() && out[0].scale.sum.is_nan());
    }

    /// What is not finite must reach the logits, where it is noticed.
    #[test]
    fn what_is_not_finite_is_not_lost() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for k in [0, 13, 31] {
                let mut x = [0.5; BLOCK];
                x[k] = bad;
                let (a, b) = both(x);
                let (a, b) = (a.scale, b.scale);
                assert!(a.d.is_nan() && a.sum.is_nan() && b.d.is_nan() && b.sum.is_nan(), "{bad} at {k}");
            }
        }
    }

    #[test]
    fn tiny_and_huge_blocks() {
        let (a, _) = both([0.0; BLOCK]);
        assert_eq!((a.q, a.scale.d, a.scale.sum), ([[0; 4]; 8], 0.0, 0.0));
        let (a, _) = both([1e-40; BLOCK]);
        assert_eq!((a.q, a.scale.d), ([[0; 4]; 8], 0.0));
        let (a, _) = both([-3e6; BLOCK]);
        assert!(a.q == [[-127; 4]; 8] && a.scale.d_112.is_finite());
    }
}
