//! Logits that penalties and biases change, token by token: of the whole vocabulary, or of the candidates that are known.

use super::Candidate;

/// The logits of one row, to be changed.
#[derive(Debug)]
pub(super) enum Adjusted<'a> {
    /// [V] f32.
    All(&'a mut [f32]),
    /// By id.
    Best(&'a mut [Candidate]),
}

impl Adjusted<'_> {
    /// Changes one logit and keeps it finite; a token that has none changes nothing.
    pub(super) fn change(&mut self, token: u32, f: impl Fn(f32) -> f32) {
        let logit = match self {
            Self::All(logits) => logits.get_mut(token as usize),
            Self::Best(candidates) => match candidates.binary_search_by_key(&token, |c| c.id) {
                Ok(i) => candidates.get_mut(i).map(|c| &mut c.logit),
                Err(_) => None,
            },
        };
        if let Some(logit) = logit {
            *logit = f(*logit).clamp(f32::MIN, f32::MAX);
        }
    }
}
