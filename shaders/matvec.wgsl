// y = W · x for one row of x, or with ROWS_8 for up to eight at a time: the matrix is read once for all of them, and what is added up
// for a row is added up in the same order, so that a row has the same bits whether it comes alone or with others.
//
// A team of LANES invocations computes TEAM_ROWS rows of W that follow each other; lane l takes the blocks l, l + LANES, … of
// a row. What the lanes have summed up is added by shuffles where the workgroup is one subgroup (SUBGROUPS), through
// workgroup memory with one barrier (TREE), or not at all where a team is one invocation.
//
//   NORM      x is normalised first: y = r · Σ w · (g ⊙ x) with r = 1 / √(mean(x²) + ε), summed up in the same loop
//   GLU       y = act(W · x) ⊙ (U · x), where U lies behind W
//   BIAS ADD  + bias; residual + SCALE · (…)
//   ACTIVATED act(…)
//   SCALED CAP  SCALE · (…), capped
//   BEST      of one row: what is found of blocks of the products too, a block being what one team computes in ROUNDS rounds
//   PARTS_2 PARTS_3   W is two or three matrices, each with an output of its own
//   RAGGED    rows of x are no multiple of 32 long
//   TEAM_4    four rows per team instead of one (never with ROWS_8)

@group(0) @binding(1) var<storage, read> quants: array<vec4<u32>>;
//#if SCALES
@group(0) @binding(2) var<storage, read> scales: array<u32>;
//#endif
//#if RAGGED
@group(0) @binding(3) var<storage, read> x: array<f32>;
//#else
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;
//#endif
//#if NORM
//#if RAGGED
@group(0) @binding(4) var<storage, read> norm: array<f32>;
//#else
@group(0) @binding(4) var<storage, read> norm: array<vec4<f32>>;
//#endif
override EPS: f32;
//#endif

override WORKGROUP: u32;
override LANES: u32;
// workgroups along the first dimension of the grid
override GRID_WIDTH: u32;

//#if ROWS_8
const ROWS = 8u;
//#else
const ROWS = 1u;
//#endif

// One sum for each row of a team.
//#if TEAM_4
const TEAM_ROWS = 4u;
alias Sums = vec4<f32>;
//#else
const TEAM_ROWS = 1u;
alias Sums = f32;
//#endif

// What an invocation sums up for one row of x.
struct Partial {
  y: Sums,
  //#if GLU
  up: Sums,
  //#endif
  //#if NORM
  squares: f32,
  //#endif
}

//#if TREE
var<workgroup> shared_partials: array<Partial, 64u * ROWS>;
//#endif

// Block b of row t of x.
fn x_block(t: u32, b: u32) -> array<vec4<f32>, 8> {
  //#if RAGGED
  var block = array<vec4<f32>, 8>();
  for (var i = 0u; i < 32u; i++) {
    let k = 32u * b + i;
    if k < K {
      block[i / 4u][i % 4u] = x[t * K + k];
    }
  }
  return block;
  //#else
  let i = t * (K / 4u) + 8u * b;
  return array<vec4<f32>, 8>(x[i], x[i + 1u], x[i + 2u], x[i + 3u], x[i + 4u], x[i + 5u], x[i + 6u], x[i + 7u]);
  //#endif
}

//#if NORM
fn norm_block(b: u32) -> array<vec4<f32>, 8> {
  //#if RAGGED
  var block = array<vec4<f32>, 8>();
  for (var i = 0u; i < 32u; i++) {
    let k = 32u * b + i;
    if k < K {
      block[i / 4u][i % 4u] = norm[k];
    }
  }
  return block;
  //#else
  let i = 8u * b;
  return array<vec4<f32>, 8>(
    norm[i], norm[i + 1u], norm[i + 2u], norm[i + 3u], norm[i + 4u], norm[i + 5u], norm[i + 6u], norm[i + 7u],
  );
  //#endif
}
//#endif

// The same block of each row of a team, times x.
fn team_dot(block: u32, x: array<vec4<f32>, 8>, x_sums: vec2<f32>) -> Sums {
  //#if TEAM_4
  return vec4<f32>(
    read_dot(read_block(block), x, x_sums),
    read_dot(read_block(block + BLOCKS), x, x_sums),
    read_dot(read_block(block + 2u * BLOCKS), x, x_sums),
    read_dot(read_block(block + 3u * BLOCKS), x, x_sums),
  );
  //#else
  return read_dot(read_block(block), x, x_sums);
  //#endif
}

