//! F32, F16, BF16: tensors without blocks, little-endian, one number after the other. Source: ggml.h, `ggml_type`.
//!
//! ```text
//! F32   | x₀ 4 bytes | x₁ 4 bytes | …          w = x
//! F16   | h₀ 2 | h₁ 2 | …                      w = f32(h)
//! BF16  | h₀ 2 | h₁ 2 | …                      w = f32(h · 2¹⁶ as bits)
//! ```

use super::{
    BlockFormat, Quantize,
    half::{bf16_to_f32, f16_is_non_finite, f16_to_f32, f32_to_bf16, f32_to_f16},
};

/// One number of an F32 tensor.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BlockF32 {
    x: [u8; 4],
}

/// One number of an F16 tensor.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BlockF16 {
    h: [u8; 2],
}

/// One number of a BF16 tensor.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BlockBf16 {
    h: [u8; 2],
}

impl BlockFormat<1> for BlockF32 {
    fn dequantize(&self, out: &mut [f32; 1]) {
        *out = [f32::from_le_bytes(self.x)];
    }

    fn is_finite(&self) -> bool {
        f32::from_le_bytes(self.x).is_finite()
    }
}

impl Quantize<1> for BlockF32 {
    fn quantize([x]: &[f32; 1]) -> Self {
        Self { x: x.to_le_bytes() }
    }
}

impl BlockFormat<1> for BlockF16 {
    fn dequantize(&self, out: &mut [f32; 1]) {
        *out = [f16_to_f32(u16::from_le_bytes(self.h))];
    }

    fn is_finite(&self) -> bool {
        !f16_is_non_finite(u16::from_le_bytes(self.h))
    }
}

impl Quantize<1> for BlockF16 {
    fn quantize([x]: &[f32; 1]) -> Self {
        Self { h: f32_to_f16(*x).to_le_bytes() }
    }
}

impl BlockFormat<1> for BlockBf16 {
    fn dequantize(&self, out: &mut [f32; 1]) {
        *out = [bf16_to_f32(u16::from_le_bytes(self.h))];
    }

    fn is_finite(&self) -> bool {
        bf16_to_f32(u16::from_le_bytes(self.h)).is_finite()
    }
}

impl Quantize<1> for BlockBf16 {
    fn quantize([x]: &[f32; 1]) -> Self {
        Self { h: f32_to_bf16(*x).to_le_bytes() }
    }
}
