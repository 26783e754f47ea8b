// y = W · x for many rows of x, in f32, tile by tile (tiles.wgsl). Half of the invocations unpack a block of W each, the others fetch x:
//
//   w_tile [8 vectors along K][64 rows of W]     x_tile [8 vectors along K][TILE_T rows of x]
//
//   T_16 T_64   16 or 64 rows of x instead of 32: two or eight of them per invocation

var<workgroup> w_tile: array<vec4<f32>, 8u * TILE_ROWS>;
var<workgroup> x_tile: array<vec4<f32>, 8u * TILE_T>;

fn dots(w0: vec4<f32>, w1: vec4<f32>, w2: vec4<f32>, w3: vec4<f32>, v: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(dot(w0, v), dot(w1, v), dot(w2, v), dot(w3, v));
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) me: u32) {
  let first_row = ROW_0 + group.x * STRIDE;
  let first_t = group.y * TILE_T;
  let tx = me % 16u;
  let ty = me / 16u;
  let last_t = n_rows() - 1u;
  // Not an array, so that no compiler puts them into memory.
  var sums_0 = vec4<f32>();
  var sums_1 = vec4<f32>();
  //#if T_16
  //#else
  var sums_2 = vec4<f32>();
  var sums_3 = vec4<f32>();
  //#endif
  //#if T_64
  var sums_4 = vec4<f32>();
  var sums_5 = vec4<f32>();
  var sums_6 = vec4<f32>();
  var sums_7 = vec4<f32>();
  //#endif
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
      //#if T_16
      //#else
      sums_2 += dots(w0, w1, w2, w3, x_tile[v + 16u]);
      sums_3 += dots(w0, w1, w2, w3, x_tile[v + 24u]);
      //#endif
      //#if T_64
      sums_4 += dots(w0, w1, w2, w3, x_tile[v + 32u]);
      sums_5 += dots(w0, w1, w2, w3, x_tile[v + 40u]);
      sums_6 += dots(w0, w1, w2, w3, x_tile[v + 48u]);
      sums_7 += dots(w0, w1, w2, w3, x_tile[v + 56u]);
      //#endif
    }
    workgroupBarrier();
  }
  let t = first_t + ty;
  let row = first_row + tx;
  finish(t, row, sums_0);
  finish(t + 8u, row, sums_1);
  //#if T_16
  //#else
  finish(t + 16u, row, sums_2);
  finish(t + 24u, row, sums_3);
  //#endif
  //#if T_64
  finish(t + 32u, row, sums_4);
  finish(t + 40u, row, sums_5);
  finish(t + 48u, row, sums_6);
  finish(t + 56u, row, sums_7);
  //#endif
}
