//! Generation on a tiny random model: whatever is sliced, reused, interrupted, resumed or run side by side, the tokens, the
//! texts and the bits of the log-probabilities are those of a plain run.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{
    faulty::faulty_session,
    generate::{Answer, devices, go_on, load, options, request, run},
    runner::{Runner, argmax, log_sum_exp},
    short_llama::{ALL_AT_ONCE, CONTEXT, FILE, engine, reference, tokens as prompt},
    tiny_llama::{IM_END, IM_START, TinyConfig, tiny_llama},
};
use kinglet::{
    engine::Device,
    error::Error,
    kv::KvFormat,
    reference::Reference,
    sample::{Sampler, SamplingParams, Scores, Scratch},
    session::{Event, FinishReason, MAX_CHOICES, MAX_TOP_LOGPROBS, Request},
};

fn fresh(device: Device, request: &Request) -> Answer {
    run(&mut engine(device).session, request, ALL_AT_ONCE).unwrap()
}

/// The same generation without a session: one row at a time, sampled by hand.
fn by_hand(request: &Request, choice: u32) -> (Vec<u32>, Vec<f64>) {
    let mut runner = Runner::load(FILE.as_slice(), KvFormat::F32, CONTEXT, |g| Ok(Reference::new(g))).unwrap();
    let mut logits = runner.append_tail(&request.prompt, 1, 1).unwrap().remove(0);
    let mut sampler = Sampler::new(request.sampling.clone(), choice, logits.len(), &request.prompt).unwrap();
    let (mut tokens, mut logprobs) = (vec![], vec![]);
    while tokens.len() < request.max_tokens.unwrap() {
        let token = sampler.sample(Scores::All(&logits), &mut Scratch::default()).unwrap();
        sampler.accept(token).unwrap();
        logprobs.push(f64::from(logits[token as usize]) - log_sum_exp(&logits));
        tokens.push(token);
        logits = runner.append(&[token], 1).unwrap().remove(0);
    }
    (tokens, logprobs)
}

#[test]
fn a_generation_is_what_the_model_says_row_by_row() {
    for n_prompt in [1, 2, 63, 64, 65, 129] {
        let request = request(prompt(n_prompt, 1), 12);
        let answer = run(&mut reference().session, &request, ALL_AT_ONCE).unwrap();
        let (tokens, logprobs) = by_hand(&request, 0);
        assert_eq!(answer.choices[0].tokens, tokens, "{n_prompt} tokens of prompt");
        for (ours, by_hand) in answer.choices[0].logprobs.iter().zip(logprobs) {
            assert!((f64::from_bits(*ours) - by_hand).abs() < 1e-6);
        }
        assert_eq!(answer.choices[0].reason, Some(FinishReason::Length));
        assert_eq!((answer.usage.prompt_tokens, answer.usage.completion_tokens), (n_prompt, 12));
        let chunks: Vec<_> = answer.prefill.iter().map(|p| p.0).collect();
        assert_eq!(chunks.last(), Some(&n_prompt));
        assert!(chunks.windows(2).all(|w| w[1] - w[0] <= 64));
    }
}

#[test]
fn greedy_takes_the_best_token_and_says_its_probability() {
    let mut runner = Runner::load(FILE.as_slice(), KvFormat::F32, CONTEXT, |g| Ok(Reference::new(g))).unwrap();
    let request = Request { sampling: SamplingParams::greedy(), ..request(prompt(20, 2), 20) };
    let answer = fresh(Device::Reference, &request);
    let mut logits = runner.append_tail(&request.prompt, 32, 1).unwrap().remove(0);
    for (i, &token) in answer.choices[0].tokens.iter().enumerate() {
        assert_eq!(token, argmax(&logits));
        let top = &answer.choices[0].top[i];
        assert_eq!((top.len(), top[0]), (2, (token, answer.choices[0].logprobs[i])));
        logits = runner.append(&[token], 1).unwrap().remove(0);
    }
}

#[test]
fn slices_of_any_size_give_the_same() {
    for device in devices() {
        let request = request(prompt(70, 3), 6);
        let whole = fresh(device.clone(), &request);
        for max_ops in [1, 2, 5, 23] {
            assert_eq!(
                run(&mut engine(device.clone()).session, &request, max_ops).unwrap(),
                whole,
                "{max_ops} operations"
            );
        }
        assert_eq!(engine(device).session.advance(0).unwrap(), []);
    }
}

