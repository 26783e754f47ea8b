// Activations, for any x up to 10³⁰: nothing on the way overflows, because e^−|x| is at most 1. Needs lanes.wgsl.

// 0 Silu, 1 GeluTanh, 2 Gelu, 3 Relu, 4 Tanh, 5 Identity
override ACTIVATION: u32 = 0u;

fn activated(x: Lane) -> Lane {
  switch ACTIVATION {
    case 0u: {
      return silu(x);
    }
    case 1u: {
      return gelu_tanh(x);
    }
    case 2u: {
      return gelu(x);
    }
    case 3u: {
      // Not max, which may hide a NaN.
      return select(x, Lane(), x < Lane());
    }
    case 4u: {
      return 1.0 - 2.0 * logistic(-2.0 * x);
    }
    default: {
      return x;
    }
  }
}

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

// x/2 · (1 + erf(x / √2)) = (x + |x| · erf(|x| / √2)) / 2. The polynomials of erf are those of src/cpu/math.rs.
fn gelu(x: Lane) -> Lane {
  let t = min(abs(x) * 0.70710677, Lane(10.0));
  let s = t * t;
  let near = t + t * (0.12837917 + s * (-0.37612534 + s * (0.112819925 + s * (-0.026768135 + s * (0.0049911942 - 0.000596761703 * s)))));
  let log = t * (-0.12871751 + t * (-0.6348467 + t * (-0.10677788 + t * (0.024254622 + t * (-0.0038839644 + t * (0.000383197126 - 0.000017285347 * t)))))) - t;
  let erf = select(1.0 - exp(log), near, t < Lane(0.9277344));
  return 0.5 * (x + abs(x) * erf);
}
