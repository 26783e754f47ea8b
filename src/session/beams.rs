//! Beam search: of all ways to go on, the few that are most probable so far are followed together. This file is the search
//! itself: candidates in, hypotheses out; whose keys and values are whose is the business of [`super::generation`].
//!
//! The rules are those of Hugging Face's `generate` (transformers 5, `_beam_search`), so that the same model gives the same
//! sequences: a step looks at `max(2, 1 + ends) · width` candidates; of these the best `width` that do not end go on; one
//! that ends is a hypothesis if it is among the best `width`, by its score / length^penalty. Of equals, for which `torch.topk` has
//! no rule, the lower beam and then the lower token comes first.

use crate::error::{Error, Result};

/// Most beams: the rows of one step.
pub const MAX_BEAMS: usize = super::FEW_ROWS;
/// Largest length penalty, either way.
const MAX_LENGTH_PENALTY: f64 = 100.0;

/// How a beam search is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BeamParams {
    /// How many beams, 2 to [`MAX_BEAMS`].
    pub width: usize,
    /// A finished hypothesis of n tokens has the score Σ ln P / n^this: above 0 longer ones gain, below 0 shorter ones.
    pub length_penalty: f64,
    /// When there is enough.
    pub early_stopping: EarlyStopping,
}

/// When a search ends that has `width` hypotheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlyStopping {
    /// At once.
    Yes,
    /// When the best beam, were it to end now, is no better than the worst hypothesis.
    Heuristic,
    /// When no beam can become better than the worst hypothesis, with a penalty above 0 at whatever length.
    Never,
}

impl Default for BeamParams {
    fn default() -> Self {
        Self { width: 4, length_penalty: 1.0, early_stopping: EarlyStopping::Heuristic }
    }
}

impl BeamParams {
    /// How many of the most probable tokens of each beam a step looks at, where `n_ends` tokens end a sequence.
    pub(super) fn n_candidates(&self, n_ends: usize) -> usize {
        (1 + n_ends).max(2) * self.width
    }

    /// Checks the ranges.
    pub(super) fn validate(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::InvalidArgument { what });
        if !(2..=MAX_BEAMS).contains(&self.width) {
            return refuse(format!("num_beams is {}, not in 2..={MAX_BEAMS}", self.width));
        }
        if self.length_penalty.is_finite() && self.length_penalty.abs() <= MAX_LENGTH_PENALTY {
            return Ok(());
        }
        refuse(format!("length_penalty is {}, not in ±{MAX_LENGTH_PENALTY}", self.length_penalty))
    }
}

/// A beam: tokens behind the prompt.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Hypothesis {
    pub(super) tokens: Vec<u32>,
    /// Σ ln P; of a finished one, by its length.
    pub(super) score: f64,
}

/// A search in progress.
#[derive(Debug)]
pub(super) struct BeamSearch {
    params: BeamParams,
    ends: Vec<u32>,
    max_tokens: usize,
    /// Best first. In the beginning the prompt alone.
    running: Vec<Hypothesis>,
    /// Best first, at most `width`.
    finished: Vec<Hypothesis>,
    is_done: bool,
}

impl BeamSearch {
    /// A search behind a prompt, for at most `max_tokens` > 0 tokens, one of `ends` included where there is one.
    pub(super) fn new(params: BeamParams, ends: &[u32], max_tokens: usize) -> Self {
        let running = vec![Hypothesis::default()];
        Self { params, ends: ends.to_vec(), max_tokens, running, finished: vec![], is_done: false }
    }

    /// How many of the most probable tokens of each beam a step looks at.
    pub(super) fn n_candidates(&self) -> usize {
        self.params.n_candidates(self.ends.len())
    }

