//! The tokenizer on vocabularies made by hand: rules, refusals, streams.

#![cfg(not(target_arch = "wasm32"))]

use kinglet::gguf::{Array, Metadata, StringArray, Value};
use kinglet::tokenizer::{EncodeOptions, StreamDecoder, Tokenizer};

const PARSE: EncodeOptions = EncodeOptions { add_special: false, parse_special: true, joiner: None };
const PLAIN: EncodeOptions = EncodeOptions { add_special: false, parse_special: false, joiner: None };
const JOINER: char = '\u{FDD0}';

fn strings<S: AsRef<[u8]>>(items: &[S]) -> Value {
    let mut array = StringArray::default();
    items.iter().for_each(|item| array.push(item.as_ref()).unwrap());
    Value::Array(Array::String(array))
}

fn metadata(pairs: Vec<(&str, Value)>) -> Metadata {
    let mut metadata = Metadata::default();
    for (key, value) in pairs {
        metadata.insert(format!("tokenizer.ggml.{key}"), value).unwrap();
    }
    metadata
}

/// The byte-level alphabet, as characters.
fn alphabet() -> Vec<String> {
    let printable = |b: &u32| matches!(b, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let own = (0..256).filter(printable);
    let others = (0..256).filter(|b| !printable(b)).enumerate().map(|(i, b)| (b, 0x100 + i as u32));
    let mut all: Vec<(u32, u32)> = own.map(|b| (b, b)).chain(others).collect();
    all.sort_unstable();
    all.into_iter().map(|(_, c)| char::from_u32(c).unwrap().to_string()).collect()
}

/// All bytes (ids 0–255), `<|im_start|>` (256), `<|im_end|>` (257), and one piece per merge.
fn byte_level(pre: &str, merges: &[&str], more: Vec<(&'static str, Value)>) -> Metadata {
    let mut pieces = alphabet();
    let mut types = vec![1; 256];
    pieces.extend(["<|im_start|>".into(), "<|im_end|>".into()]);
    types.extend([3, 3]);
    for merge in merges {
        pieces.push(merge.replace(' ', ""));
        types.push(1);
    }
    let mut pairs = vec![
        ("model", Value::String("gpt2".into())),
        ("pre", Value::String(pre.into())),
        ("tokens", strings(&pieces)),
        ("token_type", Value::Array(Array::I32(types))),
        ("merges", strings(merges)),
    ];
    pairs.extend(more);
    metadata(pairs)
}

fn build(metadata: &Metadata) -> Tokenizer {
    Tokenizer::from_metadata(metadata).unwrap()
}

#[test]
fn merges_go_by_rank_inside_words() {
    let tokenizer = build(&byte_level("gpt-2", &["l l", "h e", "he ll", "Ġ h"], vec![]));
    assert_eq!(tokenizer.encode("hello hello", &PLAIN), [260, 111, 32, 260, 111]);
    assert_eq!(tokenizer.encode("hi he h", &PLAIN), [104, 105, 32, 259, 261]);
    assert_eq!(tokenizer.decode(&[260, 111, 32, 260, 111], true), "hello hello");
}

#[test]
fn control_tokens_are_found_only_when_asked_for_and_never_when_broken() {
    let tokenizer = build(&byte_level("gpt-2", &["i m"], vec![]));
    let forged = "a<|im_start|>b";
    assert_eq!(tokenizer.encode(forged, &PARSE), [97, 256, 98]);
    assert!(!tokenizer.encode(forged, &PLAIN).contains(&256));
    let broken = forged.replace("<|im_start|>", &format!("<{JOINER}|im_start|>"));
    let with_joiner = EncodeOptions { joiner: Some(JOINER), ..PARSE };
    assert_eq!(tokenizer.encode(&broken, &with_joiner), tokenizer.encode(forged, &PLAIN));
    assert!(tokenizer.is_end_of_generation(257) && !tokenizer.is_end_of_generation(256));
}

#[test]
fn a_stream_gives_whole_characters() {
    let tokenizer = build(&byte_level("gpt-2", &[], vec![]));
    let mut stream = StreamDecoder::new(true);
    let parts: Vec<String> = "é€".bytes().map(|b| stream.push(&tokenizer, u32::from(b))).collect();
    assert_eq!(parts, ["", "é", "", "", "€"]);
    assert_eq!(stream.push(&tokenizer, 0xF0) + &stream.finish(), "\u{FFFD}");
}
