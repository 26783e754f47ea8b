//! Text to token ids and back, built from GGUF metadata. Layer 0: no I/O. Called by the session and the wasm interface.
//!
//! ```text
//! text → special tokens split off (special) → joiner removed → words (pretokenize) → merges (bpe + merge) → ids
//!                                                           ↘ whole text → merges (spm + merge) or best cut (unigram) ↗
//!                                                            ↘ words → longest pieces (word_piece) ↗
//! ids → bytes of each token → whole characters (stream) → text
//! ```
//!
//! Five kinds, by `tokenizer.ggml.model`: BPE with merges ("gpt2", "gemma4"), SentencePiece BPE ("llama"), Unigram ("t5"),
//! WordPiece ("bert") and plain bytes ("byt5", which llama.cpp does not have: see [`byt5`]). llama.cpp knows four more, which are
//! refused by name: "rwkv" and "plamo2", whose architectures have recurrent state, and "hybriddna" and "whitespace", each of one
//! model. The rules are llama.cpp's (`llama-vocab.cpp`) and those
//! of Hugging Face's `tokenizers`, with which the tests compare; where these two differ, the module concerned says which one is
//! followed and why. There is no clean-up of spaces when decoding. For BPE `decode(encode(x)) == x` for every text whose
//! characters the vocabulary covers, save where a model wants text in form NFC; Unigram and WordPiece change texts as they were
//! trained to.
//!
//! A tokenizer.json is turned into the same keys (`www/pkg/src/tokenizer-json.ts`); what llama.cpp has no key for is in
//! `tokenizer.kinglet.…`.

mod bpe;
mod byt5;
mod charsmap;
mod encoded;
mod expression;
mod fallback;
mod lower;
mod matcher;
mod merge;
mod normalize;
#[cfg(all(test, not(target_arch = "wasm32")))]
#[path = "../../tests/unit/normalize.rs"]
mod normalize_tests;
#[cfg(all(test, not(target_arch = "wasm32")))]
#[path = "../../tests/unit/pretokenize.rs"]
mod oracle_tests;
mod prefixes;
mod presets;
mod pretokenize;
mod special;
mod spm;
mod stream;
mod unicode;
mod unicode_table;
mod unigram;
mod vocab;
mod word_piece;

pub use encoded::Encoded;
pub use stream::StreamDecoder;

use bpe::Bpe;
use byt5::ByT5;
use merge::Chain;
use presets::{ADD_BOS, CHARACTERS};
use pretokenize::PreTokenizer;
use special::{Fragment, Specials};
use spm::Spm;
use unigram::Unigram;
use vocab::{Kind, Vocab};
use word_piece::WordPiece;

use crate::error::{Error, Result};
use crate::gguf::Metadata;
use std::borrow::Cow;

const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
const CLASS: &str = "tokenizer.ggml.cls_token_id";
/// Misspelt in GGUF.
const SEPARATOR: &str = "tokenizer.ggml.seperator_token_id";

/// A vocabulary and the rules to use it.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    vocab: Vocab,
    specials: Specials,
    model: Model,
    ends: Ends,
}

