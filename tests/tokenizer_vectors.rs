//! Whole vocabularies of llama.cpp with the ids that it expects of texts; `tests/tokenizer_golden.rs` has some cut down.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::llama_cpp;
use kinglet::tokenizer::{EncodeOptions, Tokenizer};

/// All that llama.cpp ships with vectors, and the number of texts.
const VOCABULARIES: [(&str, usize); 15] = [
    ("bert-bge", 46),
    ("command-r", 46),
    ("deepseek-coder", 46),
    ("deepseek-llm", 46),
    ("falcon", 46),
    ("gemma-4", 46),
    ("gpt-2", 46),
    ("llama-bpe", 46),
    ("llama-spm", 46),
    ("mpt", 46),
    ("phi-3", 46),
    ("qwen2", 46),
    ("qwen35", 50),
    ("refact", 46),
    ("starcoder", 46),
];

fn n_wrong(name: &str, tokenizer: &Tokenizer, vectors: &[(String, Vec<u32>)]) -> usize {
    let mut n_wrong = 0;
    for (text, expected) in vectors {
        let found = tokenizer.encode(text, &EncodeOptions::default());
        if found != *expected {
            println!("{name}: {text:?}\n    found    {found:?}\n    expected {expected:?}");
            n_wrong += 1;
        }
    }
    n_wrong
}

#[test]
fn ids_are_those_that_llama_cpp_expects() {
    let mut wrong = Vec::new();
    for (name, n_texts) in VOCABULARIES {
        let vectors = llama_cpp::vectors(name);
        let tokenizer = Tokenizer::from_metadata(&llama_cpp::metadata(name)).expect(name);
        let n = n_wrong(name, &tokenizer, &vectors);
        println!("{name}: {} of {} texts right", vectors.len() - n, vectors.len());
        if n > 0 || vectors.len() != n_texts {
            wrong.push((name, n, vectors.len()));
        }
    }
    assert_eq!(wrong, []);
}

#[test]
fn every_vocabulary_with_vectors_is_in_the_list() {
    let files = std::fs::read_dir(llama_cpp::folder()).expect("run ./build.sh test native, or set KINGLET_CACHE");
    let mut names: Vec<String> = files
        .filter_map(|file| {
            file.unwrap().file_name().into_string().unwrap().strip_suffix(".gguf.inp").map(str::to_owned)
        })
        .collect();
    names.sort();
    assert_eq!(names, VOCABULARIES.map(|(name, _)| format!("ggml-vocab-{name}")));
}

#[test]
fn vocabularies_without_vectors_load() {
    for (name, notice) in [("aquila", true), ("baichuan", false), ("gpt-neox", true), ("nomic-bert-moe", false)] {
        let tokenizer = Tokenizer::from_metadata(&llama_cpp::metadata(name)).expect(name);
        assert_eq!(tokenizer.notice().is_some(), notice, "{name}");
        let text = "Hello, world! 123";
        let decoded = tokenizer.decode(&tokenizer.encode(text, &EncodeOptions::default()), true);
        assert_eq!(decoded, text, "{name}");
    }
}

#[test]
fn the_vectors_notice_another_vocabulary() {
    let tokenizer = Tokenizer::from_metadata(&llama_cpp::metadata("qwen2")).expect("qwen2");
    assert!(n_wrong("qwen2 for qwen35", &tokenizer, &llama_cpp::vectors("qwen35")) > 0);
}

#[test]
fn tokens_round_a_text_and_at_its_end_are_the_models() {
    let ends = |name: &str| {
        let tokenizer = Tokenizer::from_metadata(&llama_cpp::metadata(name)).expect(name);
        let ids = tokenizer.encode("a", &EncodeOptions { add_special: true, ..EncodeOptions::default() });
        (ids, tokenizer.end_of_generation().to_vec())
    };
    assert_eq!(ends("bert-bge"), (vec![101, 1037, 102], vec![0]));
    assert_eq!(ends("nomic-bert-moe").0, [0, 10, 2]);
    assert_eq!(ends("gemma-4").0[0], 2);
    assert_eq!(ends("phi-3"), (vec![1, 263], vec![2, 32000, 32007]));
}

#[test]
fn phi_3_drops_white_space_behind_its_marks() {
    let tokenizer = Tokenizer::from_metadata(&llama_cpp::metadata("phi-3")).expect("phi-3");
    let parse = EncodeOptions { parse_special: true, ..EncodeOptions::default() };
    let tight = tokenizer.encode("<|user|>a<|end|><|assistant|>", &parse);
    assert_eq!(tokenizer.encode("<|user|> \n a<|end|>\n<|assistant|>\n", &parse), tight);
    assert_ne!(tokenizer.encode("<s> a", &parse), tokenizer.encode("<s>a", &parse), "which <s> does not");
}
