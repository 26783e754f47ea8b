//! Loading: from bytes in chunks to an engine that generates; what is decided at the header, and what is refused there.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{
    decoders::decoders,
    generate::{devices, load, options, run},
    gguf_builder::{GgufBuilder, string},
    golden::goldens,
    tiny_llama::{CHAT_TEMPLATE, SPECIAL_TOKENS, TinyConfig, tiny_llama},
};
use kinglet::{
    engine::{Device, Loader, Options},
    error::Error,
    gguf::{Event, Parser, Value},
    kv::KvFormat,
    quant::Format,
    sample::SamplingParams,
    session::Request,
};

fn tiny() -> GgufBuilder {
    tiny_llama(&TinyConfig::default(), 3)
}

fn request() -> Request {
    let sampling = SamplingParams { seed: 1, temperature: 1.0, ..SamplingParams::default() };
    Request { prompt: (5..75).collect(), max_tokens: Some(5), sampling, logprobs: Some(0), ..Request::default() }
}

/// Feeds everything and returns the error, with how many bytes had come.
fn refused(file: &[u8], options: Options) -> (Error, usize) {
    let mut loader = Loader::new(options);
    for (i, chunk) in file.chunks(64).enumerate() {
        if let Err(error) = loader.feed(chunk) {
            assert_eq!(loader.feed(chunk).unwrap_err(), error, "a failed loader stays failed");
            return (error, (i + 1) * 64);
        }
    }
    (loader.finish().err().expect("the file is refused"), file.len())
}

#[test]
fn chunks_of_any_size_give_the_same_engine() {
    let file = tiny().build();
    for device in devices() {
        let mut whole = load(&file, options(device.clone()), file.len()).unwrap();
        let expected = run(&mut whole.session, &request(), 1000).unwrap();
        for chunk_bytes in [1, 7, 4096] {
            let mut engine = load(&file, options(device.clone()), chunk_bytes).unwrap();
            assert_eq!(engine.info, whole.info);
            assert_eq!(engine.template, whole.template);
            assert_eq!(run(&mut engine.session, &request(), 1000).unwrap(), expected, "chunks of {chunk_bytes} bytes");
        }
    }
}

#[test]
fn warming_while_the_file_arrives_changes_no_bit() {
    // These have every operation, tables that a step makes of weights, and factors of rotations.
    let families = decoders().into_iter().map(|family| (family.name, family.file.to_vec()));
    let families = families.chain(goldens().into_iter().map(|llama| (llama.name, llama.file.to_vec())));
    let warmed = |file: &[u8], options: Options| {
        let mut loader = Loader::new(options);
        assert_eq!(loader.warm(), Ok(false), "nothing is known yet");
        let mut n_warmed = vec![];
        for (i, chunk) in file.chunks(16).enumerate() {
            // At once after the header too, when nothing is there.
            if loader.feed(chunk).unwrap() || i % 64 == 0 {
                n_warmed.push((0..).take_while(|_| loader.warm().unwrap()).count());
            }
        }
        (loader.finish().unwrap(), n_warmed)
    };
    for (name, file) in families.chain([("llama", tiny().build())]) {
        let request = Request { prompt: (5..25).collect(), ..request() };
        for options in devices().into_iter().map(options) {
            let expected = run(&mut load(&file, options.clone(), file.len()).unwrap().session, &request, 1000).unwrap();
            let (mut engine, n_warmed) = warmed(&file, options.clone());
            assert_eq!(run(&mut engine.session, &request, 1000).unwrap(), expected, "{name} {:?}", options.device);
            match options.device {
                Device::Reference => assert_eq!(n_warmed.iter().sum::<usize>(), 0, "{name}"),
                _ => assert!(n_warmed.iter().sum::<usize>() > 15, "{name}: {n_warmed:?}"),
            }
        }
    }
}

#[test]
fn every_device_and_cache_gives_nearly_the_same_probabilities() {
    let file = tiny().build();
    let echo = Request { echo: true, max_tokens: Some(0), ..request() };
    let score = |device: Device, kv_format: KvFormat| -> Vec<f64> {
        let mut engine = load(&file, Options { kv_format, ..Options::new(device) }, file.len()).unwrap();
        run(&mut engine.session, &echo, 1000).unwrap().echo.unwrap().logprobs.into_iter().flatten().collect()
    };
    let reference = score(Device::Reference, KvFormat::F32);
    assert_eq!(reference.len(), 69);
    for device in devices() {
        for kv_format in [KvFormat::F16, KvFormat::F32] {
            let scores = score(device.clone(), kv_format);
            let off = reference.iter().zip(&scores).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off < 0.15, "{device:?} {kv_format:?} is off by {off}");
        }
    }
}

