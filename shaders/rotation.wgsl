// Rotary positions: cosine and sine of an angle, for any position. Needs a binding `frequencies`.
//
// WGSL promises sine and cosine to 2⁻¹¹ only, and of an angle of 100,000 rad an f32 does not even hold the turn. So angles
// are counted in turns, in fixed point: a frequency is a fraction of a turn per position, 64 bits, and what wraps around in
// the integer product with a position is whole turns, which do not matter. That leaves the angle within a turn to 2⁻³²; the
// rest is a polynomial within an eighth of a turn either way of the nearest quarter.

// pairs of the largest head
const MAX_PAIRS = 128u;

// elements of a head that are rotated; the others stay
override DIMS: u32;
// pairs are (i, i + DIMS / 2) instead of (2i, 2i + 1)
override NEOX: bool;

// The upper word of a · b.
fn mul_high(a: u32, b: u32) -> u32 {
  let a0 = a & 0xffffu;
  let a1 = a >> 16u;
  let b0 = b & 0xffffu;
  let b1 = b >> 16u;
  let middle = a1 * b0 + ((a0 * b0) >> 16u);
  let low = (middle & 0xffffu) + a0 * b1;
  return a1 * b1 + (middle >> 16u) + (low >> 16u);
}

// (cos, sin) of pair i at a position. The frequency of a pair is (upper word, lower word); two of them are a vector.
fn turn(position: u32, i: u32) -> vec2<f32> {
  let two = frequencies[i / 2u];
  let frequency = select(two.xy, two.zw, (i & 1u) == 1u);
  let phase = position * frequency.x + mul_high(position, frequency.y);
  let quarter = (phase + 0x20000000u) >> 30u;
  // 2π / 2³² per unit
  let a = f32(bitcast<i32>(phase - (quarter << 30u))) * 1.4629180792671596e-9;
  let b = a * a;
  let sine = a * (1.0 + b * (-1.0 / 6.0 + b * (1.0 / 120.0 + b * (-1.0 / 5040.0 + b / 362880.0))));
  let cosine = 1.0 + b * (-0.5 + b * (1.0 / 24.0 + b * (-1.0 / 720.0 + b * (1.0 / 40320.0 - b / 3628800.0))));
  let odd = (quarter & 1u) == 1u;
  let turned = select(vec2<f32>(cosine, sine), vec2<f32>(-sine, cosine), odd);
  return select(turned, -turned, quarter >= 2u);
}

// The other element of the pair of element e of a head.
fn partner(e: u32) -> u32 {
  if e >= DIMS {
    return e;
  }
  if NEOX {
    return select(e - DIMS / 2u, e + DIMS / 2u, e < DIMS / 2u);
  }
  return e ^ 1u;
}

// Element e of a rotated head, from its own value and its partner's.
fn rotated(e: u32, own: f32, other: f32, position: u32) -> f32 {
  if e >= DIMS {
    return own;
  }
  var i = e / 2u;
  var is_first = (e & 1u) == 0u;
  if NEOX {
    i = e % (DIMS / 2u);
    is_first = e < DIMS / 2u;
  }
  let t = turn(position, i);
  return own * t.x + other * select(t.y, -t.y, is_first);
}
