//! Times the matrix products on the GPU that is there: weights per second, by format, shape and number of rows. Natively:
//! `cargo run --release --example gpu [without-subgroups] [name…]`; `VK_DRIVER_FILES` names a driver. Products follow each other
//! in one step, so that handing it over and reading back weigh little.

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
    use std::{rc::Rc, time::Instant};

    use super::common::{case::Case, cases, formats::whole, gpu::context};
    use kinglet::{
        gpu::{Context, Gpu, Request},
        quant::Format,
    };

    /// Rows of x: decode, verify, a chunk.
    const ROWS: [usize; 4] = [1, 4, 8, 64];
    /// N and K of SmolLM2-135M: attention, feed-forward down, feed-forward up, head.
    const SHAPES: [[usize; 2]; 4] = [[576, 576], [576, 1536], [1536, 576], [49152, 576]];
    /// Weights that a step should multiply at least, so that it is long against its overhead.
    const STEP_WEIGHTS: usize = 1 << 27;

    pub(super) fn main() {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let without_subgroups = arguments.iter().any(|a| a == "without-subgroups");
        let names: Vec<&String> = arguments.iter().filter(|a| *a != "without-subgroups").collect();
        let context = context(&Request { without_subgroups, ..Request::default() });
        for format in Format::ALL {
            for [n, k] in SHAPES.map(|[n, k]| [n, whole(format, k)]) {
                for rows in ROWS {
                    let repeats = (STEP_WEIGHTS / (n * k * rows)).clamp(1, 200);
                    let case = cases::repeated_product(format, n, k, rows, repeats);
                    if names.is_empty() || names.iter().any(|name| case.name.contains(*name)) {
                        time(&case, &context);
                    }
                }
            }
        }
    }

    fn time(case: &Case, context: &Rc<Context>) {
        let mut gpu = Gpu::new(context.clone(), case.geometry);
        let slot = case.load(&mut gpu, 1 << 20).expect("it loads");
        let mut run = || {
            let start = Instant::now();
            case.first_step(&mut gpu, slot).expect("it runs");
            start.elapsed().as_secs_f64()
        };
        run();
        let mut seconds: Vec<f64> = (0..5).map(|_| run()).collect();
        seconds.sort_by(f64::total_cmp);
        let giga = case.n_weights() as f64 * case.max_rows() as f64 / seconds[seconds.len() / 2] / 1e9;
        let product = gpu.lowered(slot).expect("it is prepared").dispatches.iter().find(|d| d.op == 1);
        let (kernel, lanes) = product.map_or_else(Default::default, |d| (d.shader.label(), constant(d, "LANES")));
        println!(r#"{{"case":"{}","kernel":"{kernel}","lanes":{lanes},"gigaweightsPerSecond":{giga:.3}}}"#, case.name);
    }

    fn constant(dispatch: &kinglet::gpu::dispatch::Dispatch, name: &str) -> f64 {
        dispatch.constants.iter().find(|(n, _)| *n == name).map_or(0.0, |(_, value)| *value)
    }
}
