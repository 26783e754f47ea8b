//! IQ4_NL: 32 weights in 18 bytes, codes into a table of uneven steps. Source: ggml-common.h, `block_iq4_nl`.
//!
//! ```text
//! byte   0  1 | 2            3            …  17
//!        d    | qs[0]        qs[1]        …  qs[15]
//!        f16  | q₁₆   q₀     q₁₇   q₁     …  q₃₁   q₁₅      high and low nibble
//!
//! w = d · VALUES[q]          q in 0..=15
//! ```

use super::{
    coded::{CodedBlock, Coding, Scales, Values, nibbles, one_scale},
    half::f16_to_f32,
};

/// What the codes stand for (`kvalues_iq4nl`).
pub(super) const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// 32 weights.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BlockIq4Nl {
    /// Scale, f16.
    d: [u8; 2],
    /// Code j in the low nibble of byte j, code j + 16 in the high one.
    qs: [u8; 16],
}

impl CodedBlock for BlockIq4Nl {
    const CODING: Coding =
        Coding { run: 32, bits: 4, scale_bits: 0, values: Values::Table(&VALUES), has_minima: false };

    fn scales(&self) -> Scales {
        one_scale(f16_to_f32(u16::from_le_bytes(self.d)))
    }

    fn codes(&self, codes: &mut [u8]) {
        nibbles::<16>(&self.qs, codes);
    }
}
