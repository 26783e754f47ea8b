// out = SCALE · x, with CAP capped, all [rows, WIDTH]. Rows may be as long as a vocabulary.

@group(0) @binding(0) var<storage, read> x: array<Lane>;
@group(0) @binding(1) var<storage, read_write> out: array<Lane>;

override WIDTH: u32;
override SCALE: f32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let n = WIDTH / LANE_LEN;
  if id.x < n {
    let i = id.y * n + id.x;
    //#if CAP
    out[i] = capped(SCALE * x[i]);
    //#else
    out[i] = SCALE * x[i];
    //#endif
  }
}
