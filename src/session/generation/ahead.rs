//! Runs of steps that a device takes by itself, where one choice goes on and nothing is needed between its tokens: the device chooses
//! what it goes on with, the sampler goes over the best logits of every step as it would have done, and what follows a token that it
//! chooses otherwise is dropped. So the answer is the same, token for token.
//!
//! ```text
//! run            newest token   chosen 1       chosen 2       chosen 3
//! sampler        = chosen 1     = chosen 2     another one    (not looked at)
//! run behind it                                               (dropped)
//! ```

use super::{Generation, Work, sequence};
use crate::{
    error::{Error, Result},
    plan::Ahead,
    sample::Scratch,
    session::{
        event::Event,
        horizon::{Horizon, IS_BUILT},
        runner::{Logits, Run, Runner},
    },
};

/// What a generation knows of its runs.
#[derive(Debug, Default)]
pub(super) struct Lookahead {
    /// Steps of the run behind the one in progress.
    behind: Option<usize>,
    /// The next step is taken by itself, because a run could not say enough about it.
    takes_one: bool,
}

impl Generation {
    /// Whether a run is under way that goes on with this work.
    pub(super) fn follows(&self) -> bool {
        self.ahead.behind.is_some()
    }

    /// Makes a run of what one choice is to do next, where that can be.
    pub(super) fn look_ahead(&mut self, work: Work, runner: &Runner, horizon: &Horizon) -> Work {
        let Work::Decode { choices } = &work else { return work };
        let &[choice] = choices.as_slice() else { return work };
        if !IS_BUILT || std::mem::take(&mut self.ahead.takes_one) {
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

    /// Begins a run, or goes over to the one that was put behind the last; puts another one behind it.
    pub(super) fn begin_ahead(
        &mut self,
        choice: usize,
        n_steps: usize,
        runner: &mut Runner,
        horizon: &Horizon,
    ) -> Result<()> {
        let memory = self.source.as_ref().and_then(|source| source.memory);
        let top = self.request.logprobs;
        let choice = self.choices.get(choice);
        let sequence = sequence(choice)?;
        let known = choice.and_then(|c| Some((c, c.chooser()?, c.wants(top)?, c.generated.last_chunk::<1>()?)));
        let (choice, chooser, n_best, tokens) = known.ok_or_else(|| Error::internal("a run of no use"))?;
        match self.ahead.behind.take() {
            Some(_) => runner.follow_ahead()?,
            None => {
                let draws = choice.draws(0, n_steps);
                let run = Run { sequence, tokens, logits: Logits::Last, memory };
                runner.begin_ahead(&run, n_best, &Ahead { chooser, draws: &draws })?;
            }
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
