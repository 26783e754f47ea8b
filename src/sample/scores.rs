//! What a step of a model says about the next token: every logit, or the best of them, which is enough for most ways to
//! choose and a thousand times less to read back from a device. [`super::Sampler::wants`] says how many are enough.

use super::{
    Candidate,
    candidates::{self, best_first},
    no_logits, not_finite,
};
use crate::error::{Error, Result};

/// The most of the best logits that are ever asked for; where more are needed, all are.
pub const MAX_BEST: usize = 128;

/// How far ln Σ e^logit may lie below the largest logit, for a logit of 1 and for each 1 more: it cannot, but a device that
/// computes in f32 may say so.
const ROUNDING: f64 = 1e-5;

/// The logits of one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scores<'a> {
    /// [V] f32.
    All(&'a [f32]),
    /// The best of them.
    Best(Best<'a>),
}

/// The best logits of a row, found where the logits are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Best<'a> {
    /// At least as many of the best as were asked for, with all that equal the last of these; in no order.
    pub candidates: &'a [Candidate],
    /// ln Σ e^logit over the whole row; NaN where any logit of the row is not finite.
    pub log_sum_exp: f64,
}

impl Scores<'_> {
    /// Fills `out` with the `n` best tokens, best first, of equals the lower id first; of [`Self::Best`] with no more than
    /// there are.
    pub(super) fn top(&self, n: usize, out: &mut Vec<Candidate>) {
        match self {
            Self::All(logits) => candidates::best(logits, n, out),
            Self::Best(best) => {
                out.clear();
                out.extend_from_slice(best.candidates);
                out.sort_unstable_by(best_first);
                out.truncate(n);
            }
        }
    }
}

impl Best<'_> {
    /// The same as [`super::guard`] for all logits: refuses what is empty or not finite, and a sum that cannot be one of
    /// these logits. A logit that is not finite is seen in the sum where it is none of the best.
    pub(super) fn guard(&self) -> Result<()> {
        if let Some(bad) = self.candidates.iter().find(|c| !c.logit.is_finite()) {
            return Err(not_finite(bad.logit, bad.id as usize));
        }
        if self.candidates.is_empty() {
            return Err(no_logits());
        }
        let max = self.candidates.iter().map(|c| f64::from(c.logit)).fold(f64::NEG_INFINITY, f64::max);
        let sum = self.log_sum_exp;
        if !sum.is_finite() || sum < max - ROUNDING * (1.0 + max.abs()) {
            return Err(Error::internal(format!("the model gave {sum} as the logarithm of a sum of e^{max} and more")));
        }
        Ok(())
    }
}
