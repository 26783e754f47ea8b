//! Byte pair encoding with a ranked list of merges (GPT-2 and its descendants): words of bytes, joined pair by pair.
//!
//! The file writes bytes as printable characters: the 188 printable ones of Latin-1 stand for themselves, the other 68 for
//! U+0100 and up in order (a space is U+0120, `Ġ`). Text to ids:
//!
//! ```text
//! "say hi"  →  words "say", " hi"  →  bytes' ids  →  merges by rank  →  ids
//! ```
//!
//! Gemma 4 and a few others begin with characters in place of bytes, and write a space as `▁`, as SentencePiece does.
//!
//! Rules where a file or a text is not as it should be. A merge that names an unknown piece is refused, as Hugging Face's
//! tokenizers does; one that makes a control token is left out, so that text stays text; the first of two equal merges
//! counts, as in llama.cpp. A byte that has no piece is left out of the text, as both do (SmolLM2 has none for U+0004).

use super::fallback::Fallback;
use super::merge::{Chain, Join};
use super::normalize::Normalizer;
use super::presets::{CHARACTERS, NFC, WHOLE_WORDS};
use super::pretokenize::PreTokenizer;
use super::spm;
use super::vocab::{Kind, Vocab};
use crate::error::{Error, Result, try_vec};
use crate::gguf::Metadata;
use crate::table::{Table, hash_pair};
use std::borrow::Cow;

const MERGES: &str = "tokenizer.ggml.merges";
const PREFIX: &str = "tokenizer.kinglet.prefix";

/// A model with merges.
#[derive(Debug, Clone)]
pub(super) struct Bpe {
    pre_tokenizer: PreTokenizer,
    /// Where the model wants form NFC.
    normalizer: Option<Normalizer>,
    symbols: Symbols,
    merges: Merges,
    prefix: Prefix,
}

/// Where a space is put before a text; GGUF's files with merges want none, a tokenizer.json may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prefix {
    Nowhere,
    /// Before every text between special tokens.
    Always,
    /// Before those that do not begin with one.
    UnlessSpace,
    /// Before the first of all, unless it begins with one.
    FirstUnlessSpace,
}

impl Prefix {
    fn from_metadata(metadata: &Metadata) -> Result<Self> {
        match metadata.str(PREFIX)? {
            None => Ok(Self::Nowhere),
            Some("always") => Ok(Self::Always),
            Some("unless space") => Ok(Self::UnlessSpace),
            Some("first unless space") => Ok(Self::FirstUnlessSpace),
            Some(other) => Err(Error::file(format!("{PREFIX} is {other:?}"))),
        }
    }

    fn goes_before(self, text: &str, at_start: bool, symbols: &Symbols) -> bool {
        let writes_spaces = matches!(symbols, Symbols::Characters(_));
        let has_space = text.starts_with(' ') || writes_spaces && text.starts_with(spm::SPACE);
        match self {
            Self::Nowhere => false,
            Self::Always => true,
            Self::UnlessSpace => !has_space,
            Self::FirstUnlessSpace => at_start && !has_space,
        }
    }
}

/// What merging begins with.
#[derive(Debug, Clone)]
enum Symbols {
    /// Bytes, each with an id.
    Bytes(Vec<Option<u32>>),
    /// Characters; what none of the pieces covers is written as `<0xXX>`.
    Characters(Fallback),
}

impl Bpe {
    /// Reads the merges of a file and resolves them to ids.
    pub(super) fn from_metadata(
        metadata: &Metadata,
        vocab: &mut Vocab,
        pre_tokenizer: PreTokenizer,
        unknown: Option<u32>,
    ) -> Result<Self> {
        let mut piece = String::new();
        let mut byte_id = |byte| {
            piece.clear();
            piece.push(char_of_byte(byte));
            vocab.text_id(piece.as_bytes())
        };
        let symbols = if pre_tokenizer.has(CHARACTERS) {
            Symbols::Characters(Fallback::new(vocab, unknown)?)
        } else {
            Symbols::Bytes((0..=u8::MAX).map(&mut byte_id).collect())
        };
        Ok(Self {
            normalizer: if pre_tokenizer.has(NFC) { Some(Normalizer::new()?) } else { None },
            pre_tokenizer,
            symbols,
            merges: Merges::from_metadata(metadata, vocab)?,
            prefix: Prefix::from_metadata(metadata)?,
        })
    }