#[test]
fn what_is_reused_saves_work_and_changes_nothing() {
    for device in devices() {
        let mut session = engine(device.clone()).session;
        let first = request(prompt(80, 4), 10);
        let a = run(&mut session, &first, ALL_AT_ONCE).unwrap();
        assert_eq!(a.usage.cached_tokens, 0);

        // The same again: all but the last token of the prompt.
        let again = run(&mut session, &first, 5).unwrap();
        assert_eq!(again.usage.cached_tokens, 79);
        assert_eq!(again.prefill, [(80, 80, 79)]);
        assert_eq!(again.results(), a.clone().results());

        // The conversation goes on: prompt and answer (save its last token, which was never processed).
        let mut longer = first.prompt.clone();
        longer.extend(&a.choices[0].tokens);
        longer.extend(prompt(9, 5));
        let next = Request { prompt: longer, ..first.clone() };
        let reused = run(&mut session, &next, ALL_AT_ONCE).unwrap();
        assert_eq!(reused.usage.cached_tokens, 89);
        assert_eq!(reused.results(), fresh(device.clone(), &next).results());

        // Another branch: what lies behind the fork is forgotten.
        for shared in [0, 1, 63, 64, 65, 79] {
            let mut branch = first.prompt[..shared].to_vec();
            branch.extend(prompt(40, 6));
            branch[shared] = (first.prompt[shared] + 1) % 300;
            let branch = Request { prompt: branch, ..first.clone() };
            let reused = run(&mut session, &branch, ALL_AT_ONCE).unwrap();
            assert_eq!(reused.usage.cached_tokens, shared);
            assert_eq!(reused.results(), fresh(device.clone(), &branch).results(), "{shared} tokens shared");
            run(&mut session, &first, ALL_AT_ONCE).unwrap();
        }
    }
}

#[test]
fn cache_prompt_off_neither_takes_nor_leaves() {
    let mut session = reference().session;
    let cached = request(prompt(30, 7), 3);
    let off = Request { cache_prompt: false, ..cached.clone() };
    run(&mut session, &cached, ALL_AT_ONCE).unwrap();
    assert_eq!(session.cached_tokens().len(), 32);
    assert_eq!(run(&mut session, &off, ALL_AT_ONCE).unwrap().usage.cached_tokens, 0);
    let other = Request { prompt: prompt(20, 8), ..off.clone() };
    run(&mut session, &other, ALL_AT_ONCE).unwrap();
    assert_eq!(session.cached_tokens().len(), 32, "what others left stays");
    assert_eq!(run(&mut session, &cached, ALL_AT_ONCE).unwrap().usage.cached_tokens, 29);
}

#[test]
fn cancelled_after_any_number_of_operations_the_next_call_is_undisturbed() {
    for device in devices() {
        let victim = Request { n: 2, ..request(prompt(70, 8), 4) };
        let next = request(prompt(75, 8), 5);
        let undisturbed = fresh(device.clone(), &next).results();
        let mut session = engine(device).session;
        for n_ops in 0.. {
            session.start(victim.clone()).unwrap();
            let mut answer = Answer::new(victim.n);
            let ended = answer.add(session.advance(n_ops).unwrap());
            session.cancel().unwrap();
            session.cancel().unwrap();
            assert!(!session.is_busy());
            assert_eq!(session.advance(5).unwrap(), [], "a cancelled generation says nothing more");
            let after = run(&mut session, &next, ALL_AT_ONCE).unwrap();
            assert_eq!(after.results(), undisturbed, "cancelled after {n_ops} operations");
            // Leave nothing of it: another conversation needs the whole cache.
            run(&mut session, &request(prompt(CONTEXT - 1, 9), 1), ALL_AT_ONCE).unwrap();
            if ended {
                break;
            }
        }
    }
}

#[test]
fn choices_are_those_of_their_seed_and_number() {
    for n_prompt in [5, 64, 70] {
        let many = Request { n: 10, ..request(prompt(n_prompt, 10), 6) };
        let answer = fresh(Device::Reference, &many);
        for (i, choice) in answer.choices.iter().enumerate() {
            assert_eq!(choice.tokens, by_hand(&many, i as u32).0, "choice {i}");
        }
        assert!(answer.choices.windows(2).any(|w| w[0].tokens != w[1].tokens), "they differ");
        assert_eq!(answer.usage.completion_tokens, 60);
    }
    for device in devices() {
        let one = request(prompt(70, 11), 8);
        let three = Request { n: 3, ..one.clone() };
        let (one, three) = (fresh(device.clone(), &one), fresh(device.clone(), &three));
        assert_eq!(one.choices[0], three.choices[0], "to the bit, side by side or alone");
        let mut session = engine(device).session;
        let nine = Request { n: 9, ..request(prompt(70, 11), 8) };
        let first = run(&mut session, &nine, 11).unwrap();
        assert_eq!(first.choices[..3], three.choices);
        assert_eq!(run(&mut session, &nine, ALL_AT_ONCE).unwrap().results(), first.results());
    }
}

