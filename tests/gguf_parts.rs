//! Models in several files: the parts that llama.cpp's own tool and gguf-py made of a tiny model give the same engine as the
//! whole file, in whatever order they come; sets of files that are not one model are refused, each by name.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{
    generate::{devices, load, options, run},
    gguf_builder::{GgufBuilder, string},
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    engine::{Device, Engine, Loader},
    error::{Error, Result},
    gguf::{MAX_PARTS, Value},
    quant::Format,
    sample::SamplingParams,
    session::Request,
};

/// A file's name and its bytes.
type File = (String, Vec<u8>);

fn request() -> Request {
    let sampling = SamplingParams { temperature: 0.0, ..SamplingParams::default() };
    Request { prompt: (5..40).collect(), max_tokens: Some(8), sampling, logprobs: Some(0), ..Request::default() }
}

/// Reads all headers, decides, and feeds the files, in chunks of `size` bytes. The second time, `changed` is what is read.
fn load_parts_as(files: &[File], changed: &[File], device: Device, size: usize) -> Result<Engine> {
    let mut loader = Loader::new(options(device));
    for (name, bytes) in files {
        loader.begin_header(name);
        let mut n_parts = None;
        for chunk in bytes.chunks(size) {
            n_parts = loader.feed_header(chunk)?;
            if n_parts.is_some() {
                break;
            }
        }
        loader.end_header()?;
        assert!(n_parts.is_some_and(|n| (1..=MAX_PARTS).contains(&n)));
    }
    assert!(loader.info().is_none());
    let order = loader.join()?;
    assert!(loader.info().is_some(), "everything is decided before any weight is read");
    for place in order {
        for chunk in changed[place].1.chunks(size) {
            assert!(!loader.feed(chunk)?, "it was decided before");
        }
        loader.end_file()?;
    }
    loader.finish()
}

fn load_parts(files: &[File]) -> Result<Engine> {
    load_parts_as(files, files, Device::Reference, 4096)
}

fn refused(files: &[File], code: &str, part: &str) {
    let error = load_parts(files).err().unwrap_or_else(|| panic!("was accepted, should say {part:?}"));
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(part), "{error} does not say {part:?}");
}

const FORMAT: &str = "E_FILE_FORMAT";

fn tiny() -> GgufBuilder {
    tiny_llama(&TinyConfig::default(), 3)
}

/// A model in parts that end before these tensors; only the first has the metadata, as gguf-split writes it.
fn split(whole: &GgufBuilder, ends: &[usize]) -> Vec<GgufBuilder> {
    let n_tensors = whole.tensors.len();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let stops = ends.iter().copied().chain([n_tensors]);
    let part = |(no, (start, stop)): (usize, (usize, usize))| {
        let base = if no == 0 { whole.clone() } else { GgufBuilder::new() };
        let tensors = whole.tensors[start..stop].to_vec();
        base.with(|f| f.tensors = tensors)
            .kv("split.no", Value::U16(no as u16))
            .kv("split.count", Value::U16(ends.len() as u16 + 1))
            .kv("split.tensors.count", Value::I32(n_tensors as i32))
    };
    starts.zip(stops).enumerate().map(part).collect()
}

fn named(parts: &[GgufBuilder]) -> Vec<File> {
    let name = |i| format!("tiny-{:05}-of-{:05}.gguf", i + 1, parts.len());
    parts.iter().enumerate().map(|(i, part)| (name(i), part.build())).collect()
}

/// What the same bits are: tokens and their log-probabilities.
fn answer(engine: &mut Engine) -> (Vec<u32>, Vec<u64>) {
    let mut answer = run(&mut engine.session, &request(), 1000).unwrap();
    let choice = answer.choices.remove(0);
    (choice.tokens, choice.logprobs)
}

#[test]
fn parts_give_what_the_whole_file_gives_in_any_order_and_any_chunks() {
    let whole = tiny();
    let bytes = whole.build();
    for device in devices() {
        let mut one = load(&bytes, options(device.clone()), 999).unwrap();
        let expected = answer(&mut one);
        for ends in [&[5][..], &[0, 9], &[1, 2, 3, 4]] {
            let mut files = named(&split(&whole, ends));
            for size in [1, 997, usize::MAX] {
                files.rotate_left(1);
                let mut engine = load_parts_as(&files, &files, device.clone(), size).unwrap();
                assert_eq!(answer(&mut engine), expected, "{ends:?}");
                let n_bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
                assert_eq!(engine.info.file_bytes, n_bytes as u64);
                assert_eq!((engine.info.parameters, &engine.info.memory), (one.info.parameters, &one.info.memory));
                assert_eq!(engine.info.notices, one.info.notices);
            }
        }
    }
}

