//! What becomes of text that no piece covers: its bytes, or the unknown token once for a run of it. Called by every model that
//! writes bytes as `<0xXX>`.

use super::vocab::{Kind, Vocab, byte_of};
use crate::error::{Error, Result};

/// Byte pieces and the unknown token.
#[derive(Debug, Clone)]
pub(super) struct Fallback {
    byte_ids: Vec<Option<u32>>,
    unknown: Option<u32>,
}

/// Where the ids go.
pub(super) struct Output<'a> {
    fallback: &'a Fallback,
    ids: &'a mut Vec<u32>,
    after_unknown: bool,
}

impl Fallback {
    /// Finds the byte pieces of a vocabulary and types them so: some converters write no types.
    pub(super) fn new(vocab: &mut Vocab, unknown: Option<u32>) -> Result<Self> {
        let mut byte_ids = vec![None; 256];
        for id in vocab.ids() {
            let is_byte = matches!(vocab.kind(id), Some(Kind::Byte | Kind::Normal));
            if let Some(byte) = vocab.piece(id).filter(|_| is_byte).and_then(byte_of) {
                vocab.set_kind(id, Kind::Byte);
                byte_ids.iter_mut().skip(usize::from(byte)).take(1).for_each(|slot| *slot = Some(id));
            }
        }
        if unknown.is_none() && byte_ids.contains(&None) {
            let what = "tokenizer.ggml.tokens has neither all 256 byte pieces nor an unknown token";
            return Err(Error::file(what));
        }
        Ok(Self { byte_ids, unknown })
    }

    /// Begins a text.
    pub(super) fn output<'a>(&'a self, ids: &'a mut Vec<u32>) -> Output<'a> {
        Output { fallback: self, ids, after_unknown: false }
    }
}

impl Output<'_> {
    /// Appends a piece, or what its text becomes.
    pub(super) fn push(&mut self, id: Option<u32>, text: &[u8]) {
        if let Some(id) = id {
            self.ids.push(id);
            self.after_unknown = false;
            return;
        }
        let Fallback { byte_ids, unknown } = self.fallback;
        let bytes = text.iter().map(|byte| byte_ids.get(usize::from(*byte)).copied().flatten());
        if bytes.clone().all(|id| id.is_some()) {
            self.ids.extend(bytes.flatten());
            self.after_unknown = false;
        } else if !std::mem::replace(&mut self.after_unknown, true) {
            self.ids.extend(unknown);
        }
    }
}