#[test]
fn a_stop_string_ends_the_text_wherever_the_borders_of_tokens_are() {
    let plain = Request { logprobs: None, ..request(prompt(12, 12), 24) };
    let mut session = reference().session;
    let whole = run(&mut session, &plain, ALL_AT_ONCE).unwrap().choices.remove(0);
    let characters: Vec<(usize, char)> = whole.text.char_indices().collect();
    assert!(characters.len() > 30, "{:?}", whole.text);
    for length in 1..=4 {
        for window in characters.windows(length).step_by(3) {
            let stop: String = window.iter().map(|(_, c)| *c).collect();
            let first = whole.text.find(&stop).unwrap();
            let request = Request { stop: vec!["\u{1}never".into(), stop.clone()], ..plain.clone() };
            let answer = run(&mut session, &request, ALL_AT_ONCE).unwrap().choices.remove(0);
            assert_eq!(answer.text, whole.text[..first], "stop {stop:?}");
            assert_eq!(answer.reason, Some(FinishReason::Stop));
            assert_eq!(answer.tokens, whole.tokens[..answer.tokens.len()]);
        }
    }
    // What could have become a stop string but did not is given out at the end.
    let last: String = whole.text.chars().last().into_iter().chain("and more".chars()).collect();
    let held = Request { stop: vec![last], ..plain.clone() };
    let answer = run(&mut session, &held, ALL_AT_ONCE).unwrap().choices.remove(0);
    assert_eq!((answer.text, answer.reason), (whole.text, Some(FinishReason::Length)));
}

#[test]
fn an_end_token_ends_unless_it_is_ignored() {
    let sampling = SamplingParams { logit_bias: vec![(IM_END, 100.0)], ..SamplingParams::greedy() };
    let request = Request { ignore_eos: false, sampling, ..request(prompt(9, 13), 5) };
    let mut session = reference().session;
    let answer = run(&mut session, &request, ALL_AT_ONCE).unwrap();
    let choice = &answer.choices[0];
    assert_eq!((choice.tokens.as_slice(), choice.text.as_str()), (&[IM_END][..], ""));
    assert_eq!((choice.reason, answer.usage.completion_tokens), (Some(FinishReason::Stop), 1));
    let ignoring = Request { ignore_eos: true, ..request };
    let answer = run(&mut session, &ignoring, ALL_AT_ONCE).unwrap();
    assert_eq!(answer.choices[0].tokens, [IM_END; 5]);
    assert_eq!((answer.choices[0].text.as_str(), answer.choices[0].reason), ("", Some(FinishReason::Length)));
}

/// The text that a page has been given with the first tokens of two choices.
fn texts_of(device: Device, request: &Request, n_tokens: [usize; 2]) -> [String; 2] {
    let mut session = engine(device).session;
    session.start(request.clone()).unwrap();
    let (mut seen, mut texts) = ([0; 2], [String::new(), String::new()]);
    for event in session.advance(ALL_AT_ONCE).unwrap() {
        if let Event::Token { choice, text, .. } = event {
            seen[choice] += 1;
            if seen[choice] <= n_tokens[choice] {
                texts[choice] += &text;
            }
        }
    }
    assert!(!session.is_busy());
    texts
}

#[test]
fn resumed_anywhere_a_generation_goes_on_as_if_nothing_had_happened() {
    for device in devices() {
        let plain = Request {
            n: 2,
            sampling: SamplingParams { frequency_penalty: 0.4, repeat_penalty: 1.2, ..request(vec![], 0).sampling },
            ..request(prompt(66, 14), 12)
        };
        let stop = fresh(device.clone(), &plain).choices[1].text.chars().skip(6).take(2).collect();
        let plain = Request { stop: vec![stop], ..plain };
        let whole = fresh(device.clone(), &plain);
        let lengths: Vec<usize> = whole.choices.iter().map(|c| c.tokens.len()).collect();
        for given in [[0, 0], [1, 0], [0, 1], [3, 2], [lengths[0], 1], [2, lengths[1]], [lengths[0], lengths[1]]] {
            let generated: Vec<Vec<u32>> = (0..2).map(|i| whole.choices[i].tokens[..given[i]].to_vec()).collect();
            let texts = texts_of(device.clone(), &plain, given);
            let resumed = Request { generated: Some(generated.clone()), ..plain.clone() };
            let rest = run(&mut engine(device.clone()).session, &resumed, 13).unwrap();
            for i in 0..2 {
                let (tokens, text) = (&rest.choices[i].tokens, &rest.choices[i].text);
                assert_eq!([&generated[i][..], tokens].concat(), whole.choices[i].tokens, "{given:?}");
                assert_eq!(texts[i].clone() + text, whole.choices[i].text, "{given:?}");
                assert_eq!(rest.choices[i].logprobs, whole.choices[i].logprobs[given[i]..]);
                assert_eq!(rest.choices[i].reason, whole.choices[i].reason);
            }
            assert_eq!(rest.usage, whole.usage);
        }
    }
}

