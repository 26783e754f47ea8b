//! Speculation is without loss: whatever is guessed, rightly or wrongly, an answer has the tokens, texts, bits of log-probabilities
//! and ends of one that was not guessed, and leaves the same behind. Prompts repeat themselves and a few tokens are made
//! likely, so that guesses are made all the time, right and wrong.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{
    elsewhere::session_elsewhere,
    faulty::faulty_session,
    generate::{Answer, devices, go_on, load, options, run},
    rng::Rng,
    short_llama::{ALL_AT_ONCE, CONTEXT, FILE, engine, reference, tokens},
    t5::t5_goldens,
    tiny_llama::{IM_END, TinyConfig, tiny_llama},
};
use kinglet::{
    engine::Device,
    plan::Want,
    sample::SamplingParams,
    session::{BeamParams, FinishReason, Request, Session, Speculation, Usage},
};
use proptest::prelude::*;
use std::cell::Cell;

/// Pieces of a few tokens, in an order that repeats some of them.
fn repetitive(n: usize, seed: u64) -> Vec<u32> {
    let mut rng = Rng(seed);
    let pieces: Vec<Vec<u32>> =
        (0..3).map(|_| (0..2 + rng.below(5)).map(|_| 10 + rng.below(6) as u32).collect()).collect();
    let mut text = vec![];
    while text.len() < n {
        text.extend_from_slice(&pieces[rng.below(3)]);
    }
    text.truncate(n);
    text
}

/// Greedy, or a draw among six tokens that the prompts are made of.
fn biased(temperature: f32) -> SamplingParams {
    let logit_bias = (10..16).map(|token| (token, 12.0)).collect();
    SamplingParams { seed: 3, temperature, logit_bias, ..SamplingParams::default() }
}

fn request(prompt: Vec<u32>, max_tokens: usize, sampling: SamplingParams) -> Request {
    Request { prompt, max_tokens: Some(max_tokens), sampling, logprobs: Some(2), ..Request::default() }
}

fn with(speculation: Speculation, request: &Request) -> Request {
    Request { speculation, ..request.clone() }
}

/// What was guessed is no part of the answer.
fn without_guesses(answer: &Answer) -> Answer {
    let usage = Usage { drafted_tokens: 0, accepted_tokens: 0, ..answer.usage };
    Answer { usage, ..answer.clone() }
}

/// Runs a request with guesses in one session and without in another, which are to stay alike; how many were made, and were right.
fn compare(guessing: &mut Session, plain: &mut Session, request: &Request, max_ops: usize) -> (usize, usize) {
    let guessed = run(guessing, &with(Speculation::Always, request), max_ops).unwrap();
    let expected = run(plain, &with(Speculation::Off, request), ALL_AT_ONCE).unwrap();
    assert_eq!(without_guesses(&guessed), expected, "{request:?}");
    assert_eq!(guessing.cached_tokens(), plain.cached_tokens());
    let Usage { drafted_tokens, accepted_tokens, .. } = guessed.usage;
    assert!(accepted_tokens <= drafted_tokens);
    assert_eq!((expected.usage.drafted_tokens, expected.usage.accepted_tokens), (0, 0));
    (drafted_tokens, accepted_tokens)
}

/// Every way to choose a token.
fn samplings() -> Vec<SamplingParams> {
    let base = || biased(0.7);
    vec![
        SamplingParams::greedy(),
        SamplingParams { temperature: 0.0, ..base() },
        base(),
        SamplingParams { temperature: 2.0, ..base() },
        SamplingParams { top_k: 0, top_p: 0.6, min_p: 0.0, ..base() },
        SamplingParams { top_k: 0, top_p: 1.0, min_p: 0.3, ..base() },
        SamplingParams { repeat_penalty: 1.3, ..base() },
        SamplingParams { frequency_penalty: 0.3, presence_penalty: 0.5, ..base() },
        SamplingParams { frequency_penalty: -0.3, temperature: 0.0, ..base() },
        SamplingParams { repeat_penalty: 1.1, temperature: 0.0, logit_bias: vec![], ..base() },
        SamplingParams { top_k: 3, repeat_penalty: 1.05, logit_bias: vec![(12, -2.0)], ..base() },
    ]
}

