// y = W · x for many rows of x, tile by tile (tiles.wgsl), with narrow numbers: what is multiplied are the quants of a block as the
// format has them, and x over a scale that each block of it gets. What a block sums up is scaled and added to the rest in f32.
//
//   AS_F16     four weights are a vec4<f16>: quants are whole numbers that it holds exactly; x over a power of two is 2 at most
//   AS_BYTES   four weights are four signed bytes; x is rounded to 127 steps, as on the CPU
//
// w = d · q + m (shaders/formats/) and x ≈ s · v make Σ w · x = s · (d · Σ q · v + m · Σ v). A format without scales has d, a power of two.
// HALVES: each half of a block has a d and an m of its own.

//#if AS_BYTES
alias Four = u32;
alias Sums = vec4<i32>;
//#else
alias Four = vec4<f16>;
alias Sums = vec4<f32>;
//#endif
//#if HALVES
const HALVES = 2u;
//#else
const HALVES = 1u;
//#endif
const LEN = 8u / HALVES;
const PER_T = TILE_T / 8u;

var<workgroup> w_tile: array<Four, 8u * TILE_ROWS>;
var<workgroup> x_tile: array<Four, 8u * TILE_T>;
// d and m of the halves of a row's block: all four
var<workgroup> w_scales: array<vec4<f32>, TILE_ROWS>;
// s, and s · Σ v of the halves
var<workgroup> x_scales: array<vec4<f32>, TILE_T>;

// The largest bits of a block without signs: those of the largest, of an infinity, of a NaN.
fn largest(v: array<vec4<f32>, 8>) -> u32 {
  var bits = vec4<u32>();
  for (var i = 0u; i < 8u; i++) {
    bits = max(bits, bitcast<vec4<u32>>(v[i]) & vec4<u32>(0x7fffffffu));
  }
  return max(max(bits.x, bits.y), max(bits.z, bits.w));
}

// The bits of 2⁻¹⁰⁰: a block of less has no smaller scale.
const LEAST = 27u << 23u;

fn power_of_two(bits: u32) -> f32 {
  return bitcast<f32>(max(bits & 0x7f800000u, LEAST));
}

// Four of x, over s.
fn narrow(v: vec4<f32>) -> Four {
  //#if AS_BYTES
  return pack4xI8(vec4<i32>(round(v)));
  //#else
  return vec4<f16>(v);
  //#endif
}

fn sum_of(v: Four) -> f32 {
  //#if AS_BYTES
  return f32(dot4I8Packed(v, 0x01010101u));
  //#else
  return sum_4(vec4<f32>(v));
  //#endif
}

fn fetch_x(t: u32, to: u32, b: u32) {
  var v = array<vec4<f32>, 8>();
  for (var i = 0u; i < 8u; i++) {
    v[i] = x_vector(t, b, i);
  }
  //#if AS_BYTES
  let s = bitcast<f32>(max(largest(v), LEAST)) / 127.0;
  //#else
  let s = power_of_two(largest(v));
  //#endif
  var sums = vec2<f32>();
  for (var i = 0u; i < 8u; i++) {
    let four = narrow(v[i] / s);
    x_tile[i * TILE_T + to] = four;
    sums[i / 4u] += sum_of(four);
  }
  x_scales[to] = vec4<f32>(s, s * sums, 0.0);
}

fn fetch_w(block: u32, to: u32) {
  //#if SCALES
  let scale = block_scale(block);
  //#if AS_BYTES
  let m = scale.m;
  let q = packed_quants(block);
  //#else
  //#if MINIMA
  // Quants about 0 make smaller sums, which are rounded to less.
  let centre = f32(1u << (LOW + HIGH - 1u));
  let m = scale.m + centre * scale.d;
  var q = block_quants(block);
  for (var i = 0u; i < 8u; i++) {
    q[i] -= vec4<f32>(centre);
  }
  //#else
  let m = scale.m;
  let q = block_quants(block);
  //#endif
  //#endif
  //#if HALVES
  w_scales[to] = vec4<f32>(scale.d, m);
  //#else
  w_scales[to] = vec4<f32>(scale.d.x, 0.0, m.xx);
  //#endif
  //#else
  let weights = block_weights(block);
  let d = power_of_two(largest(weights));
  w_scales[to] = vec4<f32>(d, 0.0, 0.0, 0.0);
  var q = array<vec4<f32>, 8>();
  for (var i = 0u; i < 8u; i++) {
    q[i] = weights[i] / d;
  }
  //#endif
  for (var i = 0u; i < 8u; i++) {
    w_tile[i * TILE_ROWS + to] = Four(q[i]);
  }
}

fn dots(w0: Four, w1: Four, w2: Four, w3: Four, v: Four) -> Sums {
  //#if AS_BYTES
  return vec4<i32>(dot4I8Packed(w0, v), dot4I8Packed(w1, v), dot4I8Packed(w2, v), dot4I8Packed(w3, v));
  //#else
  return vec4<f32>(vec4<f16>(dot(w0, v), dot(w1, v), dot(w2, v), dot(w3, v)));
  //#endif
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) me: u32) {
  let first_row = ROW_0 + group.x * STRIDE;
  let first_t = group.y * TILE_T;
  let tx = me % 16u;
  let ty = me / 16u;
  let last_t = n_rows() - 1u;
  var sums = array<vec4<f32>, PER_T>();
  for (var b = 0u; b < BLOCKS; b++) {
    if me < TILE_ROWS {
      fetch_w(tile_row(first_row, me) * BLOCKS + b, me);
    } else if me - TILE_ROWS < TILE_T {
      let t = me - TILE_ROWS;
      fetch_x(min(first_t + t, last_t), t, b);
    }
    workgroupBarrier();
    let scale_0 = w_scales[tx];
    let scale_1 = w_scales[tx + 16u];
    let scale_2 = w_scales[tx + 32u];
    let scale_3 = w_scales[tx + 48u];
    for (var half = 0u; half < HALVES; half++) {
      var products = array<Sums, PER_T>();
      for (var i = half * LEN; i < half * LEN + LEN; i++) {
        let w = i * TILE_ROWS + tx;
        let w0 = w_tile[w];
        let w1 = w_tile[w + 16u];
        let w2 = w_tile[w + 32u];
        let w3 = w_tile[w + 48u];
        for (var j = 0u; j < PER_T; j++) {
          products[j] += dots(w0, w1, w2, w3, x_tile[i * TILE_T + ty + 8u * j]);
        }
      }
      let d = vec4<f32>(scale_0[half], scale_1[half], scale_2[half], scale_3[half]);
      for (var j = 0u; j < PER_T; j++) {
        sums[j] += x_scales[ty + 8u * j].x * d * vec4<f32>(products[j]);
      }
    }
    //#if MINIMA
    let m_0 = vec4<f32>(scale_0.z, scale_1.z, scale_2.z, scale_3.z);
    let m_1 = vec4<f32>(scale_0.w, scale_1.w, scale_2.w, scale_3.w);
    for (var j = 0u; j < PER_T; j++) {
      let s = x_scales[ty + 8u * j];
      sums[j] += s.y * m_0 + s.z * m_1;
    }
    //#endif
    workgroupBarrier();
  }
  for (var j = 0u; j < PER_T; j++) {
    finish(first_t + ty + 8u * j, first_row + tx, sums[j]);
  }
}
