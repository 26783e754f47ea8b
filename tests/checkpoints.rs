//! Checkpoints of Hugging Face: what `checkpointHeader` (www/pkg) says of the small ones of every family, and the bytes of their files,
//! give the tensors that llama.cpp's converter writes and the logits that transformers computes; the converter by itself gives ggml's
//! blocks for any chunks, within its bound of memory, and says what is wrong with what it is fed.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{
    counting::{Counting, peak_bytes},
    generate::{devices, load, options, run},
    gguf_builder::GgufBuilder,
    golden::difference,
    rng::Rng,
    runner::{MAX_ROWS, Runner},
};
use kinglet::{
    checkpoint::{Converter, SKIPPED},
    engine::{Device, Engine, Loader, Options},
    error::Result,
    gguf::{Array, Header, Value},
    kv::KvFormat,
    quant::{Format, dequantize, quantize},
    reference::Reference,
    session::Request,
};
use serde_json::Value as Json;
use std::path::PathBuf;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The reference executor against transformers, both f32, by the largest logit.
const TOLERANCE: f32 = 1e-4;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints")
}

fn names() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

struct Checkpoint {
    header: Vec<u8>,
    /// Of all files, one behind the other.
    data: Vec<u8>,
    expected: Json,
}

fn checkpoint(name: &str) -> Checkpoint {
    let folder = folder().join(name);
    let read = |file: &str| std::fs::read(folder.join(file)).unwrap_or_else(|error| panic!("{name}/{file}: {error}"));
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<_> = files.filter(|file| file.ends_with(".safetensors")).collect();
    files.sort();
    let data = files.iter().flat_map(|file| {
        let bytes = read(file);
        let n = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        bytes[8 + n..].to_vec()
    });
    Checkpoint {
        header: read("header.bin"),
        data: data.collect(),
        expected: serde_json::from_slice(&read("expected.json")).unwrap(),
    }
}

/// The data of every tensor, fed in random chunks.
fn convert(header: &[u8], data: &[u8], seed: u64) -> Result<(Header, Vec<Vec<u8>>)> {
    let (header, mut converter) = Converter::new(header)?;
    let mut tensors = vec![vec![]; header.tensors.len()];
    let mut write = |tensor: usize, bytes: &[u8]| {
        assert!(!bytes.is_empty(), "no bytes");
        let tensor: &mut Vec<u8> = &mut tensors[tensor];
        tensor.extend_from_slice(bytes);
        Ok(())
    };
    converter.write_made(&mut write)?;
    let mut rng = Rng(seed);
    let longest = [2, 100, 5000, 1 << 20][rng.below(4)];
    let mut rest = data;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(rng.below(longest).min(rest.len()));
        converter.feed(chunk, &mut write)?;
        rest = after;
    }
    assert_eq!(converter.finish()?, data.len() as u64);
    Ok((header, tensors))
}

fn fnv(bytes: &[u8]) -> String {
    let step = |h: u64, b: &u8| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

fn f32s(format: Format, bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / format.block_bytes() * format.block_len()];
    dequantize(format, bytes, &mut values).unwrap();
    values
}

#[test]
fn tensors_are_those_of_llama_cpp() {
    let names = names();
    assert!(names.len() >= 23, "{names:?}");
    for (seed, name) in names.iter().enumerate() {
        let Checkpoint { header, data, expected } = checkpoint(name);
        let (header, tensors) = convert(&header, &data, seed as u64).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (info, bytes) in header.tensors.iter().zip(&tensors) {
            assert_eq!(bytes.len() as u64, info.n_bytes, "{name}: {}", info.name);
            let Json::String(hash) = &expected["tensors"][&info.name][1] else { continue };
            let values: Vec<u8> = f32s(info.format, bytes).iter().flat_map(|x| x.to_le_bytes()).collect();
            assert_eq!(&fnv(&values), hash, "{name}: {}", info.name);
        }
    }
}

