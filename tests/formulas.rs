//! The reference executor's formulas against numbers worked out by hand.

// The same tests in wasm32, where `usize` has 32 bits.
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use kinglet::{
    plan::{Activation, NormKind, PositionBias, Rope, RopeStyle},
    reference::ops,
    weights::WeightId,
};

fn assert_near(actual: &[f32], expected: &[f32]) {
    let tolerance = 2e-6;
    let near = actual.len() == expected.len() && actual.iter().zip(expected).all(|(a, e)| (a - e).abs() <= tolerance);
    assert!(near, "{actual:?}, expected {expected:?}");
}

#[test]
fn rms_norm_by_hand() {
    // mean(x²) = (9 + 16) / 2 = 12.5; with ε = 3.5 the root is 4.
    let mut out = [0.0; 4];
    ops::norm(NormKind::Rms, &[3.0, 4.0, -4.0, 3.0], &[2.0, 4.0], None, 3.5, &mut out);
    assert_eq!(out, [1.5, 4.0, -2.0, 3.0]);
}

#[test]
fn layer_norm_by_hand() {
    // mean 3, variance 1; with ε = 3 the root is 2.
    let mut out = [0.0; 2];
    ops::norm(NormKind::Layer, &[2.0, 4.0], &[2.0, 6.0], Some(&[10.0, 20.0]), 3.0, &mut out);
    assert_eq!(out, [9.0, 23.0]);
}

#[test]
fn mat_mul_by_hand() {
    let mut out = [0.0; 6];
    let weight = [1.0, 0.0, 0.5, 2.0, -1.0, 1.0]; // [3, 2]
    ops::mat_mul(&[1.0, 2.0, 4.0, -1.0], &weight, 2, &mut out);
    assert_eq!(out, [1.0, 4.5, 1.0, 4.0, 0.0, -5.0]);
}

#[test]
fn mat_mul_sums_in_order() {
    // In order: (2²⁴ + 1) rounds to 2²⁴, and what is left of 2²⁴ − 2²⁴ is 0. Any other order gives 1.
    let mut out = [9.0];
    ops::mat_mul(&[16_777_216.0, 1.0, -16_777_216.0], &[1.0; 3], 3, &mut out);
    assert_eq!(out, [0.0]);
}

#[test]
fn activations_by_hand() {
    assert_near(&[ops::activate(Activation::Silu, 0.0), ops::activate(Activation::Silu, 1.0)], &[0.0, 0.731_058_6]);
    assert_near(
        &[ops::activate(Activation::GeluTanh, 1.0), ops::activate(Activation::GeluTanh, -1.0)],
        &[0.841_192, -0.158_808],
    );
    let mut out = [0.0; 2];
    ops::glu(Activation::Silu, &[1.0, -1.0], &[2.0, 10.0], &mut out);
    assert_near(&out, &[1.462_117_2, -2.689_414_2]);
    // Far from zero nothing overflows into a NaN.
    assert_eq!(ops::activate(Activation::Silu, -1000.0), -0.0);
    assert_eq!(ops::activate(Activation::Silu, 1000.0), 1000.0);
}

#[test]
fn activations_of_other_families_by_hand() {
    // Φ(1) = 0.8413447, Φ(−3) = 0.0013498980.
    let gelu = [1.0, -1.0, -3.0, 0.0].map(|x| ops::activate(Activation::Gelu, x));
    assert_near(&gelu, &[0.841_344_7, -0.158_655_3, -0.004_049_694, 0.0]);
    assert_eq!([2.5, -2.5, 0.0].map(|x| ops::activate(Activation::Relu, x)), [2.5, 0.0, 0.0]);
    assert!(ops::activate(Activation::Relu, f32::NAN).is_nan(), "a NaN is not hidden");
    // tanh(ln 2) = (2 − 1/2) / (2 + 1/2).
    let ln_2 = std::f32::consts::LN_2;
    assert_near(&[ln_2, -ln_2, 100.0].map(|x| ops::activate(Activation::Tanh, x)), &[0.6, -0.6, 1.0]);
}

#[test]
fn soft_caps_by_hand() {
    let x = 5.0 * std::f32::consts::LN_2;
    assert_near(&[ops::soft_cap(Some(5.0), x), ops::soft_cap(Some(5.0), -1e6)], &[3.0, -5.0]);
    assert_eq!(ops::soft_cap(None, 1e6), 1e6);
}

#[test]
fn sums_and_means_by_hand() {
    let mut out = [0.0; 2];
    ops::add(&[1.0, 2.0], &[10.0, -4.0], 0.25, &mut out);
    assert_eq!(out, [3.5, 1.0]);
    ops::mean(&[&[1.0, 8.0], &[2.0, -2.0], &[6.0, 0.0]], &mut out);
    assert_eq!(out, [3.0, 2.0]);
}

#[test]
fn short_convolutions_by_hand() {
    // Two channels, three taps; the oldest position is not there. What a tap has past the channels does not count.
    let taps = [None, Some(vec![1.0, 10.0, 99.0]), Some(vec![2.0, 20.0, 99.0])];
    let mut out = [9.0; 2];
    ops::short_conv(&taps, &[100.0, 3.0, 0.5, 100.0, -1.0, 2.0], &mut out);
    assert_eq!(out, [4.0, 30.0]);
}

