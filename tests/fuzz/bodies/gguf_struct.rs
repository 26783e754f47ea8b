//! A good model file with some things wrong: values, types, lengths, offsets, shapes, names, tokens, scales. It loads, or a typed
//! error blames the file; where it loads, it gives a token of its vocabulary with finite probabilities, or a typed error says
//! that its logits are not finite.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use kinglet::{
    cpu::pool::Pool,
    engine::{Device, Engine, Loader, Options},
    error::{Error, Result},
    gguf::{Array, Value},
    kv::KvFormat,
    quant::Format,
    sample::SamplingParams,
    session::{Event, Request},
};

use super::{
    gguf::{MEMORY_LIMIT_BYTES, blames_the_file},
    input::Input,
    models,
    vocabulary::{MODELS, Vocabulary},
};
use crate::common::gguf_builder::{GgufBuilder, RawKv, RawTensor, encode, strings};

static POOL: LazyLock<Arc<Pool>> = LazyLock::new(|| Arc::new(Pool::new(1)));

thread_local! {
    /// Good models by format and tokenizer, made once.
    static MADE: RefCell<BTreeMap<(usize, usize), GgufBuilder>> = const { RefCell::new(BTreeMap::new()) };
}

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    // Half of the models are the smallest: in F32. Other formats have rows of up to 256 weights.
    let format = match input.u8() {
        byte @ 128.. => usize::from(byte) % Format::ALL.len(),
        _ => 0,
    };
    let model = input.below(MODELS.len());
    let is_reference = input.bool();
    let mut file = MADE.with_borrow_mut(|made| {
        let make = || models::tiny(Format::ALL[format], &Vocabulary::small(MODELS[model]));
        made.entry((format, model)).or_insert_with(make).clone()
    });
    let is_good = input.is_empty();
    while !input.is_empty() {
        mutate(&mut file, MODELS[model], &mut input);
    }
    let bytes = file.build();
    let device = if is_reference { Device::Reference } else { Device::Cpu(POOL.clone()) };
    match load(&bytes, device) {
        Ok(mut engine) => generate(&mut engine),
        Err(error) => {
            blames_the_file(&error);
            // A tokenizer that is not built is the only reason to refuse a good file.
            assert!(!is_good || error.code() == "E_UNSUPPORTED_FEATURE", "a good model was refused: {error}");
        }
    }
}

fn load(bytes: &[u8], device: Device) -> Result<Engine> {
    let kv_format = if bytes.len().is_multiple_of(2) { KvFormat::F16 } else { KvFormat::F32 };
    let options = Options { memory_limit_bytes: 4 * MEMORY_LIMIT_BYTES, kv_format, ..Options::new(device) };
    let mut loader = Loader::new(options);
    for chunk in bytes.chunks(500) {
        loader.feed(chunk)?;
    }
    loader.finish()
}

/// Two tokens behind the first of the vocabulary.
fn generate(engine: &mut Engine) {
    let sampling = SamplingParams { temperature: 1.0, ..SamplingParams::default() };
    let request = Request {
        prompt: vec![0],
        max_tokens: Some(2),
        logprobs: Some(3),
        ignore_eos: true,
        sampling,
        ..Request::default()
    };
    let n_vocab = engine.tokenizer.n_vocab();
    let mut events = vec![];
    let run = || -> Result<()> {
        engine.session.start(request)?;
        while engine.session.is_busy() {
            events.extend(engine.session.advance(usize::MAX)?);
        }
        Ok(())
    };
    if let Err(error) = run() {
        says_what_is_not_finite(&error);
        assert!(!engine.session.is_busy(), "a failed session is free");
    }
    for event in events {
        if let Event::Token { id, logprobs, .. } = event {
            let logprobs = logprobs.expect("they were asked for");
            let all = logprobs.top.iter().map(|t| (t.id, t.logprob)).chain([(id, logprobs.logprob)]);
            all.for_each(|(id, logprob)| is_a_probability(id, logprob, n_vocab));
        }
    }
}

