//! Functions on f32 vectors with the same bits on every target: exp, activations, norms. Own polynomials, no fused
//! multiply-add, sums in a fixed order.

use super::simd::{F32x4, I32x4};
use crate::plan::Activation;

/// e^x: range reduction by ln 2 in two parts, polynomial of degree 6 (relative error below 2e-7); 0 below −87.3, and at
/// most e^88.3.
#[inline(always)]
pub(crate) fn exp(x: F32x4) -> F32x4 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts; the first has enough trailing zeros for z · LN2_HI to be exact.
    const LN2_HI: f32 = 0.693_145_75;
    const LN2_LO: f32 = 1.428_606_8e-6;
    const C: [f32; 7] = [1.0, 1.0, 0.5, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0];
    let lowest = F32x4::splat(-87.3);
    let clamped = x.max(lowest).min(F32x4::splat(88.3));
    let z = clamped.mul(F32x4::splat(LOG2_E)).nearest();
    let r = clamped.sub(z.mul(F32x4::splat(LN2_HI))).sub(z.mul(F32x4::splat(LN2_LO)));
    let mut p = F32x4::splat(C[6]);
    for c in C[..6].iter().rev() {
        p = p.mul(r).add(F32x4::splat(*c));
    }
    let power = F32x4::from_bits(z.to_i32().add(I32x4::splat(127)).shl::<23>());
    p.mul(power).zero_where_less(x, lowest)
}

/// The activation of a gated unit.
#[inline(always)]
pub(crate) fn activate(activation: Activation, x: F32x4) -> F32x4 {
    let one = F32x4::splat(1.0);
    let zero = F32x4::splat(0.0);
    match activation {
        Activation::Silu => x.div(one.add(exp(zero.sub(x)))),
        Activation::GeluTanh => {
            // tanh(u) = 1 − 2 / (1 + e^2u)
            const SQRT_2_OVER_PI: f32 = 0.797_884_6;
            let cubic = x.mul(x).mul(x).mul(F32x4::splat(0.044_715));
            let u = x.add(cubic).mul(F32x4::splat(SQRT_2_OVER_PI));
            let tanh = one.sub(F32x4::splat(2.0).div(one.add(exp(u.add(u)))));
            x.mul(F32x4::splat(0.5)).mul(one.add(tanh))
        }
        Activation::Gelu | Activation::Relu | Activation::Tanh | Activation::Identity => {
            unreachable!("refused when it was prepared")
        }
    }
}

/// `out = act(gate) ⊙ up`, any length.
pub(crate) fn glu(activation: Activation, gate: &[f32], up: &[f32], out: &mut [f32]) {
    let (g4, g_tail) = gate.as_chunks::<4>();
    let (u4, u_tail) = up.as_chunks::<4>();
    let (o4, o_tail) = out.as_chunks_mut::<4>();
    for ((g, u), o) in g4.iter().zip(u4).zip(o4) {
        activate(activation, F32x4::load(g)).mul(F32x4::load(u)).store(o);
    }
    for ((g, u), o) in g_tail.iter().zip(u_tail).zip(o_tail) {
        *o = activate(activation, F32x4::splat(*g)).to_array()[0] * u;
    }
}

/// Sum of f(x) over the lanes: four chains of vectors, joined in a fixed order.
#[inline(always)]
fn sum_by(x: &[f32], f: impl Fn(F32x4) -> F32x4) -> f32 {
    let (chunks, tail) = x.as_chunks::<16>();
    let mut acc = [F32x4::splat(0.0); 4];
    for chunk in chunks {
        let (quads, _) = chunk.as_chunks::<4>();
        for (a, q) in acc.iter_mut().zip(quads) {
            *a = a.add(f(F32x4::load(q)));
        }
    }
    let mut sum = acc[0].add(acc[1]).add(acc[2].add(acc[3])).sum();
    for x in tail {
        sum += f(F32x4::splat(*x)).to_array()[0];
    }
    sum
}

/// `out = x / √(mean(x²) + ε) ⊙ weight`
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let mean = sum_by(x, |v| v.mul(v)) / x.len() as f32;
    let scale = 1.0 / (mean + eps).sqrt();
    for ((o, x), w) in out.iter_mut().zip(x).zip(weight) {
        *o = x * scale * w;
    }
}

/// `out = (x − mean(x)) / √(var(x) + ε) ⊙ weight + bias`
pub(crate) fn layer_norm(x: &[f32], weight: &[f32], bias: Option<&[f32]>, eps: f32, out: &mut [f32]) {
    let n = x.len() as f32;
    let mean = sum_by(x, |v| v) / n;
    let m = F32x4::splat(mean);
    let variance = sum_by(x, |v| v.sub(m).mul(v.sub(m))) / n;
    let scale = 1.0 / (variance + eps).sqrt();
    for ((o, x), w) in out.iter_mut().zip(x).zip(weight) {
        *o = (x - mean) * scale * w;
    }
    if let Some(bias) = bias {
        out.iter_mut().zip(bias).for_each(|(o, b)| *o += b);
    }
}
