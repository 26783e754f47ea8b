//! The tokenizer against Hugging Face's `tokenizers`, with the default model's own vocabulary and random Unicode.
//!
//! The oracle is built from the same GGUF file. How texts are cut into words is compared with it, for every pre-tokenizer,
//! in `tests/unit/pretokenize.rs`: a vocabulary hides differences where it has no merges across them.

#![cfg(not(target_arch = "wasm32"))]

mod common;
#[path = "common/texts.rs"]
mod texts;

use common::default_model;
use common::gguf_builder::string;
use kinglet::gguf::Metadata;
use kinglet::tokenizer::{EncodeOptions, StreamDecoder, Tokenizer};
use proptest::prelude::*;
use std::sync::LazyLock;
use texts::text;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

const PLAIN: EncodeOptions = EncodeOptions { add_special: false, parse_special: false, joiner: None };
const PARSE: EncodeOptions = EncodeOptions { add_special: false, parse_special: true, joiner: None };

static METADATA: LazyLock<Metadata> = LazyLock::new(default_model::metadata);
static OURS: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::from_metadata(&METADATA).unwrap());
static ORACLE: LazyLock<tokenizers::Tokenizer> = LazyLock::new(|| oracle(&METADATA));

fn oracle(metadata: &Metadata) -> tokenizers::Tokenizer {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let tokens: Vec<String> = metadata.strings("tokenizer.ggml.tokens").unwrap().unwrap().iter().map(text).collect();
    let types = metadata.i32s("tokenizer.ggml.token_type").unwrap().unwrap();
    let merges = metadata.strings("tokenizer.ggml.merges").unwrap().unwrap().iter().map(text);
    let merges = merges.map(|line| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap()).collect();
    let special: Vec<AddedToken> =
        tokens.iter().zip(types).filter(|(_, kind)| **kind == 3).map(|(t, _)| AddedToken::from(t, true)).collect();
    let vocab: Vocab = tokens.into_iter().zip(0..).collect();
    let mut tokenizer = tokenizers::Tokenizer::new(BPE::builder().vocab_and_merges(vocab, merges).build().unwrap());
    // The model has `Digits`, which asks Rust's std, whose Unicode changes with the compiler; this is the same otherwise.
    let digits = Split::new(SplitPattern::Regex(r"\p{N}".into()), SplitDelimiterBehavior::Isolated, false).unwrap();
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![digits.into(), ByteLevel::new(false, true, true).into()])));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    tokenizer.add_special_tokens(&special);
    tokenizer
}

fn assert_same(text: &str) {
    let expected = ORACLE.encode_fast(text, false).unwrap();
    assert_eq!(OURS.encode(text, &PARSE), expected.get_ids(), "{text:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ids_are_those_of_the_oracle(text in text()) {
        assert_same(&text);
    }

    #[test]
    fn decoding_gives_the_text_back(text in text()) {
        let ids = OURS.encode(&text, &PLAIN);
        let covered: String = text.chars().filter(|c| has_all_bytes(&OURS, *c)).collect();
        if covered == text {
            prop_assert_eq!(OURS.decode(&ids, true), text);
        }
    }

    #[test]
    fn any_ids_decode_like_the_oracle_and_stream_without_split_characters(
        ids in prop::collection::vec(prop_oneof![0..49_152_u32, 17..273_u32], 0..40),
        skip_special in any::<bool>(),
    ) {
        let mut stream = StreamDecoder::new(skip_special);
        let mut streamed: String = ids.iter().map(|id| stream.push(&OURS, *id)).collect();
        streamed.push_str(&stream.finish());
        let bytes: Vec<u8> = ids.iter().filter(|id| !(skip_special && OURS.is_control(**id)))
            .flat_map(|id| OURS.token_bytes(*id).unwrap().into_owned()).collect();
        prop_assert_eq!(&streamed, &String::from_utf8_lossy(&bytes));
        prop_assert_eq!(&streamed, &ORACLE.decode(&ids, skip_special).unwrap());
    }
}

/// SmolLM2 has no piece for some bytes (U+0004, the first bytes of unassigned planes): both leave them out of the text.
fn has_all_bytes(tokenizer: &Tokenizer, c: char) -> bool {
    let text = c.to_string();
    tokenizer.decode(&tokenizer.encode(&text, &PLAIN), true) == text
}

#[test]
fn long_texts_of_one_kind_are_encoded_like_the_oracle() {
    for text in [
        "a".repeat(200_000),
        "e\u{301}".repeat(20_000),
        " ".repeat(50_000),
        "👩\u{200d}".repeat(20_000),
        "\n ".repeat(50_000),
    ] {
        assert_same(&text);
    }
}

#[test]
fn the_oracle_notices_other_words() {
    let mut changed = Metadata::default();
    for (key, value) in METADATA.iter() {
        let value = if key == "tokenizer.ggml.pre" { string("qwen2") } else { value.clone() };
        changed.insert(key.to_owned(), value).unwrap();
    }
    let qwen2 = Tokenizer::from_metadata(&changed).unwrap();
    let text = "it'S  1";
    assert_same(text);
    assert_ne!(qwen2.encode(text, &PARSE), ORACLE.encode_fast(text, false).unwrap().get_ids());
}

#[test]
fn special_tokens_of_the_default_model() {
    let tokenizer = &*OURS;
    assert_eq!((tokenizer.n_vocab(), tokenizer.bos(), tokenizer.eos()), (49_152, Some(1), Some(2)));
    assert_eq!(tokenizer.end_of_generation(), [0, 2, 4], "<|endoftext|>, <|im_end|>, <reponame>");
    assert_eq!(tokenizer.special_strings().count(), 17);
    let ids = tokenizer.encode("<|im_start|>user\nHi!<|im_end|>\n", &EncodeOptions { add_special: true, ..PARSE });
    assert_eq!((ids.first(), ids.len()), (Some(&1), 7));
    assert_eq!(tokenizer.decode(&ids, true), "user\nHi!\n");
}