#[test]
fn the_facts_of_a_model() {
    let config = TinyConfig { n_ctx: 8192, format: Format::Q4_1, n_layer: 3, ..TinyConfig::default() };
    let file = tiny_llama(&config, 3).build();
    let engine = load(&file, options(Device::Reference), 999).unwrap();
    let info = &engine.info;
    assert_eq!((info.architecture.as_str(), info.name.as_str()), ("llama", "tiny random llama"));
    assert_eq!((info.quantization.as_str(), info.vocabulary_size), ("Q4_1", 320));
    assert_eq!((info.context_length, info.trained_context_length), (4096, 8192), "4,096 unless asked for more");
    let per_layer = 2 * 64 + 2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64;
    assert_eq!(info.parameters, 320 * 64 + 64 + 3 * per_layer);
    assert_eq!(info.file_bytes, file.len() as u64);
    assert_eq!(info.memory.weights_bytes, 4 * info.parameters, "the reference holds f32");
    assert_eq!(info.memory.kv_bytes, 2 * 3 * 2 * 16 * 4096 * 4);
    assert!(info.notices.is_empty());
    let template = &engine.template;
    assert_eq!(template.chat_template.as_deref(), Some(CHAT_TEMPLATE));
    assert_eq!(
        (template.bos_token.as_deref(), template.eos_token.as_deref()),
        (Some("<|im_start|>"), Some("<|im_end|>"))
    );
    assert_eq!(template.special_strings, SPECIAL_TOKENS);

    let mut odd = tiny().without("tokenizer.chat_template").without("general.name").build();
    odd.extend([7; 100]);
    let engine = load(&odd, options(Device::Reference), 999).unwrap();
    assert_eq!((engine.info.name.as_str(), engine.info.file_bytes), ("llama", odd.len() as u64));
    assert_eq!(engine.template.chat_template, None);
    assert!(engine.info.notices.iter().any(|n| n.contains("template")), "{:?}", engine.info.notices);
    assert!(engine.info.notices.iter().any(|n| n.starts_with("100 bytes")), "{:?}", engine.info.notices);
}

#[test]
fn the_context_is_what_was_asked_for_up_to_what_was_trained() {
    let file = tiny().build();
    for n in [1, 100, 256] {
        let options = Options { context_length: Some(n), ..options(Device::Reference) };
        let engine = load(&file, options, file.len()).unwrap();
        assert_eq!((engine.info.context_length, engine.session.context_tokens()), (n, n));
    }
    for n in [0, 257, usize::MAX] {
        let (error, n_bytes) = refused(&file, Options { context_length: Some(n), ..options(Device::Reference) });
        assert_eq!(error.code(), "RangeError");
        assert!(error.to_string().contains("256"), "{error}");
        assert!(n_bytes < file.len() / 2, "said at the header");
    }
}

#[test]
fn a_model_that_does_not_fit_is_refused_at_the_header_with_numbers() {
    let file = tiny().build();
    for device in devices() {
        let needed = {
            let mut loader = Loader::new(options(device.clone()));
            let decided = file.chunks(64).any(|chunk| loader.feed(chunk).unwrap());
            assert!(decided);
            let memory = loader.info().unwrap().memory;
            memory.weights_bytes + memory.kv_bytes + memory.buffers_bytes
        };
        let limited = |memory_limit_bytes| Options { memory_limit_bytes, ..options(device.clone()) };
        assert!(load(&file, limited(needed), 64).is_ok());
        let (error, n_bytes) = refused(&file, limited(needed - 1));
        assert_eq!(error.code(), "E_MEMORY");
        assert_eq!(error.details().needed_bytes, Some(needed));
        assert!(error.to_string().contains("256 tokens"), "{error}");
        assert!(n_bytes < file.len() / 2, "before the weights");
        // A shorter context fits.
        let shorter = Options { context_length: Some(64), ..limited(needed - 1) };
        assert!(load(&file, shorter, 64).is_ok());
    }
}

