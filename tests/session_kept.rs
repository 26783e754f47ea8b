//! What a session keeps of calls: several branches of conversations at a time, in the pages of one context; and what it puts aside as
//! bytes. Kept or restored, the next answer is the one of a fresh session, with less to compute.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{
    elsewhere::session_elsewhere,
    generate::{Answer, devices, load, options, request, run},
    short_llama::{ALL_AT_ONCE, tokens},
    t5::t5_goldens,
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    engine::{Device, Engine, Options},
    error::Error,
    kv::{Binding, KvFormat, KvGeometry},
    sample::SamplingParams,
    session::{Request, Session},
};
use std::sync::LazyLock;

/// Eight pages.
const CONTEXT: usize = 512;
/// k and v of two layers with two heads of 16 f32.
const PAGE_BYTES: usize = 2 * 2 * 2 * 16 * 64 * 4;
const BINDING: Binding =
    Binding { model: 7, geometry: KvGeometry { layers: 2, kv_heads: 2, head_size: 16, format: KvFormat::F32 } };

static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| file(7));

fn file(seed: u64) -> Vec<u8> {
    tiny_llama(&TinyConfig { n_ctx: CONTEXT, ..TinyConfig::default() }, seed).build()
}

fn engine(device: Device) -> Engine {
    load(&FILE, options(device), 1 << 16).unwrap()
}

/// What is asked after this answer: all that was said, and n tokens more.
fn next(request: &Request, answer: &Answer, n: usize, seed: u32) -> Request {
    let prompt = [&request.prompt, &answer.choices[0].tokens, &tokens(n, seed)[..]].concat();
    Request { prompt, ..request.clone() }
}

/// Runs a request and holds that it gives what it gives in a fresh session; how many tokens of its prompt were there.
fn reused(session: &mut Session, device: &Device, request: &Request) -> (usize, Answer) {
    let answer = run(session, request, ALL_AT_ONCE).unwrap();
    let fresh = run(&mut engine(device.clone()).session, request, ALL_AT_ONCE).unwrap();
    assert_eq!(answer.clone().results(), fresh.results());
    (answer.usage.cached_tokens, answer)
}

#[test]
fn going_back_to_a_branch_computes_nothing_again() {
    for device in devices() {
        // Within a page, at a border, and behind one.
        for n_shared in [40, 64, 100] {
            let mut session = engine(device.clone()).session;
            let a = request(tokens(120, 4), 10);
            let (_, of_a) = reused(&mut session, &device, &a);
            let b = request([&a.prompt[..n_shared], &tokens(30, 9)].concat(), 10);
            let (n, of_b) = reused(&mut session, &device, &b);
            assert_eq!(n, n_shared);
            // Each goes on behind its own answer, whose last token was never processed.
            let a = next(&a, &of_a, 7, 1);
            let (n, of_a) = reused(&mut session, &device, &a);
            assert_eq!(n, 129);
            let b = next(&b, &of_b, 7, 2);
            assert_eq!(reused(&mut session, &device, &b).0, n_shared + 39);
            assert_eq!(reused(&mut session, &device, &next(&a, &of_a, 3, 3)).0, 129 + 8 + 9);
        }
    }
}

#[test]
fn another_answer_to_the_same_question_leaves_the_first_one_there() {
    let mut session = engine(Device::Reference).session;
    let first = request(tokens(70, 4), 20);
    let other = Request { sampling: SamplingParams { seed: 6, ..first.sampling.clone() }, ..first.clone() };
    let (_, of_first) = reused(&mut session, &Device::Reference, &first);
    let (n, of_other) = reused(&mut session, &Device::Reference, &other);
    assert_eq!(n, 69, "all but the token whose logits are wanted");
    assert_ne!(of_first.choices[0].tokens, of_other.choices[0].tokens);
    assert_eq!(reused(&mut session, &Device::Reference, &next(&first, &of_first, 5, 1)).0, 89);
    assert_eq!(reused(&mut session, &Device::Reference, &next(&other, &of_other, 5, 1)).0, 89);
}

