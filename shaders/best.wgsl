// The step.n_best best logits of a row (candidates.wgsl). One workgroup per row.
//
// result: per row STRIDE words, with room for step.n_best + SLACK candidates (src/gpu/best.rs)
//   | candidates found, may be more than there is room for | bits of the largest logit | bits of Σ e^(logit − largest) | 0 |
//   | id, bits of the logit | …                              in no order

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> logits: array<u32>;
@group(0) @binding(2) var<storage, read> blocks: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> result: array<u32>;

// words of a row's result
override STRIDE: u32;

// where the row's result begins
var<private> out = 0u;

fn take(at: u32, id: u32, bits: u32) {
  result[out + 4u + 2u * at] = id;
  result[out + 5u + 2u * at] = bits;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) me: u32) {
  out = group.x * STRIDE;
  find_best(group.x, step.n_best, me);
  if me == 0u {
    let words = vec4<u32>(summary(), 0u);
    for (var i = 0u; i < 4u; i++) {
      result[out + i] = words[i];
    }
  }
}
