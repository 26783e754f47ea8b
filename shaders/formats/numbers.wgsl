// F32, F16, BF16: the numbers themselves. 32 of them in 8 vectors, or in 4 with two per u32.

//#if F32
fn block_weights(block: u32) -> array<vec4<f32>, 8> {
  let i = 8u * block;
  return array<vec4<f32>, 8>(
    bitcast<vec4<f32>>(quants[i]), bitcast<vec4<f32>>(quants[i + 1u]),
    bitcast<vec4<f32>>(quants[i + 2u]), bitcast<vec4<f32>>(quants[i + 3u]),
    bitcast<vec4<f32>>(quants[i + 4u]), bitcast<vec4<f32>>(quants[i + 5u]),
    bitcast<vec4<f32>>(quants[i + 6u]), bitcast<vec4<f32>>(quants[i + 7u]),
  );
}
//#else
fn numbers(words: vec2<u32>) -> vec4<f32> {
  //#if BF16
  // a bf16 is the upper half of an f32
  return bitcast<vec4<f32>>(vec4<u32>(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u));
  //#else
  return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
  //#endif
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
//#endif

alias Block = array<vec4<f32>, 8>;

fn read_block(block: u32) -> Block {
  return block_weights(block);
}

fn read_dot(block: Block, x: array<vec4<f32>, 8>, x_sums: vec2<f32>) -> f32 {
  return dot_32(block, x);
}
