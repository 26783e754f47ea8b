// out[o] = the mean of x over the rows of the sequence of outputs[o]: x [T, WIDTH], out [Out, WIDTH].

@group(0) @binding(0) var<storage, read> rows: array<Row>;
@group(0) @binding(1) var<storage, read> outputs: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<Lane>;
@group(0) @binding(3) var<storage, read_write> out: array<Lane>;

override WIDTH: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let n = WIDTH / LANE_LEN;
  if id.x < n {
    let row = rows[outputs[id.y]];
    var sum = Lane();
    for (var t = 0u; t < row.n_rows; t++) {
      sum += x[(row.first_row + t) * n + id.x];
    }
    out[id.y * n + id.x] = sum / f32(row.n_rows);
  }
}
