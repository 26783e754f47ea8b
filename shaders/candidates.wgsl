// The best logits of a row, with all that equal the last of them, and what log Σ e^logit is made of, from what is known of its blocks.
// One workgroup. Needs bindings `logits` and `blocks`, and a function `take`.
//
// As many blocks as are wanted reach the n-th largest of their maxima; so the n-th largest logit does too, and every logit
// that does is in such a block. The maximum is found digit by digit from the top, four bits at a time.
//
// blocks: [Out, N_BLOCKS] of the key of the largest (ordered.wgsl; 0 of a block without logits) and the bits of Σ e^(logit − largest).
// Logit j of block b has the id (j / RUN · N_BLOCKS + b) · RUN + j % RUN.

override VOCABULARY: u32;
// logits of a block
override BLOCK_LEN: u32;
// those of a block that follow each other
override RUN: u32;
// blocks of a row
override N_BLOCKS: u32;
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
fn threshold(row: u32, n: u32, me: u32) -> u32 {
  var prefix = 0u;
  var wanted = n;
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

// Hands each candidate of row t to `take`, as far as there is room for n and SLACK more.
fn find_best(t: u32, n: u32, me: u32) {
  let row = t * N_BLOCKS;
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
  let least = threshold(row, n, me);
  for (var i = me; i < N_BLOCKS; i += WORKGROUP) {
    if blocks[row + i].x >= least {
      let at = atomicAdd(&n_chosen, 1u);
      if at < MAX_BLOCKS {
        chosen[at] = i;
      }
    }
  }
  workgroupBarrier();

  let n_blocks = min(atomicLoad(&n_chosen), MAX_BLOCKS);
  for (var i = me; i < n_blocks * BLOCK_LEN; i += WORKGROUP) {
    let j = i % BLOCK_LEN;
    let id = (j / RUN * N_BLOCKS + chosen[i / BLOCK_LEN]) * RUN + j % RUN;
    if id < VOCABULARY {
      let bits = logits[t * VOCABULARY + id];
      if ordered(bits) >= least {
        let at = atomicAdd(&n_found, 1u);
        if at < n + SLACK {
          take(at, id, bits);
        }
      }
    }
  }
  workgroupBarrier();
}

// What a row's result begins with, but for its last word: for one invocation.
fn summary() -> vec3<u32> {
  var total = 0.0;
  for (var i = 0u; i < WORKGROUP; i++) {
    total += sums[i];
  }
  let sum = select(bitcast<u32>(total), NOT_A_NUMBER, atomicLoad(&faulty) != 0u);
  // Where not all chosen blocks were looked at, there is no room for their maxima either.
  let n = max(atomicLoad(&n_found), select(0u, 0xffffffffu, atomicLoad(&n_chosen) > MAX_BLOCKS));
  return vec3<u32>(n, bitcast<u32>(number(atomicLoad(&largest))), sum);
}
