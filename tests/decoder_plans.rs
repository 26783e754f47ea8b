//! What the plans of the decoder families are: as text, so that a change of what is computed is seen, and how many operations a
//! layer takes.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{decoders::decoders, parse::parse};
use kinglet::{
    arch::{Model, Task},
    plan::{RowBound, dump},
};

fn model(file: &[u8]) -> Model {
    Model::from_header(&parse(file).unwrap().header).unwrap()
}

#[test]
fn plans_print_as_they_did() {
    for decoder in decoders() {
        let model = model(decoder.file);
        let plan = model.plan(Task::Generate, RowBound::One, 1).unwrap();
        insta::assert_snapshot!(decoder.name, dump::dump(&plan, &model.weights));
    }
}

/// Operations of a layer after fusion: (fewest, most). Six is a plain pre-norm block; each norm that is not before just one product
/// costs one, one behind a product another, as the sum does not go into the product then.
const OPERATIONS: [(&str, usize, usize); 25] = [
    ("gemma", 6, 6),
    ("gemma_full", 6, 6),
    ("gemma2", 10, 10),
    ("gemma3", 12, 12),
    ("gemma3_linear", 12, 12),
    ("gpt2", 6, 6),
    ("gptneox", 6, 6),
    ("gptneox_sequential", 6, 6),
    ("granite", 6, 6),
    ("granite_full", 6, 6),
    ("lfm2", 7, 8),
    ("lfm2_wide", 8, 13),
    ("olmo2", 12, 12),
    ("olmo3", 12, 12),
    ("phi2", 7, 7),
    ("phi3", 6, 6),
    ("phi3_window", 6, 6),
    ("qwen2", 6, 6),
    ("qwen2_full", 6, 6),
    ("qwen3", 8, 8),
    ("qwen3_full", 8, 8),
    ("smollm3", 6, 6),
    ("stablelm", 6, 6),
    ("stablelm_parallel", 7, 7),
    ("starcoder2", 6, 6),
];

#[test]
fn a_layer_takes_as_many_operations_as_before() {
    let counts = decoders().into_iter().map(|decoder| {
        let plan = model(decoder.file).plan(Task::Generate, RowBound::One, 1).unwrap();
        let counts = dump::layer_counts(&plan);
        (decoder.name, *counts.iter().min().unwrap(), *counts.iter().max().unwrap())
    });
    assert_eq!(counts.collect::<Vec<_>>(), OPERATIONS);
}
