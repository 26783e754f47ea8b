// F32: 32 weights in 8 words of four.

fn block_weights(block: u32) -> array<vec4<f32>, 8> {
  var weights: array<vec4<f32>, 8>;
  for (var i = 0u; i < 8u; i++) {
    weights[i] = bitcast<vec4<f32>>(quants[8u * block + i]);
  }
  return weights;
}
