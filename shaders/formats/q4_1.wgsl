// Q4_1: w = q · d + m. 32 nibbles in one vector; d and m are the halves of a u32.

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

fn block_weights(block: u32) -> array<vec4<f32>, 8> {
  let q = block_quants(block);
  let dm = unpack2x16float(scales[block]);
  let m = vec4<f32>(dm.y);
  return array<vec4<f32>, 8>(
    q[0] * dm.x + m, q[1] * dm.x + m, q[2] * dm.x + m, q[3] * dm.x + m,
    q[4] * dm.x + m, q[5] * dm.x + m, q[6] * dm.x + m, q[7] * dm.x + m,
  );
}

fn block_dot(block: u32, x: array<vec4<f32>, 8>, x_sum: f32) -> f32 {
  let dm = unpack2x16float(scales[block]);
  return dm.x * dot_32(block_quants(block), x) + dm.y * x_sum;
}
