// Rows are worked on in lanes: four elements at a time where the width is a multiple of four, else one by one.

//#if VEC4
alias Lane = vec4<f32>;
const LANE_LEN = 4u;

fn lane_sum(x: Lane) -> f32 {
  return (x.x + x.y) + (x.z + x.w);
}
//#else
alias Lane = f32;
const LANE_LEN = 1u;

fn lane_sum(x: Lane) -> f32 {
  return x;
}
//#endif
