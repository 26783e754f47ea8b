//! What a generation is asked for, and the checks that come before any work.

use super::choice::Limits;
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
    /// Token ids. Empty stands for the model's BOS token, where it has one.
    pub prompt: Vec<u32>,
    /// Most tokens to generate per choice; `None`: until the context is full. 0 only with `echo`.
    pub max_tokens: Option<usize>,
    /// Strings that end the text, and are not part of it.
    pub stop: Vec<String>,
    /// How many answers, 1 to [`MAX_CHOICES`].
    pub n: usize,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// Report ln P of each token, and of this many alternatives (0 to [`MAX_TOP_LOGPROBS`]).
    pub logprobs: Option<usize>,
    /// Give the prompt back first; with `logprobs`, each of its tokens scored.
    pub echo: bool,
    /// Go on after end-of-generation tokens.
    pub ignore_eos: bool,
    /// Reuse what the call before left in the cache, and leave something for the next.
    pub cache_prompt: bool,
    /// Tokens that were given out before an interruption, per choice: the generation goes on behind them as if it had never
    /// been interrupted, and their text is not given out again.
    pub generated: Option<Vec<Vec<u32>>>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            prompt: vec![],
            max_tokens: None,
            stop: vec![],
            n: 1,
            sampling: SamplingParams::default(),
            logprobs: None,
            echo: false,
            ignore_eos: false,
            cache_prompt: true,
            generated: None,
        }
    }
}

impl Request {
    /// Checks everything that can be known before any work, and puts BOS in the place of an empty prompt.
    pub(super) fn validated(mut self, tokenizer: &Tokenizer, context_tokens: usize) -> Result<(Self, Limits)> {
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
        // Prompt and output share the context; an output that reaches its end finishes with "length".
        let room = context_tokens - self.prompt.len();
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
}
