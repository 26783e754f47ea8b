//! From tokenizer.json to ids: the headers that `vocabularyFromTokenizerJson` makes of small tokenizers of every kind give what
//! Hugging Face's library gives. (`tests/golden/tokenizer/json`, with the scripts that made it; that these are the headers, the
//! tests of www/pkg show.)

#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{
    generate::{load, options, run},
    llama_cpp::header,
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    engine::{Device, Loader, Options, read_vocabulary},
    session::Request,
    tokenizer::{EncodeOptions, Tokenizer},
};
use serde_json::Value as Json;
use std::sync::Arc;

const NAMES: [&str; 10] = [
    "bpe-digits",
    "bpe-llama",
    "bpe-metaspace",
    "bpe-nfc",
    "bpe-prefix",
    "unigram-t5",
    "unigram-words",
    "wordpiece-accents",
    "wordpiece-cased",
    "wordpiece-uncased",
];

fn read(name: &str, suffix: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/golden/tokenizer/json/{name}.{suffix}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn ids(json: &Json) -> Vec<u32> {
    json.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn ids_are_those_of_hugging_face() {
    for name in NAMES {
        let tokenizer = Tokenizer::from_metadata(&header(&read(name, "gguf"))).expect(name);
        let golden: Json = serde_json::from_slice(&read(name, "json")).unwrap();
        let cases = golden["cases"].as_array().unwrap();
        assert!(cases.len() > 100, "{name}");
        for case in cases {
            let text = case[0].as_str().unwrap();
            for (add_special, expected) in [(true, &case[1]), (false, &case[2])] {
                let found = tokenizer.encode(text, &EncodeOptions { add_special, parse_special: true, joiner: None });
                assert_eq!(found, ids(expected), "{name}: {text:?}");
            }
        }
    }
}

#[test]
fn encoders_read_the_same_tokens_and_know_where_they_stand() {
    for name in NAMES {
        let tokenizer = Tokenizer::from_metadata(&header(&read(name, "gguf"))).expect(name);
        let golden: Json = serde_json::from_slice(&read(name, "json")).unwrap();
        let mut n_whole = 0;
        for case in golden["cases"].as_array().unwrap() {
            let text = case[0].as_str().unwrap();
            let encoded = tokenizer.encode_text(text);
            let options = EncodeOptions { add_special: true, ..EncodeOptions::default() };
            assert_eq!(encoded.ids, tokenizer.encode(text, &options), "{name}: {text:?}");
            assert!(encoded.places.len() <= encoded.text.len(), "{name}: {text:?}");
            n_whole += usize::from(encoded.places.len() == encoded.text.len());
            let is_in_order = encoded.places.is_sorted_by_key(|place| place.end);
            assert!(is_in_order && encoded.places.iter().all(|p| text.get(p.clone()).is_some()), "{name}: {text:?}");
            if name.starts_with("wordpiece") {
                assert_eq!(encoded.places.len(), encoded.text.len(), "{name}: {text:?}");
            }
            if name == "bpe-digits" {
                // Every byte of the text is in a token; a character of several bytes may be in several.
                let ends = encoded.places.windows(2).all(|p| p[0].end >= p[1].start);
                assert!(ends && encoded.places.last().is_none_or(|p| p.end == text.len()), "{name}: {text:?}");
            }
            let pair = tokenizer.encode_pair(text, "a");
            assert_eq!(pair.ids[..encoded.ids.len()], encoded.ids, "{name}: {text:?}");
        }
        println!("{name}: the places of all tokens of {n_whole} texts are known");
    }
}

#[test]
fn another_tokenizer_is_noticed() {
    let golden: Json = serde_json::from_slice(&read("wordpiece-cased", "json")).unwrap();
    let tokenizer = Tokenizer::from_metadata(&header(&read("wordpiece-accents", "gguf"))).unwrap();
    let parse = EncodeOptions { parse_special: true, ..EncodeOptions::default() };
    let is_wrong = |case: &&Json| tokenizer.encode(case[0].as_str().unwrap(), &parse) != ids(&case[2]);
    assert!(golden["cases"].as_array().unwrap().iter().filter(is_wrong).count() > 20);
}

/// A model with the vocabulary of another file beside it.
fn with_vocabulary(bytes: &[u8], n_vocab: usize) -> (Vec<u8>, Options) {
    let file = tiny_llama(&TinyConfig { n_vocab, ..TinyConfig::default() }, 3).build();
    let vocabulary = Some(Arc::new(read_vocabulary(bytes).unwrap()));
    (file, Options { vocabulary, ..options(Device::Reference) })
}

#[test]
fn an_engine_takes_a_vocabulary_beside_its_file() {
    let bytes = read("bpe-nfc", "gguf");
    let alone = Tokenizer::from_metadata(&header(&bytes)).unwrap();
    let n_vocab = alone.n_vocab() + 3;
    let (file, options) = with_vocabulary(&bytes, n_vocab);
    let mut engine = load(&file, options, 999).unwrap();
    assert_eq!(engine.tokenizer.n_vocab(), n_vocab, "filled up to the model's rows");
    let text = "Hello, <|x|> world";
    let parse = EncodeOptions { parse_special: true, add_special: true, joiner: None };
    let prompt = alone.encode(text, &parse);
    assert_eq!(engine.tokenizer.encode(text, &parse), prompt);
    assert_eq!(engine.template.bos_token.as_deref(), Some("<s>"));
    let request = Request { prompt, max_tokens: Some(4), ..Request::default() };
    assert!(run(&mut engine.session, &request, 1000).is_ok());
}

#[test]
fn a_vocabulary_of_another_model_is_refused() {
    let bytes = read("bpe-nfc", "gguf");
    let n_vocab = Tokenizer::from_metadata(&header(&bytes)).unwrap().n_vocab() - 1;
    let (file, options) = with_vocabulary(&bytes, n_vocab);
    let error = Loader::new(options).feed(&file).unwrap_err();
    assert_eq!(error.code(), "E_FILE_FORMAT");
    assert!(error.to_string().contains(&format!("but the model {n_vocab}")), "{error}");
    for wrong in [&bytes[..100], &file[..], b""] {
        assert_eq!(read_vocabulary(wrong).unwrap_err().code(), "E_FILE_FORMAT");
    }
}
