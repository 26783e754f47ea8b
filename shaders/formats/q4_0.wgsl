// Q4_0: w = (q − 8) · d. 32 nibbles in one vector, one f16 scale; two scales per u32.

fn bytes(word: u32) -> vec4<f32> {
  return vec4<f32>((vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u));
}

// In each word the low nibbles are four weights, the high ones the next four.
fn block_quants(block: u32) -> array<vec4<f32>, 8> {
  let low = quants[block] & vec4<u32>(0x0f0f0f0fu);
  let high = (quants[block] >> vec4<u32>(4u)) & vec4<u32>(0x0f0f0f0fu);
  return array<vec4<f32>, 8>(
    bytes(low.x), bytes(high.x), bytes(low.y), bytes(high.y),
    bytes(low.z), bytes(high.z), bytes(low.w), bytes(high.w),
  );
}

fn scale(block: u32) -> f32 {
  let pair = unpack2x16float(scales[block / 2u]);
  return select(pair.x, pair.y, block % 2u == 1u);
}

fn block_weights(block: u32) -> array<vec4<f32>, 8> {
  let q = block_quants(block);
  let d = scale(block);
  let o = vec4<f32>(8.0);
  return array<vec4<f32>, 8>(
    (q[0] - o) * d, (q[1] - o) * d, (q[2] - o) * d, (q[3] - o) * d,
    (q[4] - o) * d, (q[5] - o) * d, (q[6] - o) * d, (q[7] - o) * d,
  );
}

fn block_dot(block: u32, x: array<vec4<f32>, 8>, x_sum: f32) -> f32 {
  return scale(block) * (dot_32(block_quants(block), x) - 8.0 * x_sum);
}
