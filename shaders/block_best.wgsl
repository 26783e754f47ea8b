// For each block of a row's logits the largest and Σ e^(logit − largest): the first half of what finds the best of them.
// logits [Out, VOCABULARY]; blocks [Out, blocks].
//
// One invocation per block. A block is BLOCK_LEN logits 64 apart, so that invocations side by side read side by side. A block
// past the vocabulary has the key 0, which is below every number's.

@group(0) @binding(0) var<storage, read> logits: array<u32>;
// key of the largest (ordered.wgsl), bits of the sum
@group(0) @binding(1) var<storage, read_write> blocks: array<vec2<u32>>;

override VOCABULARY: u32;
override BLOCK_LEN: u32;

const WORKGROUP = 64u;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) n_groups: vec3<u32>,
  @builtin(local_invocation_index) me: u32,
) {
  let row = group.y * VOCABULARY;
  let first = group.x * WORKGROUP * BLOCK_LEN + me;
  let end = min(first + WORKGROUP * BLOCK_LEN, VOCABULARY);
  var key = 0u;
  var finite = true;
  for (var i = first; i < end; i += WORKGROUP) {
    let bits = logits[row + i];
    key = max(key, ordered(bits));
    finite = finite && is_finite(bits);
  }
  var sum = 0u;
  if key > 0u {
    let largest = number(key);
    var total = 0.0;
    for (var i = first; i < end; i += WORKGROUP) {
      total += exp(bitcast<f32>(logits[row + i]) - largest);
    }
    sum = bitcast<u32>(total);
  }
  blocks[(group.y * n_groups.x + group.x) * WORKGROUP + me] = vec2<u32>(key, select(NOT_A_NUMBER, sum, finite));
}
