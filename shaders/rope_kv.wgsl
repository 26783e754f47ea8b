// out = rotate(q); cache = rotate(k), v. q, out [T, HEADS · K]; k, v [T, G · K]. One invocation
// per quad of q, then for what is rounded together of k and v.

@group(0) @binding(0) var<storage, read> rows: array<Row>;
@group(0) @binding(1) var<storage, read> pages: array<u32>;
@group(0) @binding(2) var<uniform> frequencies: array<vec4<u32>, MAX_PAIRS / 2u>;
@group(0) @binding(3) var<storage, read> q: array<f32>;
@group(0) @binding(4) var<storage, read> k: array<f32>;
@group(0) @binding(5) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> cache: array<Quad>;

override HEADS: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = rows[id.y];
  let quads = HEAD_SIZE / 4u;
  let first_k = HEADS * quads;
  if id.x < first_k {
    let head = (id.y * HEADS + id.x / quads) * HEAD_SIZE;
    out[id.y * first_k + id.x] = rotated_q(head, id.x % quads * 4u, row.position, 1.0);
  } else if TOGETHER * (id.x - first_k) < OWN_HEADS * quads {
    let first = TOGETHER * (id.x - first_k);
    let kv_head = first / quads;
    let quad = first % quads;
    var keys = array<vec4<f32>, TOGETHER>();
    var values = array<vec4<f32>, TOGETHER>();
    for (var i = 0u; i < TOGETHER; i++) {
      keys[i] = rotated_k((id.y * OWN_HEADS + kv_head) * HEAD_SIZE, 4u * (quad + i), row.position, 1.0);
      values[i] = v[id.y * OWN_HEADS * quads + first + i];
    }
    let page = pages[row.pages + row.position / PAGE_POSITIONS];
    store_key(page, kv_head, row.position, quad, pack(keys));
    store_value(page, kv_head, row.position, quad, pack(values));
  }
}
