//! Unigram (T5, XLM-RoBERTa): of all ways to cut a text into pieces, the one with the highest sum of scores.
//!
//! ```text
//! text → character map → spaces as ▁ → Viterbi: best[end] = max over pieces that end there of best[start] + score → ids
//! ```
//!
//! Time is linear in the text, times the longest piece. As SentencePiece and llama.cpp have it, but for these: with
//! `remove_extra_whitespaces` and without a space prefix the first word gets none (SentencePiece; llama.cpp gives it one); byte
//! pieces stand for what no piece covers (SentencePiece; llama.cpp gives the unknown token), and only for that: a text that spells
//! `<0x41>` stays text (SentencePiece; Hugging Face's library makes it an A). Text never becomes a control piece.
//! A tokenizer.json treats white space in ways of its own, which `tokenizer.kinglet.spaces` names.

use super::charsmap::Charsmap;
use super::fallback::Fallback;
use super::prefixes::Prefixes;
use super::spm::{SPACE, replace_spaces};
use super::vocab::{Kind, Vocab, read_scores};
use crate::error::{Error, Result, try_vec};
use crate::gguf::{Array, Metadata, Value};

const SCORES: &str = "tokenizer.ggml.scores";
const SPACES: &str = "tokenizer.kinglet.spaces";
/// How much less than the least likely piece a character without one counts.
const UNKNOWN_PENALTY: f64 = 10.0;

/// A Unigram model.
#[derive(Debug, Clone)]
pub(super) struct Unigram {
    /// Put a space before each text.
    pub(super) add_space_prefix: bool,
    spaces: Spaces,
    charsmap: Option<Charsmap>,
    pieces: Prefixes,
    scores: Vec<f64>,
    unknown_score: f64,
    fallback: Fallback,
}

/// What is done about white space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spaces {
    /// Nothing: SentencePiece without `remove_extra_whitespaces`.
    Keep,
    /// Spaces at the ends go away, runs become one: SentencePiece with it.
    Remove,
    /// tokenizer.json, Metaspace alone: a text that begins with a space gets no other.
    Metaspace,
    /// tokenizer.json, after runs of spaces have been made one.
    MetaspaceOfOne,
    /// tokenizer.json, WhitespaceSplit and Metaspace: words are what stands between white space of any kind, each with a space
    /// before it.
    Words,
}

impl Unigram {
    /// Reads scores, character map and flags.
    pub(super) fn from_metadata(metadata: &Metadata, vocab: &mut Vocab, unknown: Option<u32>) -> Result<Self> {
        let flag = |key: &str| metadata.bool(&format!("tokenizer.ggml.{key}"));
        let spaces = match metadata.str(SPACES)? {
            None if flag("remove_extra_whitespaces")?.unwrap_or(false) => Spaces::Remove,
            None => Spaces::Keep,
            Some("metaspace") => Spaces::Metaspace,
            Some("metaspace of one") => Spaces::MetaspaceOfOne,
            Some("words") => Spaces::Words,
            Some(other) => return Err(Error::file(format!("{SPACES} is {other:?}"))),
        };
        let fallback = Fallback::new(vocab, unknown)?;
        let scores = read_exact_scores(metadata, vocab)?;
        let is_normal = |id: &u32| vocab.kind(*id) == Some(Kind::Normal);
        let of_normal = vocab.ids().filter(is_normal).filter_map(|id| scores.get(id as usize).copied());
        let unknown_score = of_normal.fold(f64::INFINITY, f64::min) - UNKNOWN_PENALTY;
        Ok(Self {
            add_space_prefix: flag("add_space_prefix")?.unwrap_or(true),
            spaces,
            charsmap: Charsmap::from_metadata(metadata)?,
            pieces: Prefixes::new(
                vocab,
                vocab.ids().filter(|id| matches!(vocab.kind(*id), Some(Kind::Normal | Kind::UserDefined))),
            ),
            scores,
            unknown_score,
            fallback,
        })
    }

    /// Appends the ids of `text`.
    pub(super) fn encode(&self, vocab: &Vocab, text: &str, ids: &mut Vec<u32>) {
        let mapped = self.charsmap.as_ref().map(|map| map.apply(text));
        let text = self.escape(mapped.as_deref().unwrap_or(text));
        if matches!(self.spaces, Spaces::Keep | Spaces::Remove) {
            return self.encode_escaped(vocab, &text, ids);
        }
        // Metaspace cuts before each space, and no piece goes across.
        let mut rest = text.as_str();
        while let Some(first) = rest.chars().next() {
            let (_, tail) = rest.split_at(first.len_utf8());
            let len = tail.find(SPACE).map_or(rest.len(), |at| first.len_utf8() + at);
            let (word, after) = rest.split_at(len);
            self.encode_escaped(vocab, word, ids);
            rest = after;
        }
    }

