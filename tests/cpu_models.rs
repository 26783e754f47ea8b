//! Whole models on the CPU executor: against the reference executor, and against itself with other thread counts, splits
//! of the prompt and kernel flavours, where every bit must be the same.

mod common;

use common::{
    formats::PLAIN,
    rng::Rng,
    runner::Runner,
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    cpu::{Cpu, Flavour, pool::Pool},
    kv::KvFormat,
    plan::Executor,
    quant::Format,
    reference::Reference,
};

const N_TOKENS: usize = 150;

fn tokens(n_vocab: usize) -> Vec<u32> {
    let mut rng = Rng(7);
    (0..N_TOKENS).map(|_| rng.below(n_vocab) as u32).collect()
}

fn config(format: Format) -> TinyConfig {
    TinyConfig { biases: true, rope_freqs: true, ..TinyConfig::of(format) }
}

fn cpu(file: &[u8], kv: KvFormat, threads: usize, flavour: Flavour) -> Runner<Cpu> {
    Runner::load(file, kv, N_TOKENS, |geometry| Cpu::with_flavour(geometry, Pool::new(threads), flavour))
        .expect("it loads")
}

/// Error of logits as a part of their size: Σ (a − b)² / Σ b².
fn nmse(a: &[Vec<f32>], b: &[Vec<f32>]) -> f64 {
    let pairs = || a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    assert_eq!(a.iter().flatten().count(), b.iter().flatten().count());
    pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f64>() / pairs().map(|(_, b)| b * b).sum::<f64>()
}

fn bits(logits: &[Vec<f32>]) -> Vec<Vec<u32>> {
    logits.iter().map(|row| row.iter().map(|x| x.to_bits()).collect()).collect()
}

#[test]
fn agrees_with_the_reference() {
    for format in Format::ALL {
        for kv in [KvFormat::F16, KvFormat::F32] {
            let config = config(format);
            let file = tiny_llama(&config, 3).build();
            let tokens = tokens(config.n_vocab);
            let mut reference =
                Runner::load(&file[..], kv, N_TOKENS, |geometry| Ok(Reference::new(geometry))).expect("it loads");
            let expected = reference.append(&tokens, 32).expect("it runs");
            let actual = cpu(&file, kv, 1, Flavour::BUILD).append(&tokens, 32).expect("it runs");
            // Quantized activations cost about 1e-5 per product; float formats only round.
            let limit = if format.block_len() == 1 { 1e-7 } else { 2e-3 };
            let error = nmse(&actual, &expected);
            assert!(error < limit, "{format:?} {kv:?}: {error:e}");
        }
    }
}

/// A file as llama.cpp's Q4_K_M is, also where rows are no whole super-blocks: each tensor has the format that fits it.
#[test]
fn a_mixed_file_agrees_with_the_reference() {
    let config = TinyConfig {
        n_ff: 288,
        head_format: Some(Format::Q6_K),
        embd_format: Format::Q8_0,
        mixed: &[
            ("attn_v", Format::Q6_K),
            ("attn_output", Format::IQ4_XS),
            ("ffn_up", Format::Q5_K),
            ("ffn_down", Format::Q5_0),
        ],
        ..config(Format::Q4_K)
    };
    let file = tiny_llama(&config, 3).build();
    let tokens = tokens(config.n_vocab);
    let mut reference =
        Runner::load(&file[..], KvFormat::F16, N_TOKENS, |geometry| Ok(Reference::new(geometry))).expect("it loads");
    let expected = reference.append(&tokens, 32).expect("it runs");
    let actual = cpu(&file, KvFormat::F16, 1, Flavour::BUILD).append(&tokens, 32).expect("it runs");
    let error = nmse(&actual, &expected);
    assert!(error < 2e-3, "{error:e}");
    let one_by_one = cpu(&file, KvFormat::F16, 2, Flavour::BUILD).append(&tokens, 1).expect("it runs");
    assert!(bits(&one_by_one) == bits(&actual));
}

#[test]
fn any_split_threads_and_flavour_give_the_same_bits() {
    // Of the formats of codes one of each kind of scales; all of them are in tests/ops.rs.
    let codes = [Format::Q5_1, Format::Q2_K, Format::Q4_K, Format::Q6_K, Format::IQ4_XS];
    for format in PLAIN.into_iter().chain(codes) {
        let config = config(format);
        let file = tiny_llama(&config, 4).build();
        // Wide models are slow here; the tiles end in the same tails.
        let tokens = &tokens(config.n_vocab)[..if config.n_embd > 64 { 33 } else { N_TOKENS }];
        let expected = bits(&cpu(&file, KvFormat::F16, 1, Flavour::Plain).append(tokens, 1).expect("it runs"));
        for (threads, rows, flavour) in [
            (1, 32, Flavour::Plain),
            (1, 7, Flavour::Relaxed),
            (2, 1, Flavour::Relaxed),
            (2, 32, Flavour::Plain),
            (3, 5, Flavour::Relaxed),
            (4, 2, Flavour::Plain),
            (4, 31, Flavour::Relaxed),
        ] {
            let actual = cpu(&file, KvFormat::F16, threads, flavour).append(tokens, rows).expect("it runs");
            assert!(bits(&actual) == expected, "{format:?}, {threads} threads, {rows} rows, {flavour:?}");
        }
    }
}

/// The budget of barriers: six per layer and a few for the embedding and the head, at one row.
#[test]
fn barriers_per_token() {
    let config = TinyConfig { n_layer: 5, ..TinyConfig::default() };
    let file = tiny_llama(&config, 5).build();
    let mut runner = cpu(&file, KvFormat::F16, 2, Flavour::BUILD);
    runner.append(&tokens(config.n_vocab)[..4], 4).expect("it runs");
    let before = runner.executor.pool().barriers();
    runner.append(&[5], 1).expect("it runs");
    let barriers = runner.executor.pool().barriers() - before;
    assert!(barriers as usize <= 6 * config.n_layer + 3, "{barriers} barriers");
    assert!(barriers as usize >= 4 * config.n_layer, "{barriers} barriers: the counter does not count");
}

#[test]
fn weights_are_held_once() {
    for (format, embd_format) in
        [(Format::Q4_1, Format::Q8_0), (Format::Q4_0, Format::F16), (Format::Q5_0, Format::Q6_K)]
    {
        let config = TinyConfig { format, embd_format, n_vocab: 1024, ..TinyConfig::of(embd_format) };
        let file = tiny_llama(&config, 6).build();
        let memory = cpu(&file, KvFormat::F16, 1, Flavour::BUILD).executor.memory();
        assert!(memory.weights_bytes <= file.len() as u64, "{memory:?} for a file of {}", file.len());
        assert!(memory.kv_bytes > 0 && memory.buffers_bytes > 0, "{memory:?}");
    }
}
