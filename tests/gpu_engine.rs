//! A whole model on the GPU, through the engine: it is checked before it is trusted, gives the tokens of the reference, is
//! waited for, can be cancelled at any time, and gives its memory back.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{
    generate::{Answer, load, run},
    gpu,
    scoring::{awkward, request as scoring, run_scoring},
    t5::t5_goldens,
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    engine::{Device, Engine, Loader, Options},
    error::Error,
    gpu::{Context, Request as GpuRequest, context::block_on},
    kv::KvFormat,
    quant::Format,
    sample::SamplingParams,
    session::{Request, ScoreGroup, ScoreRequest, Session, Span, Speculation},
};
use std::rc::Rc;

const CONTEXT: usize = 160;

fn file() -> Vec<u8> {
    let config = TinyConfig { n_ctx: CONTEXT, format: Format::F32, embd_format: Format::F32, ..TinyConfig::default() };
    tiny_llama(&config, 7).build()
}

fn options(device: Device) -> Options {
    Options { kv_format: KvFormat::F32, ..Options::new(device) }
}

fn on_gpu() -> (Engine, Rc<Context>) {
    on_gpu_with(&GpuRequest::default())
}

fn on_gpu_with(request: &GpuRequest) -> (Engine, Rc<Context>) {
    let context = gpu::context(request);
    (load(&file(), options(Device::Gpu(context.clone())), 10_000).unwrap(), context)
}

fn on_reference(request: &Request) -> Answer {
    run(&mut load(&file(), options(Device::Reference), 1 << 16).unwrap().session, request, 1_000_000).unwrap()
}

fn greedy(n_prompt: u32, max_tokens: usize) -> Request {
    Request {
        prompt: (0..n_prompt).map(|i| 3 + (i * 31 + i * i * 7) % 300).collect(),
        max_tokens: Some(max_tokens),
        sampling: SamplingParams::greedy(),
        logprobs: Some(3),
        ignore_eos: true,
        ..Request::default()
    }
}

/// Runs to the end, waiting as the worker does.
fn finish(session: &mut Session, context: &Context, request: &Request) -> (Answer, usize) {
    gpu::finish(session, context, request).unwrap()
}

fn assert_near(ours: &Answer, reference: &Answer) {
    for (a, b) in ours.choices.iter().zip(&reference.choices) {
        assert_eq!((&a.tokens, &a.text, a.reason), (&b.tokens, &b.text, b.reason));
        let off = a.logprobs.iter().zip(&b.logprobs).map(|(a, b)| f64::from_bits(*a) - f64::from_bits(*b));
        assert!(off.fold(0.0, |most: f64, off| most.max(off.abs())) < 1e-3);
    }
}

#[test]
fn the_gpu_gives_the_tokens_of_the_reference() {
    compare(&GpuRequest::default());
}

#[test]
fn without_subgroups_too() {
    compare(&GpuRequest { without_subgroups: true, ..GpuRequest::default() });
}

/// Every kind of step: one row, some, many, with and without all logits.
fn compare(device: &GpuRequest) {
    let (mut engine, context) = on_gpu_with(device);
    let penalties = SamplingParams {
        repeat_penalty: 1.1,
        frequency_penalty: 0.1,
        logit_bias: vec![(5, -1.5)],
        ..SamplingParams::greedy()
    };
    for request in [
        Request { n: 2, echo: true, sampling: penalties, ..greedy(4, 5) },
        greedy(1, 4),
        greedy(70, 12),
        Request { n: 3, ..greedy(66, 5) },
        Request { echo: true, ..greedy(20, 3) },
        Request { sampling: SamplingParams { logit_bias: vec![(9, 3.0)], ..SamplingParams::greedy() }, ..greedy(9, 4) },
    ] {
        let (answer, n_waits) = finish(&mut engine.session, &context, &request);
        assert_near(&answer, &on_reference(&request));
        assert!(n_waits >= request.max_tokens.unwrap(), "each step is waited for");
    }
}

/// Steps of several rows of one sequence, some of which are taken back; with all logits and with the best.
#[test]
fn guessed_tokens_are_verified_as_on_the_reference() {
    let (mut engine, context) = on_gpu();
    let biased = SamplingParams { logit_bias: (10..16).map(|id| (id, 12.0)).collect(), ..SamplingParams::greedy() };
    let (mut n_drafted, mut n_accepted) = (0, 0);
    for sampling in [SamplingParams::greedy(), biased] {
        let prompt = [10, 11, 12, 13, 10, 11, 14, 15, 12].repeat(7);
        let plain = Request { prompt, sampling, ..greedy(0, 40) };
        let guessing = Request { speculation: Speculation::Always, ..plain.clone() };
        let (answer, n_waits) = finish(&mut engine.session, &context, &guessing);
        assert_near(&answer, &on_reference(&plain));
        assert_eq!(n_waits + answer.usage.accepted_tokens, 40, "each right guess is a step less");
        n_drafted += answer.usage.drafted_tokens;
        n_accepted += answer.usage.accepted_tokens;
    }
    assert!(n_drafted > n_accepted && n_accepted > 10, "{n_accepted} of {n_drafted}");
}

