//! Q6_K: 256 weights in 210 bytes, 16 runs of 16 with a signed scale. Source: ggml-common.h, `block_q6_K`.
//!
//! ```text
//! byte   0  …  127                                | 128  …  191                             | 192 … 207  | 208 209
//!        ql: twice 64 bytes; byte i of the first: | qh: twice 32 bytes; byte i of the first:| s₀ … s₁₅   | d
//!        q₆₄₊ᵢ  qᵢ, high and low nibble           | q₉₆₊ᵢ q₆₄₊ᵢ q₃₂₊ᵢ qᵢ, bits 4 and 5      | i8         | f16
//!
//! w = (d · s) · (q − 32)          q in 0..=63, s in −128..=127
//! ```

use super::{
    coded::{CodedBlock, Coding, Scales, Values, add_pairs, nibbles},
    half::f16_to_f32,
};

/// 256 weights.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BlockQ6K {
    /// Bits 0 to 3 of two codes per byte.
    ql: [u8; 128],
    /// Bits 4 and 5 of four codes per byte.
    qh: [u8; 64],
    /// Scales.
    scales: [i8; 16],
    /// Scale of the scales, f16.
    d: [u8; 2],
}

impl CodedBlock for BlockQ6K {
    const CODING: Coding = Coding { run: 16, bits: 6, scale_bits: 8, values: Values::From(-32), has_minima: false };

    fn scales(&self) -> Scales {
        Scales { d: f16_to_f32(u16::from_le_bytes(self.d)), s: self.scales, ..Scales::default() }
    }

    fn codes(&self, codes: &mut [u8]) {
        nibbles::<64>(&self.ql, codes);
        add_pairs(&self.qh, 4, codes);
    }
}
