// Attention of few rows: one workgroup per row and kv head, for up to four of its query heads together, so that keys and
// values are read once for them.
//
// 256 positions at a time. First each invocation scores one position; the four heads are the lanes of a vector. Then the
// positions are cut into slices, and the invocations into slices × columns (quads of a head): each has the softmax of its
// slice to itself and gathers its column of the values, so one barrier per 256 positions is all that meets. The slices are
// brought together at the end.
//
//   WHOLE      a row sees all positions of its sequence, which are in the step from 0 on, within the window either way
//   MEMORY     it sees the memory of its sequence instead
//   CAP        scores are capped
//   DISTANCES  and have a bias by distance added
//   OWN        the position of the row itself is taken first
//   APPEND     with OWN, of one row: q is rotated first, and the rotated k and v are written to the cache. What the row sees of itself
//              does not go by the cache, because other workgroups may have the same kv head.
//   NORMS      with APPEND: q and k are normalised before that
//   PARTS      where a row sees much, a workgroup has a part of the positions, and attention_join.wgsl brings them together
//
// A row of several does what it would do alone, in the same order.

//#if APPEND
// uniform: of storage there may be eight bindings
@group(0) @binding(0) var<uniform> only_row: Row;
//#else
@group(0) @binding(0) var<storage, read> rows: array<Row>;
//#endif
@group(0) @binding(1) var<storage, read> pages: array<u32>;
//#if APPEND
@group(0) @binding(2) var<storage, read> q: array<f32>;
@group(0) @binding(3) var<storage, read_write> cache: array<Quad>;
@group(0) @binding(5) var<uniform> frequencies: array<vec4<u32>, MAX_PAIRS / 2u>;
@group(0) @binding(6) var<storage, read> k: array<f32>;
@group(0) @binding(7) var<storage, read> v: array<vec4<f32>>;
//#else
@group(0) @binding(2) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> cache: array<Quad>;
//#endif
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;
//#if DISTANCES
// [H][2 · RADIUS + 1]
@group(0) @binding(5) var<storage, read> biases: array<f32>;
override RADIUS: u32;
//#endif

//#if PARTS
// of attention_join.wgsl
@group(0) @binding(9) var<storage, read_write> parts: array<vec4<f32>>;
//#endif

// query heads of a kv head; how many workgroups share them; how many of them a workgroup has, at most 4
override GROUP: u32;
override SPLITS: u32;
override HEADS: u32;
// positions that a row sees, at most
override WINDOW: u32;
override SCALE: f32;
// at most 64, and SLICES · HEAD_SIZE / 4 at most WORKGROUP
override SLICES: u32;

const WORKGROUP = 256u;
const MAX_COLUMNS = 64u;
const MAX_SLICES = 64u;
// below every score
const LOWEST = -1e30;

// [4][MAX_COLUMNS], scaled
var<workgroup> queries: array<vec4<f32>, 256>;
// scores of a round and of the next [2][WORKGROUP], a head in each lane; at the end the slices' columns of two heads
var<workgroup> scores: array<vec4<f32>, 512>;
var<workgroup> slice_max: array<vec4<f32>, MAX_SLICES>;
var<workgroup> slice_sum: array<vec4<f32>, MAX_SLICES>;

//#if APPEND
// the row's own key and value, as the cache has them
var<workgroup> own_key: array<vec4<f32>, MAX_COLUMNS>;
var<workgroup> own_value: array<vec4<f32>, MAX_COLUMNS>;
//#endif

//#if NORMS
// 1 / √(mean(x²) + ε), where `scores` has the strips from `first` on: (HEADS + 1) · STRIPS is at most WORKGROUP.
fn norm_factor(first: u32, len: u32) -> f32 {
  var sum = 0.0;
  for (var strip = 0u; strip < STRIPS; strip++) {
    sum += scores[first + strip].x;
  }
  return 1.0 / sqrt(sum / f32(len) + EPS);
}
//#endif

// Column c of the scores of the heads with a key.
fn scored(c: u32, key: vec4<f32>) -> vec4<f32> {
  var s = vec4<f32>();
  s.x = dot(queries[c], key);
  if HEADS > 1u {
    s.y = dot(queries[MAX_COLUMNS + c], key);
  }
  if HEADS > 2u {
    s.z = dot(queries[2u * MAX_COLUMNS + c], key);
  }
  if HEADS > 3u {
    s.w = dot(queries[3u * MAX_COLUMNS + c], key);
  }
  return s;
}