/// One of many tables of buckets by T5's own implementation (tests/golden/make_position_buckets.py).
#[derive(serde::Deserialize)]
struct Buckets {
    n_buckets: usize,
    max_distance: usize,
    both_sides: bool,
    /// For distances from −300 on.
    buckets: Vec<usize>,
}

#[test]
fn positions_fall_into_the_buckets_of_t5() {
    let all: Vec<Buckets> = serde_json::from_str(include_str!("golden/position_buckets.json")).unwrap();
    for both in [true, false] {
        assert!(all.iter().any(|b| (b.n_buckets, b.max_distance, b.both_sides) == (32, 128, both)));
    }
    for Buckets { n_buckets, max_distance, both_sides, buckets } in all {
        assert_eq!(buckets.len(), 601);
        let bias = PositionBias { table: WeightId(0), max_distance, both_sides };
        let own: Vec<usize> = (-300..=300).map(|distance| bias.bucket(n_buckets, distance)).collect();
        assert_eq!(own, buckets, "{n_buckets} buckets to {max_distance}, both sides: {both_sides}");
        // Farther away than any tensor: still the last.
        assert_eq!(bias.bucket(n_buckets, i64::MIN / 2), buckets[0]);
        assert_eq!(bias.bucket(n_buckets, i64::MAX / 2), buckets[600]);
    }
}

fn quarter_turns(style: RopeStyle) -> Rope {
    // Base 1: every pair turns by the position; the scale makes one position a quarter turn.
    let frequency_scale = std::f32::consts::FRAC_PI_2;
    Rope { style, head_size: 6, dims: 4, base: 1.0, frequency_scale, factors: None }
}

#[test]
fn rope_by_hand() {
    // (a, b) → (−b, a) for a quarter turn; what lies past dims stays.
    let head = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let turn = |style, factors, position| {
        let mut head = head;
        ops::rope(&quarter_turns(style), factors, position, &mut head);
        head
    };
    assert_near(&turn(RopeStyle::Norm, None, 1), &[-2.0, 1.0, -4.0, 3.0, 5.0, 6.0]);
    assert_near(&turn(RopeStyle::Neox, None, 1), &[-3.0, -4.0, 1.0, 2.0, 5.0, 6.0]);
    assert_near(&turn(RopeStyle::Norm, None, 2), &[-1.0, -2.0, -3.0, -4.0, 5.0, 6.0]);
    // Half the frequency for the second pair: after two positions it has turned once.
    assert_near(&turn(RopeStyle::Norm, Some(&[1.0, 2.0]), 2), &[-1.0, -2.0, -4.0, 3.0, 5.0, 6.0]);
    assert_eq!(turn(RopeStyle::Norm, None, 0), head);
}

#[test]
fn rope_frequencies_fall_with_the_pair() {
    // Base 100, four elements: pair 1 turns with 100^(−2/4) = 1/10 of the frequency.
    let rope = Rope { base: 100.0, frequency_scale: 1.0, ..quarter_turns(RopeStyle::Norm) };
    let mut head = [1.0, 0.0, 1.0, 0.0, 0.0, 0.0];
    ops::rope(&rope, None, 3, &mut head);
    assert_near(&head, &[3.0_f32.cos(), 3.0_f32.sin(), 0.3_f32.cos(), 0.3_f32.sin(), 0.0, 0.0]);
}

#[test]
fn attention_by_hand() {
    // Scores 0 and ln 3: probabilities 1/4 and 3/4.
    let (keys, values) = ([[0.0, 1.0], [1.0, 0.0]], [[4.0, 0.0], [8.0, -4.0]]);
    let rows = |m: &'static [[f32; 2]; 2]| -> Vec<&'static [f32]> { m.iter().map(|r| &r[..]).collect() };
    let (keys, values) = (rows(Box::leak(Box::new(keys))), rows(Box::leak(Box::new(values))));
    let mut out = [9.0; 2];
    ops::attend(&[2.0 * 3.0_f32.ln(), 0.0], &keys, &values, 0.5, None, &[], &mut out);
    assert_near(&out, &[7.0, -3.0]);
    // One position: itself, whatever the score.
    ops::attend(&[1e30, 0.0], &keys[1..], &values[1..], 1e10, None, &[], &mut out);
    assert!(out[0].is_nan(), "a score that overflowed is not hidden");
    ops::attend(&[1e30, 0.0], &keys[1..], &values[1..], 1.0, None, &[], &mut out);
    assert_eq!(out, [8.0, -4.0]);
}

#[test]
fn attention_with_a_cap_and_a_bias_by_hand() {
    // Scores 0 and 1000, capped at ln 3: probabilities 1/4 and 3/4. A bias of ln 9 on the first: 9 and 3 of 12.
    let (keys, values): ([&[f32]; 2], [&[f32]; 2]) = ([&[0.0, 1.0], &[1.0, 0.0]], [&[4.0, 0.0], &[8.0, -4.0]]);
    let (q, cap) = ([1000.0, 0.0], Some(3.0_f32.ln()));
    let mut out = [9.0; 2];
    ops::attend(&q, &keys, &values, 1.0, cap, &[], &mut out);
    assert_near(&out, &[7.0, -3.0]);
    ops::attend(&q, &keys, &values, 1.0, cap, &[9.0_f32.ln(), 0.0], &mut out);
    assert_near(&out, &[5.0, -1.0]);
}
