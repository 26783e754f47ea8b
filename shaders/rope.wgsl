// out = rotate(x, position(t)): [T, WIDTH] of heads of HEAD_SIZE. One invocation per element.

@group(0) @binding(0) var<storage, read> rows: array<Row>;
@group(0) @binding(1) var<uniform> frequencies: array<vec4<u32>, MAX_PAIRS / 2u>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

override WIDTH: u32;
override HEAD_SIZE: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let position = rows[id.y].position;
  if id.x < WIDTH {
    let e = id.x % HEAD_SIZE;
    let i = id.y * WIDTH + id.x;
    out[i] = rotated(e, x[i], x[i - e + partner(e)], position);
  }
}
