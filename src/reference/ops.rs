//! The formulas of the plan's operations as plain loops: what each operation means, nothing about where data lies.
//! Called by the executor next door; the other executors are compared with these.
//!
//! Everything is f32 and is summed in the order of the index, one product after the other. Two exceptions, so that the
//! definition does not lean on the order of a sum over many terms: the sums of a norm and of a softmax are f64. Angles
//! are f64 and rounded once, as sine and cosine. Functions beyond the four operations and the root come from `libm`:
//! the same bits on every platform.

use crate::plan::{Activation, NormKind, Rope, RopeStyle};

/// `out[t] = scale · row(t)`: one row of a table, or of the step's embeddings, for each new row.
///
/// row, out: [D]
pub fn embed_row(row: &[f32], scale: f32, out: &mut [f32]) {
    for (y, x) in out.iter_mut().zip(row) {
        *y = scale * x;
    }
}

/// Normalises each row of x: [`NormKind`] has the formulas.
///
/// x, out: [T, D]; weight, bias: [D]
pub fn norm(kind: NormKind, x: &[f32], weight: &[f32], bias: Option<&[f32]>, eps: f32, out: &mut [f32]) {
    let width = weight.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let mean = match kind {
            NormKind::Rms => 0.0,
            NormKind::Layer => x.iter().map(|&x| f64::from(x)).sum::<f64>() / width as f64,
        };
        let variance = x.iter().map(|&x| (f64::from(x) - mean) * (f64::from(x) - mean)).sum::<f64>() / width as f64;
        let inverse = (1.0 / (variance + f64::from(eps)).sqrt()) as f32;
        for i in 0..width {
            out[i] = (x[i] - mean as f32) * inverse * weight[i] + bias.map_or(0.0, |b| b[i]);
        }
    }
}

/// `out = x · weightᵀ`: every row of x with every row of the weight.
///
/// x: [T, K]; weight: [N, K]; out: [T, N]
pub fn mat_mul(x: &[f32], weight: &[f32], k: usize, out: &mut [f32]) {
    let n = weight.len() / k;
    for (x, out) in x.chunks_exact(k).zip(out.chunks_exact_mut(n)) {
        for (y, w) in out.iter_mut().zip(weight.chunks_exact(k)) {
            *y = dot(x, w);
        }
    }
}

/// `Σ a_i · b_i`, in order.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b)
}

/// `y += scale · delta`: how a low-rank product joins the main one.
///
/// delta, y: [T, N]
pub fn add_scaled(delta: &[f32], scale: f32, y: &mut [f32]) {
    for (y, d) in y.iter_mut().zip(delta) {
        *y += scale * d;
    }
}

/// `y[t] += bias`.
///
/// bias: [N]; y: [T, N]
pub fn add_bias(bias: &[f32], y: &mut [f32]) {
    for y in y.chunks_exact_mut(bias.len()) {
        for (y, b) in y.iter_mut().zip(bias) {
            *y += b;
        }
    }
}

/// `out = a + scale · b`.
///
/// a, b, out: [T, D]
pub fn add(a: &[f32], b: &[f32], scale: f32, out: &mut [f32]) {
    for ((y, a), b) in out.iter_mut().zip(a).zip(b) {
        *y = a + scale * b;
    }
}

/// `out = act(gate) ⊙ up`.
///
/// gate, up, out: [T, F]
pub fn glu(activation: Activation, gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((y, &gate), up) in out.iter_mut().zip(gate).zip(up) {
        *y = activate(activation, gate) * up;
    }
}

/// [`Activation`] has the formulas.
pub fn activate(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Silu => x / (1.0 + libm::expf(-x)),
        Activation::GeluTanh => {
            const SQRT_2_OVER_PI: f32 = 0.797_884_6;
            0.5 * x * (1.0 + libm::tanhf(SQRT_2_OVER_PI * (x + 0.044_715 * x * x * x)))
        }
        Activation::Gelu => 0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2)),
        // Not `f32::max`, which hides a NaN.
        Activation::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        Activation::Tanh => libm::tanhf(x),
        Activation::Identity => x,
    }
}

/// Rotates one head in place for one position: [`Rope`] has the formula.
///
/// head: [K]; factors: [dims / 2]
pub fn rope(rope: &Rope, factors: Option<&[f32]>, position: u32, head: &mut [f32]) {
    for i in 0..rope.dims / 2 {
        let frequency = libm::pow(f64::from(rope.base), -2.0 * i as f64 / rope.dims as f64);
        let factor = factors.map_or(1.0, |f| f64::from(f[i]));
        let angle = f64::from(position) * f64::from(rope.frequency_scale) * frequency / factor;
        let (sin, cos) = (libm::sin(angle) as f32, libm::cos(angle) as f32);
        let (first, second) = match rope.style {
            RopeStyle::Norm => (2 * i, 2 * i + 1),
            RopeStyle::Neox => (i, i + rope.dims / 2),
        };
        let (a, b) = (head[first], head[second]);
        head[first] = a * cos - b * sin;
        head[second] = a * sin + b * cos;
    }
}

/// `cap · tanh(x / cap)`, or x where there is no cap.
pub fn soft_cap(cap: Option<f32>, x: f32) -> f32 {
    cap.map_or(x, |cap| cap * libm::tanhf(x / cap))
}

/// `out = mean(rows)`.
///
/// rows: n × [D], n > 0; out: [D]
pub fn mean(rows: &[&[f32]], out: &mut [f32]) {
    for (i, y) in out.iter_mut().enumerate() {
        *y = (rows.iter().map(|row| f64::from(row[i])).sum::<f64>() / rows.len() as f64) as f32;
    }
}

/// `out = Σ_i weight[·, i] ⊙ taps[i]`; before the first position there is nothing.
///
/// taps: N × [≥ D], oldest first; weight: [D, N]; out: [D]
pub fn short_conv(taps: &[Option<Vec<f32>>], weight: &[f32], out: &mut [f32]) {
    for (channel, (y, weight)) in out.iter_mut().zip(weight.chunks_exact(taps.len())).enumerate() {
        *y = taps.iter().zip(weight).fold(0.0, |sum, (tap, w)| sum + w * tap.as_ref().map_or(0.0, |t| t[channel]));
    }
}

/// Attention of one query head over n cached positions, the whole of what it may see:
/// `out = Σ_p softmax_p(cap(scale · q · k_p) + bias_p) · v_p`.
///
/// q, out: [K]; keys, values: n × [K]; bias: [n], or empty where there is none
pub fn attend(
    q: &[f32],
    keys: &[&[f32]],
    values: &[&[f32]],
    scale: f32,
    cap: Option<f32>,
    bias: &[f32],
    out: &mut [f32],
) {
    let score = |(p, k): (usize, &&[f32])| soft_cap(cap, scale * dot(q, k)) + bias.get(p).copied().unwrap_or(0.0);
    let scores: Vec<f32> = keys.iter().enumerate().map(score).collect();
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f32> = scores.iter().map(|s| libm::expf(s - max)).collect();
    let sum: f64 = weights.iter().map(|&w| f64::from(w)).sum();
    out.fill(0.0);
    for (weight, v) in weights.iter().zip(values) {
        let probability = (f64::from(*weight) / sum) as f32;
        for (y, v) in out.iter_mut().zip(*v) {
            *y += probability * v;
        }
    }
}