#[test]
fn what_was_used_least_recently_makes_room() {
    let mut session = engine(Device::Reference).session;
    // Two pages each, nothing in common: four of them are a context.
    let of = |i: u32| request([&[10 + i][..], &tokens(100, i)].concat(), 2);
    let ask = |session: &mut Session, i: u32| run(session, &of(i), ALL_AT_ONCE).unwrap().usage.cached_tokens;
    let is_there = |session: &mut Session, i: u32| {
        let bytes = session.snapshot(b"", &of(i).prompt, &BINDING).unwrap().unwrap();
        bytes.len() > 40
    };
    assert_eq!([0, 1, 2].map(|i| ask(&mut session, i)), [0; 3]);
    // Used again, the first one is no longer the oldest.
    assert_eq!(ask(&mut session, 0), 100);
    assert_eq!([3, 4].map(|i| ask(&mut session, i)), [0; 2]);
    assert_eq!([0, 1, 2, 3, 4].map(|i| is_there(&mut session, i)), [true, false, true, true, true]);
    // To be looked at is to be used: the first one is the oldest again.
    assert_eq!(ask(&mut session, 5), 0);
    assert_eq!([0, 2, 3, 4, 5].map(|i| is_there(&mut session, i)), [false, true, true, true, true]);

    // One that needs the whole context gets it, and the cache never grows beyond that.
    let full = request(tokens(CONTEXT - 1, 40), 1);
    run(&mut session, &full, ALL_AT_ONCE).unwrap();
    let open = Request { max_tokens: None, ..request(tokens(CONTEXT - 60, 41), 0) };
    assert_eq!(run(&mut session, &open, ALL_AT_ONCE).unwrap().choices[0].tokens.len(), 60);
    for n in [1, 30, 63, 64, 65, 200, 511] {
        for seed in 0..3 {
            run(&mut session, &request(tokens(n, seed), 1), ALL_AT_ONCE).unwrap();
            run(&mut session, &request(tokens(n, 50 + seed), 1), ALL_AT_ONCE).unwrap();
        }
    }
    assert_eq!(session.memory().kv_bytes, (CONTEXT / 64 * PAGE_BYTES) as u64);
}

#[test]
fn a_fork_of_what_fills_the_context_makes_room_for_its_copy() {
    let mut session = engine(Device::Reference).session;
    let full = request(tokens(CONTEXT - 4, 1), 3);
    run(&mut session, &full, ALL_AT_ONCE).unwrap();
    // It goes on within the last page, which is shared, and there is no other.
    let (n, _) =
        reused(&mut session, &Device::Reference, &request([&full.prompt[..CONTEXT - 20], &tokens(9, 3)].concat(), 3));
    assert_eq!(n, CONTEXT - 20);
    assert_eq!(session.memory().kv_bytes, (CONTEXT / 64 * PAGE_BYTES) as u64);
}

#[test]
fn an_encoder_decoder_keeps_several_prompts_by_the_whole() {
    let golden = &t5_goldens()[0];
    let Engine { mut session, binding, .. } = load(golden.file, options(Device::Reference), 10_000).unwrap();
    let sources: Vec<Vec<u32>> = golden.cases.iter().take(2).map(|case| case.output.source.clone()).collect();
    let longer = [&sources[0][..], &[5]].concat();
    let ask = |source: &Vec<u32>| Request { max_tokens: Some(2), ..request(source.clone(), 2) };
    for (source, cached) in [
        (&sources[0], 0),
        (&sources[1], 0),
        (&longer, 0),
        (&sources[0], sources[0].len()),
        (&sources[1], sources[1].len()),
        (&longer, longer.len()),
    ] {
        assert_eq!(run(&mut session, &ask(source), ALL_AT_ONCE).unwrap().usage.cached_tokens, cached);
    }
    // A snapshot has all of it or nothing.
    let part = session.snapshot(b"note", &sources[0][..3], &binding).unwrap().unwrap();
    assert_eq!(part.len(), 40 + 4);
    let whole = session.snapshot(b"note", &sources[0], &binding).unwrap().unwrap();
    let mut there = load(golden.file, options(Device::Reference), 10_000).unwrap().session;
    assert_eq!(there.restore(&part, &binding).unwrap(), b"note");
    assert_eq!(there.restore(&whole, &binding).unwrap(), b"note");
    assert_eq!(run(&mut there, &ask(&sources[0]), ALL_AT_ONCE).unwrap().usage.cached_tokens, sources[0].len());
}

