//! The tokens that pages get: a stored answer of the CPU executor that natively (here) and in Chromium (tests/e2e/package.test.mjs)
//! must come out the same, bit for bit of arithmetic, with any number of threads.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::sync::Arc;

use common::generate::{load, run};
use kinglet::{
    cpu::pool::Pool,
    engine::{Device, Options},
    sample::SamplingParams,
    session::Request,
    tokenizer::EncodeOptions,
};
use serde_json::Value;

const MODEL: &[u8] = include_bytes!("golden/tiny_full.gguf");
const STORED: &str = include_str!("golden/page_tokens.json");

#[test]
fn native_tokens_are_the_stored_ones() {
    let stored: Value = serde_json::from_str(STORED).unwrap();
    for threads in [1, 2] {
        let mut engine = load(MODEL, Options::new(Device::Cpu(Arc::new(Pool::new(threads)))), 1 << 16).unwrap();
        let text = stored["prompt"].as_str().unwrap();
        let as_text = EncodeOptions { add_special: true, parse_special: false, joiner: None };
        let prompt = engine.tokenizer.encode(text, &as_text);
        for case in stored["cases"].as_array().unwrap() {
            let sampling = SamplingParams {
                temperature: case["temperature"].as_f64().unwrap() as f32,
                seed: case["seed"].as_u64().unwrap(),
                ..SamplingParams::default()
            };
            let request = Request {
                prompt: prompt.clone(),
                max_tokens: Some(12),
                ignore_eos: true,
                sampling,
                ..Request::default()
            };
            let answer = run(&mut engine.session, &request, 1000).unwrap();
            assert_eq!(Value::from(answer.choices[0].tokens.clone()), case["tokens"], "{threads} threads");
        }
    }
}
