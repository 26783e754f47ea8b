//! Encoder-decoders against HF transformers on tiny random models of every kind of the family (tests/golden/make_tiny_t5.py):
//! what the encoder gives, the logits of the decoder, and whole answers, greedy and by beam search.

mod common;

use common::{
    generate::{Answer, devices, load, options, run},
    golden::difference,
    runner::{MAX_ROWS, Runner},
    t5::{Output, T5Golden, t5_goldens},
};
use kinglet::{
    cpu::{Cpu, pool::Pool},
    engine::{Device, Engine, Options},
    error::Result,
    kv::KvFormat,
    plan::Executor,
    reference::Reference,
    sample::SamplingParams,
    session::{BeamParams, Event, FinishReason, Request},
    tokenizer::EncodeOptions,
};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// The reference executor against transformers, both f32: the largest difference over the largest value.
const REFERENCE_TOLERANCE: f32 = 1e-4;
/// The CPU executor: the same weights, other orders of summation and other e^x. Attention without a scale has scores of tens.
const CPU_TOLERANCE: f32 = 1e-4;
/// The same with keys and values rounded to f16.
const F16_CACHE_TOLERANCE: f32 = 2e-3;

fn reference(golden: &T5Golden, format: KvFormat) -> Runner<Reference> {
    Runner::load(golden.file, format, 128, |geometry| Ok(Reference::new(geometry))).expect("it loads")
}

fn cpu(golden: &T5Golden, format: KvFormat, threads: usize) -> Runner<Cpu> {
    Runner::load(golden.file, format, 128, |geometry| Cpu::new(geometry, Pool::new(threads))).expect("it loads")
}

/// The largest differences of the encoder's rows and of the decoder's logits, of all cases.
fn differences<E: Executor>(golden: &T5Golden, mut runner: Runner<E>) -> Result<[f32; 2]> {
    let mut worst = [0.0_f32; 2];
    for case in &golden.cases {
        let encoded = runner.remember(&case.output.source)?;
        let logits = runner.append(&case.target, MAX_ROWS)?;
        worst[0] = worst[0].max(difference(&encoded, &case.encoded));
        worst[1] = worst[1].max(difference(&logits, &case.logits));
    }
    Ok(worst)
}

#[test]
fn the_reference_gives_what_transformers_gives() -> Result<()> {
    for golden in t5_goldens() {
        let [encoded, logits] = differences(&golden, reference(&golden, KvFormat::F32))?;
        println!("{}: encoder {encoded:.1e}, logits {logits:.1e} of the largest", golden.name);
        assert!(encoded <= REFERENCE_TOLERANCE && logits <= REFERENCE_TOLERANCE, "{}", golden.name);
    }
    Ok(())
}

#[test]
fn a_cache_in_f16_stays_near() -> Result<()> {
    for golden in t5_goldens() {
        let [encoded, logits] = differences(&golden, reference(&golden, KvFormat::F16))?;
        println!("{}: encoder {encoded:.1e}, logits {logits:.1e} of the largest", golden.name);
        assert!(encoded > 0.0 && encoded <= F16_CACHE_TOLERANCE && logits <= F16_CACHE_TOLERANCE, "{}", golden.name);
    }
    Ok(())
}

#[test]
fn the_cpu_gives_what_transformers_gives() -> Result<()> {
    for golden in t5_goldens() {
        let [encoded, logits] = differences(&golden, cpu(&golden, KvFormat::F32, 1))?;
        println!("{}: encoder {encoded:.1e}, logits {logits:.1e} of the largest", golden.name);
        assert!(encoded <= CPU_TOLERANCE && logits <= CPU_TOLERANCE, "{}", golden.name);
        let [encoded, logits] = differences(&golden, cpu(&golden, KvFormat::F16, 2))?;
        assert!(encoded > 0.0 && encoded <= F16_CACHE_TOLERANCE && logits <= F16_CACHE_TOLERANCE, "{}", golden.name);
    }
    Ok(())
}

