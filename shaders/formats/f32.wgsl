// F32: 32 weights in 8 vectors.

fn numbers(block: u32, i: u32) -> vec4<f32> {
  return bitcast<vec4<f32>>(quants[8u * block + i]);
}

fn block_weights(block: u32) -> array<vec4<f32>, 8> {
  return array<vec4<f32>, 8>(
    numbers(block, 0u), numbers(block, 1u), numbers(block, 2u), numbers(block, 3u),
    numbers(block, 4u), numbers(block, 5u), numbers(block, 6u), numbers(block, 7u),
  );
}

fn block_dot(block: u32, x: array<vec4<f32>, 8>, x_sum: f32) -> f32 {
  return dot_32(block_weights(block), x);
}
