// out[t] = SCALE · row(t): a row of the table, or of the step's embeddings. out: [T, WIDTH]. One invocation per block of 32.

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> rows: array<Row>;
@group(0) @binding(2) var<storage, read> quants: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> embeddings: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

override WIDTH: u32;
// blocks per row
override BLOCKS: u32;
override SCALE: f32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if id.x >= BLOCKS || id.y >= step.n_rows {
    return;
  }
  let row = rows[id.y];
  let first = id.x * 32u;
  let n = min(32u, WIDTH - first);
  var weights = block_weights(row.input * BLOCKS + id.x);
  for (var i = 0u; i < n; i++) {
    var x = weights[i / 4u][i % 4u];
    if row.kind == 1u {
      x = embeddings[row.input * WIDTH + first + i];
    }
    out[id.y * WIDTH + first + i] = SCALE * x;
  }
}
