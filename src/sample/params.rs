//! The parameters of sampling with their ranges. A value out of range is the caller's error, said before any work.

use crate::error::{Error, Result};

/// Highest temperature that is taken.
const MAX_TEMPERATURE: f32 = 100.0;
/// Highest repeat penalty that is taken.
const MAX_REPEAT_PENALTY: f32 = 100.0;
/// Largest OpenAI penalty, either sign.
const MAX_PENALTY: f32 = 2.0;
/// Largest bias, either sign.
const MAX_BIAS: f32 = 100.0;

/// How a token is chosen. The defaults are those of the public API (DESIGN section 4).
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// Seed of the draws.
    pub seed: u64,
    /// 0 (greedy, the lowest id wins ties) to 100.
    pub temperature: f32,
    /// Keep the k best tokens; 0 keeps all.
    pub top_k: u32,
    /// Keep the best tokens that together have this probability, at least one: 0 to 1; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens that have at least this share of the best token's probability: 0 to 1; 0 keeps all.
    pub min_p: f32,
    /// Divides the positive and multiplies the negative logits of tokens among the last
    /// [`super::REPEAT_WINDOW_TOKENS`] of prompt and output (llama.cpp): over 0 to 100; 1 changes nothing.
    pub repeat_penalty: f32,
    /// Subtracted once for each time that a token was generated (OpenAI): −2 to 2.
    pub frequency_penalty: f32,
    /// Subtracted once where a token was generated at all (OpenAI): −2 to 2.
    pub presence_penalty: f32,
    /// Added to the logits of these tokens: −100 to 100.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            seed: 0,
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: vec![],
        }
    }
}

impl SamplingParams {
    /// Greedy: the best token each time.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Checks every range, for a vocabulary of `n_vocab` tokens.
    pub fn validate(&self, n_vocab: usize) -> Result<()> {
        within("temperature", self.temperature, 0.0, MAX_TEMPERATURE)?;
        within("top_p", self.top_p, 0.0, 1.0)?;
        within("min_p", self.min_p, 0.0, 1.0)?;
        within("repeat_penalty", self.repeat_penalty, f32::MIN_POSITIVE, MAX_REPEAT_PENALTY)?;
        within("frequency_penalty", self.frequency_penalty, -MAX_PENALTY, MAX_PENALTY)?;
        within("presence_penalty", self.presence_penalty, -MAX_PENALTY, MAX_PENALTY)?;
        let mut biased: Vec<u32> = self.logit_bias.iter().map(|&(token, _)| token).collect();
        biased.sort_unstable();
        if let Some(twice) = biased.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(invalid(format!("logit_bias names token {} twice", twice[0])));
        }
        for &(token, bias) in &self.logit_bias {
            if token as usize >= n_vocab {
                return Err(invalid(format!("logit_bias names token {token} of a vocabulary of {n_vocab}")));
            }
            within("logit_bias", bias, -MAX_BIAS, MAX_BIAS)?;
        }
        Ok(())
    }
}

fn within(name: &str, value: f32, min: f32, max: f32) -> Result<()> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(invalid(format!("{name} is {value}, not in {min}..={max}"))) }
}

fn invalid(what: String) -> Error {
    Error::InvalidArgument { what }
}
