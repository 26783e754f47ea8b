//! How many steps a device takes by itself before anybody hears of them ([`crate::plan::Ahead`]): as many as make one run, which
//! is over soon enough for a reader to see an even stream. While one is read, the next is under way already.
//!
//! ```text
//! run     ██████▏read        ██████▏read
//! behind        ██████▏            ██████▏
//! ```
//! [`super::generation`] begins the runs and goes over their results; here there are only numbers of steps and milliseconds.

/// Whether any executor of this build takes steps ahead.
pub(super) const IS_BUILT: bool = cfg!(feature = "gpu");

/// The longest that a run is to take.
const LONGEST_MS: f64 = 30.0;
/// Runs have 1, 2, 4, … steps.
const N_SIZES: usize = 6;
/// How much the newest measurement says beside all before it.
const NEWEST: f64 = 0.25;
/// What is left of a longer run's time with every run: so it is tried again.
const FORGOTTEN: f64 = 0.95;
/// A measurement is taken for at most so many times what was expected: the rest is another's doing (a reader that paused, a page
/// that was hidden).
const MOST_SURPRISE: f64 = 2.0;

/// What a session knows about its device: from all its generations.
#[derive(Default)]
pub(super) struct Horizon {
    clock: Option<Box<dyn Fn() -> f64>>,
    since_ms: Option<f64>,
    /// Runs have 2^size steps.
    size: usize,
    /// How long runs of each size take.
    ms: [Option<f64>; N_SIZES],
}

impl Horizon {
    /// One that measures by this clock. Without one, every step is waited for.
    pub(super) fn measuring(clock: Box<dyn Fn() -> f64>) -> Self {
        Self { clock: Some(clock), ..Self::default() }
    }

    /// Steps of the next run; 1: no run, but a step by itself.
    pub(super) fn n_steps(&self) -> usize {
        1 << self.size
    }

    /// A run or a step begins, or the one that is under way is waited for from now on.
    pub(super) fn begun(&mut self) {
        self.since_ms = self.now_ms();
    }

    /// It is over, and had so many steps; how long it was waited for. 0: it was neither, and says nothing about them.
    pub(super) fn ended(&mut self, n_steps: usize) -> Option<f64> {
        let ms = (self.now_ms()? - self.since_ms.take()?).max(0.0);
        if n_steps == self.n_steps() {
            self.note(ms);
        }
        Some(ms)
    }

    fn now_ms(&self) -> Option<f64> {
        self.clock.as_ref().filter(|_| IS_BUILT).map(|now_ms| now_ms())
    }

    fn known(&self, size: usize) -> Option<f64> {
        self.ms.get(size).copied().flatten()
    }

    fn note(&mut self, ms: f64) {
        let mean_ms = match self.known(self.size) {
            None => ms,
            Some(mean) => mean + NEWEST * (ms.min(MOST_SURPRISE * mean.max(1.0)) - mean),
        };
        if let Some(known) = self.ms.get_mut(self.size) {
            *known = Some(mean_ms);
        }
        if let Some(Some(longer_ms)) = self.ms.get_mut(self.size + 1) {
            *longer_ms *= FORGOTTEN;
        }
        if mean_ms > LONGEST_MS {
            self.size = self.size.saturating_sub(1);
        } else if self.size + 1 < N_SIZES && self.twice_ms(mean_ms) <= LONGEST_MS {
            self.size += 1;
        }
    }

    /// What a run of twice the steps takes: as it is known, or by what the steps took that one has beyond half of it.
    fn twice_ms(&self, ms: f64) -> f64 {
        let half_ms = self.size.checked_sub(1).and_then(|size| self.known(size));
        let expected_ms = ms + half_ms.map_or(ms, |half_ms| 2.0 * (ms - half_ms).max(0.0));
        self.known(self.size + 1).map_or(expected_ms, |known| known.max(expected_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, rc::Rc};

    /// Runs on a device that takes so long for a run and for each step; the sizes of the runs.
    fn sizes(latency_ms: f64, step_ms: f64, n_runs: usize) -> Vec<usize> {
        let now = Rc::new(Cell::new(0.0));
        let clock = now.clone();
        let mut horizon = Horizon::measuring(Box::new(move || clock.get()));
        (0..n_runs)
            .map(|_| {
                let n = horizon.n_steps();
                horizon.begun();
                now.set(now.get() + latency_ms + n as f64 * step_ms);
                horizon.ended(n);
                n
            })
            .collect()
    }

    #[test]
    fn runs_grow_while_a_reader_sees_an_even_stream() {
        assert_eq!(sizes(0.5, 0.7, 8), [1, 2, 4, 8, 16, 32, 32, 32]);
        assert_eq!(sizes(0.0, 3.0, 6), [1, 2, 4, 8, 8, 8]);
        assert_eq!(sizes(0.0, 30.0, 4), [1; 4]);
        assert_eq!(sizes(0.0, 400.0, 4), [1; 4]);
        // Most of the time is the way back.
        assert_eq!(sizes(12.0, 1.0, 7), [1, 2, 4, 8, 16, 16, 16]);
    }

    #[test]
    fn runs_shrink_where_steps_become_slower() {
        let now = Rc::new(Cell::new(0.0));
        let clock = now.clone();
        let mut horizon = Horizon::measuring(Box::new(move || clock.get()));
        let mut run = |step_ms: f64| {
            let n = horizon.n_steps();
            horizon.begun();
            now.set(now.get() + n as f64 * step_ms);
            horizon.ended(n);
            n
        };
        (0..8).for_each(|_| assert!(run(0.8) > 0));
        assert_eq!(run(0.8), 32);
        (0..40).for_each(|_| assert!(run(6.0) > 0));
        assert!((4..=8).contains(&run(6.0)));
        // A pause of the reader is no slow device.
        (0..40).for_each(|_| assert!(run(0.8) > 0));
        let before = run(0.8);
        run(1000.0);
        (0..3).for_each(|_| assert!(run(0.8) > 0));
        assert_eq!(run(0.8), before);
    }

    #[test]
    fn without_a_clock_there_are_no_runs() {
        let mut horizon = Horizon::default();
        for _ in 0..10 {
            horizon.begun();
            horizon.ended(1);
            assert_eq!(horizon.n_steps(), 1);
        }
    }
}
