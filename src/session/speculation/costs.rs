//! What steps of several rows cost: learned from those that were run, beside steps of one row on the same machine lately.

use super::{super::FEW_ROWS, HAS_DEVICES};

/// Before anything was measured: what a row more costs, steps of one row.
const EXPECTED_SLOPE: f64 = 0.75;
/// Beyond what was measured a row more costs so much of what the rows before cost: kernels are better at more rows, and what is never
/// tried is never known.
const LATER_SLOPE: f64 = 0.7;
/// On a device a row more costs so much of a step: weights are read once for all, and the rest is the way there and back.
const SLOPE_ELSEWHERE: f64 = 0.1;
/// A run says as much about its steps as so many of them, at most.
const MOST_NOTES: usize = 4;
/// How much the newest measurement says beside all before it, once there are many.
const NEWEST: f64 = 0.1;
/// A measurement is taken for at most so many times what was expected: the rest is another's doing (a garbage collector, a page
/// that was hidden, code that is compiled when it first runs).
const MOST_SURPRISE: f64 = 2.0;
/// After so many steps for each measurement of a number of rows, and at most so many, without another, it is thought of as never
/// measured: what was slow only because it ran for the first time is soon tried again.
const KEPT_STEPS: u64 = 32;
const MOST_KEPT_STEPS: u64 = 512;

/// A mean in which older measurements count less.
#[derive(Debug, Clone, Copy)]
struct Mean {
    value: f64,
    /// The newest.
    newest: f64,
    n: u64,
    /// When it was measured last, steps.
    at: u64,
}

impl Mean {
    /// Takes a measurement, where `expected` was expected.
    fn with(before: Option<Self>, measured: f64, expected: f64, at: u64) -> Self {
        let n = before.map_or(0, |mean| mean.n) + 1;
        // The expectation counts as a measurement; against one that is slower as three, because code is slow when it is new.
        let n_expected = if measured < expected { 1 } else { 3 };
        let weight = NEWEST.max(1.0 / (n + n_expected) as f64);
        let measured = measured.min(expected * MOST_SURPRISE);
        Self { value: expected + (measured - expected) * weight, newest: measured, n, at }
    }
}

/// What is known of steps.
#[derive(Debug, Default)]
pub(super) struct Costs {
    /// Of a step of one row, ms.
    one_ms: Option<Mean>,
    /// Of 2 rows and more, steps of one row.
    ratios: [Option<Mean>; FEW_ROWS + 1],
    n_steps: u64,
    elsewhere: bool,
    /// Of a device: a run was seen that began behind another. Until then a step is what it is waited for.
    runs: bool,
    /// Of a device: steps of the newest run that began when it had nothing to do, and how long it was waited for, ms.
    fresh: Option<(usize, f64)>,
}

impl Costs {
    /// Of a device.
    pub(super) fn elsewhere() -> Self {
        Self { elsewhere: true, ..Self::default() }
    }

    pub(super) fn is_elsewhere(&self) -> bool {
        HAS_DEVICES && self.elsewhere
    }

    /// What is lost when a device has to begin anew: the way there and back, steps of one row.
    pub(super) fn wait(&self) -> f64 {
        match (self.fresh, self.one_ms()) {
            (Some((n_steps, ms)), Some(one_ms)) if HAS_DEVICES && self.runs => (ms / one_ms - n_steps as f64).max(0.0),
            _ => 0.0,
        }
    }

    /// A run of a device took so long, which began when it had nothing to do.
    pub(super) fn note_fresh(&mut self, n_steps: usize, ms: f64) {
        self.fresh = Some((n_steps, ms));
        if !self.runs {
            self.note(1, ms / n_steps.max(1) as f64);
        }
    }

    /// A run of a device took so long that began behind another.
    pub(super) fn note_behind(&mut self, n_steps: usize, ms: f64) {
        if !std::mem::replace(&mut self.runs, true) {
            self.one_ms = None;
        }
        for _ in 0..n_steps.min(MOST_NOTES) {
            self.note(1, ms / n_steps as f64);
        }
    }

    /// A step of so many rows took so long. What that is, steps of one row, as far as it is believed.
    pub(super) fn note(&mut self, rows: usize, ms: f64) -> f64 {
        self.n_steps += 1;
        let expected = self.ratio(rows);
        if rows == 1 {
            let expected_ms = self.one_ms.map_or(ms, |mean| mean.value);
            self.one_ms = Some(Mean::with(self.one_ms, ms, expected_ms, self.n_steps));
            return 1.0;
        }
        let Some(one_ms) = self.one_ms() else { return expected };
        let measured = (ms / one_ms).min(expected * MOST_SURPRISE);
        if let Some(ratio) = self.ratios.get_mut(rows) {
            *ratio = Some(Mean::with(*ratio, measured, expected, self.n_steps));
        }
        measured
    }

