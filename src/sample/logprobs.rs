//! Log-probabilities of raw logits, before any penalty, mask or temperature.

use super::{Scores, guard, math::sum_exp};
use crate::error::{Error, Result};

/// The log-softmax of one row of logits, taken one token at a time.
#[derive(Debug, Clone, Copy)]
pub struct LogProbs<'a> {
    scores: Scores<'a>,
    /// The largest logit, and ln Σ e^(logit − max): of large logits their sum would lose the second.
    max: f64,
    log_sum: f64,
}

impl<'a> LogProbs<'a> {
    /// Refuses logits that are not finite.
    pub fn of(scores: Scores<'a>) -> Result<Self> {
        let (max, log_sum) = match scores {
            Scores::All(logits) => {
                let max = guard(logits)?;
                (f64::from(max), libm::log(sum_exp(logits, max)))
            }
            Scores::Best(best) => {
                best.guard()?;
                (0.0, best.log_sum_exp)
            }
        };
        Ok(Self { scores, max, log_sum })
    }

    /// ln P(token); refuses a token outside of the vocabulary, or that is not among the best where only those are known.
    pub fn get(&self, token: u32) -> Result<f64> {
        let logit = match self.scores {
            Scores::All(logits) => logits.get(token as usize).copied(),
            Scores::Best(best) => best.candidates.iter().find(|c| c.id == token).map(|c| c.logit),
        };
        logit.map(|l| self.ln(l)).ok_or_else(|| Error::internal(format!("token {token} has no logit")))
    }

    /// Whether a token is the most probable, of equals the one with the lowest id.
    pub fn is_best(&self, token: u32) -> bool {
        match self.scores {
            Scores::All(logits) => {
                let is_max = |logit: &f32| f64::from(*logit) == self.max;
                logits.get(token as usize).is_some_and(is_max)
                    && !logits.get(..token as usize).unwrap_or_default().iter().any(is_max)
            }
            Scores::Best(_) => self.top(1).first().is_some_and(|(best, _)| *best == token),
        }
    }

    /// The `n` most probable tokens with ln P, best first, of equals the lower id first; fewer where fewer are known.
    pub fn top(&self, n: usize) -> Vec<(u32, f64)> {
        let mut best = vec![];
        self.scores.top(n, &mut best);
        best.into_iter().map(|c| (c.id, self.ln(c.logit))).collect()
    }

    /// At most 0: a sum that came from elsewhere may be rounded to less than its largest part.
    fn ln(&self, logit: f32) -> f64 {
        (f64::from(logit) - self.max - self.log_sum).min(0.0)
    }
}
