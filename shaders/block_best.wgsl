// For each block of a row's logits the largest and Σ e^(logit − largest), as candidates.wgsl wants them: where the product that makes the
// logits does not do it. logits [Out, VOCABULARY]. One invocation per block, whose logits are N_BLOCKS apart, so that invocations side
// by side read side by side.

@group(0) @binding(0) var<storage, read> logits: array<u32>;
@group(0) @binding(1) var<storage, read_write> blocks: array<vec2<u32>>;

override VOCABULARY: u32;
// a multiple of 64
override N_BLOCKS: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = id.y * VOCABULARY;
  var key = 0u;
  var finite = true;
  for (var i = id.x; i < VOCABULARY; i += N_BLOCKS) {
    let bits = logits[row + i];
    key = max(key, ordered(bits));
    finite = finite && is_finite(bits);
  }
  var sum = 0u;
  if key > 0u {
    let largest = number(key);
    var total = 0.0;
    for (var i = id.x; i < VOCABULARY; i += N_BLOCKS) {
      total += exp(bitcast<f32>(logits[row + i]) - largest);
    }
    sum = bitcast<u32>(total);
  }
  blocks[id.y * N_BLOCKS + id.x] = vec2<u32>(key, select(NOT_A_NUMBER, sum, finite));
}
