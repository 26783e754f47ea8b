//! Speculation without loss: the next tokens of an answer are guessed from earlier places that read alike ([`lookup`]), one step
//! computes the logits behind all of them, and the sampler goes over these token by token as it would have done, for as long as
//! what it chooses is what was guessed.
//!
//! ```text
//! rows of the step     newest token    guess 1         guess 2         guess 3
//! logits give          = guess 1       = guess 2       another one     (not looked at)
//!                      └── three tokens from one step; the rows of guesses 3 and, were it there, 4 are taken back
//! ```
//! So the answer is the same in every respect, as far as a step of several rows gives the bits of its rows one by one: always on
//! the CPU, and on a GPU as far as its driver compiles the same sum the same way twice. What it gains depends on the text and on the
//! machine: [`controller`] decides.
//!
//! A device that takes runs of steps by itself has the next run under way before the last is read. Where guesses promise more than that,
//! no run is put behind; once the device is still, all that is behind which to guess is known:
//!
//! ```text
//! run        ██████▏read, and it reads like a copy
//! behind           ██████▏read, and it still does
//! verified               ██▏██▏██▏no match any more
//! run                             ██████▏
//! behind                                ██████▏
//! ```
//!
//! [`super::generation`] drafts and verifies; this folder knows tokens, lengths and milliseconds, and no model.

mod controller;
mod costs;
mod lookup;
mod odds;
mod stopwatch;

use self::{controller::Controller, lookup::Lookup, stopwatch::Stopwatch};
use super::{FEW_ROWS, horizon::IS_BUILT as HAS_DEVICES};

/// Whether tokens are guessed ahead. The answer is the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Speculation {
    /// Never.
    Off,
    /// Where it pays by what was measured, so not before [`super::Session::measure_by`] or [`super::Session::look_ahead_by`].
    #[default]
    Auto,
    /// As many as a step takes wherever there is a guess, good or bad: for tests and measurements.
    Always,
}

/// What a session knows about guessing: from all its generations.
#[derive(Default)]
pub(super) struct Speculator {
    controller: Controller,
    watch: Stopwatch,
    by_runs: bool,
}

impl Speculator {
    /// One that measures by this clock.
    pub(super) fn measuring(clock: Box<dyn Fn() -> f64>) -> Self {
        Self { watch: Stopwatch::new(clock), ..Self::default() }
    }

    /// One for a device: whoever waits for it measures.
    pub(super) fn elsewhere() -> Self {
        Self { controller: Controller::elsewhere(), ..Self::default() }
    }

    /// The session works from now on.
    pub(super) fn start(&mut self) {
        self.watch.start();
    }

    /// The session does not work from now on.
    pub(super) fn stop(&mut self) {
        self.watch.stop();
    }

    /// A step begins.
    pub(super) fn begin_step(&mut self) {
        self.watch.round();
    }

    /// A step is over, all that follows from it included; `decoded`: it went on with one answer.
    pub(super) fn end_step(&mut self, decoded: Option<Decoded>) {
        let ms = self.watch.round();
        let Some(Decoded { n_rows, n_tokens, waited_ms, took }) = decoded else { return };
        let Some(ms) = waited_ms.or(ms) else { return };
        match took {
            Took::Run(began) if HAS_DEVICES => self.controller.note_run(n_tokens, ms, began),
            Took::Step if HAS_DEVICES && n_rows == 1 && self.by_runs => self.controller.note_run(1, ms, Began::Fresh),
            _ => self.controller.note_step(n_rows, n_tokens, ms),
        }
    }

    /// Whether answers go on by runs of a device from now on. A token costs otherwise then, and what was measured says nothing.
    pub(super) fn goes_by_runs(&mut self, by_runs: bool) {
        if HAS_DEVICES && by_runs != std::mem::replace(&mut self.by_runs, by_runs) {
            self.controller.forget_costs();
        }
    }
}

/// A step that went on with one answer, or a run of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Decoded {
    /// The newest token, and guesses.
    pub(super) n_rows: usize,
    /// Tokens that it gave, > 0; of a run its steps.
    pub(super) n_tokens: usize,
    /// How long it was waited for, where that was on a device.
    pub(super) waited_ms: Option<f64>,
    pub(super) took: Took,
}

/// What a token took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Took {
    Step,
    /// A run of steps by a device.
    Run(Began),
}

/// How a run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Began {
    /// While another was under way.
    Behind,
    /// When the device had nothing to do.
    Fresh,
    /// The same, because guesses had been waited for.
    AfterGuesses,
}

/// Guesses how one answer goes on.
#[derive(Debug, Default)]
pub(super) struct Drafter {
    lookup: Option<Lookup>,
    /// Tokens that were drafted, and those of them that the sampler chose.
    pub(super) n_drafted: usize,
    pub(super) n_accepted: usize,
}

impl Drafter {
    /// Guesses at most `most` tokens behind a text in three parts, which is always the same one, going on.
    pub(super) fn draft(
        &mut self,
        text: [&[u32]; 3],
        most: usize,
        how: Speculation,
        speculator: &mut Speculator,
    ) -> Vec<u32> {
        let n = self.draft_len(text, most, how, speculator, false);
        self.lookup.as_ref().map_or(vec![], |lookup| lookup.draft(n))
    }

    /// How many it guesses; where a device has to be waited for first, `enters`, how many it would if it had been.
    pub(super) fn draft_len(
        &mut self,
        text: [&[u32]; 3],
        most: usize,
        how: Speculation,
        speculator: &mut Speculator,
        enters: bool,
    ) -> usize {
        let measures = speculator.watch.measures() || speculator.controller.is_elsewhere();
        if how == Speculation::Off || (how == Speculation::Auto && !measures) {
            return 0;
        }
        let lookup = self.lookup.get_or_insert_with(|| Lookup::new(&text));
        let [read, before, answer] = text;
        let n_seen = lookup.len().saturating_sub(read.len() + before.len());
        for &token in answer.get(n_seen..).unwrap_or_default() {
            if let Some(guess) = lookup.push(token) {
                speculator.controller.note_guess(guess);
            }
        }
        let most = most.min(FEW_ROWS - 1);
        match (how, lookup.grounds()) {
            (_, None) => 0,
            (Speculation::Auto, Some(grounds)) => speculator.controller.draft_len(grounds, most, enters),
            (Speculation::Always | Speculation::Off, Some(_)) => most,
        }
    }
}
