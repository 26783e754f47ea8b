//! Whether a real T5 answers as HF transformers does with the same weights:
//! `cargo run --example answers -- <flan_t5_small.f32.gguf> <flan_t5_small.json> [cpu | reference]`, files of
//! tests/measure/make_flan_t5.py. Fails where a greedy answer differs at a place where the two best logits of transformers' f32 model
//! are clearly apart, where a text has other tokens, or where "The house is wonderful." is no German. Weights of 8 bits and the CPU's
//! activations of 8 bits move logits, so that beam searches (of f32) may find other answers: they are counted.

#[path = "../common/mod.rs"]
mod common;

use std::{process::ExitCode, sync::Arc};

use common::generate::{load, run};
use kinglet::{
    cpu::pool::Pool,
    engine::{Device, Engine, Options},
    sample::SamplingParams,
    session::{BeamParams, Request},
    tokenizer::EncodeOptions,
};
use serde::Deserialize;

/// Two best logits that are further apart decide; flan-t5-small's logits have a spread of about 5.
const CLEAR_GAP: [(&str, f32); 3] = [("F32", 0.01), ("F16", 0.05), ("Q8_0", 0.5)];

#[derive(Deserialize)]
struct Golden {
    max_new_tokens: usize,
    answers: Vec<GoldenAnswer>,
}

#[derive(Deserialize)]
struct GoldenAnswer {
    text: String,
    source: Vec<u32>,
    tokens: Vec<u32>,
    gaps: Vec<f32>,
    beams: Vec<u32>,
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(model), Some(golden)) = (args.next(), args.next()) else {
        return Err("usage: answers <model.gguf> <golden.json> [cpu | reference]".into());
    };
    let device = match args.next().as_deref() {
        None | Some("cpu") => Device::Cpu(Arc::new(Pool::new(2))),
        Some("reference") => Device::Reference,
        Some(other) => return Err(format!("no executor {other}").into()),
    };
    let golden: Golden = serde_json::from_str(&std::fs::read_to_string(golden)?)?;
    let Engine { mut session, tokenizer, info, .. } = load(&std::fs::read(model)?, Options::new(device), 1 << 20)?;
    let (_, clear_gap) = CLEAR_GAP.iter().find(|(name, _)| *name == info.quantization).ok_or("F32, F16 or Q8_0")?;
    println!("{}, {}: {:?}", info.name, info.quantization, info.memory);

    let (mut same, mut same_beams, mut failures) = (0, 0, vec![]);
    for golden_answer in &golden.answers {
        let GoldenAnswer { text, source, tokens, gaps, beams } = golden_answer;
        let ids = tokenizer.encode(text, &EncodeOptions { add_special: true, parse_special: true, joiner: None });
        if ids != *source {
            failures.push(format!("{text:?} has the tokens {ids:?}, expected {source:?}"));
        }
        let greedy = Request {
            prompt: source.clone(),
            max_tokens: Some(golden.max_new_tokens),
            sampling: SamplingParams::greedy(),
            ..Request::default()
        };
        let answer = run(&mut session, &greedy, 10_000)?.choices.remove(0);
        let differs = answer.tokens.iter().zip(tokens).position(|(a, b)| a != b);
        match differs.map(|at| (at, gaps[at])) {
            None if answer.tokens.len() == tokens.len() => same += 1,
            Some((_, gap)) if gap <= *clear_gap => println!("near tie, {gap} apart: {text:?}: {:?}", answer.text),
            other => failures.push(format!("{text:?}: {:?}, differs at {other:?}", answer.text)),
        }
        if text.ends_with("German: The house is wonderful.") {
            println!("{text:?}: {:?}", answer.text);
            if answer.text != "Das Haus ist wunderbar." {
                failures.push("that is no German".into());
            }
        }
        let searched = run(&mut session, &Request { beams: Some(BeamParams::default()), ..greedy }, 10_000)?;
        same_beams += usize::from(searched.choices[0].tokens == *beams);
    }
    let n = golden.answers.len();
    println!("{same} of {n} greedy answers and {same_beams} of {n} of four beams are those of transformers");
    failures.iter().for_each(|failure| println!("{failure}"));
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