#[test]
fn each_part_has_its_own_alignment() {
    let mut parts = split(&tiny(), &[4, 10]);
    parts[1] = parts[1].clone().aligned(128);
    load_parts(&named(&parts)).unwrap();
}

#[test]
fn a_whole_file_may_come_as_the_only_one() {
    let file = ("model.gguf".to_owned(), tiny().build());
    load_parts(&[file]).unwrap();
    let one_of_one = tiny().kv("split.count", Value::U16(1)).kv("split.no", Value::U16(0));
    load_parts(&[("m".into(), one_of_one.build())]).unwrap();
}

#[test]
fn the_files_of_other_tools_load() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/split");
    let whole = std::fs::read(format!("{folder}/whole.gguf")).unwrap();
    let expected = answer(&mut load(&whole, options(Device::Reference), 4096).unwrap());
    for (tool, n) in [("gguf-split", 3), ("gguf-split-empty-first", 4), ("gguf-py", 3)] {
        let names = (1..=n).map(|i| format!("{tool}-{i:05}-of-{n:05}.gguf"));
        let files: Vec<File> =
            names.map(|name| (name.clone(), std::fs::read(format!("{folder}/{name}")).unwrap())).collect();
        assert_eq!(answer(&mut load_parts(&files).unwrap()), expected, "{tool}");
    }
}

