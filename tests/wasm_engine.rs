//! The classes that JavaScript sees, driven as the worker drives them: `www/pkg/src/abi.ts` says what goes in and out.
#![cfg(target_arch = "wasm32")]

mod common;

use common::{
    encoders::encoder_golden,
    tiny_llama::{TinyConfig, tiny_llama},
};
use js_sys::{Array, Float32Array, Int32Array, JSON, Object, Reflect, Uint8Array, Uint32Array, futures::JsFuture};
use kinglet::{quant::Format, wasm::Engine};
use wasm_bindgen::{JsCast, JsValue, convert::TryFromJsValue};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

fn json(text: &str) -> JsValue {
    JSON::parse(text).unwrap()
}

fn get(object: &JsValue, key: &str) -> JsValue {
    Reflect::get(object, &key.into()).unwrap()
}

fn set(object: &JsValue, key: &str, value: &JsValue) {
    Reflect::set(object, &key.into(), value).unwrap();
}

fn text(object: &JsValue, key: &str) -> String {
    get(object, key).as_string().unwrap_or_else(|| panic!("{key} of {object:?} is no string"))
}

fn number(object: &JsValue, key: &str) -> f64 {
    get(object, key).as_f64().unwrap_or_else(|| panic!("{key} of {object:?} is no number"))
}

async fn create(options: &str) -> Result<Engine, JsValue> {
    let created = JsFuture::from(Engine::create(json(options))).await?;
    Ok(Engine::try_from_js_value(created).unwrap())
}

async fn loaded() -> Engine {
    loaded_on(r#"{"device":"cpu","kvType":"f16","threads":2}"#, Format::Q8_0).await
}

async fn loaded_on(options: &str, format: Format) -> Engine {
    let mut engine = create(options).await.unwrap();
    let mut n_told = 0;
    let config = TinyConfig { format, embd_format: format, ..TinyConfig::default() };
    for chunk in tiny_llama(&config, 1).build().chunks(5000) {
        let header = engine.feed(chunk).unwrap();
        if !header.is_undefined() {
            assert!(number(&header, "fileBytes") > 50_000.0);
            JsFuture::from(engine.check().unwrap()).await.unwrap();
            n_told += 1;
        }
    }
    assert_eq!(n_told, 1, "the header is told once");
    engine.finish().unwrap();
    engine
}

fn request() -> JsValue {
    let request = json(
        r#"{"stop":[],"n":2,"seed":9007199254740991,"temperature":1,"topK":40,"topP":0.95,"minP":0.05,"repeatPenalty":1.1,
            "frequencyPenalty":0.1,"presencePenalty":0,"logitBias":[[5,-1.5]],"logprobs":2,"echo":true,"ignoreEos":true,
            "cachePrompt":true,"maxTokens":5}"#,
    );
    set(&request, "prompt", &Uint32Array::from(&[70u32, 71, 72, 73][..]));
    request
}

/// Runs to the end; the events as a list.
fn events(engine: &mut Engine, request: &JsValue) -> Vec<JsValue> {
    engine.start(request.clone()).unwrap();
    engine.nudge();
    let mut all = vec![];
    loop {
        assert!(engine.until_ready().unwrap().is_none(), "the CPU has nothing to wait for");
        let events = engine.advance(0.0).unwrap().dyn_into::<Array>().unwrap();
        all.extend(events.iter());
        if all.last().is_some_and(|e| text(e, "type") == "end") {
            return all;
        }
    }
}

/// Runs to the end on a device that is waited for; how often, too.
async fn events_elsewhere(engine: &mut Engine, request: &JsValue) -> (Vec<JsValue>, usize) {
    engine.start(request.clone()).unwrap();
    let (mut all, mut n_waits) = (vec![], 0);
    loop {
        let events = engine.advance(0.0).unwrap().dyn_into::<Array>().unwrap();
        all.extend(events.iter());
        if all.last().is_some_and(|e| text(e, "type") == "end") {
            return (all, n_waits);
        }
        if let Some(ready) = engine.until_ready().unwrap() {
            JsFuture::from(ready).await.unwrap();
            n_waits += 1;
        }
    }
}