#[derive(Debug, Clone)]
enum Model {
    Bpe(Bpe),
    Spm(Spm),
    Unigram(Unigram),
    WordPiece(WordPiece),
    ByT5(ByT5),
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
        let mut vocab;
        let (model, ends) = match required_str(metadata, "tokenizer.ggml.model")? {
            "gpt2" => {
                let pre_tokenizer = PreTokenizer::from_metadata(metadata)?;
                vocab = Vocab::from_metadata(metadata)?;
                merged(metadata, &mut vocab, pre_tokenizer)?
            }
            "gemma4" => {
                let pre_tokenizer = PreTokenizer::named("gemma4", unicode::Unicode::new()?)?;
                vocab = Vocab::from_metadata(metadata)?;
                merged(metadata, &mut vocab, pre_tokenizer)?
            }
            "llama" => {
                vocab = Vocab::from_metadata(metadata)?;
                sentence_piece(metadata, &mut vocab)?
            }
            "t5" => {
                vocab = Vocab::from_metadata(metadata)?;
                unigram(metadata, &mut vocab)?
            }
            "bert" => {
                vocab = Vocab::from_metadata(metadata)?;
                word_piece(metadata, &mut vocab)?
            }
            "byt5" => {
                vocab = Vocab::from_metadata(metadata)?;
                bytes(metadata, &mut vocab)?
            }
            other => {
                let what = format!("tokenizer.ggml.model: the tokenizer {other:?} is not supported");
                return Err(Error::UnsupportedFeature { what });
            }
        };
        Ok(Self { specials: Specials::new(metadata, &vocab)?, vocab, model, ends })
    }

    /// The ids of `text`.
    pub fn encode(&self, text: &str, options: &EncodeOptions) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut chain = Chain::default();
        if options.add_special {
            ids.extend(self.ends.prefix);
        }
        let (mut first, mut at_start) = (true, true);
        for fragment in self.specials.split(&self.vocab, text, options.parse_special, options.joiner.is_some()) {
            match fragment {
                Fragment::Token(id) => ids.push(id),
                Fragment::Text(text) => {
                    let text = without_joiner(text, options.joiner);
                    if text.is_empty() {
                        continue;
                    }
                    self.push_ids(&text, first, at_start, &mut chain, &mut ids);
                }
            }
            first = matches!(fragment, Fragment::Token(_));
            at_start = false;
        }
        if options.add_special {
            ids.extend(self.ends.suffix);
        }
        ids
    }

    /// Appends the ids of a text without special tokens.
    fn push_ids(&self, text: &str, first: bool, at_start: bool, chain: &mut Chain, ids: &mut Vec<u32>) {
        match &self.model {
            Model::Bpe(bpe) => bpe.encode(&self.vocab, text, at_start, chain, ids),
            Model::Spm(spm) => spm.encode(&self.vocab, text, first, chain, ids),
            Model::Unigram(unigram) => unigram.encode(&self.vocab, text, ids),
            Model::WordPiece(word_piece) => word_piece.encode(&self.vocab, text, ids),
            Model::ByT5(byt5) => byt5.encode(text, ids),
        }
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
        self.ends.of_generation.binary_search(&id).is_ok()
    }

    /// The tokens with which generation ends, in ascending order.
    pub fn end_of_generation(&self) -> &[u32] {
        &self.ends.of_generation
    }

    /// The beginning-of-sequence token.
    pub fn bos(&self) -> Option<u32> {
        self.ends.bos
    }

    /// The end-of-sequence token.
    pub fn eos(&self) -> Option<u32> {
        self.ends.eos
    }

    /// The token that stands for what an encoder is to fill in.
    pub fn mask(&self) -> Option<u32> {
        self.ends.mask
    }

    /// Whether encoding with `add_special` puts the beginning-of-sequence token first.
    pub fn adds_bos(&self) -> bool {
        self.ends.prefix.is_some()
    }

    /// What a user should know about how the tokenizer was found.
    pub fn notice(&self) -> Option<&'static str> {
        let guesses = matches!(&self.model, Model::Bpe(bpe) if bpe.guesses_words());
        guesses.then_some("the file does not say how text is cut into words (tokenizer.ggml.pre): answers may be worse")
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
        match &self.model {
            Model::Spm(spm) => spm.add_space_prefix,
            Model::Unigram(unigram) => unigram.add_space_prefix,
            Model::WordPiece(_) => true,
            Model::Bpe(bpe) => bpe.adds_space_prefix(),
            Model::ByT5(_) => false,
        }
    }

    fn push_token_bytes(&self, id: u32, out: &mut Vec<u8>) {
        let (Some(piece), Some(kind)) = (self.vocab.piece(id), self.vocab.kind(id)) else { return };
        match (kind, &self.model) {
            (Kind::Control | Kind::Unknown | Kind::UserDefined, _) => out.extend_from_slice(piece),
            (Kind::Byte, _) => out.extend(vocab::byte_of(piece)),
            (Kind::Normal, Model::Bpe(bpe)) => bpe.push_bytes_of_piece(piece, out),
            (Kind::Normal, Model::ByT5(_)) => out.extend_from_slice(piece),
            (Kind::Normal, _) => spm::push_bytes_of_piece(piece, out),
        }
    }
}

/// The tokens at the ends of a text and of a generation.
#[derive(Debug, Clone)]
struct Ends {
    bos: Option<u32>,
    eos: Option<u32>,
    /// What `add_special` puts first and last.
    prefix: Option<u32>,
    suffix: Option<u32>,
    /// What follows the suffix of the first text of a pair.
    separator: Option<u32>,
    mask: Option<u32>,
    /// Sorted.
    of_generation: Vec<u32>,
}

