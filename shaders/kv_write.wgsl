// Writes k and v [T, G · K] to the cache of a layer. One invocation per quad of k and of v.
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
  if id.x < OWN_HEADS * quads {
    let page = pages[row.pages + row.position / PAGE_POSITIONS];
    let kv_head = id.x / quads;
    let quad = id.x % quads;
    //#if CHANNELS
    let key = channels(id.y, 4u * id.x);
    let value = channels(id.y, 4u * (KV_HEADS * quads + id.x));
    //#else
    let i = id.y * OWN_HEADS * quads + id.x;
    let key = k[i];
    let value = v[i];
    //#endif
    cache[key_place(page, kv_head, row.position, quad)] = pack_quad(key);
    cache[value_place(page, kv_head, row.position, quad)] = pack_quad(value);
  }
}
