// out[t] = Σ_i weight[·, i] ⊙ x[position(t) − (TAPS − 1) + i], x being in the cache already: kv_write.wgsl with CHANNELS. One
// invocation per channel.

@group(0) @binding(0) var<storage, read> rows: array<Row>;
@group(0) @binding(1) var<storage, read> pages: array<u32>;
@group(0) @binding(2) var<storage, read> cache: array<Quad>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<storage, read> quants: array<vec4<u32>>;
//#if SCALES
@group(0) @binding(5) var<storage, read> scales: array<u32>;
//#endif

override WIDTH: u32;
override TAPS: u32;
// blocks per row of the weight
override BLOCKS: u32;
// channels that are in the shard of the weight
override FIRST_ROW: u32;
override N_ROWS: u32;

// A channel of the cache at a position.
fn past(table: u32, position: u32, channel: u32) -> f32 {
  let page = pages[table + position / PAGE_POSITIONS];
  let n_keys = KV_HEADS * HEAD_SIZE;
  let c = channel % n_keys;
  let kv_head = c / HEAD_SIZE;
  let quad = c % HEAD_SIZE / 4u;
  if channel < n_keys {
    return cached_key(page, kv_head, position, quad)[c % 4u];
  }
  return cached_value(page, kv_head, position, quad)[c % 4u];
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = rows[id.y];
  if id.x >= N_ROWS {
    return;
  }
  let channel = FIRST_ROW + id.x;
  var sum = 0.0;
  for (var b = 0u; b < BLOCKS; b++) {
    var weights = block_weights(id.x * BLOCKS + b);
    for (var j = 0u; j < 32u && 32u * b + j < TAPS; j++) {
      let i = 32u * b + j;
      // Before the first position there is nothing.
      if row.position + i + 1u >= TAPS {
        sum += weights[j / 4u][j % 4u] * past(row.pages, row.position + i + 1u - TAPS, channel);
      }
    }
  }
  out[id.y * WIDTH + channel] = sum;
}
