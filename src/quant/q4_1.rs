//! Q4_1: 32 weights in 20 bytes, with a minimum. Source: ggml-common.h, `block_q4_1`.
//!
//! ```text
//! byte   0  1 | 2  3 | 4            5            …  19
//!        d    | m    | qs[0]        qs[1]        …  qs[15]
//!        f16  | f16  | w₁₆   w₀     w₁₇   w₁     …  w₃₁   w₁₅      high and low nibble
//!
//! w = q · d + m              q in 0..=15
//! ```

use super::{
    BlockFormat, Quantize, bounds,
    half::{f16_is_non_finite, f16_to_f32, f32_to_f16},
    truncate_to_u8,
};

/// 32 weights.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BlockQ4_1 {
    /// Scale, f16.
    d: [u8; 2],
    /// Minimum, f16.
    m: [u8; 2],
    /// Weight j in the low nibble of byte j, weight j + 16 in the high one.
    qs: [u8; 16],
}

impl BlockFormat<32> for BlockQ4_1 {
    fn dequantize(&self, out: &mut [f32; 32]) {
        let d = f16_to_f32(u16::from_le_bytes(self.d));
        let m = f16_to_f32(u16::from_le_bytes(self.m));
        // The product is exact (4 bits times 11), so one rounding: a fused multiply-add would give the same bits.
        let weight = |q: u8| f32::from(q) * d + m;
        let (low, high) = out.split_at_mut(16);
        for ((low, high), q) in low.iter_mut().zip(high).zip(self.qs) {
            *low = weight(q & 15);
            *high = weight(q >> 4);
        }
    }

    fn is_finite(&self) -> bool {
        !f16_is_non_finite(u16::from_le_bytes(self.d)) && !f16_is_non_finite(u16::from_le_bytes(self.m))
    }
}

impl Quantize<32> for BlockQ4_1 {
    /// `quantize_row_q4_1_ref`: 16 equal steps from the smallest to the largest weight.
    fn quantize(values: &[f32; 32]) -> Self {
        let (min, max) = bounds(values);
        let d = (max - min) / 15.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        let nibble = |x: f32| truncate_to_u8((x - min) * inverse + 0.5).min(15);
        let (low, high) = values.split_at(16);
        let mut qs = [0; 16];
        for ((q, &low), &high) in qs.iter_mut().zip(low).zip(high) {
            *q = nibble(low) | nibble(high) << 4;
        }
        Self { d: f32_to_f16(d).to_le_bytes(), m: f32_to_f16(min).to_le_bytes(), qs }
    }
}
