// out = rotate(q); cache = rotate(k), v. q, out [T, HEADS · K]; k, v [T, G · K]. One invocation
// per quad of q, then for what is rounded together of k and v.
//
// With NORMS q and k are normalised first, and there is one workgroup per head of q, then of k and v.

@group(0) @binding(0) var<storage, read> rows: array<Row>;
@group(0) @binding(1) var<storage, read> pages: array<u32>;
@group(0) @binding(2) var<uniform> frequencies: array<vec4<u32>, MAX_PAIRS / 2u>;
@group(0) @binding(3) var<storage, read> q: array<f32>;
@group(0) @binding(4) var<storage, read> k: array<f32>;
@group(0) @binding(5) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> cache: array<Quad>;

override HEADS: u32;

// Rotates quad `quad` of head `head` of q.
fn rotate_q(t: u32, head: u32, quad: u32, factor: f32) {
  let first = (t * HEADS + head) * HEAD_SIZE;
  out[first / 4u + quad] = rotated_q(first, 4u * quad, rows[t].position, factor);
}

// Appends what is rounded together from quad `quad` on of head `kv_head`.
fn append(t: u32, kv_head: u32, quad: u32, factor: f32) {
  let row = rows[t];
  let first = (t * OWN_HEADS + kv_head) * HEAD_SIZE;
  var keys = array<vec4<f32>, TOGETHER>();
  var values = array<vec4<f32>, TOGETHER>();
  for (var i = 0u; i < TOGETHER; i++) {
    keys[i] = rotated_k(first, 4u * (quad + i), row.position, factor);
    values[i] = v[first / 4u + quad + i];
  }
  let page = pages[row.pages + row.position / PAGE_POSITIONS];
  store_key(page, kv_head, row.position, quad, pack(keys));
  store_value(page, kv_head, row.position, quad, pack(values));
}

//#if NORMS
var<workgroup> strips: array<f32, STRIPS>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) me: u32) {
  let quads = HEAD_SIZE / 4u;
  let is_q = group.x < HEADS;
  if me < STRIPS && is_q {
    strips[me] = q_squares((group.y * HEADS + group.x) * HEAD_SIZE, me);
  } else if me < STRIPS {
    strips[me] = k_squares((group.y * OWN_HEADS + group.x - HEADS) * HEAD_SIZE, me);
  }
  workgroupBarrier();
  var sum = 0.0;
  for (var strip = 0u; strip < STRIPS; strip++) {
    sum += strips[strip];
  }
  let factor = 1.0 / sqrt(sum / f32(select(K_RUN, Q_RUN, is_q)) + EPS);
  if is_q && me < quads {
    rotate_q(group.y, group.x, me, factor);
  } else if !is_q && TOGETHER * me < quads {
    append(group.y, group.x - HEADS, TOGETHER * me, factor);
  }
}
//#else
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let quads = HEAD_SIZE / 4u;
  let first_k = HEADS * quads;
  if id.x < first_k {
    rotate_q(id.y, id.x / quads, id.x % quads, 1.0);
  } else if TOGETHER * (id.x - first_k) < OWN_HEADS * quads {
    let first = TOGETHER * (id.x - first_k);
    append(id.y, first / quads, first % quads, 1.0);
  }
}
//#endif
