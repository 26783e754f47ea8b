//! Guesses between the runs of steps that a GPU takes by itself: the same answers with and without, whatever is guessed.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::{cell::Cell, collections::BTreeSet, rc::Rc};

use common::{
    decoders::decoders,
    generate::{Answer, load},
    gpu::{context, finish},
    rng::Rng,
    t5::t5_goldens,
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    engine::{Device, Options},
    gpu::{Context, Request as GpuRequest, context::block_on},
    kv::KvFormat,
    quant::Format,
    sample::SamplingParams,
    session::{Request, Session, Speculation},
};

const CONTEXT: usize = 300;

fn file() -> Vec<u8> {
    let config = TinyConfig { n_ctx: CONTEXT, format: Format::F32, embd_format: Format::F32, ..TinyConfig::default() };
    tiny_llama(&config, 7).build()
}

fn session(file: &[u8], context: &Rc<Context>) -> Session {
    let options = Options { kv_format: KvFormat::F32, ..Options::new(Device::Gpu(context.clone())) };
    load(file, options, 10_000).unwrap().session
}

/// One that takes runs of steps, as long as they may be.
fn running(file: &[u8], context: &Rc<Context>) -> Session {
    let mut session = session(file, context);
    session.look_ahead_by(|| 0.0);
    session
}

/// Pieces of a few tokens below `n_vocab`, in an order that repeats some of them.
fn repetitive(n: usize, n_vocab: u32, seed: u64) -> Vec<u32> {
    let mut rng = Rng(seed);
    let mut token = || 3 + rng.below(n_vocab as usize - 3) as u32;
    let pieces: Vec<Vec<u32>> = (2..6).map(|n| (0..n).map(|_| token()).collect()).collect();
    (0..n).flat_map(|i| pieces[(i * i + i / 3) % 4].clone()).take(n).collect()
}

fn request(prompt: Vec<u32>, max_tokens: usize, sampling: SamplingParams) -> Request {
    Request { prompt, max_tokens: Some(max_tokens), sampling, ignore_eos: true, ..Request::default() }
}

fn sampled(seed: u64, temperature: f32) -> SamplingParams {
    SamplingParams { seed, temperature, ..SamplingParams::default() }
}

fn said(answer: &Answer) -> Vec<(Vec<u32>, String)> {
    answer.choices.iter().map(|choice| (choice.tokens.clone(), choice.text.clone())).collect()
}

/// A request with guesses in one session and without in another; how many were made, and were right.
fn compare(guessing: &mut Session, plain: &mut Session, context: &Context, request: &Request) -> (usize, usize) {
    let with = |speculation| Request { speculation, ..request.clone() };
    let (ours, _) = finish(guessing, context, &with(Speculation::Always)).unwrap();
    let (theirs, _) = finish(plain, context, &with(Speculation::Off)).unwrap();
    assert_eq!(said(&ours), said(&theirs), "{request:?}");
    assert_eq!(guessing.cached_tokens(), plain.cached_tokens());
    for (a, b) in ours.choices.iter().zip(&theirs.choices).flat_map(|(a, b)| a.logprobs.iter().zip(&b.logprobs)) {
        // The sum of all is added up in another order.
        assert!((f64::from_bits(*a) - f64::from_bits(*b)).abs() < 1e-5);
    }
    assert_eq!(theirs.usage.drafted_tokens, 0);
    (ours.usage.drafted_tokens, ours.usage.accepted_tokens)
}

#[test]
fn answers_are_the_same_with_guesses_between_runs() {
    let (context, file) = (context(&GpuRequest::default()), file());
    let (mut guessing, mut plain) = (running(&file, &context), running(&file, &context));
    let prompt = |n, seed| repetitive(n, 320, seed);
    let bias = |temperature| SamplingParams {
        logit_bias: BTreeSet::from_iter(prompt(9, 1)).into_iter().map(|token| (token, 6.0)).collect(),
        ..sampled(3, temperature)
    };
    let requests = [
        request(prompt(40, 1), 90, SamplingParams::greedy()),
        Request { logprobs: Some(3), ..request(prompt(80, 2), 90, SamplingParams::greedy()) },
        request(prompt(60, 3), 120, sampled(1, 0.3)),
        Request { logprobs: Some(0), ..request(prompt(60, 3), 80, SamplingParams { top_k: 2, ..sampled(2, 0.5) }) },
        request(prompt(70, 4), 80, sampled(4, 1.3)),
        // What needs the CPU between tokens, where there are no runs; several choices; the end of the context.
        request(prompt(70, 1), 60, bias(0.4)),
        Request { n: 2, ..request(prompt(50, 1), 30, sampled(5, 0.4)) },
        Request { max_tokens: None, ..request(prompt(200, 5), 0, SamplingParams::greedy()) },
        request(prompt(40, 1), 3, SamplingParams::greedy()),
    ];
    let (mut n_drafted, mut n_accepted) = (0, 0);
    for request in &requests {
        let (drafted, accepted) = compare(&mut guessing, &mut plain, &context, request);
        (n_drafted, n_accepted) = (n_drafted + drafted, n_accepted + accepted);
    }
    println!("{n_accepted} of {n_drafted} guesses were right");
    assert!(n_drafted > n_accepted && n_accepted > 50, "{n_accepted} of {n_drafted} were right");
}

