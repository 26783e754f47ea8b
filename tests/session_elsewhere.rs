//! Sessions on an executor that runs steps elsewhere (on a device): it is waited for, it goes on when it has been forgotten,
//! and it gives the best logits instead of all. What comes out is what a plain run gives.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{
    elsewhere::{Control, session_elsewhere},
    generate::{Answer, load, options, request, run},
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    engine::Device,
    plan::Want,
    sample::SamplingParams,
    session::{Event, Request, Session},
};
use std::{future::Future, pin::pin, rc::Rc, sync::LazyLock, task};

const CONTEXT: usize = 160;
const ALL_AT_ONCE: usize = 1_000_000;

static FILE: LazyLock<Vec<u8>> =
    LazyLock::new(|| tiny_llama(&TinyConfig { n_ctx: CONTEXT, ..TinyConfig::default() }, 7).build());

fn elsewhere() -> (Session, Rc<Control>) {
    session_elsewhere(&FILE, CONTEXT).unwrap()
}

fn fresh(request: &Request) -> Answer {
    let mut engine = load(&FILE, options(Device::Reference), 1 << 16).unwrap();
    run(&mut engine.session, request, ALL_AT_ONCE).unwrap()
}

/// A prompt of n tokens; those with the same seed share their beginnings.
fn prompt(n: usize, seed: u32) -> Vec<u32> {
    (0..n as u32).map(|i| 3 + (i * 31 + seed * 17 + i * i * 7) % 300).collect()
}

/// Runs a request that was started to its end, `max_ops` at a time; while the session waits, it is asked once too early, says
/// nothing, and then the device comes on. How often it was waited for.
fn finish(session: &mut Session, control: &Control, n: usize, max_ops: usize) -> (Answer, usize) {
    let (mut answer, mut n_waits) = (Answer::new(n), 0);
    while !answer.add(session.advance(max_ops).unwrap()) {
        if let Some(signal) = session.waiting() {
            let mut waited_for = pin!(signal.clone());
            let mut context = task::Context::from_waker(task::Waker::noop());
            assert!(!signal.is_raised() && waited_for.as_mut().poll(&mut context).is_pending());
            assert_eq!(session.advance(max_ops).unwrap(), [], "nothing happens while the device is busy");
            control.raise();
            assert!(signal.is_raised() && waited_for.as_mut().poll(&mut context).is_ready());
            n_waits += 1;
        }
    }
    assert!(!session.is_busy() && session.waiting().is_none());
    (answer, n_waits)
}

/// The same texts and tokens, and log-probabilities within the rounding of a sum.
fn assert_same(ours: &Answer, expected: &Answer) {
    let without_numbers = |answer: &Answer| {
        let mut answer = answer.clone();
        for choice in &mut answer.choices {
            choice.logprobs.clear();
            choice.top.iter_mut().flatten().for_each(|t| t.1 = 0);
        }
        answer
    };
    assert_eq!(without_numbers(ours), without_numbers(expected));
    for (a, b) in ours.choices.iter().zip(&expected.choices) {
        let numbers = |c: &common::generate::ChoiceAnswer| -> Vec<f64> {
            let top = c.top.iter().flatten().map(|t| t.1);
            c.logprobs.iter().copied().chain(top).map(f64::from_bits).collect()
        };
        let (a, b) = (numbers(a), numbers(b));
        assert_eq!(a.len(), b.len());
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-9 * b.abs().max(1.0)), "{a:?} {b:?}");
    }
}

/// Requests of every kind, with what their steps want.
fn requests() -> Vec<(Request, Want)> {
    let base = || request(prompt(70, 1), 6);
    let sampling = |change: fn(&mut SamplingParams)| {
        let mut request = base();
        change(&mut request.sampling);
        request
    };
    let greedy = |logprobs| Request { sampling: SamplingParams::greedy(), logprobs, ..base() };
    vec![
        (greedy(None), Want::Best(1)),
        (greedy(Some(0)), Want::Best(1)),
        (greedy(Some(7)), Want::Best(7)),
        (base(), Want::Best(40)),
        (Request { n: 10, ..base() }, Want::Best(40)),
        (sampling(|s| s.logit_bias = vec![(9, -1.0)]), Want::Best(41)),
        (sampling(|s| s.logit_bias = vec![(9, 1.0)]), Want::All),
        (sampling(|s| s.top_k = 0), Want::All),
        (Request { echo: true, ..base() }, Want::All),
        (Request { echo: true, logprobs: None, ..base() }, Want::Best(40)),
        (Request { generated: Some(vec![prompt(70, 3)]), max_tokens: Some(75), ..base() }, Want::Best(40)),
    ]
}

#[test]
fn the_best_logits_are_asked_for_and_give_the_same_as_all() {
    for (request, want) in requests() {
        let expected = fresh(&request);
        for most_best in [None, Some(0), Some(40)] {
            let (mut session, control) = elsewhere();
            control.most_best.set(most_best);
            session.start(request.clone()).unwrap();
            let (answer, _) = finish(&mut session, &control, request.n, ALL_AT_ONCE);
            assert_same(&answer, &expected);
            let mut wants = control.wants.take();
            if request.echo && request.logprobs.is_some() {
                // The prompt's logits are all wanted; the answer's are not.
                assert!(wants.ends_with(&[Want::Best(40); 5]));
                wants.truncate(wants.len() - 5);
            }
            assert!(!wants.is_empty() && wants.iter().all(|w| *w == want), "{wants:?}, expected {want:?}");
        }
    }
}

