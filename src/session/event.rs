//! What a generation reports, in order: `Prefill`…, `Echo`?, then `Token`… and one `Done` per choice, then `End`. An encoder reports
//! one `Output` per input, in order, scoring one `Scored` per span, in the order in which they are done; then `End`.

use super::{encoding::Output, scoring::Scored};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A part of the prompt was processed.
    Prefill {
        /// Tokens of the prompt that are in the cache now.
        processed: usize,
        /// Tokens of the prompt.
        total: usize,
        /// Tokens of the prompt that were in the cache from calls before.
        cached: usize,
    },
    /// The prompt, where the request asked for it.
    Echo(Echo),
    /// A choice has a new token.
    Token {
        /// Which choice.
        choice: usize,
        /// The token.
        id: u32,
        /// Text that is certain now; empty while a character or a stop string is pending.
        text: String,
        /// ln P of the token and of the alternatives, where the request asked for it.
        logprobs: Option<TokenLogprobs>,
    },
    /// A choice has ended.
    Done {
        /// Which choice.
        choice: usize,
        /// Why.
        reason: FinishReason,
        /// Text that had been held back.
        text: String,
    },
    /// An input of an encoder is done.
    Output(Output),
    /// A span is scored.
    Scored(Scored),
    /// Every choice, every input, or every span has ended.
    End(Usage),
}

/// The prompt as it was read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Echo {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Text of each; a character that several tokens make up stands with the last of them.
    pub texts: Vec<String>,
    /// ln P of each token given those before; `None` for the first, and for all where the request has no `logprobs`.
    pub logprobs: Vec<Option<f64>>,
    /// The most probable tokens in the place of each, as `logprobs` asks; empty where that is `None`.
    pub top: Vec<Vec<TopLogprob>>,
}

/// ln P of a token that was generated.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// The token's own bytes: not always whole characters.
    pub bytes: Vec<u8>,
    /// Of the token itself, by the raw logits.
    pub logprob: f64,
    /// The most probable tokens, best first.
    pub top: Vec<TopLogprob>,
}

/// An alternative.
#[derive(Debug, Clone, PartialEq)]
pub struct TopLogprob {
    /// The token.
    pub id: u32,
    /// Its text; bytes that are no whole character become U+FFFD.
    pub text: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// ln P
    pub logprob: f64,
}

/// Why a choice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// An end-of-generation token or a stop string.
    Stop,
    /// `max_tokens`, or the end of the context.
    Length,
}

impl FinishReason {
    /// OpenAI's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// Tokens that a request took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Of the prompt.
    pub prompt_tokens: usize,
    /// Of all choices, with those that the request brought along and with end-of-generation tokens.
    pub completion_tokens: usize,
    /// Of the prompt, that were in the cache.
    pub cached_tokens: usize,
    /// Guessed ahead ([`super::Speculation`]).
    pub drafted_tokens: usize,
    /// Of those, that were right.
    pub accepted_tokens: usize,
}
