//! Special tokens: finding them in text, and knowing which of them end a generation. Called by `mod`.
//!
//! Control and unknown tokens are looked for only where the caller asks (`parse_special`), user-defined ones always. Where
//! several would match, the leftmost does, and of those the longest (Hugging Face; llama.cpp takes the longest anywhere
//! first, which differs only for tokens that can overlap). A special piece that is not UTF-8 is never found in text.

use super::prefixes::Prefixes;
use super::vocab::{Kind, Vocab};
use crate::error::Result;
use crate::gguf::Metadata;

/// The tokens that are looked for in text.
#[derive(Debug, Clone, Default)]
pub(super) struct Specials {
    all: Prefixes,
    /// Those of type user-defined only.
    user_defined: Prefixes,
    strips: Strips,
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fragment<'a> {
    /// Text without special tokens, never empty.
    Text(&'a str),
    /// A special token.
    Token(u32),
}

impl Specials {
    /// Collects the special tokens of a vocabulary.
    pub(super) fn new(metadata: &Metadata, vocab: &Vocab) -> Result<Self> {
        let is_defined = |id: &u32| vocab.kind(*id) == Some(Kind::UserDefined);
        let all = Prefixes::new(vocab, vocab.ids().filter(|id| is_special(vocab, *id)));
        let user_defined = Prefixes::new(vocab, all.ids().filter(is_defined));
        let strips = Strips::from_metadata(metadata, vocab, &all)?;
        Ok(Self { all, user_defined, strips })
    }

    /// Ids of all special tokens.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        self.all.ids()
    }

    /// Splits special tokens off. `breakable` passes over tokens of one character: no joiner fits into them.
    pub(super) fn split<'a>(
        &self,
        vocab: &Vocab,
        text: &'a str,
        parse_special: bool,
        breakable: bool,
    ) -> Vec<Fragment<'a>> {
        let pieces = if parse_special { &self.all } else { &self.user_defined };
        let mut fragments = Vec::new();
        let (mut begin, mut at) = (0, 0);
        let bytes = text.as_bytes();
        while let Some(skipped) = bytes.iter().skip(at).position(|byte| pieces.starts_with(*byte)) {
            at += skipped;
            let rest = bytes.get(at..).unwrap_or_default();
            let mut longest = None;
            pieces.for_each(vocab, rest, |id, len| longest = Some((id, len)));
            let Some((id, len)) = longest.filter(|(_, len)| !breakable || *len > utf8_len(rest)) else {
                at += 1;
                continue;
            };
            let mut before = text.get(begin..at).unwrap_or_default();
            if self.strips.left.contains(&id) {
                before = before.trim_end();
            }
            fragments.extend(Some(before).filter(|text| !text.is_empty()).map(Fragment::Text));
            fragments.push(Fragment::Token(id));
            // What white space is taken is still searched for tokens, as Hugging Face's library does.
            at += len;
            let rest = text.get(at..).unwrap_or_default();
            begin = at;
            if self.strips.right.contains(&id) {
                begin = text.len() - rest.trim_start().len();
            }
        }
        fragments.extend(text.get(begin..).filter(|text| !text.is_empty()).map(Fragment::Text));
        fragments
    }
}

impl Specials {
    /// Splits off one token only, whatever else stands in the text.
    pub(super) fn split_at<'a>(&self, vocab: &Vocab, text: &'a str, id: u32) -> Vec<Fragment<'a>> {
        let piece = vocab.piece(id).and_then(|piece| str::from_utf8(piece).ok()).filter(|piece| !piece.is_empty());
        let Some(piece) = piece else { return vec![Fragment::Text(text)] };
        let mut fragments = vec![];
        let mut parts = text.split(piece).enumerate().peekable();
        while let Some((i, mut part)) = parts.next() {
            if i > 0 {
                fragments.push(Fragment::Token(id));
                part = if self.strips.right.contains(&id) { part.trim_start() } else { part };
            }
            if self.strips.left.contains(&id) && parts.peek().is_some() {
                part = part.trim_end();
            }
            fragments.extend(Some(part).filter(|part| !part.is_empty()).map(Fragment::Text));
        }
        fragments
    }
}

/// The tokens that take the white space before or behind them with them (`lstrip`, `rstrip` in tokenizer.json).
#[derive(Debug, Clone, Default)]
struct Strips {
    left: Vec<u32>,
    right: Vec<u32>,
}

impl Strips {
    /// GGUF does not say which, so that llama.cpp goes by the model's name; a tokenizer.json says it.
    fn from_metadata(metadata: &Metadata, vocab: &Vocab, specials: &Prefixes) -> Result<Self> {
        let ids = |key: &str| -> Result<Vec<u32>> {
            let ids = metadata.i32s(key)?.unwrap_or_default();
            Ok(ids.iter().filter_map(|id| u32::try_from(*id).ok()).collect())
        };
        let mut strips = Self { left: ids("tokenizer.kinglet.lstrip")?, right: ids("tokenizer.kinglet.rstrip")? };
        let lower =
            |key: &str| Ok::<_, crate::error::Error>(metadata.str(key)?.unwrap_or_default().to_ascii_lowercase());
        let (name, architecture) = (lower("general.name")?, lower("general.architecture")?);
        let pre = lower("tokenizer.ggml.pre")?;
        let has = |name: &str, parts: &[&str]| parts.iter().any(|part| name.contains(part));
        let id = |text: &str| vocab.id(text.as_bytes());
        if has(&pre, &["jina-v2-de", "jina-v2-es", "jina-v2-code"])
            || has(&architecture, &["nomic-bert-moe", "jina-bert-v3"])
        {
            strips.left.extend(id("<mask>"));
        } else if has(&name, &["phi-3", "phi3"]) {
            let kept = ["<unk>", "<s>", "<|endoftext|>"].map(id);
            strips.right.extend(specials.ids().chain(id("</s>")).filter(|id| !kept.contains(&Some(*id))));
        } else if has(&name, &["modern-bert"]) {
            strips.left.extend(id("[MASK]"));
        }
        Ok(strips)
    }
}