/// One pass, any split and token by token give the same bits, and so does an encoder with room for more.
fn assert_any_split_is_the_same<E: Executor>(golden: &T5Golden, mut runner: Runner<E>) -> Result<()> {
    let bits = |rows: Vec<Vec<f32>>| -> Vec<u32> { rows.iter().flatten().map(|x| x.to_bits()).collect() };
    for case in &golden.cases {
        runner.remember(&case.output.source)?;
        let whole = bits(runner.append(&case.target, MAX_ROWS)?);
        for rows in [1, 2, 5, 8, 23] {
            runner.truncate(0);
            assert_eq!(bits(runner.append(&case.target, rows)?), whole, "{}: {rows} rows at a time", golden.name);
        }
    }
    Ok(())
}

#[test]
fn any_split_of_the_target_gives_the_same_bits() -> Result<()> {
    for golden in t5_goldens() {
        for format in [KvFormat::F32, KvFormat::F16] {
            assert_any_split_is_the_same(&golden, reference(&golden, format))?;
            assert_any_split_is_the_same(&golden, cpu(&golden, format, 2))?;
        }
    }
    Ok(())
}

fn engine(golden: &T5Golden, device: Device) -> Engine {
    load(golden.file, options(device), 1 << 14).expect("it loads")
}

fn ask(golden: &T5Golden, output: &Output, beams: Option<BeamParams>, n: usize) -> Request {
    Request {
        prompt: output.source.clone(),
        max_tokens: Some(golden.max_new_tokens),
        sampling: SamplingParams::greedy(),
        beams,
        n,
        ..Request::default()
    }
}

/// The tokens of the choices.
fn tokens(answer: &Answer) -> Vec<Vec<u32>> {
    answer.choices.iter().map(|choice| choice.tokens.clone()).collect()
}

#[test]
fn answers_are_those_of_transformers_greedy_and_by_beam_search() -> Result<()> {
    for golden in t5_goldens() {
        for device in devices() {
            let Engine { mut session, tokenizer, .. } = engine(&golden, device.clone());
            let (mut n_ended, mut n_beams) = (0, 0);
            // The reference has shown all of them; what the others could do wrong shows in a few.
            let n = if matches!(device, Device::Reference) { usize::MAX } else { 4 };
            for output in golden.cases.iter().map(|c| &c.output).chain(&golden.outputs).take(n) {
                let greedy = run(&mut session, &ask(&golden, output, None, 1), 1000)?;
                assert_eq!(tokens(&greedy), std::slice::from_ref(&output.greedy), "{} {device:?}", golden.name);
                let ended = output.greedy.last().is_some_and(|token| tokenizer.is_end_of_generation(*token));
                let reason = if ended { FinishReason::Stop } else { FinishReason::Length };
                assert_eq!(greedy.choices[0].reason, Some(reason));
                n_ended += usize::from(ended);
                for beams in &output.beams {
                    let request = ask(&golden, output, Some(beams.params()), beams.sequences.len());
                    let answer = run(&mut session, &request, 1000)?;
                    assert_eq!(tokens(&answer), beams.sequences, "{} {:?} {device:?}", golden.name, beams.params());
                    n_beams += usize::from(beams.sequences[0] != output.greedy);
                }
            }
            println!("{}: {n_ended} answers ended, {n_beams} searches found something better", golden.name);
            assert!(n < 10 || (n_ended > 3 && n_beams > 20), "the models show something");
        }
    }
    Ok(())
}

#[test]
fn a_prompt_is_encoded_once() -> Result<()> {
    let golden = &t5_goldens()[0];
    let Engine { mut session, .. } = engine(golden, Device::Reference);
    let (first, other) = (&golden.cases[0].output, &golden.cases[1].output);
    let n = first.source.len();
    let request = ask(golden, first, None, 1);
    let cold = run(&mut session, &request, 1000)?;
    assert_eq!((cold.prefill.as_slice(), cold.usage.cached_tokens), (&[(n, n, 0)][..], 0));
    assert_eq!((cold.usage.prompt_tokens, cold.usage.completion_tokens), (n, cold.choices[0].tokens.len()));
    assert_eq!(session.cached_tokens(), first.source);
    // The same prompt, once more, and with anything else asked of it.
    let warm = run(&mut session, &request, 1000)?;
    assert_eq!((warm.prefill.as_slice(), warm.usage.cached_tokens), (&[(n, n, n)][..], n));
    assert_eq!(warm.clone().results(), cold.clone().results());
    let sampling = SamplingParams { seed: 3, ..SamplingParams::default() };
    let several = Request { n: 5, sampling, ..request.clone() };
    let shared = run(&mut session, &several, 1000)?;
    assert_eq!(shared.usage.cached_tokens, n);
    // A prompt that only begins alike is another one.
    let longer = Request { prompt: [&first.source[..], &[5]].concat(), ..request.clone() };
    assert_eq!(run(&mut session, &longer, 1000)?.usage.cached_tokens, 0);
    assert_eq!(run(&mut session, &ask(golden, other, None, 1), 1000)?.usage.cached_tokens, 0);
    let forgetful = Request { cache_prompt: false, ..several };
    assert_eq!(run(&mut session, &forgetful, 1000)?.results(), shared.results(), "a memory changes nothing");
    assert_eq!(session.cached_tokens(), other.source, "what others left stays");
    Ok(())
}

