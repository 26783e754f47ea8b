// Numbers as integers of the same order, and what is not finite. In integers, because a driver may take it for granted that
// there are no NaN and no infinity.

// A larger number has a larger key; −0 and 0 have the same.
fn ordered(bits: u32) -> u32 {
  let x = select(bits, 0u, bits == 0x80000000u);
  return select(x | 0x80000000u, ~x, x >= 0x80000000u);
}

// The number of a key.
fn number(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}

fn is_finite(bits: u32) -> bool {
  return (bits & 0x7f800000u) != 0x7f800000u;
}

// A NaN
const NOT_A_NUMBER = 0x7fc00000u;
