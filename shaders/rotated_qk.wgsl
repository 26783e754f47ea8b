// Four elements of a rotated head, from element e on; `head` is where it begins. Needs bindings `q` and `k`, after rotation.wgsl.

fn rotated_q(head: u32, e: u32, position: u32) -> vec4<f32> {
  var y = vec4<f32>();
  for (var j = 0u; j < 4u; j++) {
    y[j] = rotated(e + j, q[head + e + j], q[head + partner(e + j)], position);
  }
  return y;
}

fn rotated_k(head: u32, e: u32, position: u32) -> vec4<f32> {
  var y = vec4<f32>();
  for (var j = 0u; j < 4u; j++) {
    y[j] = rotated(e + j, k[head + e + j], k[head + partner(e + j)], position);
  }
  return y;
}
