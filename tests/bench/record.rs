//! What a token of the GPU costs before the GPU has anything to do with it, natively: writing the parameters of a step, recording its
//! dispatches and handing them over, nothing waited for; of SmolLM2-135M with weights that are zero. `cargo run --release --example record`;
//! `VK_DRIVER_FILES` names a driver. In a browser: tests/measure/recording.mjs.

#[cfg(not(target_arch = "wasm32"))]
#[path = "../common/mod.rs"]
mod common;

#[cfg(target_arch = "wasm32")]
fn main() {}

#[cfg(not(target_arch = "wasm32"))]
fn main() {
    native::main();
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    use super::common::{
        gpu::context,
        llama_model::{llama_model, smollm2_135m},
    };
    use kinglet::{
        arch::Task,
        gpu::{Gpu, Request},
        kv::{KvFormat, PageId},
        plan::{Ahead, Executor, PlanSlot, Progress, Row, RowBound, Step, Want},
        sample::{Sampler, SamplingParams},
    };

    /// Steps of a run, and rows of a step that verifies.
    const RUN: usize = 8;
    const ROWS: usize = 8;
    const ROUNDS: usize = 15;

    pub(super) fn main() {
        let model = llama_model(&smollm2_135m());
        let mut gpu = Gpu::new(context(&Request::default()), model.kv_geometry(KvFormat::F16));
        for id in model.used_weights().expect("a model") {
            let spec = model.weights.spec(id);
            let n_bytes = spec.n_rows() * spec.row_len() / spec.format.block_len() * spec.format.block_bytes();
            gpu.create_weight(id, spec).expect("room");
            gpu.write_weight(id, &vec![0; n_bytes]).expect("its bytes");
        }
        let mut prepare = |bound, n| {
            let plan = model.plan(Task::Generate, bound, n).expect("a plan");
            gpu.prepare(Arc::new(plan)).expect("a plan that the GPU can run")
        };
        let (one, few) = (prepare(RowBound::One, 1), prepare(RowBound::UpTo(ROWS), ROWS));
        gpu.kv_reserve(8).expect("room");
        let chooser = Sampler::new(SamplingParams::greedy(), 0, 49_152, &[]).ok().and_then(|s| s.chooser());
        let ahead = Ahead { chooser: chooser.expect("a way to choose"), draws: &[0.0; RUN] };
        let mut ms = [const { vec![] }; 3];
        for round in 0..=ROUNDS {
            let times = [
                time(&mut gpu, one, 1, None),
                time(&mut gpu, one, 1, Some(&ahead)) / RUN as f64,
                time(&mut gpu, few, ROWS as u32, None),
            ];
            // The first time everything is new.
            ms.iter_mut().zip(times).filter(|_| round > 0).for_each(|(all, ms)| all.push(ms));
        }
        for (name, mut all) in ["a step", "a step of a run of 8", "a step that verifies 8 rows"].into_iter().zip(ms) {
            all.sort_by(f64::total_cmp);
            println!("{name}: {:.3} ms recorded and submitted, median of {ROUNDS}", all[all.len() / 2]);
        }
    }

    /// Hands a step of so many rows, or a run, over; how long that took, ms. Then waits for it.
    fn time(gpu: &mut Gpu, slot: PlanSlot, n_rows: u32, ahead: Option<&Ahead<'_>>) -> f64 {
        let pages: Vec<PageId> = (0..8).map(PageId).collect();
        let rows: Vec<Row> = (0..n_rows).map(|i| Row::token(7 + i, 300 + i, 0)).collect();
        let outputs: Vec<u32> = (0..n_rows).collect();
        let sequences: &[&[PageId]] = &[&pages];
        let want = Want::Best(1);
        let step = Step { rows: &rows, outputs: &outputs, sequences, memories: &[], embeddings: &[], want };
        let start = Instant::now();
        match ahead {
            Some(ahead) => gpu.begin_ahead(slot, &step, ahead).expect("a run"),
            None => gpu.begin(slot, &step).expect("a step"),
        }
        let mut progress = gpu.advance(usize::MAX).expect("it is handed over");
        let ms = start.elapsed().as_secs_f64() * 1e3;
        while progress != Progress::Complete {
            std::thread::sleep(Duration::from_millis(1));
            progress = gpu.advance(usize::MAX).expect("it runs");
        }
        ms
    }
}