#[test]
fn a_restored_conversation_goes_on_as_if_it_had_never_been_away() {
    for device in devices() {
        let mut here = engine(device.clone());
        let first = request(tokens(90, 4), 12);
        let (_, answer) = reused(&mut here.session, &device, &first);
        let text = next(&first, &answer, 0, 0).prompt;
        let bytes = here.snapshot("what was said".as_bytes(), &text).unwrap().unwrap();
        // 101 positions: the last token was never processed.
        assert_eq!(bytes.len(), 40 + 13 + 101 * (4 + PAGE_BYTES / 64));

        let going_on = next(&first, &answer, 6, 2);
        let expected = run(&mut here.session, &going_on, ALL_AT_ONCE).unwrap();
        let mut there = engine(device.clone());
        run(&mut there.session, &request(tokens(200, 77), 3), ALL_AT_ONCE).unwrap();
        assert_eq!(there.restore(&bytes).unwrap(), b"what was said");
        assert_eq!(there.session.cached_tokens(), &text[..101]);
        let restored = run(&mut there.session, &going_on, ALL_AT_ONCE).unwrap();
        assert_eq!((restored.usage.cached_tokens, &restored), (101, &expected));
        // Again, where it is already.
        assert_eq!(here.restore(&bytes).unwrap(), b"what was said");
        assert_eq!(
            run(&mut here.session, &going_on, ALL_AT_ONCE).unwrap().usage.cached_tokens,
            going_on.prompt.len() - 1
        );
    }
}

#[test]
fn a_snapshot_has_what_is_there_and_leaves_it_there() {
    let mut here = engine(Device::Reference);
    let nothing = here.snapshot(b"", &tokens(5, 1)).unwrap().unwrap();
    assert_eq!(nothing.len(), 40);
    let a = request(tokens(90, 4), 1);
    run(&mut here.session, &a, ALL_AT_ONCE).unwrap();
    // As much as the texts have in common.
    let b = [&a.prompt[..33], &tokens(70, 8)].concat();
    let bytes = here.snapshot(b"", &b).unwrap().unwrap();
    assert_eq!(bytes.len(), 40 + 33 * (4 + PAGE_BYTES / 64));
    assert_eq!(run(&mut here.session, &a, ALL_AT_ONCE).unwrap().usage.cached_tokens, 89);
    let mut there = engine(Device::Reference);
    for bytes in [&nothing, &bytes] {
        there.restore(bytes).unwrap();
    }
    assert_eq!(run(&mut there.session, &request(b, 1), ALL_AT_ONCE).unwrap().usage.cached_tokens, 33);
}

#[test]
fn what_is_restored_makes_room_as_calls_do() {
    let mut here = engine(Device::Reference);
    let long = request(tokens(400, 1), 1);
    run(&mut here.session, &long, ALL_AT_ONCE).unwrap();
    let bytes = here.snapshot(b"", &long.prompt).unwrap().unwrap();
    let mut there = engine(Device::Reference);
    run(&mut there.session, &request(tokens(300, 2), 1), ALL_AT_ONCE).unwrap();
    there.restore(&bytes).unwrap();
    assert_eq!(run(&mut there.session, &long, ALL_AT_ONCE).unwrap().usage.cached_tokens, 399);
    assert_eq!(there.session.memory().kv_bytes, (CONTEXT / 64 * PAGE_BYTES) as u64);
}

