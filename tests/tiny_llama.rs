//! The random model that other tests stand on is what they take it for: the same bytes everywhere, a vocabulary that works,
//! weights that compute.

mod common;

use common::{
    parse::parse,
    runner::Runner,
    tiny_llama::{IM_END, IM_START, SPECIAL_TOKENS, TinyConfig, tiny_llama},
};
use kinglet::{
    kv::KvFormat,
    quant::Format,
    reference::Reference,
    tokenizer::{EncodeOptions, Tokenizer},
};

// The same tests in wasm32: the bytes must not depend on the machine.
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// FNV-1a, 64 bits.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let file = |seed| tiny_llama(&TinyConfig::default(), seed).build();
    assert_eq!(file(1), file(1));
    assert_ne!(file(1), file(2));
    assert_eq!(hash(&file(1)), 861_449_495_100_877_372);
}

#[test]
fn the_vocabulary_works() {
    let header = parse(&tiny_llama(&TinyConfig::default(), 1).build()).unwrap().header;
    let tokenizer = Tokenizer::from_metadata(&header.metadata).unwrap();
    assert_eq!(tokenizer.n_vocab(), 320);
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(IM_START), Some(IM_END)));
    assert!((0..3).all(|id| tokenizer.is_control(id)) && !tokenizer.is_control(3));
    let mut specials: Vec<(u32, &str)> = tokenizer.special_strings().collect();
    specials.sort_unstable();
    assert_eq!(specials, [(0, SPECIAL_TOKENS[0]), (1, SPECIAL_TOKENS[1]), (2, SPECIAL_TOKENS[2])]);

    let encode = |text: &str, parse_special| {
        tokenizer.encode(text, &EncodeOptions { add_special: false, parse_special, joiner: None })
    };
    let text = "<|im_start|>user\nGrüße, the 🐦 and\0the\ttower<|im_end|>\n";
    assert_eq!(tokenizer.decode(&encode(text, false), false), text);
    let ids = encode(text, true);
    assert_eq!(tokenizer.decode(&ids, false), text);
    assert_eq!(ids.iter().filter(|id| **id < 3).copied().collect::<Vec<_>>(), [IM_START, IM_END]);
    assert_eq!(encode(" the and", false).len(), 2, "merges apply");
}

#[test]
fn every_variant_computes() {
    let base = TinyConfig::default();
    for config in [
        base.clone(),
        TinyConfig { format: Format::Q4_0, embd_format: Format::F16, head_format: Some(Format::Q4_1), ..base.clone() },
        TinyConfig { format: Format::BF16, embd_format: Format::F32, biases: true, rope_freqs: true, ..base.clone() },
        TinyConfig { format: Format::Q4_1, head_size: 32, n_head_kv: 1, n_layer: 3, ..base },
    ] {
        let file = tiny_llama(&config, 4).build();
        let mut runner = Runner::load(&file[..], KvFormat::F32, 64, |geometry| Ok(Reference::new(geometry))).unwrap();
        let ids: Vec<u32> = (0..20).map(|i| i * 13 % 300).collect();
        let logits = runner.append(&ids, 20).unwrap();
        for (at, row) in logits.iter().enumerate() {
            assert_eq!(row.len(), config.n_vocab);
            let spread = row.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
            assert!(spread.is_finite() && (0.5..50.0).contains(&spread), "{config:?}: logits up to {spread} at {at}");
        }
        assert_ne!(logits[3], logits[4], "the logits depend on the input");
    }
}