/// Scores on the GPU are those of the reference.
fn compare_scores(file: &[u8], request: &ScoreRequest) {
    let context = gpu::context(&GpuRequest::default());
    let mut ours = load(file, options(Device::Gpu(context.clone())), 10_000).unwrap().session;
    let mut reference = load(file, options(Device::Reference), 1 << 16).unwrap().session;
    let (expected, n_expected) = run_scoring(&mut reference, request, |session| session.advance(1_000_000)).unwrap();
    // Twice: what the first left in the cache is nobody's.
    for _ in 0..2 {
        let (scores, n_rows) = run_scoring(&mut ours, request, |session| {
            let events = session.advance(usize::MAX)?;
            if let Some(signal) = session.waiting() {
                block_on(Some(&context), signal);
            }
            Ok(events)
        })
        .unwrap();
        assert_eq!(n_rows, n_expected);
        for ((bits, is_greedy), (expected, expected_greedy)) in scores.concat().iter().zip(&expected.concat()) {
            assert_eq!((bits.len(), is_greedy), (expected.len(), expected_greedy));
            let off = bits.iter().zip(expected).map(|(a, b)| f64::from_bits(*a) - f64::from_bits(*b));
            assert!(off.fold(0.0, |most: f64, off| most.max(off.abs())) < 1e-3);
        }
    }
}

#[test]
fn scores_of_many_texts_are_those_of_the_reference() {
    compare_scores(&file(), &scoring(awkward()));
    // As many sequences in a step as it has rows.
    let spans = (0..80).map(|end| Span { tokens: vec![3, 4, 5, 3 + end, 9], first: 3 }).collect();
    compare_scores(&file(), &scoring(vec![ScoreGroup { source: vec![], spans }]));
}

#[test]
fn scores_of_an_encoder_decoder_are_those_of_the_reference() {
    let golden = t5_goldens().remove(1);
    let group = |case: &common::t5::T5Case| ScoreGroup {
        source: case.output.source.clone(),
        spans: (1..case.target.len()).map(|n| Span { tokens: case.target[1..=n].to_vec(), first: 0 }).collect(),
    };
    compare_scores(golden.file, &scoring(golden.cases.iter().map(group).collect()));
}

#[test]
fn cancelled_while_the_gpu_computes_the_next_call_is_undisturbed() {
    let (mut engine, context) = on_gpu();
    let next = greedy(75, 4);
    let undisturbed = on_reference(&next);
    for n_waits in 0..6 {
        engine.session.start(Request { n: 2, ..greedy(70, 9) }).unwrap();
        for _ in 0..n_waits {
            engine.session.advance(usize::MAX).unwrap();
            if let Some(signal) = engine.session.waiting() {
                block_on(Some(&context), signal);
            }
        }
        engine.session.advance(usize::MAX).unwrap();
        assert!(engine.session.waiting().is_some());
        engine.session.cancel().unwrap();
        assert_eq!((engine.session.waiting().is_none(), engine.session.is_busy()), (true, false));
        assert_near(&finish(&mut engine.session, &context, &next).0, &undisturbed);
    }
}

#[test]
fn a_gpu_that_was_not_checked_gives_no_engine() {
    let context = gpu::context(&GpuRequest::default());
    let mut loader = Loader::new(options(Device::Gpu(context)));
    for chunk in file().chunks(1 << 16) {
        loader.feed(chunk).unwrap();
    }
    // Begun, but not waited for.
    drop(loader.check());
    assert_eq!(loader.finish().err(), Some(Error::internal("the device was not checked")));
}

#[test]
fn a_cache_that_no_buffer_can_hold_is_refused_at_the_header_with_numbers() {
    let context = gpu::context(&GpuRequest { binding_limit_bytes: Some(40_000), ..GpuRequest::default() });
    let mut loader = Loader::new(options(Device::Gpu(context)));
    let error = file().chunks(4096).find_map(|chunk| loader.feed(chunk).err()).unwrap();
    // 3 pages of 64 positions, keys and values, 2 heads of 16 f32.
    assert!(matches!(error, Error::Memory { needed_bytes: 49_152, .. }), "{error:?}");
    assert!(error.to_string().contains("40000"), "{error}");
}

#[test]
fn a_gpu_that_was_lost_says_so_in_every_call() {
    let (mut engine, context) = on_gpu();
    engine.session.start(greedy(70, 40)).unwrap();
    engine.session.advance(usize::MAX).unwrap();
    let signal = engine.session.waiting().unwrap();
    context.destroy();
    block_on(Some(&context), signal);
    let mut codes = vec![];
    for _ in 0..3 {
        codes.extend(engine.session.advance(usize::MAX).err().map(|error| error.code()));
        assert!(!engine.session.is_busy());
        engine.session.start(greedy(3, 1)).unwrap();
    }
    assert_eq!(codes, ["E_GPU_LOST"; 3]);
}