#[test]
fn what_is_cancelled_leaves_only_what_is_complete() -> Result<()> {
    let golden = &t5_goldens()[0];
    let output = &golden.cases[0].output;
    let beams = output.beams[1].params();
    let request = Request { ignore_eos: true, ..ask(golden, output, Some(beams), 4) };
    let whole = run(&mut engine(golden, Device::Reference).session, &request, 1000)?;
    let Engine { mut session, .. } = engine(golden, Device::Reference);
    for n_ops in (1..300).step_by(23) {
        session.start(request.clone())?;
        let events = session.advance(n_ops)?;
        assert!(!events.iter().any(|event| matches!(event, Event::End(_))));
        session.cancel()?;
        assert!(session.cached_tokens().is_empty() || session.cached_tokens() == output.source);
    }
    assert_eq!(session.cached_tokens(), output.source, "the encoder was done");
    assert_eq!(run(&mut session, &request, 13)?.results(), whole.results());
    Ok(())
}

#[test]
fn an_interrupted_answer_goes_on_as_if_nothing_had_happened() -> Result<()> {
    let golden = &t5_goldens()[1];
    let request = Request { n: 2, ..ask(golden, &golden.cases[1].output, None, 1) };
    let sampling = SamplingParams { seed: 11, ..SamplingParams::default() };
    let request = Request { sampling, ignore_eos: true, ..request };
    let whole = run(&mut engine(golden, Device::Reference).session, &request, 1000)?;
    let given: Vec<Vec<u32>> = whole.choices.iter().zip([5, 9]).map(|(c, n)| c.tokens[..n].to_vec()).collect();
    let rest = run(
        &mut engine(golden, Device::Reference).session,
        &Request { generated: Some(given.clone()), ..request },
        1000,
    )?;
    for ((whole, rest), given) in whole.choices.iter().zip(&rest.choices).zip(&given) {
        assert_eq!([&given[..], &rest.tokens].concat(), whole.tokens);
        assert!(whole.text.ends_with(&rest.text));
    }
    Ok(())
}

#[test]
fn a_text_begins_without_a_space_and_ends_at_a_stop_string() -> Result<()> {
    let golden = &t5_goldens()[1];
    let Engine { mut session, tokenizer, .. } = engine(golden, Device::Reference);
    for output in &golden.outputs {
        let request = ask(golden, output, Some(output.beams[0].params()), 1);
        let answer = run(&mut session, &request, 1000)?;
        assert_eq!(answer.choices[0].text, tokenizer.decode(&output.beams[0].sequences[0], true));
        assert!(!answer.choices[0].text.starts_with(' '));
        let Some((stop, _)) = answer.choices[0].text.char_indices().nth(4) else { continue };
        let stop_string: String = answer.choices[0].text[stop..].chars().take(2).collect();
        let cut = run(&mut session, &Request { stop: vec![stop_string.clone()], ..request }, 1000)?;
        let expected = answer.choices[0].text.split(&stop_string).next().unwrap_or_default();
        assert_eq!((cut.choices[0].text.as_str(), cut.choices[0].reason), (expected, Some(FinishReason::Stop)));
    }
    Ok(())
}

