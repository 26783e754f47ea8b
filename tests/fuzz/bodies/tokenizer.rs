//! Any text for every tokenizer: ids of the vocabulary, and the text back by the rule of the model. And any vocabulary: it is refused by
//! a typed error that blames the file, or any text becomes ids of it.

use std::sync::LazyLock;

use kinglet::{
    gguf::{Array, Value},
    tokenizer::{EncodeOptions, Tokenizer},
};

use super::{
    detokenize,
    gguf::blames_the_file,
    input::Input,
    vocabulary::{MODELS, PRE_TOKENIZERS, Vocabulary},
};
use crate::common::gguf_builder::{string, strings};

/// A tokenizer whose vocabulary covers every text, or for words every letter of Latin-1.
pub struct Full {
    pub name: String,
    pub tokenizer: Tokenizer,
    pub rule: Rule,
}

/// What comes back of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The text.
    Exact,
    /// The text with its `▁` as spaces, which is how SentencePiece writes them.
    Spaces,
    /// Another text, which comes back as it is: Unicode normalization, words in lower case.
    Settles,
}

/// Every one that is built.
pub static TOKENIZERS: LazyLock<Vec<Full>> = LazyLock::new(|| {
    let byte_level = PRE_TOKENIZERS.iter().map(|pre| {
        // These write characters, with `▁` for a space, and have bytes only for what no piece covers.
        let has_characters = ["gemma4", "sarvam-moe"].contains(pre);
        let mut vocabulary = Vocabulary::full(if has_characters { "llama" } else { "gpt2" });
        if has_characters {
            vocabulary.model = "gpt2";
            vocabulary.set("merges", strings(["a b", "▁ ab"]));
        }
        vocabulary.set("pre", string(pre));
        (format!("gpt2 {pre}"), vocabulary, if has_characters { Rule::Spaces } else { Rule::Exact })
    });
    let mut bare = Vocabulary::full("llama");
    bare.set("add_space_prefix", Value::Bool(false));
    let others = [
        ("llama".to_owned(), Vocabulary::full("llama"), Rule::Spaces),
        ("llama without a space prefix".to_owned(), bare, Rule::Spaces),
        ("t5".to_owned(), Vocabulary::full("t5"), Rule::Settles),
        ("bert".to_owned(), Vocabulary::full("bert"), Rule::Settles),
    ];
    let built = byte_level.chain(others).filter_map(|(name, vocabulary, rule)| {
        let tokenizer = match Tokenizer::from_metadata(&vocabulary.metadata()) {
            Err(error) if error.code() == "E_UNSUPPORTED_FEATURE" => return None,
            other => other.expect("a good vocabulary"),
        };
        // A byte-level vocabulary may want its texts in a normal form.
        let decomposed = "e\u{301}";
        let settles = tokenizer.decode(&tokenizer.encode(decomposed, &PLAIN), true) != decomposed;
        Some(Full { name, tokenizer, rule: if settles { Rule::Settles } else { rule } })
    });
    built.collect()
});

const PLAIN: EncodeOptions = EncodeOptions { add_special: false, parse_special: false, joiner: None };
const JOINER: char = '\u{fdd0}';

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    if input.u8() % 3 == 0 {
        return hostile(&mut input);
    }
    let full = &TOKENIZERS[input.below(TOKENIZERS.len())];
    let n_repeats = if input.below(16) == 0 { 40 } else { 1 };
    let text = text(&mut input).repeat(n_repeats);
    round_trip(full, &text);
    every_way(&full.tokenizer, &text);
}

/// Holds a tokenizer to the rule of its model.
pub fn round_trip(full: &Full, text: &str) {
    let back = |text: &str| full.tokenizer.decode(&full.tokenizer.encode(text, &PLAIN), true);
    let found = back(text);
    let expected = match full.rule {
        Rule::Exact => text.to_owned(),
        Rule::Spaces => text.replace('\u{2581}', " "),
        Rule::Settles => back(&found),
    };
    assert_eq!(found, expected, "{}: {text:?}", full.name);
    // A byte is a token at most; a space may be three bytes, and stand before each piece between special tokens.
    let n_ids = full.tokenizer.encode(text, &PLAIN).len();
    assert!(n_ids <= 6 * text.len() + 8, "{}: {n_ids} ids of {} bytes", full.name, text.len());
}

/// Encodes a text with all options, and decodes the ids.
fn every_way(tokenizer: &Tokenizer, text: &str) {
    for options in [
        PLAIN,
        EncodeOptions { add_special: true, parse_special: true, ..PLAIN },
        EncodeOptions { parse_special: true, joiner: Some(JOINER), ..PLAIN },
    ] {
        let ids = tokenizer.encode(text, &options);
        let n_vocab = tokenizer.n_vocab();
        assert!(ids.iter().all(|id| (*id as usize) < n_vocab), "ids {ids:?} of {n_vocab}");
        detokenize::check(tokenizer, &ids, ids.len() / 2, options.parse_special);
    }
}

