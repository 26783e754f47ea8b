//! Q5_K: 256 weights in 176 bytes, 8 runs of 32 with scale and minimum. Source: ggml-common.h, `block_q5_K`.
//!
//! ```text
//! byte   0  1 | 2  3 | 4  …  15         | 16  …  47              | 48  …  175
//!        d    | dmin | scales: as Q4_K  | qh: bit f of byte i    | qs: four times 32 bytes; byte i of the first:
//!        f16  | f16  |                  | is bit 4 of q₃₂f₊ᵢ     | q₃₂₊ᵢ  qᵢ, high and low nibble: bits 0 to 3
//!
//! w = (d · s) · q − dmin · m            q in 0..=31, s and m in 0..=63
//! ```

use super::{
    coded::{CodedBlock, Coding, Scales, Values, add_bits, nibbles},
    q4_k::scales_and_minima,
};

/// 256 weights.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BlockQ5K {
    /// Scale of the scales, f16.
    d: [u8; 2],
    /// Scale of the minima, f16.
    dmin: [u8; 2],
    /// Scales and minima of six bits.
    scales: [u8; 12],
    /// Bit 4 of the codes.
    qh: [u8; 32],
    /// Bits 0 to 3 of two codes per byte.
    qs: [u8; 128],
}

impl CodedBlock for BlockQ5K {
    const CODING: Coding = Coding { run: 32, bits: 5, scale_bits: 6, values: Values::From(0), has_minima: true };

    fn scales(&self) -> Scales {
        scales_and_minima(self.d, self.dmin, &self.scales)
    }

    fn codes(&self, codes: &mut [u8]) {
        nibbles::<32>(&self.qs, codes);
        add_bits(&self.qh, 4, codes);
    }
}
