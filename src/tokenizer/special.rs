//! Special tokens: finding them in text, and knowing which of them end a generation. Called by `mod`.
//!
//! Control and unknown tokens are looked for only where the caller asks (`parse_special`), user-defined ones always. Where
//! several would match, the leftmost does, and of those the longest (Hugging Face; llama.cpp takes the longest anywhere
//! first, which differs only for tokens that can overlap). A special piece that is not UTF-8 is never found in text.

use super::vocab::{Kind, Vocab};
use crate::error::Result;
use crate::gguf::Metadata;

/// The tokens that are looked for in text.
#[derive(Debug, Clone, Default)]
pub(super) struct Specials {
    /// All, sorted by their bytes.
    all: Vec<u32>,
    /// Those of type user-defined only, sorted by their bytes.
    user_defined: Vec<u32>,
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
    pub(super) fn new(vocab: &Vocab) -> Self {
        let mut all: Vec<u32> = vocab.ids().filter(|id| is_special(vocab, *id)).collect();
        all.sort_unstable_by_key(|id| vocab.piece(*id));
        let user_defined = all.iter().copied().filter(|id| vocab.kind(*id) == Some(Kind::UserDefined)).collect();
        Self { all, user_defined }
    }

    /// Ids of all special tokens.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        self.all.iter().copied()
    }

    /// Splits special tokens off. `breakable` passes over tokens of one character: no joiner fits into them.
    pub(super) fn split<'a>(
        &self,
        vocab: &Vocab,
        text: &'a str,
        parse_special: bool,
        breakable: bool,
    ) -> Vec<Fragment<'a>> {
        let sorted = if parse_special { &self.all } else { &self.user_defined };
        let starts = FirstBytes::of(vocab, sorted);
        let mut fragments = Vec::new();
        let (mut begin, mut at) = (0, 0);
        while let Some(skipped) = text.as_bytes().get(at..).and_then(|rest| starts.position(rest)) {
            at += skipped;
            let rest = text.as_bytes().get(at..).unwrap_or_default();
            let token = longest_prefix(vocab, sorted, rest).filter(|(_, len)| !breakable || *len > utf8_len(rest));
            let Some((id, len)) = token else {
                at += 1;
                continue;
            };
            fragments.extend(text.get(begin..at).filter(|text| !text.is_empty()).map(Fragment::Text));
            fragments.push(Fragment::Token(id));
            at += len;
            begin = at;
        }
        fragments.extend(text.get(begin..).filter(|text| !text.is_empty()).map(Fragment::Text));
        fragments
    }
}

fn is_special(vocab: &Vocab, id: u32) -> bool {
    let kind = matches!(vocab.kind(id), Some(Kind::Control | Kind::Unknown | Kind::UserDefined));
    kind && vocab.piece(id).is_some_and(|piece| !piece.is_empty() && str::from_utf8(piece).is_ok())
}

/// The bytes that special tokens begin with, so that most of a text is passed over quickly.
struct FirstBytes {
    is_first: [bool; 256],
}

impl FirstBytes {
    fn of(vocab: &Vocab, ids: &[u32]) -> Self {
        let mut is_first = [false; 256];
        for first in ids.iter().filter_map(|id| vocab.piece(*id)?.first()) {
            is_first[usize::from(*first)] = true;
        }
        Self { is_first }
    }

    fn position(&self, bytes: &[u8]) -> Option<usize> {
        bytes.iter().position(|byte| self.is_first[usize::from(*byte)])
    }
}

/// The longest special token that `text` begins with: the sorted list is narrowed byte by byte.
fn longest_prefix(vocab: &Vocab, sorted: &[u32], text: &[u8]) -> Option<(u32, usize)> {
    let mut range = sorted;
    let mut found = None;
    for (depth, byte) in text.iter().enumerate() {
        let at_depth = |id: &u32| vocab.piece(*id).and_then(|piece| piece.get(depth)).copied();
        let from = range.partition_point(|id| at_depth(id) < Some(*byte));
        let to = range.partition_point(|id| at_depth(id) <= Some(*byte));
        range = range.get(from..to).unwrap_or_default();
        let Some(&id) = range.first() else { break };
        if vocab.piece(id).map(<[u8]>::len) == Some(depth + 1) {
            found = Some((id, depth + 1));
        }
        if range.len() == 1 && found.is_some_and(|(last, _)| last == id) {
            break;
        }
    }
    found
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
