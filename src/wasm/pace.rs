//! How much of a generation is run before JavaScript gets its turn again.
//!
//! On a device a step is handed over whole, and the turn is over when everything is pending ([`hand_over`]). On the CPU
//! [`Pace`] says how many operations make up a slice of so many milliseconds: measured, because a phone and a workstation differ by a
//! factor of thirty, and a row of prefill and a row of decoding by another.

use super::clock::now_ms;
use crate::{
    error::Result,
    session::{Event, Session},
};

/// Shortest slice: below this, what is around a slice costs more than the slice.
const MIN_SLICE_MS: f64 = 8.0;
/// Longest slice, so that messages are looked at in time.
const MAX_SLICE_MS: f64 = 50.0;
/// The clock is looked at at least this often in a slice.
const LOOKS_PER_SLICE: f64 = 4.0;
/// A clock may be coarse (0.1 ms in some browsers): shorter spans say nothing.
const SHORTEST_SPAN_MS: f64 = 0.5;

/// Runs the session until all that is left is waiting for a device.
pub(super) fn hand_over(session: &mut Session) -> Result<Vec<Event>> {
    let mut events = vec![];
    while session.is_busy() && session.waiting().is_none_or(|signal| signal.is_raised()) {
        events.append(&mut session.advance(usize::MAX)?);
    }
    Ok(events)
}

/// The speed of this machine, as seen lately.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Milliseconds per operation and row.
    unit_ms: Option<f64>,
}

impl Pace {
    /// Runs the session for about `budget_ms`, or until the generation has ended.
    pub(super) fn run(&mut self, session: &mut Session, budget_ms: f64) -> Result<Vec<Event>> {
        let budget_ms = if budget_ms.is_finite() { budget_ms.clamp(MIN_SLICE_MS, MAX_SLICE_MS) } else { MIN_SLICE_MS };
        let start_ms = now_ms();
        let mut before_ms = start_ms;
        let mut events = vec![];
        while session.is_busy() {
            let left_ms = budget_ms - (before_ms - start_ms);
            let rows = session.step_rows();
            let expected_ms = rows.zip(self.unit_ms).map_or(0.0, |(rows, unit_ms)| rows as f64 * unit_ms);
            if left_ms <= 0.0 || (before_ms > start_ms && expected_ms > left_ms) {
                break;
            }
            let n_ops = self.next_ops(rows, left_ms.min(budget_ms / LOOKS_PER_SLICE));
            events.append(&mut session.advance(n_ops)?);
            let now_ms = now_ms();
            // Between steps it is not known what comes: then it is known now, unless the step was over at once.
            if let Some(rows) = rows.or(session.step_rows()) {
                self.note(n_ops * rows, now_ms - before_ms);
            }
            before_ms = now_ms;
        }
        Ok(events)
    }

    /// Operations that take about `span_ms`. Carefully one where nothing is known of the step or the machine.
    fn next_ops(&self, rows: Option<usize>, span_ms: f64) -> usize {
        let (Some(rows), Some(unit_ms)) = (rows, self.unit_ms) else { return 1 };
        (span_ms / (unit_ms * rows as f64)).clamp(1.0, 10_000.0) as usize
    }

    /// Learns: at once where the machine is slower than thought, by and by where it is faster. A span that the clock can
    /// hardly see only says that a unit takes no longer than so much.
    fn note(&mut self, n_units: usize, span_ms: f64) {
        let unit_ms = span_ms.max(SHORTEST_SPAN_MS) / n_units as f64;
        self.unit_ms = Some(match self.unit_ms {
            None => unit_ms,
            Some(known) if span_ms < SHORTEST_SPAN_MS => known.min(unit_ms),
            Some(known) if unit_ms > known => unit_ms,
            Some(known) => (known + unit_ms) / 2.0,
        });
    }
}