#[test]
fn an_echo_scores_the_prompt() {
    for device in devices() {
        let ids = prompt(77, 15);
        let scoring = Request { echo: true, max_tokens: Some(0), logprobs: Some(3), ..request(ids.clone(), 0) };
        let mut session = engine(device.clone()).session;
        run(&mut session, &request(ids.clone(), 2), ALL_AT_ONCE).unwrap();
        let answer = run(&mut session, &scoring, 9).unwrap();
        let echo = answer.echo.clone().unwrap();
        assert_eq!((answer.usage.completion_tokens, answer.usage.cached_tokens), (0, 0));
        assert_eq!(answer.choices[0].reason, Some(FinishReason::Length));
        assert_eq!(echo.ids, ids);
        assert_eq!(echo.texts.concat(), session_text(&ids));
        assert_eq!((echo.logprobs.len(), echo.top.len(), echo.logprobs[0]), (77, 77, None));

        // Each score is that of a generation which is made to give that token.
        for at in [1, 8, 9, 64, 65, 76] {
            let forced = SamplingParams { logit_bias: vec![(ids[at], 100.0)], ..SamplingParams::greedy() };
            let one = Request { sampling: forced, logprobs: Some(3), ..request(ids[..at].to_vec(), 1) };
            let one = fresh(device.clone(), &one);
            assert_eq!(one.choices[0].tokens, [ids[at]]);
            assert_eq!(Some(f64::from_bits(one.choices[0].logprobs[0])), echo.logprobs[at], "token {at}");
            let top: Vec<_> = echo.top[at].iter().map(|t| (t.id, t.logprob.to_bits())).collect();
            assert_eq!(top, one.choices[0].top[0]);
        }
        // Echo and generation together; and echo without scores.
        let both = Request { max_tokens: Some(4), n: 2, ..scoring.clone() };
        let both = run(&mut session, &both, ALL_AT_ONCE).unwrap();
        assert_eq!(both.echo.as_ref(), Some(&echo));
        assert_eq!(both.choices[0].tokens, fresh(device, &request(ids.clone(), 4)).choices[0].tokens);
        let unscored = Request { logprobs: None, ..scoring.clone() };
        let unscored = run(&mut session, &unscored, ALL_AT_ONCE).unwrap();
        assert!(unscored.prefill.is_empty(), "there is nothing to compute");
        let unscored = unscored.echo.unwrap();
        assert_eq!((unscored.texts, unscored.logprobs), (echo.texts, vec![None; 77]));
    }
}

fn session_text(ids: &[u32]) -> String {
    reference().tokenizer.decode(ids, true)
}

#[test]
fn the_edges_of_the_context() {
    let mut session = reference().session;
    let over = request(prompt(CONTEXT + 1, 16), 1);
    assert_eq!(
        session.start(over).unwrap_err(),
        Error::ContextOverflow { requested_tokens: CONTEXT + 1, available_tokens: CONTEXT }
    );
    assert!(!session.is_busy());

    // Exactly full: nothing can be generated, and that is no error; it can still be scored.
    let full = request(prompt(CONTEXT, 16), 5);
    let answer = run(&mut session, &full, ALL_AT_ONCE).unwrap();
    assert_eq!((answer.choices[0].tokens.len(), answer.choices[0].reason), (0, Some(FinishReason::Length)));
    let scored = Request { echo: true, max_tokens: Some(0), ..full };
    let answer = run(&mut session, &scored, ALL_AT_ONCE).unwrap();
    assert!(answer.echo.unwrap().logprobs[1..].iter().all(|l| l.is_some_and(|l| l < 0.0)));

    // The output reaches the end.
    for max_tokens in [None, Some(1_000_000)] {
        let open = Request { max_tokens, n: 2, ..request(prompt(CONTEXT - 7, 16), 0) };
        let answer = run(&mut session, &open, ALL_AT_ONCE).unwrap();
        for choice in &answer.choices {
            assert_eq!((choice.tokens.len(), choice.reason), (7, Some(FinishReason::Length)));
        }
    }

    // Empty: the model's first token.
    let empty = run(&mut session, &request(vec![], 3), ALL_AT_ONCE).unwrap();
    assert_eq!(empty.usage.prompt_tokens, 1);
    assert_eq!(empty.results(), fresh(Device::Reference, &request(vec![IM_START], 3)).results());
    let file = tiny_llama(&TinyConfig::default(), 7).without("tokenizer.ggml.bos_token_id").build();
    let mut session = load(&file, options(Device::Reference), 1 << 16).unwrap().session;
    let error = session.start(request(vec![], 3)).unwrap_err();
    assert_eq!(error.code(), "RangeError");
    assert!(error.to_string().contains("empty"), "{error}");
}