/// A text of what tokenizers look at, or of any bytes.
fn text(input: &mut Input<'_>) -> String {
    const PARTS: [&str; 32] = [
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "\u{a0}",
        "\u{3000}",
        "a",
        "ab",
        "B",
        "'s",
        "'LL",
        "1",
        "234",
        "٣",
        "²",
        ".",
        "?!",
        "<|end|>",
        "<|start|>",
        "<s>",
        "<tool>",
        "\u{2581}",
        "e\u{301}",
        "é",
        "日本",
        "ไทย",
        "한",
        "\u{1f469}\u{200d}",
        "\u{fdd0}",
        "\u{fffd}",
        "\0",
    ];
    if input.bool() {
        return String::from_utf8_lossy(input.bytes(usize::MAX)).into_owned();
    }
    let mut text = String::new();
    while !input.is_empty() {
        match input.u8() {
            i @ 0..=223 => text.push_str(PARTS[usize::from(i) % PARTS.len()]),
            _ => text.extend(char::from_u32(input.u32() % 0x11_0000)),
        }
    }
    text
}

/// A vocabulary made of the input.
fn hostile(input: &mut Input<'_>) {
    let model = input.pick(&MODELS);
    let mut vocabulary = if input.below(4) > 0 { Vocabulary::small(model) } else { Vocabulary::full(model) };
    for _ in 0..input.below(12) {
        change(&mut vocabulary, input);
    }
    let tokenizer = match Tokenizer::from_metadata(&vocabulary.metadata()) {
        Ok(tokenizer) => tokenizer,
        Err(error) => return blames_the_file(&error),
    };
    let mut text = text(input);
    for token in &vocabulary.tokens {
        text.push_str(&String::from_utf8_lossy(token));
    }
    every_way(&tokenizer, text.get(..300).unwrap_or(&text));
}

fn change(vocabulary: &mut Vocabulary, input: &mut Input<'_>) {
    let id = input.below(vocabulary.tokens.len());
    match input.below(10) {
        0 => {
            let n = input.below(9);
            vocabulary.tokens[id] = input.bytes(n).into();
        }
        1 | 2 => {
            vocabulary.tokens.push(joined(vocabulary, input));
            vocabulary.types.push(1);
        }
        3 => vocabulary.types.iter_mut().skip(id).take(1).for_each(|kind| *kind = i32::from(input.u8() % 9)),
        4 => {
            let merges = (0..input.below(9)).map(|_| {
                let ends = [token_of(vocabulary, input), token_of(vocabulary, input)];
                ends.map(|token| String::from_utf8_lossy(token)).join(" ")
            });
            let merges = strings(merges.collect::<Vec<_>>());
            vocabulary.set("merges", merges);
        }
        5 => {
            let n = vocabulary.tokens.len() - input.below(2);
            let palette = [input.float(), input.float(), input.float()];
            let scores = (0..n).map(|i| palette[i % 3]).collect();
            vocabulary.set("scores", Value::Array(Array::F32(scores)));
        }
        6 => vocabulary.set("pre", string(input.pick(&PRE_TOKENIZERS))),
        7 => {
            let n = input.below(100);
            let bytes = input.bytes(n).to_vec();
            vocabulary.set("precompiled_charsmap", Value::Array(Array::U8(bytes)));
        }
        8 => {
            const FLAGS: [&str; 8] = [
                "add_bos_token",
                "add_eos_token",
                "add_space_prefix",
                "remove_extra_whitespaces",
                "escape_whitespaces",
                "treat_whitespace_as_suffix",
                "normalizer.lowercase",
                "normalizer.strip_accents",
            ];
            vocabulary.set(input.pick(&FLAGS), Value::Bool(input.bool()));
        }
        _ => {
            const IDS: [&str; 7] = [
                "bos_token_id",
                "eos_token_id",
                "unknown_token_id",
                "seperator_token_id",
                "cls_token_id",
                "eot_token_id",
                "padding_token_id",
            ];
            vocabulary.set(input.pick(&IDS), Value::U32(id as u32 + u32::from(input.u8() / 250)));
        }
    }
}

fn token_of<'a>(vocabulary: &'a Vocabulary, input: &mut Input<'_>) -> &'a [u8] {
    &vocabulary.tokens[input.below(vocabulary.tokens.len())]
}

/// Two tokens as one, so that there is something to merge.
fn joined(vocabulary: &Vocabulary, input: &mut Input<'_>) -> Vec<u8> {
    [token_of(vocabulary, input), token_of(vocabulary, input)].concat()
}