impl Ends {
    /// `defaults` and `adds`: of the beginning and of the end, where the file does not say.
    fn read(metadata: &Metadata, vocab: &mut Vocab, defaults: [Option<u32>; 2], adds: [bool; 2]) -> Result<Self> {
        let bos = vocab.special_id(metadata, "tokenizer.ggml.bos_token_id")?.or(defaults[0]);
        let eos = vocab.special_id(metadata, "tokenizer.ggml.eos_token_id")?.or(defaults[1]);
        let [add_bos, add_eos] = [read_add(metadata, "bos", bos, adds[0])?, read_add(metadata, "eos", eos, adds[1])?];
        let of_generation = special::end_of_generation(metadata, vocab, eos)?;
        let sep = vocab.known_id(metadata, SEPARATOR)?;
        let adds_sep = metadata.bool("tokenizer.ggml.add_sep_token")?.unwrap_or(false);
        Ok(Self {
            bos,
            eos,
            prefix: bos.filter(|_| add_bos),
            suffix: eos.filter(|_| add_eos),
            separator: sep.filter(|_| adds_sep),
            mask: vocab.known_id(metadata, "tokenizer.ggml.mask_token_id")?,
            of_generation,
        })
    }
}

fn merged(metadata: &Metadata, vocab: &mut Vocab, pre_tokenizer: PreTokenizer) -> Result<(Model, Ends)> {
    // llama.cpp takes 11 for both where a file does not say. That is Falcon's <|endoftext|>; in other vocabularies 11 is
    // an ordinary piece, which must not end a generation.
    let falcon = Some(11).filter(|id| vocab.kind(*id) == Some(Kind::Control));
    let unknown = vocab.special_id(metadata, UNKNOWN)?;
    // An encoder's file may name its ends as BERT does.
    let cls = vocab.known_id(metadata, CLASS)?;
    let sep = vocab.known_id(metadata, SEPARATOR)?.filter(|_| cls.is_some());
    let adds = [pre_tokenizer.has(ADD_BOS) || cls.is_some(), sep.is_some()];
    let mut ends = Ends::read(metadata, vocab, [cls.or(falcon), sep.or(falcon)], adds)?;
    if pre_tokenizer.has(ADD_BOS) && pre_tokenizer.has(CHARACTERS) {
        ends.prefix = ends.bos; // Files of Gemma 4 that say otherwise are wrong (llama.cpp's pull request 21500).
    }
    Ok((Model::Bpe(Bpe::from_metadata(metadata, vocab, pre_tokenizer, unknown)?), ends))
}

fn sentence_piece(metadata: &Metadata, vocab: &mut Vocab) -> Result<(Model, Ends)> {
    let unknown = vocab.special_id(metadata, UNKNOWN)?.or(vocab.default_id(0));
    let unknown = unknown.filter(|id| vocab.kind(*id) != Some(Kind::Byte));
    let ends = Ends::read(metadata, vocab, [vocab.default_id(1), vocab.default_id(2)], [true, false])?;
    Ok((Model::Spm(Spm::from_metadata(metadata, vocab, unknown)?), ends))
}

fn unigram(metadata: &Metadata, vocab: &mut Vocab) -> Result<(Model, Ends)> {
    let unknown = vocab.special_id(metadata, UNKNOWN)?.or(vocab.default_id(2));
    let ends = Ends::read(metadata, vocab, [None, vocab.default_id(1)], [false, true])?;
    Ok((Model::Unigram(Unigram::from_metadata(metadata, vocab, unknown)?), ends))
}

fn bytes(metadata: &Metadata, vocab: &mut Vocab) -> Result<(Model, Ends)> {
    let ends = Ends::read(metadata, vocab, [None, vocab.default_id(1)], [false, true])?;
    Ok((Model::ByT5(ByT5::new(vocab)?), ends))
}

/// BERT's beginning is `[CLS]`, and at the end it has `[SEP]`, which ends no generation.
fn word_piece(metadata: &Metadata, vocab: &mut Vocab) -> Result<(Model, Ends)> {
    let unknown = vocab.special_id(metadata, UNKNOWN)?.or(vocab.default_id(100));
    let cls = vocab.special_id(metadata, CLASS)?.or(vocab.default_id(101));
    let sep = vocab.special_id(metadata, SEPARATOR)?.or(vocab.default_id(102));
    let adds_sep = metadata.bool("tokenizer.ggml.add_sep_token")?.unwrap_or(true);
    let mut ends = Ends::read(metadata, vocab, [cls, None], [true, false])?;
    // Newer files call `[SEP]` the end of a sequence, and say that this is added.
    ends.suffix = sep.filter(|_| adds_sep).or(ends.suffix);
    ends.separator = None;
    ends.mask = ends.mask.or(vocab.id(b"[MASK]"));
    Ok((Model::WordPiece(WordPiece::from_metadata(metadata, unknown)?), ends))
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
