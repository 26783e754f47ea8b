//! The pieces of a vocabulary: their text as the file has it, their types, and the way back from a piece to its id.
//! Called by everything else in the tokenizer; knows nothing of merging.
//!
//! Memory: all pieces in one buffer, one byte of type per piece, and a hash table of ids (4 bytes a slot).
//!
//! What a file may not do, each an error that names the key: no pieces; arrays of different lengths; a piece over
//! [`MAX_PIECE_BYTES`]; a piece twice (llama.cpp aborts there); an unknown type; a byte piece that is not `<0xXX>`; a special
//! id in use beyond the vocabulary (an unused one, such as that of padding, is not looked at). An empty piece is allowed: it
//! stands for no text.

use crate::error::{Error, Result, try_vec};
use crate::gguf::{Array, Metadata, StringArray, Value};
use crate::table::{Table, hash_bytes};

/// The longest piece that is accepted, bytes; the longest known in the wild has 1,024.
const MAX_PIECE_BYTES: usize = 4096;

const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_TYPE: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";

/// The type of a piece, `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text, type 1 (also 0, undefined, and 5, unused: they are only marks of the training).
    Normal,
    /// The unknown token, type 2: stands for text, is none.
    Unknown,
    /// A control token, type 3: structure, never text.
    Control,
    /// A piece that is split off before merging, type 4.
    UserDefined,
    /// One byte, type 6.
    Byte,
}

/// The pieces of a vocabulary.
#[derive(Debug, Clone)]
pub(super) struct Vocab {
    pieces: StringArray,
    kinds: Vec<Kind>,
    table: Table,
    longest_bytes: usize,
}

impl Vocab {
    /// Reads and checks the vocabulary of a file.
    pub(super) fn from_metadata(metadata: &Metadata) -> Result<Self> {
        let tokens =
            metadata.strings(TOKENS)?.ok_or_else(|| Error::file(format!("metadata key {TOKENS} is missing")))?;
        let n = tokens.len();
        if n == 0 || i32::try_from(n).is_err() {
            return Err(Error::file(format!("{TOKENS} has {n} pieces, expected 1 to 2^31 - 1")));
        }
        let mut vocab = Self {
            pieces: StringArray::default(),
            kinds: read_kinds(metadata, n)?,
            table: Table::new(n, TOKENS)?,
            longest_bytes: 0,
        };
        for (id, piece) in tokens.iter().enumerate() {
            vocab.add(id as u32, piece)?;
        }
        Ok(vocab)
    }

    fn add(&mut self, id: u32, piece: &[u8]) -> Result<()> {
        if piece.len() > MAX_PIECE_BYTES {
            return Err(Error::FileLimit {
                what: format!("{TOKENS}: bytes of piece {id}"),
                found: piece.len() as u64,
                limit: MAX_PIECE_BYTES as u64,
                offset: None,
            });
        }
        if self.kind(id) == Some(Kind::Byte) && byte_of(piece).is_none() {
            let shown = String::from_utf8_lossy(piece);
            return Err(Error::file(format!("{TOKENS}: byte piece {id} is {shown:?}, expected \"<0xXX>\"")));
        }
        self.pieces.push(piece)?;
        self.longest_bytes = self.longest_bytes.max(piece.len());
        if piece.is_empty() {
            return Ok(());
        }
        let pieces = &self.pieces;
        let same = |other| pieces.get(other as usize) == Some(piece);
        if let Some(first) = self.table.insert(hash_bytes(piece), id, TOKENS, same)? {
            let shown: String = String::from_utf8_lossy(piece).chars().take(40).collect();
            return Err(Error::file(format!("{TOKENS}: pieces {first} and {id} are both {shown:?}")));
        }
        Ok(())
    }

    /// Number of pieces.
    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Length of the longest piece, bytes.
    pub(super) fn longest_bytes(&self) -> usize {
        self.longest_bytes
    }

    /// The piece as it stands in the file.
    pub(super) fn piece(&self, id: u32) -> Option<&[u8]> {
        self.pieces.get(id as usize)
    }

    /// The type of a piece.
    pub(super) fn kind(&self, id: u32) -> Option<Kind> {
        self.kinds.get(id as usize).copied()
    }

