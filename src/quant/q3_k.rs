//! Q3_K: 256 weights in 110 bytes, 16 runs of 16 with a signed scale. Source: ggml-common.h, `block_q3_K`.
//!
//! ```text
//! byte   0  …  31                | 32  …  95                               | 96  …  107     | 108 109
//!        hmask: bit f of byte i  | qs: twice 32 bytes; byte i of the first | scales: below  | d
//!        is bit 2 of q₃₂f₊ᵢ      | q₉₆₊ᵢ q₆₄₊ᵢ q₃₂₊ᵢ qᵢ, bits 0 and 1      |                | f16
//!
//! scales, s + 32 in six bits: the low four of s₀…s₇ in the low nibbles of bytes 0 to 7, of s₈…s₁₅ in the high ones;
//!         the high two of s₄f₊ᵢ in bits 2f, 2f + 1 of byte 8 + i
//!
//! w = (d · s) · (q − 4)          q in 0..=7, s in −32..=31
//! ```

use super::{
    coded::{CodedBlock, Coding, Scales, Values, add_bits, add_pairs},
    half::f16_to_f32,
};

/// 256 weights.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BlockQ3K {
    /// Bit 2 of the codes.
    hmask: [u8; 32],
    /// Bits 0 and 1 of the codes, four codes per byte.
    qs: [u8; 64],
    /// Scales of six bits.
    scales: [u8; 12],
    /// Scale of the scales, f16.
    d: [u8; 2],
}

impl CodedBlock for BlockQ3K {
    const CODING: Coding = Coding { run: 16, bits: 3, scale_bits: 6, values: Values::From(-4), has_minima: false };

    fn scales(&self) -> Scales {
        let (low, high) = self.scales.split_at(8);
        let nibbles = low.iter().map(|x| x & 15).chain(low.iter().map(|x| x >> 4));
        let pairs = (0..4).flat_map(|field| high.iter().map(move |x| (x >> (2 * field)) & 3));
        let mut scales = Scales { d: f16_to_f32(u16::from_le_bytes(self.d)), ..Scales::default() };
        for (s, (low, high)) in scales.s.iter_mut().zip(nibbles.zip(pairs)) {
            *s = (low | high << 4) as i8 - 32;
        }
        scales
    }

    fn codes(&self, codes: &mut [u8]) {
        codes.fill(0);
        add_pairs(&self.qs, 0, codes);
        add_bits(&self.hmask, 2, codes);
    }
}