#[test]
fn what_does_not_go_is_said_before_any_work() -> Result<()> {
    let golden = &t5_goldens()[0];
    let Engine { mut session, .. } = engine(golden, Device::Reference);
    let output = &golden.cases[1].output;
    let plain = || ask(golden, output, None, 1);
    let beams = || ask(golden, output, Some(BeamParams::default()), 1);
    let width = |width| Some(BeamParams { width, ..BeamParams::default() });
    let penalty = |length_penalty| Some(BeamParams { length_penalty, ..BeamParams::default() });
    let sampling = |sampling: SamplingParams| Request { sampling, ..beams() };
    let biased = SamplingParams { logit_bias: vec![(3, 1.0)], ..SamplingParams::greedy() };
    let penalised = SamplingParams { repeat_penalty: 1.1, ..SamplingParams::greedy() };
    for (request, code) in [
        (Request { echo: true, ..plain() }, "E_UNSUPPORTED_TASK"),
        (Request { prompt: vec![3; 513], ..plain() }, "E_CONTEXT_OVERFLOW"),
        (Request { prompt: vec![], ..plain() }, "RangeError"),
        (Request { prompt: vec![100_000], ..plain() }, "RangeError"),
        (Request { beams: width(1), ..plain() }, "RangeError"),
        (Request { beams: width(9), ..plain() }, "RangeError"),
        (Request { beams: penalty(f64::NAN), ..plain() }, "RangeError"),
        (Request { beams: penalty(1e9), ..plain() }, "RangeError"),
        (Request { n: 5, ..beams() }, "RangeError"),
        (sampling(SamplingParams::default()), "RangeError"),
        (sampling(biased), "E_UNSUPPORTED_FEATURE"),
        (sampling(penalised), "E_UNSUPPORTED_FEATURE"),
        (Request { logprobs: Some(0), ..beams() }, "E_UNSUPPORTED_FEATURE"),
        (Request { generated: Some(vec![vec![3]]), ..beams() }, "E_UNSUPPORTED_FEATURE"),
    ] {
        let error = session.start(request.clone()).expect_err(&format!("{request:?}"));
        assert_eq!(error.code(), code, "{error}");
        assert!(!session.is_busy());
    }
    // What remains goes.
    run(&mut session, &beams(), 1000)?;
    Ok(())
}

/// The file with a name in it changed to another of the same length.
fn renamed(golden: &T5Golden, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut file = golden.file.to_vec();
    let places: Vec<usize> = (0..file.len()).filter(|at| file[*at..].starts_with(from.as_bytes())).collect();
    assert!(!places.is_empty(), "{from} is in the file");
    places.into_iter().for_each(|at| file[at..at + to.len()].copy_from_slice(to.as_bytes()));
    file
}

#[test]
fn a_file_that_lacks_something_is_refused_by_its_name() {
    let golden = &t5_goldens()[1];
    for (from, to) in [
        ("t5.decoder_start_token_id", "t5.decoder_start_token_ix"),
        ("t5.attention.relative_buckets_count", "t5.attention.relative_buckets_counx"),
        ("dec.blk.0.cross_attn_k.weight", "dec.blk.0.cross_attn_j.weight"),
        ("enc.blk.0.attn_rel_b.weight", "enc.blk.0.attn_rel_x.weight"),
        ("enc.blk.1.ffn_gate.weight", "enc.blk.1.ffn_gats.weight"),
    ] {
        let error = load(&renamed(golden, from, to), options(Device::Reference), 1 << 20).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), "E_FILE_FORMAT", "{error}");
        assert!(error.to_string().contains(from), "{error}");
    }
}

