//! Unigram and WordPiece against Hugging Face's `tokenizers`, with whole vocabularies of llama.cpp (nomic-bert-moe, which is
//! XLM-RoBERTa's, and bert-bge) and random Unicode. The oracles are built from the same GGUF files.

#![cfg(not(target_arch = "wasm32"))]

mod common;
#[path = "common/texts.rs"]
mod texts;

use common::llama_cpp;
use kinglet::gguf::{Array, Metadata, Value};
use kinglet::tokenizer::{EncodeOptions, Tokenizer};
use proptest::prelude::*;
use std::sync::LazyLock;
use texts::text;
use tokenizers::Tokenizer as Oracle;
use tokenizers::models::bpe::Vocab;
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{BertNormalizer, Precompiled};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use unicode_categories::UnicodeCategories;

const PLAIN: EncodeOptions = EncodeOptions { add_special: false, parse_special: false, joiner: None };

fn tokens(metadata: &Metadata) -> Vec<String> {
    let tokens = metadata.strings("tokenizer.ggml.tokens").unwrap().unwrap();
    tokens.iter().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect()
}

/// The metadata with one key changed or added.
fn with(metadata: &Metadata, key: &str, value: Value) -> Metadata {
    let mut changed = Metadata::default();
    for (other, old) in metadata.iter().filter(|(other, _)| *other != key) {
        changed.insert(other.to_owned(), old.clone()).unwrap();
    }
    changed.insert(key.to_owned(), value).unwrap();
    changed
}

struct Pair {
    ours: Tokenizer,
    oracle: Oracle,
}

impl Pair {
    fn assert_same(&self, text: &str) {
        let expected = self.oracle.encode_fast(text, false).unwrap();
        assert_eq!(self.ours.encode(text, &PLAIN), expected.get_ids(), "{text:?}");
    }
}

static BERT: LazyLock<Metadata> = LazyLock::new(|| llama_cpp::metadata("bert-bge"));
static UNCASED: LazyLock<Pair> = LazyLock::new(|| word_piece(true));
static CASED: LazyLock<Pair> = LazyLock::new(|| word_piece(false));

fn word_piece(lowercase: bool) -> Pair {
    let types = BERT.i32s("tokenizer.ggml.token_type").unwrap().unwrap();
    let pieces = tokens(&BERT).into_iter().zip(types).map(|(token, kind)| match token.strip_prefix('▁') {
        _ if *kind == 3 => token,
        Some(first) if !first.is_empty() => first.to_owned(),
        _ => format!("##{token}"),
    });
    let model =
        WordPiece::builder().vocab(pieces.zip(0..).collect::<Vocab>()).unk_token("[UNK]".into()).build().unwrap();
    let mut oracle = Oracle::new(model);
    oracle.with_normalizer(Some(BertNormalizer::new(true, true, None, lowercase)));
    oracle.with_pre_tokenizer(Some(BertPreTokenizer));
    let metadata = with(&BERT, "tokenizer.ggml.normalizer.lowercase", Value::Bool(lowercase));
    Pair { ours: Tokenizer::from_metadata(&metadata).unwrap(), oracle }
}

static XLM: LazyLock<Metadata> = LazyLock::new(|| llama_cpp::metadata("nomic-bert-moe"));
static UNIGRAM: LazyLock<Pair> = LazyLock::new(|| {
    let scores = XLM.f32s("tokenizer.ggml.scores").unwrap().unwrap();
    let vocab = tokens(&XLM).into_iter().zip(scores.iter().map(|score| f64::from(*score))).collect();
    let mut oracle = Oracle::new(Unigram::from(vocab, Some(3), false).unwrap());
    let Some(Value::Array(Array::U8(map))) = XLM.get("tokenizer.ggml.precompiled_charsmap") else {
        panic!("no character map");
    };
    oracle.with_normalizer(Some(Precompiled::from(map).unwrap()));
    let metaspace = Metaspace::new('▁', PrependScheme::Always, true);
    oracle.with_pre_tokenizer(Some(Sequence::new(vec![WhitespaceSplit.into(), metaspace.into()])));
    Pair { ours: Tokenizer::from_metadata(&XLM).unwrap(), oracle }
});

