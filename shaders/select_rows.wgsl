// out[o] = x[outputs[o]]: x [T, WIDTH], out [Out, WIDTH]. One workgroup row per output.

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> outputs: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

override WIDTH: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if id.x < WIDTH && id.y < step.n_outputs {
    out[id.y * WIDTH + id.x] = x[outputs[id.y] * WIDTH + id.x];
  }
}
