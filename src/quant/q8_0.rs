//! Q8_0: 32 weights in 34 bytes, symmetric. Source: ggml-common.h, `block_q8_0`.
//!
//! ```text
//! byte   0  1 | 2      3      …  33
//!        d    | qs[0]  qs[1]  …  qs[31]
//!        f16  | w₀     w₁     …  w₃₁        i8
//!
//! w = q · d                  q in −128..=127
//! ```

use super::{
    BlockFormat, Quantize,
    half::{f16_is_non_finite, f16_to_f32, f32_to_f16},
    truncate_to_u8,
};

/// Elements of a block.
pub const BLOCK: usize = 32;
/// Bytes of a block.
pub const BLOCK_BYTES: usize = size_of::<BlockQ8_0>();

/// Scale, f16, and whole numbers of what a block becomes.
pub fn encode(values: &[f32; BLOCK]) -> (u16, [i8; BLOCK]) {
    let BlockQ8_0 { d, qs } = BlockQ8_0::quantize(values);
    (u16::from_le_bytes(d), qs)
}

/// The same of a block's bytes.
pub fn parts(bytes: &[u8; BLOCK_BYTES]) -> (u16, [i8; BLOCK]) {
    let BlockQ8_0 { d, qs } = bytemuck::cast(*bytes);
    (u16::from_le_bytes(d), qs)
}

/// 32 weights.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BlockQ8_0 {
    /// Scale, f16.
    d: [u8; 2],
    /// One weight per byte.
    qs: [i8; 32],
}

impl BlockFormat<32> for BlockQ8_0 {
    fn dequantize(&self, out: &mut [f32; 32]) {
        let d = f16_to_f32(u16::from_le_bytes(self.d));
        for (out, q) in out.iter_mut().zip(self.qs) {
            *out = f32::from(q) * d;
        }
    }

    fn is_finite(&self) -> bool {
        !f16_is_non_finite(u16::from_le_bytes(self.d))
    }
}

impl Quantize<32> for BlockQ8_0 {
    /// `quantize_row_q8_0_ref`: the largest magnitude becomes ±127; halves are rounded away from zero.
    fn quantize(values: &[f32; 32]) -> Self {
        let mut largest = 0.0_f32;
        for x in values {
            // ggml's MAX(a, b): b where they cannot be compared.
            largest = if largest > x.abs() { largest } else { x.abs() };
        }
        let d = largest / 127.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        Self { d: f32_to_f16(d).to_le_bytes(), qs: values.map(|x| truncate_to_u8((x * inverse).round()).cast_signed()) }
    }
}