    fn encode_escaped(&self, vocab: &Vocab, text: &str, ids: &mut Vec<u32>) {
        let mut output = self.fallback.output(ids);
        for (start, end, id) in self.best_cuts(vocab, text) {
            output.push(id, text.as_bytes().get(start..end).unwrap_or_default());
        }
    }

    /// The pieces of the best way, in order: start, end, id. Unknown characters that follow one another are one.
    fn best_cuts(&self, vocab: &Vocab, text: &str) -> Vec<(usize, usize, Option<u32>)> {
        // For each end: the best sum, the start of its last piece, and that piece.
        let mut best = vec![(f64::NEG_INFINITY, 0, None); text.len() + 1];
        if let Some(first) = best.first_mut() {
            first.0 = 0.0;
        }
        for (start, c) in text.char_indices() {
            let sum = best.get(start).map_or(0.0, |(sum, ..)| *sum);
            let mut offer = |len: usize, score: f64, id| {
                if let Some(slot) = best.get_mut(start + len).filter(|slot| sum + score > slot.0) {
                    *slot = (sum + score, start, id);
                }
            };
            let mut is_covered = false;
            self.pieces.for_each(vocab, text.as_bytes().get(start..).unwrap_or_default(), |id, len| {
                is_covered |= len == c.len_utf8();
                let is_defined = vocab.kind(id) == Some(Kind::UserDefined);
                offer(
                    len,
                    if is_defined { 0.0 } else { self.scores.get(id as usize).copied().unwrap_or(0.0) },
                    Some(id),
                );
            });
            if !is_covered {
                offer(c.len_utf8(), self.unknown_score, None);
            }
        }
        let mut cuts: Vec<(usize, usize, Option<u32>)> = Vec::new();
        let mut end = text.len();
        while let Some(&(_, start, id)) = best.get(end).filter(|_| end > 0) {
            match cuts.last_mut().filter(|(.., last)| last.is_none() && id.is_none()) {
                Some(unknown) => unknown.0 = start,
                None => cuts.push((start, end, id)),
            }
            end = start;
        }
        cuts.reverse();
        cuts
    }

    fn escape(&self, text: &str) -> String {
        let prefix = if self.add_space_prefix { SPACE } else { "" };
        match self.spaces {
            Spaces::Keep if text.is_empty() => String::new(),
            Spaces::Keep => replace_spaces(prefix, text),
            Spaces::Remove => join(prefix, text.split(' ')),
            Spaces::Words => text
                .split_whitespace()
                .fold(String::new(), |out, word| out + if word.starts_with(SPACE) { "" } else { SPACE } + word),
            Spaces::Metaspace | Spaces::MetaspaceOfOne => {
                let prefix = if text.is_empty() || text.starts_with([' ', '\u{2581}']) { "" } else { prefix };
                let mut out = replace_spaces(prefix, "");
                let mut last = '\0';
                for c in text.chars() {
                    match c {
                        ' ' if last == ' ' && self.spaces == Spaces::MetaspaceOfOne => {}
                        ' ' => out.push_str(SPACE),
                        c => out.push(c),
                    }
                    last = c;
                }
                out
            }
        }
    }
}

/// Words with `▁` between them and `prefix` before the first.
fn join<'a>(prefix: &str, words: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::new();
    for word in words.filter(|word| !word.is_empty()) {
        out.push_str(if out.is_empty() { prefix } else { SPACE });
        out.push_str(word);
    }
    out
}

/// The scores, in double precision where the header of a tokenizer.json has them so.
fn read_exact_scores(metadata: &Metadata, vocab: &Vocab) -> Result<Vec<f64>> {
    let mut exact = try_vec(vocab.len(), SCORES)?;
    if let Some(Value::Array(Array::F64(scores))) = metadata.get(SCORES) {
        exact.extend_from_slice(scores);
    } else {
        exact.extend(read_scores(metadata, vocab.len())?.into_iter().map(f64::from));
    }
    if exact.len() != vocab.len() || exact.iter().any(|score| !score.is_finite()) {
        return Err(Error::file(format!("{SCORES}: expected a finite number for each of {} pieces", vocab.len())));
    }
    Ok(exact)
}
