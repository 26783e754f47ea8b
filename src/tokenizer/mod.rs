//! Text to token ids and back, built from GGUF metadata. Layer 0: no I/O. Called by the session and the wasm interface.
//!
//! ```text
//! text → special tokens split off (special) → joiner removed → words (pretokenize) → merges (bpe + merge) → ids
//!                                                          ↘ whole text (spm + merge) ↗
//! ids → bytes of each token → whole characters (stream) → text
//! ```
//!
//! Two models: byte-level BPE (`tokenizer.ggml.model` "gpt2") and SentencePiece BPE ("llama"). The rules are llama.cpp's
//! (`llama-vocab.cpp`) and those of Hugging Face's `tokenizers`, with which the tests compare; where these two differ, the
//! module concerned says which one is followed and why. There is no clean-up of spaces when decoding and no Unicode
//! normalization when encoding: `decode(encode(x)) == x` for every text whose characters the vocabulary covers.

mod bpe;
mod merge;
#[cfg(all(test, not(target_arch = "wasm32")))]
#[path = "../../tests/unit/pretokenize.rs"]
mod oracle_tests;
mod pretokenize;
mod special;
mod spm;
mod stream;
mod table;
mod unicode;
mod unicode_table;
mod vocab;

pub use stream::StreamDecoder;

use bpe::Bpe;
use merge::Chain;
use pretokenize::Preset;
use special::{Fragment, Specials};
use spm::Spm;
use vocab::{Kind, Vocab};

use crate::error::{Error, Result};
use crate::gguf::Metadata;
use std::borrow::Cow;

/// A vocabulary and the rules to use it.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    vocab: Vocab,
    specials: Specials,
    model: Model,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    add_eos: bool,
    /// Sorted.
    end_of_generation: Vec<u32>,
}

#[derive(Debug, Clone)]
enum Model {
    Bpe(Bpe),
    Spm(Spm),
}

/// How to encode a text.
#[derive(Debug, Clone, Copy, Default)]
pub struct EncodeOptions {
    /// Put the beginning- and end-of-sequence tokens round the text where the model wants them.
    pub add_special: bool,
    /// Find control tokens in the text. Only for text that no user wrote, or together with `joiner`.
    pub parse_special: bool,
    /// A noncharacter that the caller put into the special-token strings of text that a user wrote: behind the first
    /// character of each. It is removed after the special tokens have been split off, so that what a user wrote stays text.
    /// A special token of a single character cannot be broken so, and is not found where there is a joiner.
    pub joiner: Option<char>,
}

impl Tokenizer {
    /// Builds the tokenizer of a file.
    ///
    /// # Errors
    /// [`Error::UnsupportedFeature`] naming a tokenizer model or pre-tokenizer that is not built; [`Error::FileFormat`] or
    /// [`Error::FileLimit`] naming the key that is missing or contradicts another; [`Error::Memory`].
    pub fn from_metadata(metadata: &Metadata) -> Result<Self> {
        match required_str(metadata, "tokenizer.ggml.model")? {
            "gpt2" => Self::byte_level(metadata),
            "llama" => Self::sentence_piece(metadata),
            other => {
                let what = format!("tokenizer.ggml.model: the tokenizer {other:?} is not supported");
                Err(Error::UnsupportedFeature { what })
            }
        }
    }

    fn byte_level(metadata: &Metadata) -> Result<Self> {
        let preset = Preset::named(required_str(metadata, "tokenizer.ggml.pre")?)?;
        let mut vocab = Vocab::from_metadata(metadata)?;
        // llama.cpp takes 11 for both where a file does not say. That is Falcon's <|endoftext|>; in other vocabularies 11 is
        // an ordinary piece, which must not end a generation.
        let falcon = Some(11).filter(|id| vocab.kind(*id) == Some(Kind::Control));
        let ends = Ends::read(metadata, &mut vocab, [falcon, falcon], preset.add_bos)?;
        let model = Model::Bpe(Bpe::from_metadata(metadata, &vocab, preset)?);
        Ok(ends.into_tokenizer(vocab, model))
    }

    fn sentence_piece(metadata: &Metadata) -> Result<Self> {
        let mut vocab = Vocab::from_metadata(metadata)?;
        let default = |id: u32| Some(id).filter(|id| (*id as usize) < vocab.len());
        let defaults = [default(1), default(2)];
        let unknown = vocab.special_id(metadata, "tokenizer.ggml.unknown_token_id")?.or(default(0));
        let unknown = unknown.filter(|id| vocab.kind(*id) != Some(Kind::Byte));
        let ends = Ends::read(metadata, &mut vocab, defaults, true)?;
        let model = Model::Spm(Spm::from_metadata(metadata, &mut vocab, unknown)?);
        Ok(ends.into_tokenizer(vocab, model))
    }

