//! Functions on f32 vectors with the same bits on every target: exp, tanh, erf, activations, norms. Own polynomials, no fused
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

/// `c[0] x^n + c[1] x^(n − 1) + …`
#[inline(always)]
fn polynomial<const N: usize>(x: F32x4, c: [f32; N]) -> F32x4 {
    c.into_iter().fold(F32x4::splat(0.0), |p, c| p.mul(x).add(F32x4::splat(c)))
}

/// `near` in the lanes where t < limit, `far` in the others; both where t is NaN, which they are then too.
#[inline(always)]
fn either(t: F32x4, limit: f32, near: F32x4, far: F32x4) -> F32x4 {
    let near = near.zero_where_less(F32x4::splat(limit.next_down()), t);
    near.add(far.zero_where_less(t, F32x4::splat(limit)))
}

/// tanh x, within 2e-7 (relative below 3e-7): a polynomial near 0 (Cephes, tanhf.c), else 1 − 2 / (1 + e^2x).
#[inline(always)]
pub(crate) fn tanh(x: F32x4) -> F32x4 {
    const C: [f32; 5] = [-5.704_988_7e-3, 2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1];
    let one = F32x4::splat(1.0);
    let square = x.mul(x);
    let near = polynomial(square, C).mul(square).mul(x).add(x);
    let far = one.sub(F32x4::splat(2.0).div(one.add(exp(x.add(x)))));
    either(x.abs(), 0.625, near, far)
}

/// erf t for t ≥ 0, within 8e-8 (relative below 1e-7): polynomials by N. Juffa (math.stackexchange.com/q/2434476), the second of
/// ln(1 − erf t).
#[inline(always)]
fn erf(t: F32x4) -> F32x4 {
    const NEAR: [f32; 6] =
        [-5.967_617e-4, 4.991_194_3e-3, -2.676_813_5e-2, 1.128_199_3e-1, -3.761_253_4e-1, 1.283_791_7e-1];
    const FAR: [f32; 7] = [
        -1.728_534_7e-5,
        3.831_971_3e-4,
        -3.883_964_4e-3,
        2.425_462_2e-2,
        -1.067_778_8e-1,
        -6.348_467e-1,
        -1.287_175_1e-1,
    ];
    let near = polynomial(t.mul(t), NEAR).mul(t).add(t);
    // From 10 on erf is 1.
    let limited = t.min(F32x4::splat(10.0));
    let far = F32x4::splat(1.0).sub(exp(polynomial(limited, FAR).mul(limited).sub(limited)));
    either(t, 0.927_734_4, near, far)
}

/// An activation. Those of the fastest models are inlined.
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
        Activation::Identity => x,
        Activation::Gelu | Activation::Relu | Activation::Tanh => activate_otherwise(activation, x),
    }
}

#[inline(never)]
fn activate_otherwise(activation: Activation, x: F32x4) -> F32x4 {
    match activation {
        // erf(−y) = −erf(y), so x · erf(x / √2) = |x| · erf(|x| / √2).
        Activation::Gelu => {
            let erf = erf(x.abs().mul(F32x4::splat(std::f32::consts::FRAC_1_SQRT_2)));
            x.add(x.abs().mul(erf)).mul(F32x4::splat(0.5))
        }
        Activation::Tanh => tanh(x),
        _ => x.max(F32x4::splat(0.0)),
    }
}

/// `out = f(x)`, any length.
#[inline(always)]
pub(crate) fn map(x: &[f32], out: &mut [f32], f: impl Fn(F32x4) -> F32x4) {
    let (x4, x_tail) = x.as_chunks::<4>();
    let (o4, o_tail) = out.as_chunks_mut::<4>();
    for (x, o) in x4.iter().zip(o4) {
        f(F32x4::load(x)).store(o);
    }
    for (x, o) in x_tail.iter().zip(o_tail) {
        *o = f(F32x4::splat(*x)).to_array()[0];
    }
}

/// `cap · tanh(x / cap)`
#[inline(always)]
pub(crate) fn soft_cap(cap: f32, x: F32x4) -> F32x4 {
    tanh(x.div(F32x4::splat(cap))).mul(F32x4::splat(cap))
}

/// `out = cap(scale · x)`
pub(crate) fn scale(scale: f32, cap: Option<f32>, x: &[f32], out: &mut [f32]) {
    let scale = F32x4::splat(scale);
    match cap {
        Some(cap) => map(x, out, |x| soft_cap(cap, x.mul(scale))),
        None => map(x, out, |x| x.mul(scale)),
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
