//! SentencePiece byte pair encoding (Llama 2, TinyLlama, Mistral): characters joined by the scores of pieces, and bytes for
//! what no piece covers. A space is written `▁` (U+2581) and one is put before each text that follows a special token.
//!
//! As SentencePiece and llama.cpp have it, but for these: text never becomes a control, unknown or byte piece by merging
//! (llama.cpp lets it; SentencePiece does not); pieces of type unused may come out (SentencePiece splits them again,
//! llama.cpp and Hugging Face do not); without byte pieces a run of unknown characters is one unknown token (SentencePiece;
//! llama.cpp fails).

use super::fallback::Fallback;
use super::merge::{Chain, Join, Symbol};
use super::vocab::{Vocab, read_scores};
use crate::error::Result;
use crate::gguf::Metadata;

/// How SentencePiece writes a space.
pub(super) const SPACE: &str = "\u{2581}";

/// A SentencePiece model.
#[derive(Debug, Clone)]
pub(super) struct Spm {
    /// Put a space before a text at the beginning or after a special token.
    pub(super) add_space_prefix: bool,
    remove_extra_whitespaces: bool,
    scores: Vec<f32>,
    fallback: Fallback,
}

impl Spm {
    /// Reads scores and flags.
    pub(super) fn from_metadata(metadata: &Metadata, vocab: &mut Vocab, unknown: Option<u32>) -> Result<Self> {
        let fallback = Fallback::new(vocab, unknown)?;
        Ok(Self {
            add_space_prefix: metadata.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true),
            remove_extra_whitespaces: metadata.bool("tokenizer.ggml.remove_extra_whitespaces")?.unwrap_or(false),
            scores: read_scores(metadata, vocab.len())?,
            fallback,
        })
    }

    /// Appends the ids of `text`; `first` where it begins the whole or follows a special token.
    pub(super) fn encode(&self, vocab: &Vocab, text: &str, first: bool, chain: &mut Chain, ids: &mut Vec<u32>) {
        let escaped = self.escape(text, first);
        chain.clear();
        for (start, c) in escaped.char_indices() {
            let piece = escaped.as_bytes().get(start..start + c.len_utf8()).unwrap_or_default();
            chain.push(start, piece.len(), vocab.text_id(piece));
        }
        chain.merge(|left, right| self.join(vocab, escaped.as_bytes(), left, right));
        let mut output = self.fallback.output(ids);
        for symbol in chain.symbols() {
            output.push(symbol.id, escaped.as_bytes().get(symbol.start..symbol.start + symbol.len).unwrap_or_default());
        }
    }

    /// Spaces as `▁`, one in front, and runs of them made one where the file asks for that.
    fn escape(&self, text: &str, first: bool) -> String {
        let prefix = if self.add_space_prefix && first { SPACE } else { "" };
        if !self.remove_extra_whitespaces {
            return replace_spaces(prefix, text);
        }
        let mut out = String::from(prefix);
        for (i, word) in text.split(' ').filter(|word| !word.is_empty()).enumerate() {
            out.push_str(if i > 0 { SPACE } else { "" });
            out.push_str(word);
        }
        out.truncate(out.trim_end_matches(SPACE).len());
        out
    }

    fn join(&self, vocab: &Vocab, text: &[u8], left: &Symbol, right: &Symbol) -> Option<Join> {
        let len = left.len + right.len;
        if len > vocab.longest_bytes() {
            return None;
        }
        let id = vocab.text_id(text.get(left.start..left.start + len)?)?;
        Some(Join { id, rank: rank_of_score(*self.scores.get(id as usize)?) })
    }
}

/// `prefix` and the text with its spaces as `▁`.
pub(super) fn replace_spaces(prefix: &str, text: &str) -> String {
    let mut out = String::with_capacity(prefix.len() + text.len() + text.len() / 4);
    out.push_str(prefix);
    for c in text.chars() {
        if c == ' ' { out.push_str(SPACE) } else { out.push(c) }
    }
    out
}

/// Appends the bytes that a SentencePiece piece stands for.
pub(super) fn push_bytes_of_piece(piece: &[u8], out: &mut Vec<u8>) {
    let mut rest = piece;
    while let Some((&first, after)) = rest.split_first() {
        match rest.strip_prefix(SPACE.as_bytes()) {
            Some(after_space) => {
                out.push(b' ');
                rest = after_space;
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
}

/// Turns a score round and into a whole number, so that the highest score has the smallest rank. −0 equals 0.
fn rank_of_score(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    !ascending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_fall_as_scores_rise() {
        let scores = [f32::INFINITY, 3.5, 1e-30, 0.0, -1e-30, -1.0, -31_740.0, f32::NEG_INFINITY];
        assert!(scores.windows(2).all(|pair| rank_of_score(pair[0]) < rank_of_score(pair[1])));
        assert_eq!(rank_of_score(0.0), rank_of_score(-0.0));
    }
}
