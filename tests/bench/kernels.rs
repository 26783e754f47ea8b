//! Times the kernels on the table of cases, through the executor. Natively: `cargo run --release --example kernels`. What
//! counts is the wasm build: `node tests/bench/kernels.mjs`, which drives the exports below with its own clock.

#[path = "../common/mod.rs"]
mod common;

use common::{case::Case, cases};
use kinglet::{
    cpu::{Cpu, pool::Pool},
    plan::PlanSlot,
    quant::Format,
};

/// What is timed: matrix × vector and a prefill slice, per format; the head of a small model.
fn all() -> Vec<Case> {
    let mut all = vec![];
    for format in Format::ALL {
        for rows in [1, 4, 64] {
            all.push(cases::product(format, 1536, 576, rows));
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
        case.load(&mut cpu, 1 << 16).expect("it loads");
        let slot = case.prepare(&mut cpu).expect("it is prepared");
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

#[cfg(target_arch = "wasm32")]
mod exports {
    use super::{Ready, all};
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
}
