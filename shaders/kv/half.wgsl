// The f16 nearest to x, ties to even, as quant/half.rs has it. By hand and in integers: pack2x16float may round either way,
// what is over 65,504 it makes anything, and what is below 2⁻¹⁴ a driver may take for 0.
fn half_bits(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  let sign = (bits >> 16u) & 0x8000u;
  let magnitude = bits & 0x7fffffffu;
  if magnitude > 0x7f800000u {
    return sign | 0x7e00u;
  }
  // 65,520 and above
  if magnitude >= 0x477ff000u {
    return sign | 0x7c00u;
  }
  // 2⁻¹⁴ and above
  if magnitude >= 0x38800000u {
    return sign | ((magnitude + 0xfffu + ((magnitude >> 13u) & 1u) - 0x38000000u) >> 13u);
  }
  // a multiple of 2⁻²⁴: the fraction with its leading one, shifted
  let shift = min(126u - (magnitude >> 23u), 31u);
  let fraction = (magnitude & 0x7fffffu) | 0x800000u;
  let half = fraction >> shift;
  let rest = fraction & ((1u << shift) - 1u);
  let tie = 1u << (shift - 1u);
  let up = rest > tie || (rest == tie && (half & 1u) == 1u);
  return sign | (half + select(0u, 1u, up));
}
