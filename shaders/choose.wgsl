// Finds the best logits of a row (candidates.wgsl), chooses the token behind it and makes that the next row: what follows is the same step
// at the next position. One workgroup. As src/sample/sampler.rs chooses, in f32:
//
//   top_k ─► top_p of what is left ─► min_p ─► e^(logit / temperature) ─► draw, in the order of ids
//
// One invocation per candidate, which goes over all the others: there are few, and nothing has to be sorted. With EMBED the token is looked
// up too, as embed.wgsl does.
//
// result: for each step of the run, as best.wgsl leaves it, with the token in the fourth word
//   | candidates found | bits of the largest logit | bits of Σ e^(logit − largest) | token | id, bits of the logit | …

struct Run {
  // of the run's first step
  position: u32,
  n_best: u32,
  // 0: all
  top_k: u32,
  // 0: the best
  temperature: f32,
  // over 1: all
  top_p: f32,
  // ln min_p
  min_p: f32,
  unused: vec2<u32>,
  // in [0, 1), for each step
  draws: array<f32, 32>,
}

@group(0) @binding(0) var<storage, read_write> rows: array<Row>;
@group(0) @binding(1) var<storage, read> run: Run;
@group(0) @binding(2) var<storage, read> logits: array<u32>;
@group(0) @binding(3) var<storage, read> blocks: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> result: array<u32>;
//#if EMBED
@group(0) @binding(5) var<storage, read_write> embedded: array<Lane>;
@group(0) @binding(6) var<storage, read> quants: array<vec4<u32>>;
//#if SCALES
@group(0) @binding(7) var<storage, read> scales: array<u32>;
//#endif

override WIDTH: u32;
// blocks per row of the table
override BLOCKS: u32;
override SCALE: f32;
//#endif

// rows of the table that tokens are looked up in
override N_TOKENS: u32;

// as many candidates as there is ever room for
const MOST = 160u;

var<workgroup> ids: array<u32, MOST>;
var<workgroup> values: array<f32, MOST>;
// how many are better
var<workgroup> ranks: array<u32, MOST>;
// 0: not to be drawn
var<workgroup> weights: array<f32, MOST>;
// the drawn token, inverted, so that 0 is none; the last that may be drawn, and 1
var<workgroup> drawn: atomic<u32>;
var<workgroup> last: atomic<u32>;
//#if EMBED
var<workgroup> next: u32;
//#endif

// where the step's result begins
var<private> out = 0u;

fn take(at: u32, id: u32, bits: u32) {
  ids[at] = id;
  values[at] = bitcast<f32>(bits);
  result[out + 4u + 2u * at] = id;
  result[out + 5u + 2u * at] = bits;
}

//#if EMBED
fn embed(token: u32, me: u32) {
  let n_lanes = 32u / LANE_LEN;
  for (var b = me; b < BLOCKS; b += WORKGROUP) {
    var block = block_weights(token * BLOCKS + b);
    let n = min(n_lanes, WIDTH / LANE_LEN - b * n_lanes);
    for (var i = 0u; i < n; i++) {
      //#if VEC4
      embedded[b * n_lanes + i] = SCALE * block[i];
      //#else
      embedded[b * n_lanes + i] = SCALE * block[i / 4u][i % 4u];
      //#endif
    }
  }
}
//#endif

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) me: u32) {
  let room = run.n_best + SLACK;
  let step = rows[0].position - run.position;
  out = step * (4u + 2u * room);
  find_best(0u, run.n_best, me);
  let n = min(min(atomicLoad(&n_found), room), MOST);
  let top = number(atomicLoad(&largest));
  let is_one = me < n;
  var id = 0u;
  var logit = top;
  if is_one {
    id = ids[me];
    logit = values[me];
  }

  var rank = 0u;
  for (var i = 0u; i < n; i++) {
    if values[i] > logit || (values[i] == logit && ids[i] < id) {
      rank++;
    }
  }
  if is_one {
    ranks[me] = rank;
  }
  workgroupBarrier();

  let k = select(n, min(run.top_k, n), run.top_k > 0u);
  var total = 0.0;
  var before = 0.0;
  for (var i = 0u; i < n; i++) {
    let other = ranks[i];
    if other < k {
      let mass = exp(values[i] - top);
      total += mass;
      before += select(0.0, mass, other < rank);
    }
  }
  let is_greedy = run.temperature == 0.0;
  let is_probable = (rank == 0u || before < run.top_p * total) && (logit == top || logit >= top + run.min_p);
  var weight = 0.0;
  if is_greedy {
    weight = select(0.0, 1.0, logit == top);
  } else if rank < k && is_probable {
    weight = exp((logit - top) / run.temperature);
  }
  if is_one {
    weights[me] = weight;
  }
  workgroupBarrier();

  var mass = 0.0;
  var up_to_me = 0.0;
  for (var i = 0u; i < n; i++) {
    mass += weights[i];
    up_to_me += select(0.0, weights[i], ids[i] <= id);
  }
  let draw = select(run.draws[step], 0.0, is_greedy);
  if is_one && weight > 0.0 {
    atomicMax(&last, id + 1u);
    if up_to_me > draw * mass {
      atomicMax(&drawn, ~id);
    }
  }
  workgroupBarrier();
  // All have read the row that is written now.
  storageBarrier();

  if me == 0u {
    let first = atomicLoad(&drawn);
    let token = select(max(atomicLoad(&last), 1u) - 1u, ~first, first != 0u);
    let words = vec4<u32>(summary(), token);
    for (var i = 0u; i < 4u; i++) {
      result[out + i] = words[i];
    }
    rows[0].input = token % N_TOKENS;
    rows[0].position = rows[0].position + 1u;
    //#if EMBED
    next = token % N_TOKENS;
    //#endif
  }
  //#if EMBED
  workgroupBarrier();
  embed(next, me);
  //#endif
}
