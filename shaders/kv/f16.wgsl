// A cache of f16: four elements in two words. After half.wgsl.

alias Quad = vec2<u32>;
// quads that are rounded together, and what they become
const TOGETHER = 1u;
alias Packed = array<Quad, 1>;

fn unpack_quad(quad: Quad) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(quad.x), unpack2x16float(quad.y));
}

fn pack(x: array<vec4<f32>, TOGETHER>) -> Packed {
  let y = x[0];
  return Packed(Quad(half_bits(y.x) | (half_bits(y.y) << 16u), half_bits(y.z) | (half_bits(y.w) << 16u)));
}
