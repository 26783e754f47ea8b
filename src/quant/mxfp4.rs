//! MXFP4: 32 numbers of four bits (E2M1) under a power of two (E8M0), in 17 bytes. Sources: ggml-common.h, `block_mxfp4`; OCP
//! Microscaling Formats (MX) Specification 1.0.
//!
//! ```text
//! byte   0    | 1            2            …  16
//!        e    | qs[0]        qs[1]        …  qs[15]
//!        u8   | q₁₆   q₀     q₁₇   q₁     …  q₃₁   q₁₅      high and low nibble
//!
//! w = 2^(e − 128) · VALUES[q]          q in 0..=15; the table has twice the numbers, the scale is half of the standard's
//! ```
//!
//! The standard's NaN, e = 255, ggml reads as 2¹²⁷. Weights of a block with e over 252 need not be finite, so it is refused with
//! the NaN among them.

use super::coded::{CodedBlock, Coding, Scales, Values, nibbles, one_scale};

/// Twice what the codes stand for: sign, two bits of exponent, one of fraction (`kvalues_fp4`).
const VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// 32 weights.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BlockMxfp4 {
    /// Exponent of the scale.
    e: u8,
    /// Code j in the low nibble of byte j, code j + 16 in the high one.
    qs: [u8; 16],
}

impl CodedBlock for BlockMxfp4 {
    const CODING: Coding =
        Coding { run: 32, bits: 4, scale_bits: 0, values: Values::Table(&VALUES), has_minima: false };

    fn scales(&self) -> Scales {
        one_scale(match self.e {
            // 2⁻¹²⁸ and 2⁻¹²⁷ are subnormal.
            0 | 1 => f32::from_bits(0x0020_0000 << self.e),
            e => f32::from_bits((u32::from(e) - 1) << 23),
        })
    }

    fn codes(&self, codes: &mut [u8]) {
        nibbles::<16>(&self.qs, codes);
    }
}
