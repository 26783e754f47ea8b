//! ByT5: a text is its UTF-8 bytes, each a piece.
//!
//! llama.cpp has no such vocabulary. This engine's way to write one in a GGUF file, in the order of ids that Hugging Face's
//! `ByT5Tokenizer` has:
//!
//! ```text
//! tokenizer.ggml.model        "byt5"
//! tokenizer.ggml.tokens       "<pad>" "</s>" "<unk>"   "<0x00>" … "<0xFF>"   "<extra_id_0>" … "<extra_id_124>"
//! tokenizer.ggml.token_type    3       3      2         6          6          3                3
//! tokenizer.ggml.eos_token_id 1; it comes at the end of a text unless tokenizer.ggml.add_eos_token is false
//! ```
//! Any order works: bytes are found by their pieces.

use super::fallback::Fallback;
use super::vocab::Vocab;
use crate::error::Result;

/// A vocabulary of bytes.
#[derive(Debug, Clone)]
pub(super) struct ByT5 {
    bytes: Fallback,
}

impl ByT5 {
    /// Finds the byte pieces: all 256 are needed.
    pub(super) fn new(vocab: &mut Vocab) -> Result<Self> {
        Ok(Self { bytes: Fallback::new(vocab, None)? })
    }

    /// Appends the ids of `text`.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        self.bytes.output(ids).push(None, text.as_bytes());
    }
}
