//! How far a device may be from the reference.

use std::fmt;

use crate::{
    gpu::shader::{AS_BYTES, AS_F16, Shader},
    kv::{KvFormat, KvGeometry},
    plan::{Attention, Op},
    quant::f16_to_f32,
    sample::Best,
};

/// A value is good if it differs by at most `abs · rms + rel · |expected|`, rms being that of all expected values.
#[derive(Debug, Clone, Copy)]
struct Tolerance {
    name: &'static str,
    abs: f64,
    rel: f64,
}

/// Unpacked or moved: one rounding more or less.
const MOVED: Tolerance = Tolerance { name: "moved", abs: 1e-6, rel: 1e-6 };
/// Sums in another order, and the functions of WGSL, which may be off by some units of the last place.
const COMPUTED: Tolerance = Tolerance { name: "computed", abs: 5e-5, rel: 5e-5 };
/// Rounded to f16, perhaps the other way: a unit of its last place is 2⁻¹⁰ at most.
const HALF: Tolerance = Tolerance { name: "rounded to f16", abs: 1e-6, rel: 1.0 / 1000.0 };
/// Computed from keys and values that may be rounded the other way.
const ATTENDED_HALF: Tolerance = Tolerance { name: "attended, f16", abs: 2e-3, rel: 1e-3 };

/// Rounded to 8 bits, perhaps the other way: a step is the 127th part of the largest of 32, which is a few times the rms.
const BYTE: Tolerance = Tolerance { name: "rounded to 8 bits", abs: 4e-2, rel: 1e-2 };
/// Computed from such keys and values.
const ATTENDED_BYTES: Tolerance = Tolerance { name: "attended, 8 bits", abs: 4e-2, rel: 1e-2 };
/// Products of what has 11 bits, and of activations in 127 steps of the largest of 32: half a percent of the rms as a rule. Where one of
/// two factors of a gated product is some times its rms, so is what the other's error makes.
const IN_F16: Tolerance = Tolerance { name: "multiplied in f16", abs: 4e-2, rel: 4e-3 };
const IN_BYTES: Tolerance = Tolerance { name: "multiplied in bytes", abs: 0.2, rel: 4e-2 };

/// What is wrong first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wrong {
    index: usize,
    found: f64,
    expected: f64,
    tolerance: &'static str,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, found, expected, tolerance } = self;
        write!(f, "[{index}] is {found:e}, expected {expected:e} (tolerance: {tolerance})")
    }
}

/// Judges the results of an operation.
pub(super) struct Judge(Tolerance);

impl Judge {
    /// Of an operation that takes these shaders, by a cache of this format.
    pub(super) fn of<'a>(op: &Op, format: KvFormat, mut shaders: impl Iterator<Item = &'a Shader> + Clone) -> Self {
        Self(match op {
            Op::MatMul(_) if shaders.clone().any(|s| s.has(AS_BYTES)) => IN_BYTES,
            Op::MatMul(_) if shaders.any(|s| s.has(AS_F16)) => IN_F16,
            Op::Embed { .. } | Op::SelectRows { .. } => MOVED,
            Op::Attention(_) if format == KvFormat::F16 => ATTENDED_HALF,
            Op::Attention(_) if format == KvFormat::Q8_0 => ATTENDED_BYTES,
            _ => COMPUTED,
        })
    }

    pub(super) fn compare(&self, actual: &[f32], expected: &[f32]) -> Result<(), Wrong> {
        let value = |x: &f32| f64::from(*x);
        compare(self.0, actual.iter().map(value), expected.iter().map(value))
    }
}

