//! Every pair of what a device may have or lack, and of what the self-check may have taken away, computes what the reference computes:
//! models behind short prompts and long ones, then 16 given tokens one at a time.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::{collections::BTreeMap, rc::Rc};

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
        Context, Forms, Gpu, Numbers, Request,
        fault::{Fault, FaultKind},
    },
    kv::KvFormat,
    quant::Format,
    reference::Reference,
};

/// Of the largest logit, with the same weights; a rounding to f16 in the cache may go the other way.
const TOLERANCE: f32 = 2e-3;
/// The same where that is a step of 8 bits.
const TOLERANCE_Q8_0: f32 = 1e-2;
/// The same where tiles multiply f16, and where they multiply bytes: the steps of the latter are ten times as wide.
const TOLERANCE_F16: f32 = 6e-3;
const TOLERANCE_BYTES: f32 = 5e-2;
/// Tokens that are given one at a time.
const N_FORCED: usize = 8;
/// Behind the last of them there are two parts of attention ([`Forms::part_positions`]).
const PROMPTS: [usize; 3] = [6, 70, 508];
const CAPACITY: usize = 576;

/// What differs, each yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Factor {
    Subgroups,
    /// WebGPU's default limits, and bindings so short that matrices are in shards.
    NarrowLimits,
    Tiles,
    /// Tiles of 64 rows, and others for few rows.
    LongTiles,
    ShortTiles,
    AttentionTiles,
    Appends,
    Parts,
    /// Teams of fewer lanes than they could have.
    FewLanes,
}

use Factor::{Appends, AttentionTiles, FewLanes, LongTiles, NarrowLimits, Parts, ShortTiles, Subgroups, Tiles};

const FACTORS: [Factor; 9] =
    [Subgroups, NarrowLimits, Tiles, LongTiles, ShortTiles, AttentionTiles, Appends, Parts, FewLanes];

/// Formats of the cache.
const FORMATS: [KvFormat; 3] = [KvFormat::F16, KvFormat::F32, KvFormat::Q8_0];
/// What tiles multiply; f16 where the device has it.
const NUMBERS: [Numbers; 3] = [Numbers::F32, Numbers::F16, Numbers::Bytes];

/// Which factors are there, the cache's format, what tiles multiply.
type Configuration = ([bool; FACTORS.len()], KvFormat, Numbers);

/// Nine configurations in which every two factors have all four values, each of both values occurs with every format and with all numbers,
/// and those with each other.
fn configurations() -> [Configuration; 9] {
    let columns: [[u8; FACTORS.len()]; 9] = [
        [1, 0, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 1, 1, 0, 1, 1],
        [0, 1, 0, 0, 0, 1, 1, 1, 0],
        [0, 0, 1, 0, 0, 1, 1, 1, 1],
        [0, 1, 1, 0, 1, 0, 0, 0, 0],
        [1, 1, 0, 1, 0, 0, 1, 1, 0],
        [0, 1, 0, 0, 1, 0, 1, 0, 0],
        [0, 0, 0, 1, 0, 0, 1, 1, 1],
        [1, 0, 1, 1, 1, 1, 0, 0, 1],
    ];
    std::array::from_fn(|i| (columns[i].map(|factor| factor == 1), FORMATS[i / 3], NUMBERS[i % 3]))
}

fn has((factors, ..): &Configuration, factor: Factor) -> bool {
    FACTORS.iter().zip(factors).any(|(f, is_there)| *f == factor && *is_there)
}

fn device(configuration: &Configuration) -> Rc<Context> {
    let is_narrow = has(configuration, NarrowLimits);
    let context = context(&Request {
        without_subgroups: !has(configuration, Subgroups),
        default_limits: is_narrow,
        binding_limit_bytes: is_narrow.then_some(300_000),
        ..Request::default()
    });
    let numbers = match configuration.2 {
        Numbers::F16 if !context.facts().f16 => Numbers::F32,
        numbers => numbers,
    };
    context.set_forms(Forms {
        tiles: has(configuration, Tiles),
        tile_t: if has(configuration, LongTiles) { 64 } else { 32 },
        short_tiles: has(configuration, ShortTiles),
        numbers,
        attention_tiles: has(configuration, AttentionTiles),
        appends: has(configuration, Appends),
        parts: has(configuration, Parts),
        lanes_part: if has(configuration, FewLanes) { 4 } else { 1 },
        ..context.forms()
    });
    context
}

