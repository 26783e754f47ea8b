//! What a generation is asked for, and the checks that come before any work.

use super::{beams::BeamParams, choice::Limits, speculation::Speculation};
use crate::{
    error::{Error, Result},
    sample::SamplingParams,
    tokenizer::Tokenizer,
};

/// Most choices of a request. Eight at a time decode as the rows of one step; the others wait, sharing the prompt.
pub const MAX_CHOICES: usize = 128;
/// Most alternatives that are listed beside a token.
pub const MAX_TOP_LOGPROBS: usize = 20;

/// A request is the whole truth of a generation: with the same request, any session gives the same tokens, whatever it did
/// before.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Token ids: what is gone on from, or what an encoder-decoder reads. Empty stands for the model's BOS token, where it has one.
    pub prompt: Vec<u32>,
    /// Most tokens to generate per choice; `None`: until the context is full, which the answers of an encoder-decoder have for
    /// themselves. 0 only with `echo`.
    pub max_tokens: Option<usize>,
    /// Strings that end the text, and are not part of it.
    pub stop: Vec<String>,
    /// How many answers, 1 to [`MAX_CHOICES`].
    pub n: usize,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// Look for the most probable answers instead of choosing token by token: the choices are the `n` best, at most as many as there
    /// are beams, and come at the end. Only with greedy sampling without penalties and bias.
    pub beams: Option<BeamParams>,
    /// Report ln P of each token, and of this many alternatives (0 to [`MAX_TOP_LOGPROBS`]).
    pub logprobs: Option<usize>,
    /// Give the prompt back first; with `logprobs`, each of its tokens scored.
    pub echo: bool,
    /// Go on after end-of-generation tokens.
    pub ignore_eos: bool,
    /// Reuse what calls before left in the cache, and leave something for the next.
    pub cache_prompt: bool,
    /// Tokens that were given out before an interruption, per choice: the generation goes on behind them as if it had never
    /// been interrupted, and their text is not given out again.
    pub generated: Option<Vec<Vec<u32>>>,
    /// Whether tokens are guessed ahead, which changes nothing but the time.
    pub speculation: Speculation,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            prompt: vec![],
            max_tokens: None,
            stop: vec![],
            n: 1,
            sampling: SamplingParams::default(),
            beams: None,
            logprobs: None,
            echo: false,
            ignore_eos: false,
            cache_prompt: true,
            generated: None,
            speculation: Speculation::default(),
        }
    }
}

impl Request {
    /// Checks everything that can be known before any work, and puts BOS in the place of an empty prompt. `encodes`: the prompt
    /// goes to an encoder, and the decoder begins with one token.
    pub(super) fn validated(
        mut self,
        tokenizer: &Tokenizer,
        context_tokens: usize,
        encodes: bool,
    ) -> Result<(Self, Limits)> {
        let refuse = |what: String| Err(Error::InvalidArgument { what });
        let n_vocab = tokenizer.n_vocab();
        self.sampling.validate(n_vocab)?;
        if !(1..=MAX_CHOICES).contains(&self.n) {
            return refuse(format!("n is {}, not in 1..={MAX_CHOICES}", self.n));
        }
        if let Some(top) = self.logprobs.filter(|top| *top > MAX_TOP_LOGPROBS) {
            return refuse(format!("logprobs is {top}, not in 0..={MAX_TOP_LOGPROBS}"));
        }
        if self.max_tokens == Some(0) && !self.echo {
            return refuse("max_tokens is 0, which only makes sense with echo".into());
        }
        if self.prompt.is_empty() {
            let Some(bos) = tokenizer.bos() else {
                return refuse("the prompt is empty, and this model has no token to begin with".into());
            };
            self.prompt.push(bos);
        }
        if let Some(token) = self.prompt.iter().find(|token| **token as usize >= n_vocab) {
            return refuse(format!("the prompt has token {token} of a vocabulary of {n_vocab}"));
        }
        if self.prompt.len() > context_tokens {
            return Err(Error::ContextOverflow {
                requested_tokens: self.prompt.len(),
                available_tokens: context_tokens,
            });
        }
        if encodes && self.echo {
            return Err(Error::UnsupportedTask { what: "echo with an encoder-decoder, which scores no prompt".into() });
        }
        self.check_beams(tokenizer)?;
        // Prompt and output share the context; an output that reaches its end finishes with "length".
        let room = context_tokens - if encodes { 1 } else { self.prompt.len() };
        let max_tokens = self.max_tokens.map_or(room, |max| max.min(room));
        if let Some(generated) = &self.generated {
            if generated.len() != self.n {
                return refuse(format!("generated has {} choices, n is {}", generated.len(), self.n));
            }
            if let Some(given) = generated.iter().find(|given| given.len() > max_tokens) {
                return refuse(format!("generated has {} tokens, at most {max_tokens} fit", given.len()));
            }
            if let Some(token) = generated.iter().flatten().find(|token| **token as usize >= n_vocab) {
                return refuse(format!("generated has token {token} of a vocabulary of {n_vocab}"));
            }
        }
        let limits = Limits { max_tokens, ignore_eos: self.ignore_eos };
        Ok((self, limits))
    }

    /// What a beam search can be combined with.
    fn check_beams(&self, tokenizer: &Tokenizer) -> Result<()> {
        let Some(beams) = &self.beams else { return Ok(()) };
        beams.validate()?;
        let refuse = |what: String| Err(Error::InvalidArgument { what });
        if self.n > beams.width {
            return refuse(format!("n is {}, but num_beams is {}", self.n, beams.width));
        }
        let n_ends = if self.ignore_eos { 0 } else { tokenizer.end_of_generation().len() };
        if beams.n_candidates(n_ends) > tokenizer.n_vocab() {
            return refuse(format!("{} beams in a vocabulary of {}", beams.width, tokenizer.n_vocab()));
        }
        let SamplingParams { temperature, repeat_penalty, frequency_penalty, presence_penalty, ref logit_bias, .. } =
            self.sampling;
        if temperature != 0.0 {
            return refuse(format!("a beam search does not draw: temperature is {temperature}, not 0"));
        }
        let is_plain = repeat_penalty == 1.0 && frequency_penalty == 0.0 && presence_penalty == 0.0;
        let has_given = self.generated.iter().flatten().any(|given| !given.is_empty());
        for (is_there, what) in [
            (!is_plain, "penalties"),
            (!logit_bias.is_empty(), "logit_bias"),
            (self.logprobs.is_some(), "logprobs"),
            (has_given, "tokens that were given out before"),
        ] {
            if is_there {
                return Err(Error::UnsupportedFeature { what: format!("{what} with a beam search") });
            }
        }
        Ok(())
    }
}
