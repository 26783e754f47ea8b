// BF16: 32 weights in 4 vectors, two per u32.

// a bf16 is the upper half of an f32
fn numbers(words: vec2<u32>) -> vec4<f32> {
  return bitcast<vec4<f32>>(vec4<u32>(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u));
}

fn block_weights(block: u32) -> array<vec4<f32>, 8> {
  let a = quants[4u * block];
  let b = quants[4u * block + 1u];
  let c = quants[4u * block + 2u];
  let d = quants[4u * block + 3u];
  return array<vec4<f32>, 8>(
    numbers(a.xy), numbers(a.zw), numbers(b.xy), numbers(b.zw),
    numbers(c.xy), numbers(c.zw), numbers(d.xy), numbers(d.zw),
  );
}

fn block_dot(block: u32, x: array<vec4<f32>, 8>, x_sum: f32) -> f32 {
  return dot_32(block_weights(block), x);
}
