//! From logits to a token, in a fixed order: penalties and bias, token mask, top_k, top_p, min_p, temperature, draw.
//! Layer 0: pure. The draw is a function of (seed, choice, position), so a generation can be resumed anywhere.
//!
//! What it does not do: run the model, know text, stop. [`crate::session`] calls it once per token, with every logit or with
//! the best of them ([`Scores`]): the same logits give the same token either way.

mod adjusted;
mod candidates;
mod chooser;
mod constraint;
mod draw;
mod logprobs;
mod math;
mod params;
mod sampler;
mod scores;

pub use candidates::Candidate;
pub use chooser::Chooser;
pub use constraint::{Constraint, TokenMask};
pub use draw::{mix, unit};
pub use logprobs::LogProbs;
pub use params::SamplingParams;
pub use sampler::{REPEAT_WINDOW_TOKENS, Sampler, Scratch};
pub use scores::{Best, MAX_BEST, Scores};

use crate::error::{Error, Result};

/// The largest logit; refuses logits that are empty or not finite, because whatever was drawn from them would be noise.
pub fn guard(logits: &[f32]) -> Result<f32> {
    // Two reductions without a branch in the loop, so that it vectorises: the exponent of NaN and ∞ is all ones.
    const EXPONENT: u32 = 0x7f80_0000;
    let mut max = [f32::NEG_INFINITY; 8];
    let mut worst = [0u32; 8];
    let (chunks, rest) = logits.as_chunks::<8>();
    for chunk in chunks {
        for lane in 0..8 {
            max[lane] = if chunk[lane] > max[lane] { chunk[lane] } else { max[lane] };
            worst[lane] = worst[lane].max(chunk[lane].to_bits() & EXPONENT);
        }
    }
    for &logit in rest {
        max[0] = if logit > max[0] { logit } else { max[0] };
        worst[0] = worst[0].max(logit.to_bits() & EXPONENT);
    }
    if worst.contains(&EXPONENT) {
        let found = logits.iter().position(|l| !l.is_finite()).unwrap_or_default();
        let value = logits.get(found).copied().unwrap_or(f32::NAN);
        return Err(not_finite(value, found));
    }
    if logits.is_empty() {
        return Err(no_logits());
    }
    Ok(max.into_iter().fold(f32::NEG_INFINITY, f32::max))
}

fn not_finite(logit: f32, token: usize) -> Error {
    Error::internal(format!("the model gave {logit} as the logit of token {token}"))
}

fn no_logits() -> Error {
    Error::internal("the model gave no logits")
}
