// Blocks of 32 numbers as eight vectors.

// Of the halves.
fn dots_16(a: array<vec4<f32>, 8>, b: array<vec4<f32>, 8>) -> vec2<f32> {
  let low = (a[0] * b[0] + a[1] * b[1]) + (a[2] * b[2] + a[3] * b[3]);
  let high = (a[4] * b[4] + a[5] * b[5]) + (a[6] * b[6] + a[7] * b[7]);
  return vec2<f32>(sum_4(low), sum_4(high));
}

fn dot_32(a: array<vec4<f32>, 8>, b: array<vec4<f32>, 8>) -> f32 {
  let low = (a[0] * b[0] + a[1] * b[1]) + (a[2] * b[2] + a[3] * b[3]);
  let high = (a[4] * b[4] + a[5] * b[5]) + (a[6] * b[6] + a[7] * b[7]);
  return sum_4(low + high);
}

// Of the halves.
fn sums_16(a: array<vec4<f32>, 8>) -> vec2<f32> {
  return vec2<f32>(sum_4((a[0] + a[1]) + (a[2] + a[3])), sum_4((a[4] + a[5]) + (a[6] + a[7])));
}

fn sum_4(a: vec4<f32>) -> f32 {
  return (a.x + a.y) + (a.z + a.w);
}

fn product_32(a: array<vec4<f32>, 8>, b: array<vec4<f32>, 8>) -> array<vec4<f32>, 8> {
  return array<vec4<f32>, 8>(
    a[0] * b[0], a[1] * b[1], a[2] * b[2], a[3] * b[3], a[4] * b[4], a[5] * b[5], a[6] * b[6], a[7] * b[7],
  );
}
