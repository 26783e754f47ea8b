//! How a device chooses the next token from the best logits by itself, so that steps can follow each other without a way back between
//! them. What it chose is a guess: the [`super::Sampler`] goes over the same candidates afterwards, in wider numbers, and has the last word.

use super::{Sampler, draw};

/// The largest f32 below 1: a draw may be rounded up.
const BELOW_ONE: f32 = 1.0 - f32::EPSILON / 2.0;

/// The parameters of such a choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chooser {
    /// 0: the best logit.
    pub temperature: f32,
    /// Keep the k best; as many as there are where it is larger.
    pub top_k: u32,
    /// Of those, keep the best that together have this probability.
    pub top_p: f32,
    /// Keep those that have at least this share of the best one's probability.
    pub min_p: f32,
}

impl Sampler {
    /// How a device may choose as this sampler does; `None` where what was chosen before bears on what comes next, or where all logits
    /// are needed.
    pub fn chooser(&self) -> Option<Chooser> {
        let p = self.params();
        let is_plain = p.repeat_penalty == 1.0
            && p.frequency_penalty == 0.0
            && p.presence_penalty == 0.0
            && p.logit_bias.is_empty();
        self.wants().filter(|_| is_plain)?;
        Some(Chooser { temperature: p.temperature, top_k: p.top_k, top_p: p.top_p, min_p: p.min_p })
    }

    /// The numbers by which the next `n` tokens are drawn, in [0, 1).
    pub fn draws(&self, n: usize) -> impl Iterator<Item = f32> + use<'_> {
        let position = self.position() as u64;
        (position..position + n as u64)
            .map(|position| (draw::unit(self.params().seed, self.choice(), position) as f32).min(BELOW_ONE))
    }
}
