//! The words of every pre-tokenizer against Oniguruma, through Hugging Face's `tokenizers`, with the same expressions.
//! Compiled into the library's own tests, because words are not part of its interface.

use super::presets::{GPT_2, PRESETS};
use super::pretokenize::PreTokenizer;
use super::unicode::Unicode;
use proptest::prelude::*;
use std::sync::LazyLock;
use std::time::Instant;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, SplitDelimiterBehavior};
use tokenizers::{PreTokenizer as _, PreTokenizerWrapper};

#[path = "../common/texts.rs"]
mod texts;

struct Pair {
    name: &'static str,
    ours: PreTokenizer,
    oracle: Vec<PreTokenizerWrapper>,
}

/// What ours is written as in Oniguruma's grammar.
fn in_oniguruma(expression: &str) -> &str {
    match expression {
        r"\d{1,3}(?3w)" => r"\d{1,3}(?=(?:\d{3})*\b)",
        r"(?=\d)(?3)" => r"(?=(\d{3})+(?!\d))",
        r"\p{N}{1,3}(?3N)" => r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))",
        other => other,
    }
}

/// ByteLevel rewrites the text, so that nothing can follow it.
fn step_of_oracle(expression: &str, is_last: bool) -> PreTokenizerWrapper {
    if expression == GPT_2 && is_last {
        return ByteLevel::new(false, true, true).into();
    }
    let pattern = SplitPattern::Regex(in_oniguruma(expression).into());
    Split::new(pattern, SplitDelimiterBehavior::Isolated, false).unwrap().into()
}

static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let unicode = Unicode::new().unwrap();
    let named = PRESETS.iter().filter_map(|(names, _, expressions)| Some((*names.first()?, expressions)));
    let pairs = named.map(|(name, expressions)| Pair {
        name,
        ours: PreTokenizer::named(name, unicode.clone()).unwrap(),
        oracle: expressions.iter().enumerate().map(|(i, e)| step_of_oracle(e, i + 1 == expressions.len())).collect(),
    });
    pairs.collect()
});

fn pair(name: &str) -> &'static Pair {
    PAIRS.iter().find(|pair| pair.name == name).unwrap()
}

fn words_of_oracle<'a>(oracle: &[PreTokenizerWrapper], text: &'a str) -> Vec<&'a str> {
    let mut cut = PreTokenizedString::from(text);
    for step in oracle {
        step.pre_tokenize(&mut cut).unwrap();
    }
    let splits = cut.get_splits(OffsetReferential::Original, OffsetType::Byte);
    splits.into_iter().map(|(_, (from, to), _)| &text[from..to]).collect()
}

fn words(ours: &PreTokenizer, text: &str) -> Vec<String> {
    let mut words = Vec::new();
    ours.for_each_word(text, &mut |word| words.push(word.to_owned()));
    words
}

fn assert_same_words(text: &str) {
    for Pair { name, ours, oracle } in PAIRS.iter() {
        assert_eq!(words(ours, text), words_of_oracle(oracle, text), "{name}: {text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn words_are_those_of_the_oracle(text in texts::text()) {
        assert_same_words(&text);
    }

    #[test]
    fn runs_of_digits_and_spaces_are_cut_like_by_the_oracle(text in "([a ]{0,2}[0-9]{0,9}[ \n²٣_é]{0,3}){0,4}| {0,300}a") {
        assert_same_words(&text);
    }

    #[test]
    fn texts_in_one_script_are_cut_like_by_the_oracle(
        text in r"[\p{Lu}\p{Ll}\p{Lt}'s ]{0,20}|[\p{Han}\p{Hangul}\p{Hiragana}！…“: ]{0,20}|[\p{M}\p{Lm}\p{Lo}\p{P} aZ]{0,20}"
    ) {
        assert_same_words(&text);
    }
}

/// Every character of the planes in use, where the class matters: before, between and after those of other classes.
#[test]
fn every_character_is_cut_as_by_the_oracle() {
    let all: Vec<char> =
        (0..0x40000).chain(0xE0000..0xE0400).chain(0x10FF00..=0x10FFFF).filter_map(char::from_u32).collect();
    let pairs = ["llama-bpe", "gpt-4o", "kimi-k2", "deepseek-v3", "tiny_aya"].map(pair);
    for chars in all.chunks(256) {
        let text: String = chars.iter().map(|c| format!("a{c}1{c}'{c}  {c}B{c}1 ")).collect();
        for Pair { name, ours, oracle } in pairs {
            assert_eq!(words(ours, &text), words_of_oracle(oracle, &text), "{name}: {text:?}");
        }
    }
}

#[test]
fn words_without_end_take_linear_time() {
    let start = Instant::now();
    for part in ["a", "A", " ", "1", "!", "\n ", "\u{301}", "👩\u{200d}", "日A", "'s", "A日a "] {
        let text = part.repeat((1 << 20) / part.len());
        for Pair { name, ours, .. } in PAIRS.iter() {
            let before = start.elapsed();
            ours.for_each_word(&text, &mut |word| assert!(!word.is_empty()));
            let took = start.elapsed() - before;
            assert!(took.as_secs() < 5, "{name} takes {took:?} for a megabyte of {part:?}");
        }
    }
}

#[test]
fn the_oracle_tells_the_pre_tokenizers_apart() {
    let text =
        "it'S (a) 1234!\n\n٣e\u{301}X 日A한\u{2002}12abc <sentinel:1> \u{2002}IMGIMGAAZ/\n    a  '\n12345\u{2003}é一,";
    let all: Vec<_> = PAIRS.iter().map(|pair| words_of_oracle(&pair.oracle, text)).collect();
    let distinct: std::collections::HashSet<_> = all.iter().collect();
    // Of the 36, some differ in nothing but what is done beside cutting into words.
    assert!(distinct.len() >= 24, "{} of {}", distinct.len(), all.len());
    for (Pair { name, ours, .. }, expected) in PAIRS.iter().zip(&all) {
        let same = all.iter().filter(|other| *other == expected).count();
        let agree = all.iter().filter(|other| **other == words(ours, text)).count();
        assert_eq!(same, agree, "{name}");
    }
}