/// Of a token of the vocabulary.
pub fn is_a_probability(id: u32, logprob: f64, n_vocab: usize) {
    assert!((id as usize) < n_vocab, "token {id} of {n_vocab}");
    assert!(logprob.is_finite() && logprob <= 0.0, "ln P of token {id} is {logprob}");
}

/// The one fault that a model may show only while it runs, beside a context that is too short for two tokens.
pub fn says_what_is_not_finite(error: &Error) {
    let text = error.to_string();
    let is_known = text.contains("as the logit of token") || matches!(error, Error::ContextOverflow { .. });
    assert!(is_known, "a loaded model failed: {text}");
}

fn mutate(file: &mut GgufBuilder, model: &'static str, input: &mut Input<'_>) {
    match input.below(8) {
        0 | 1 => mutate_kv(file, input),
        2 | 3 => mutate_tensor(file, input),
        4 | 5 => mutate_vocabulary(file, model, input),
        6 => mutate_data(file, input),
        _ => mutate_header(file, input),
    }
}

fn mutate_header(file: &mut GgufBuilder, input: &mut Input<'_>) {
    match input.below(5) {
        0 => file.version = input.number() as u32,
        1 => file.n_kv = Some(input.number()),
        2 => file.n_tensors = Some(input.number()),
        3 => file.trailing = vec![0; input.below(100)],
        _ => {
            let alignment = input.pick(&[1, 2, 8, 16, 64, 4096]);
            let whole = std::mem::take(file);
            *file = whole.set("general.alignment", Value::U32(alignment));
            file.alignment = u64::from(alignment);
        }
    }
}

fn mutate_kv(file: &mut GgufBuilder, input: &mut Input<'_>) {
    let n = file.kvs.len();
    let Some(kv) = (n > 0).then(|| input.below(n)).and_then(|i| file.kvs.get_mut(i)) else { return };
    match input.below(9) {
        0 => {
            let i = input.below(n);
            file.kvs.remove(i);
        }
        1 => {
            let twice = kv.clone();
            file.kvs.push(twice);
        }
        2 => kv.key = input.text(10).into(),
        3 => kv.key_length = Some(input.number()),
        4 => kv.value_type = input.number() as u32,
        5 => kv.value.truncate(input.below(20)),
        6 => file.kvs.push(optional_kv(input)),
        _ => (kv.value_type, kv.value) = encode(&input.scalar()),
    }
}

/// A key that the model lacks and an engine may know.
fn optional_kv(input: &mut Input<'_>) -> RawKv {
    const KEYS: [&str; 24] = [
        "general.alignment",
        "general.type",
        "general.name",
        "split.count",
        "split.no",
        "split.tensors.count",
        "llama.attention.value_length",
        "llama.attention.sliding_window",
        "llama.attention.causal",
        "llama.rope.dimension_count",
        "llama.rope.freq_base",
        "llama.rope.scaling.type",
        "llama.rope.scaling.factor",
        "llama.rope.scaling.attn_factor",
        "llama.rope.scale_linear",
        "llama.expert_count",
        "llama.vocab_size",
        "tokenizer.ggml.add_bos_token",
        "tokenizer.ggml.add_eos_token",
        "tokenizer.ggml.add_space_prefix",
        "tokenizer.ggml.remove_extra_whitespaces",
        "tokenizer.ggml.eot_token_id",
        "tokenizer.ggml.unknown_token_id",
        "tokenizer.ggml.precompiled_charsmap",
    ];
    let (value_type, value) = encode(&input.scalar());
    RawKv { key: input.pick(&KEYS).into(), key_length: None, value_type, value }
}