fn of_type<'a>(events: &'a [JsValue], kind: &str) -> Vec<&'a JsValue> {
    events.iter().filter(|e| text(e, "type") == kind).collect()
}

#[wasm_bindgen_test]
async fn facts_and_templates_are_plain_objects() {
    let engine = loaded().await;
    let info = engine.info().unwrap();
    assert!(info.is_instance_of::<Object>() && !info.is_instance_of::<js_sys::Map>());
    assert_eq!(text(&info, "quantization"), "Q8_0");
    assert_eq!((number(&info, "contextLength"), number(&info, "vocabularySize")), (256.0, 320.0));
    assert!(number(&get(&info, "memory"), "weightsBytes") > 0.0);
    assert_eq!((number(&info, "threads"), engine.pool_address()), (1.0, 0), "this build has no shared memory");
    assert_eq!((text(&info, "device"), text(&info, "simd")), ("cpu".into(), "simd128".into()));
    assert!(get(&info, "adapter").is_undefined() && get(&info, "features").is_undefined());
    let template = engine.template().unwrap();
    assert_eq!(text(&template, "bosToken"), "<|im_start|>");
    assert_eq!(get(&template, "specialStrings").unchecked_into::<Array>().length(), 3);
}

async fn encoder(name: &str) -> Engine {
    let mut engine = create(r#"{"device":"cpu","kvType":"f32","threads":1}"#).await.unwrap();
    engine.feed(encoder_golden(name).file).unwrap();
    JsFuture::from(engine.check().unwrap()).await.unwrap();
    engine.finish().unwrap();
    engine
}

/// Runs to the end; the events as a list.
fn encoded(engine: &mut Engine, request: &str) -> Vec<JsValue> {
    engine.encode(json(request)).unwrap();
    let mut all = vec![];
    while all.last().is_none_or(|e| text(e, "type") != "end") {
        all.extend(engine.advance(50.0).unwrap().dyn_into::<Array>().unwrap().iter());
    }
    all
}

#[wasm_bindgen_test]
async fn an_encoder_gives_typed_arrays() {
    let mut engine = encoder("bert").await;
    let info = engine.info().unwrap();
    assert_eq!(JSON::stringify(&get(&info, "tasks")).unwrap(), r#"["embed","fill-mask","classify"]"#);
    assert_eq!((get(&info, "labels").unchecked_into::<Array>().length(), number(&info, "embeddingLength")), (3, 64.0));

    let embed = r#"{"task":"embed","inputs":[{"text":"the cat"},{"tokens":[2,3]}],"dimensions":7,"candidates":1}"#;
    let all = encoded(&mut engine, embed);
    assert_eq!(all.len(), 3);
    assert_eq!((number(&all[1], "input"), number(&all[1], "tokenCount"), number(&all[1], "width")), (1.0, 2.0, 7.0));
    let values = get(&all[0], "values").dyn_into::<Float32Array>().unwrap();
    let length = values.to_vec().iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!(values.length() == 7 && (length - 1.0).abs() < 1e-5);

    let all = encoded(&mut engine, r#"{"task":"fill-mask","inputs":[{"text":"[MASK] the [MASK]"}],"candidates":2}"#);
    let masks = get(&all[0], "candidates").dyn_into::<Array>().unwrap();
    assert_eq!((masks.length(), masks.get(1).unchecked_into::<Array>().length()), (2, 2));
    assert!(number(&masks.get(0).unchecked_into::<Array>().get(0), "logprob") < 0.0);

    let all = encoded(&mut engine, r#"{"task":"classify","inputs":[{"text":"a","pair":"the cat"}],"candidates":1}"#);
    assert_eq!(get(&all[0], "values").dyn_into::<Float32Array>().unwrap().length(), 3);

    for (request, code) in [
        (r#"{"task":"label","inputs":[{"text":"a"}],"candidates":1}"#, "E_UNSUPPORTED_TASK"),
        (r#"{"task":"sing","inputs":[{"text":"a"}],"candidates":1}"#, "RangeError"),
        (r#"{"task":"embed","inputs":[{"pair":"a"}],"candidates":1}"#, "RangeError"),
        (r#"{"task":"embed","inputs":[{"text":"a"}],"dimensions":0.5,"candidates":1}"#, "RangeError"),
        (r#"{"task":"embed","inputs":"a","candidates":1}"#, "TypeError"),
    ] {
        assert_eq!(text(&engine.encode(json(request)).unwrap_err(), "code"), code, "{request}");
    }
    assert_eq!(text(&engine.start(request()).unwrap_err(), "code"), "E_UNSUPPORTED_TASK");

    let mut engine = encoder("bert-tokens").await;
    let all = encoded(&mut engine, r#"{"task":"label","inputs":[{"text":"the cat"},{"tokens":[5]}],"candidates":1}"#);
    let places = |event: &JsValue| get(event, "places").dyn_into::<Int32Array>().unwrap().to_vec();
    assert_eq!((places(&all[0]), places(&all[1])), (vec![0, 3, 4, 7], vec![-1, -1]));
    assert_eq!(get(&all[0], "ids").dyn_into::<Uint32Array>().unwrap().length(), 2);
}

#[wasm_bindgen_test]
async fn text_becomes_tokens_and_text_again() {
    let engine = loaded().await;
    let ids = engine.tokenize("<|im_start|>a né 🙂", true, true, None).unwrap();
    assert_eq!(ids[0], 1);
    assert_eq!(engine.detokenize(&ids).unwrap(), "<|im_start|>a né 🙂");
    let joined = engine.tokenize("<\u{fdd0}|im_start|>a", true, true, Some("\u{fdd0}".into())).unwrap();
    assert!(!joined.contains(&1), "what a user wrote stays text");
    assert_eq!(engine.detokenize(&joined).unwrap(), "<|im_start|>a");
}

#[wasm_bindgen_test]
async fn a_generation_says_what_happened_in_plain_objects() {
    let mut engine = loaded().await;
    let all = events(&mut engine, &request());
    let echo = of_type(&all, "echo")[0];
    assert_eq!(get(echo, "ids").unchecked_into::<Array>().length(), 4);
    let scores = get(echo, "logprobs").unchecked_into::<Array>();
    assert!(scores.get(0).is_null() && scores.get(1).as_f64().is_some_and(|l| l < 0.0));
    let tokens = of_type(&all, "token");
    assert_eq!(tokens.len(), 10);
    for token in &tokens {
        assert!(number(token, "logprob") < 0.0);
        let top = get(token, "top").unchecked_into::<Array>();
        assert_eq!(top.length(), 2);
        assert!(number(&top.get(0), "logprob") >= number(&top.get(1), "logprob"));
    }
    assert_eq!(of_type(&all, "done").iter().map(|d| text(d, "reason")).collect::<Vec<_>>(), ["length", "length"]);
    let usage = get(all.last().unwrap(), "usage");
    assert_eq!((number(&usage, "promptTokens"), number(&usage, "completionTokens")), (4.0, 10.0));
    assert!(number(&usage, "acceptedTokens") <= number(&usage, "draftedTokens"));

    // Without log-probabilities there are none; resumed, the rest comes.
    let plain = request();
    set(&plain, "logprobs", &JsValue::UNDEFINED);
    set(&plain, "echo", &false.into());
    let whole = events(&mut engine, &plain);
    assert!(of_type(&whole, "token").iter().all(|t| get(t, "logprob").is_undefined() && get(t, "top").is_undefined()));
    let of_choice = |all: &[JsValue], choice: f64| -> Vec<f64> {
        let tokens = of_type(all, "token").into_iter().filter(|t| number(t, "choice") == choice);
        tokens.map(|t| number(t, "id")).collect()
    };
    let given = Array::new();
    for choice in [0.0, 1.0] {
        given.push(&of_choice(&whole, choice)[..2].iter().map(|id| JsValue::from_f64(*id)).collect::<Array>());
    }
    set(&plain, "generated", &given);
    let rest = events(&mut engine, &plain);
    assert_eq!(of_choice(&rest, 1.0), of_choice(&whole, 1.0)[2..]);
}

#[wasm_bindgen_test]
async fn what_is_wrong_is_thrown_as_a_plain_object_and_harms_nothing() {
    let mut engine = loaded().await;
    let expected = JSON::stringify(&events(&mut engine, &request()).into_iter().collect::<Array>()).unwrap();
    let cases = [
        ("temperature", JsValue::from_f64(f64::NAN), "RangeError"),
        ("temperature", "warm".into(), "TypeError"),
        ("speculates", "on".into(), "TypeError"),
        ("topK", (-5).into(), "RangeError"),
        ("topK", 1.5.into(), "RangeError"),
        ("seed", (-1).into(), "RangeError"),
        ("n", 0.into(), "RangeError"),
        ("maxTokens", (-1).into(), "RangeError"),
        ("stop", json(r#"[""]"#), "RangeError"),
        ("prompt", json("[1,320]"), "RangeError"),
        ("prompt", json("[1,-1]"), "TypeError"),
        ("prompt", JsValue::UNDEFINED, "TypeError"),
        ("prompt", Uint32Array::new_with_length(257).into(), "E_CONTEXT_OVERFLOW"),
    ];
    for (key, value, code) in cases {
        let bad = request();
        set(&bad, key, &value);
        let thrown = engine.start(bad).unwrap_err();
        assert_eq!(text(&thrown, "code"), code, "{key}: {}", text(&thrown, "message"));
        if code == "E_CONTEXT_OVERFLOW" {
            assert_eq!(number(&get(&thrown, "details"), "requestedTokens"), 257.0);
        }
    }
    engine.start(request()).unwrap();
    engine.cancel().unwrap();
    engine.cancel().unwrap();
    let after = events(&mut engine, &request());
    let results = |all: &[JsValue]| JSON::stringify(&all.iter().cloned().collect::<Array>()).unwrap();
    assert_eq!(results(&after), expected, "a scored prompt reuses nothing, so even the counts are the same");
}

#[wasm_bindgen_test]
async fn a_file_that_is_refused_stays_refused_and_another_engine_works() {
    for (code, options) in [
        ("TypeError", r#"{"device":"cpu","kvType":"q8","threads":1}"#),
        ("TypeError", r#"{"device":"cpu","threads":1}"#),
        ("TypeError", r#"{"device":"npu","kvType":"f16","threads":1}"#),
        ("TypeError", r#"{"kvType":"f16","threads":1}"#),
        ("RangeError", r#"{"device":"cpu","kvType":"f16","threads":0}"#),
    ] {
        assert_eq!(text(&create(options).await.err().unwrap(), "code"), code, "{options}");
    }
    let mut engine = create(r#"{"device":"cpu","kvType":"f32","threads":1,"contextLength":64}"#).await.unwrap();
    let early = JsFuture::from(engine.check().unwrap()).await.unwrap_err();
    assert_eq!(text(&early, "message"), "the device is checked after the header");
    assert_eq!(text(&engine.info().unwrap_err(), "code"), "E_INTERNAL");
    assert_eq!(text(&engine.feed(b"<html>").unwrap_err(), "code"), "E_FILE_FORMAT");
    for again in [
        engine.finish().err(),
        engine.info().err(),
        engine.advance(1.0).err(),
        engine.cancel().err(),
        engine.check().err(),
    ] {
        assert_eq!(text(&again.unwrap(), "code"), "E_FILE_FORMAT");
    }
    assert!(loaded().await.start(request()).is_ok());
}

#[wasm_bindgen_test]
async fn a_vocabulary_beside_the_file_takes_the_place_of_its_own() {
    let options = json(r#"{"device":"cpu","kvType":"f32","threads":1}"#);
    let header = include_bytes!("golden/tokenizer/json/bpe-nfc.gguf");
    set(&options, "vocabulary", &Uint8Array::from(&header[..]));
    let created = JsFuture::from(Engine::create(options.clone())).await.unwrap();
    let mut engine = Engine::try_from_js_value(created).unwrap();
    engine.feed(&tiny_llama(&TinyConfig { n_vocab: 460, ..TinyConfig::default() }, 1).build()).unwrap();
    engine.finish().unwrap();
    let ids = engine.tokenize("<|x|>", true, true, None).unwrap();
    assert_eq!(engine.detokenize(&ids).unwrap(), "<s><|x|>");
    set(&options, "vocabulary", &Uint8Array::from(&header[..9]));
    let error = JsFuture::from(Engine::create(options)).await.unwrap_err();
    assert_eq!(text(&error, "code"), "E_FILE_FORMAT");
}

const GPU: &str = r#"{"device":"webgpu","gpu":{"subgroups":false,"subgroupMinSize":4,"subgroupMaxSize":128,"f16":false},
    "kvType":"f32","threads":1}"#;

#[wasm_bindgen_test]
async fn an_engine_on_the_gpu_is_made_and_given_back() {
    for _ in 0..3 {
        let mut engine = create(GPU).await.unwrap();
        engine.nudge();
        assert_eq!(engine.pool_address(), 0);
        assert_eq!(text(&engine.info().unwrap_err(), "code"), "E_INTERNAL");
        assert_eq!(text(&engine.feed(b"<html>").unwrap_err(), "code"), "E_FILE_FORMAT");
    }
    let odd = GPU.replace(r#""subgroups":false,"subgroupMinSize":4"#, r#""subgroups":true,"subgroupMinSize":0.5"#);
    assert!(create(&odd).await.is_ok(), "subgroups of an unknown size are not used");
    assert_eq!(
        text(&create(r#"{"device":"webgpu","gpu":{},"kvType":"f16","threads":1}"#).await.err().unwrap(), "code"),
        "TypeError"
    );
}

#[wasm_bindgen_test]
async fn a_generation_on_the_gpu_is_waited_for_and_gives_the_tokens_of_the_cpu() {
    let greedy = request();
    set(&greedy, "temperature", &0.into());
    let ids = |all: &[JsValue]| -> Vec<f64> { of_type(all, "token").iter().map(|t| number(t, "id")).collect() };
    let mut on_cpu = loaded_on(r#"{"device":"cpu","kvType":"f32","threads":1}"#, Format::F32).await;
    let expected = ids(&events(&mut on_cpu, &greedy));
    // In f32, because the CPU's kernels for quantized weights round the activations too, and the GPU's do not.
    let mut engine = loaded_on(GPU, Format::F32).await;
    let info = engine.info().unwrap();
    assert_eq!(text(&info, "device"), "webgpu");
    assert!(
        !get(&info, "features").unchecked_into::<Array>().iter().any(|f| f.as_string().unwrap().contains("subgroup"))
    );
    let (all, n_waits) = events_elsewhere(&mut engine, &greedy).await;
    assert_eq!(ids(&all), expected);
    assert!(n_waits >= 5, "every step is waited for, and none holds the worker up: {n_waits}");
}

#[wasm_bindgen_test]
async fn while_the_gpu_is_waited_for_the_engine_can_be_cancelled_and_freed() {
    let mut engine = loaded_on(GPU, Format::Q8_0).await;
    let (expected, _) = events_elsewhere(&mut engine, &request()).await;
    let mut forgotten = vec![];
    for n_steps in 0..4 {
        engine.start(request()).unwrap();
        for _ in 0..n_steps {
            engine.advance(0.0).unwrap();
            JsFuture::from(engine.until_ready().unwrap().unwrap()).await.unwrap();
        }
        engine.advance(0.0).unwrap();
        forgotten.push(engine.until_ready().unwrap().unwrap());
        engine.nudge();
        engine.cancel().unwrap();
        assert!(engine.until_ready().unwrap().is_none());
    }
    let (after, _) = events_elsewhere(&mut engine, &request()).await;
    let results = |all: &[JsValue]| JSON::stringify(&all.iter().cloned().collect::<Array>()).unwrap();
    assert_eq!(results(&after), results(&expected));
    engine.start(request()).unwrap();
    engine.advance(0.0).unwrap();
    forgotten.push(engine.until_ready().unwrap().unwrap());
    drop(engine);
    for promise in forgotten {
        JsFuture::from(promise).await.unwrap();
    }
}
