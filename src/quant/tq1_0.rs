//! TQ1_0: 256 ternary weights in 54 bytes, five to a byte. Source: ggml-common.h, `block_tq1_0`.
//!
//! ```text
//! byte   0  …  31                  | 32  …  47                  | 48  …  51                  | 52 53
//!        qs: digit n of byte i     | qs: digit n of byte i      | qh: digit n of byte i      | d
//!        is q₃₂n₊ᵢ, n = 0…4        | is q of 160 + 16 n + i     | is q of 240 + 4 n + i, n<4 | f16
//!
//! A byte is ⌈256 / 243 · x⌉ of the number x with the digits 0 … 4 in base 3, the most significant first: digit n is the integer
//! part of 3 · fraction(byte · 3ⁿ / 256).
//!
//! w = (q − 1) · d          q in 0..=2
//! ```

use super::{
    coded::{CodedBlock, Coding, Scales, Values, one_scale},
    half::f16_to_f32,
};

/// 256 weights.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BlockTq1_0 {
    /// Five digits per byte.
    qs: [u8; 48],
    /// Four digits per byte.
    qh: [u8; 4],
    /// Scale, f16.
    d: [u8; 2],
}

impl CodedBlock for BlockTq1_0 {
    const CODING: Coding = Coding { run: 32, bits: 2, scale_bits: 0, values: Values::From(-1), has_minima: false };

    fn scales(&self) -> Scales {
        one_scale(f16_to_f32(u16::from_le_bytes(self.d)))
    }

    fn codes(&self, codes: &mut [u8]) {
        let (first, second) = self.qs.split_at(32);
        let (to_first, rest) = codes.split_at_mut(160.min(codes.len()));
        let (to_second, to_third) = rest.split_at_mut(80.min(rest.len()));
        for (bytes, codes) in [(first, to_first), (second, to_second), (&self.qh[..], to_third)] {
            let mut power: u8 = 1;
            for codes in codes.chunks_exact_mut(bytes.len()) {
                for (code, byte) in codes.iter_mut().zip(bytes) {
                    *code = ((u16::from(byte.wrapping_mul(power)) * 3) >> 8) as u8;
                }
                power = power.wrapping_mul(3);
            }
        }
    }
}
