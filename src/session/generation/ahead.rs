//! Runs of steps that a device takes by itself, where one choice goes on and nothing is needed between its tokens: the device chooses
//! what it goes on with, the sampler goes over the best logits of every step as it would have done, and what follows a token that it
//! chooses otherwise is dropped. So the answer is the same, token for token.
//!
//! ```text
//! run            newest token   chosen 1       chosen 2       chosen 3
//! sampler        = chosen 1     = chosen 2     another one    (not looked at)
//! run behind it                                               (dropped)
//! ```

use super::{Generation, Work, sequence, text};
use crate::{
    error::{Error, Result},
    plan::Ahead,
    sample::Scratch,
    session::{
        event::Event,
        horizon::{Horizon, IS_BUILT},
        runner::{Logits, Run, Runner},
        speculation::{Began, Speculator, Took},
    },
};

/// What a generation knows of its runs.
#[derive(Debug, Default)]
pub(super) struct Lookahead {
    /// Steps of the run behind the one in progress.
    behind: Option<usize>,
    /// The next step is taken by itself, because a run could not say enough about it.
    takes_one: bool,
    /// The step in progress was.
    is_exception: bool,
    /// There were guesses, or were to be, since the last run: the device has nothing to do before the next.
    is_still: bool,
    /// How the run in progress began.
    began: Option<Began>,
}

impl Lookahead {
    /// A step is over that verified guesses.
    pub(super) fn guessed(&mut self) {
        self.is_still = IS_BUILT;
    }
}

impl Generation {
    /// Whether a run is under way that goes on with this work.
    pub(super) fn follows(&self) -> bool {
        self.ahead.behind.is_some()
    }

    /// How the run in progress began.
    pub(super) fn took(&self) -> Took {
        Took::Run(self.ahead.began.unwrap_or(Began::Fresh))
    }

    /// Whether the step in progress is taken by itself where others are not.
    pub(super) fn is_an_exception(&self) -> bool {
        IS_BUILT && self.ahead.is_exception
    }

    /// Says whether this work is of the kind that runs do.
    pub(super) fn says_how(&self, work: &Work, runner: &Runner, speculator: &mut Speculator) {
        if IS_BUILT
            && let Work::Decode { choices } = work
            && let &[choice] = choices.as_slice()
        {
            let can_be_chosen = self.choices.get(choice).is_some_and(|c| c.chooser().is_some());
            speculator.goes_by_runs(can_be_chosen && runner.most_ahead() > 0);
        }
    }

    /// Whether guesses are expected to pay once the run in progress is over: then none is put behind it.
    fn is_better_still(&mut self, choice: usize, n_steps: usize, speculator: &mut Speculator) -> bool {
        let Self { request, choices, source, drafter, .. } = self;
        let Some(going_on) = choices.get(choice) else { return false };
        let (text, most) = (text(source, request, going_on), going_on.most_drafted().saturating_sub(n_steps));
        most > 0 && drafter.draft_len(text, most, request.speculation, speculator, true) > 0
    }

    /// Makes a run of what one choice is to do next, where that can be.
    pub(super) fn look_ahead(&mut self, work: Work, runner: &Runner, horizon: &Horizon) -> Work {
        let Work::Decode { choices } = &work else { return work };
        let &[choice] = choices.as_slice() else { return work };
        self.ahead.is_exception = std::mem::take(&mut self.ahead.takes_one);
        if !IS_BUILT || self.ahead.is_exception {
            return work;
        }
        if let Some(n_steps) = self.ahead.behind {
            return Work::Ahead { choice, n_steps };
        }
        let Some(going_on) = self.choices.get(choice) else { return work };
        let n_steps = horizon.n_steps().min(runner.most_ahead()).min(going_on.most_to_come());
        match going_on.chooser() {
            Some(_) if n_steps > 1 => Work::Ahead { choice, n_steps },
            _ => work,
        }
    }

    /// Begins a run, or goes over to the one that was put behind the last; puts another one behind it, unless guesses promise more.
    pub(super) fn begin_ahead(
        &mut self,
        choice: usize,
        n_steps: usize,
        runner: &mut Runner,
        horizon: &Horizon,
        speculator: &mut Speculator,
    ) -> Result<()> {
        let is_better_still = IS_BUILT && self.is_better_still(choice, n_steps, speculator);
        let memory = self.source.as_ref().and_then(|source| source.memory);
        let top = self.request.logprobs;
        let choice = self.choices.get(choice);
        let sequence = sequence(choice)?;
        let known = choice.and_then(|c| Some((c, c.chooser()?, c.wants(top)?, c.generated.last_chunk::<1>()?)));
        let (choice, chooser, n_best, tokens) = known.ok_or_else(|| Error::internal("a run of no use"))?;
        match self.ahead.behind.take() {
            Some(_) => {
                self.ahead.began = Some(Began::Behind);
                runner.follow_ahead()?;
            }
            None => {
                let is_still = std::mem::take(&mut self.ahead.is_still);
                self.ahead.began = Some(if is_still { Began::AfterGuesses } else { Began::Fresh });
                let draws = choice.draws(0, n_steps);
                let run = Run { sequence, tokens, logits: Logits::Last, memory };
                runner.begin_ahead(&run, n_best, &Ahead { chooser, draws: &draws })?;
            }
        }
        if is_better_still {
            self.ahead.is_still = true;
            return Ok(());
        }
        let n_left = choice.most_to_come().saturating_sub(n_steps);
        let draws = choice.draws(n_steps, horizon.n_steps().min(runner.most_ahead()).min(n_left));
        if !draws.is_empty() && runner.extend_ahead(sequence, &Ahead { chooser, draws: &draws })? {
            self.ahead.behind = Some(draws.len());
        }
        Ok(())
    }

    /// The results of a run are there.
    pub(super) fn ahead_done(
        &mut self,
        choice: usize,
        n_steps: usize,
        runner: &mut Runner,
        scratch: &mut Scratch,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        let Self { request, choices, ahead, .. } = self;
        let choice = choices.get_mut(choice).filter(|_| IS_BUILT);
        let choice = choice.ok_or_else(|| Error::internal("a run for no choice"))?;
        let (n_there, mut n_tokens, mut goes_on) = (runner.n_ahead().min(n_steps), 0, true);
        while goes_on && n_tokens < n_there {
            choice.sample(runner.scores(n_tokens)?, request.logprobs, scratch, events)?;
            let is_same = choice.generated.last() == Some(&runner.chosen(n_tokens)?);
            goes_on = is_same && choice.finished.is_none();
            n_tokens += 1;
        }
        choice.n_cached += n_tokens;
        ahead.takes_one = goes_on && n_there < n_steps;
        if !goes_on || ahead.takes_one {
            ahead.behind = None;
            runner.kv.truncate(sequence(Some(choice))?, choice.n_cached)?;
        }
        Ok(())
    }
}