/// The file that the header is of.
fn file(name: &str) -> Vec<u8> {
    let Checkpoint { mut header, data, .. } = checkpoint(name);
    let (_, tensors) = convert(&header, &data, 1).unwrap();
    for bytes in tensors {
        header.resize(header.len().next_multiple_of(32), 0);
        header.extend(bytes);
    }
    header
}

fn load_checkpoint(name: &str, options: Options) -> Result<Engine> {
    let Checkpoint { header, data, .. } = checkpoint(name);
    let mut loader = Loader::new(options);
    loader.begin_checkpoint(&header)?;
    assert!(loader.info().is_some(), "decided before any weight");
    for chunk in data.chunks(1000) {
        assert!(!loader.feed(chunk)?);
    }
    loader.finish()
}

#[test]
fn logits_are_those_of_transformers() {
    let mut n_compared = 0;
    for name in names() {
        let expected = checkpoint(&name).expected;
        let Some(hex) = expected["logits"].as_str() else { continue };
        let tokens: Vec<u32> =
            expected["tokens"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u32).collect();
        let number = |i: usize| u32::from_str_radix(&hex[i..i + 8], 16).unwrap().swap_bytes();
        let flat: Vec<f32> = (0..hex.len()).step_by(8).map(|i| f32::from_bits(number(i))).collect();
        let golden: Vec<Vec<f32>> =
            flat.chunks(expected["vocabulary"].as_u64().unwrap() as usize).map(<[f32]>::to_vec).collect();
        let file = file(&name);
        let mut runner = Runner::load(&file[..], KvFormat::F32, tokens.len(), |g| Ok(Reference::new(g)))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let logits = runner.append_tail(&tokens, MAX_ROWS, golden.len()).unwrap();
        let found = difference(&logits, &golden);
        println!("{name}: {found:e}");
        assert!(found < TOLERANCE, "{name}: {found:e}");
        n_compared += 1;
    }
    assert!(n_compared >= 18);
}

#[test]
fn every_family_loads() {
    for name in names() {
        let engine =
            load_checkpoint(&name, options(Device::Reference)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(engine.info.parameters > 10_000, "{name}");
    }
}

#[test]
fn an_engine_of_a_checkpoint_is_that_of_its_file() {
    for name in ["llama", "llama-sharded", "llama-f16"] {
        for device in devices() {
            let mut engine = load_checkpoint(name, options(device.clone())).unwrap();
            let mut twin = load(&file(name), options(device), 999).unwrap();
            let request = Request { prompt: vec![5, 40, 300 % 288, 77], max_tokens: Some(8), ..Request::default() };
            let answer = run(&mut engine.session, &request, 1000).unwrap();
            assert_eq!(answer, run(&mut twin.session, &request, 1000).unwrap());
            assert_eq!(engine.info.file_bytes, checkpoint(name).data.len() as u64);
            assert_eq!(engine.info.notices.len(), twin.info.notices.len());
        }
    }
}

#[test]
fn a_checkpoint_that_does_not_fit_is_refused_before_its_weights() {
    let mut loader = Loader::new(Options { memory_limit_bytes: 1000, ..Options::new(Device::Reference) });
    assert_eq!(loader.begin_checkpoint(&checkpoint("llama").header).unwrap_err().code(), "E_MEMORY");
}

/// A piece: the type of its numbers, its axes, what is added; and the tensor that it becomes.
#[derive(Clone, Copy)]
struct Piece {
    from: Format,
    to: Format,
    shape: [usize; 2],
    axes: [usize; 3],
    plus: u64,
}

fn array(numbers: Vec<u64>) -> Value {
    Value::Array(Array::U64(numbers))
}

/// A header of these pieces, with a piece of three bytes before each that is skipped.
fn header_of(pieces: &[Piece]) -> Vec<u8> {
    let mut file = GgufBuilder::new();
    let mut numbers = vec![];
    for (i, Piece { from, to, shape, axes, plus }) in pieces.iter().enumerate() {
        let n: usize = shape.iter().product();
        file = file.tensor(&format!("t{i}"), shape, *to, vec![0; to.row_bytes(n).unwrap()]);
        numbers.extend([3, SKIPPED, 1, 1, 1, 0]);
        let [b, c, d] = axes.map(|n| n as u64);
        numbers.extend([(n * from.block_bytes()) as u64, u64::from(from.ggml_type()), b, c, d, *plus]);
    }
    file.kv("kinglet.checkpoint.pieces", array(numbers)).build()
}

fn random_numbers(rng: &mut Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| 4.0 * rng.signed()).collect()
}

