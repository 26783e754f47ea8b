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
//! the CPU. What it gains depends on the text and on the machine: [`controller`] decides.
//!
//! [`super::generation`] drafts and verifies; this folder knows tokens, lengths and milliseconds, and no model.

mod controller;
mod costs;
mod lookup;
mod odds;
mod stopwatch;

use self::{controller::Controller, lookup::Lookup, stopwatch::Stopwatch};
use super::FEW_ROWS;

/// Steps on devices are not measured yet, so that a binary that only runs those would carry what it never uses.
pub(super) const IS_BUILT: bool = cfg!(feature = "cpu");

/// Whether tokens are guessed ahead. The answer is the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Speculation {
    /// Never.
    Off,
    /// Where it pays by what was measured, so not before [`super::Session::measure_by`].
    #[default]
    Auto,
    /// As many as a step takes wherever there is a guess, good or bad: for tests and measurements of builds that run on the CPU too.
    Always,
}

/// What a session knows about guessing: from all its generations.
#[derive(Default)]
pub(super) struct Speculator {
    controller: Controller,
    watch: Stopwatch,
}

impl Speculator {
    /// One that measures by this clock.
    pub(super) fn measuring(clock: Box<dyn Fn() -> f64>) -> Self {
        Self { watch: Stopwatch::new(clock), ..Self::default() }
    }

    /// The session works from now on.
    pub(super) fn start(&mut self) {
        if IS_BUILT {
            self.watch.start();
        }
    }

    /// The session does not work from now on.
    pub(super) fn stop(&mut self) {
        if IS_BUILT {
            self.watch.stop();
        }
    }

    /// A step begins.
    pub(super) fn begin_step(&mut self) {
        if IS_BUILT {
            self.watch.round();
        }
    }

    /// A step is over, all that follows from it included; `decoded`: it went on with one answer.
    pub(super) fn end_step(&mut self, decoded: Option<Decoded>) {
        if !IS_BUILT {
            return;
        }
        let ms = self.watch.round();
        if let (Some(Decoded { n_rows, n_tokens }), Some(ms)) = (decoded, ms) {
            self.controller.note_step(n_rows, n_tokens, ms);
        }
    }
}

/// A step that went on with one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decoded {
    /// The newest token, and guesses.
    pub(super) n_rows: usize,
    /// Tokens that it gave, > 0.
    pub(super) n_tokens: usize,
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
        if how == Speculation::Off || (how == Speculation::Auto && !speculator.watch.measures()) {
            return vec![];
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
        let n = match (how, lookup.grounds()) {
            (_, None) => 0,
            (Speculation::Auto, Some(grounds)) => speculator.controller.draft_len(grounds, most),
            (Speculation::Always | Speculation::Off, Some(_)) => most,
        };
        lookup.draft(n)
    }
}
