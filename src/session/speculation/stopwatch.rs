//! How long steps take: counts only while the session works, by a clock that whoever drives it has brought along.

/// Milliseconds since some moment.
pub(super) type Clock = Box<dyn Fn() -> f64>;

/// Stands still from the beginning; without a clock, for ever.
#[derive(Default)]
pub(super) struct Stopwatch {
    clock: Option<Clock>,
    /// Since when it runs.
    since_ms: Option<f64>,
    /// In this round, before it last stood still.
    round_ms: f64,
}

impl Stopwatch {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock: Some(clock), ..Self::default() }
    }

    /// Whether it has a clock.
    pub(super) fn measures(&self) -> bool {
        self.clock.is_some()
    }

    pub(super) fn start(&mut self) {
        self.since_ms = self.clock.as_ref().map(|now_ms| now_ms());
    }

    pub(super) fn stop(&mut self) {
        self.round_ms += self.run_ms();
        self.since_ms = None;
    }

    /// Ends a round and begins the next; how long it took. `None` without a clock.
    pub(super) fn round(&mut self) -> Option<f64> {
        self.clock.as_ref()?;
        let is_running = self.since_ms.is_some();
        self.stop();
        if is_running {
            self.start();
        }
        Some(std::mem::take(&mut self.round_ms))
    }

    /// Since it was started last. A clock that was set back says nothing.
    fn run_ms(&self) -> f64 {
        let Some((now_ms, since_ms)) = self.clock.as_ref().zip(self.since_ms) else { return 0.0 };
        (now_ms() - since_ms).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, rc::Rc};

    #[test]
    fn it_counts_only_while_it_runs() {
        let now = Rc::new(Cell::new(100.0));
        let clock = now.clone();
        let mut watch = Stopwatch::new(Box::new(move || clock.get()));
        let pass = |ms: f64| now.set(now.get() + ms);
        pass(5.0);
        watch.start();
        pass(1.0);
        watch.stop();
        pass(7.0);
        watch.start();
        pass(2.0);
        assert_eq!(watch.round(), Some(3.0));
        pass(4.0);
        watch.stop();
        assert_eq!(watch.round(), Some(4.0));
        assert_eq!(watch.round(), Some(0.0));
        watch.start();
        pass(-3.0);
        assert_eq!(watch.round(), Some(0.0), "set back");
    }

    #[test]
    fn without_a_clock_nothing_is_measured() {
        let mut watch = Stopwatch::default();
        watch.start();
        watch.stop();
        assert_eq!(watch.round(), None);
    }
}
