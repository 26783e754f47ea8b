//! Scoring on tiny random models: however texts are grouped, sliced or interrupted, each score has the same bits, and is that of the
//! weights; what texts have in common is computed once, in no more of the cache than a conversation may take.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{
    faulty::faulty_session,
    generate::{devices, load, options, run},
    runner::log_sum_exp,
    scoring::{Bits, awkward, group, request, run_scoring, span},
    short_llama::{ALL_AT_ONCE, CONTEXT, FILE, engine, reference, tokens},
    t5::t5_goldens,
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    engine::Device,
    error::Result,
    kv::{KvFormat, KvGeometry},
    quant::Format,
    sample::SamplingParams,
    session::{MAX_GROUPS, MAX_SPANS, Request, ScoreGroup, ScoreRequest, Session, Span},
};

/// Logits by HF transformers, in f32 as ours, so their logarithms differ as the logits do.
const T5_TOLERANCE: f64 = 1e-3;
/// Activations of 12 bits, in logits of up to some tens; those of 8 bits lose sixteen times as much.
const PRECISE_TOLERANCE: f64 = 1e-2;

/// Runs a request to its end, `max_ops` operations at a time.
fn score(session: &mut Session, request: &ScoreRequest, max_ops: usize) -> Result<(Vec<Vec<Bits>>, usize)> {
    run_scoring(session, request, |session| session.advance(max_ops))
}

/// The same by prompts that are scored one by one, and by greedy decoding.
fn one_by_one(session: &mut Session, groups: &[ScoreGroup]) -> Vec<Vec<Bits>> {
    let mut one = |span: &Span| {
        let echo = Request {
            prompt: span.tokens.clone(),
            max_tokens: Some(0),
            logprobs: Some(0),
            echo: true,
            ..Request::default()
        };
        let echo = run(session, &echo, ALL_AT_ONCE).unwrap().echo.unwrap();
        let logprobs = echo.logprobs[span.first..].iter().map(|l| l.unwrap().to_bits()).collect();
        let greedy = Request {
            prompt: span.tokens[..span.first].to_vec(),
            max_tokens: Some(span.tokens.len() - span.first),
            ignore_eos: true,
            sampling: SamplingParams::greedy(),
            ..Request::default()
        };
        let written = run(session, &greedy, ALL_AT_ONCE).unwrap().choices.remove(0).tokens;
        (logprobs, written == span.tokens[span.first..])
    };
    groups.iter().map(|group| group.spans.iter().map(&mut one).collect()).collect()
}

#[test]
fn however_texts_are_grouped_and_sliced_their_scores_have_the_same_bits() {
    let groups = awkward();
    let mut of_devices = vec![];
    for device in devices() {
        let mut session = engine(device).session;
        // Each by itself.
        let mut alone = vec![];
        for group_of in &groups {
            let one = |span: &Span| {
                let alone = request(vec![group(vec![span.clone()])]);
                score(&mut session, &alone, ALL_AT_ONCE).unwrap().0.concat().remove(0)
            };
            alone.push(group_of.spans.iter().map(one).collect::<Vec<_>>());
        }
        for max_ops in [ALL_AT_ONCE, 7] {
            assert!(score(&mut session, &request(groups.clone()), max_ops).unwrap().0 == alone);
        }
        for (group, alone) in groups.iter().zip(&alone) {
            let scores = score(&mut session, &request(vec![group.clone()]), ALL_AT_ONCE).unwrap().0;
            assert!(scores == [alone.clone()]);
        }
        let all = group(groups.iter().flat_map(|group| group.spans.clone()).collect());
        assert!(score(&mut session, &request(vec![all]), ALL_AT_ONCE).unwrap().0 == [alone.concat()]);
        of_devices.push(alone);
    }
    assert!(of_devices[1] == of_devices[2], "any number of threads");
    assert!(of_devices[0] == one_by_one(&mut reference().session, &groups), "of prompts that are scored one by one");
}

