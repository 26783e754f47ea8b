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

use super::lower::Lower;
use super::normalize::Normalizer;
use super::spm::SPACE;
use super::unicode::{Class, Unicode};
use super::vocab::Vocab;
use crate::error::{Error, Result};
use crate::gguf::Metadata;
use std::ops::Range;

/// Longer words are unknown as a whole.
const MAX_WORD_CHARS: usize = 100;

/// A WordPiece model.
#[derive(Debug, Clone)]
pub(super) struct WordPiece {
    /// Where text is put in small letters.
    lower: Option<Lower>,
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
            lower: lowercase.then(Lower::new).transpose()?,
            strip_accents: flag("strip_accents")?.unwrap_or(lowercase),
            unknown: unknown.ok_or_else(|| Error::file("tokenizer.ggml.tokens has no unknown token, id 100"))?,
            unicode: Unicode::new()?,
            normalizer: Normalizer::new()?,
        })
    }

    /// Appends the ids of `text`.
    pub(super) fn encode(&self, vocab: &Vocab, text: &str, ids: &mut Vec<u32>) {
        self.encode_places(vocab, text, &mut |id, _| ids.push(id));
    }

    /// Gives the ids of `text`, each with the bytes of `text` that it stands for.
    pub(super) fn encode_places(&self, vocab: &Vocab, text: &str, give: &mut dyn FnMut(u32, Range<usize>)) {
        let mut word = Word::default();
        self.for_each_char(text, &mut |c, place| {
            let is_word = self.is_word_by_itself(c);
            if is_word || c.is_whitespace() {
                self.end_word(vocab, &mut word, give);
            }
            if !c.is_whitespace() {
                word.push(c, place);
            }
            if is_word {
                self.end_word(vocab, &mut word, give);
            }
        });
        self.end_word(vocab, &mut word, give);
    }

    /// The characters of the text as the model reads it: cleaned, without accents, small; each with its place in `text`.
    fn for_each_char(&self, text: &str, give: &mut dyn FnMut(char, Range<usize>)) {
        let places = text.char_indices().map(|(at, c)| (c, at..at + c.len_utf8()));
        let mut chars = places.filter_map(|(c, place)| Some((self.clean(c)?, place))).peekable();
        let mut lowered = |c: char, place: &Range<usize>| {
            let (small, more) = self.lower.as_ref().map_or((c, None), |lower| lower.of(c));
            [small].into_iter().chain(more).for_each(|c| give(c, place.clone()));
        };
        let mut cluster = String::new();
        while let Some((c, place)) = chars.next() {
            if !self.strip_accents || c.is_ascii() && chars.peek().is_none_or(|(next, _)| next.is_ascii()) {
                lowered(c, &place);
                continue;
            }
            // Marks are put in order behind the character that they belong to: all of them at once.
            cluster.clear();
            cluster.push(c);
            let mut end = place.end;
            while let Some((mark, at)) = chars.next_if(|(next, _)| self.is_mark(*next)) {
                cluster.push(mark);
                end = at.end;
            }
            for c in self.normalizer.nfd(&cluster).chars().filter(|c| self.unicode.class(*c) != Class::Mn) {
                let place = if self.is_mark(c) { place.start..end } else { place.clone() };
                lowered(c, &place);
            }
        }
    }

    fn is_mark(&self, c: char) -> bool {
        matches!(self.unicode.class(c), Class::Mn | Class::M)
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

    /// Takes a word apart, and leaves it empty.
    fn end_word(&self, vocab: &Vocab, word: &mut Word, give: &mut dyn FnMut(u32, Range<usize>)) {
        let text = word.text.as_bytes();
        let too_long = word.text.chars().count() > MAX_WORD_CHARS + 1;
        // The first piece is `▁` and something.
        let (mut start, mut least) = (0, SPACE.len() + 1);
        word.pieces.clear();
        while text.len() - start >= least && !too_long {
            let rest = text.get(start..).unwrap_or_default();
            let longest = rest.len().min(vocab.longest_bytes());
            let piece = (least..=longest).rev().find_map(|len| Some((vocab.text_id(rest.get(..len)?)?, len)));
            let Some((id, len)) = piece else { break };
            word.pieces.push((id, start, start + len));
            (start, least) = (start + len, 1);
        }
        if text.len() > SPACE.len() && (start < text.len() || too_long) {
            give(self.unknown, word.place(0, text.len()));
        } else {
            word.pieces.iter().for_each(|(id, start, end)| give(*id, word.place(*start, *end)));
        }
        word.text.truncate(SPACE.len());
        word.places.clear();
    }
}

/// A word in the making: `▁` and characters.
struct Word {
    text: String,
    /// For each byte behind `▁`, where its character stands in the text.
    places: Vec<Range<usize>>,
    /// Id, first byte, end.
    pieces: Vec<(u32, usize, usize)>,
}

impl Default for Word {
    fn default() -> Self {
        Self { text: SPACE.into(), places: vec![], pieces: vec![] }
    }
}

impl Word {
    fn push(&mut self, c: char, place: Range<usize>) {
        self.text.push(c);
        self.places.extend(std::iter::repeat_n(place, c.len_utf8()));
    }

    /// Where the bytes `start..end` come from.
    fn place(&self, start: usize, end: usize) -> Range<usize> {
        let at = |byte: usize| self.places.get(byte.saturating_sub(SPACE.len()));
        at(start).map_or(0, |place| place.start)..at(end.saturating_sub(1)).map_or(0, |place| place.end)
    }
}

/// What BERT calls so: each is a word. (0x2B920 stands for 0x2B820 in Hugging Face's, and so here.)
fn is_chinese(c: char) -> bool {
    matches!(u32::from(c),
        0x4E00..=0x9FFF | 0x3400..=0x4DBF | 0x20000..=0x2A6DF | 0x2A700..=0x2B73F | 0x2B740..=0x2B81F
        | 0x2B920..=0x2CEAF | 0xF900..=0xFAFF | 0x2F800..=0x2FA1F)
}
