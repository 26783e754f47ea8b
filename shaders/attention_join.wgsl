// Brings the parts of a row's attention together, where there are several. One workgroup per head and row, one invocation per column.
//
// parts: [row][part][head][HEAD_SIZE / 4 columns, Σ e^(score − largest) · v, then (largest score, Σ e^(score − largest), 0, 0)]

@group(0) @binding(0) var<storage, read> rows: array<Row>;
@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;

override N_HEADS: u32;
override HEAD_SIZE: u32;
override WINDOW: u32;

const WORKGROUP = 64u;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) me: u32) {
  let columns = HEAD_SIZE / 4u;
  let n_parts = count_parts(min(rows[group.y].position + 1u, WINDOW));
  if me >= columns || n_parts == 1u {
    return;
  }
  let stride = N_HEADS * (columns + 1u);
  let first = group.y * MOST_PARTS * stride + group.x * (columns + 1u);
  var top = parts[first + columns].x;
  for (var part = 1u; part < n_parts; part++) {
    top = max(top, parts[part * stride + first + columns].x);
  }
  var sum = 0.0;
  var y = vec4<f32>();
  for (var part = 0u; part < n_parts; part++) {
    let at = part * stride + first;
    let w = exp(parts[at + columns].x - top);
    sum += w * parts[at + columns].y;
    y += w * parts[at + me];
  }
  out[(group.y * N_HEADS + group.x) * columns + me] = y / sum;
}
