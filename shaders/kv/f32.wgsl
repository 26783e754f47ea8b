// A cache of f32: four elements in four words.

alias Quad = vec4<f32>;
// quads that are rounded together, and what they become
const TOGETHER = 1u;
alias Packed = array<Quad, 1>;

fn unpack_quad(quad: Quad) -> vec4<f32> {
  return quad;
}

fn pack(x: array<vec4<f32>, TOGETHER>) -> Packed {
  return Packed(x[0]);
}