/// Largest difference of two lists of scores.
fn largest_difference(a: &[Vec<Bits>], b: &[Vec<Bits>]) -> f64 {
    let scores = |all: &[Vec<Bits>]| -> Vec<f64> {
        all.iter().flatten().flat_map(|(bits, _)| bits.iter().map(|bits| f64::from_bits(*bits))).collect()
    };
    scores(a).into_iter().zip(scores(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn scores_are_those_of_the_weights_not_of_rounded_activations() {
    let groups = awkward();
    for format in [Format::Q8_0, Format::Q4_0, Format::Q4_1, Format::Q5_0, Format::F16] {
        let config = TinyConfig { n_ctx: CONTEXT, format, embd_format: format, ..TinyConfig::default() };
        let file = tiny_llama(&config, 7).build();
        let mut sessions = devices().into_iter().map(|device| load(&file, options(device), 1 << 16).unwrap().session);
        let (mut reference, mut cpu) = (sessions.next().unwrap(), sessions.next().unwrap());
        let expected = score(&mut reference, &request(groups.clone()), ALL_AT_ONCE).unwrap().0;
        let precise = score(&mut cpu, &request(groups.clone()), ALL_AT_ONCE).unwrap().0;
        let fast = one_by_one(&mut cpu, &groups);
        let [precise, fast] = [precise, fast].map(|scores| largest_difference(&scores, &expected));
        println!("{format:?}: {precise:.1e}, and {fast:.1e} as prompts");
        assert!(precise <= PRECISE_TOLERANCE, "{format:?}: {precise}");
        assert!(format == Format::F16 || fast >= 8.0 * precise, "{format:?}: {fast} is as good as {precise}");
    }
}

#[test]
fn what_greedy_decoding_writes_is_said_to_be_greedy() {
    let mut session = reference().session;
    let context = tokens(20, 3);
    let greedy = Request {
        prompt: context.clone(),
        max_tokens: Some(6),
        ignore_eos: true,
        sampling: SamplingParams::greedy(),
        ..Request::default()
    };
    let written = run(&mut session, &greedy, ALL_AT_ONCE).unwrap().choices.remove(0).tokens;
    let mut other = written.clone();
    other[5] = (other[5] + 1) % 300;
    let spans = vec![span(&context, &written), span(&context, &written[..1]), span(&context, &other)];
    let (scores, _) = score(&mut session, &request(vec![group(spans)]), ALL_AT_ONCE).unwrap();
    assert_eq!(scores[0].iter().map(|(_, is_greedy)| *is_greedy).collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn what_texts_have_in_common_is_computed_once() {
    let mut session = reference().session;
    let mut n_rows = |groups| score(&mut session, &request(groups), ALL_AT_ONCE).unwrap().1;
    let (header, rest) = (tokens(40, 1), tokens(9, 2));
    let context = [&header[..], &rest].concat();
    // The last token of a span is scored and not computed.
    assert_eq!(n_rows(vec![group((5..9).map(|seed| span(&context, &tokens(5, seed))).collect())]), 49 + 4 * 4);
    assert_eq!(n_rows(vec![group((5..9).map(|seed| span(&context, &tokens(1, seed))).collect())]), 49);
    let with_header = |seed| group(vec![span(&[&header[..], &tokens(9, seed)].concat(), &tokens(2, 5))]);
    assert_eq!(n_rows((2..7).map(with_header).collect()), 40 + 5 * 10, "the header of all groups once");
}

#[test]
fn many_groups_take_few_steps_and_no_more_pages_than_the_context() {
    let groups: Vec<ScoreGroup> = (0..40)
        .map(|seed| {
            let context = tokens(20 + seed as usize % 7, seed);
            group((5..9).map(|end| span(&context, &tokens(3, end))).collect())
        })
        .collect();
    let page_bytes = KvGeometry { layers: 2, kv_heads: 2, head_size: 16, format: KvFormat::F32 }.page_bytes();
    for (n_ctx, rows_per_step) in [(CONTEXT, 8), (4096, 32)] {
        let file = tiny_llama(&TinyConfig { n_ctx, ..TinyConfig::default() }, 7).build();
        let (mut session, fault) = faulty_session(&file, n_ctx).unwrap();
        let (_, n_rows) = score(&mut session, &request(groups.clone()), ALL_AT_ONCE).unwrap();
        let n_steps = fault.n_steps.get();
        println!("context {n_ctx}: {n_rows} rows in {n_steps} steps");
        assert!(n_rows >= 40 * 20 && n_steps * rows_per_step <= n_rows, "{n_rows} rows in {n_steps} steps");
        let most = KvGeometry::pages_for(n_ctx) + 8;
        let kv_bytes = session.memory().kv_bytes;
        assert!(kv_bytes <= (most * page_bytes) as u64, "{kv_bytes} bytes are more than {most} pages");
    }
}

#[test]
fn cancelled_anywhere_or_failed_anywhere_the_next_call_is_undisturbed() {
    let groups = awkward();
    let (mut session, fault) = faulty_session(&FILE, CONTEXT).unwrap();
    let expected = score(&mut session, &request(groups.clone()), ALL_AT_ONCE).unwrap().0;
    for n_ops in (0..400).step_by(23) {
        session.score(request(groups.clone())).unwrap();
        session.advance(n_ops).unwrap();
        session.cancel().unwrap();
        assert!(!session.is_busy());
        assert!(score(&mut session, &request(groups.clone()), ALL_AT_ONCE).unwrap().0 == expected, "after {n_ops}");
    }
    for n_calls in (0..).step_by(5) {
        fault.calls_left.set(Some(n_calls));
        let outcome = score(&mut session, &request(groups.clone()), 64);
        fault.calls_left.set(None);
        match outcome {
            Ok(_) => break,
            Err(error) => assert_eq!(error.code(), "E_MEMORY"),
        }
        assert!(score(&mut session, &request(groups.clone()), ALL_AT_ONCE).unwrap().0 == expected, "call {n_calls}");
    }
    fault.nan.set(true);
    assert_eq!(score(&mut session, &request(groups), ALL_AT_ONCE).unwrap_err().code(), "E_INTERNAL");
}

#[test]
fn a_conversation_stays_in_the_cache() {
    let mut session = reference().session;
    let prompt = tokens(30, 1);
    let chat = Request { prompt: prompt.clone(), max_tokens: Some(3), ignore_eos: true, ..Request::default() };
    run(&mut session, &chat, ALL_AT_ONCE).unwrap();
    let cached = session.cached_tokens().to_vec();
    score(&mut session, &request(awkward()), ALL_AT_ONCE).unwrap();
    assert_eq!(session.cached_tokens(), cached);
    assert_eq!(run(&mut session, &chat, ALL_AT_ONCE).unwrap().usage.cached_tokens, 29);
}

#[test]
fn an_encoder_decoder_scores_answers_to_what_it_reads() {
    for golden in t5_goldens() {
        for device in devices() {
            let mut session = load(golden.file, options(device), 1 << 16).unwrap().session;
            // The decoder's own first token is the engine's to put.
            let groups: Vec<ScoreGroup> = golden
                .cases
                .iter()
                .map(|case| ScoreGroup {
                    source: case.output.source.clone(),
                    spans: (1..case.target.len())
                        .map(|first| Span { tokens: case.target[1..].to_vec(), first: first - 1 })
                        .collect(),
                })
                .collect();
            let (scores, _) = score(&mut session, &request(groups), ALL_AT_ONCE).unwrap();
            for (case, scores) in golden.cases.iter().zip(&scores) {
                let expected: Vec<f64> = case.target[1..]
                    .iter()
                    .zip(&case.logits)
                    .map(|(token, logits)| f64::from(logits[*token as usize]) - log_sum_exp(logits))
                    .collect();
                for (first, (bits, _)) in scores.iter().enumerate() {
                    assert_eq!(bits.len(), expected.len() - first);
                    for (bits, expected) in bits.iter().zip(&expected[first..]) {
                        let difference = (f64::from_bits(*bits) - expected).abs();
                        assert!(difference <= T5_TOLERANCE, "{}: {difference} at {expected}", golden.name);
                    }
                }
            }
        }
    }
}

#[test]
fn bad_requests_are_refused_by_name_before_any_work() {
    let mut session = reference().session;
    let context = tokens(9, 1);
    let good = span(&context, &tokens(2, 2));
    let of = |span: Span| vec![group(vec![span])];
    for (groups, said) in [
        (vec![], "0 groups"),
        (vec![group(vec![good.clone()]); MAX_GROUPS + 1], "groups"),
        (vec![group(vec![])], "group 0 has 0 spans"),
        (vec![group(vec![good.clone(); MAX_SPANS + 1])], "spans"),
        (of(Span { first: 0, ..good.clone() }), "from token 0 of 11"),
        (of(Span { first: 11, ..good.clone() }), "from token 11 of 11"),
        (of(Span::default()), "from token 0 of 0"),
        (of(span(&context, &[u32::MAX])), "vocabulary"),
        (vec![ScoreGroup { source: vec![3], spans: vec![good.clone()] }], "no encoder"),
    ] {
        let error = session.score(request(groups)).unwrap_err();
        assert_eq!(error.code(), "RangeError", "{said}");
        assert!(error.to_string().contains(said), "{error}");
    }
    let error = session.score(request(of(span(&tokens(CONTEXT, 1), &[3])))).unwrap_err();
    assert_eq!(error.code(), "E_CONTEXT_OVERFLOW");
    session.score(request(of(span(&tokens(CONTEXT - 1, 1), &[3])))).unwrap();
    assert_eq!(session.score(request(of(good.clone()))).unwrap_err().code(), "RangeError", "one at a time");
    session.cancel().unwrap();

    let golden = t5_goldens().remove(0);
    let mut t5 = load(golden.file, options(Device::Reference), 1 << 16).unwrap().session;
    let error = t5.score(request(of(good))).unwrap_err();
    assert!(error.to_string().contains("nothing to read"), "{error}");
    let empty = ScoreGroup { source: vec![3], spans: vec![Span::default()] };
    assert!(t5.score(request(vec![empty])).unwrap_err().to_string().contains("from token 0 of 0"));
}
