//! WordPiece (BERT): text is cleaned and cut into words, and each word is taken apart from its beginning, the longest piece first.
//!
//! ```text
//! "Ärger, 日本" → "ärger" → "arger" → words "arger" "," "日" "本" → "▁arg" "er" "▁," "▁日" "▁本"
//! ```
//!
//! A GGUF file writes `▁` before a piece that begins a word and nothing before one that goes on (`##` in vocab.txt). The rules
//! are those of Hugging Face's BertNormalizer and BertPreTokenizer. llama.cpp differs: control characters that are white space
//! part words there (here only tab, line feed and carriage return do), symbols outside of ASCII do not part words in either, a
//! word may have any length (here 100 characters), and what goes on may begin a word if it begins with `▁`.

use super::normalize::Normalizer;
use super::spm::SPACE;
use super::unicode::{Class, Unicode};
use super::vocab::Vocab;
use crate::error::{Error, Result};
use crate::gguf::Metadata;

/// Longer words are unknown as a whole.
const MAX_WORD_CHARS: usize = 100;

/// A WordPiece model.
#[derive(Debug, Clone)]
pub(super) struct WordPiece {
    lowercase: bool,
    strip_accents: bool,
    unknown: u32,
    unicode: Unicode,
    normalizer: Normalizer,
}

impl WordPiece {
    /// Reads the flags.
    pub(super) fn from_metadata(metadata: &Metadata, unknown: Option<u32>) -> Result<Self> {
        let flag = |key: &str| metadata.bool(&format!("tokenizer.ggml.normalizer.{key}"));
        let lowercase = flag("lowercase")?.unwrap_or(true);
        Ok(Self {
            lowercase,
            strip_accents: flag("strip_accents")?.unwrap_or(lowercase),
            unknown: unknown.ok_or_else(|| Error::file("tokenizer.ggml.tokens has no unknown token, id 100"))?,
            unicode: Unicode::new()?,
            normalizer: Normalizer::new()?,
        })
    }

    /// Appends the ids of `text`.
    pub(super) fn encode(&self, vocab: &Vocab, text: &str, ids: &mut Vec<u32>) {
        let clean: String = text.chars().filter_map(|c| self.clean(c)).collect();
        let stripped: String = if self.strip_accents {
            let is_accent = |c: &char| self.unicode.class(*c) == Class::Mn;
            self.normalizer.nfd(&clean).chars().filter(|c| !is_accent(c)).collect()
        } else {
            clean
        };
        let mut word = String::from(SPACE);
        let chars = stripped.chars().flat_map(|c| Lowered::of(c, self.lowercase));
        for c in chars {
            let is_word = self.is_word_by_itself(c);
            if is_word || c.is_whitespace() {
                self.end_word(vocab, &mut word, ids);
            }
            if !c.is_whitespace() {
                word.push(c);
            }
            if is_word {
                self.end_word(vocab, &mut word, ids);
            }
        }
        self.end_word(vocab, &mut word, ids);
    }

    /// White space as a space, and nothing for control characters.
    fn clean(&self, c: char) -> Option<char> {
        match c {
            '\t' | '\n' | '\r' => Some(' '),
            '\0' | '\u{FFFD}' | '\u{B}' | '\u{C}' | '\u{85}' => None,
            c => match self.unicode.class(c) {
                Class::C => None,
                Class::Space => Some(' '),
                _ => Some(c),
            },
        }
    }

    fn is_word_by_itself(&self, c: char) -> bool {
        c.is_ascii_punctuation() || matches!(self.unicode.class(c), Class::P | Class::Pc) || is_chinese(c)
    }

    /// Takes a word apart; leaves `▁`.
    fn end_word(&self, vocab: &Vocab, word: &mut String, ids: &mut Vec<u32>) {
        let n_before = ids.len();
        let mut rest = word.as_bytes();
        let too_long = word.chars().count() > MAX_WORD_CHARS + 1;
        // The first piece is `▁` and something.
        let mut least = SPACE.len() + 1;
        while rest.len() >= least && !too_long {
            let longest = rest.len().min(vocab.longest_bytes());
            let piece = (least..=longest).rev().find_map(|len| Some((vocab.text_id(rest.get(..len)?)?, len)));
            let Some((id, len)) = piece else { break };
            ids.push(id);
            rest = rest.get(len..).unwrap_or_default();
            least = 1;
        }
        if word.len() > SPACE.len() && (!rest.is_empty() || too_long) {
            ids.truncate(n_before);
            ids.push(self.unknown);
        }
        word.truncate(SPACE.len());
    }
}

/// A character or what it becomes in small letters.
enum Lowered {
    As(Option<char>),
    Small(std::char::ToLowercase),
}

impl Lowered {
    fn of(c: char, lowercase: bool) -> Self {
        if lowercase { Self::Small(c.to_lowercase()) } else { Self::As(Some(c)) }
    }
}

impl Iterator for Lowered {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self {
            Self::As(c) => c.take(),
            Self::Small(chars) => chars.next(),
        }
    }
}

/// What BERT calls so: each is a word. (0x2B920 stands for 0x2B820 in Hugging Face's, and so here.)
fn is_chinese(c: char) -> bool {
    matches!(u32::from(c),
        0x4E00..=0x9FFF | 0x3400..=0x4DBF | 0x20000..=0x2A6DF | 0x2A700..=0x2B73F | 0x2B740..=0x2B81F
        | 0x2B920..=0x2CEAF | 0xF900..=0xFAFF | 0x2F800..=0x2FA1F)
}
