//! What an encoder is asked for, and the checks that come before any work.

use crate::{
    arch::{Model, Task},
    error::{Error, Result},
    tokenizer::{Encoded, Tokenizer},
};

/// Most texts of a request.
pub const MAX_INPUTS: usize = 2048;
/// Most tokens that are proposed for a mask.
pub const MAX_CANDIDATES: usize = 1000;

/// Texts, and what to make of each of them.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodeRequest {
    /// [`Task::Embed`], [`Task::FillMask`], [`Task::Classify`] or [`Task::Label`].
    pub task: Task,
    /// 1 to [`MAX_INPUTS`].
    pub inputs: Vec<Input>,
    /// Of an embedding only the first so many numbers, 1 to D.
    pub dimensions: Option<usize>,
    /// How many tokens are proposed for each mask, 1 to [`MAX_CANDIDATES`].
    pub n_candidates: usize,
    /// Report just these tokens for each mask instead, 1 to [`MAX_CANDIDATES`].
    pub only: Option<Vec<u32>>,
}

/// What is encoded together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A text; with [`Task::FillMask`] the mask's string in it is a mask.
    Text(String),
    /// Two texts that are looked at together.
    Pair(String, String),
    /// Token ids as they are, those at the ends included.
    Tokens(Vec<u32>),
}

/// An input that is ready to be computed.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) encoded: Encoded,
    /// Where places in it are asked for.
    pub(super) source: Option<String>,
}

impl EncodeRequest {
    /// Checks everything that can be known before any work, and makes tokens of the texts.
    pub(super) fn texts(self, model: &Model, tokenizer: &Tokenizer, context_tokens: usize) -> Result<Vec<Text>> {
        let refuse = |what: String| Err(Error::InvalidArgument { what });
        model.supports(self.task)?;
        if !(1..=MAX_INPUTS).contains(&self.inputs.len()) {
            return refuse(format!("there are {} inputs, not 1 to {MAX_INPUTS}", self.inputs.len()));
        }
        let width = model.hyper.n_embd;
        if let Some(n) = self.dimensions.filter(|n| !(1..=width).contains(n)) {
            return refuse(format!("dimensions is {n}, not in 1..={width}"));
        }
        if !(1..=MAX_CANDIDATES).contains(&self.n_candidates) {
            return refuse(format!("{} tokens for each mask, not 1 to {MAX_CANDIDATES}", self.n_candidates));
        }
        let only = self.only.iter().flatten();
        if let Some(token) = only.copied().find(|id| *id as usize >= model.hyper.n_vocab) {
            return refuse(format!("only has token {token} of a vocabulary of {}", model.hyper.n_vocab));
        }
        if let Some(n) = self.only.as_ref().map(Vec::len).filter(|n| !(1..=MAX_CANDIDATES).contains(n)) {
            return refuse(format!("only has {n} tokens, not 1 to {MAX_CANDIDATES}"));
        }
        let mask = match (self.task, tokenizer.mask()) {
            (Task::FillMask, None) => {
                let what = "this model's vocabulary has no mask to be filled in".into();
                return Err(Error::UnsupportedTask { what });
            }
            (_, mask) => mask,
        };
        let mut texts = vec![];
        for (index, input) in self.inputs.into_iter().enumerate() {
            let text = match (input, self.task, mask) {
                (Input::Tokens(ids), ..) => {
                    let (second, text) = (ids.len(), 0..ids.len());
                    Text { encoded: Encoded { ids, second, text, places: vec![] }, source: None }
                }
                (Input::Pair(first, second), ..) => {
                    Text { encoded: tokenizer.encode_pair(&first, &second), source: Some(first) }
                }
                (Input::Text(text), Task::FillMask, Some(mask)) => {
                    Text { encoded: tokenizer.encode_masked(&text, mask), source: Some(text) }
                }
                (Input::Text(text), ..) => Text { encoded: tokenizer.encode_text(&text), source: Some(text) },
            };
            let ids = &text.encoded.ids;
            if ids.is_empty() {
                return refuse(format!("input {index} has no tokens"));
            }
            if let Some(token) = ids.iter().find(|id| **id as usize >= model.hyper.n_vocab) {
                return refuse(format!("input {index} has token {token} of a vocabulary of {}", model.hyper.n_vocab));
            }
            if ids.len() > context_tokens {
                let (requested_tokens, available_tokens) = (ids.len(), context_tokens);
                return Err(Error::ContextOverflow { requested_tokens, available_tokens });
            }
            if self.task == Task::FillMask && !ids.iter().any(|id| Some(*id) == mask) {
                return refuse(format!("input {index} has nothing to fill in"));
            }
            texts.push(text);
        }
        Ok(texts)
    }
}
