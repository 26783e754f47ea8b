//! Every pair of what a device may have or lack, and of what the self-check may have taken away, computes what the reference computes:
//! models behind short prompts and long ones, then 16 given tokens one at a time.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::rc::Rc;

use common::{
    decoders::decoder_named,
    golden::difference,
    gpu::context,
    rng::Rng,
    runner::{MAX_ROWS, Runner},
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    error::Result,
    gpu::{
        Context, Forms, Gpu, Request,
        fault::{Fault, FaultKind},
    },
    kv::KvFormat,
    quant::Format,
    reference::Reference,
};

/// Of the largest logit, with the same weights; a rounding to f16 in the cache may go the other way.
const TOLERANCE: f32 = 2e-3;
/// Tokens that are given one at a time.
const N_FORCED: usize = 16;
/// The last of them is behind two parts of attention ([`Forms::part_positions`]).
const PROMPTS: [usize; 3] = [6, 70, 500];
const CAPACITY: usize = 576;

/// What differs, each yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Factor {
    Subgroups,
    /// WebGPU's default limits, and bindings so short that matrices are in shards.
    NarrowLimits,
    Tiles,
    AttentionTiles,
    Appends,
    Parts,
    F16Cache,
}

const FACTORS: [Factor; 7] = [
    Factor::Subgroups,
    Factor::NarrowLimits,
    Factor::Tiles,
    Factor::AttentionTiles,
    Factor::Appends,
    Factor::Parts,
    Factor::F16Cache,
];

/// Which factors are there.
type Configuration = [bool; FACTORS.len()];

/// Eight configurations in which every two factors have all four values: each column is one of the sums (modulo 2) of three bits.
fn configurations() -> [Configuration; 8] {
    std::array::from_fn(|i| std::array::from_fn(|column| (i & (column + 1)).count_ones() % 2 == 1))
}

fn has(configuration: &Configuration, factor: Factor) -> bool {
    FACTORS.iter().zip(configuration).any(|(f, is_there)| *f == factor && *is_there)
}

fn device(configuration: &Configuration) -> Rc<Context> {
    let is_narrow = has(configuration, Factor::NarrowLimits);
    let context = context(&Request {
        without_subgroups: !has(configuration, Factor::Subgroups),
        default_limits: is_narrow,
        binding_limit_bytes: is_narrow.then_some(1 << 18),
        ..Request::default()
    });
    context.set_forms(Forms {
        tiles: has(configuration, Factor::Tiles),
        attention_tiles: has(configuration, Factor::AttentionTiles),
        appends: has(configuration, Factor::Appends),
        parts: has(configuration, Factor::Parts),
        ..context.forms()
    });
    context
}

/// Logits of the prompt's last token and of every given one.
fn logits<E: kinglet::plan::Executor>(mut runner: Runner<E>, prompt: &[u32], forced: &[u32]) -> Result<Vec<Vec<f32>>> {
    let mut all = runner.append_tail(prompt, MAX_ROWS, 1)?;
    all.append(&mut runner.append(forced, 1)?);
    Ok(all)
}

fn random_tokens(n_prompt: usize, n_vocab: usize, rng: &mut Rng) -> Vec<u32> {
    (0..n_prompt + N_FORCED).map(|_| rng.below(n_vocab) as u32).collect()
}

#[test]
fn every_pair_of_factors_is_there_in_all_four_ways() {
    for a in 0..FACTORS.len() {
        for b in 0..a {
            for (first, second) in [(false, false), (false, true), (true, false), (true, true)] {
                assert!(
                    configurations().iter().any(|c| c[a] == first && c[b] == second),
                    "{:?} {:?}",
                    FACTORS[a],
                    FACTORS[b]
                );
            }
        }
    }
}

#[test]
fn every_configuration_gives_the_logits_of_the_reference() -> Result<()> {
    // The table is longer than a narrow binding.
    let (format, embd_format) = (Format::Q4_1, Format::F32);
    let config = TinyConfig { n_vocab: 1536, n_ctx: CAPACITY, rope_freqs: true, embd_format, ..TinyConfig::of(format) };
    let llama = tiny_llama(&config, 3).build();
    // Its queries and keys are normalised.
    let qwen3 = decoder_named("qwen3");
    let mut rng = Rng(11);
    for (name, file, n_vocab) in [("llama", &llama[..], config.n_vocab), ("qwen3", qwen3.file, qwen3.logits[0].len())] {
        for n_prompt in PROMPTS {
            let tokens = random_tokens(n_prompt, n_vocab, &mut rng);
            let (prompt, forced) = tokens.split_at(n_prompt);
            let expected = [KvFormat::F16, KvFormat::F32].map(|format| {
                let new = |geometry| Ok(Reference::new(geometry));
                Runner::load(file, format, CAPACITY, new).and_then(|runner| logits(runner, prompt, forced))
            });
            let [f16, f32] = expected;
            let (f16, f32) = (f16?, f32?);
            for configuration in configurations() {
                let context = device(&configuration);
                let is_f16 = has(&configuration, Factor::F16Cache);
                let format = if is_f16 { KvFormat::F16 } else { KvFormat::F32 };
                let runner = Runner::load(file, format, CAPACITY, |geometry| Ok(Gpu::new(context.clone(), geometry)))?;
                let d = difference(&logits(runner, prompt, forced)?, if is_f16 { &f16 } else { &f32 });
                assert!(
                    d <= TOLERANCE,
                    "{name} behind {n_prompt}, {FACTORS:?} {configuration:?}: {d} of the largest logit"
                );
            }
        }
    }
    Ok(())
}

/// The longest prompt is long enough for parts, and it is seen where nothing brings them together.
#[test]
fn a_fault_that_only_a_long_text_meets_is_seen() -> Result<()> {
    let config = TinyConfig { n_ctx: CAPACITY, ..TinyConfig::of(Format::Q4_1) };
    let file = tiny_llama(&config, 3).build();
    let tokens = random_tokens(PROMPTS[2], config.n_vocab, &mut Rng(5));
    let (prompt, forced) = tokens.split_at(PROMPTS[2]);
    let new = |geometry| Ok(Reference::new(geometry));
    let expected = logits(Runner::load(&file[..], KvFormat::F32, CAPACITY, new)?, prompt, forced)?;
    let context = context(&Request::default());
    context.inject(Fault::of("attention_join", FaultKind::StaleFrom(0)));
    let runner = Runner::load(&file[..], KvFormat::F32, CAPACITY, |geometry| Ok(Gpu::new(context.clone(), geometry)))?;
    let actual = logits(runner, prompt, forced)?;
    // The first of two parts at least is 256 positions long.
    let n_before = 512 - PROMPTS[2];
    assert!(difference(&actual[..n_before], &expected[..n_before]) <= TOLERANCE, "before there are parts");
    assert!(difference(&actual[n_before..], &expected[n_before..]) > TOLERANCE, "the fault is seen");
    Ok(())
}
