//! Random texts for the tests of the tokenizer.

use proptest::prelude::*;

/// Texts of many scripts and of what splitters look at: white space of all kinds, digits, apostrophes, marks, emoji.
#[expect(unreachable_pub, reason = "compiled into a test of the library and into one outside of it")]
pub fn text() -> impl Strategy<Value = String> {
    let any_char = any::<char>().prop_map(String::from);
    let of = |set: &'static str| {
        let chars: Vec<char> = set.chars().collect();
        prop::sample::select(chars).prop_map(String::from)
    };
    let part = prop_oneof![
        3 => of("abcdefghijklmnopqrstuvwxyzABCSTMDREVL"),
        2 => of("0123456789²½٣४Ⅷ"),
        3 => of(" \n\r\t\u{b}\u{c}\u{85}\u{a0}\u{1680}\u{2003}\u{2028}\u{3000}"),
        2 => of(".,;:!?()[]{}<>|/\\-_=+*&^%$#@~`\""),
        1 => of("日本語中文한국어ไทยहिन्दीالعربيةßéñſK"),
        1 => of("😀👩\u{200d}🏳\u{fe0f}\u{301}\u{20dd}\u{feff}\u{fffd}"),
        1 => prop::sample::select(vec!["'s", "'S", "'ll", "'Re", "'ve", "'m", "'d", "'t", "'\u{17f}", "'x", "''"])
            .prop_map(String::from),
        1 => prop::sample::select(vec!["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_", "|>"]).prop_map(String::from),
        1 => prop::sample::select(vec![" the", " Hello", "    ", "\n\n", "world", "  \n  "]).prop_map(String::from),
        2 => any_char,
    ];
    prop::collection::vec(part, 0..60).prop_map(|parts| parts.concat())
}
