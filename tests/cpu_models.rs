//! Whole models on the CPU executor: against the reference executor, and against itself with other thread counts, splits
//! of the prompt and kernel flavours, where every bit must be the same.

mod common;

use common::{
    formats::PLAIN,
    rng::Rng,
    runner::Runner,
    step_runner::{StepRunner, bits},
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    arch::Task,
    cpu::{Cpu, Flavour, Kernels, pool::Pool},
    kv::{self, KvFormat},
    plan::{Executor, RowBound},
    quant::{Format, repack::Arrangement},
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

fn cpu(file: &[u8], kv: KvFormat, threads: usize, kernels: impl Into<Kernels>) -> Runner<Cpu> {
    let kernels = kernels.into();
    Runner::load(file, kv, N_TOKENS, |geometry| Cpu::with_kernels(geometry, Pool::new(threads), kernels))
        .expect("it loads")
}

/// Error of logits as a part of their size: Σ (a − b)² / Σ b².
fn nmse(a: &[Vec<f32>], b: &[Vec<f32>]) -> f64 {
    let pairs = || a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    assert_eq!(a.iter().flatten().count(), b.iter().flatten().count());
    pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f64>() / pairs().map(|(_, b)| b * b).sum::<f64>()
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
        for (threads, rows, kernels) in [
            (1, 32, Flavour::Plain.into()),
            (1, 7, Flavour::Madd.into()),
            (2, 1, Flavour::DotAdd.into()),
            (2, 32, Flavour::Plain.into()),
            (3, 5, Flavour::Madd.into()),
            (4, 2, Flavour::Plain.into()),
            (4, 31, Flavour::DotAdd.into()),
            (2, 9, Kernels { flavour: Flavour::DotAdd, arrangement: Arrangement::SignedFours }),
            (1, 8, Kernels { flavour: Flavour::Madd, arrangement: Arrangement::UnsignedFours }),
        ] {
            let actual = cpu(&file, KvFormat::F16, threads, kernels).append(tokens, rows).expect("it runs");
            assert!(bits(&actual) == expected, "{format:?}, {threads} threads, {rows} rows, {kernels:?}");
        }
    }
}

/// A model whose heads are one block, in weights that lose nothing: what differs comes of keys and values.
fn of_whole_blocks() -> (Vec<u8>, Vec<u32>) {
    let config = TinyConfig { head_size: 32, ..config(Format::F32) };
    (tiny_llama(&config, 8).build(), tokens(config.n_vocab))
}

#[test]
fn keys_and_values_in_q8_0_are_near_those_in_f16_for_half_of_the_memory() {
    let (file, tokens) = of_whole_blocks();
    let [q8_0, f16] = [KvFormat::Q8_0, KvFormat::F16].map(|kv| {
        let mut runner = cpu(&file, kv, 1, Flavour::BUILD);
        (runner.append(&tokens, 32).expect("it runs"), runner.executor.memory().kv_bytes)
    });
    let new = |geometry| Ok(Reference::new(geometry));
    let mut reference = Runner::load(&file[..], KvFormat::Q8_0, N_TOKENS, new).expect("it loads");
    let expected = reference.append(&tokens, 32).expect("it runs");
    let [error, lost] = [nmse(&q8_0.0, &expected), nmse(&q8_0.0, &f16.0)];
    assert!(error < 3e-6, "{error:e} beside the reference");
    assert!((1e-6..3e-4).contains(&lost), "{lost:e} beside f16");
    assert_eq!(q8_0.1 * 64, f16.1 * 34);
}

