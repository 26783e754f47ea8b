//! Q5_1: 32 weights in 24 bytes, with a minimum. Source: ggml-common.h, `block_q5_1`.
//!
//! ```text
//! byte   0  1 | 2  3 | 4 … 7                       | 8            …  23
//!        d    | m    | qh: bit j is bit 4 of q_j   | qs[0]        …  qs[15]
//!        f16  | f16  | u32                         | q₁₆   q₀     …  q₃₁   q₁₅      high and low nibble: bits 0 to 3
//!
//! w = q · d + m              q in 0..=31
//! ```

use super::{
    Quantize, bounds,
    coded::{CodedBlock, Coding, MAX_RUNS, Scales, Values, nibbles},
    half::{f16_to_f32, f32_to_f16},
    q5_0::{add_fifth_bits, pack},
    truncate_to_u8,
};

/// 32 weights.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BlockQ5_1 {
    /// Scale, f16.
    d: [u8; 2],
    /// Minimum, f16.
    m: [u8; 2],
    /// Bit 4 of the codes.
    qh: [u8; 4],
    /// Code j in the low nibble of byte j, code j + 16 in the high one.
    qs: [u8; 16],
}

impl CodedBlock for BlockQ5_1 {
    const CODING: Coding = Coding { run: 32, bits: 5, scale_bits: 0, values: Values::From(0), has_minima: true };

    /// The minimum is added here and taken away in the other formats: m is −1.
    fn scales(&self) -> Scales {
        let [d, dmin] = [self.d, self.m].map(|h| f16_to_f32(u16::from_le_bytes(h)));
        Scales { d, dmin, s: [1; MAX_RUNS], m: [-1; MAX_RUNS] }
    }

    fn codes(&self, codes: &mut [u8]) {
        nibbles::<16>(&self.qs, codes);
        add_fifth_bits(self.qh, codes);
    }
}

impl Quantize<32> for BlockQ5_1 {
    /// `quantize_row_q5_1_ref`: 32 equal steps from the smallest to the largest weight.
    fn quantize(values: &[f32; 32]) -> Self {
        let (min, max) = bounds(values);
        let d = (max - min) / 31.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        let (qh, qs) = pack(&values.map(|x| truncate_to_u8((x - min) * inverse + 0.5)));
        Self { d: f32_to_f16(d).to_le_bytes(), m: f32_to_f16(min).to_le_bytes(), qh, qs }
    }
}