    /// Of a step of one row; `None` where it was not measured, or the clock is too coarse to see it.
    pub(super) fn one_ms(&self) -> Option<f64> {
        self.one_ms.map(|mean| mean.value).filter(|ms| *ms > 0.0)
    }

    /// What a step of so many rows costs for certain: the mean or the newest measurement, however old.
    pub(super) fn measured(&self, rows: usize) -> Option<f64> {
        let mean = (*self.ratios.get(rows)?)?;
        Some(mean.value.max(mean.newest))
    }

    /// What a step of so many rows costs, steps of one row; between and beyond what was measured, on a line.
    pub(super) fn ratio(&self, rows: usize) -> f64 {
        let known = |rows: usize| match rows {
            // One that is waited for.
            1 => Some(1.0 + self.wait()),
            _ => {
                let mean = (*self.ratios.get(rows)?)?;
                let kept_steps = MOST_KEPT_STEPS.min(mean.n * KEPT_STEPS);
                (self.n_steps - mean.at < kept_steps).then_some(mean.value)
            }
        };
        if let Some(ratio) = known(rows) {
            return ratio;
        }
        let (below, from) = (1..rows).rev().find_map(|n| Some((n, known(n)?))).unwrap_or((1, 1.0 + self.wait()));
        let above = (rows + 1..=FEW_ROWS).find_map(|n| Some((n, known(n)?)));
        let slope = match above {
            Some((above, to)) => (to - from) / (above - below) as f64,
            None if self.is_elsewhere() => SLOPE_ELSEWHERE,
            None if below == 1 => EXPECTED_SLOPE,
            None => LATER_SLOPE * (from - 1.0) / (below - 1) as f64,
        };
        from + slope * (rows - below) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(costs: &mut Costs, rows: usize, n: usize, ms: f64) {
        for _ in 0..n {
            costs.note(rows, ms);
        }
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 0.02 * b
    }

    #[test]
    fn costs_are_those_measured_and_lie_on_a_line_between_and_beyond() {
        let mut costs = Costs::default();
        assert_eq!((costs.one_ms(), costs.ratio(3)), (None, 1.0 + 2.0 * EXPECTED_SLOPE));
        costs.note(4, 20.0);
        assert_eq!(costs.ratio(4), 1.0 + 3.0 * EXPECTED_SLOPE, "it says nothing without a step of one row");
        noted(&mut costs, 1, 20, 10.0);
        noted(&mut costs, 2, 100, 15.0);
        assert!(near(costs.one_ms().unwrap(), 10.0) && near(costs.ratio(2), 1.5));
        assert!(near(costs.ratio(8), 1.5 + 6.0 * 0.5 * LATER_SLOPE));
        noted(&mut costs, 8, 100, 27.0);
        assert!(near(costs.ratio(8), 2.7) && near(costs.ratio(5), 2.1));
    }

    #[test]
    fn one_surprise_is_not_believed_and_many_are() {
        let mut costs = Costs::default();
        noted(&mut costs, 1, 20, 10.0);
        noted(&mut costs, 2, 50, 12.0);
        let before = costs.ratio(2);
        costs.note(2, 900.0);
        assert!(costs.ratio(2) <= 1.11 * before);
        noted(&mut costs, 2, 100, 30.0);
        assert!(near(costs.ratio(2), 3.0));
    }

    #[test]
    fn what_was_measured_long_ago_is_forgotten() {
        let mut costs = Costs::default();
        noted(&mut costs, 1, 20, 10.0);
        noted(&mut costs, 4, 50, 90.0);
        assert!(costs.ratio(4) > 8.0);
        noted(&mut costs, 1, MOST_KEPT_STEPS as usize, 10.0);
        assert_eq!(costs.ratio(4), 1.0 + 3.0 * EXPECTED_SLOPE);
        costs.note(2, 90.0);
        assert!(costs.ratio(2) > 1.0 + EXPECTED_SLOPE);
        let mut once = Costs::default();
        once.note(1, 10.0);
        once.note(2, 90.0);
        noted(&mut once, 1, KEPT_STEPS as usize, 10.0);
        assert_eq!(once.ratio(2), 1.0 + EXPECTED_SLOPE, "the first time is forgotten sooner");
    }

    #[test]
    fn a_clock_that_sees_nothing_measures_nothing() {
        let mut costs = Costs::default();
        noted(&mut costs, 1, 20, 0.0);
        noted(&mut costs, 4, 20, 0.0);
        assert_eq!((costs.one_ms(), costs.ratio(4)), (None, 1.0 + 3.0 * EXPECTED_SLOPE));
    }
}
