//! IQ4_XS: 256 weights in 136 bytes, 8 runs of 32 with a signed scale, codes into IQ4_NL's table. Source: ggml-common.h,
//! `block_iq4_xs`.
//!
//! ```text
//! byte   0  1 | 2  3                        | 4  …  7                      | 8  …  135
//!        d    | scales_h: bits 2r, 2r + 1   | scales_l: s₁ s₀ … s₇ s₆      | qs: eight times 16 bytes; byte i of the first:
//!        f16  | are bits 4, 5 of s_r + 32   | high and low nibble: bits 0…3| q₁₆₊ᵢ  qᵢ, high and low nibble
//!
//! w = (d · s) · VALUES[q]          q in 0..=15, s in −32..=31
//! ```

use super::{
    coded::{CodedBlock, Coding, Scales, Values, nibbles},
    half::f16_to_f32,
    iq4_nl::VALUES,
};

/// 256 weights.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BlockIq4Xs {
    /// Scale of the scales, f16.
    d: [u8; 2],
    /// Bits 4 and 5 of the scales.
    scales_h: [u8; 2],
    /// Bits 0 to 3 of two scales per byte.
    scales_l: [u8; 4],
    /// Two codes per byte.
    qs: [u8; 128],
}

impl CodedBlock for BlockIq4Xs {
    const CODING: Coding =
        Coding { run: 32, bits: 4, scale_bits: 6, values: Values::Table(&VALUES), has_minima: false };

    fn scales(&self) -> Scales {
        let low = self.scales_l.iter().flat_map(|x| [x & 15, x >> 4]);
        let high = u16::from_le_bytes(self.scales_h);
        let mut scales = Scales { d: f16_to_f32(u16::from_le_bytes(self.d)), ..Scales::default() };
        for (run, (s, low)) in scales.s.iter_mut().zip(low).enumerate() {
            *s = (low | ((high >> (2 * run)) as u8 & 3) << 4) as i8 - 32;
        }
        scales
    }

    fn codes(&self, codes: &mut [u8]) {
        nibbles::<16>(&self.qs, codes);
    }
}