#[test]
fn answers_are_the_same_whatever_is_guessed() {
    for device in devices() {
        for (i, sampling) in samplings().into_iter().enumerate() {
            let (mut guessing, mut plain) = (engine(device.clone()).session, engine(device.clone()).session);
            let (mut n_drafted, mut n_accepted) = (0, 0);
            for n_prompt in [5, 62, 100] {
                let request = request(repetitive(n_prompt, 7), 40, sampling.clone());
                let (drafted, accepted) = compare(&mut guessing, &mut plain, &request, 7 + i);
                n_drafted += drafted;
                n_accepted += accepted;
            }
            assert!(n_drafted > n_accepted && n_accepted > 10, "{i}: {n_accepted} of {n_drafted} were right");
        }
    }
}

#[test]
fn right_guesses_save_steps() {
    let (mut session, fault) = faulty_session(&FILE, CONTEXT).unwrap();
    let request = request(repetitive(64, 7), 80, SamplingParams { temperature: 0.0, ..biased(0.0) });
    let n_steps = |session: &mut Session, speculation| {
        let before = fault.n_steps.get();
        let answer = run(session, &with(speculation, &Request { cache_prompt: false, ..request.clone() }), 1).unwrap();
        (fault.n_steps.get() - before, answer.usage)
    };
    let (without, _) = n_steps(&mut session, Speculation::Off);
    let (guessed, usage) = n_steps(&mut session, Speculation::Always);
    assert_eq!(without, 1 + 79);
    assert_eq!(guessed + usage.accepted_tokens, without, "each right guess is a step less");
    assert!(guessed < without / 2, "{guessed} steps, {usage:?}");
}

#[test]
fn an_answer_may_end_in_the_middle_of_a_draft() {
    let plain = request(repetitive(64, 7), 40, biased(0.4));
    let whole = run(&mut reference().session, &with(Speculation::Off, &plain), ALL_AT_ONCE).unwrap().choices.remove(0);
    let (mut guessing, mut other) = (reference().session, reference().session);
    // At every number of tokens, and at the end of the context.
    for max_tokens in 1..=40 {
        compare(&mut guessing, &mut other, &Request { max_tokens: Some(max_tokens), ..plain.clone() }, ALL_AT_ONCE);
    }
    for n_prompt in CONTEXT - 12..=CONTEXT {
        let full = Request { prompt: repetitive(n_prompt, 7), max_tokens: None, ..plain.clone() };
        compare(&mut guessing, &mut other, &full, ALL_AT_ONCE);
    }
    // At every stop string that the text has.
    let characters: Vec<char> = whole.text.chars().collect();
    let mut n_stopped = 0;
    for window in characters.windows(3).chain(characters.windows(2)) {
        let stopping = Request { stop: vec![window.iter().collect()], ..plain.clone() };
        let (drafted, _) = compare(&mut guessing, &mut other, &stopping, ALL_AT_ONCE);
        n_stopped += usize::from(drafted > 0);
    }
    assert!(n_stopped > 20);
}

#[test]
fn an_end_token_is_never_drafted_and_ends_the_answer_all_the_same() {
    // The prompt says what follows each piece: the end of a turn.
    let prompt: Vec<u32> = [10, 11, 12, IM_END].repeat(12);
    let mut sampling = biased(0.0);
    for bias in [11.0, 12.0, 13.0] {
        sampling.logit_bias.push((IM_END, bias));
        for ignore_eos in [false, true] {
            let request = Request { ignore_eos, ..request(prompt.clone(), 30, sampling.clone()) };
            for device in devices() {
                compare(&mut engine(device.clone()).session, &mut engine(device).session, &request, 9);
            }
        }
        sampling.logit_bias.pop();
    }
    let ends = SamplingParams { logit_bias: vec![(IM_END, 100.0)], ..SamplingParams::greedy() };
    let request = request(prompt, 30, ends);
    let answer = run(&mut reference().session, &with(Speculation::Always, &request), ALL_AT_ONCE).unwrap();
    assert_eq!((answer.usage.drafted_tokens, answer.choices[0].reason), (0, Some(FinishReason::Stop)));
}

#[test]
fn of_several_choices_the_last_one_that_goes_on_is_guessed() {
    let plain = request(repetitive(64, 7), 60, biased(0.5));
    let texts = run(&mut reference().session, &Request { n: 3, ..plain.clone() }, ALL_AT_ONCE).unwrap();
    // A stop string that ends one choice early and others later, or never.
    let mut n_drafted = 0;
    for choice in &texts.choices {
        let stop: String = choice.text.chars().skip(4).take(3).collect();
        for n in [2, 3, 9] {
            let several = Request { n, stop: vec![stop.clone()], ..plain.clone() };
            n_drafted += compare(&mut reference().session, &mut reference().session, &several, 11).0;
        }
    }
    assert!(n_drafted > 0);
    let beams = Some(BeamParams { width: 3, ..BeamParams::default() });
    let searched = Request { beams, logprobs: None, ..request(repetitive(64, 7), 20, SamplingParams::greedy()) };
    assert_eq!(compare(&mut reference().session, &mut reference().session, &searched, ALL_AT_ONCE), (0, 0));
}