#[test]
fn with_keys_and_values_in_q8_0_any_split_threads_and_flavour_give_the_same_bits() {
    let (file, tokens) = of_whole_blocks();
    let expected = bits(&cpu(&file, KvFormat::Q8_0, 1, Flavour::Plain).append(&tokens, 1).expect("it runs"));
    for (threads, rows, flavour) in [
        (1, 32, Flavour::Plain),
        (1, 7, Flavour::Madd),
        (2, 1, Flavour::DotAdd),
        (2, 32, Flavour::Madd),
        (3, 5, Flavour::Plain),
        (4, 31, Flavour::DotAdd),
    ] {
        let mut runner = cpu(&file, KvFormat::Q8_0, threads, flavour);
        let actual = runner.append(&tokens, rows).expect("it runs");
        assert!(bits(&actual) == expected, "{threads} threads, {rows} rows, {flavour:?}");
        // Another text in the place of the end, in the middle of a page and of a pair of positions; and the end again.
        runner.truncate(67);
        runner.append(&tokens[..20], rows).expect("it runs");
        runner.truncate(67);
        let again = runner.append(&tokens[67..], rows).expect("it runs");
        assert!(bits(&again) == expected[67..], "after another text: {threads} threads, {rows} rows");
    }
}

#[test]
fn sequences_in_q8_0_can_be_forked_and_put_aside() {
    let (file, tokens) = of_whole_blocks();
    let new = || {
        let Runner { executor, model, .. } = cpu(&file, KvFormat::Q8_0, 2, Flavour::BUILD);
        let plan = model.plan(Task::Generate, RowBound::UpTo(32), 32).expect("a plan");
        (StepRunner::new(executor, plan, N_TOKENS, 2), model.kv_geometry(KvFormat::Q8_0))
    };
    let ((mut runner, geometry), (mut fresh, _)) = (new(), new());
    let expected = bits(&runner.feed_new(&tokens, 32));
    let id = runner.kv.create();
    runner.feed(id, &tokens[..91], 32);
    let binding = kv::Binding { model: 42, geometry };
    let bytes = kv::snapshot(&runner.kv, id, b"", &tokens[..91], &binding, &mut runner.executor);
    let bytes = bytes.expect("it reads").expect("at once");
    let fork = runner.kv.fork(id).expect("a sequence");
    // The first to go on gets a copy of the page that both have begun.
    runner.feed(fork, &tokens[..20], 32);
    assert!(bits(&runner.feed(id, &tokens[91..], 32)) == expected[91..], "beside a fork");
    let contents = kv::Contents::of(&bytes, &binding).expect("whole");
    let id = fresh.kv.create();
    fresh.kv.append(id, contents.n_positions()).expect("it fits");
    fresh.executor.kv_reserve(fresh.kv.n_pages()).expect("room");
    contents.write(fresh.kv.pages(id).expect("pages"), &mut fresh.executor).expect("it writes");
    assert!(bits(&fresh.feed(id, &tokens[91..], 32)) == expected[91..], "restored");
    let fork = fresh.kv.fork(id).expect("a sequence");
    fresh.kv.truncate(fork, 91).expect("shorter");
    assert!(bits(&fresh.feed(fork, &tokens[91..], 7)) == expected[91..], "forked");
}

/// The budget of barriers at one row: five per layer. Which they are is in `tests/cpu_phases.rs`.
#[test]
fn barriers_per_token() {
    let config = TinyConfig { n_layer: 5, ..TinyConfig::default() };
    let file = tiny_llama(&config, 5).build();
    let mut runner = cpu(&file, KvFormat::F16, 2, Flavour::BUILD);
    runner.append(&tokens(config.n_vocab)[..4], 4).expect("it runs");
    let before = runner.executor.pool().barriers();
    runner.append(&[5], 1).expect("it runs");
    let barriers = runner.executor.pool().barriers() - before;
    // The step is cut behind every seventh operation: where a job ends, no barrier is counted.
    let operations = 6 * config.n_layer + 3;
    assert!(barriers as usize <= 5 * config.n_layer, "{barriers} barriers");
    assert!(
        barriers as usize >= 5 * config.n_layer - operations / 7,
        "{barriers} barriers: the counter does not count"
    );
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