// The scores of the heads with one position.
fn score(page: u32, kv_head: u32, position: u32) -> vec4<f32> {
  var s = vec4<f32>();
  for (var c = 0u; c < HEAD_SIZE / 4u; c++) {
    s += scored(c, cached_key(page, kv_head, position, c));
  }
  return s;
}

//#if DISTANCES
// Biases of the heads from `head` on, for a position seen from another.
fn bias(head: u32, from_position: u32, position: u32) -> vec4<f32> {
  let at = min(max(position + RADIUS, from_position) - from_position, 2u * RADIUS);
  let len = 2u * RADIUS + 1u;
  let last = OWN_HEADS * GROUP - 1u;
  return vec4<f32>(
    biases[head * len + at],
    biases[min(head + 1u, last) * len + at],
    biases[min(head + 2u, last) * len + at],
    biases[min(head + 3u, last) * len + at],
  );
}
//#endif

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) me: u32) {
  let columns = HEAD_SIZE / 4u;
  let kv_head = group.x / SPLITS;
  let first_head = group.x % SPLITS * HEADS;
  let n_heads = min(HEADS, GROUP - first_head);
  // where the workgroup's heads begin in q and out
  let heads_at = ((group.y * OWN_HEADS + kv_head) * GROUP + first_head) * columns;
  //#if APPEND
  let row = only_row;
  //#else
  let row = rows[group.y];
  //#endif
  //#if NORMS
  let own = me / STRIPS;
  if own < n_heads {
    scores[me].x = q_squares((kv_head * GROUP + first_head + own) * HEAD_SIZE, me % STRIPS);
  } else if own == HEADS {
    scores[me].x = k_squares(kv_head * HEAD_SIZE, me % STRIPS);
  }
  workgroupBarrier();
  //#endif
  for (var i = me; i < n_heads * columns; i += WORKGROUP) {
    //#if APPEND
    //#if NORMS
    let factor = norm_factor(i / columns * STRIPS, Q_RUN);
    //#else
    let factor = 1.0;
    //#endif
    let quad = rotated_q((heads_at + i / columns * columns) * 4u, i % columns * 4u, row.position, factor);
    //#else
    let quad = q[heads_at + i];
    //#endif
    queries[i / columns * MAX_COLUMNS + i % columns] = SCALE * quad;
  }
  //#if APPEND
  if me < columns {
    let head_at = group.y * OWN_HEADS + kv_head;
    //#if NORMS
    let factor = norm_factor(HEADS * STRIPS, K_RUN);
    //#else
    let factor = 1.0;
    //#endif
    own_key[me] = rotated_k(head_at * HEAD_SIZE, 4u * me, row.position, factor);
    own_value[me] = v[head_at * columns + me];
  }
  //#if BLOCKS
  workgroupBarrier();
  //#endif
  // What is rounded together is one invocation's.
  let own_first = TOGETHER * me;
  if own_first < columns {
    var keys = array<vec4<f32>, TOGETHER>();
    var values = array<vec4<f32>, TOGETHER>();
    for (var i = 0u; i < TOGETHER; i++) {
      keys[i] = own_key[own_first + i];
      values[i] = own_value[own_first + i];
    }
    let key = pack(keys);
    let value = pack(values);
    for (var i = 0u; i < TOGETHER; i++) {
      own_key[own_first + i] = unpack(key, i);
      own_value[own_first + i] = unpack(value, i);
    }
    if first_head == 0u && group.z == 0u {
      let page = pages[row.pages + row.position / PAGE_POSITIONS];
      store_key(page, kv_head, row.position, own_first, key);
      store_value(page, kv_head, row.position, own_first, value);
    }
  }
  //#endif
  workgroupBarrier();

  //#if MEMORY
  let table = row.memory;
  let begin = 0u;
  let end = row.n_memory;
  //#else
  let table = row.pages;
  //#if PARTS
  let n_seen = min(row.position + 1u, WINDOW);
  let n_parts = count_parts(n_seen);
  // Another row sees more.
  if group.z >= n_parts {
    return;
  }
  let part_len = (n_seen + n_parts - 1u) / n_parts;
  let begin = row.position + 1u - n_seen + group.z * part_len;
  //#else
  let begin = row.position + 1u - min(row.position + 1u, WINDOW);
  //#endif
  //#if WHOLE
  let end = row.position + min(row.n_rows - row.position, WINDOW);
  //#else
  //#if OWN
  let seen_end = row.position;
  //#else
  let seen_end = row.position + 1u;
  //#endif
  //#if PARTS
  let end = min(begin + part_len, seen_end);
  //#else
  let end = seen_end;
  //#endif
  //#endif
  //#endif
  let slice = me / columns;
  let column = me % columns;
  var top = vec4<f32>(LOWEST);
  var sum = vec4<f32>();
  var acc = array<vec4<f32>, 4>();
  //#if OWN
  if slice == 0u && group.z == 0u {
    //#if APPEND
    var own = vec4<f32>();
    for (var c = 0u; c < columns; c++) {
      own += scored(c, own_key[c]);
    }
    let value = own_value[column];
    //#else
    let own_page = pages[table + row.position / PAGE_POSITIONS];
    var own = score(own_page, kv_head, row.position);
    let value = cached_value(own_page, kv_head, row.position, column);
    //#endif
    //#if CAP
    own = capped(own);
    //#endif
    top = own;
    sum = vec4<f32>(1.0);
    acc = array<vec4<f32>, 4>(value, value, value, value);
  }
  //#endif
  var at = 0u;
  for (var start = begin; start < end; start += WORKGROUP) {
    let n = min(WORKGROUP, end - start);
    if me < n {
      let page = pages[table + (start + me) / PAGE_POSITIONS];
      var s = score(page, kv_head, start + me);
      //#if CAP
      s = capped(s);
      //#endif
      //#if DISTANCES
      s += bias(kv_head * GROUP + first_head, row.position, start + me);
      //#endif
      scores[at + me] = s;
    }
    workgroupBarrier();
    let len = (n + SLICES - 1u) / SLICES;
    let first = min(slice * len, n);
    let last = select(first, min(first + len, n), slice < SLICES);
    var new_top = top;
    for (var i = first; i < last; i++) {
      new_top = max(new_top, scores[at + i]);
    }
    let shrink = exp(top - new_top);
    top = new_top;
    sum *= shrink;
    acc[0] *= shrink.x;
    acc[1] *= shrink.y;
    acc[2] *= shrink.z;
    acc[3] *= shrink.w;
    for (var i = first; i < last; i++) {
      let page = pages[table + (start + i) / PAGE_POSITIONS];
      let value = cached_value(page, kv_head, start + i, column);
      let w = exp(scores[at + i] - top);
      sum += w;
      acc[0] += w.x * value;
      if HEADS > 1u {
        acc[1] += w.y * value;
      }
      if HEADS > 2u {
        acc[2] += w.z * value;
      }
      if HEADS > 3u {
        acc[3] += w.w * value;
      }
    }
    // The next round writes to the other half, so nobody has to wait until all have read this one.
    at = WORKGROUP - at;
  }

  if column == 0u && slice < SLICES {
    slice_max[slice] = top;
    slice_sum[slice] = sum;
  }
  workgroupBarrier();
  var all_top = vec4<f32>(LOWEST);
  for (var i = 0u; i < SLICES; i++) {
    all_top = max(all_top, slice_max[i]);
  }
  var all_sum = vec4<f32>();
  for (var i = 0u; i < SLICES; i++) {
    all_sum += slice_sum[i] * exp(slice_max[i] - all_top);
  }
  //#if PARTS
  if n_parts > 1u && me < n_heads {
    let head = ((group.y * MOST_PARTS + group.z) * OWN_HEADS + kv_head) * GROUP + first_head + me;
    parts[head * (columns + 1u) + columns] = vec4<f32>(all_top[me], all_sum[me], 0.0, 0.0);
  }
  let share = exp(top - all_top) / select(all_sum, vec4<f32>(1.0), n_parts > 1u);
  //#else
  let share = exp(top - all_top) / all_sum;
  //#endif
  for (var pair = 0u; pair < HEADS; pair += 2u) {
    scores[me] = acc[pair] * share[pair];
    scores[WORKGROUP + me] = acc[pair + 1u] * share[pair + 1u];
    workgroupBarrier();
    let head = pair + slice;
    if slice < 2u && head < n_heads {
      var y = vec4<f32>();
      for (var i = 0u; i < SLICES; i++) {
        y += scores[slice * WORKGROUP + i * columns + column];
      }
      //#if PARTS
      if n_parts > 1u {
        let at = ((group.y * MOST_PARTS + group.z) * OWN_HEADS + kv_head) * GROUP + first_head + head;
        parts[at * (columns + 1u) + column] = y;
      } else {
        out[heads_at + head * columns + column] = y;
      }
      //#else
      out[heads_at + head * columns + column] = y;
      //#endif
    }
    workgroupBarrier();
  }
}
