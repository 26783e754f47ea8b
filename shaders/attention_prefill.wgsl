// Attention of many rows: one workgroup per tile of rows and kv head (and share of its query heads). A query is a row and a
// head; the queries of the tile go through the keys and values together, a few positions at a time, which are in workgroup
// memory while they do. Each query has LANES invocations, which have every LANES-th column (quad of a head) each.
//
// Rows of several sequences may be in a tile: then it goes through the positions of one sequence after the other, and queries
// of the others see none of them. WHOLE, MEMORY, CAP and DISTANCES are those of attention.wgsl.

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> rows: array<Row>;
@group(0) @binding(2) var<storage, read> pages: array<u32>;
@group(0) @binding(3) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> cache: array<Quad>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>;
//#if DISTANCES
// [H][2 · RADIUS + 1]
@group(0) @binding(6) var<storage, read> biases: array<f32>;
override RADIUS: u32;

// Biases of a head for four positions from `position` on, seen from another.
fn bias(head: u32, from_position: u32, position: u32) -> vec4<f32> {
  let first = head * (2u * RADIUS + 1u);
  let p = vec4<u32>(0u, 1u, 2u, 3u) + position + RADIUS;
  let at = min(max(p, vec4<u32>(from_position)) - from_position, vec4<u32>(2u * RADIUS));
  return vec4<f32>(biases[first + at.x], biases[first + at.y], biases[first + at.z], biases[first + at.w]);
}
//#endif

// query heads of a kv head; how many of them a workgroup has
override GROUP: u32;
override HEADS: u32;
// rows of a tile: ROWS · HEADS · LANES is at most WORKGROUP
override ROWS: u32;
override LANES: u32;
// positions at a time: 4, 8 or 16, and TILE · HEAD_SIZE / 4 at most 256; at most 8 where LANES is over 1
override TILE: u32;
// positions that a row sees, at most
override WINDOW: u32;
override SCALE: f32;

const WORKGROUP = 128u;
// below every score
const LOWEST = -1e30;