#[test]
fn the_estimate_of_memory_is_near_what_is_held() {
    let config = TinyConfig { n_vocab: 1000, n_embd: 128, head_size: 32, ..TinyConfig::default() };
    for format in [Format::F32, Format::F16, Format::Q4_0, Format::Q4_1, Format::Q8_0, Format::BF16] {
        let file = tiny_llama(&TinyConfig { format, embd_format: format, ..config.clone() }, 3).build();
        for device in devices() {
            let mut loader = Loader::new(options(device.clone()));
            assert_eq!(file.chunks(512).filter(|chunk| loader.feed(chunk).unwrap()).count(), 1);
            let estimate = loader.info().unwrap().memory;
            let mut engine = loader.finish().unwrap();
            run(&mut engine.session, &Request { max_tokens: None, ignore_eos: true, ..request() }, 1000).unwrap();
            let held = engine.session.memory();
            assert!(held.weights_bytes <= estimate.weights_bytes, "{format:?} {device:?}");
            assert!(
                estimate.weights_bytes <= held.weights_bytes + held.weights_bytes / 20 + 4096,
                "{format:?} {device:?}"
            );
            assert_eq!(held.kv_bytes, estimate.kv_bytes, "{format:?} {device:?}");
        }
    }
}

#[test]
fn what_is_no_whole_model_is_refused_at_the_header() {
    let cases = [
        (tiny().kv("split.count", Value::U16(3)), "E_FILE_FORMAT", "3 parts"),
        (tiny().kv("general.type", string("adapter")), "E_UNSUPPORTED_TASK", "adapter"),
        (tiny().set("general.architecture", string("mamba")), "E_UNSUPPORTED_ARCH", "mamba"),
        (tiny().set("tokenizer.ggml.model", string("rwkv")), "E_UNSUPPORTED_FEATURE", "rwkv"),
        (tiny().without("tokenizer.ggml.merges"), "E_FILE_FORMAT", "merges"),
        (tiny().set("llama.block_count", Value::U32(3)), "E_FILE_FORMAT", "blk.2."),
    ];
    for (file, code, part) in cases {
        let file = file.build();
        let (error, n_bytes) = refused(&file, options(Device::Reference));
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(part), "{error}");
        assert!(n_bytes < file.len() / 2, "{error}: said after {n_bytes} of {} bytes", file.len());
    }
    let whole = tiny().kv("split.count", Value::U16(1)).kv("general.type", string("model")).build();
    assert!(load(&whole, options(Device::Reference), 999).is_ok());
}

#[test]
fn what_only_the_data_can_show_is_said_when_it_is_seen() {
    let file = tiny().build();
    let last = file.len() - 200;
    let (error, _) = refused(&file[..last], options(Device::Reference));
    assert_eq!(error.code(), "E_FILE_FORMAT");
    for n in [0, 3, 4, 100] {
        assert_eq!(refused(&file[..n], options(Device::Reference)).0.code(), "E_FILE_FORMAT");
    }
    for device in devices() {
        let mut bad = tiny();
        bad.tensor_mut("blk.1.ffn_up.weight").data[0..2].copy_from_slice(&[0x00, 0x7e]); // NaN as the first scale
        let (error, _) = refused(&bad.build(), options(device));
        assert_eq!(error.code(), "E_FILE_FORMAT");
        assert!(error.to_string().contains("blk.1.ffn_up.weight"), "{error}");
    }
}

#[test]
fn tensors_that_no_plan_reads_are_not_kept() {
    let plain = load(&tiny().build(), options(Device::Reference), 999).unwrap();
    let old = tiny().tensor("blk.0.attn_rot_embd.weight", &[8], Format::F32, vec![0; 32]).build();
    let mut old = load(&old, options(Device::Reference), 999).unwrap();
    assert_eq!(old.info.memory, plain.info.memory);
    assert!(run(&mut old.session, &request(), 1000).is_ok());
}

#[test]
fn a_model_is_known_by_its_header_and_the_beginnings_of_its_weights() {
    let file = tiny().build();
    let of = |file: &[u8], chunk_bytes| load(file, options(Device::Reference), chunk_bytes).unwrap().binding.model;
    let known = of(&file, file.len());
    for chunk_bytes in [1, 33, 4096] {
        assert_eq!(of(&file, chunk_bytes), known, "chunks of {chunk_bytes} bytes");
    }
    // The same words and shapes, trained otherwise: of each tensor the beginning counts, be it the last one.
    assert_ne!(of(&tiny_llama(&TinyConfig::default(), 4).build(), 4096), known);
    let mut offset = None;
    let mut find = |event: Event<'_>| {
        if let Event::Header(header) = event {
            offset = header.tensors.last().map(|tensor| tensor.offset as usize);
        }
        Ok(())
    };
    Parser::new().feed(&file, &mut find).unwrap();
    let mut last = file.clone();
    last[offset.unwrap()] ^= 1;
    assert_ne!(of(&last, 4096), known);
    // A key that changes no shape.
    let key = "llama.rope.freq_base";
    let other = tiny().set(key, Value::F32(20_000.0)).build();
    assert_ne!(of(&other, 4096), known);
}
