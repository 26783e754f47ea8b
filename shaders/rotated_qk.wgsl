// Four elements of a rotated head, from element e on; `head` is where it begins. Needs bindings `q` and `k`, after rotation.wgsl.
//
// With NORMS they are normalised first: 1 / √(mean(x²) + ε) of what is normalised together is given, and comes of Σ x², which is added up
// in strips.

//#if NORMS
// [Q_RUN], then [K_RUN]
@group(0) @binding(8) var<storage, read> norms: array<f32>;
// elements that are normalised together: heads, or all
override Q_RUN: u32;
override K_RUN: u32;
override EPS: f32;

const STRIPS = 32u;

// Strip `strip` of Σ x² of what is normalised with element `at` of q.
fn q_squares(at: u32, strip: u32) -> f32 {
  let first = at / Q_RUN * Q_RUN;
  var sum = 0.0;
  for (var i = first + strip; i < first + Q_RUN; i += STRIPS) {
    sum += q[i] * q[i];
  }
  return sum;
}

fn k_squares(at: u32, strip: u32) -> f32 {
  let first = at / K_RUN * K_RUN;
  var sum = 0.0;
  for (var i = first + strip; i < first + K_RUN; i += STRIPS) {
    sum += k[i] * k[i];
  }
  return sum;
}
//#endif

fn normed_q(i: u32, factor: f32) -> f32 {
  //#if NORMS
  return q[i] * factor * norms[i % Q_RUN];
  //#else
  return q[i];
  //#endif
}

fn normed_k(i: u32, factor: f32) -> f32 {
  //#if NORMS
  return k[i] * factor * norms[Q_RUN + i % K_RUN];
  //#else
  return k[i];
  //#endif
}

fn rotated_q(head: u32, e: u32, position: u32, factor: f32) -> vec4<f32> {
  var y = vec4<f32>();
  for (var j = 0u; j < 4u; j++) {
    let other = normed_q(head + partner(e + j), factor);
    y[j] = rotated(e + j, normed_q(head + e + j, factor), other, position);
  }
  return y;
}

fn rotated_k(head: u32, e: u32, position: u32, factor: f32) -> vec4<f32> {
  var y = vec4<f32>();
  for (var j = 0u; j < 4u; j++) {
    let other = normed_k(head + partner(e + j), factor);
    y[j] = rotated(e + j, normed_k(head + e + j, factor), other, position);
  }
  return y;
}