/// [A, B, C, D] as [A, C, B, D], the obvious way.
fn moved(values: &[f32], [b, c, d]: [usize; 3]) -> Vec<f32> {
    let mut out = vec![];
    for a in 0..values.len() / (b * c * d) {
        for k in 0..c {
            for j in 0..b {
                out.extend((0..d).map(|l| values[((a * b + j) * c + k) * d + l]));
            }
        }
    }
    out
}

#[test]
fn every_format_from_every_other_with_axes_moved() {
    let mut rng = Rng(3);
    let from = [Format::F32, Format::F16, Format::BF16];
    let to = [Format::F32, Format::F16, Format::BF16, Format::Q8_0, Format::Q4_0];
    let axes = [[1, 1, 1], [2, 16, 64], [64, 96, 1], [4, 3, 32], [1, 7, 1], [3, 1, 5]];
    let mut pieces = vec![];
    for from in from {
        for to in to {
            for axes in axes {
                let shape = if axes == [64, 96, 1] { [96, 64] } else { [96, 160] };
                let n: usize = shape.iter().product();
                if n.is_multiple_of(axes.iter().product()) {
                    pieces.push(Piece { from, to, shape, axes, plus: u64::from(rng.below(2) == 1) });
                }
            }
        }
    }
    let mut data = vec![];
    let mut expected = vec![];
    for Piece { from, to, shape, axes, plus } in &pieces {
        let values = random_numbers(&mut rng, shape.iter().product());
        let mut bytes = vec![0; from.row_bytes(values.len()).unwrap()];
        quantize(*from, &values, &mut bytes).unwrap();
        let wanted: Vec<f32> = moved(&f32s(*from, &bytes), *axes).iter().map(|x| x + *plus as f32).collect();
        let mut blocks = vec![0; to.row_bytes(wanted.len()).unwrap()];
        quantize(*to, &wanted, &mut blocks).unwrap();
        data.extend([7; 3]);
        data.extend(bytes);
        expected.push(blocks);
    }
    let header = header_of(&pieces);
    for seed in 0..6 {
        let (_, tensors) = convert(&header, &data, seed).unwrap();
        for (i, (found, expected)) in tensors.iter().zip(&expected).enumerate() {
            assert!(found == expected, "seed {seed}, piece {i}");
        }
    }
}

#[test]
fn no_more_is_kept_than_has_to_be() {
    const SLICE_BYTES: usize = 200 << 10;
    let shape = [4096, 512];
    let n: usize = shape.iter().product();
    for (axes, kept_bytes) in [([1, 1, 1], 0), ([2, 32, 512], 2 * 32 * 512 * 4), ([4096, 512, 1], n * 4)] {
        let piece = Piece { from: Format::F16, to: Format::Q8_0, shape, axes, plus: 0 };
        let header = header_of(&[piece]);
        let data = vec![0; 3 + n * 2];
        let (_, mut converter) = Converter::new(&header).unwrap();
        let (_, peak) = peak_bytes(|| {
            for chunk in data.chunks(1 << 16) {
                converter.feed(chunk, &mut |_, _| Ok(())).unwrap();
            }
        });
        assert!(peak <= kept_bytes + SLICE_BYTES, "{axes:?}: {peak} bytes");
        assert!(peak >= kept_bytes, "the counter counts: {peak}");
    }
}

fn refused(header: &[u8], data: &[u8], code: &str, message: &str) {
    let error = convert(header, data, 1).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(message), "{error}");
}

