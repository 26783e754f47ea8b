//! Q4_0: 32 weights in 18 bytes, symmetric. Source: ggml-common.h, `block_q4_0`.
//!
//! ```text
//! byte   0  1 | 2            3            …  17
//!        d    | qs[0]        qs[1]        …  qs[15]
//!        f16  | w₁₆   w₀     w₁₇   w₁     …  w₃₁   w₁₅      high and low nibble
//!
//! w = (q − 8) · d            q in 0..=15
//! ```

use super::{
    BlockFormat, Quantize,
    half::{f16_is_non_finite, f16_to_f32, f32_to_f16},
    truncate_to_u8,
};

/// 32 weights.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BlockQ4_0 {
    /// Scale, f16.
    d: [u8; 2],
    /// Weight j in the low nibble of byte j, weight j + 16 in the high one.
    qs: [u8; 16],
}

impl BlockFormat<32> for BlockQ4_0 {
    fn dequantize(&self, out: &mut [f32; 32]) {
        let d = f16_to_f32(u16::from_le_bytes(self.d));
        let weight = |q: u8| (i32::from(q) - 8) as f32 * d;
        let (low, high) = out.split_at_mut(16);
        for ((low, high), q) in low.iter_mut().zip(high).zip(self.qs) {
            *low = weight(q & 15);
            *high = weight(q >> 4);
        }
    }

    fn is_finite(&self) -> bool {
        !f16_is_non_finite(u16::from_le_bytes(self.d))
    }
}

impl Quantize<32> for BlockQ4_0 {
    /// `quantize_row_q4_0_ref`: the weight of the largest magnitude becomes exactly −8 · d, so d may be negative.
    fn quantize(values: &[f32; 32]) -> Self {
        let mut extreme = 0.0_f32;
        for &x in values {
            if extreme.abs() < x.abs() {
                extreme = x;
            }
        }
        let d = extreme / -8.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        let nibble = |x: f32| truncate_to_u8(x * inverse + 8.5).min(15);
        let (low, high) = values.split_at(16);
        let mut qs = [0; 16];
        for ((q, &low), &high) in qs.iter_mut().zip(low).zip(high) {
            *q = nibble(low) | nibble(high) << 4;
        }
        Self { d: f32_to_f16(d).to_le_bytes(), qs }
    }
}
