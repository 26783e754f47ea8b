//! Byte-level byte pair encoding (GPT-2 and its descendants): words of bytes, joined by a ranked list of merges.
//!
//! The file writes bytes as printable characters: the 188 printable ones of Latin-1 stand for themselves, the other 68 for
//! U+0100 and up in order (a space is U+0120, `Ġ`). Text to ids:
//!
//! ```text
//! "say hi"  →  words "say", " hi"  →  bytes' ids  →  merges by rank  →  ids
//! ```
//!
//! Rules where a file or a text is not as it should be. A merge that names an unknown piece is refused, as Hugging Face's
//! tokenizers does; one that makes a control token is left out, so that text stays text; the first of two equal merges
//! counts, as in llama.cpp. A byte that has no piece is left out of the text, as both do (SmolLM2 has none for U+0004).

use super::merge::{Chain, Join};
use super::pretokenize::{PreTokenizer, Preset};
use super::table::{Table, hash_pair};
use super::vocab::{Kind, Vocab};
use crate::error::{Error, Result, try_vec};
use crate::gguf::Metadata;

const MERGES: &str = "tokenizer.ggml.merges";

/// A byte-level model.
#[derive(Debug, Clone)]
pub(super) struct Bpe {
    pre_tokenizer: PreTokenizer,
    whole_words: bool,
    byte_ids: Vec<Option<u32>>,
    merges: Merges,
}

impl Bpe {
    /// Reads the merges of a file and resolves them to ids.
    pub(super) fn from_metadata(metadata: &Metadata, vocab: &Vocab, preset: Preset) -> Result<Self> {
        let mut piece = String::new();
        let byte_ids = (0..=u8::MAX).map(|byte| {
            piece.clear();
            piece.push(char_of_byte(byte));
            vocab.text_id(piece.as_bytes())
        });
        Ok(Self {
            pre_tokenizer: preset.pre_tokenizer,
            whole_words: preset.whole_words,
            byte_ids: byte_ids.collect(),
            merges: Merges::from_metadata(metadata, vocab)?,
        })
    }

    /// Appends the ids of `text`.
    pub(super) fn encode(&self, vocab: &Vocab, text: &str, chain: &mut Chain, ids: &mut Vec<u32>) {
        let mut piece = String::new();
        for word in self.pre_tokenizer.words(text) {
            if self.whole_words {
                piece.clear();
                piece.extend(word.bytes().map(char_of_byte));
                if let Some(id) = vocab.text_id(piece.as_bytes()) {
                    ids.push(id);
                    continue;
                }
            }
            chain.clear();
            for (start, byte) in word.bytes().enumerate() {
                let id = self.byte_ids.get(usize::from(byte)).copied().flatten();
                if id.is_some() {
                    chain.push(start, 1, id);
                }
            }
            chain.merge(|left, right| self.merges.find(left.id?, right.id?));
            ids.extend(chain.symbols().filter_map(|symbol| symbol.id));
        }
    }
}

/// Appends the bytes that a byte-level piece stands for; a piece with other characters stands for itself.
pub(super) fn push_bytes_of_piece(piece: &[u8], out: &mut Vec<u8>) {
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