    /// Overrides the type of a piece.
    pub(super) fn set_kind(&mut self, id: u32, kind: Kind) {
        if let Some(slot) = self.kinds.get_mut(id as usize) {
            *slot = kind;
        }
    }

    /// All ids.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + use<> {
        0..self.kinds.len() as u32
    }

    /// The id of a piece of any type.
    pub(super) fn id(&self, piece: &[u8]) -> Option<u32> {
        self.table.find(hash_bytes(piece), |id| self.piece(id) == Some(piece))
    }

    /// The id of a piece that plain text may become: neither control nor unknown nor byte, so that no text can turn into
    /// structure by merging (llama.cpp does not make this difference, SentencePiece does).
    pub(super) fn text_id(&self, piece: &[u8]) -> Option<u32> {
        self.id(piece).filter(|id| matches!(self.kind(*id), Some(Kind::Normal | Kind::UserDefined)))
    }

    /// An id that is taken where a file does not say, if there is such a piece.
    pub(super) fn default_id(&self, id: u32) -> Option<u32> {
        Some(id).filter(|id| (*id as usize) < self.len())
    }

    /// A special id that only some models use: out of range, as in real files, is as good as not there.
    pub(super) fn known_id(&self, metadata: &Metadata, key: &str) -> Result<Option<u32>> {
        let id = metadata.u64(key)?.and_then(|id| u32::try_from(id).ok());
        Ok(id.filter(|id| (*id as usize) < self.len()))
    }

    /// A special id such as `tokenizer.ggml.bos_token_id`.
    pub(super) fn special_id(&self, metadata: &Metadata, key: &str) -> Result<Option<u32>> {
        let Some(id) = metadata.u64(key)? else { return Ok(None) };
        let found = u32::try_from(id).ok().filter(|id| (*id as usize) < self.len());
        found
            .map(Some)
            .ok_or_else(|| Error::file(format!("{key} is {id}, but the vocabulary has {} pieces", self.len())))
    }
}

/// The scores of SentencePiece pieces; all 0 where the file has none.
pub(super) fn read_scores(metadata: &Metadata, n: usize) -> Result<Vec<f32>> {
    let mut scores = try_vec(n, SCORES)?;
    match metadata.get(SCORES) {
        None => scores.resize(n, 0.0),
        Some(Value::Array(Array::I32(whole))) => {
            check_len(SCORES, whole.len(), n)?;
            scores.extend(whole.iter().map(|score| *score as f32));
        }
        Some(_) => {
            let floats = metadata.f32s(SCORES)?.unwrap_or_default();
            check_len(SCORES, floats.len(), n)?;
            scores.extend_from_slice(floats);
        }
    }
    match scores.iter().position(|score| score.is_nan()) {
        Some(id) => Err(Error::file(format!("{SCORES}: the score of piece {id} is not a number"))),
        None => Ok(scores),
    }
}

/// The value of a byte piece: `<0x` and two hexadecimal digits in capitals and `>`, exactly.
pub(super) fn byte_of(piece: &[u8]) -> Option<u8> {
    let &[b'<', b'0', b'x', high, low, b'>'] = piece else { return None };
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'A'..=b'F' => Some(c - b'A' + 10),
        _ => None,
    };
    Some(digit(high)? << 4 | digit(low)?)
}

fn read_kinds(metadata: &Metadata, n: usize) -> Result<Vec<Kind>> {
    let mut kinds = try_vec(n, TOKEN_TYPE)?;
    let Some(types) = metadata.i32s(TOKEN_TYPE)? else {
        kinds.resize(n, Kind::Normal);
        return Ok(kinds);
    };
    check_len(TOKEN_TYPE, types.len(), n)?;
    for (id, kind) in types.iter().enumerate() {
        kinds.push(match kind {
            0 | 1 | 5 => Kind::Normal,
            2 => Kind::Unknown,
            3 => Kind::Control,
            4 => Kind::UserDefined,
            6 => Kind::Byte,
            _ => return Err(Error::file(format!("{TOKEN_TYPE}: piece {id} has type {kind}, expected 0 to 6"))),
        });
    }
    Ok(kinds)
}

fn check_len(key: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::file(format!("{key} has {found} entries, expected {expected}, one for each piece of {TOKENS}")))
}