/// Characters that have another category now than in the library's tables.
const MOVED: &str = "\u{166D}\u{1734}\u{1885}\u{1886}\u{A9BD}\u{111C9}\u{1171E}";

/// Whether the library knows a character: its tables for BERT are Unicode 8's or so, and ours are newer. (Nor is a `▁` looked at:
/// within a word, a GGUF file cannot tell it from the beginning of one.)
fn is_known(c: &char) -> bool {
    if *c == '▁' {
        return false;
    }
    let is_text = c.is_letter() || c.is_mark() || c.is_number();
    is_text || c.is_punctuation() || c.is_symbol() || c.is_separator() || c.is_other()
}

/// Texts in which every character is one by itself: the library applies a character map to whole user-perceived characters, and
/// loses what follows the first part of one that is in the map.
fn separate_characters() -> impl Strategy<Value = String> {
    let letters = r"[[\p{Latin}\p{Greek}\p{Cyrillic}\p{Han}\p{Hiragana}\p{Katakana}]&&[\p{L}\p{N}]&&[^ﾞﾟ]]";
    let parts = format!("({letters}|[가-힣a-z]|[ -~]|[ \t\n\u{a0}\u{3000}]|[½ﬁ①㌀…™😀▁’«]|the |ing ){{0,40}}");
    prop::string::string_regex(&parts).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn word_piece_ids_are_those_of_the_oracle(text in text()) {
        let text: String = text.chars().filter(|c| is_known(c) && !MOVED.contains(*c)).collect();
        UNCASED.assert_same(&text);
        CASED.assert_same(&text);
    }

    #[test]
    fn unigram_ids_are_those_of_the_oracle(text in separate_characters()) {
        UNIGRAM.assert_same(&text);
    }
}

#[test]
fn every_character_is_cleaned_and_lowered_like_by_the_oracle() {
    let ids = |pair: &Pair, text: &str| pair.oracle.encode_fast(text, false).unwrap().get_ids().to_vec();
    let mut others = String::new();
    for c in (0..0x30000).filter_map(char::from_u32).filter(is_known) {
        let text = format!("a{c}b {c}");
        if [&*UNCASED, &*CASED].iter().any(|pair| pair.ours.encode(&text, &PLAIN) != ids(pair, &text)) {
            others.push(c);
        }
    }
    // Those that Unicode has moved to another category since.
    assert_eq!(others, MOVED);
}

#[test]
fn long_texts_of_one_kind_take_no_longer_than_their_length() {
    for part in ["a", " ", "e\u{301}", "👩\u{200d}", "日", "\n ", "ﬁ", "\0"] {
        let text = part.repeat((1 << 20) / part.len());
        let start = std::time::Instant::now();
        let n = UNIGRAM.ours.encode(&text, &PLAIN).len() + UNCASED.ours.encode(&text, &PLAIN).len();
        assert!(n <= 2 << 20);
        assert!(start.elapsed().as_secs() < 10, "{part:?} takes {:?}", start.elapsed());
    }
    for text in ["a".repeat(20_000), "日 ".repeat(5_000), "ﬁ".repeat(5_000)] {
        UNCASED.assert_same(&text);
        UNIGRAM.assert_same(&text);
    }
}

#[test]
fn the_oracles_notice_another_setting() {
    let text = "Ärger  naïve";
    UNCASED.assert_same(text);
    CASED.assert_same(text);
    assert_ne!(CASED.ours.encode(text, &PLAIN), UNCASED.ours.encode(text, &PLAIN));
    let kept = with(&XLM, "tokenizer.ggml.remove_extra_whitespaces", Value::Bool(false));
    let kept = Tokenizer::from_metadata(&kept).unwrap();
    UNIGRAM.assert_same(text);
    assert_ne!(kept.encode(text, &PLAIN), UNIGRAM.ours.encode(text, &PLAIN));
}
