//! e^x in f32 with the same bits on every machine and in wasm: additions, products and bit patterns only, no branch in
//! the middle, so that a loop over a vocabulary vectorises.

/// Below this, e^x is taken as 0 (it would be subnormal).
const LOWEST: f32 = -87.0;
/// 1.5 · 2²³: adding and subtracting it rounds a small f32 to a whole number, ties to even.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts; the first has few bits, so that `n · LN2_HIGH` is exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// e^x for x ≤ 0, within 2 units in the last place; 0 below −87. Polynomial: Cephes `expf` (Moshier).
#[inline]
pub(super) fn exp_not_positive(x: f32) -> f32 {
    let n = (x * core::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let power_of_two = f32::from_bits((((n as i32).wrapping_add(127)) << 23) as u32);
    let e = (p * r * r + r + 1.0) * power_of_two;
    if x < LOWEST { 0.0 } else { e }
}

/// Σ e^(x − max) over a vocabulary, in eight lanes of f64 that are added at the end: one order, the same bits everywhere.
pub(super) fn sum_exp(logits: &[f32], max: f32) -> f64 {
    let mut lanes = [0f64; 8];
    let (chunks, rest) = logits.as_chunks::<8>();
    for chunk in chunks {
        for lane in 0..8 {
            lanes[lane] += f64::from(exp_not_positive(chunk[lane] - max));
        }
    }
    for (lane, &logit) in rest.iter().enumerate() {
        lanes[lane] += f64::from(exp_not_positive(logit - max));
    }
    lanes.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_e_to_the_x_within_2_units_in_the_last_place() {
        for i in 0..=870_000 {
            let x = -(i as f32) * 1e-4;
            let (ours, exact) = (exp_not_positive(x), libm::exp(f64::from(x)));
            let unit = f64::from(f32::from_bits((exact as f32).to_bits() + 1)) - f64::from(exact as f32);
            assert!((f64::from(ours) - exact).abs() <= 2.0 * unit, "e^{x}: {ours}, exactly {exact}");
        }
        assert_eq!(exp_not_positive(0.0), 1.0);
        assert_eq!(exp_not_positive(-87.1), 0.0);
        assert_eq!(exp_not_positive(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp_not_positive(f32::MIN), 0.0);
    }

    #[test]
    fn the_sum_is_that_of_f64() {
        let logits: Vec<f32> = (0..1003).map(|i| ((i * 37) % 101) as f32 * 0.1 - 9.0).collect();
        let max = logits.iter().copied().fold(f32::MIN, f32::max);
        let exact: f64 = logits.iter().map(|&l| libm::exp(f64::from(l) - f64::from(max))).sum();
        assert!((sum_exp(&logits, max) / exact - 1.0).abs() < 1e-6);
    }
}
