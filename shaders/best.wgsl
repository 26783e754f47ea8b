// The best step.n_best logits of a row, with all that equal the last of them, and what log Σ e^logit is made of. One workgroup
// per row, after block_best.wgsl.
//
// As many blocks as are wanted reach the n-th largest of their maxima; so the n-th largest logit does too, and every logit
// that does is in such a block. The maximum is found digit by digit from the top, four bits at a time.
//
// result: per row STRIDE words, with room for step.n_best + SLACK candidates (src/gpu/best.rs)
//   | candidates found, may be more than there is room for | bits of the largest logit | bits of Σ e^(logit − largest) | 0 |
//   | id, bits of the logit | …                              in no order

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> logits: array<u32>;
@group(0) @binding(2) var<storage, read> blocks: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> result: array<u32>;

override VOCABULARY: u32;
override BLOCK_LEN: u32;
// blocks of a row
override N_BLOCKS: u32;
// words of a row's result
override STRIDE: u32;
// room for candidates beyond those that are wanted
override SLACK: u32;

const WORKGROUP = 256u;
// as many as there is room for candidates at most
const MAX_BLOCKS = 160u;
const DIGITS = 8u;

var<workgroup> counts: array<atomic<u32>, 128>;
var<workgroup> sums: array<f32, WORKGROUP>;
var<workgroup> largest: atomic<u32>;
var<workgroup> faulty: atomic<u32>;
// the blocks that reach the threshold
var<workgroup> chosen: array<u32, MAX_BLOCKS>;
var<workgroup> n_chosen: atomic<u32>;
var<workgroup> n_found: atomic<u32>;

// Key of the n-th largest maximum; 0 where there are fewer blocks.
fn threshold(row: u32, me: u32) -> u32 {
  var prefix = 0u;
  var wanted = step.n_best;
  for (var digit = 0u; digit < DIGITS; digit++) {
    let shift = 28u - 4u * digit;
    for (var i = me; i < N_BLOCKS; i += WORKGROUP) {
      let key = blocks[row + i].x >> shift;
      if key >> 4u == prefix {
        atomicAdd(&counts[16u * digit + (key & 15u)], 1u);
      }
    }
    workgroupBarrier();
    var value = 15u;
    loop {
      let n = atomicLoad(&counts[16u * digit + value]);
      if n >= wanted || value == 0u {
        break;
      }
      wanted -= n;
      value--;
    }
    prefix = (prefix << 4u) | value;
  }
  return prefix;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) me: u32) {
  let row = group.x * N_BLOCKS;
  for (var i = me; i < N_BLOCKS; i += WORKGROUP) {
    let block = blocks[row + i];
    atomicMax(&largest, block.x);
    if !is_finite(block.y) {
      atomicStore(&faulty, 1u);
    }
  }
  workgroupBarrier();
  let top = number(atomicLoad(&largest));
  var sum = 0.0;
  for (var i = me; i < N_BLOCKS; i += WORKGROUP) {
    let block = blocks[row + i];
    if block.x > 0u {
      sum += bitcast<f32>(block.y) * exp(number(block.x) - top);
    }
  }
  sums[me] = sum;
  let least = threshold(row, me);
  for (var i = me; i < N_BLOCKS; i += WORKGROUP) {
    if blocks[row + i].x >= least {
      let at = atomicAdd(&n_chosen, 1u);
      if at < MAX_BLOCKS {
        chosen[at] = i;
      }
    }
  }
  workgroupBarrier();

  let room = step.n_best + SLACK;
  let out = group.x * STRIDE;
  let n_blocks = min(atomicLoad(&n_chosen), MAX_BLOCKS);
  for (var i = me; i < n_blocks * BLOCK_LEN; i += WORKGROUP) {
    let block = chosen[i / BLOCK_LEN];
    let id = (block / 64u * BLOCK_LEN + i % BLOCK_LEN) * 64u + block % 64u;
    if id < VOCABULARY {
      let bits = logits[group.x * VOCABULARY + id];
      if ordered(bits) >= least {
        let at = atomicAdd(&n_found, 1u);
        if at < room {
          result[out + 4u + 2u * at] = id;
          result[out + 5u + 2u * at] = bits;
        }
      }
    }
  }
  workgroupBarrier();

  if me == 0u {
    var total = 0.0;
    for (var i = 0u; i < WORKGROUP; i++) {
      total += sums[i];
    }
    // Where not all chosen blocks were looked at, there is no room for their maxima either.
    result[out] = max(atomicLoad(&n_found), select(0u, 0xffffffffu, atomicLoad(&n_chosen) > MAX_BLOCKS));
    result[out + 1u] = bitcast<u32>(top);
    result[out + 2u] = select(bitcast<u32>(total), NOT_A_NUMBER, atomicLoad(&faulty) != 0u);
    result[out + 3u] = 0u;
  }
}
