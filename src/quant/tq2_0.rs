//! TQ2_0: 256 ternary weights in 66 bytes, two bits each. Source: ggml-common.h, `block_tq2_0`.
//!
//! ```text
//! byte   0  …  63                                                           | 64 65
//!        qs: twice 32 bytes; byte i of the first: q₉₆₊ᵢ q₆₄₊ᵢ q₃₂₊ᵢ qᵢ      | d
//!        two bits each                                                      | f16
//!
//! w = (q − 1) · d          q in 0..=2 as ggml writes it; 3 reads as 2 · d
//! ```

use super::{
    coded::{CodedBlock, Coding, Scales, Values, add_pairs, one_scale},
    half::f16_to_f32,
};

/// 256 weights.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BlockTq2_0 {
    /// Four codes per byte.
    qs: [u8; 64],
    /// Scale, f16.
    d: [u8; 2],
}

impl CodedBlock for BlockTq2_0 {
    const CODING: Coding = Coding { run: 32, bits: 2, scale_bits: 0, values: Values::From(-1), has_minima: false };

    fn scales(&self) -> Scales {
        one_scale(f16_to_f32(u16::from_le_bytes(self.d)))
    }

    fn codes(&self, codes: &mut [u8]) {
        codes.fill(0);
        add_pairs(&self.qs, 0, codes);
    }
}