fn is_special(vocab: &Vocab, id: u32) -> bool {
    let kind = matches!(vocab.kind(id), Some(Kind::Control | Kind::Unknown | Kind::UserDefined));
    kind && vocab.piece(id).is_some_and(|piece| !piece.is_empty() && str::from_utf8(piece).is_ok())
}

/// Length of the first character, bytes.
fn utf8_len(text: &[u8]) -> usize {
    text.iter().skip(1).take_while(|byte| **byte & 0xC0 == 0x80).count() + 1
}

/// A purpose that llama.cpp finds a token for by key or, failing that, by text.
struct Purpose {
    keys: &'static [&'static str],
    texts: &'static [&'static str],
    ends_generation: bool,
}

/// `llama-vocab.cpp`, "auto-detect special tokens by text". Where several texts are in the vocabulary, llama.cpp takes the
/// one that its hash table happens to give first; here it is the first of the list.
const PURPOSES: [Purpose; 8] = [
    Purpose { keys: &["eot"], texts: END_OF_TURN, ends_generation: true },
    Purpose { keys: &["eom"], texts: &["<|eom_id|>"], ends_generation: true },
    Purpose {
        keys: &["prefix", "fim_pre"],
        texts: &[
            "<|fim_prefix|>",
            "<fim-prefix>",
            "<fim_prefix>",
            "<｜fim▁begin｜>",
            "<PRE>",
            "▁<PRE>",
            "<|code_prefix|>",
            "<|prefix|>",
        ],
        ends_generation: false,
    },
    Purpose {
        keys: &["suffix", "fim_suf"],
        texts: &[
            "<|fim_suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<｜fim▁hole｜>",
            "<SUF>",
            "▁<SUF>",
            "<|code_suffix|>",
            "<|suffix|>",
        ],
        ends_generation: false,
    },
    Purpose {
        keys: &["middle", "fim_mid"],
        texts: &[
            "<|fim_middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<｜fim▁end｜>",
            "<MID>",
            "▁<MID>",
            "<|code_middle|>",
            "<|middle|>",
        ],
        ends_generation: false,
    },
    Purpose {
        keys: &["fim_pad"],
        texts: &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"],
        ends_generation: true,
    },
    Purpose {
        keys: &["fim_rep"],
        texts: &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"],
        ends_generation: true,
    },
    Purpose { keys: &["fim_sep"], texts: &["<|file_sep|>"], ends_generation: true },
];

const END_OF_TURN: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];

/// Texts that end a generation wherever they are in the vocabulary, besides [`END_OF_TURN`].
const END_OF_GENERATION: &[&str] = &[
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "</s>",
    "<|eom_id|>",
    "[EOS]",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "[e~[",
];

/// The tokens that end a generation, sorted, by llama.cpp's rules; a token found by its text becomes a control token.
pub(super) fn end_of_generation(metadata: &Metadata, vocab: &mut Vocab, eos: Option<u32>) -> Result<Vec<u32>> {
    let mut ends: Vec<u32> = eos.into_iter().collect();
    for purpose in &PURPOSES {
        let mut id = None;
        for key in purpose.keys {
            id = vocab.special_id(metadata, &format!("tokenizer.ggml.{key}_token_id"))?.or(id);
        }
        let id = id.or_else(|| purpose.texts.iter().find_map(|text| make_control(vocab, text)));
        ends.extend(id.filter(|_| purpose.ends_generation));
    }
    ends.extend(END_OF_TURN.iter().chain(END_OF_GENERATION).filter_map(|text| make_control(vocab, text)));
    ends.sort_unstable();
    ends.dedup();
    apply_exceptions(vocab, &mut ends);
    Ok(ends)
}

fn make_control(vocab: &mut Vocab, text: &str) -> Option<u32> {
    let id = vocab.id(text.as_bytes())?;
    vocab.set_kind(id, Kind::Control);
    Some(id)
}

/// Two families of models use an end-of-generation text for something else.
fn apply_exceptions(vocab: &mut Vocab, ends: &mut Vec<u32>) {
    let ending = |text: &str| vocab.id(text.as_bytes()).filter(|id| ends.contains(id));
    let call = ending("<|call|>").or(ending("<|calls|>"));
    let harmony = call.and(ending("<|return|>").or(ending("<|flush|>"))).and(ending("<|end|>"));
    let plain = ending("<|tool_response>").or(ending("<|plamo:eos|>")).and(ending("</s>"));
    ends.retain(|id| Some(*id) != harmony && Some(*id) != plain);
    if let Some(id) = plain {
        vocab.set_kind(id, Kind::Normal);
    }
}