#[test]
fn a_context_is_for_the_prompt_and_for_the_answer_each_and_may_be_longer_than_trained() -> Result<()> {
    let golden = &t5_goldens()[0];
    let with = |context_length| Options { context_length: Some(context_length), ..options(Device::Reference) };
    let Engine { mut session, info, .. } = load(golden.file, with(70), 1 << 14)?;
    assert_eq!((info.context_length, info.trained_context_length), (70, 512));
    let prompt: Vec<u32> = (0..70).map(|i| 3 + i % 70).collect();
    let request = Request {
        prompt: prompt.clone(),
        max_tokens: None,
        sampling: SamplingParams::greedy(),
        ignore_eos: true,
        ..Request::default()
    };
    let answer = run(&mut session, &request, 1000)?;
    assert_eq!((answer.choices[0].tokens.len(), answer.choices[0].reason), (69, Some(FinishReason::Length)));
    assert_eq!(
        session.start(Request { prompt: vec![3; 71], ..request.clone() }).unwrap_err().code(),
        "E_CONTEXT_OVERFLOW"
    );

    // Twice what it was trained for; the answer to a short prompt is the same.
    let Engine { session: mut longer, .. } = load(golden.file, with(1024), 1 << 14)?;
    let short = Request { max_tokens: Some(20), ..request.clone() };
    assert_eq!(tokens(&run(&mut longer, &short, 1000)?)[0], answer.choices[0].tokens[..20]);
    let long = Request { prompt: prompt.repeat(14), ..short };
    assert_eq!(run(&mut longer, &long, 1000)?.usage.prompt_tokens, 980);
    assert_eq!(load(golden.file, with(usize::MAX), 1 << 14).map(|_| ()).unwrap_err().code(), "RangeError");
    Ok(())
}

#[test]
fn a_decoder_searches_too() -> Result<()> {
    let file = common::golden::goldens()[0].file;
    let prompt: Vec<u32> = (3..30).collect();
    let beams = Some(BeamParams { width: 4, ..BeamParams::default() });
    let request = Request {
        prompt,
        max_tokens: Some(8),
        sampling: SamplingParams::greedy(),
        beams,
        n: 4,
        ignore_eos: true,
        ..Request::default()
    };
    let Engine { mut session, .. } = load(file, options(Device::Reference), 1 << 14)?;
    let cold = run(&mut session, &request, 1000)?;
    let warm = run(&mut session, &request, 1000)?;
    assert_eq!(warm.usage.cached_tokens, 26);
    assert_eq!(warm.results(), cold.clone().results());
    // The best of a search is no less probable than the greedy answer, and the choices come in order.
    let score = |tokens: &[u32]| -> Result<f64> {
        let prompt = [&request.prompt[..], tokens].concat();
        let scored = Request {
            echo: true,
            logprobs: Some(0),
            max_tokens: Some(0),
            beams: None,
            n: 1,
            prompt,
            ..request.clone()
        };
        let Engine { mut session, .. } = load(file, options(Device::Reference), 1 << 14)?;
        let echo = run(&mut session, &scored, 1000)?.echo.unwrap_or_default();
        Ok(echo.logprobs[request.prompt.len()..].iter().flatten().sum())
    };
    let greedy = run(&mut session, &Request { beams: None, n: 1, ..request.clone() }, 1000)?;
    let scores = cold.choices.iter().map(|c| score(&c.tokens)).collect::<Result<Vec<_>>>()?;
    assert!(scores.is_sorted_by(|a, b| a >= b) && scores[0] >= score(&greedy.choices[0].tokens)?, "{scores:?}");
    Ok(())
}

#[test]
fn text_goes_in_and_comes_out() -> Result<()> {
    for golden in t5_goldens() {
        let tokenizer = engine(&golden, Device::Reference).tokenizer;
        let text = if golden.name == "byt5" { "the 🐦 is\nwonderful " } else { "the house is wonderful" };
        let ids = tokenizer.encode(text, &EncodeOptions { add_special: true, ..EncodeOptions::default() });
        assert_eq!(ids.last(), Some(&1), "a source ends with the end of a sequence");
        assert_eq!(tokenizer.decode(&ids, true), text);
    }
    Ok(())
}

#[cfg(not(target_arch = "wasm32"))]
#[test]
fn the_plans_are_as_expected() -> Result<()> {
    use kinglet::{
        arch::{Model, Task},
        plan::{RowBound, dump},
    };
    for golden in t5_goldens().iter().take(2) {
        let model = Model::from_header(&common::parse::parse(golden.file)?.header)?;
        assert_eq!(model.tasks(), [Task::Generate, Task::Remember]);
        assert_eq!(model.decoder_start(), Some(0));
        let texts = [(Task::Remember, RowBound::UpTo(64)), (Task::Generate, RowBound::One)].map(|(task, rows)| {
            let plan = model.plan(task, rows, 1).expect("a plan");
            dump::dump(&plan, &model.weights)
        });
        insta::assert_snapshot!(golden.name, texts.join("\n"));
    }
    Ok(())
}