#[test]
fn missing_parts_are_named() {
    let files = named(&split(&tiny(), &[4, 10]));
    refused(&files[..1], FORMAT, "3 parts, of which 2 are missing: tiny-00002-of-00003.gguf, tiny-00003-of-00003.gguf");
    refused(&files[1..], FORMAT, "3 parts, of which 1 are missing: tiny-00001-of-00003.gguf");
    let unnamed = [("blob".to_owned(), files[1].1.clone())];
    refused(&unnamed, FORMAT, "3 parts, of which 2 are missing: part 1, part 3");
    let many = split(&tiny(), &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    refused(&named(&many)[..1], FORMAT, "tiny-00006-of-00010.gguf and 4 more");
    // Given alone, as a file of its own.
    for (i, (_, bytes)) in files.iter().enumerate() {
        let error = load(bytes, options(Device::Reference), 64).err().expect("a part is no model");
        assert_eq!((error.code(), error.details().parts), (FORMAT, Some(3)));
        let part = format!("this file is part {} of 3 parts of a model; the others are missing", i + 1);
        assert_eq!(error.to_string(), part);
    }
}

#[test]
fn sets_of_files_that_are_not_one_model_are_refused() {
    let three = split(&tiny(), &[4, 10]);
    let two = split(&tiny(), &[4]);
    let mixed = named(&[three[0].clone(), two[1].clone(), three[2].clone()]);
    refused(
        &mixed,
        FORMAT,
        "not one model: tiny-00001-of-00003.gguf is one of 3 parts, tiny-00002-of-00003.gguf is one of 2",
    );
    let twice = named(&[three[0].clone(), three[1].clone(), three[1].clone()]);
    refused(&twice, FORMAT, "tiny-00002-of-00003.gguf and tiny-00003-of-00003.gguf are both part 2 of 3");
    let and_whole = named(&[three[0].clone(), tiny()]);
    refused(&and_whole, FORMAT, "is one of 3 parts, tiny-00002-of-00002.gguf is a whole model");
    refused(&named(&[tiny(), tiny()]), FORMAT, "is a whole model, tiny-00002-of-00002.gguf is a whole model");
}

#[test]
fn every_contradiction_of_the_parts_is_named() {
    let parts = || split(&tiny(), &[4, 10]);
    let changed = |i: usize, change: &dyn Fn(GgufBuilder) -> GgufBuilder| {
        let mut parts = parts();
        parts[i] = change(parts[i].clone());
        named(&parts)
    };
    let set = |i, key: &str, value: Value| changed(i, &|f| f.set(key, value.clone()));
    let no = "split.no is missing or not below 3";
    refused(&set(1, "split.no", Value::U16(3)), FORMAT, &format!("tiny-00002-of-00003.gguf: {no}"));
    refused(&set(1, "split.no", Value::U64(u64::MAX)), FORMAT, no);
    refused(&set(1, "split.no", Value::I32(-1)), FORMAT, "split.no is not a whole number");
    refused(&changed(2, &|f| f.without("split.no")), FORMAT, &format!("tiny-00003-of-00003.gguf: {no}"));
    refused(&changed(2, &|f| f.without("split.count")), FORMAT, "tiny-00003-of-00003.gguf is a whole model");
    refused(&set(1, "split.count", string("3")), FORMAT, "tiny-00002-of-00003.gguf: metadata key split.count is not");
    refused(&set(1, "general.architecture", string("mamba")), FORMAT, "architecture mamba, expected llama");
    let n = tiny().tensors.len();
    let part = format!("have {n} tensors together, expected split.tensors.count, {}", n + 1);
    refused(&set(0, "split.tensors.count", Value::I32(n as i32 + 1)), FORMAT, &part);
    refused(&changed(0, &|f| f.without("split.tensors.count")), FORMAT, "split.tensors.count is missing");
    let again = tiny().tensors[0].clone();
    let part = "tiny-00003-of-00003.gguf: tensor token_embd.weight stands in another part too";
    refused(&changed(2, &|f| f.raw_tensor(again.clone())), FORMAT, part);
    let key = "split.count: 1001 is over the limit of 1000";
    refused(&set(1, "split.count", Value::U32(1001)), "E_FILE_LIMIT", key);
    refused(&set(1, "split.count", Value::U64(u64::MAX)), "E_FILE_LIMIT", "split.count: 18446744073709551615");
    // The metadata is looked for in the first part only.
    refused(&changed(0, &|f| f.without("general.architecture")), FORMAT, "general.architecture is missing");
    refused(&changed(0, &|f| f.without("llama.block_count")), FORMAT, "llama.block_count: is missing");
}

#[test]
fn a_broken_part_is_named_and_truncation_is_seen_everywhere() {
    let files = named(&split(&tiny(), &[4, 10]));
    for i in 0..3 {
        let whole = files[i].1.len();
        for percent in 0..100 {
            let mut cut = files.clone();
            cut[i].1.truncate(whole * percent / 100);
            // The padding of the last tensor may be missing.
            if let Err(error) = load_parts(&cut) {
                assert_eq!(error.code(), FORMAT, "{error}");
                assert!(error.to_string().starts_with(&files[i].0), "{error}");
                assert!(error.to_string().contains("ends too early"), "{error}");
            } else {
                assert!(whole - cut[i].1.len() < 32, "part {i} at {percent} %");
            }
        }
    }
    let mut html = files.clone();
    html[1].1 = b"<!doctype html>".to_vec();
    refused(&html, FORMAT, "tiny-00002-of-00003.gguf: this is no GGUF file: it looks like HTML");
    let mut nan = split(&tiny(), &[4, 10]);
    nan[2].tensor_mut("blk.1.ffn_up.weight").set_scales(0x7e00);
    refused(&named(&nan), FORMAT, "blk.1.ffn_up.weight");
}

#[test]
fn a_part_that_is_another_one_when_it_is_read_again_is_refused() {
    let parts = split(&tiny(), &[4, 10]);
    let files = named(&parts);
    let load_changed = |i: usize, part: &GgufBuilder| {
        let mut changed = files.clone();
        changed[i].1 = part.build();
        load_parts_as(&files, &changed, Device::Reference, 999).err().expect("it has changed")
    };
    let renamed = parts[1].clone().with(|f| f.tensors[0].name = b"blk.0.other".into());
    for (i, part) in [
        (1, renamed),
        (1, parts[1].clone().aligned(64)),
        (0, parts[1].clone()),
        (2, parts[2].clone().kv("more", Value::U32(1))),
        (2, parts[2].clone().reshaped("output_norm.weight", &[32], Format::F32)),
    ] {
        let error = load_changed(i, &part);
        assert_eq!(error.code(), "E_INTEGRITY", "{error}");
        assert!(error.to_string().starts_with(&format!("{}: it has changed", files[i].0)), "{error}");
    }
}

#[test]
fn a_loader_that_is_used_wrongly_says_so() {
    let files = named(&split(&tiny(), &[4, 10]));
    let new = || Loader::new(options(Device::Reference));
    assert_eq!(new().feed_header(b"GGUF").unwrap_err().code(), "E_INTERNAL");
    assert_eq!(new().join().unwrap_err(), Error::internal("no file was read"));
    let mut loader = new();
    loader.begin_header("first");
    assert_eq!(loader.feed_header(b"GGUF").unwrap(), None);
    let error = loader.end_header().unwrap_err();
    assert_eq!(loader.join().unwrap_err(), error);
    assert!(error.to_string().starts_with("first: the file ends too early"), "{error}");

    // A file that was begun may be begun again, also after an error.
    let mut loader = new();
    loader.begin_header("a");
    assert!(loader.feed_header(b"<html>").is_err());
    for (name, bytes) in &files {
        loader.begin_header(name);
        loader.feed_header(&bytes[..20]).unwrap();
        loader.begin_header(name);
        assert_eq!(loader.feed_header(bytes).unwrap(), Some(3));
    }
    assert_eq!(loader.join().unwrap(), [0, 1, 2]);
    loader.feed(&files[0].1).unwrap();
    loader.end_file().unwrap();
    assert!(loader.finish().err().unwrap().to_string().contains("1 of 3 files have ended"));

    // A file that ends too early stays so.
    let mut loader = new();
    assert_eq!(loader.end_file().unwrap_err(), loader.end_file().unwrap_err());
}
