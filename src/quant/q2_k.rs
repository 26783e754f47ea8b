//! Q2_K: 256 weights in 84 bytes, 16 runs of 16 with scale and minimum. Source: ggml-common.h, `block_q2_K`.
//!
//! ```text
//! byte   0         …  15            | 16      …  79                               | 80 81 | 82 83
//!        m₀  s₀    …  m₁₅  s₁₅      | qs: twice 32 bytes; byte i of the first:    | d     | dmin
//!        high, low nibble           | q₉₆₊ᵢ q₆₄₊ᵢ q₃₂₊ᵢ qᵢ, two bits each         | f16   | f16
//!
//! w = (d · s) · q − dmin · m         q in 0..=3, s and m in 0..=15
//! ```

use super::{
    coded::{CodedBlock, Coding, Scales, Values, add_pairs},
    half::f16_to_f32,
};

/// 256 weights.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BlockQ2K {
    /// Scale in the low nibble, minimum in the high one.
    scales: [u8; 16],
    /// Four codes per byte.
    qs: [u8; 64],
    /// Scale of the scales, f16.
    d: [u8; 2],
    /// Scale of the minima, f16.
    dmin: [u8; 2],
}

impl CodedBlock for BlockQ2K {
    const CODING: Coding = Coding { run: 16, bits: 2, scale_bits: 4, values: Values::From(0), has_minima: true };

    fn scales(&self) -> Scales {
        let [d, dmin] = [self.d, self.dmin].map(|h| f16_to_f32(u16::from_le_bytes(h)));
        Scales { d, dmin, s: self.scales.map(|x| (x & 15) as i8), m: self.scales.map(|x| (x >> 4) as i8) }
    }

    fn codes(&self, codes: &mut [u8]) {
        codes.fill(0);
        add_pairs(&self.qs, 0, codes);
    }
}
