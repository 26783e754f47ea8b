// Writes k and v [T, G · K] to the cache of a layer. One invocation per quad of k and of v.

@group(0) @binding(0) var<storage, read> rows: array<Row>;
@group(0) @binding(1) var<storage, read> pages: array<u32>;
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> cache: array<Quad>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = rows[id.y];
  let quads = HEAD_SIZE / 4u;
  if id.x < KV_HEADS * quads {
    let page = pages[row.pages + row.position / PAGE_POSITIONS];
    let kv_head = id.x / quads;
    let quad = id.x % quads;
    let i = id.y * KV_HEADS * quads + id.x;
    cache[key_place(page, kv_head, row.position, quad)] = pack_quad(k[i]);
    cache[value_place(page, kv_head, row.position, quad)] = pack_quad(v[i]);
  }
}
