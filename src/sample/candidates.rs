//! Cutting a vocabulary down to the tokens that may be drawn, without sorting it.
//!
//! The order of tokens is always the same: higher logit first, of equal logits the lower id first. A logit of −∞ is a token
//! that the mask forbade; it is never a candidate.

use super::math::{exp_not_positive, sum_exp};
use std::cmp::Ordering;

/// Room beyond the k wanted while selecting: pruning costs O(buffer), so it is done once per this many arrivals.
const SLACK: usize = 1024;
/// First guess at the size of a nucleus, then eight times as much.
const FIRST_NUCLEUS: usize = 256;

/// A token that may be drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The token.
    pub id: u32,
    /// Its logit.
    pub logit: f32,
}

pub(super) fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal).then(a.id.cmp(&b.id))
}

/// Fills `out` with the `k` best tokens, best first; fewer where fewer are allowed.
pub(super) fn best(logits: &[f32], k: usize, out: &mut Vec<Candidate>) {
    out.clear();
    if k == 0 {
        return;
    }
    let room = k.saturating_add(k.max(SLACK));
    // Ids ascend, so a token that only equals the k-th best has the higher id and loses: `>` is exact.
    let mut threshold = f32::NEG_INFINITY;
    for (id, &logit) in logits.iter().enumerate() {
        if logit > threshold {
            out.push(Candidate { id: id as u32, logit });
            if out.len() == room {
                let (_, kth, _) = out.select_nth_unstable_by(k - 1, best_first);
                threshold = kth.logit;
                out.truncate(k);
            }
        }
    }
    if out.len() > k {
        out.select_nth_unstable_by(k - 1, best_first);
        out.truncate(k);
    }
    out.sort_unstable_by(best_first);
}

/// Fills `out` with the best tokens that together have probability `p` of all that are allowed, best first.
pub(super) fn nucleus(logits: &[f32], max: f32, p: f32, out: &mut Vec<Candidate>) {
    let total = sum_exp(logits, max);
    let mut k = FIRST_NUCLEUS;
    loop {
        best(logits, k, out);
        if keep_mass(out, max, total, p) || out.len() < k {
            return;
        }
        k = k.saturating_mul(8);
    }
}

/// Cuts candidates (best first) to those that together have probability `p` among themselves; at least one stays.
pub(super) fn top_p(candidates: &mut Vec<Candidate>, p: f32) {
    let Some(max) = candidates.first().map(|c| c.logit) else { return };
    let total = candidates.iter().map(|c| f64::from(exp_not_positive(c.logit - max))).sum();
    keep_mass(candidates, max, total, p);
}

/// Cuts candidates (best first) where the mass e^(logit − max) reaches `p · total`; whether it was reached.
fn keep_mass(candidates: &mut Vec<Candidate>, max: f32, total: f64, p: f32) -> bool {
    let wanted = f64::from(p) * total;
    let mut mass = 0.0;
    for (i, c) in candidates.iter().enumerate() {
        mass += f64::from(exp_not_positive(c.logit - max));
        if mass >= wanted {
            candidates.truncate(i + 1);
            return true;
        }
    }
    false
}

/// Keeps the candidates that have at least `min_p` of the best one's probability.
pub(super) fn min_p(candidates: &mut Vec<Candidate>, max: f32, min_p: f32) {
    if min_p > 0.0 {
        let lowest = f64::from(max) + libm::log(f64::from(min_p));
        candidates.retain(|c| c.logit == max || f64::from(c.logit) >= lowest);
    }
}

/// Fills `out` with every allowed token, by id.
pub(super) fn all(logits: &[f32], out: &mut Vec<Candidate>) {
    out.clear();
    let allowed = logits.iter().enumerate().filter(|&(_, &logit)| logit > f32::NEG_INFINITY);
    out.extend(allowed.map(|(id, &logit)| Candidate { id: id as u32, logit }));
}
