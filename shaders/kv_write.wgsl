// Writes k and v [T, G · K] to the cache of a layer. One invocation for what is rounded together of k, and of v.
//
// With CHANNELS: x [T, WIDTH], whose first G · K elements are k and the others v; what is missing is 0.

@group(0) @binding(0) var<storage, read> rows: array<Row>;
@group(0) @binding(1) var<storage, read> pages: array<u32>;
//#if CHANNELS
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> cache: array<Quad>;

override WIDTH: u32;

// Four elements of row t from `first` on.
fn channels(t: u32, first: u32) -> vec4<f32> {
  var quad = vec4<f32>();
  for (var i = 0u; i < 4u; i++) {
    if first + i < WIDTH {
      quad[i] = x[t * WIDTH + first + i];
    }
  }
  return quad;
}
//#else
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> cache: array<Quad>;
//#endif

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = rows[id.y];
  let quads = HEAD_SIZE / 4u;
  let first = TOGETHER * id.x;
  if first < OWN_HEADS * quads {
    let page = pages[row.pages + row.position / PAGE_POSITIONS];
    var keys = array<vec4<f32>, TOGETHER>();
    var values = array<vec4<f32>, TOGETHER>();
    for (var i = 0u; i < TOGETHER; i++) {
      //#if CHANNELS
      keys[i] = channels(id.y, 4u * (first + i));
      values[i] = channels(id.y, 4u * (KV_HEADS * quads + first + i));
      //#else
      keys[i] = k[id.y * OWN_HEADS * quads + first + i];
      values[i] = v[id.y * OWN_HEADS * quads + first + i];
      //#endif
    }
    store_key(page, first / quads, row.position, first % quads, pack(keys));
    store_value(page, first / quads, row.position, first % quads, pack(values));
  }
}