// [columns][TILE]
var<workgroup> keys: array<vec4<f32>, 256>;
// [TILE][columns]
var<workgroup> values: array<vec4<f32>, 256>;
// [WORKGROUP][TILE / 4]: what the lanes of a query have of its scores
var<workgroup> parts: array<vec4<f32>, 256>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) me: u32) {
  let columns = HEAD_SIZE / 4u;
  // columns of an invocation, at most 16
  let own = columns / LANES;
  let kv_head = group.y;
  let first_row = group.x * ROWS;
  let end_row = min(first_row + ROWS, step.n_rows);
  let query = me / LANES;
  let lane = me % LANES;
  let my_row = first_row + query / HEADS;
  let head = group.z * HEADS + query % HEADS;
  let is_query = my_row < end_row && query < ROWS * HEADS && head < GROUP;
  let q_at = ((my_row * OWN_HEADS + kv_head) * GROUP + head) * columns + lane;

  var my_q = array<vec4<f32>, 16>();
  var acc = array<vec4<f32>, 16>();
  var top = LOWEST;
  var sum = 0.0;
  if is_query {
    for (var i = 0u; i < own; i++) {
      my_q[i] = SCALE * q[q_at + i * LANES];
    }
  }

  var row = first_row;
  while row < end_row {
    // The rows up to `next` are of one sequence, at positions that ascend one by one.
    //#if MEMORY
    let table = rows[row].memory;
    //#else
    let table = rows[row].pages;
    //#endif
    let position = rows[row].position;
    var next = row + 1u;
    //#if MEMORY
    while next < end_row && rows[next].memory == table {
    //#else
    while next < end_row && rows[next].pages == table {
    //#endif
      next++;
    }
    let my_position = position + my_row - row;
    // What all of them see: seen..end. And this query: first..last, nothing if it is of another sequence.
    var first = 0u;
    var last = 0u;
    let is_mine = is_query && my_row >= row && my_row < next;
    //#if MEMORY
    let seen = 0u;
    let end = rows[row].n_memory;
    last = select(0u, end, is_mine);
    //#else
    let seen = position + 1u - min(position + 1u, WINDOW);
    //#if WHOLE
    let n = rows[row].n_rows;
    let end = position + (next - row) - 1u + min(n - (position + (next - row) - 1u), WINDOW);
    if is_mine {
      last = my_position + min(n - my_position, WINDOW);
      first = my_position + 1u - min(my_position + 1u, WINDOW);
    }
    //#else
    let end = position + (next - row);
    if is_mine {
      last = my_position + 1u;
      first = last - min(last, WINDOW);
    }
    //#endif
    //#endif
    for (var start = seen / TILE * TILE; start < end; start += TILE) {
      // Nobody reads the tile before any more.
      workgroupBarrier();
      let page = pages[table + start / PAGE_POSITIONS];
      for (var i = me; i < TILE * columns; i += WORKGROUP) {
        let p = start + i % TILE;
        var key = vec4<f32>();
        if p < end {
          key = cached_key(page, kv_head, p, i / TILE);
        }
        keys[i] = key;
      }
      for (var i = me; i < TILE * columns; i += WORKGROUP) {
        let p = start + i / columns;
        var value = vec4<f32>();
        if p < end {
          value = cached_value(page, kv_head, p, i % columns);
        }
        values[i] = value;
      }
      workgroupBarrier();
      var scores = array<vec4<f32>, 4>();
      for (var j = 0u; j < TILE / 4u; j++) {
        var s = vec4<f32>();
        for (var i = 0u; i < own; i++) {
          let at = (lane + i * LANES) * TILE + 4u * j;
          let x = my_q[i];
          s += vec4<f32>(dot(x, keys[at]), dot(x, keys[at + 1u]), dot(x, keys[at + 2u]), dot(x, keys[at + 3u]));
        }
        scores[j] = s;
      }
      if LANES > 1u {
        for (var j = 0u; j < TILE / 4u; j++) {
          parts[me * (TILE / 4u) + j] = scores[j];
        }
        workgroupBarrier();
        for (var j = 0u; j < TILE / 4u && is_query; j++) {
          var s = vec4<f32>();
          for (var i = 0u; i < LANES; i++) {
            s += parts[(query * LANES + i) * (TILE / 4u) + j];
          }
          scores[j] = s;
        }
      }

      //#if CAP
      for (var j = 0u; j < TILE / 4u; j++) {
        scores[j] = capped(scores[j]);
      }
      //#endif
      //#if DISTANCES
      for (var j = 0u; j < TILE / 4u && is_query; j++) {
        scores[j] += bias(kv_head * GROUP + head, my_position, start + 4u * j);
      }
      //#endif
      var new_top = top;
      for (var j = 0u; j < TILE / 4u; j++) {
        let p = vec4<u32>(0u, 1u, 2u, 3u) + (start + 4u * j);
        let visible = (p >= vec4<u32>(first)) & (p < vec4<u32>(last));
        let s = select(vec4<f32>(LOWEST), scores[j], visible);
        scores[j] = s;
        new_top = max(new_top, max(max(s.x, s.y), max(s.z, s.w)));
      }
      let shrink = exp(top - new_top);
      top = new_top;
      sum *= shrink;
      for (var i = 0u; i < own; i++) {
        acc[i] *= shrink;
      }
      for (var j = 0u; j < TILE / 4u; j++) {
        let p = vec4<u32>(0u, 1u, 2u, 3u) + (start + 4u * j);
        let visible = (p >= vec4<u32>(first)) & (p < vec4<u32>(last));
        let w = select(vec4<f32>(0.0), exp(scores[j] - top), visible);
        sum += (w.x + w.y) + (w.z + w.w);
        for (var i = 0u; i < own; i++) {
          let at = 4u * j * columns + lane + i * LANES;
          acc[i] += w.x * values[at];
          acc[i] += w.y * values[at + columns];
          acc[i] += w.z * values[at + 2u * columns];
          acc[i] += w.w * values[at + 3u * columns];
        }
      }
    }
    row = next;
  }
  if is_query {
    for (var i = 0u; i < own; i++) {
      out[q_at + i * LANES] = acc[i] / sum;
    }
  }
}
