//! Times the kernels on the table of cases, through the executor, and whole steps of a model with SmolLM2-135M's shapes and random
//! weights. Natively: `cargo run --release --example kernels`. What
//! counts is the wasm build: `node tests/bench/kernels.mjs`, which drives the exports below with its own clock.

#[path = "../common/mod.rs"]
mod common;

use common::{
    case::Case,
    cases,
    formats::whole,
    runner::{MAX_ROWS, Runner},
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    cpu::{Cpu, pool::Pool},
    kv::KvFormat,
    plan::PlanSlot,
    quant::Format,
};

/// What is timed: matrix × vector and a prefill slice, per format; the head of a small model.
fn all() -> Vec<Case> {
    let mut all = vec![];
    for format in Format::ALL {
        for rows in [1, 4, 64] {
            all.push(cases::product(format, 1536, whole(format, 576), rows));
        }
    }
    all.push(cases::product(Format::Q8_0, 49152, 576, 1));
    all
}

/// A case in an executor, ready to run.
struct Ready {
    case: Case,
    cpu: Cpu,
    slot: PlanSlot,
}

impl Ready {
    fn new(case: Case, threads: usize) -> Self {
        let mut cpu = Cpu::new(case.geometry, Pool::new(threads)).expect("an executor");
        let slot = case.load(&mut cpu, 1 << 16).expect("it loads");
        Self { case, cpu, slot }
    }

    fn run(&mut self, iterations: u32) {
        for _ in 0..iterations {
            self.case.first_step(&mut self.cpu, self.slot).expect("it runs");
        }
    }

    /// Weights multiplied in one run, with each row anew.
    fn n_products(&self) -> f64 {
        self.case.n_weights() as f64 * self.case.max_rows() as f64
    }
}

/// Positions of the model's context.
const CONTEXT: usize = 2304;

/// SmolLM2-135M's shapes and formats.
fn model(threads: usize) -> Runner<Cpu> {
    let config = TinyConfig {
        n_layer: 30,
        n_embd: 576,
        n_ff: 1536,
        n_head: 9,
        n_head_kv: 3,
        head_size: 64,
        n_vocab: 49152,
        n_ctx: CONTEXT,
        format: Format::Q4_1,
        embd_format: Format::Q8_0,
        ..TinyConfig::default()
    };
    let file = tiny_llama(&config, 1).build();
    Runner::load(&file[..], KvFormat::F16, CONTEXT, |geometry| Cpu::new(geometry, Pool::new(threads)))
        .expect("it loads")
}

/// Reads a prompt of n tokens from the start.
fn prefill(model: &mut Runner<Cpu>, n: usize) {
    model.truncate(0);
    let ids: Vec<u32> = (0..n as u32).map(|i| i * 37 % 49152).collect();
    model.append_tail(&ids, MAX_ROWS, 1).expect("it runs");
}

/// Adds n tokens one by one.
fn decode(model: &mut Runner<Cpu>, n: usize) {
    for i in 0..n as u32 {
        model.append(&[i * 53 % 49152], 1).expect("it runs");
    }
}

/// Reads n tokens behind the first `depth` as guesses are verified: the logits of all of them.
fn verify(model: &mut Runner<Cpu>, depth: usize, n: usize) {
    let ids: Vec<u32> = (0..n as u32).map(|i| i * 71 % 49152).collect();
    model.truncate(depth);
    model.append(&ids, n).expect("it runs");
}

#[cfg(target_arch = "wasm32")]
mod exports {
    use super::{Ready, all};
    use crate::common::runner::Runner;
    use kinglet::cpu::Cpu;
    use wasm_bindgen::prelude::wasm_bindgen;

    /// A case for the page's clock.
    #[wasm_bindgen]
    pub struct Bench(Ready);

    #[wasm_bindgen]
    impl Bench {
        /// Case i, or nothing.
        pub fn new(i: usize) -> Option<Bench> {
            all().into_iter().nth(i).map(|case| Self(Ready::new(case, 1)))
        }

        pub fn name(&self) -> String {
            self.0.case.name.clone()
        }

        pub fn products(&self) -> f64 {
            self.0.n_products()
        }

        pub fn run(&mut self, iterations: u32) {
            self.0.run(iterations);
        }
    }

    /// A model for the page's clock.
    #[wasm_bindgen]
    pub struct Model(Runner<Cpu>);

    #[wasm_bindgen]
    impl Model {
        #[wasm_bindgen(constructor)]
        pub fn new() -> Model {
            Self(super::model(1))
        }

        pub fn prefill(&mut self, n: usize) {
            super::prefill(&mut self.0, n);
        }

        pub fn decode(&mut self, n: usize) {
            super::decode(&mut self.0, n);
        }

        pub fn verify(&mut self, depth: usize, n: usize) {
            super::verify(&mut self.0, depth, n);
        }
    }
}

#[cfg(target_arch = "wasm32")]
fn main() {}

#[cfg(not(target_arch = "wasm32"))]
fn main() {
    use std::time::Instant;
    let threads = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1);
    for case in all() {
        let mut ready = Ready::new(case, threads);
        ready.run(2);
        let mut seconds: Vec<f64> = (0..21)
            .map(|_| {
                let start = Instant::now();
                ready.run(1);
                start.elapsed().as_secs_f64()
            })
            .collect();
        seconds.sort_by(f64::total_cmp);
        let giga = ready.n_products() / seconds[seconds.len() / 2] / 1e9;
        println!(r#"{{"case":"{}","threads":{threads},"gigaweightsPerSecond":{giga:.2}}}"#, ready.case.name);
    }
    let mut model = model(threads);
    prefill(&mut model, 32);
    let mut rate = |what: &str, n: usize, run: &mut dyn FnMut(&mut Runner<Cpu>)| {
        let start = Instant::now();
        run(&mut model);
        let per_second = n as f64 / start.elapsed().as_secs_f64();
        println!(r#"{{"case":"{what}","threads":{threads},"tokensPerSecond":{per_second:.1}}}"#);
    };
    rate("prefill 256", 256, &mut |m| prefill(m, 256));
    rate("decode 64 behind 256", 64, &mut |m| decode(m, 64));
    for n in [1, 2, 4, 8] {
        rate(&format!("verify {n} behind 256"), 32 * n, &mut |m| (0..32).for_each(|_| verify(m, 256, n)));
    }
    rate("prefill 2000", 2000, &mut |m| prefill(m, 2000));
    rate("decode 64 behind 2000", 64, &mut |m| decode(m, 64));
}
