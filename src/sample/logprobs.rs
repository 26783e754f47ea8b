//! Log-probabilities of raw logits, before any penalty, mask or temperature.

use super::{candidates, guard, math::sum_exp};
use crate::error::{Error, Result};

/// The log-softmax of one row of logits, taken one token at a time.
#[derive(Debug, Clone, Copy)]
pub struct LogProbs<'a> {
    logits: &'a [f32],
    log_sum: f64,
}

impl<'a> LogProbs<'a> {
    /// logits: [V] f32, finite.
    pub fn of(logits: &'a [f32]) -> Result<Self> {
        let max = guard(logits)?;
        Ok(Self { logits, log_sum: f64::from(max) + libm::log(sum_exp(logits, max)) })
    }

    /// ln P(token); refuses a token outside of the vocabulary.
    pub fn get(&self, token: u32) -> Result<f64> {
        let logit = self.logits.get(token as usize);
        let logit = logit.ok_or_else(|| Error::internal(format!("token {token} has no logit")))?;
        Ok(f64::from(*logit) - self.log_sum)
    }

    /// The `n` most probable tokens with ln P, best first, of equals the lower id first.
    pub fn top(&self, n: usize) -> Vec<(u32, f64)> {
        let mut best = vec![];
        candidates::best(self.logits, n, &mut best);
        best.into_iter().map(|c| (c.id, f64::from(c.logit) - self.log_sum)).collect()
    }
}
