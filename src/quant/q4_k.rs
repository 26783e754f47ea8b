//! Q4_K: 256 weights in 144 bytes, 8 runs of 32 with scale and minimum. Source: ggml-common.h, `block_q4_K`.
//!
//! ```text
//! byte   0  1 | 2  3 | 4  …  15       | 16  …  143
//!        d    | dmin | scales: below  | qs: four times 32 bytes; byte i of the first:
//!        f16  | f16  |                | q₃₂₊ᵢ  qᵢ, high and low nibble
//!
//! scales, six bits each:   byte    bits 7 6           bits 5 … 0
//!                          0 … 3   high two of s₄…s₇  s₀ … s₃
//!                          4 … 7   high two of m₄…m₇  m₀ … m₃
//!                          8 … 11  low four of m₄…m₇ (high nibble) and of s₄…s₇ (low nibble)
//!
//! w = (d · s) · q − dmin · m          q in 0..=15, s and m in 0..=63
//! ```

use super::{
    coded::{CodedBlock, Coding, Scales, Values, nibbles},
    half::f16_to_f32,
};

/// 256 weights.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BlockQ4K {
    /// Scale of the scales, f16.
    d: [u8; 2],
    /// Scale of the minima, f16.
    dmin: [u8; 2],
    /// Scales and minima of six bits.
    scales: [u8; 12],
    /// Two codes per byte.
    qs: [u8; 128],
}

impl CodedBlock for BlockQ4K {
    const CODING: Coding = Coding { run: 32, bits: 4, scale_bits: 6, values: Values::From(0), has_minima: true };

    fn scales(&self) -> Scales {
        scales_and_minima(self.d, self.dmin, &self.scales)
    }

    fn codes(&self, codes: &mut [u8]) {
        nibbles::<32>(&self.qs, codes);
    }
}

/// The numbers of a block of Q4_K or Q5_K.
pub(super) fn scales_and_minima(d: [u8; 2], dmin: [u8; 2], packed: &[u8; 12]) -> Scales {
    let [d, dmin] = [d, dmin].map(|h| f16_to_f32(u16::from_le_bytes(h)));
    let mut scales = Scales { d, dmin, ..Scales::default() };
    let (first, rest) = packed.split_at(4);
    let (second, third) = rest.split_at(4);
    for (i, ((a, b), c)) in first.iter().zip(second).zip(third).enumerate() {
        let of_run = [(i, a & 63, b & 63), (i + 4, c & 15 | a >> 6 << 4, c >> 4 | b >> 6 << 4)];
        for (run, s, m) in of_run {
            if let (Some(to_s), Some(to_m)) = (scales.s.get_mut(run), scales.m.get_mut(run)) {
                (*to_s, *to_m) = (s as i8, m as i8);
            }
        }
    }
    scales
}