fn tolerance(configuration: &Configuration, format: KvFormat) -> f32 {
    match (configuration.2, format) {
        (Numbers::Bytes, _) if has(configuration, Tiles) => TOLERANCE_BYTES,
        (_, KvFormat::Q8_0) => TOLERANCE_Q8_0,
        (Numbers::F16, _) if has(configuration, Tiles) => TOLERANCE_F16,
        _ => TOLERANCE,
    }
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
                let is_there = configurations().iter().any(|(c, ..)| c[a] == first && c[b] == second);
                assert!(is_there, "{:?} {:?}", FACTORS[a], FACTORS[b]);
            }
        }
        for (format, value) in FORMATS.into_iter().flat_map(|format| [(format, false), (format, true)]) {
            let is_there = configurations().iter().any(|(c, f, _)| c[a] == value && *f == format);
            assert!(is_there, "{:?} {format:?}", FACTORS[a]);
        }
        for (numbers, value) in NUMBERS.into_iter().flat_map(|numbers| [(numbers, false), (numbers, true)]) {
            let is_there = configurations().iter().any(|(c, _, n)| c[a] == value && *n == numbers);
            assert!(is_there, "{:?} {numbers:?}", FACTORS[a]);
        }
    }
}

#[test]
fn every_configuration_gives_the_logits_of_the_reference() -> Result<()> {
    // The table is longer than a narrow binding.
    let (format, embd_format) = (Format::Q4_1, Format::F32);
    let heads = TinyConfig { head_size: 32, ..TinyConfig::of(format) };
    let config = TinyConfig { n_vocab: 1536, n_ctx: CAPACITY, rope_freqs: true, embd_format, ..heads };
    let llama = tiny_llama(&config, 3).build();
    // Its queries and keys are normalised.
    let qwen3 = decoder_named("qwen3");
    let mut rng = Rng(11);
    for (name, file, n_vocab) in [("llama", &llama[..], config.n_vocab), ("qwen3", qwen3.file, qwen3.logits[0].len())] {
        for n_prompt in PROMPTS.into_iter().filter(|n| name == "llama" || *n == 70) {
            let tokens = random_tokens(n_prompt, n_vocab, &mut rng);
            let (prompt, forced) = tokens.split_at(n_prompt);
            // Qwen 3's heads are too short for blocks: it has an f16 there.
            let fitting = |format| if format == KvFormat::Q8_0 && name == "qwen3" { KvFormat::F16 } else { format };
            let mut expected = BTreeMap::new();
            // What is long is so for the sake of the parts.
            for configuration in configurations().into_iter().filter(|c| n_prompt < 100 || has(c, Parts)) {
                let context = device(&configuration);
                let format = fitting(configuration.1);
                if !expected.contains_key(format!("{format:?}").as_str()) {
                    let runner = Runner::load(file, format, CAPACITY, |geometry| Ok(Reference::new(geometry)))?;
                    expected.insert(format!("{format:?}"), logits(runner, prompt, forced)?);
                }
                let runner = Runner::load(file, format, CAPACITY, |geometry| Ok(Gpu::new(context.clone(), geometry)))?;
                let d = difference(&logits(runner, prompt, forced)?, &expected[&format!("{format:?}")]);
                println!("{name} behind {n_prompt}, {configuration:?}: {d} of the largest logit");
                let is_right = d <= tolerance(&configuration, format);
                assert!(is_right, "{name} behind {n_prompt}, {FACTORS:?} {configuration:?}: {d} of the largest logit");
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
