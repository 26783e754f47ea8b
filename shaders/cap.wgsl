// Soft caps. Needs lanes.wgsl.

override CAP: f32;

// c · tanh(x / c). Near 0 a polynomial, as in src/cpu/math.rs.
fn capped(x: Lane) -> Lane {
  let y = x / CAP;
  let z = y * y;
  let near = y + y * z * (-0.33333282 + z * (0.13331442 + z * (-0.053739716 + z * (0.020639089 - 0.0057049887 * z))));
  let e = exp(-2.0 * abs(y));
  let far = sign(y) * (1.0 - e) / (1.0 + e);
  return CAP * select(far, near, z < Lane(0.390625));
}
