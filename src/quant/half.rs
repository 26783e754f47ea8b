//! Conversions between f32 and the 16-bit floats, own code so that every build gives the same bits: no hardware
//! instruction is chosen, and a NaN keeps only its sign. Called by the formats here, the key-value cache and the executors.
//!
//! ```text
//! f16   s eeeee ffffffffff           bias 15,  1 + 5 + 10 bits
//! bf16  s eeeeeeee fffffff           bias 127, 1 + 8 + 7 bits: the upper half of an f32
//! f32   s eeeeeeee fffffffffff…      bias 127, 1 + 8 + 23 bits
//! ```

/// 2¹¹²: what moves an exponent from bias 15 to bias 127.
const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
/// Exponent bits of an f32: infinity without its sign.
const F32_INFINITY: u32 = 0x7F80_0000;

/// The f32 of an f16, exactly. A NaN stays a NaN.
#[inline]
pub fn f16_to_f32(h: u16) -> f32 {
    let sign = u32::from(h & 0x8000) << 16;
    let magnitude = u32::from(h & 0x7FFF) << 13;
    // Exponent and fraction lie where an f32 has them, so the number is 2¹¹² too small, subnormals included.
    let scaled = (f32::from_bits(magnitude) * REBIAS).to_bits();
    let special = if h & 0x7C00 == 0x7C00 { F32_INFINITY } else { 0 };
    f32::from_bits(sign | scaled | special)
}

/// The f16 nearest to an f32, ties to even; too large becomes infinity. A NaN becomes the quiet NaN 0x7E00 with its sign,
/// as in ggml's `ggml_compute_fp32_to_fp16`.
#[inline]
pub fn f32_to_f16(x: f32) -> u16 {
    /// 2⁻¹⁴: the smallest normal f16.
    const MIN_NORMAL: u32 = (127 - 14) << 23;
    /// 65,520: the smallest number that rounds to infinity.
    const OVERFLOW: u32 = 0x477F_F000;
    let sign = (x.to_bits() >> 16) as u16 & 0x8000;
    let magnitude = x.to_bits() & 0x7FFF_FFFF;
    let half = if magnitude > F32_INFINITY {
        0x7E00
    } else if magnitude >= OVERFLOW {
        0x7C00
    } else if magnitude < MIN_NORMAL {
        // Near 0.5 an f32 counts in steps of 2⁻²⁴, an f16's smallest: the addition rounds.
        ((f32::from_bits(magnitude) + 0.5).to_bits() - 0.5_f32.to_bits()) as u16
    } else {
        let round = 0xFFF + ((magnitude >> 13) & 1);
        ((magnitude + round - (112 << 23)) >> 13) as u16
    };
    sign | half
}

/// The f32 of a bf16, exactly.
#[inline]
pub fn bf16_to_f32(h: u16) -> f32 {
    f32::from_bits(u32::from(h) << 16)
}

/// The bf16 nearest to an f32, ties to even; a NaN is made quiet, as in ggml's `ggml_compute_fp32_to_bf16`.
#[inline]
pub fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if bits & 0x7FFF_FFFF > F32_INFINITY {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) as u16
}

/// Whether an f16 is infinite or a NaN.
#[inline]
pub fn f16_is_non_finite(h: u16) -> bool {
    h & 0x7C00 == 0x7C00
}