    /// Appends the ids of `text`; `at_start` where it begins the whole.
    pub(super) fn encode(&self, vocab: &Vocab, text: &str, at_start: bool, chain: &mut Chain, ids: &mut Vec<u32>) {
        let mut text = self.normalizer.as_ref().map_or(Cow::Borrowed(text), |normalizer| normalizer.nfc(text));
        if self.prefix.goes_before(&text, at_start, &self.symbols) {
            text.to_mut().insert(0, ' ');
        }
        match &self.symbols {
            Symbols::Bytes(byte_ids) => {
                let mut encode = |word: &str| self.encode_bytes(vocab, byte_ids, word, chain, ids);
                self.pre_tokenizer.for_each_word(&text, &mut encode);
            }
            Symbols::Characters(fallback) => {
                let mut encode = |word: &str| self.encode_chars(vocab, fallback, word, chain, ids);
                self.pre_tokenizer.for_each_word(&spm::replace_spaces("", &text), &mut encode);
            }
        }
    }

    /// Whether decoding takes the first space away.
    pub(super) fn adds_space_prefix(&self) -> bool {
        matches!(self.symbols, Symbols::Characters(_)) && self.prefix != Prefix::Nowhere
    }

    fn encode_bytes(&self, vocab: &Vocab, byte_ids: &[Option<u32>], word: &str, chain: &mut Chain, ids: &mut Vec<u32>) {
        if self.pre_tokenizer.has(WHOLE_WORDS) {
            let piece: String = word.bytes().map(char_of_byte).collect();
            if let Some(id) = vocab.text_id(piece.as_bytes()) {
                return ids.push(id);
            }
        }
        chain.clear();
        for (start, byte) in word.bytes().enumerate() {
            let id = byte_ids.get(usize::from(byte)).copied().flatten();
            if id.is_some() {
                chain.push(start, 1, id);
            }
        }
        chain.merge(|left, right| self.merges.find(left.id?, right.id?));
        ids.extend(chain.symbols().filter_map(|symbol| symbol.id));
    }

    fn encode_chars(&self, vocab: &Vocab, fallback: &Fallback, word: &str, chain: &mut Chain, ids: &mut Vec<u32>) {
        if self.pre_tokenizer.has(WHOLE_WORDS)
            && let Some(id) = vocab.text_id(word.as_bytes())
        {
            return ids.push(id);
        }
        chain.clear();
        for (start, c) in word.char_indices() {
            chain.push(start, c.len_utf8(), vocab.text_id(c.encode_utf8(&mut [0; 4]).as_bytes()));
        }
        chain.merge(|left, right| self.merges.find(left.id?, right.id?));
        let mut output = fallback.output(ids);
        for symbol in chain.symbols() {
            output.push(symbol.id, word.as_bytes().get(symbol.start..symbol.start + symbol.len).unwrap_or_default());
        }
    }

    /// Appends the bytes that a piece stands for.
    pub(super) fn push_bytes_of_piece(&self, piece: &[u8], out: &mut Vec<u8>) {
        match &self.symbols {
            Symbols::Bytes(_) => push_bytes_of_piece(piece, out),
            Symbols::Characters(_) => spm::push_bytes_of_piece(piece, out),
        }
    }

    /// Whether the file does not say how text is cut into words.
    pub(super) fn guesses_words(&self) -> bool {
        self.pre_tokenizer.is_guess
    }
}

/// Appends the bytes that a byte-level piece stands for; a piece with other characters stands for itself.
fn push_bytes_of_piece(piece: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let mapped = str::from_utf8(piece).is_ok_and(|text| {
        text.chars().all(|c| {
            let byte = byte_of_char(c);
            out.extend(byte);
            byte.is_some()
        })
    });
    if !mapped {
        out.truncate(start);
        out.extend_from_slice(piece);
    }
}

/// Merges as triples of ids, found by the pair.
#[derive(Debug, Clone)]
struct Merges {
    /// left, right, both together; the index is the rank.
    triples: Vec<[u32; 3]>,
    table: Table,
}