#[test]
fn other_bytes_are_refused_and_harm_nothing() {
    let mut here = engine(Device::Reference);
    let call = request(tokens(90, 4), 3);
    let expected = run(&mut here.session, &call, ALL_AT_ONCE).unwrap().results();
    let bytes = here.snapshot(b"note", &call.prompt).unwrap().unwrap();
    let refuse = |engine: &mut Engine, bytes: &[u8], why: &str| match engine.restore(bytes) {
        Err(Error::Integrity { what }) => assert!(what.contains(why), "{what}"),
        other => panic!("expected {why}: {other:?}"),
    };
    for at in [0, 5, 9, 17, 25, 33, 41, 45, 50, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        refuse(&mut here, &damaged, "snapshot");
    }
    refuse(&mut here, &bytes[..bytes.len() - 1], "damaged");
    refuse(&mut here, b"", "shorter");
    // The same architecture and the same words, trained otherwise.
    let mut other = load(&file(8), options(Device::Reference), 1 << 16).unwrap();
    refuse(&mut other, &bytes, "another model");
    // A token that no vocabulary of this size has, by somebody who can count.
    let binding = here.binding;
    let mut unknown = [&bytes[..44], &320u32.to_le_bytes(), &bytes[48..]].concat();
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let checksum = unknown[40..].iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    unknown[32..40].copy_from_slice(&checksum.to_le_bytes());
    refuse(&mut here, &unknown, "not in the vocabulary");
    // More than the context holds.
    let mut short = load(&FILE, Options { context_length: Some(64), ..options(Device::Reference) }, 999).unwrap();
    assert_eq!(short.restore(&bytes).unwrap_err().code(), "E_CONTEXT_OVERFLOW");
    // Not while something else is being done.
    here.session.start(call.clone()).unwrap();
    assert_eq!(here.snapshot(b"", &call.prompt).unwrap_err().code(), "RangeError");
    assert_eq!(here.restore(&bytes).unwrap_err().code(), "RangeError");
    here.session.cancel().unwrap();
    assert_eq!(run(&mut here.session, &call, ALL_AT_ONCE).unwrap().results(), expected);
    assert_eq!(here.binding, binding);
}

#[test]
fn a_snapshot_waits_for_a_device_and_can_be_given_up() {
    let (mut session, control) = session_elsewhere(&FILE, CONTEXT).unwrap();
    let call = request(tokens(90, 4), 3);
    let answer = run(&mut session, &call, ALL_AT_ONCE).unwrap();
    assert!(session.waiting().is_none());
    control.n_reads_pending.set(2);
    let mut n_waits = 0;
    let bytes = loop {
        match session.snapshot(b"note", &call.prompt, &BINDING).unwrap() {
            Some(bytes) => break bytes,
            None => {
                assert!(session.waiting().is_some_and(|signal| !signal.is_raised()));
                assert_eq!(session.start(call.clone()).unwrap_err().code(), "RangeError");
                control.raise();
                n_waits += 1;
            }
        }
    };
    assert_eq!((n_waits, session.waiting().is_none()), (2, true));
    control.n_reads_pending.set(1);
    assert_eq!(session.snapshot(b"note", &call.prompt, &BINDING).unwrap(), None);
    session.cancel().unwrap();
    assert!(session.waiting().is_none());
    // Neither holds pages: what goes on in the last one needs no copy of it.
    let next = next(&call, &answer, 1, 5);
    assert_eq!(run(&mut session, &next, ALL_AT_ONCE).unwrap().usage.cached_tokens, 92);
    assert_eq!(session.memory().kv_bytes, 2 * PAGE_BYTES as u64);
    assert_eq!(session.restore(&bytes, &BINDING).unwrap(), b"note");
}
