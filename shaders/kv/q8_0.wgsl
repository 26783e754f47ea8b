// A cache of Q8_0: four elements in a word, 32 of them with a scale, as quant/q8_0.rs rounds them. The scale is a word by itself, the
// bits of an f32 that an f16 holds. After half.wgsl.
//
// WGSL lets a driver be some units of the last place off in a division, so both are done in integers.

alias Quad = u32;
// quads that are rounded together, and what they become: quads, and the scale behind them
const TOGETHER = 8u;
alias Packed = array<Quad, 9>;

fn unpack_quad(quad: Quad) -> vec4<f32> {
  return vec4<f32>(vec4<i32>(vec4<u32>(quad << 24u, quad << 16u, quad << 8u, quad)) >> vec4<u32>(24u));
}

// x / 127, to the nearest, ties to even; x ≥ 0. 0 where that is below 2⁻¹¹⁸, which no f16 holds.
fn over_127(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  let exponent = bits >> 23u;
  if exponent < 16u {
    return 0.0;
  }
  if exponent == 255u {
    return x;
  }
  let dividend = ((bits & 0x7fffffu) | 0x800000u) << 7u;
  var quotient = dividend / 127u;
  let rest = dividend % 127u;
  if quotient < 0x1000000u {
    // 127 is odd: there are no ties.
    quotient += select(0u, 1u, 2u * rest > 127u);
    // What carries over is the exponent's.
    return bitcast<f32>(((exponent - 7u) << 23u) + quotient - 0x800000u);
  }
  let half = quotient >> 1u;
  let up = (quotient & 1u) == 1u && (rest > 0u || (half & 1u) == 1u);
  return bitcast<f32>(((exponent - 6u) << 23u) + half + select(0u, 1u, up) - 0x800000u);
}

// 1 / x, to the nearest; 2⁻¹¹⁸ ≤ x < 2¹²¹. Of 2⁴⁷ / m with the 24 bits m of x, what is off is seen from the rest, which fits into 32 bits.
fn reciprocal(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  let m = (bits & 0x7fffffu) | 0x800000u;
  var quotient = u32(140737488355328.0 / f32(m));
  var rest = bitcast<i32>(0u - quotient * m);
  let half = i32(m >> 1u);
  for (var i = 0u; i < 8u; i++) {
    if rest > half {
      quotient++;
      rest -= i32(m);
    } else if rest < -half {
      quotient--;
      rest += i32(m);
    }
  }
  // quotient · 2⁻⁴⁷ · 2^(150 − exponent), in two factors: each is a power of two.
  let exponent = i32(bits >> 23u);
  return f32(quotient) * bitcast<f32>(u32(127 - 23) << 23u) * bitcast<f32>(u32(127 + 126 - exponent) << 23u);
}

// Halves go away from zero.
fn rounded(x: vec4<f32>) -> vec4<i32> {
  let whole = trunc(abs(x));
  let up = select(vec4<f32>(), vec4<f32>(1.0), abs(x) - whole >= vec4<f32>(0.5));
  return vec4<i32>(sign(x) * (whole + up));
}

fn pack(x: array<vec4<f32>, TOGETHER>) -> Packed {
  var y = x;
  var top = vec4<f32>();
  for (var i = 0u; i < TOGETHER; i++) {
    top = max(top, abs(y[i]));
  }
  let d = over_127(max(max(top.x, top.y), max(top.z, top.w)));
  var inverse = 0.0;
  if d > 0.0 && d < 1e36 {
    inverse = reciprocal(d);
  }
  var packed = Packed();
  for (var i = 0u; i < TOGETHER; i++) {
    let q = vec4<u32>(rounded(inverse * y[i])) & vec4<u32>(255u);
    packed[i] = q.x | (q.y << 8u) | (q.z << 16u) | (q.w << 24u);
  }
  let half = half_bits(d);
  let small = f32(half) * 5.9604644775390625e-8;
  let normal = select((half << 13u) + 0x38000000u, 0x7f800000u, half >= 0x7c00u);
  packed[TOGETHER] = select(normal, bitcast<u32>(small), half < 0x400u);
  return packed;
}
