// Activations, for any x up to 10³⁰: nothing on the way overflows, because e^−|x| is at most 1. Needs lanes.wgsl.

// 1 / (1 + e^−x)
fn logistic(x: Lane) -> Lane {
  let e = exp(-abs(x));
  return select(e, Lane(1.0), x >= Lane(0.0)) / (1.0 + e);
}

// x / (1 + e^−x)
fn silu(x: Lane) -> Lane {
  return x * logistic(x);
}

// x/2 · (1 + tanh u) = x · logistic(2u) with u = √(2/π) · (x + 0.044715 x³). Past 20 the logistic is 0 or 1 to the last bit.
fn gelu_tanh(x: Lane) -> Lane {
  let y = clamp(x, Lane(-20.0), Lane(20.0));
  return x * logistic(1.5957691 * (y + 0.044715 * y * y * y));
}
