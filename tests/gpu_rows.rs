//! A step of few rows on the GPU gives the bits of its rows one by one, and leaves the same in the cache: so guesses that are verified
//! in one step change nothing. Every family, every format of weights and of the cache, with and without subgroups, far into a text.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::rc::Rc;

use common::{
    decoders::decoders,
    golden::difference,
    gpu::context,
    rng::Rng,
    runner::{MAX_ROWS, Runner},
    step_runner::bits,
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    gpu::{Context, Gpu, Request},
    kv::KvFormat,
    quant::Format,
    reference::Reference,
    session::FEW_ROWS,
};

const CONTEXT: usize = 600;
/// Positions of a part of attention, at least.
const PART: usize = 256;
/// The GPU against the reference: the largest difference over the largest logit.
const REFERENCE_TOLERANCE: f32 = 2e-3;
/// Families that scale their logits by what is no power of two: there lavapipe may multiply in another order, which is one rounding.
const SCALED: [&str; 2] = ["granite", "granite_full"];
const SCALED_TOLERANCE: f32 = 3e-7;

fn on_gpu(context: &Rc<Context>, file: &[u8], format: KvFormat) -> Runner<Gpu> {
    Runner::load(file, format, CONTEXT, |geometry| Ok(Gpu::new(context.clone(), geometry))).expect("it loads")
}

fn tokens(n: usize, n_vocab: usize, seed: u64) -> Vec<u32> {
    let mut rng = Rng(seed);
    (0..n).map(|_| 3 + rng.below(n_vocab - 3) as u32).collect()
}

/// Behind `n_past` tokens, steps of each number of rows against the same rows one by one, and one more token behind them.
fn compare(context: &Rc<Context>, file: &[u8], format: KvFormat, n_past: usize, sizes: &[usize], what: &str) {
    let mut runner = on_gpu(context, file, format);
    let n_vocab = runner.append(&[3], 1).unwrap()[0].len();
    runner.truncate(0);
    let text = tokens(n_past + FEW_ROWS + 1, n_vocab, 5);
    runner.append_tail(&text[..n_past], MAX_ROWS, 0).unwrap();
    let rows = &text[n_past..];
    let expected = runner.append(rows, 1).unwrap();
    for &n in sizes {
        runner.truncate(n_past);
        let mut found = runner.verify(&rows[..n]).unwrap();
        found.append(&mut runner.append(&rows[n..=n], 1).unwrap());
        if SCALED.contains(&what) {
            let d = difference(&found, &expected[..=n]);
            assert!(d <= SCALED_TOLERANCE, "{what}: {d}");
            continue;
        }
        let differing = (0..=n).find(|i| bits(&found[*i..=*i]) != bits(&expected[*i..=*i]));
        assert_eq!(differing, None, "{what}: row of a step of {n} behind {n_past}");
    }
    let mut reference = Runner::load(file, format, CONTEXT, |geometry| Ok(Reference::new(geometry))).expect("it loads");
    reference.append_tail(&text[..n_past], MAX_ROWS, 0).unwrap();
    let d = difference(&expected[..FEW_ROWS], &reference.verify(&rows[..FEW_ROWS]).unwrap());
    assert!(d <= REFERENCE_TOLERANCE, "{what}: {d} from the reference");
}

/// A kind of each: a table of positions, windows and norms of heads, states of convolutions, norms of rows, a scale; all in `soak`.
const SOME: [&str; 6] = ["gpt2", "gemma3", "lfm2", "olmo2", "phi2", "granite"];

#[test]
fn rows_of_every_family_have_the_bits_that_they_have_alone() {
    let context = context(&Request::default());
    let is_all = std::env::var("KINGLET_LONG").is_ok_and(|long| long == "1");
    for decoder in decoders().into_iter().filter(|d| is_all || SOME.contains(&d.name)) {
        compare(&context, decoder.file, KvFormat::F16, 20, &[2, 5, 8], decoder.name);
    }
}

/// Attention in parts, of which some rows of a step see more than others.
#[test]
fn rows_far_into_a_text_have_the_bits_that_they_have_alone() {
    let config = TinyConfig { n_ctx: CONTEXT, head_size: 32, ..TinyConfig::default() };
    let file = tiny_llama(&config, 3).build();
    let context = context(&Request::default());
    for format in [KvFormat::F32, KvFormat::F16, KvFormat::Q8_0] {
        compare(&context, &file, format, 2 * PART - 4, &[2, 3, 7, 8], &format!("{format:?}"));
    }
}

#[test]
fn rows_of_every_format_have_the_bits_that_they_have_alone() {
    let contexts = [false, true].map(|without_subgroups| context(&Request { without_subgroups, ..Request::default() }));
    for (format, context) in Format::ALL.into_iter().zip(contexts.iter().cycle()) {
        let config = TinyConfig { n_layer: 1, biases: format == Format::Q4_0, ..TinyConfig::of(format) };
        let file = tiny_llama(&config, 9).build();
        compare(context, &file, KvFormat::F16, 12, &[3, 8], format.name());
    }
}