#[test]
fn bad_requests_are_refused_by_name_before_any_work() {
    let mut session = reference().session;
    let good = request(prompt(10, 17), 3);
    let expected = run(&mut session, &good, ALL_AT_ONCE).unwrap().results();
    let sampling = |change: fn(&mut SamplingParams)| {
        let mut request = good.clone();
        change(&mut request.sampling);
        request
    };
    let cases = [
        ("temperature", sampling(|s| s.temperature = f32::NAN)),
        ("temperature", sampling(|s| s.temperature = -1.0)),
        ("temperature", sampling(|s| s.temperature = 1e30)),
        ("top_p", sampling(|s| s.top_p = 1.5)),
        ("min_p", sampling(|s| s.min_p = -0.5)),
        ("repeat_penalty", sampling(|s| s.repeat_penalty = 0.0)),
        ("logit_bias", sampling(|s| s.logit_bias = vec![(320, 1.0)])),
        ("stop", Request { stop: vec![String::new()], ..good.clone() }),
        ("stop", Request { stop: vec!["a".into(); 65], ..good.clone() }),
        ("n is 0", Request { n: 0, ..good.clone() }),
        ("n is", Request { n: MAX_CHOICES + 1, ..good.clone() }),
        ("logprobs", Request { logprobs: Some(MAX_TOP_LOGPROBS + 1), ..good.clone() }),
        ("max_tokens", Request { max_tokens: Some(0), ..good.clone() }),
        ("token 320", Request { prompt: vec![5, 320], ..good.clone() }),
        ("token 4294967295", Request { prompt: vec![u32::MAX], ..good.clone() }),
        ("generated", Request { generated: Some(vec![]), ..good.clone() }),
        ("generated", Request { generated: Some(vec![vec![5; 4]]), ..good.clone() }),
        ("generated", Request { generated: Some(vec![vec![5, 320]]), ..good.clone() }),
        ("behind its end", Request { ignore_eos: false, generated: Some(vec![vec![IM_END, 5]]), ..good.clone() }),
    ];
    for (name, request) in cases {
        let error = session.start(request).unwrap_err();
        assert_eq!(error.code(), "RangeError", "{error}");
        assert!(error.to_string().contains(name), "{name}: {error}");
        assert!(!session.is_busy());
    }
    session.start(good.clone()).unwrap();
    assert_eq!(session.start(good.clone()).unwrap_err().code(), "RangeError", "one at a time");
    let answer = go_on(&mut session, Answer::new(1), ALL_AT_ONCE).unwrap();
    assert_eq!(answer.results(), expected, "and the session is unharmed");
}

#[test]
fn after_a_fault_of_the_executor_at_any_call_the_next_call_works() {
    let (mut session, fault) = faulty_session(&FILE, CONTEXT).unwrap();
    let victim = Request { n: 3, ..request(prompt(70, 18), 3) };
    let next = request(prompt(72, 18), 3);
    let undisturbed = fresh(Device::Reference, &next).results();
    for n_calls in 0.. {
        fault.calls_left.set(Some(n_calls));
        let outcome = run(&mut session, &victim, 4);
        fault.calls_left.set(None);
        assert!(!session.is_busy());
        match outcome {
            Ok(_) => break,
            Err(error) => assert_eq!(error.code(), "E_MEMORY"),
        }
        assert!(session.cached_tokens().is_empty(), "nothing that was computed is trusted");
        assert_eq!(run(&mut session, &next, ALL_AT_ONCE).unwrap().results(), undisturbed, "fault at call {n_calls}");
    }
    fault.nan.set(true);
    let error = run(&mut session, &victim, ALL_AT_ONCE).unwrap_err();
    assert_eq!(error.code(), "E_INTERNAL");
    assert!(error.to_string().contains("NaN"), "{error}");
    fault.nan.set(false);
    assert_eq!(run(&mut session, &next, ALL_AT_ONCE).unwrap().results(), undisturbed);
}
