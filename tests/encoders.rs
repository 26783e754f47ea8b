//! Encoders against HF transformers, through the file, the tokenizer, the plans and a session; and what is refused.

mod common;

use common::{
    encoders::{difference, encode, encode_request, encoder_golden, encoder_goldens, inputs, largest, rebuilt},
    generate::{devices, load, options},
    gguf_builder::{GgufBuilder, string, strings},
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    arch::Task,
    engine::{Device, Engine, Options},
    error::{Error, Result},
    gguf::Value,
    kv::KvFormat,
    session::{EncodeRequest, Event, Input, Output, Request, Token},
};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);

/// Against transformers, both f32: the largest difference over the largest number.
const TOLERANCE: f32 = 1e-4;
/// The same with keys and values rounded to f16.
const F16_CACHE_TOLERANCE: f32 = 5e-3;
const ALL_AT_ONCE: usize = usize::MAX;

fn engine(file: &[u8], options: Options) -> Engine {
    load(file, options, 5000).unwrap()
}

#[test]
fn every_head_of_every_family_gives_what_transformers_gives() -> Result<()> {
    for golden in encoder_goldens() {
        for device in devices() {
            let mut engine = engine(golden.file, options(device.clone()));
            assert_eq!(engine.info.tasks, golden.tasks.iter().map(|(task, _)| task.name()).collect::<Vec<_>>());
            for (task, cases) in &golden.tasks {
                let request = encode_request(*task, inputs(cases));
                let (outputs, usage) = encode(&mut engine.session, &request, 3)?;
                assert_eq!(usage.prompt_tokens, cases.iter().map(|case| case.ids.len()).sum::<usize>());
                for (output, case) in outputs.iter().zip(cases) {
                    assert_eq!(output.n_tokens, case.ids.len());
                    let d = difference(*task, output, case, largest(*task, cases));
                    println!("{} {}: {d:.1e} of the largest", golden.name, task.name());
                    assert!(d <= TOLERANCE, "{} {task:?} {:?} on {device:?}: {d}", golden.name, case.input);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn keys_and_values_in_f16_stay_near() -> Result<()> {
    for golden in encoder_goldens() {
        for device in devices() {
            let mut engine = engine(golden.file, Options { kv_format: KvFormat::F16, ..options(device) });
            for (task, cases) in &golden.tasks {
                let (outputs, _) = encode(&mut engine.session, &encode_request(*task, inputs(cases)), ALL_AT_ONCE)?;
                for (output, case) in outputs.iter().zip(cases) {
                    let d = difference(*task, output, case, largest(*task, cases));
                    assert!(d <= F16_CACHE_TOLERANCE, "{} {task:?} {:?}: {d}", golden.name, case.input);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn texts_become_the_tokens_of_hugging_faces_tokenizer() {
    for golden in encoder_goldens() {
        let tokenizer = engine(golden.file, options(Device::Reference)).tokenizer;
        for (task, case) in golden.tasks.iter().flat_map(|(task, cases)| cases.iter().map(|case| (*task, case))) {
            let encoded = match &case.input {
                Input::Text(text) if task == Task::FillMask => {
                    tokenizer.encode_masked(text, tokenizer.mask().expect("a mask"))
                }
                Input::Text(text) => tokenizer.encode_text(text),
                Input::Pair(first, second) => tokenizer.encode_pair(first, second),
                Input::Tokens(_) => unreachable!("goldens are texts"),
            };
            assert_eq!(encoded.ids, case.ids, "{} {:?}", golden.name, case.input);
            if golden.name != "modern-bert" {
                assert_eq!(encoded.second, case.second, "{} {:?}", golden.name, case.input);
            }
        }
    }
}

#[test]
fn labels_say_where_their_tokens_stand() -> Result<()> {
    for golden in encoder_goldens() {
        let mut engine = engine(golden.file, options(Device::Reference));
        for (task, cases) in golden.tasks.iter().filter(|(task, _)| *task == Task::Label) {
            let (outputs, _) = encode(&mut engine.session, &encode_request(*task, inputs(cases)), ALL_AT_ONCE)?;
            for (output, case) in outputs.iter().zip(cases) {
                // All characters of these texts are one UTF-16 code unit.
                let found: Vec<_> = output.tokens.iter().map(|token| token.place.clone().expect("a place")).collect();
                assert_eq!(found, case.offsets, "{} {:?}", golden.name, case.input);
                let ids: Vec<u32> = output.tokens.iter().map(|token| token.id).collect();
                assert_eq!(ids, case.ids[1..case.ids.len() - 1]);
            }
        }
    }
    let mut engine = engine(encoder_golden("bert-tokens").file, options(Device::Reference));
    let text = Input::Text("😀 cafe\u{301}s 한 cat".into());
    let (outputs, _) = encode(&mut engine.session, &encode_request(Task::Label, vec![text]), ALL_AT_ONCE)?;
    let places: Vec<_> = outputs[0].tokens.iter().map(|token| token.place.clone().expect("a place")).collect();
    assert_eq!(places, [0..2, 3..7, 8..9, 10..11, 12..15], "an emoji is two units; an accent belongs to no piece");
    Ok(())
}

/// Numbers, tokens, candidates for masks.
type Bits = (Vec<u32>, Vec<Token>, Vec<(u32, u64)>);

/// The bits of outputs.
fn bits(outputs: &[Output]) -> Vec<Bits> {
    let bits = |output: &Output| {
        let candidates = output.candidates.iter().flatten().map(|c| (c.id, c.logprob.to_bits())).collect();
        (output.values.iter().map(|x| x.to_bits()).collect(), output.tokens.clone(), candidates)
    };
    outputs.iter().map(bits).collect()
}

#[test]
fn a_text_gives_the_same_bits_alone_in_a_batch_and_in_slices() -> Result<()> {
    for golden in encoder_goldens() {
        for device in devices() {
            for (task, cases) in &golden.tasks {
                // More than a step's rows, and more than its texts.
                let many: Vec<Input> = (0..40).map(|i| cases[i * 7 % cases.len()].input.clone()).collect();
                let mut engine = engine(golden.file, options(device.clone()));
                let (together, _) = encode(&mut engine.session, &encode_request(*task, many.clone()), ALL_AT_ONCE)?;
                let (sliced, _) = encode(&mut engine.session, &encode_request(*task, many.clone()), 1)?;
                assert_eq!(bits(&together), bits(&sliced));
                for (input, output) in many.into_iter().zip(&together) {
                    let (mut alone, _) =
                        encode(&mut engine.session, &encode_request(*task, vec![input.clone()]), ALL_AT_ONCE)?;
                    alone[0].input = output.input;
                    let (alone, batched) = (bits(&alone), bits(std::slice::from_ref(output)));
                    assert!(alone == batched, "{} {task:?} {input:?} on {device:?}", golden.name);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_text_of_tokens_is_taken_as_it_is() -> Result<()> {
    let golden = encoder_golden("bert");
    let mut engine = engine(golden.file, options(Device::Reference));
    let (_, cases) = &golden.tasks[0];
    let as_tokens = cases.iter().map(|case| Input::Tokens(case.ids.clone())).collect();
    let (of_texts, _) = encode(&mut engine.session, &encode_request(Task::Embed, inputs(cases)), ALL_AT_ONCE)?;
    let (of_tokens, _) = encode(&mut engine.session, &encode_request(Task::Embed, as_tokens), ALL_AT_ONCE)?;
    assert_eq!(bits(&of_texts), bits(&of_tokens));
    Ok(())
}

#[test]
fn embeddings_are_cut_and_then_brought_to_length_one_unless_the_file_says_otherwise() -> Result<()> {
    let golden = encoder_golden("bert");
    let text = vec![Input::Text("the cat".into())];
    let embed = |file: &[u8], dimensions| -> Result<Vec<f32>> {
        let mut engine = engine(file, options(Device::Reference));
        let request = EncodeRequest { dimensions, ..encode_request(Task::Embed, text.clone()) };
        Ok(encode(&mut engine.session, &request, ALL_AT_ONCE)?.0[0].values.clone())
    };
    let length = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let (whole, cut) = (embed(golden.file, None)?, embed(golden.file, Some(7))?);
    assert!((length(&whole) - 1.0).abs() < 1e-6 && (length(&cut) - 1.0).abs() < 1e-6);
    assert_eq!((whole.len(), cut.len()), (64, 7));
    let ratio = cut[0] / whole[0];
    assert!(ratio > 1.0 && whole.iter().zip(&cut).all(|(w, c)| (w * ratio - c).abs() < 1e-6));

    let as_is = rebuilt(golden.file).kv("kinglet.embedding.normalize", Value::Bool(false)).build();
    let as_is = embed(&as_is, None)?;
    assert!((length(&as_is) - 1.0).abs() > 1e-3);
    let scale = length(&as_is) as f32;
    assert!(whole.iter().zip(&as_is).all(|(w, x)| (w * scale - x).abs() < 1e-5));
    Ok(())
}

#[test]
fn pooling_by_the_first_and_the_last_token_and_by_the_mean() -> Result<()> {
    let golden = encoder_golden("bert");
    let ids = golden.tasks[0].1[0].ids.clone();
    let embed = |pooling: u32, ids: &[u32]| -> Result<Vec<f32>> {
        let file = rebuilt(golden.file).set("bert.pooling_type", Value::U32(pooling));
        let file = file.kv("kinglet.embedding.normalize", Value::Bool(false)).build();
        let mut engine = engine(&file, options(Device::Reference));
        let request = encode_request(Task::Embed, vec![Input::Tokens(ids.to_vec())]);
        Ok(encode(&mut engine.session, &request, ALL_AT_ONCE)?.0[0].values.clone())
    };
    // The mean of two rows is half of the first and half of the last.
    let [mean, first, last] = [1, 2, 3].map(|pooling| embed(pooling, &ids[..2]).unwrap());
    assert!(mean.iter().zip(first.iter().zip(&last)).all(|(m, (f, l))| (m - (f + l) / 2.0).abs() < 1e-5));
    assert_ne!(first, last);
    Ok(())
}

#[test]
fn more_masks_than_a_step_has_room_for() -> Result<()> {
    let golden = encoder_golden("bert");
    let mut engine = engine(golden.file, options(Device::Reference));
    let text = Input::Text("the [MASK] ".repeat(11));
    let ids = engine.tokenizer.encode_masked(&"the [MASK] ".repeat(11), 4).ids;
    assert_eq!(ids.iter().filter(|id| **id == 4).count(), 11);
    let request = EncodeRequest { n_candidates: 3, ..encode_request(Task::FillMask, vec![text.clone(), text]) };
    let (outputs, _) = encode(&mut engine.session, &request, 5)?;
    for output in &outputs {
        assert_eq!(output.candidates.iter().map(Vec::len).collect::<Vec<_>>(), [3; 11]);
    }
    assert_eq!(bits(&outputs[..1]), bits(&outputs[1..]));

    // Of the tokens that are asked for, the same numbers.
    let all = &outputs[0].candidates;
    let only: Vec<u32> = all[0].iter().rev().map(|token| token.id).collect();
    let (chosen, _) = encode(&mut engine.session, &EncodeRequest { only: Some(only), ..request }, 5)?;
    assert_eq!(chosen[0].candidates.iter().map(Vec::len).collect::<Vec<_>>(), [3; 11]);
    assert!(chosen[0].candidates[0].iter().eq(all[0].iter().rev()));
    Ok(())
}

fn code(result: Result<impl Sized>) -> (&'static str, String) {
    let Err(error) = result else { panic!("was accepted") };
    (error.code(), error.to_string())
}

#[test]
fn what_a_model_is_not_made_for_is_refused_by_both_names() {
    let mut bert = engine(encoder_golden("bert-tokens").file, options(Device::Reference));
    let (found, what) = code(bert.session.start(Request { prompt: vec![5], ..Request::default() }));
    assert_eq!((found, what.as_str()), ("E_UNSUPPORTED_TASK", "a model of bert cannot generate: it can label"));
    let text = || vec![Input::Text("a".into())];
    for task in [Task::Embed, Task::FillMask, Task::Classify, Task::Generate, Task::Remember] {
        let (found, what) = code(bert.session.encode(encode_request(task, text())));
        assert_eq!(
            (found, what),
            ("E_UNSUPPORTED_TASK", format!("a model of bert cannot {}: it can label", task.name()))
        );
    }
    let mut llama = engine(&tiny_llama(&TinyConfig::default(), 1).build(), options(Device::Reference));
    let (found, what) = code(llama.session.encode(encode_request(Task::Embed, text())));
    assert_eq!(found, "E_UNSUPPORTED_TASK");
    assert!(what.contains("no encoder") && what.contains("embed"), "{what}");
}

#[test]
fn what_is_wrong_with_a_request_is_said_before_any_work() {
    let mut engine = engine(encoder_golden("bert").file, options(Device::Reference));
    let one = |input: Input| encode_request(Task::Embed, vec![input]);
    let text = |text: &str| Input::Text(text.into());
    for (request, part) in [
        (encode_request(Task::Embed, vec![]), "there are 0 inputs"),
        (encode_request(Task::Embed, vec![text("a"); 2049]), "there are 2049 inputs"),
        (one(Input::Tokens(vec![])), "input 0 has no tokens"),
        (one(Input::Tokens(vec![2, 9999])), "token 9999"),
        (EncodeRequest { dimensions: Some(0), ..one(text("a")) }, "dimensions is 0"),
        (EncodeRequest { dimensions: Some(65), ..one(text("a")) }, "dimensions is 65"),
        (EncodeRequest { n_candidates: 0, ..one(text("a")) }, "0 tokens for each mask"),
        (EncodeRequest { only: Some(vec![]), ..one(text("a")) }, "only has 0 tokens"),
        (EncodeRequest { only: Some(vec![7, 9999]), ..one(text("a")) }, "only has token 9999"),
        (encode_request(Task::FillMask, vec![text("[MASK]"), text("a [MASKED")]), "input 1 has nothing to fill in"),
    ] {
        let (found, what) = code(engine.session.encode(request));
        assert!(found == "RangeError" && what.contains(part), "{found}: {what} does not say {part}");
        assert!(!engine.session.is_busy());
    }
    let long = encode_request(Task::Embed, vec![text("a"), text(&"the ".repeat(79))]);
    let error = engine.session.encode(long).unwrap_err();
    assert_eq!(error, Error::ContextOverflow { requested_tokens: 81, available_tokens: 80 });
    let fits = encode_request(Task::Embed, vec![text(&"the ".repeat(78))]);
    assert!(encode(&mut engine.session, &fits, ALL_AT_ONCE).is_ok());

    engine.session.encode(one(text("a"))).unwrap();
    assert_eq!(code(engine.session.encode(one(text("a")))).1, "a request is in progress");
}

#[test]
fn a_request_that_is_given_up_leaves_nothing_behind() -> Result<()> {
    let golden = encoder_golden("modern-bert");
    let mut engine = engine(golden.file, options(Device::Reference));
    let request = encode_request(Task::Embed, inputs(&golden.tasks[0].1));
    let (undisturbed, _) = encode(&mut engine.session, &request, ALL_AT_ONCE)?;
    for n in 0..60 {
        engine.session.encode(request.clone())?;
        for _ in 0..n {
            engine.session.advance(2)?;
        }
        engine.session.cancel()?;
        assert!(!engine.session.is_busy());
    }
    assert_eq!(bits(&encode(&mut engine.session, &request, ALL_AT_ONCE)?.0), bits(&undisturbed));
    assert_eq!(engine.session.advance(1)?, Vec::<Event>::new());
    Ok(())
}

fn refused(file: &GgufBuilder, expected: &str, part: &str) {
    let (found, what) = code(load(&file.build(), options(Device::Reference), 1 << 20));
    assert!(found == expected && what.contains(part), "{found}: {what} does not say {part}");
}

#[test]
fn files_that_contradict_themselves_are_refused_by_name() {
    let bert = || rebuilt(encoder_golden("bert").file);
    let modern = || rebuilt(encoder_golden("modern-bert").file);
    const FILE: &str = "E_FILE_FORMAT";
    refused(&bert().without_tensor("cls.weight").without_tensor("cls.bias"), FILE, "cls.weight is missing");
    refused(&bert().without_tensor("position_embd.weight"), FILE, "position_embd.weight [80, 64] is missing");
    refused(&bert().without_tensor("blk.0.attn_q.weight"), FILE, "blk.0.attn_q.weight [64, 64] is missing");
    refused(&bert().without_tensor("mlm.norm.weight"), FILE, "mlm.norm.weight [64] is missing");
    refused(&bert().set("bert.context_length", Value::U32(81)), FILE, "position_embd.weight has the shape [80, 64]");
    refused(&bert().set("bert.pooling_type", Value::U32(5)), FILE, "bert.pooling_type: 5 is not in 0..=4");
    let two = strings(["a", "b"]);
    refused(
        &bert().set("bert.classifier.output_labels", two),
        FILE,
        "names 2 labels, but tensor cls.output.weight has 3",
    );
    refused(
        &bert().without("bert.attention.layer_norm_epsilon"),
        FILE,
        "bert.attention.layer_norm_epsilon: is missing",
    );
    refused(&bert().kv("bert.classifier.pooling_type", Value::U32(3)), FILE, "3 is not in 1..=2");
    let relu = modern().kv("modern-bert.hidden_activation", string("relu"));
    refused(&relu, "E_UNSUPPORTED_ARCH", "the activation \"relu\" (metadata key modern-bert.hidden_activation)");
    refused(&modern().without_tensor("blk.1.attn_norm.weight"), FILE, "blk.1.attn_norm.weight [32] is missing");
    refused(
        &modern().reshaped("blk.0.ffn_up.weight", &[79, 32], kinglet::quant::Format::F16),
        FILE,
        "expected 80 rows",
    );
    let nothing = bert().set("bert.pooling_type", Value::U32(0)).without_tensor("mlm.output.bias");
    let nothing = nothing.without_tensor("cls.output.weight").without_tensor("cls.output.bias");
    refused(&nothing, FILE, "there is neither a pooling nor a head");
    let causal = tiny_llama(&TinyConfig::default(), 1).kv("llama.attention.causal", Value::Bool(false));
    refused(&causal, "E_UNSUPPORTED_ARCH", "not causal");
}

#[test]
fn what_is_told_of_an_encoder() {
    let info = |file: &GgufBuilder| load(&file.build(), options(Device::Reference), 1 << 20).unwrap().info;
    let bert = || rebuilt(encoder_golden("bert").file);
    let told = info(&bert());
    assert_eq!(told.tasks, ["embed", "fill-mask", "classify"]);
    assert_eq!(told.labels, ["kind 0", "kind 1", "kind 2"]);
    assert_eq!((told.embedding_length, told.context_length, told.notices.len()), (64, 80, 0));
    assert_eq!(info(&bert().without("bert.classifier.output_labels")).labels, ["LABEL_0", "LABEL_1", "LABEL_2"]);
    assert_eq!(info(&bert().set("bert.pooling_type", Value::U32(4))).tasks, ["fill-mask", "classify"]);

    let heads = ["mlm.dense", "mlm.norm", "cls", "cls.output"]
        .map(|name| [".weight", ".bias"].map(|part| format!("{name}{part}")));
    let bare = heads.iter().flatten().fold(bert().without_tensor("mlm.output.bias"), |b, name| b.without_tensor(name));
    let told = info(&bare.without("bert.pooling_type").without("bert.classifier.output_labels"));
    assert_eq!(told.tasks, ["embed"]);
    assert_eq!(told.notices, ["the file does not say how a text's tokens are pooled: their mean is taken"]);
}