#[test]
fn what_is_wrong_with_the_data_is_said() {
    let piece = Piece { from: Format::F32, to: Format::F16, shape: [2, 32], axes: [1, 1, 1], plus: 0 };
    let header = header_of(&[piece]);
    let good: Vec<u8> = [vec![0; 3], vec![0; 256]].concat();
    assert!(convert(&header, &good, 1).is_ok());
    refused(&header, &good[..good.len() - 1], "E_FILE_FORMAT", "255 of 256 bytes of tensor t0");
    refused(&header, &good[..2], "E_FILE_FORMAT", "2 of 3 bytes of tensor none");
    refused(&header, &[&good[..], &[0]].concat(), "E_FILE_FORMAT", "goes on behind its last tensor");
    let with = |x: f32| [&good[..3], &x.to_le_bytes(), &good[7..]].concat();
    refused(&header, &with(f32::NAN), "E_FILE_FORMAT", "tensor t0: it holds NaN");
    refused(&header, &with(f32::INFINITY), "E_FILE_FORMAT", "tensor t0: it holds inf");
    refused(&header, &with(7e4), "E_UNSUPPORTED_QUANT", "F16, which ends at 65504, for a weight of 70000");
    let to_q4 = header_of(&[Piece { to: Format::Q4_0, ..piece }]);
    refused(&to_q4, &with(1e6), "E_UNSUPPORTED_QUANT", "Q4_0, whose scales end at 65504, for a weight of 1000000");
    refused(&to_q4, &with(f32::NAN), "E_FILE_FORMAT", "tensor t0: it holds NaN");
    // After an error it stays failed.
    let (_, mut converter) = Converter::new(&header).unwrap();
    let error = converter.feed(&with(f32::NAN), &mut |_, _| Ok(())).unwrap_err();
    assert_eq!(converter.feed(&[], &mut |_, _| Ok(())), Err(error.clone()));
    assert_eq!(converter.finish(), Err(error));
}

#[test]
fn what_is_wrong_with_the_header_is_said() {
    let file = |numbers: Vec<u64>| {
        let file = GgufBuilder::new().tensor("t", &[2, 32], Format::F32, vec![0; 256]);
        file.kv("kinglet.checkpoint.pieces", array(numbers)).build()
    };
    assert!(convert(&file(vec![256, 0, 1, 1, 1, 0]), &[0; 256], 1).is_ok());
    for (numbers, code, message) in [
        (vec![256, 0, 1, 1, 1], "E_FILE_FORMAT", "no array of six numbers"),
        (vec![128, 0, 1, 1, 1, 0], "E_FILE_FORMAT", "tensor t: 128 bytes of data, expected 256"),
        (vec![256, 2, 1, 1, 1, 0], "E_UNSUPPORTED_QUANT", "number 2 in a checkpoint"),
        (vec![256, 0, 1, 0, 1, 0], "E_FILE_FORMAT", "its axes [1, 0, 1]"),
        (vec![256, 0, 3, 5, 1, 0], "E_FILE_FORMAT", "its axes [3, 5, 1]"),
        (vec![256, 0, u64::MAX, u64::MAX, 2, 0], "E_FILE_FORMAT", "its axes"),
        (vec![256, 0, 1, 1, 1, 1 << 40], "E_FILE_FORMAT", "to be added"),
        ([vec![256, 0, 1, 1, 1, 0], vec![256, 0, 1, 1, 1, 0]].concat(), "E_FILE_FORMAT", "2 pieces for 1 tensors"),
        (vec![256, SKIPPED, 1, 1, 1, 0], "E_FILE_FORMAT", "0 values for made tensors of 64"),
    ] {
        refused(&file(numbers), &[0; 256], code, message);
    }
    let whole = file(vec![256, 0, 1, 1, 1, 0]);
    refused(&whole[..whole.len() - 300], &[], "E_FILE_FORMAT", "not whole");
    let other = GgufBuilder::new().tensor("t", &[2, 256], Format::Q6_K, vec![0; 420]);
    let other = other.kv("kinglet.checkpoint.pieces", array(vec![2048, 0, 1, 1, 1, 0])).build();
    refused(&other, &[], "E_UNSUPPORTED_QUANT", "Q6_K in a checkpoint");
}