impl Merges {
    fn from_metadata(metadata: &Metadata, vocab: &Vocab) -> Result<Self> {
        let lines =
            metadata.strings(MERGES)?.ok_or_else(|| Error::file(format!("metadata key {MERGES} is missing")))?;
        if u32::try_from(lines.len()).is_err() {
            return Err(Error::file(format!("{MERGES} has {} entries, expected fewer than 2^32", lines.len())));
        }
        let mut merges = Self { triples: try_vec(lines.len(), MERGES)?, table: Table::new(lines.len(), MERGES)? };
        let mut both = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            let triple = resolve(vocab, line, &mut both).map_err(|why| {
                let shown: String = String::from_utf8_lossy(line).chars().take(80).collect();
                Error::file(format!("{MERGES}: entry {index} is {shown:?}: {why}"))
            })?;
            merges.add(vocab, triple)?;
        }
        Ok(merges)
    }

    fn add(&mut self, vocab: &Vocab, triple: [u32; 3]) -> Result<()> {
        let [left, right, both] = triple;
        if matches!(vocab.kind(both), Some(Kind::Control | Kind::Unknown)) {
            return Ok(());
        }
        let rank = self.triples.len() as u32;
        let triples = &self.triples;
        let same = |other: u32| matches!(triples.get(other as usize), Some([l, r, _]) if (*l, *r) == (left, right));
        if self.table.insert(hash_pair(left, right), rank, MERGES, same)?.is_none() {
            self.triples.push(triple);
        }
        Ok(())
    }

    fn find(&self, left: u32, right: u32) -> Option<Join> {
        let is_pair =
            |rank: u32| matches!(self.triples.get(rank as usize), Some([l, r, _]) if (*l, *r) == (left, right));
        let rank = self.table.find(hash_pair(left, right), is_pair)?;
        Some(Join { id: self.triples.get(rank as usize)?[2], rank })
    }
}

/// The ids of a line such as `Ġ t`. The space that parts the two is the first one that is not the first byte.
fn resolve(vocab: &Vocab, line: &[u8], both: &mut Vec<u8>) -> Result<[u32; 3], String> {
    let space = line.iter().skip(1).position(|byte| *byte == b' ').ok_or("expected two pieces parted by a space")? + 1;
    let (left, right) = (line.get(..space).unwrap_or_default(), line.get(space + 1..).unwrap_or_default());
    both.clear();
    both.extend_from_slice(left);
    both.extend_from_slice(right);
    let id = |piece: &[u8]| {
        vocab.id(piece).ok_or_else(|| format!("{:?} is not in tokenizer.ggml.tokens", String::from_utf8_lossy(piece)))
    };
    Ok([id(left)?, id(right)?, id(both)?])
}

/// Whether the byte stands for itself: the printable characters of Latin-1 but the soft hyphen.
fn is_itself(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF)
}

/// The character that a byte is written as.
fn char_of_byte(byte: u8) -> char {
    let others = 0x100
        + match byte {
            0..=0x20 => u32::from(byte),         // the 33 before '!'
            0x7F..=0xA0 => u32::from(byte) - 94, // the 34 after '~'
            _ => 67,                             // the soft hyphen
        };
    if is_itself(byte) { char::from(byte) } else { char::from_u32(others).unwrap_or(char::REPLACEMENT_CHARACTER) }
}

/// The byte that a character is written for.
fn byte_of_char(c: char) -> Option<u8> {
    match u32::from(c) {
        n @ 0x100..=0x120 => u8::try_from(n - 0x100).ok(),
        n @ 0x121..=0x142 => u8::try_from(n - 0x100 + 94).ok(),
        0x143 => Some(0xAD),
        n => u8::try_from(n).ok().filter(|byte| is_itself(*byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_characters_are_one_to_one() {
        for byte in 0..=u8::MAX {
            assert_eq!(byte_of_char(char_of_byte(byte)), Some(byte));
        }
        assert_eq!((0..=u8::MAX).map(char_of_byte).filter(|c| u32::from(*c) >= 0x100).count(), 68);
        assert_eq!([b' ', b'\n', 0x7F, 0xA0, 0xAD].map(char_of_byte), ['Ġ', 'Ċ', 'ġ', 'ł', 'Ń']);
        assert_eq!((0x144..0x3000).filter_map(char::from_u32).find_map(byte_of_char), None);
    }

    #[test]
    fn a_piece_with_foreign_characters_stands_for_itself() {
        let mut out = b"x".to_vec();
        push_bytes_of_piece("Ġa".as_bytes(), &mut out);
        push_bytes_of_piece("Ġ世".as_bytes(), &mut out);
        push_bytes_of_piece(b"\xFF", &mut out);
        assert_eq!(out, [b"x a", "Ġ世".as_bytes(), b"\xFF"].concat());
    }
}
