// What matrix × matrix shares: a workgroup of 128 invocations takes a tile of 64 rows of W and TILE_T rows of x, one block of 32
// weights after the other. Invocation (tx, ty) of 16 × 8 has of it
//
//   rows tx, tx + 16, tx + 32, tx + 48 of W, and rows ty, ty + 8, ty + 16, … of x
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

//#if T_64
const TILE_T = 64u;
//#else
//#if T_16
const TILE_T = 16u;
//#else
const TILE_T = 32u;
//#endif
//#endif
const TILE_ROWS = 64u;
//#if GLU
const STRIDE = TILE_ROWS / 2u;
//#else
const STRIDE = TILE_ROWS;
//#endif

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