#[test]
fn cancelled_at_any_operation_what_is_kept_is_what_counts() {
    for device in devices() {
        let victim = with(Speculation::Always, &request(repetitive(70, 7), 20, biased(0.4)));
        let whole = run(&mut engine(device.clone()).session, &victim, ALL_AT_ONCE).unwrap();
        let text = [&victim.prompt[..], &whole.choices[0].tokens].concat();
        let next = Request { prompt: [&text[..80], &[9, 9]].concat(), ..victim.clone() };
        let undisturbed = run(&mut engine(device.clone()).session, &next, ALL_AT_ONCE).unwrap().results();
        for n_ops in (0..).step_by(17) {
            let mut session = engine(device.clone()).session;
            session.start(victim.clone()).unwrap();
            let mut answer = Answer::new(1);
            let ended = answer.add(session.advance(n_ops).unwrap());
            session.cancel().unwrap();
            let kept = session.cached_tokens();
            assert!(text.starts_with(kept) && kept.len() <= 70 + answer.choices[0].tokens.len(), "{n_ops}");
            let after = run(&mut session, &next, ALL_AT_ONCE).unwrap();
            assert_eq!(without_guesses(&after).results(), without_guesses(&undisturbed), "{n_ops} operations");
            if ended {
                break;
            }
        }
    }
}

#[test]
fn a_generation_that_is_resumed_guesses_from_what_it_was_given() {
    let plain = request(repetitive(64, 7), 40, biased(0.4));
    let whole = run(&mut reference().session, &with(Speculation::Off, &plain), ALL_AT_ONCE).unwrap();
    for n_given in [1, 2, 17, 39] {
        let generated = Some(vec![whole.choices[0].tokens[..n_given].to_vec()]);
        let resumed = with(Speculation::Always, &Request { generated, ..plain.clone() });
        let rest = run(&mut reference().session, &resumed, 13).unwrap();
        assert_eq!(rest.choices[0].tokens, whole.choices[0].tokens[n_given..]);
        assert_eq!(rest.choices[0].logprobs, whole.choices[0].logprobs[n_given..]);
    }
}

#[test]
fn a_device_that_gives_the_best_logits_gives_enough_of_them() {
    for sampling in samplings() {
        let request = request(repetitive(64, 7), 40, sampling);
        let expected = run(&mut reference().session, &with(Speculation::Off, &request), ALL_AT_ONCE).unwrap();
        let (mut session, control) = session_elsewhere(&FILE, CONTEXT).unwrap();
        let answer = run(&mut session, &with(Speculation::Always, &request), ALL_AT_ONCE).unwrap();
        assert_eq!(answer.choices[0].tokens, expected.choices[0].tokens);
        assert_eq!(
            (&answer.choices[0].text, answer.choices[0].reason),
            (&expected.choices[0].text, expected.choices[0].reason)
        );
        let wants = control.wants.take();
        let penalties = SamplingParams { top_k: 3, repeat_penalty: 1.05, logit_bias: vec![(12, -2.0)], ..biased(0.7) };
        if request.sampling == penalties {
            assert!(wants.iter().all(|want| matches!(want, Want::Best(4..))), "{wants:?}");
        }
    }
}

#[test]
fn encoder_decoders_copy_from_what_they_read() {
    for golden in t5_goldens() {
        let mut n_drafted = 0;
        for case in &golden.cases {
            let source = case.output.source.repeat(3);
            let request = request(source, 24, SamplingParams { repeat_penalty: 0.5, ..SamplingParams::greedy() });
            let request = Request { ignore_eos: true, ..request };
            let session = || load(golden.file, options(Device::Reference), 1 << 16).unwrap().session;
            n_drafted += compare(&mut session(), &mut session(), &request, ALL_AT_ONCE).0;
        }
        assert!(n_drafted > 0, "{}", golden.name);
    }
}

/// A clock by which every step takes the same time, so that rows cost nothing.
fn flattering() -> impl Fn() -> f64 {
    let n_looks = Cell::new(0.0);
    move || {
        n_looks.set(n_looks.get() + 1.0);
        n_looks.get()
    }
}