//#if SUBGROUPS
fn team_sum(partial: Partial) -> Partial {
  var sum = partial;
  for (var distance = LANES / 2u; distance > 0u; distance /= 2u) {
    sum.y += subgroupShuffleXor(sum.y, distance);
    //#if GLU
    sum.up += subgroupShuffleXor(sum.up, distance);
    //#endif
    //#if NORM
    sum.squares += subgroupShuffleXor(sum.squares, distance);
    //#endif
  }
  return sum;
}
//#endif

// What is left to do with the sums of row t of x and the rows from `first` on.
fn finish(t: u32, first: u32, partial: Partial) {
  //#if NORM
  let factor = 1.0 / sqrt(partial.squares / f32(K) + EPS);
  //#else
  let factor = 1.0;
  //#endif
  //#if TEAM_4
  for (var i = 0u; i < TEAM_ROWS; i++) {
    //#if GLU
    store(t, first + i, factor * partial.y[i], factor * partial.up[i]);
    //#else
    store(t, first + i, factor * partial.y[i]);
    //#endif
  }
  //#else
  //#if GLU
  store(t, first, factor * partial.y, factor * partial.up);
  //#else
  store(t, first, factor * partial.y);
  //#endif
  //#endif
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  //#if SUBGROUPS
  // The workgroup is one subgroup; this is the number that shuffles go by.
  @builtin(subgroup_invocation_id) me: u32,
  //#else
  @builtin(local_invocation_index) me: u32,
  //#endif
) {
  //#if BEST
  for (var round = 0u; round < ROUNDS; round++) {
  let group_row = round;
  //#else
  let group_row = group.y;
  //#endif
  let first_team = (group_row * GRID_WIDTH + group.x) * (WORKGROUP / LANES);
  let first_row = ROW_0 + (first_team + me / LANES) * TEAM_ROWS;
  let lane = me % LANES;
  let first_t = group.z * ROWS;
  var partials = array<Partial, ROWS>();
  for (var b = lane; b < BLOCKS; b += LANES) {
    let block = first_row * BLOCKS + b;
    //#if NORM
    let g = norm_block(b);
    //#endif
    //#if ROWS_8
    let weights = read_block(block);
    //#if GLU
    let up_weights = read_block(block + UP_ROW * BLOCKS);
    //#endif
    for (var t = 0u; t < ROWS; t++) {
      if first_t + t < n_rows() {
        let raw = x_block(first_t + t, b);
        //#if NORM
        partials[t].squares += dot_32(raw, raw);
        let v = product_32(raw, g);
        //#else
        let v = raw;
        //#endif
        let v_sums = sums_16(v);
        partials[t].y += read_dot(weights, v, v_sums);
        //#if GLU
        partials[t].up += read_dot(up_weights, v, v_sums);
        //#endif
      }
    }
    //#else
    let raw = x_block(first_t, b);
    //#if NORM
    partials[0].squares += dot_32(raw, raw);
    let v = product_32(raw, g);
    //#else
    let v = raw;
    //#endif
    let v_sums = sums_16(v);
    partials[0].y += team_dot(block, v, v_sums);
    //#if GLU
    partials[0].up += team_dot(block + UP_ROW * BLOCKS, v, v_sums);
    //#endif
    //#endif
  }
  //#if TREE
  for (var t = 0u; t < ROWS; t++) {
    shared_partials[t * 64u + me] = partials[t];
  }
  workgroupBarrier();
  // Each invocation adds up whole teams, so that none waits for another again.
  for (var i = me; i < WORKGROUP / LANES * ROWS; i += WORKGROUP) {
    let t = i % ROWS;
    let team = i / ROWS;
    var sum = Partial();
    for (var l = 0u; l < LANES; l++) {
      let partial = shared_partials[t * 64u + team * LANES + l];
      sum.y += partial.y;
      //#if GLU
      sum.up += partial.up;
      //#endif
      //#if NORM
      sum.squares += partial.squares;
      //#endif
    }
    finish(first_t + t, ROW_0 + (first_team + team) * TEAM_ROWS, sum);
  }
  //#else
  for (var t = 0u; t < ROWS; t++) {
    //#if SUBGROUPS
    let sum = team_sum(partials[t]);
    //#else
    let sum = partials[t];
    //#endif
    if lane == 0u {
      finish(first_t + t, first_row, sum);
    }
  }
  //#endif
  //#if BEST
  //#if TREE
  // Nobody reads the partials any more.
  workgroupBarrier();
  //#endif
  }
  //#if TREE
  if me < WORKGROUP / LANES {
    store_block(group.x * (WORKGROUP / LANES) + me);
  }
  //#else
  if me % LANES == 0u {
    store_block(group.x * (WORKGROUP / LANES) + me / LANES);
  }
  //#endif
  //#endif
}
