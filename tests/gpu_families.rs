//! The decoder families on the GPU executor: against HF transformers, in one pass, in chunks and token by token.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::rc::Rc;

use common::{
    decoders::{Decoder, decoders},
    golden::difference,
    gpu::context,
    runner::{MAX_ROWS, Runner},
};
use kinglet::{
    gpu::{Context, Gpu, Request},
    kv::KvFormat,
};

/// The GPU against transformers, both f32: the largest difference over the largest logit.
const GPU_TOLERANCE: f32 = 1e-4;
/// The same with keys and values rounded to f16 (relative 2⁻¹¹ each), over at most seven layers.
const F16_CACHE_TOLERANCE: f32 = 5e-3;
/// The GPU against itself in steps of other lengths: other kernels, the same numbers up to their order of summation.
const SPLIT_TOLERANCE: f32 = 1e-4;

fn run(context: &Rc<Context>, decoder: &Decoder, format: KvFormat, rows: usize) -> Vec<Vec<f32>> {
    let new = |geometry| Ok(Gpu::new(context.clone(), geometry));
    let mut runner = Runner::load(decoder.file, format, 64, new).expect("it loads");
    runner.append(&decoder.tokens, rows).expect("it runs")
}

fn gives_the_logits_of_transformers(request: &Request) {
    let context = context(request);
    let mut wrong = vec![];
    for decoder in decoders() {
        let whole = run(&context, &decoder, KvFormat::F32, MAX_ROWS);
        let exact = decoder.difference(&whole);
        let rounded = decoder.difference(&run(&context, &decoder, KvFormat::F16, MAX_ROWS));
        println!("{}: {exact:.1e} of the largest logit, {rounded:.1e} with a cache in f16", decoder.name);
        if exact > GPU_TOLERANCE || rounded > F16_CACHE_TOLERANCE {
            wrong.push(format!("{}: {exact:.1e} and {rounded:.1e}", decoder.name));
        }
        for rows in [1, 5] {
            let d = difference(&run(&context, &decoder, KvFormat::F32, rows), &whole);
            if d > SPLIT_TOLERANCE {
                wrong.push(format!("{}: {rows} rows at a time: {d:.1e}", decoder.name));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn the_gpu_gives_the_logits_of_transformers() {
    gives_the_logits_of_transformers(&Request::default());
}

#[test]
fn without_subgroups_too() {
    gives_the_logits_of_transformers(&Request { without_subgroups: true, ..Request::default() });
}
