//! One choice's sampler: the parameters, the tokens so far, and the fixed order of steps from logits to a token.

use std::collections::BTreeMap;

use super::{
    Constraint, SamplingParams,
    candidates::{self, Candidate},
    draw, guard,
    math::exp_not_positive,
};
use crate::error::{Error, Result};

/// How far back the repeat penalty looks, tokens of prompt and output together (llama.cpp's `repeat_last_n`).
pub const REPEAT_WINDOW_TOKENS: usize = 64;

/// Room that a sampler works in; one serves all choices.
#[derive(Debug, Default)]
pub struct Scratch {
    logits: Vec<f32>,
    candidates: Vec<Candidate>,
    weights: Vec<f32>,
}

/// Chooses the tokens of one choice.
#[derive(Debug)]
pub struct Sampler {
    params: SamplingParams,
    choice: u32,
    n_vocab: usize,
    /// The end of the prompt (at most the window), then every token that was accepted.
    history: Vec<u32>,
    /// How much of `history` is prompt.
    n_prompt: usize,
    /// How often each token was accepted.
    counts: BTreeMap<u32, u32>,
    constraint: Option<Box<dyn Constraint>>,
}

impl Sampler {
    /// A sampler for `choice` after `prompt`, over a vocabulary of `n_vocab` tokens. Checks the parameters.
    pub fn new(params: SamplingParams, choice: u32, n_vocab: usize, prompt: &[u32]) -> Result<Self> {
        params.validate(n_vocab)?;
        let history = prompt[prompt.len().saturating_sub(REPEAT_WINDOW_TOKENS)..].to_vec();
        let n_prompt = history.len();
        Ok(Self { params, choice, n_vocab, history, n_prompt, counts: BTreeMap::new(), constraint: None })
    }

    /// Adds a rule about what may come next; it must stand where this sampler stands.
    pub fn with_constraint(mut self, constraint: Box<dyn Constraint>) -> Self {
        self.constraint = Some(constraint);
        self
    }

    /// Tokens accepted so far: the position of the next draw.
    pub fn position(&self) -> usize {
        self.history.len() - self.n_prompt
    }

    /// Chooses the next token; [`Self::accept`] makes it count. logits: [V] f32. Refuses logits that are not finite, and a
    /// mask that leaves nothing.
    pub fn sample(&mut self, logits: &[f32], scratch: &mut Scratch) -> Result<u32> {
        if logits.len() != self.n_vocab {
            return Err(Error::internal(format!("{} logits for {} tokens", logits.len(), self.n_vocab)));
        }
        guard(logits)?;
        let Scratch { logits: adjusted, candidates, weights } = scratch;
        adjusted.clear();
        adjusted.extend_from_slice(logits);
        self.penalize(adjusted);
        for &(token, bias) in &self.params.logit_bias {
            change(adjusted, token, |logit| logit + bias);
        }
        if let Some(constraint) = &mut self.constraint {
            constraint.mask()?.apply(adjusted);
        }
        if self.params.temperature == 0.0 {
            return best(adjusted);
        }
        self.cut(adjusted, candidates)?;
        self.draw(candidates, weights)
    }

    /// The token counts from now on: for penalties, for the constraint, for the position of the next draw.
    pub fn accept(&mut self, token: u32) -> Result<()> {
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(token)?;
        }
        self.history.push(token);
        *self.counts.entry(token).or_default() += 1;
        Ok(())
    }

    /// Takes the last `n_tokens` accepted tokens back, as if they had never been.
    pub fn rollback(&mut self, n_tokens: usize) -> Result<()> {
        if n_tokens > self.position() {
            return Err(Error::internal(format!("rollback by {n_tokens} of {} tokens", self.position())));
        }
        if let Some(constraint) = &mut self.constraint {
            constraint.rollback(n_tokens)?;
        }
        for token in self.history.drain(self.history.len() - n_tokens..) {
            if let Some(count) = self.counts.get_mut(&token) {
                *count -= 1;
            }
        }
        self.counts.retain(|_, &mut count| count > 0);
        Ok(())
    }

    /// Repeat penalty over the window, then frequency and presence penalties over what was generated.
    fn penalize(&self, logits: &mut [f32]) {
        let SamplingParams { repeat_penalty, frequency_penalty, presence_penalty, .. } = self.params;
        if repeat_penalty != 1.0 {
            let mut window = self.history[self.history.len().saturating_sub(REPEAT_WINDOW_TOKENS)..].to_vec();
            window.sort_unstable();
            window.dedup();
            for token in window {
                change(logits, token, |l| if l > 0.0 { l / repeat_penalty } else { l * repeat_penalty });
            }
        }
        if frequency_penalty != 0.0 || presence_penalty != 0.0 {
            for (&token, &count) in &self.counts {
                change(logits, token, |l| l - (count as f32 * frequency_penalty + presence_penalty));
            }
        }
    }

    /// Fills `candidates` with what top_k, top_p and min_p leave, by id.
    fn cut(&self, logits: &[f32], candidates: &mut Vec<Candidate>) -> Result<()> {
        let SamplingParams { top_k, top_p, min_p, .. } = self.params;
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if max == f32::NEG_INFINITY {
            return Err(nothing_left());
        }
        let by_count = top_k > 0 && (top_k as usize) < logits.len();
        match (by_count, top_p < 1.0) {
            (true, by_mass) => {
                candidates::best(logits, top_k as usize, candidates);
                if by_mass {
                    candidates::top_p(candidates, top_p);
                }
            }
            (false, true) => candidates::nucleus(logits, max, top_p, candidates),
            (false, false) => candidates::all(logits, candidates),
        }
        candidates::min_p(candidates, max, min_p);
        candidates.sort_unstable_by_key(|c| c.id);
        Ok(())
    }

    /// Draws from candidates (by id) in proportion to e^(logit / temperature).
    fn draw(&self, candidates: &[Candidate], weights: &mut Vec<f32>) -> Result<u32> {
        let max = candidates.iter().map(|c| c.logit).fold(f32::NEG_INFINITY, f32::max);
        let temperature = f64::from(self.params.temperature);
        // In f64, because a tiny temperature would overflow f32; what is below −∞ of f32 then is −∞, and weighs 0.
        let scaled = |c: &Candidate| ((f64::from(c.logit) - f64::from(max)) / temperature) as f32;
        weights.clear();
        weights.extend(candidates.iter().map(|c| exp_not_positive(scaled(c))));
        let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
        let wanted = draw::unit(self.params.seed, self.choice, self.position() as u64) * total;
        let mut mass = 0.0;
        let mut last = None;
        for (c, &weight) in candidates.iter().zip(weights.iter()) {
            mass += f64::from(weight);
            if weight > 0.0 {
                last = Some(c.id);
                if mass > wanted {
                    break;
                }
            }
        }
        last.ok_or_else(nothing_left)
    }
}

/// Changes one logit and keeps it finite; a token of the prompt may lie outside of a model's logits, and changes nothing.
fn change(logits: &mut [f32], token: u32, f: impl Fn(f32) -> f32) {
    if let Some(logit) = logits.get_mut(token as usize) {
        *logit = f(*logit).clamp(f32::MIN, f32::MAX);
    }
}

/// The best token, of equals the one with the lowest id.
fn best(logits: &[f32]) -> Result<u32> {
    let mut found = None;
    let mut max = f32::NEG_INFINITY;
    for (id, &logit) in logits.iter().enumerate() {
        if logit > max {
            (max, found) = (logit, Some(id as u32));
        }
    }
    found.ok_or_else(nothing_left)
}

fn nothing_left() -> Error {
    Error::internal("the token mask allows no token at all")
}
