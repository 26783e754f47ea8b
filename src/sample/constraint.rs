//! What a grammar or schema will plug into: which tokens may come next.

use crate::error::Result;

/// One bit per token: may it come next?
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenMask {
    words: Vec<u64>,
    n_vocab: usize,
}

impl TokenMask {
    /// Every token is allowed.
    pub fn all(n_vocab: usize) -> Self {
        Self { words: vec![u64::MAX; n_vocab.div_ceil(64)], n_vocab }
    }

    /// No token is allowed.
    pub fn none(n_vocab: usize) -> Self {
        Self { words: vec![0; n_vocab.div_ceil(64)], n_vocab }
    }

    /// Allows a token; ids outside of the vocabulary are ignored.
    pub fn allow(&mut self, token: u32) {
        if let Some(word) = self.words.get_mut(token as usize / 64) {
            *word |= 1 << (token % 64);
        }
    }

    /// Forbids a token; ids outside of the vocabulary are ignored.
    pub fn forbid(&mut self, token: u32) {
        if let Some(word) = self.words.get_mut(token as usize / 64) {
            *word &= !(1 << (token % 64));
        }
    }

    /// Whether a token is allowed.
    pub fn allows(&self, token: u32) -> bool {
        let word = self.words.get(token as usize / 64).copied().unwrap_or(0);
        (token as usize) < self.n_vocab && word >> (token % 64) & 1 == 1
    }

    /// Sets the logits of forbidden tokens to −∞.
    pub(super) fn apply(&self, logits: &mut [f32]) {
        for (chunk, &word) in logits.chunks_mut(64).zip(&self.words) {
            if word == u64::MAX {
                continue;
            }
            for (bit, logit) in chunk.iter_mut().enumerate() {
                if word >> bit & 1 == 0 {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
    }
}

/// A rule about what may come next, with a state that follows the tokens.
pub trait Constraint: std::fmt::Debug {
    /// Which tokens may come next. Enters before candidates are cut, so that top_k counts only what is allowed.
    fn mask(&mut self) -> Result<&TokenMask>;

    /// Goes on by a token that the mask allowed.
    fn accept(&mut self, token: u32) -> Result<()>;

    /// Goes back by the last `n_tokens` tokens that were accepted.
    fn rollback(&mut self, n_tokens: usize) -> Result<()>;
}