fn mutate_tensor(file: &mut GgufBuilder, input: &mut Input<'_>) {
    let n = file.tensors.len();
    let Some(tensor) = (n > 0).then(|| input.below(n)).and_then(|i| file.tensors.get_mut(i)) else { return };
    match input.below(10) {
        0 => {
            let i = input.below(n);
            file.tensors.remove(i);
        }
        1 => {
            let twice = tensor.clone();
            file.tensors.push(twice);
        }
        2 => {
            let (i, j) = (input.below(n), input.below(n));
            file.tensors.swap(i, j);
        }
        3 => tensor.name = input.pick(&NAMES).into(),
        4 => tensor.n_dims = Some(input.number() as u32),
        5 => tensor.offset = Some(input.number()),
        6 => tensor.ggml_type = u32::from(input.u8() % 48),
        7 => {
            let n = tensor.ne.len();
            if let Some(dim) = tensor.ne.get_mut(input.below(n.max(1))) {
                *dim = input.number();
            }
        }
        8 => tensor.data.truncate(input.below(200)),
        _ => reshape(tensor, input),
    }
}

const NAMES: [&str; 10] = [
    "output.weight",
    "rope_freqs.weight",
    "blk.0.attn_q.bias",
    "blk.0.attn_output.bias",
    "blk.0.attn_norm.weight",
    "blk.1.attn_q.weight",
    "blk.0.attn_rot_embd.weight",
    "token_embd.weight",
    "",
    "\u{1f426}",
];

/// Another shape or format, with as much data as that takes.
fn reshape(tensor: &mut RawTensor, input: &mut Input<'_>) {
    let format = input.pick(&Format::ALL);
    let n_dims = 1 + input.below(3);
    tensor.ne = (0..n_dims).map(|_| input.pick(&[0, 1, 2, 4, 8, 32, 256])).collect();
    tensor.ggml_type = format.ggml_type();
    let n_bytes = tensor.ne.iter().product::<u64>() as usize / format.block_len() * format.block_bytes();
    if n_bytes <= 1 << 16 {
        tensor.data.resize(n_bytes, 0);
    }
}

/// Bits of the weights: scales that are infinite, no numbers or nearly nothing, among them.
fn mutate_data(file: &mut GgufBuilder, input: &mut Input<'_>) {
    let n = file.tensors.len();
    let Some(tensor) = (n > 0).then(|| input.below(n)).and_then(|i| file.tensors.get_mut(i)) else { return };
    if tensor.data.is_empty() {
        return;
    }
    let at = input.below(tensor.data.len());
    let bytes = match input.below(4) {
        0 => input.float().to_le_bytes(),
        1 => [0x00, 0x7c, 0xff, 0x7f],
        2 => [0x01, 0x7e, 0x01, 0x00],
        _ => input.u32().to_le_bytes(),
    };
    let n_repeats = [1, 1, 8, 1000][input.below(4)];
    let block_bytes = Format::from_ggml_type(tensor.ggml_type).map_or(4, Format::block_bytes);
    for i in 0..n_repeats {
        for (place, byte) in tensor.data.iter_mut().skip(at + i * block_bytes).zip(bytes) {
            *place = byte;
        }
    }
}

fn mutate_vocabulary(file: &mut GgufBuilder, model: &'static str, input: &mut Input<'_>) {
    let mut vocabulary = Vocabulary::small(model);
    for _ in 0..=input.below(3) {
        let id = input.below(vocabulary.tokens.len().max(1));
        match input.below(8) {
            0 => vocabulary.tokens[id] = input.text(6).into(),
            1 => {
                let n = input.below(6);
                vocabulary.tokens[id] = input.bytes(n).into();
            }
            2 => vocabulary.tokens[id] = vec![b'a'; input.pick(&[0, 1, 200, 5000])],
            3 => vocabulary.types.iter_mut().skip(id).take(1).for_each(|kind| *kind = input.number() as i32),
            4 => vocabulary.types.truncate(id),
            5 => vocabulary.set("merges", strings((0..input.below(4)).map(|_| input.text(7)))),
            6 => {
                let n = input.below(10);
                vocabulary.set("scores", Value::Array(Array::F32((0..n).map(|_| input.float()).collect())));
            }
            _ => {
                let key =
                    input.pick(&["bos_token_id", "eos_token_id", "unknown_token_id", "pre", "model", "eot_token_id"]);
                vocabulary.set(key, input.scalar());
            }
        }
    }
    *file = vocabulary.write(std::mem::take(file));
}
