//! The keys and values of a beam search: which sequence belongs to which beam. Beams share the pages of what they have in common
//! (copy on write), and all of them those of the prompt.

use super::{
    beams::{BeamParams, BeamSearch, Hypothesis},
    runner::{Logits, Run, Runner},
};
use crate::{
    error::{Error, Result},
    kv::{Kv, SequenceId},
    sample::{LogProbs, MAX_BEST},
};

/// A beam search and its sequences.
pub(super) struct Branches {
    pub(super) search: BeamSearch,
    /// Of each running beam; none before the prompt is processed.
    sequences: Vec<SequenceId>,
}

impl Branches {
    /// Before the prompt is processed.
    pub(super) fn new(params: BeamParams, ends: &[u32], max_tokens: usize) -> Self {
        Self { search: BeamSearch::new(params, ends, max_tokens), sequences: vec![] }
    }

    /// How many of the best logits of each beam are enough; `None`: all are needed.
    pub(super) fn wants(&self) -> Option<usize> {
        Some(self.search.n_candidates()).filter(|n| *n <= MAX_BEST)
    }

    /// Begins a step: the newest token of each beam.
    pub(super) fn begin(&self, runner: &mut Runner, memory: Option<SequenceId>) -> Result<()> {
        let mut runs = vec![];
        for (Hypothesis { tokens, .. }, sequence) in self.search.running().iter().zip(&self.sequences) {
            let newest = tokens.last_chunk::<1>();
            let tokens = newest.ok_or_else(|| Error::internal("a beam without tokens decodes"))?;
            runs.push(Run { sequence: *sequence, tokens, logits: Logits::Last, memory });
        }
        runner.begin(&runs, self.wants())
    }

    /// What a complete step means: behind the prompt, whose sequence this is, or behind the beams.
    pub(super) fn complete(&mut self, runner: &mut Runner, prompt: SequenceId) -> Result<()> {
        let n = self.search.n_candidates();
        let top = |o| Ok(LogProbs::of(runner.scores(o)?)?.top(n));
        let next = (0..self.search.running().len()).map(top).collect::<Result<Vec<_>>>()?;
        let parents = self.search.step(&next);
        if self.sequences.is_empty() {
            // The prompt's own sequence stays as it is, for the next call.
            for _ in &parents {
                self.sequences.push(runner.kv.fork(prompt)?);
            }
        } else {
            self.follow(&parents, &mut runner.kv)?;
        }
        if self.search.is_done() { self.release(&mut runner.kv) } else { Ok(()) }
    }

    /// The first beam that comes from another takes over its sequence, the others get copies.
    fn follow(&mut self, parents: &[usize], kv: &mut Kv) -> Result<()> {
        let mut old: Vec<(SequenceId, bool)> = self.sequences.drain(..).map(|id| (id, false)).collect();
        for parent in parents {
            let (id, is_taken) =
                old.get_mut(*parent).ok_or_else(|| Error::internal(format!("a beam comes from beam {parent}")))?;
            let id = if std::mem::replace(is_taken, true) { kv.fork(*id)? } else { *id };
            self.sequences.push(id);
        }
        old.into_iter().filter(|(_, is_taken)| !is_taken).try_for_each(|(id, _)| kv.release(id))
    }

    /// Gives the sequences back.
    pub(super) fn release(&mut self, kv: &mut Kv) -> Result<()> {
        self.sequences.drain(..).try_for_each(|id| kv.release(id))
    }
}
