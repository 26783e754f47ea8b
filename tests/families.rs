//! The decoder families against somebody else's implementation: tiny random models of each and of its variants, made and run by
//! HF transformers (tests/golden/make_tiny_decoders.py), through the parser, the architecture, the plan and an executor. The same
//! on the GPU: tests/gpu_families.rs.

mod common;

use common::{
    decoders::{Decoder, decoder_named, decoders},
    encoders::rebuilt,
    parse::parse,
    runner::{MAX_ROWS, Runner},
    step_runner::{StepRunner, bits},
};
use kinglet::{
    arch::Task,
    cpu::{Cpu, pool::Pool},
    error::Result,
    kv::{KvFormat, KvGeometry},
    plan::{Executor, RowBound},
    quant::Format,
    reference::Reference,
};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);

/// The reference executor against transformers, both f32: the largest difference over the largest logit.
const REFERENCE_TOLERANCE: f32 = 1e-4;
/// The CPU executor against transformers: the same weights, other orders of summation and other e^x, tanh, erf, sin and cos.
const CPU_TOLERANCE: f32 = 1e-4;
/// The same with keys and values rounded to f16 (relative 2⁻¹¹ each), over at most seven layers.
const F16_CACHE_TOLERANCE: f32 = 5e-3;

fn new_reference(geometry: KvGeometry) -> Result<Reference> {
    Ok(Reference::new(geometry))
}

fn new_cpu(geometry: KvGeometry) -> Result<Cpu> {
    Cpu::new(geometry, Pool::new(1))
}

fn load<E: Executor>(file: &[u8], format: KvFormat, new: fn(KvGeometry) -> Result<E>) -> Runner<E> {
    Runner::load(file, format, 64, new).expect("it loads")
}

/// Logits of all tokens in one pass.
fn run<E: Executor>(file: &[u8], tokens: &[u32], format: KvFormat, new: fn(KvGeometry) -> Result<E>) -> Vec<Vec<f32>> {
    load(file, format, new).append(tokens, MAX_ROWS).expect("it runs")
}

/// What is over its bound.
fn too_far<E: Executor>(format: KvFormat, tolerance: f32, new: fn(KvGeometry) -> Result<E>) -> Vec<String> {
    let judge = |decoder: &Decoder| {
        let d = decoder.difference(&run(decoder.file, &decoder.tokens, format, new));
        println!("{}: {d:.1e} of the largest logit", decoder.name);
        (d > tolerance).then(|| format!("{}: {d:.1e}", decoder.name))
    };
    decoders().iter().filter_map(judge).collect()
}

#[test]
fn the_reference_gives_the_logits_of_transformers() {
    assert_eq!(too_far(KvFormat::F32, REFERENCE_TOLERANCE, new_reference), [""; 0]);
}

#[test]
fn the_cpu_gives_the_logits_of_transformers() {
    assert_eq!(too_far(KvFormat::F32, CPU_TOLERANCE, new_cpu), [""; 0]);
}

#[test]
fn a_cache_in_f16_stays_near() {
    assert_eq!(too_far(KvFormat::F16, F16_CACHE_TOLERANCE, new_reference), [""; 0]);
    assert_eq!(too_far(KvFormat::F16, F16_CACHE_TOLERANCE, new_cpu), [""; 0]);
}

/// One pass, any split, token by token, and a part taken back give the same bits.
fn any_split_is_the_same<E: Executor>(decoder: &Decoder, format: KvFormat, new: fn(KvGeometry) -> Result<E>) {
    let Decoder { name, file, tokens, .. } = decoder;
    let whole = bits(&run(file, tokens, format, new));
    for rows in [1, 2, 5, 8, 23] {
        let split = load(file, format, new).append(tokens, rows).unwrap();
        assert!(bits(&split) == whole, "{name}: {rows} rows at a time");
    }
    let mut again = load(file, format, new);
    again.append(tokens, MAX_ROWS).unwrap();
    again.truncate(tokens.len() - 11);
    let tail = again.append(&tokens[tokens.len() - 11..], 4).unwrap();
    assert!(bits(&tail) == whole[whole.len() - 11..], "{name}: truncate and go on");
}

#[test]
fn any_split_gives_the_same_bits() {
    for decoder in decoders() {
        for format in [KvFormat::F32, KvFormat::F16] {
            any_split_is_the_same(&decoder, format, new_reference);
            any_split_is_the_same(&decoder, format, new_cpu);
        }
    }
}

