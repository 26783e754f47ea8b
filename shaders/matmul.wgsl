// y = W · x for many rows of x, tile by tile: 32 rows of x by 64 rows of W per workgroup, one block of 32 weights at a time.
//
// Half of the invocations unpack a block of W each, the others fetch x; then each multiplies 4 rows of x by 4 rows of W:
//
//   w_tile [8 vectors along K][64 rows of W]   invocation (tx, ty) takes rows tx, tx + 16, tx + 32, tx + 48 of W
//   x_tile [8 vectors along K][32 rows of x]                   and rows ty, ty + 8, ty + 16, ty + 24 of x
//
// With GLU the first 32 rows of a tile are gate's and the others the same rows of up, so that both end up in one invocation.
// BIAS, ADD, ACTIVATED, PARTS_2, PARTS_3 and RAGGED are those of matvec.wgsl.

@group(0) @binding(1) var<storage, read> quants: array<vec4<u32>>;
//#if SCALES
@group(0) @binding(2) var<storage, read> scales: array<u32>;
//#endif
//#if RAGGED
@group(0) @binding(3) var<storage, read> x: array<f32>;
//#else
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;
//#endif

const TILE_T = 32u;
const TILE_ROWS = 64u;
//#if GLU
const STRIDE = TILE_ROWS / 2u;
//#else
const STRIDE = TILE_ROWS;
//#endif

var<workgroup> w_tile: array<vec4<f32>, 8u * TILE_ROWS>;
var<workgroup> x_tile: array<vec4<f32>, 8u * TILE_T>;

// The row of W that is row i of the tile which begins at `first`.
fn tile_row(first: u32, i: u32) -> u32 {
  //#if GLU
  return first + i % STRIDE + UP_ROW * (i / STRIDE);
  //#else
  return first + i;
  //#endif
}

// Vector i of block b of row t of x.
fn x_vector(t: u32, b: u32, i: u32) -> vec4<f32> {
  //#if RAGGED
  let k = 32u * b + 4u * i;
  var vector = vec4<f32>();
  for (var j = 0u; j < 4u; j++) {
    if k + j < K {
      vector[j] = x[t * K + k + j];
    }
  }
  return vector;
  //#else
  return x[t * (K / 4u) + 8u * b + i];
  //#endif
}

fn dots(w0: vec4<f32>, w1: vec4<f32>, w2: vec4<f32>, w3: vec4<f32>, v: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(dot(w0, v), dot(w1, v), dot(w2, v), dot(w3, v));
}

// What was summed up for row t of x and the rows of the tile from `row` on, 16 apart.
fn finish(t: u32, row: u32, sums: vec4<f32>) {
  //#if GLU
  store(t, row, sums.x, sums.z);
  store(t, row + 16u, sums.y, sums.w);
  //#else
  store(t, row, sums.x);
  store(t, row + 16u, sums.y);
  store(t, row + 32u, sums.z);
  store(t, row + 48u, sums.w);
  //#endif
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) me: u32) {
  let first_row = ROW_0 + group.x * STRIDE;
  let first_t = group.y * TILE_T;
  let tx = me % 16u;
  let ty = me / 16u;
  let last_t = n_rows() - 1u;
  var sums_0 = vec4<f32>();
  var sums_1 = vec4<f32>();
  var sums_2 = vec4<f32>();
  var sums_3 = vec4<f32>();
  for (var b = 0u; b < BLOCKS; b++) {
    if me < TILE_ROWS {
      let weights = block_weights(tile_row(first_row, me) * BLOCKS + b);
      w_tile[me] = weights[0];
      w_tile[TILE_ROWS + me] = weights[1];
      w_tile[2u * TILE_ROWS + me] = weights[2];
      w_tile[3u * TILE_ROWS + me] = weights[3];
      w_tile[4u * TILE_ROWS + me] = weights[4];
      w_tile[5u * TILE_ROWS + me] = weights[5];
      w_tile[6u * TILE_ROWS + me] = weights[6];
      w_tile[7u * TILE_ROWS + me] = weights[7];
    } else {
      // Neighbours fetch neighbouring vectors of a row: eight of them its block.
      let i = me % 8u;
      for (var t = (me - TILE_ROWS) / 8u; t < TILE_T; t += 8u) {
        x_tile[i * TILE_T + t] = x_vector(min(first_t + t, last_t), b, i);
      }
    }
    workgroupBarrier();
    for (var i = 0u; i < 8u; i++) {
      let w = i * TILE_ROWS + tx;
      let w0 = w_tile[w];
      let w1 = w_tile[w + 16u];
      let w2 = w_tile[w + 32u];
      let w3 = w_tile[w + 48u];
      let v = i * TILE_T + ty;
      sums_0 += dots(w0, w1, w2, w3, x_tile[v]);
      sums_1 += dots(w0, w1, w2, w3, x_tile[v + 8u]);
      sums_2 += dots(w0, w1, w2, w3, x_tile[v + 16u]);
      sums_3 += dots(w0, w1, w2, w3, x_tile[v + 24u]);
    }
    workgroupBarrier();
  }
  finish(first_t + ty, first_row + tx, sums_0);
  finish(first_t + ty + 8u, first_row + tx, sums_1);
  finish(first_t + ty + 16u, first_row + tx, sums_2);
  finish(first_t + ty + 24u, first_row + tx, sums_3);
}
