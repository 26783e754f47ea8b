// Q8_0: w = q · d. 32 signed bytes in 2 vectors, one f16 scale; two scales per u32.

fn signed_bytes(word: u32) -> vec4<f32> {
  return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
}

fn scale(block: u32) -> f32 {
  let pair = unpack2x16float(scales[block / 2u]);
  return select(pair.x, pair.y, block % 2u == 1u);
}

fn block_quants(block: u32) -> array<vec4<f32>, 8> {
  let a = quants[2u * block];
  let b = quants[2u * block + 1u];
  return array<vec4<f32>, 8>(
    signed_bytes(a.x), signed_bytes(a.y), signed_bytes(a.z), signed_bytes(a.w),
    signed_bytes(b.x), signed_bytes(b.y), signed_bytes(b.z), signed_bytes(b.w),
  );
}

fn block_weights(block: u32) -> array<vec4<f32>, 8> {
  let q = block_quants(block);
  let d = scale(block);
  return array<vec4<f32>, 8>(q[0] * d, q[1] * d, q[2] * d, q[3] * d, q[4] * d, q[5] * d, q[6] * d, q[7] * d);
}

fn block_dot(block: u32, x: array<vec4<f32>, 8>, x_sum: f32) -> f32 {
  return scale(block) * dot_32(block_quants(block), x);
}
