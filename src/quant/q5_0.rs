//! Q5_0: 32 weights in 22 bytes, symmetric. Source: ggml-common.h, `block_q5_0`.
//!
//! ```text
//! byte   0  1 | 2 … 5                       | 6            …  21
//!        d    | qh: bit j is bit 4 of q_j   | qs[0]        …  qs[15]
//!        f16  | u32                         | q₁₆   q₀     …  q₃₁   q₁₅      high and low nibble: bits 0 to 3
//!
//! w = (q − 16) · d           q in 0..=31
//! ```

use super::{
    Quantize,
    coded::{CodedBlock, Coding, Scales, Values, nibbles, one_scale},
    half::{f16_to_f32, f32_to_f16},
    truncate_to_u8,
};

/// 32 weights.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BlockQ5_0 {
    /// Scale, f16.
    d: [u8; 2],
    /// Bit 4 of the codes.
    qh: [u8; 4],
    /// Code j in the low nibble of byte j, code j + 16 in the high one.
    qs: [u8; 16],
}

impl CodedBlock for BlockQ5_0 {
    const CODING: Coding = Coding { run: 32, bits: 5, scale_bits: 0, values: Values::From(-16), has_minima: false };

    fn scales(&self) -> Scales {
        one_scale(f16_to_f32(u16::from_le_bytes(self.d)))
    }

    fn codes(&self, codes: &mut [u8]) {
        nibbles::<16>(&self.qs, codes);
        add_fifth_bits(self.qh, codes);
    }
}

impl Quantize<32> for BlockQ5_0 {
    /// `quantize_row_q5_0_ref`: the weight of the largest magnitude becomes exactly −16 · d, so d may be negative.
    fn quantize(values: &[f32; 32]) -> Self {
        let mut extreme = 0.0_f32;
        for &x in values {
            if extreme.abs() < x.abs() {
                extreme = x;
            }
        }
        let d = extreme / -16.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        // ggml goes through a signed byte, which is compared as one: what wrapped to a negative number stays below 31.
        let codes = values.map(|x| truncate_to_u8(x * inverse + 16.5).cast_signed().min(31).cast_unsigned());
        let (qh, qs) = pack(&codes);
        Self { d: f32_to_f16(d).to_le_bytes(), qh, qs }
    }
}

/// Bit 4 of every code.
pub(super) fn add_fifth_bits(qh: [u8; 4], codes: &mut [u8]) {
    let bits = u32::from_le_bytes(qh);
    for (j, code) in codes.iter_mut().enumerate() {
        *code |= ((bits >> j) as u8 & 1) << 4;
    }
}

/// Codes of five bits to their two parts.
pub(super) fn pack(codes: &[u8; 32]) -> ([u8; 4], [u8; 16]) {
    let bits = codes.iter().rev().fold(0, |bits: u32, code| bits << 1 | u32::from(code >> 4 & 1));
    let (low, high) = codes.split_at(16);
    let mut qs = [0; 16];
    for ((q, low), high) in qs.iter_mut().zip(low).zip(high) {
        *q = low & 15 | high << 4;
    }
    (bits.to_le_bytes(), qs)
}
