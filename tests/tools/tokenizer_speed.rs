//! Measurement: how fast llama.cpp's vocabularies encode a megabyte of prose, and one of many scripts.
//!
//! `cargo run --release --example tokenizer_speed`, with the vocabularies that `./build.sh test` fetches.

#[path = "../common/mod.rs"]
mod common;

use common::llama_cpp;
use kinglet::tokenizer::{EncodeOptions, Tokenizer};
use std::time::Instant;

const MEGABYTE: usize = 1_000_000;

fn main() {
    let prose = include_str!("../golden/short_text.txt");
    let scripts = "Über naïve façade: 日本語の文章、中文句子。한국어 문장 нещо на Български ไทย हिन्दी العربية 12345 👩‍👩‍👧 e\u{301}\n";
    let texts = [prose, scripts].map(|text| text.repeat(MEGABYTE / text.len() + 1));
    let mut names: Vec<String> = std::fs::read_dir(llama_cpp::folder())
        .expect("run ./build.sh test native, or set KINGLET_CACHE")
        .filter_map(|file| file.ok()?.file_name().into_string().ok())
        .filter_map(|name| Some(name.strip_prefix("ggml-vocab-")?.strip_suffix(".gguf")?.to_owned()))
        .collect();
    names.sort();
    println!("{:>16} {:>10} {:>10} {:>10}", "vocabulary", "load ms", "prose MB/s", "scripts MB/s");
    for name in names {
        let metadata = llama_cpp::metadata(&name);
        let start = Instant::now();
        let tokenizer = Tokenizer::from_metadata(&metadata).expect("a tokenizer");
        let load_ms = start.elapsed().as_millis();
        let [prose, scripts] = texts.each_ref().map(|text| {
            let start = Instant::now();
            let n = tokenizer.encode(text, &EncodeOptions::default()).len();
            assert!(n > 0);
            text.len() as f64 / 1e6 / start.elapsed().as_secs_f64()
        });
        println!("{name:>16} {load_ms:>10} {prose:>10.1} {scripts:>10.1}");
    }
}