/// Three sequences in steps of their own and in common steps, one of them forked, give the same bits.
fn a_batch_is_its_sequences<E: Executor>(decoder: &Decoder, new: fn(KvGeometry) -> Result<E>) {
    let Runner { model, executor, .. } = load(decoder.file, KvFormat::F16, new);
    let plan = model.plan(Task::Generate, RowBound::UpTo(MAX_ROWS), MAX_ROWS).unwrap();
    let mut runner = StepRunner::new(executor, plan, 64, 8);
    let [one, two] = [&decoder.tokens[..14], &decoder.tokens[16..25]];
    let reversed: Vec<u32> = one.iter().rev().copied().collect();
    let alone = [one, two, &reversed].map(|tokens| bits(&runner.feed_new(tokens, 3)));
    let ids = [one, two, &reversed].map(|_| runner.kv.create());
    let first = bits(&runner.step(&[(ids[0], &one[..6]), (ids[1], two), (ids[2], &reversed[..3])]));
    let second = bits(&runner.step(&[(ids[2], &reversed[3..]), (ids[0], &one[6..])]));
    let name = decoder.name;
    assert!(first[..6] == alone[0][..6] && second[11..] == alone[0][6..], "{name}: the first");
    assert!(first[6..15] == alone[1], "{name}: the second");
    assert!(first[15..] == alone[2][..3] && second[..11] == alone[2][3..], "{name}: the third");
    let fork = runner.kv.fork(ids[0]).unwrap();
    let both = bits(&runner.step(&[(fork, &two[..4]), (ids[0], &two[..4])]));
    assert!(both[..4] == both[4..], "{name}: a fork goes on as the original does");
}

#[test]
fn batches_give_the_same_bits_as_their_sequences() {
    for decoder in decoders() {
        a_batch_is_its_sequences(&decoder, new_reference);
        a_batch_is_its_sequences(&decoder, new_cpu);
    }
}

/// q, k and v in one tensor, as convert_hf_to_gguf.py --fuse-qkv writes them.
#[test]
fn fused_and_separate_tensors_give_the_same_bits() {
    for name in ["qwen2", "qwen3", "gemma3", "olmo2", "phi2", "smollm3", "starcoder2"] {
        let decoder = decoder_named(name);
        let mut file = rebuilt(decoder.file);
        let header = parse(decoder.file).unwrap().header;
        for kind in ["weight", "bias"] {
            for layer in 0.. {
                let parts = ["attn_q", "attn_k", "attn_v"].map(|part| format!("blk.{layer}.{part}.{kind}"));
                let Some(q) = header.tensors.iter().find(|t| t.name == parts[0]) else { break };
                let mut shape = q.shape.clone();
                let tensors = parts.each_ref().map(|part| header.tensors.iter().find(|t| t.name == *part).unwrap());
                shape[0] = tensors.iter().map(|t| t.shape[0]).sum();
                let data = parts.each_ref().map(|part| std::mem::take(&mut file.tensor_mut(part).data)).concat();
                let fused = format!("blk.{layer}.attn_qkv.{kind}");
                file = parts.iter().fold(file, |file, part| file.without_tensor(part));
                file = file.tensor(&fused, &shape, q.format, data);
            }
        }
        let file = file.build();
        assert_ne!(file, decoder.file, "{name}");
        let [fused, separate] =
            [&file[..], decoder.file].map(|file| run(file, &decoder.tokens, KvFormat::F32, new_reference));
        assert!(bits(&fused) == bits(&separate), "{name}");
    }
}

/// Every tensor of every family matters: one that is off is noticed.
#[test]
fn a_wrong_tensor_is_noticed() {
    for decoder in decoders() {
        for tensor in parse(decoder.file).unwrap().header.tensors {
            let file =
                rebuilt(decoder.file).with(|file| distort(&mut file.tensor_mut(&tensor.name).data, tensor.format));
            let d = decoder.difference(&run(&file.build(), &decoder.tokens, KvFormat::F32, new_reference));
            assert!(
                d > 2.0 * REFERENCE_TOLERANCE,
                "{}: {} is off and the difference is {d}",
                decoder.name,
                tensor.name
            );
        }
        let mut tokens = decoder.tokens.clone();
        tokens[0] ^= 1;
        let d = decoder.difference(&run(decoder.file, &tokens, KvFormat::F32, new_reference));
        assert!(d > REFERENCE_TOLERANCE, "{}: another first token: {d}", decoder.name);
    }
}

/// Every second element of a tensor a quarter larger.
fn distort(data: &mut [u8], format: Format) {
    let size = format.block_bytes();
    for bytes in data.chunks_exact_mut(size).step_by(2) {
        match format {
            Format::F32 => {
                let x = f32::from_le_bytes(bytes.try_into().unwrap());
                bytes.copy_from_slice(&(x * 1.25).to_le_bytes());
            }
            // A quarter more in the last places: the exponent stays.
            Format::F16 => bytes[1] ^= 1,
            other => panic!("{other:?} in a golden file"),
        }
    }
}

/// GPT-2 has a row for each position of the trained context and no more.
#[test]
fn a_position_without_a_row_is_an_error() {
    let decoder = decoder_named("gpt2");
    let n = parse(decoder.file).unwrap().header.metadata.u64("gpt2.context_length").unwrap().unwrap() as usize;
    let tokens: Vec<u32> = (0..=n as u32).collect();
    let mut runner = Runner::load(decoder.file, KvFormat::F32, n + 1, new_reference).unwrap();
    assert_eq!(runner.append(&tokens[..n], 16).unwrap().len(), n);
    assert_eq!(runner.append(&tokens[n..], 16).unwrap_err().code(), "E_INTERNAL");
    let mut runner = Runner::load(decoder.file, KvFormat::F32, n + 1, new_cpu).unwrap();
    assert_eq!(runner.append(&tokens[..n], 16).unwrap().len(), n);
    assert_eq!(runner.append(&tokens[n..], 16).unwrap_err().code(), "E_INTERNAL");
}