fn compare(
    tolerance: Tolerance,
    actual: impl ExactSizeIterator<Item = f64>,
    expected: impl ExactSizeIterator<Item = f64> + Clone,
) -> Result<(), Wrong> {
    let Tolerance { name, abs, rel } = tolerance;
    let (n, n_expected) = (actual.len(), expected.len());
    let wrong = |index, found, expected| Wrong { index, found, expected, tolerance: name };
    if n != n_expected {
        return Err(wrong(n.min(n_expected), f64::NAN, f64::NAN));
    }
    let rms = (expected.clone().map(|x| x * x).sum::<f64>() / n.max(1) as f64).sqrt();
    for (i, (a, e)) in actual.zip(expected).enumerate() {
        // A NaN is not within anything.
        let good = (a - e).abs() <= abs * rms + rel * e.abs();
        if !good {
            return Err(wrong(i, a, e));
        }
    }
    Ok(())
}

/// The layer of the cache that an operation writes.
pub(super) fn written_layer(op: &Op) -> Option<usize> {
    match op {
        Op::KvWrite { layer, .. }
        | Op::RopeKv { layer, .. }
        | Op::ShortConv { layer, .. }
        | Op::Attention(Attention { layer, append: Some(_), .. }) => Some(*layer),
        _ => None,
    }
}

/// Compares a layer in pages of canonical order.
pub(super) fn compare_cache(geometry: &KvGeometry, layer: usize, actual: &[u8], expected: &[u8]) -> Result<(), Wrong> {
    let tolerance = match geometry.format {
        KvFormat::F16 => HALF,
        KvFormat::F32 => COMPUTED,
        KvFormat::Q8_0 => BYTE,
    };
    let layer_bytes = KvGeometry { layers: 1, ..*geometry }.page_bytes();
    let values = |bytes: &[u8]| -> Vec<f64> {
        let mut values = vec![];
        // An element, or a block.
        let mut add = |b: &[u8]| match *b {
            [a, b] => values.push(f64::from(f16_to_f32(u16::from_le_bytes([a, b])))),
            [a, b, c, d] => values.push(f64::from(f32::from_le_bytes([a, b, c, d]))),
            [a, b, ref quants @ ..] => {
                let d = f64::from(f16_to_f32(u16::from_le_bytes([a, b])));
                values.extend(quants.iter().map(|q| d * f64::from(q.cast_signed())));
            }
            _ => {}
        };
        let layers = bytes.chunks_exact(layer_bytes).skip(layer).step_by(geometry.layers);
        layers.flat_map(|l| l.chunks_exact(geometry.format.row_bytes(1))).for_each(&mut add);
        values
    };
    compare(tolerance, values(actual).into_iter(), values(expected).into_iter())
}

/// What was looked up.
pub(super) fn compare_moved(actual: &[f32], expected: &[f32]) -> Result<(), Wrong> {
    Judge(MOVED).compare(actual, expected)
}

/// The token that the device went on with is the one that it should be.
pub(super) fn compare_chosen(found: u32, expected: u32) -> Result<(), Wrong> {
    compare(MOVED, [f64::from(found)].into_iter(), [f64::from(expected)].into_iter())
}

/// The best `n` logits of a row are there, and the sum over the row is right. There are no ties, so there must be candidates.
pub(super) fn compare_best(best: Option<Best<'_>>, logits: &[f32], n: usize) -> Result<(), Wrong> {
    let best = best.unwrap_or(Best { candidates: &[], log_sum_exp: f64::NAN });
    let mut expected: Vec<(u32, f32)> = logits.iter().enumerate().map(|(i, x)| (i as u32, *x)).collect();
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    expected.sort_unstable_by(order);
    let mut found: Vec<(u32, f32)> = best.candidates.iter().map(|c| (c.id, c.logit)).collect();
    found.sort_unstable_by(order);
    let values = |c: &[(u32, f32)]| c.iter().take(n).flat_map(|c| [f64::from(c.0), f64::from(c.1)]).collect::<Vec<_>>();
    compare(MOVED, values(&found).into_iter(), values(&expected).into_iter())?;
    let largest = expected.first().map_or(f64::NAN, |c| f64::from(c.1));
    let sum: f64 = logits.iter().map(|x| libm::exp(f64::from(*x) - largest)).sum();
    let found = libm::exp(best.log_sum_exp - largest);
    compare(COMPUTED, [found].into_iter(), [sum].into_iter())
}
