//! Whole models with results that somebody else computed: tiny random llamas with the logits of HF transformers
//! (tests/golden/make_tiny_llama.py), and a trained one of 260 thousand weights with the text that its author documents.

use kinglet::{
    error::Result,
    plan::Executor,
    tokenizer::{EncodeOptions, Tokenizer},
};
use serde::Deserialize;

use super::runner::{Runner, argmax};

#[derive(Deserialize)]
struct GoldenJson {
    vocabulary: usize,
    tokens: Vec<u32>,
    logits: String,
}

pub struct Golden {
    pub name: &'static str,
    pub file: &'static [u8],
    pub tokens: Vec<u32>,
    /// [positions, V]
    pub logits: Vec<Vec<f32>>,
}

/// Grouped queries; full attention with an own head; Llama 3's rotary factors over a page border; linear rotary scaling
/// with biases.
pub fn goldens() -> Vec<Golden> {
    macro_rules! golden {
        ($name:literal) => {
            golden(
                $name,
                include_bytes!(concat!("../golden/tiny_", $name, ".gguf")),
                include_str!(concat!("../golden/tiny_", $name, ".json")),
            )
        };
    }
    vec![golden!("grouped"), golden!("full"), golden!("llama3"), golden!("linear")]
}

fn golden(name: &'static str, file: &'static [u8], json: &str) -> Golden {
    let golden: GoldenJson = serde_json::from_str(json).expect("a well-formed golden");
    let logits = float_rows(&golden.logits, golden.vocabulary);
    assert_eq!(logits.len(), golden.tokens.len());
    Golden { name, file, tokens: golden.tokens, logits }
}

/// Rows of little-endian f32 in hexadecimal: [rows, width].
pub fn float_rows(hex: &str, width: usize) -> Vec<Vec<f32>> {
    let number = |i: usize| u32::from_str_radix(&hex[i..i + 8], 16).expect("hexadecimal").swap_bytes();
    let flat: Vec<f32> = (0..hex.len()).step_by(8).map(|i| f32::from_bits(number(i))).collect();
    flat.chunks(width).map(<[f32]>::to_vec).collect()
}

/// The largest difference, as a part of the largest golden logit.
pub fn difference(logits: &[Vec<f32>], golden: &[Vec<f32>]) -> f32 {
    assert_eq!(logits.len(), golden.len());
    let largest = golden.iter().flatten().fold(0.0_f32, |a, x| a.max(x.abs()));
    assert!(logits.iter().flatten().all(|x| x.is_finite()), "logits are not finite");
    let pairs = logits.iter().flatten().zip(golden.iter().flatten());
    pairs.fold(0.0_f32, |a, (x, y)| a.max((x - y).abs())) / largest
}

pub const STORIES: &[u8] = include_bytes!("../models/stories260K.gguf");
/// What llama2.c prints at temperature 0 (its doc/stories260K.md), and a line end.
pub const STORY: &str = include_str!("../golden/stories260K.txt");

/// Greedy text from the beginning of a story, until it is as long as the documented one.
pub fn tell_story<E: Executor>(mut runner: Runner<E>) -> Result<String> {
    let tokenizer = Tokenizer::from_metadata(&runner.header.metadata)?;
    let mut ids = tokenizer.encode("", &EncodeOptions { add_special: true, ..EncodeOptions::default() });
    assert_eq!(ids, [1], "a story begins with the beginning of sequence and nothing else");
    loop {
        let logits = runner.append(&ids[ids.len() - 1..], 1)?;
        ids.push(argmax(&logits[0]));
        let text = tokenizer.decode(&ids, true);
        if text.len() >= STORY.trim_end().len() {
            return Ok(text);
        }
    }
}