#[test]
fn choices_whose_penalties_differ_get_what_the_most_demanding_wants() {
    let sampling = SamplingParams { presence_penalty: 0.5, ..request(vec![], 0).sampling };
    let generated = Some(vec![vec![5, 6, 7], vec![5, 5, 5, 5]]);
    let request = Request { n: 2, sampling, generated, ..request(prompt(20, 2), 8) };
    let (mut session, control) = elsewhere();
    session.start(request.clone()).unwrap();
    let (answer, _) = finish(&mut session, &control, 2, ALL_AT_ONCE);
    assert_same(&answer, &fresh(&request));
    let wants = control.wants.take();
    // Both are replayed alone, then decode together: the first has three tokens and more.
    assert_eq!(wants[..3], [Want::Best(43), Want::Best(41), Want::Best(44)]);
}

#[test]
fn fewer_logits_than_were_asked_for_are_an_error_and_the_next_call_works() {
    let (mut session, control) = elsewhere();
    // Two of the best are wanted for their log-probabilities only, so the sampler would not miss one.
    let request = Request { sampling: SamplingParams::greedy(), ..request(prompt(20, 2), 4) };
    control.one_too_few.set(true);
    let error = run(&mut session, &request, ALL_AT_ONCE).unwrap_err();
    assert_eq!(error.to_string(), "the executor gave the 1 best logits, 2 were asked for");
    control.one_too_few.set(false);
    assert_same(&run(&mut session, &request, ALL_AT_ONCE).unwrap(), &fresh(&request));
}

#[test]
fn a_step_that_is_pending_is_waited_for_and_nothing_is_said_twice() {
    for (request, _) in requests() {
        let expected = fresh(&request);
        for (n_pending, max_ops) in [(1, ALL_AT_ONCE), (3, 1), (3, 7), (2, ALL_AT_ONCE)] {
            let (mut session, control) = elsewhere();
            control.n_pending.set(n_pending);
            session.start(request.clone()).unwrap();
            let (answer, n_waits) = finish(&mut session, &control, request.n, max_ops);
            assert_same(&answer, &expected);
            let n_steps = n_waits / n_pending;
            assert!(n_steps >= 6 && n_waits == n_steps * n_pending, "{n_waits} waits");
            assert_eq!(control.n_early.get(), n_waits, "asked early by this test, and by nobody else");
            assert_eq!(control.n_dropped.get(), 0);
        }
    }
}

#[test]
fn cancelled_while_a_step_is_pending_the_next_call_is_undisturbed() {
    let victim = Request { n: 2, ..request(prompt(70, 8), 4) };
    let next = request(prompt(75, 8), 5);
    let undisturbed = fresh(&next).results();
    let (mut session, control) = elsewhere();
    control.n_pending.set(2);
    let (mut n_steps, mut ended) = (0, false);
    while !ended {
        // The signals of the victim that are raised before it is cancelled.
        session.start(victim.clone()).unwrap();
        let mut answer = Answer::new(victim.n);
        for _ in 0..=n_steps {
            ended = answer.add(session.advance(ALL_AT_ONCE).unwrap());
            control.raise();
        }
        let forgotten = session.waiting();
        session.cancel().unwrap();
        assert!(!session.is_busy() && session.waiting().is_none(), "a forgotten step is not waited for");
        assert_eq!(session.advance(5).unwrap(), [], "a cancelled generation says nothing more");
        session.start(next.clone()).unwrap();
        let (after, _) = finish(&mut session, &control, 1, ALL_AT_ONCE);
        assert_same(&after.results(), &undisturbed);
        // Who waited for the forgotten step is not left waiting.
        assert!(forgotten.is_none_or(|signal| signal.is_raised()));
        // One that needs the whole cache.
        session.start(request(prompt(CONTEXT - 1, 9), 1)).unwrap();
        finish(&mut session, &control, 1, ALL_AT_ONCE);
        n_steps += 1;
    }
    assert!(n_steps >= 10, "{n_steps} places to cancel at");
    assert!(control.n_dropped.get() >= n_steps - 1, "the device ran them to the end");
}

#[test]
fn without_operations_to_run_a_pending_step_still_goes_on() {
    let (mut session, control) = elsewhere();
    control.n_pending.set(1);
    session.start(request(prompt(3, 2), 1)).unwrap();
    assert_eq!(session.advance(0).unwrap(), []);
    assert!(session.waiting().is_none(), "nothing was begun");
    assert_eq!(session.advance(1).unwrap(), []);
    control.raise();
    let events = session.advance(0).unwrap();
    assert!(events.iter().any(|e| matches!(e, Event::Token { .. })), "{events:?}");
}

#[test]
fn waiting_takes_no_operations_off_however_long_it_takes() {
    let (mut session, control) = elsewhere();
    let request = request(prompt(3, 2), 1);
    control.n_pending.set(100);
    control.more.set(true);
    session.start(request.clone()).unwrap();
    assert_same(&finish(&mut session, &control, 1, 2).0, &fresh(&request));
    assert!(!control.more.get(), "it had more to run after it was pending");
}
