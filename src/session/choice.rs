//! One answer of a generation: its tokens, its sampler, its text, and when it ends.

use std::sync::Arc;

use super::{
    event::{Event, FinishReason, TokenLogprobs, TopLogprob},
    request::Request,
    stop::StopMatcher,
};
use crate::{
    error::{Error, Result},
    kv::SequenceId,
    sample::{Chooser, LogProbs, Sampler, Scores, Scratch},
    tokenizer::{StreamDecoder, Tokenizer},
};

/// When a choice ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Most tokens, the context counted in.
    pub(super) max_tokens: usize,
    pub(super) ignore_eos: bool,
}

/// A choice that is being generated or has ended.
pub(super) struct Choice {
    index: usize,
    tokenizer: Arc<Tokenizer>,
    sampler: Sampler,
    decoder: StreamDecoder,
    stops: StopMatcher,
    limits: Limits,
    /// Tokens of the answer.
    pub(super) generated: Vec<u32>,
    /// Where its keys and values are; `None` before the prompt is processed and after the choice ended.
    pub(super) sequence: Option<SequenceId>,
    /// Tokens of prompt and answer that are in the cache and count.
    pub(super) n_cached: usize,
    pub(super) finished: Option<FinishReason>,
}

/// What a token did to a choice.
struct Taken {
    text: String,
    /// With the text that had been held back.
    done: Option<(FinishReason, String)>,
}

impl Choice {
    /// A choice that has nothing, not even tokens that the request brings along: [`Self::replay`] adds those. Its text goes on
    /// behind the prompt, or `begins` one.
    pub(super) fn new(
        index: usize,
        request: &Request,
        limits: Limits,
        tokenizer: &Arc<Tokenizer>,
        begins: bool,
    ) -> Result<Self> {
        let n_vocab = tokenizer.n_vocab();
        let sampler = Sampler::new(request.sampling.clone(), index as u32, n_vocab, &request.prompt)?;
        Ok(Self {
            index,
            tokenizer: tokenizer.clone(),
            sampler,
            decoder: if begins { StreamDecoder::new(true) } else { StreamDecoder::continuing(true) },
            stops: StopMatcher::new(&request.stop)?,
            limits,
            generated: vec![],
            sequence: None,
            n_cached: 0,
            finished: None,
        })
    }

    /// Takes tokens that were given out before; their text is not given out again, but what was held back still is. A
    /// choice that ends with them says `Done`, as it did or would have done then.
    pub(super) fn replay(&mut self, tokens: &[u32], events: &mut Vec<Event>) -> Result<()> {
        for (i, &token) in tokens.iter().enumerate() {
            if self.finished.is_some() {
                return Err(Error::InvalidArgument {
                    what: format!("generated[{}] goes on behind its end at token {i}", self.index),
                });
            }
            if let Some((reason, text)) = self.take(token)?.done {
                events.push(Event::Done { choice: self.index, reason, text });
            }
        }
        Ok(())
    }

    /// Takes a whole answer that a search has found; a stop string ends it early.
    pub(super) fn deliver(&mut self, tokens: &[u32], events: &mut Vec<Event>) -> Result<()> {
        for &id in tokens {
            if self.finished.is_some() {
                break;
            }
            self.give_out(id, None, events)?;
        }
        Ok(())
    }

    /// Ends a choice that may have no tokens at all.
    pub(super) fn end_if_full(&mut self, events: &mut Vec<Event>) {
        if self.finished.is_none() && self.generated.len() >= self.limits.max_tokens {
            let text = self.finish(FinishReason::Length);
            events.push(Event::Done { choice: self.index, reason: FinishReason::Length, text });
        }
    }

    /// How many of the best logits [`Self::sample`] needs; `None`: all.
    pub(super) fn wants(&self, top: Option<usize>) -> Option<usize> {
        self.wants_all(top, 0)
    }

    /// The same for each of the next samples, until `n_tokens` more have been taken.
    pub(super) fn wants_all(&self, top: Option<usize>, n_tokens: usize) -> Option<usize> {
        let top = top.unwrap_or(0).min(self.tokenizer.n_vocab());
        self.sampler.wants_all(n_tokens).map(|n| n.max(top))
    }