#[test]
fn by_itself_it_guesses_only_what_was_seen_to_pay() {
    let looping = request(repetitive(64, 7), 90, SamplingParams { temperature: 0.0, ..biased(0.0) });
    let auto = with(Speculation::Auto, &looping);
    let mut session = reference().session;
    let unmeasured = run(&mut session, &auto, ALL_AT_ONCE).unwrap();
    assert_eq!(unmeasured.usage.drafted_tokens, 0, "without a clock");
    session.measure_by(flattering());
    let measured = run(&mut session, &auto, ALL_AT_ONCE).unwrap();
    assert!(measured.usage.accepted_tokens > 40, "{:?}", measured.usage);
    assert_eq!(without_guesses(&measured).results(), unmeasured.results());
    let off = run(&mut session, &with(Speculation::Off, &looping), ALL_AT_ONCE).unwrap();
    assert_eq!(off.usage.drafted_tokens, 0);
    // A text that never does what it did before.
    let noise = Request {
        ignore_eos: true,
        ..request(
            tokens(64, 3),
            90,
            SamplingParams { temperature: 50.0, top_k: 0, top_p: 1.0, min_p: 0.0, ..SamplingParams::default() },
        )
    };
    let usage = run(&mut session, &noise, ALL_AT_ONCE).unwrap().usage;
    assert!(usage.drafted_tokens < 5, "{usage:?}");
}

fn any_sampling() -> impl Strategy<Value = SamplingParams> {
    let cut = (0u32..6, 0.3f32..=1.0, 0f32..0.4);
    let penalties = (0.8f32..1.4, -0.5f32..0.5, -0.5f32..0.5);
    (0f32..1.5, any::<u64>(), cut, penalties, any::<bool>()).prop_map(|(t, seed, (top_k, top_p, min_p), p, plain)| {
        let base = SamplingParams { seed, top_k, top_p, min_p, ..biased(if t < 0.3 { 0.0 } else { t }) };
        let (repeat_penalty, frequency_penalty, presence_penalty) = p;
        if plain { base } else { SamplingParams { repeat_penalty, frequency_penalty, presence_penalty, ..base } }
    })
}

fn any_request() -> impl Strategy<Value = Request> {
    let shape = (1usize..130, 0u64..4, 1usize..60, 1usize..4);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), proptest::option::of(0usize..3), 0u32..400);
    (shape, flags, any_sampling()).prop_map(|((n_prompt, seed, max_tokens, n), flags, sampling)| {
        let (echo, cache_prompt, ignore_eos, logprobs, stop) = flags;
        let stop = (10..16).contains(&stop).then(|| engine(Device::Reference).tokenizer.decode(&[stop, stop], true));
        Request {
            echo,
            cache_prompt,
            ignore_eos,
            logprobs,
            n,
            stop: stop.into_iter().filter(|stop| !stop.is_empty()).collect(),
            ..request(repetitive(n_prompt, seed), max_tokens, sampling)
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// One request after the other in two sessions, with guesses and without: they stay alike.
    #[test]
    fn sessions_with_and_without_guesses_stay_alike(
        requests in proptest::collection::vec((any_request(), 1usize..60), 1..5),
        seed in 0u64..1000,
        device in 0usize..3,
    ) {
        let file = tiny_llama(&TinyConfig { n_ctx: CONTEXT, ..TinyConfig::default() }, seed).build();
        let device = devices().remove(device);
        let session = || load(&file, options(device.clone()), 1 << 16).unwrap().session;
        let (mut guessing, mut plain) = (session(), session());
        for (request, max_ops) in &requests {
            compare(&mut guessing, &mut plain, request, *max_ops);
        }
        let most_pages = (4 * CONTEXT.div_ceil(64)) as u64;
        prop_assert!(guessing.memory().kv_bytes <= most_pages * 2 * 2 * 2 * 16 * 64 * 4);
    }
}

#[test]
fn after_a_fault_in_a_draft_the_next_call_works() {
    let (mut session, fault) = faulty_session(&FILE, CONTEXT).unwrap();
    let victim = with(Speculation::Always, &request(repetitive(64, 7), 12, biased(0.0)));
    let expected = run(&mut reference().session, &victim, ALL_AT_ONCE).unwrap().results();
    for n_calls in 0.. {
        fault.calls_left.set(Some(n_calls));
        let outcome = run(&mut session, &victim, 4);
        fault.calls_left.set(None);
        if outcome.is_ok() {
            break;
        }
        assert!(session.cached_tokens().is_empty() && !session.is_busy());
        session.start(victim.clone()).unwrap();
        let answer = go_on(&mut session, Answer::new(1), ALL_AT_ONCE).unwrap();
        assert_eq!(answer.results(), expected, "fault at call {n_calls}");
    }
}