    /// The ids of `text`.
    pub fn encode(&self, text: &str, options: &EncodeOptions) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut chain = Chain::default();
        if options.add_special && self.add_bos {
            ids.extend(self.bos);
        }
        let mut first = true;
        for fragment in self.specials.split(&self.vocab, text, options.parse_special, options.joiner.is_some()) {
            match fragment {
                Fragment::Token(id) => ids.push(id),
                Fragment::Text(text) => {
                    let text = without_joiner(text, options.joiner);
                    if text.is_empty() {
                        continue;
                    }
                    match &self.model {
                        Model::Bpe(bpe) => bpe.encode(&self.vocab, &text, &mut chain, &mut ids),
                        Model::Spm(spm) => spm.encode(&self.vocab, &text, first, &mut chain, &mut ids),
                    }
                }
            }
            first = matches!(fragment, Fragment::Token(_));
        }
        if options.add_special && self.add_eos {
            ids.extend(self.eos);
        }
        ids
    }

    /// The text of `ids`. Bytes that are no UTF-8 become U+FFFD as in `String::from_utf8_lossy`; ids beyond the vocabulary
    /// give no text. `skip_special` leaves control and unknown tokens out.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut decoder = StreamDecoder::new(skip_special);
        let mut text = String::new();
        for id in ids {
            text.push_str(&decoder.push(self, *id));
        }
        text.push_str(&decoder.finish());
        text
    }

    /// Number of tokens in the vocabulary.
    pub fn n_vocab(&self) -> usize {
        self.vocab.len()
    }

    /// The bytes that a token stands for (not always whole characters); for a special token its name.
    pub fn token_bytes(&self, id: u32) -> Option<Cow<'_, [u8]>> {
        let piece = self.vocab.piece(id)?;
        if self.is_special(id) || self.vocab.kind(id) == Some(Kind::UserDefined) {
            return Some(Cow::Borrowed(piece));
        }
        let mut bytes = Vec::new();
        self.push_token_bytes(id, &mut bytes);
        Some(Cow::Owned(bytes))
    }

    /// Whether a token is a control token: structure, not text.
    pub fn is_control(&self, id: u32) -> bool {
        self.vocab.kind(id) == Some(Kind::Control)
    }

    /// Whether generation ends with this token.
    pub fn is_end_of_generation(&self, id: u32) -> bool {
        self.end_of_generation.binary_search(&id).is_ok()
    }

    /// The tokens with which generation ends, in ascending order.
    pub fn end_of_generation(&self) -> &[u32] {
        &self.end_of_generation
    }

    /// The beginning-of-sequence token.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The end-of-sequence token.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Whether encoding with `add_special` puts the beginning-of-sequence token first.
    pub fn adds_bos(&self) -> bool {
        self.add_bos
    }

    /// The strings that mean structure when they are parsed, which user text must not be able to forge: all control and
    /// unknown tokens, and user-defined ones that look like a mark (`<…` or `[…`).
    pub fn special_strings(&self) -> impl Iterator<Item = (u32, &str)> {
        self.specials.ids().filter_map(|id| {
            let text = str::from_utf8(self.vocab.piece(id)?).ok()?;
            let is_mark = self.is_special(id) || text.starts_with(['<', '[']);
            is_mark.then_some((id, text))
        })
    }

    /// Whether a token is control or unknown, which `skip_special` leaves out.
    fn is_special(&self, id: u32) -> bool {
        matches!(self.vocab.kind(id), Some(Kind::Control | Kind::Unknown))
    }

    fn adds_space_prefix(&self) -> bool {
        matches!(&self.model, Model::Spm(spm) if spm.add_space_prefix)
    }

    fn push_token_bytes(&self, id: u32, out: &mut Vec<u8>) {
        let (Some(piece), Some(kind)) = (self.vocab.piece(id), self.vocab.kind(id)) else { return };
        match (kind, &self.model) {
            (Kind::Control | Kind::Unknown | Kind::UserDefined, _) => out.extend_from_slice(piece),
            (Kind::Byte, _) => out.extend(vocab::byte_of(piece)),
            (Kind::Normal, Model::Bpe(_)) => bpe::push_bytes_of_piece(piece, out),
            (Kind::Normal, Model::Spm(_)) => spm::push_bytes_of_piece(piece, out),
        }
    }
}

/// The tokens at the ends of a text and of a generation.
struct Ends {
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    add_eos: bool,
    end_of_generation: Vec<u32>,
}

impl Ends {
    fn read(metadata: &Metadata, vocab: &mut Vocab, defaults: [Option<u32>; 2], add_bos: bool) -> Result<Self> {
        let [default_bos, default_eos] = defaults;
        let bos = vocab.special_id(metadata, "tokenizer.ggml.bos_token_id")?.or(default_bos);
        let eos = vocab.special_id(metadata, "tokenizer.ggml.eos_token_id")?.or(default_eos);
        Ok(Self {
            bos,
            eos,
            add_bos: read_add(metadata, "bos", bos, add_bos)?,
            add_eos: read_add(metadata, "eos", eos, false)?,
            end_of_generation: special::end_of_generation(metadata, vocab, eos)?,
        })
    }

    fn into_tokenizer(self, vocab: Vocab, model: Model) -> Tokenizer {
        let Self { bos, eos, add_bos, add_eos, end_of_generation } = self;
        Tokenizer { specials: Specials::new(&vocab), vocab, model, bos, eos, add_bos, add_eos, end_of_generation }
    }
}

/// `add_bos_token` or `add_eos_token`. A file that asks for a token it does not name contradicts itself; a default does not.
fn read_add(metadata: &Metadata, which: &str, id: Option<u32>, default: bool) -> Result<bool> {
    let key = format!("tokenizer.ggml.add_{which}_token");
    match (metadata.bool(&key)?, id) {
        (Some(true), None) => {
            Err(Error::file(format!("{key} is true, but tokenizer.ggml.{which}_token_id is missing")))
        }
        (Some(add), _) => Ok(add),
        (None, id) => Ok(default && id.is_some()),
    }
}

fn required_str<'a>(metadata: &'a Metadata, key: &str) -> Result<&'a str> {
    metadata.str(key)?.ok_or_else(|| Error::file(format!("metadata key {key} is missing")))
}

fn without_joiner(text: &str, joiner: Option<char>) -> Cow<'_, str> {
    match joiner {
        Some(joiner) if text.contains(joiner) => Cow::Owned(text.replace(joiner, "")),
        _ => Cow::Borrowed(text),
    }
}
