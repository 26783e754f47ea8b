// out[t] = SCALE · row(t): a row of the table, or of the step's embeddings. out: [T, WIDTH]. One invocation per block of 32.
//
// A table over the binding limit comes in shards of rows, one dispatch each, which leaves the rows of the others alone; the
// first shard's takes the rows that start from an embedding too.
//
// With ADD a row of a table is added to x: out[t] = x[t] + table[position(t) + OFFSET], or table[segment(t)] with SEGMENT.

@group(0) @binding(0) var<storage, read> rows: array<Row>;
//#if ADD
@group(0) @binding(1) var<storage, read> x: array<Lane>;
override OFFSET: u32;
override SEGMENT: bool;
//#else
@group(0) @binding(1) var<storage, read> embeddings: array<Lane>;
override SCALE: f32;
//#endif
@group(0) @binding(2) var<storage, read_write> out: array<Lane>;
@group(0) @binding(3) var<storage, read> quants: array<vec4<u32>>;
//#if SCALES
@group(0) @binding(4) var<storage, read> scales: array<u32>;
//#endif

override WIDTH: u32;
// blocks per row
override BLOCKS: u32;
// rows of the table that are in the shard
override FIRST_ROW: u32;
override N_ROWS: u32;

const LANES_PER_BLOCK = 32u / LANE_LEN;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = rows[id.y];
  if id.x >= BLOCKS {
    return;
  }
  let first = id.x * LANES_PER_BLOCK;
  let n = min(LANES_PER_BLOCK, WIDTH / LANE_LEN - first);
  let out_first = id.y * (WIDTH / LANE_LEN) + first;
  //#if ADD
  let input = select(row.position + OFFSET, row.kind >> 1u, SEGMENT);
  //#else
  let input = row.input;
  if (row.kind & 1u) == 1u {
    if FIRST_ROW == 0u {
      for (var i = 0u; i < n; i++) {
        out[out_first + i] = SCALE * embeddings[input * (WIDTH / LANE_LEN) + first + i];
      }
    }
    return;
  }
  //#endif
  if input >= FIRST_ROW && input - FIRST_ROW < N_ROWS {
    var weights = block_weights((input - FIRST_ROW) * BLOCKS + id.x);
    for (var i = 0u; i < n; i++) {
      //#if VEC4
      let w = weights[i];
      //#else
      let w = weights[i / 4u][i % 4u];
      //#endif
      //#if ADD
      out[out_first + i] = x[out_first + i] + w;
      //#else
      out[out_first + i] = SCALE * w;
      //#endif
    }
  }
}