    /// The beams that go on, best first.
    pub(super) fn running(&self) -> &[Hypothesis] {
        &self.running
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// The hypotheses of a search that is done, best first.
    pub(super) fn finished(&self) -> &[Hypothesis] {
        &self.finished
    }

    /// Takes for each running beam its most probable next tokens with ln P, best first. Gives for each beam that goes on the
    /// beam that it comes from.
    pub(super) fn step(&mut self, next: &[Vec<(u32, f64)>]) -> Vec<usize> {
        let Self { params, ends, max_tokens, running, finished, .. } = self;
        let mut candidates: Vec<(f64, usize, u32)> = vec![];
        for (beam, (hypothesis, next)) in running.iter().zip(next).enumerate() {
            candidates.extend(next.iter().map(|(token, logprob)| (hypothesis.score + logprob, beam, *token)));
        }
        candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        candidates.truncate(params.n_candidates(ends.len()));

        let n_tokens = running.first().map_or(0, |h| h.tokens.len()) + 1;
        let grown = |(score, beam, token): (f64, usize, u32)| {
            let mut tokens = running.get(beam).map(|h| h.tokens.clone()).unwrap_or_default();
            tokens.push(token);
            Hypothesis { tokens, score }
        };
        let (mut parents, mut goes_on) = (vec![], vec![]);
        for (rank, candidate) in candidates.into_iter().enumerate() {
            if n_tokens < *max_tokens && !ends.contains(&candidate.2) {
                if goes_on.len() < params.width {
                    parents.push(candidate.1);
                    goes_on.push(grown(candidate));
                }
            } else if rank < params.width {
                let mut hypothesis = grown(candidate);
                hypothesis.score /= length_factor(n_tokens, params.length_penalty);
                finished.push(hypothesis);
            }
        }
        // Stable: of equals the earlier one stays.
        finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        finished.truncate(params.width);
        self.running = goes_on;
        self.is_done = self.running.is_empty() || self.is_enough(n_tokens);
        parents
    }

    /// Whether no more is to be gained.
    fn is_enough(&self, n_tokens: usize) -> bool {
        let BeamParams { width, length_penalty, early_stopping } = self.params;
        if self.finished.len() < width {
            return false;
        }
        let hypothetical = match early_stopping {
            EarlyStopping::Yes => return true,
            EarlyStopping::Never if length_penalty > 0.0 => self.max_tokens,
            EarlyStopping::Never | EarlyStopping::Heuristic => n_tokens,
        };
        let best = self.running.first().map_or(f64::NEG_INFINITY, |h| h.score);
        let worst = self.finished.last().map_or(f64::NEG_INFINITY, |h| h.score);
        best / length_factor(hypothetical, length_penalty) <= worst
    }
}

fn length_factor(n_tokens: usize, penalty: f64) -> f64 {
    libm::pow(n_tokens as f64, penalty)
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u32 = 9;

    fn search(params: BeamParams, max_tokens: usize) -> BeamSearch {
        BeamSearch::new(params, &[END], max_tokens)
    }

    #[test]
    fn the_best_beams_go_on_and_what_ends_is_a_hypothesis() {
        let mut search = search(BeamParams { width: 2, ..BeamParams::default() }, 10);
        assert_eq!(search.n_candidates(), 4);
        assert_eq!(search.step(&[vec![(1, -0.5), (END, -1.0), (2, -2.0), (3, -3.0)]]), [0, 0]);
        assert_eq!(search.finished(), [Hypothesis { tokens: vec![END], score: -1.0 }]);
        let tokens = |search: &BeamSearch| search.running().iter().map(|h| h.tokens.clone()).collect::<Vec<_>>();
        assert_eq!(tokens(&search), [[1], [2]]);
        // Both best ones come from the first beam; the end of the second is third, and does not count.
        let second =
            [vec![(4, -0.1), (5, -0.2), (6, -9.0), (7, -9.0)], vec![(END, -0.5), (6, -8.0), (7, -9.0), (8, -9.0)]];
        assert_eq!(search.step(&second), [0, 0]);
        assert_eq!(tokens(&search), [[1, 4], [1, 5]]);
        assert_eq!((search.finished().len(), search.is_done()), (1, false));
    }

    #[test]
    fn a_length_penalty_divides_and_early_stopping_decides_when_there_is_enough() {
        let step = [vec![(END, -1.0), (1, -1.1), (2, -4.0)], vec![(END, -3.0), (1, -3.1), (2, -4.0)]];
        for (early_stopping, length_penalty, done) in [
            (EarlyStopping::Yes, 1.0, true),
            // The best beam has −1.6 / 2, the worst hypothesis −1.7 / 1.
            (EarlyStopping::Heuristic, 1.0, false),
            (EarlyStopping::Heuristic, 0.0, false),
        ] {
            let mut search = search(BeamParams { width: 2, length_penalty, early_stopping }, 10);
            search.step(&[vec![(1, -0.5), (END, -1.7), (2, -2.0)]]);
            search.step(&step);
            assert_eq!(search.finished().first().map(|h| h.score), Some(-1.5 / 2f64.powf(length_penalty)));
            assert_eq!(search.is_done(), done, "{early_stopping:?} {length_penalty}");
        }
    }

    #[test]
    fn the_last_step_finishes_the_best_beams() {
        let mut search = search(BeamParams { width: 2, ..BeamParams::default() }, 1);
        assert!(search.step(&[vec![(1, -0.5), (2, -1.0), (END, -1.5), (3, -2.0)]]).is_empty());
        assert!(search.is_done());
        assert_eq!(search.finished().iter().map(|h| h.tokens.clone()).collect::<Vec<_>>(), [[1], [2]]);
    }
}