#[test]
fn what_a_model_took_on_the_gpu_comes_back() {
    let (engine, context) = on_gpu();
    let memory = engine.session.memory();
    assert!(memory.weights_bytes > 100_000 && context.allocated_bytes() >= memory.weights_bytes);
    // The estimate, made before anything was allocated, was right but for rounding.
    assert!(engine.info.memory.weights_bytes >= memory.weights_bytes * 9 / 10);
    drop(engine);
    assert_eq!((context.n_buffers(), context.allocated_bytes()), (0, 0));
}

#[test]
fn the_cache_takes_what_was_said_of_it_in_every_format() {
    let config = TinyConfig { n_ctx: 4 * 64, n_embd: 128, head_size: 32, ..TinyConfig::default() };
    let (file, context) = (tiny_llama(&config, 7).build(), gpu::context(&GpuRequest::default()));
    for kv_format in [KvFormat::F16, KvFormat::F32, KvFormat::Q8_0] {
        let options = Options { kv_format, ..Options::new(Device::Gpu(context.clone())) };
        let mut engine = load(&file, options, 10_000).unwrap();
        finish(&mut engine.session, &context, &greedy(200, 40));
        assert_eq!(engine.session.memory().kv_bytes, engine.info.memory.kv_bytes, "{kv_format:?}");
    }
}

#[test]
fn nothing_is_left_of_200_generations_and_20_loads() {
    let context = gpu::context(&GpuRequest::default());
    for load_number in 0..20 {
        let mut engine = load(&file(), options(Device::Gpu(context.clone())), 10_000).unwrap();
        let mut settled = None;
        for i in 0..10 {
            let (answer, _) = gpu::finish(&mut engine.session, &context, &greedy(3 + i, 4)).unwrap();
            assert_eq!(answer.choices.len(), 1);
            let now = (context.n_buffers(), context.allocated_bytes(), context.made());
            // What the first calls make stays.
            if i >= 2 {
                assert_eq!(*settled.get_or_insert(now), now, "load {load_number}, generation {i}");
            }
        }
        drop(engine);
        assert_eq!((context.n_buffers(), context.allocated_bytes()), (0, 0), "load {load_number}");
    }
}

/// Waits as the worker does; how often.
fn snapshot(engine: &mut Engine, context: &Context, text: &[u32]) -> (Vec<u8>, usize) {
    let mut n_waits = 0;
    loop {
        if let Some(bytes) = engine.snapshot(b"note", text).unwrap() {
            return (bytes, n_waits);
        }
        block_on(Some(context), engine.session.waiting().expect("something to wait for"));
        n_waits += 1;
    }
}

#[test]
fn a_conversation_is_put_aside_and_taken_up_on_either_device() {
    let (mut gpu, context) = on_gpu();
    let first = greedy(70, 20);
    let (answer, _) = finish(&mut gpu.session, &context, &first);
    let text = [&first.prompt[..], &answer.choices[0].tokens].concat();
    let (bytes, n_waits) = snapshot(&mut gpu, &context, &text);
    assert!(n_waits > 0);
    let next = Request { prompt: [&text[..], &[5, 6, 7]].concat(), ..greedy(1, 20) };
    let (expected, _) = finish(&mut gpu.session, &context, &next);

    let (mut other, context) = on_gpu();
    assert_eq!(other.restore(&bytes).unwrap(), b"note");
    let (restored, _) = finish(&mut other.session, &context, &next);
    assert_eq!((restored.usage.cached_tokens, &restored), (89, &expected));
    let mut cpu = load(&file(), options(Device::Reference), 1 << 16).unwrap();
    assert_eq!(cpu.restore(&bytes).unwrap(), b"note");
    let on_cpu = run(&mut cpu.session, &next, 1_000_000).unwrap();
    assert_eq!(on_cpu.usage.cached_tokens, 89);
    assert_near(&expected, &on_cpu);
    // And back.
    let of_cpu = cpu.snapshot(b"", &next.prompt).unwrap().unwrap();
    let (mut back, context) = on_gpu();
    back.restore(&of_cpu).unwrap();
    let (again, _) = finish(&mut back.session, &context, &next);
    assert_eq!(again.usage.cached_tokens, 92);
    assert_near(&again, &on_cpu);
}

#[test]
fn a_snapshot_that_was_given_up_says_nothing_of_what_is_written_later() {
    let (mut gpu, context) = on_gpu();
    let first = greedy(89, 1);
    finish(&mut gpu.session, &context, &first);
    assert_eq!(gpu.snapshot(b"note", &first.prompt).unwrap(), None);
    gpu.session.cancel().unwrap();
    // Another text of the same length, which takes the same pages: there is no room for both.
    let mut cpu = load(&file(), options(Device::Reference), 1 << 16).unwrap();
    let other = Request { prompt: first.prompt.iter().rev().copied().collect(), ..first };
    run(&mut cpu.session, &other, 1_000_000).unwrap();
    let bytes = cpu.snapshot(b"note", &other.prompt).unwrap().unwrap();
    gpu.restore(&bytes).unwrap();
    assert!(snapshot(&mut gpu, &context, &other.prompt).0 == bytes);
}
