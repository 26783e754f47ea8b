//! Unicode's canonical forms against Hugging Face's `tokenizers`. Compiled into the library's own tests.

use super::normalize::Normalizer;
use proptest::prelude::*;
use std::sync::LazyLock;
use tokenizers::normalizers::{NFC, NFD};
use tokenizers::{NormalizedString, Normalizer as _};

static OURS: LazyLock<Normalizer> = LazyLock::new(|| Normalizer::new().unwrap());

fn assert_same(text: &str) {
    let oracle = |form: &dyn Fn(&mut NormalizedString)| {
        let mut text = NormalizedString::from(text);
        form(&mut text);
        text.get().to_owned()
    };
    assert_eq!(OURS.nfd(text), oracle(&|text| NFD.normalize(text).unwrap()), "NFD of {text:?}");
    assert_eq!(OURS.nfc(text), oracle(&|text| NFC.normalize(text).unwrap()), "NFC of {text:?}");
}

fn fnv(hash: u64, text: &str) -> u64 {
    text.bytes().fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The oracle's tables are older than these; the sums are of `tests/golden/tokenizer/make_normal_forms.py`.
#[test]
fn every_character_alone_and_beside_others() {
    let mut sums = [0xcbf2_9ce4_8422_2325; 2];
    for c in (0..0x30000).chain(0xE0000..0xE0200).filter_map(char::from_u32) {
        let text = format!(
            "{c} a{c} {c}\u{301}\u{323} \u{301}{c}\u{327} ᄀ{c} 가{c} {c}\u{338} {c}\u{3099} か{c} ა{c}\u{323} ơ{c} <{c} ொ{c}"
        );
        sums = [fnv(sums[0], &OURS.nfc(&text)), fnv(sums[1], &OURS.nfd(&text))];
    }
    assert_eq!(sums, [0xdd80_0932_f83f_fc1a, 0xd7f9_42ed_6f40_b737]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn marks_in_any_order(text in "([a-zA-Zα-ωΑ-Ω]|[\u{300}-\u{34e}\u{323}-\u{328}]|[\u{1100}-\u{1112}\u{1161}-\u{1175}\u{11a8}-\u{11c2}가-각]|[ấǖΐ㍿豈ﬁÅΩ]){0,30}") {
        assert_same(&text);
    }
}

#[test]
fn a_hundred_thousand_marks() {
    let text = format!("a{}", "\u{323}\u{301}\u{5b0}".repeat(35_000));
    let start = std::time::Instant::now();
    assert_eq!(OURS.nfd(&OURS.nfc(&text)), OURS.nfd(&text));
    assert!(start.elapsed().as_secs() < 5);
}