    /// How a device may choose as [`Self::sample`] does, if it can.
    pub(super) fn chooser(&self) -> Option<Chooser> {
        self.sampler.chooser()
    }

    /// The numbers by which tokens are drawn: of `n`, `n_before` after the next.
    pub(super) fn draws(&self, n_before: usize, n: usize) -> Vec<f32> {
        self.sampler.draws(n_before + n).skip(n_before).collect()
    }

    /// How many tokens are still to come at most.
    pub(super) fn most_to_come(&self) -> usize {
        self.limits.max_tokens.saturating_sub(self.generated.len())
    }

    /// How many guessed tokens the next step may verify: with the one behind them, no more than are still to come.
    pub(super) fn most_drafted(&self) -> usize {
        self.most_to_come().saturating_sub(1)
    }

    /// Whether nothing comes behind this token.
    pub(super) fn ends_with(&self, token: u32) -> bool {
        self.tokenizer.is_end_of_generation(token) && !self.limits.ignore_eos
    }

    /// Chooses the next token, and says ln P of it and of the `top` best.
    pub(super) fn sample(
        &mut self,
        scores: Scores<'_>,
        top: Option<usize>,
        scratch: &mut Scratch,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        let id = self.sampler.sample(scores, scratch)?;
        let logprobs = match top {
            None => None,
            Some(n) => {
                let all = LogProbs::of(scores)?;
                let bytes = self.tokenizer.token_bytes(id).unwrap_or_default().to_vec();
                Some(TokenLogprobs { bytes, logprob: all.get(id)?, top: alternatives(&all, n, &self.tokenizer) })
            }
        };
        self.give_out(id, logprobs, events)
    }

    fn give_out(&mut self, id: u32, logprobs: Option<TokenLogprobs>, events: &mut Vec<Event>) -> Result<()> {
        let Taken { text, done } = self.take(id)?;
        events.push(Event::Token { choice: self.index, id, text, logprobs });
        if let Some((reason, text)) = done {
            events.push(Event::Done { choice: self.index, reason, text });
        }
        Ok(())
    }

    /// The token is part of the answer from now on.
    fn take(&mut self, token: u32) -> Result<Taken> {
        self.sampler.accept(token)?;
        self.generated.push(token);
        if self.ends_with(token) {
            let rest = self.finish(FinishReason::Stop);
            return Ok(Taken { text: String::new(), done: Some((FinishReason::Stop, rest)) });
        }
        let (text, stopped) = self.stops.push(&self.decoder.push(&self.tokenizer, token));
        let done = if stopped {
            self.finished = Some(FinishReason::Stop);
            Some((FinishReason::Stop, String::new()))
        } else if self.generated.len() >= self.limits.max_tokens {
            Some((FinishReason::Length, self.finish(FinishReason::Length)))
        } else {
            None
        };
        Ok(Taken { text, done })
    }

    /// Ends the text: what was held back. What is left of a character may still complete a stop string.
    fn finish(&mut self, reason: FinishReason) -> String {
        self.finished = Some(reason);
        let (mut text, stopped) = self.stops.push(&self.decoder.finish());
        if !stopped {
            text += &self.stops.finish();
        }
        text
    }
}

/// The `n` most probable tokens with their texts.
pub(super) fn alternatives(all: &LogProbs<'_>, n: usize, tokenizer: &Tokenizer) -> Vec<TopLogprob> {
    all.top(n).into_iter().map(|(id, logprob)| with_text(id, logprob, tokenizer)).collect()
}

/// These tokens with their texts, in the order in which they were named.
pub(super) fn chosen(all: &LogProbs<'_>, ids: &[u32], tokenizer: &Tokenizer) -> Result<Vec<TopLogprob>> {
    ids.iter().map(|id| Ok(with_text(*id, all.get(*id)?, tokenizer))).collect()
}

fn with_text(id: u32, logprob: f64, tokenizer: &Tokenizer) -> TopLogprob {
    let bytes = tokenizer.token_bytes(id).unwrap_or_default().to_vec();
    TopLogprob { id, text: String::from_utf8_lossy(&bytes).into_owned(), bytes, logprob }
}