#[test]
fn answers_of_families_are_the_same() {
    let context = context(&GpuRequest::default());
    let some = ["gpt2", "gemma3", "lfm2", "qwen3"];
    let is_all = std::env::var("KINGLET_LONG").is_ok_and(|long| long == "1");
    let mut n_drafted = 0;
    for decoder in decoders().into_iter().filter(|d| is_all || some.contains(&d.name)) {
        let (mut guessing, mut plain) = (running(decoder.file, &context), running(decoder.file, &context));
        for sampling in [SamplingParams::greedy(), sampled(9, 0.5)] {
            let request = request(repetitive(20, 200, 3), 24, sampling);
            n_drafted += compare(&mut guessing, &mut plain, &context, &request).0;
        }
    }
    assert!(n_drafted > 0);
}

#[test]
fn encoder_decoders_too() {
    let context = context(&GpuRequest::default());
    let golden = &t5_goldens()[0];
    let (mut guessing, mut plain) = (running(golden.file, &context), running(golden.file, &context));
    let free = SamplingParams { top_k: 6, top_p: 1.0, min_p: 0.0, ..sampled(2, 1.5) };
    for sampling in [SamplingParams::greedy(), free] {
        let request = request([5, 9, 17, 4].repeat(4), 60, sampling);
        let (drafted, accepted) = compare(&mut guessing, &mut plain, &context, &request);
        println!("{accepted} of {drafted} guesses were right");
        assert!(drafted > 0);
    }
}

#[test]
fn nothing_is_made_per_token() {
    let (context, file) = (context(&GpuRequest::default()), file());
    let mut session = running(&file, &context);
    let request =
        Request { speculation: Speculation::Always, ..request(repetitive(40, 320, 1), 150, SamplingParams::greedy()) };
    for _ in 0..2 {
        finish(&mut session, &context, &request).unwrap();
    }
    let made = context.made();
    let (answer, _) = finish(&mut session, &context, &request).unwrap();
    assert!(answer.usage.drafted_tokens > 0);
    assert_eq!(context.made(), made);
}

/// Given up at any time, with runs or guesses under way, the next answer is that of a new session.
#[test]
fn it_can_be_cancelled_at_any_time() {
    let (context, file) = (context(&GpuRequest::default()), file());
    let mut session = running(&file, &context);
    let request = Request { speculation: Speculation::Always, ..request(repetitive(60, 320, 1), 60, sampled(1, 0.3)) };
    let expected = said(&finish(&mut running(&file, &context), &context, &request).unwrap().0);
    for n_advances in 1..16 {
        session.start(Request { sampling: SamplingParams::greedy(), ..request.clone() }).unwrap();
        for _ in 0..n_advances {
            session.advance(usize::MAX).unwrap();
            if let Some(signal) = session.waiting().filter(|_| n_advances % 3 > 0) {
                block_on(Some(&context), signal);
            }
        }
        session.cancel().unwrap();
        assert_eq!(said(&finish(&mut session, &context, &request).unwrap().0), expected, "after {n_advances}");
    }
}

/// On a clock by which a step takes so long for its first row, and for each more; a device so slow is looked at after every token.
fn drafted_by_itself(context: &Rc<Context>, file: &[u8], request: &Request, [step_ms, row_ms]: [f64; 2]) -> Answer {
    let mut session = session(file, context);
    let now = Rc::new(Cell::new(0.0));
    let clock = now.clone();
    session.look_ahead_by(move || clock.get());
    let mut answers = vec![];
    for _ in 0..2 {
        session.start(request.clone()).unwrap();
        let mut answer = Answer::new(1);
        while !answer.add(session.advance(usize::MAX).unwrap()) {
            if let Some(signal) = session.waiting() {
                let n_rows = session.step_rows().unwrap_or(1);
                now.set(now.get() + step_ms + row_ms * (n_rows - 1) as f64);
                block_on(Some(context), signal);
            }
        }
        answers.push(answer);
    }
    answers.pop().unwrap()
}

#[test]
fn by_itself_it_guesses_only_what_was_seen_to_pay() {
    let (context, file) = (context(&GpuRequest::default()), file());
    let looping = request(repetitive(60, 320, 1), 120, SamplingParams::greedy());
    let [off, cheap, dear] =
        [(Speculation::Off, [40.0, 1.0]), (Speculation::Auto, [40.0, 1.0]), (Speculation::Auto, [40.0, 80.0])].map(
            |(speculation, times)| {
                drafted_by_itself(&context, &file, &Request { speculation, ..looping.clone() }, times)
            },
        );
    println!("guesses: {:?}, where rows are dear {:?}", cheap.usage, dear.usage);
    assert_eq!(off.usage.drafted_tokens, 0);
    assert!(cheap.usage.accepted_tokens > 30, "{:?}", cheap.usage);
    assert!(dear.usage.drafted_tokens < 10, "{:?}", dear.usage);
    assert_eq!(said(&cheap), said(&off));
    assert_eq!(said(&dear), said(&off));
    // Without a clock nothing is known.
    let mut unmeasured = session(&file, &context);
    assert_eq!(finish(&mut unmeasured, &context, &looping).unwrap().0.usage.drafted_tokens, 0);
}
