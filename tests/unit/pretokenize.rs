//! The words of every pre-tokenizer against Hugging Face's `tokenizers` with the regular expressions of tokenizer.json.
//! Compiled into the library's own tests, because words are not part of its interface.

use super::pretokenize::PreTokenizer;
use proptest::prelude::*;
use std::sync::LazyLock;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, SplitDelimiterBehavior};
use tokenizers::{PreTokenizer as _, PreTokenizerWrapper};

#[path = "../common/texts.rs"]
mod texts;

const LLAMA_3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const QWEN_2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

struct Pair {
    ours: PreTokenizer,
    oracle: Vec<PreTokenizerWrapper>,
}

static PAIRS: LazyLock<[Pair; 4]> = LazyLock::new(|| {
    let split = |expression: &str| -> PreTokenizerWrapper {
        let pattern = SplitPattern::Regex(expression.into());
        Split::new(pattern, SplitDelimiterBehavior::Isolated, false).unwrap().into()
    };
    let gpt2 = || -> PreTokenizerWrapper { ByteLevel::new(false, true, true).into() };
    // SmolLM2's tokenizer.json has `Digits`, which asks Rust's std, whose Unicode changes with the compiler.
    [
        Pair { ours: PreTokenizer::Gpt2, oracle: vec![gpt2()] },
        Pair { ours: PreTokenizer::Smollm, oracle: vec![split(r"\p{N}"), gpt2()] },
        Pair { ours: PreTokenizer::Llama3, oracle: vec![split(LLAMA_3)] },
        Pair { ours: PreTokenizer::Qwen2, oracle: vec![split(QWEN_2)] },
    ]
});

fn words_of_oracle<'a>(oracle: &[PreTokenizerWrapper], text: &'a str) -> Vec<&'a str> {
    let mut cut = PreTokenizedString::from(text);
    for step in oracle {
        step.pre_tokenize(&mut cut).unwrap();
    }
    let splits = cut.get_splits(OffsetReferential::Original, OffsetType::Byte);
    splits.into_iter().map(|(_, (from, to), _)| &text[from..to]).collect()
}

fn assert_same_words(text: &str) {
    for Pair { ours, oracle } in PAIRS.iter() {
        assert_eq!(ours.words(text).collect::<Vec<_>>(), words_of_oracle(oracle, text), "{ours:?}: {text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn words_are_those_of_the_oracle(text in texts::text()) {
        assert_same_words(&text);
    }
}

/// Every character of the planes in use, where the class matters: before, between and after those of other classes.
#[test]
fn every_character_is_cut_as_by_the_oracle() {
    let all: Vec<char> =
        (0..0x40000).chain(0xE0000..0xE0400).chain(0x10FF00..=0x10FFFF).filter_map(char::from_u32).collect();
    for chars in all.chunks(256) {
        let text: String = chars.iter().map(|c| format!("a{c}1{c}'{c}  {c}")).collect();
        for Pair { ours, oracle } in [&PAIRS[0], &PAIRS[2]] {
            assert_eq!(ours.words(&text).collect::<Vec<_>>(), words_of_oracle(oracle, &text), "{ours:?}: {text:?}");
        }
    }
}

#[test]
fn the_oracle_tells_the_pre_tokenizers_apart() {
    let text = "it'S (a) 1234!\n\n";
    for (i, Pair { oracle, .. }) in PAIRS.iter().enumerate() {
        let same =
            PAIRS.iter().filter(|pair| pair.ours.words(text).collect::<Vec<_>>() == words_of_oracle(oracle, text));
        assert_eq!(same.count(), 1, "pre-tokenizer {i}");
    }
}
