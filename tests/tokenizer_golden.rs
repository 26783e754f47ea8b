//! The tokenizer against what llama.cpp and the sentencepiece library gave for the same texts and vocabularies
//! (`tests/golden/tokenizer/`, with the scripts that made them).

#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::gguf_builder::{string, strings};
use kinglet::gguf::{Array, Metadata, Value};
use kinglet::tokenizer::{EncodeOptions, Tokenizer};
use serde_json::Value as Json;

const PLAIN: EncodeOptions = EncodeOptions { add_special: false, parse_special: false, joiner: None };

fn read(name: &str) -> Json {
    let path = format!("{}/tests/golden/tokenizer/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn list(json: &Json) -> &[Json] {
    json.as_array().unwrap()
}

fn texts(json: &Json) -> Vec<&str> {
    list(json).iter().map(|text| text.as_str().unwrap()).collect()
}

fn ids(json: &Json) -> Vec<u32> {
    list(json).iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// The metadata of a vocabulary of a golden file: what the file does not have is not set.
fn metadata(vocabulary: &Json, model: &str) -> Metadata {
    let mut metadata = Metadata::default();
    let mut set = |key: &str, value: Value| metadata.insert(format!("tokenizer.ggml.{key}"), value).unwrap();
    set("model", string(model));
    set("tokens", strings(texts(&vocabulary["tokens"])));
    let types = list(&vocabulary["types"]).iter().map(|kind| kind.as_i64().unwrap() as i32);
    set("token_type", Value::Array(Array::I32(types.collect())));
    if let Some(pre) = vocabulary["pre"].as_str() {
        set("pre", string(pre));
    }
    if vocabulary["merges"].is_array() {
        set("merges", strings(texts(&vocabulary["merges"])));
    }
    if vocabulary["scores"].is_array() {
        let scores = list(&vocabulary["scores"]).iter().map(|score| score.as_f64().unwrap() as f32);
        set("scores", Value::Array(Array::F32(scores.collect())));
    }
    for flag in ["add_space_prefix", "remove_extra_whitespaces"] {
        if let Some(value) = vocabulary[flag].as_bool() {
            set(flag, Value::Bool(value));
        }
    }
    metadata
}

#[test]
fn llama_cpp_vectors() {
    let golden = read("llama_cpp.json");
    let mut n_cases = 0;
    for vocabulary in list(&golden["vocabularies"]) {
        let tokenizer = Tokenizer::from_metadata(&metadata(vocabulary, vocabulary["model"].as_str().unwrap())).unwrap();
        for (text, expected) in texts(&golden["texts"]).iter().zip(list(&vocabulary["ids"])) {
            let found = tokenizer.encode(text, &PLAIN);
            assert_eq!(found, ids(expected), "{}: {text:?}", vocabulary["name"]);
            assert_eq!(tokenizer.decode(&found, true), *text, "{}", vocabulary["name"]);
            n_cases += 1;
        }
    }
    assert_eq!(n_cases, 7 * 46);
}

#[test]
fn sentencepiece_vectors() {
    let golden = read("sentencepiece.json");
    for vocabulary in list(&golden) {
        let name = &vocabulary["name"];
        let tokenizer = Tokenizer::from_metadata(&metadata(vocabulary, "llama")).unwrap();
        let cases = list(&vocabulary["cases"]);
        assert!(cases.len() > 500);
        for case in cases {
            let (text, expected, decoded) = (case[0].as_str().unwrap(), ids(&case[1]), case[2].as_str().unwrap());
            assert_eq!(tokenizer.encode(text, &PLAIN), expected, "{name}: {text:?}");
            // sentencepiece writes an unknown token as " ⁇ ", and takes a `▁` of the text at its beginning for a space.
            if !expected.contains(&0) && !text.starts_with('\u{2581}') {
                assert_eq!(tokenizer.decode(&expected, true), decoded, "{name}: {text:?}");
            }
        }
    }
}

#[test]
fn a_wrong_merge_order_is_noticed() {
    let golden = read("llama_cpp.json");
    let mut vocabulary = list(&golden["vocabularies"])[0].clone();
    vocabulary["merges"].as_array_mut().unwrap().reverse();
    let tokenizer = Tokenizer::from_metadata(&metadata(&vocabulary, "gpt2")).unwrap();
    let all = texts(&golden["texts"]);
    let n_wrong =
        all.iter().zip(list(&vocabulary["ids"])).filter(|(t, e)| tokenizer.encode(t, &PLAIN) != ids(e)).count();
    assert!(n_wrong > 5);
}
