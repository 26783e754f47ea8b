//! Files of llama.cpp's own converter (tests/golden/make_converted.py) of encoders and a T5: their keys and types of tensors, and those
//! parts of the model that it keeps, against what HF transformers gives and against our own files of the same models.

mod common;

use common::{
    encoders::{EncoderGolden, difference, encode, encode_request, encoder_golden, inputs, largest},
    generate::{devices, load, options, run},
    golden,
    runner::{MAX_ROWS, Runner},
    t5::t5_goldens,
};
use kinglet::{
    arch::Task,
    cpu::{Cpu, pool::Pool},
    engine::{Device, Engine},
    error::Result,
    kv::KvFormat,
    plan::Executor,
    reference::Reference,
    sample::SamplingParams,
    session::{Input, Request},
    tokenizer::EncodeOptions,
};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);

/// Against transformers, both f32: the largest difference over the largest number.
const TOLERANCE: f32 = 1e-4;

struct Converted {
    file: &'static [u8],
    /// Of our own file.
    golden: EncoderGolden,
    tasks: &'static [Task],
}

/// What the converter leaves: of classifiers only ModernBERT's is whole, and no head that fills in masks.
fn encoders() -> [Converted; 4] {
    macro_rules! converted {
        ($name:literal, $tasks:expr) => {
            Converted {
                file: include_bytes!(concat!("golden/converted/", $name, ".gguf")),
                golden: encoder_golden($name),
                tasks: $tasks,
            }
        };
    }
    [
        converted!("bert", &[Task::Embed]),
        converted!("distilbert", &[Task::Embed]),
        converted!("modern-bert", &[Task::Embed, Task::Classify]),
        converted!("nomic-bert", &[Task::Embed]),
    ]
}

fn engine(file: &[u8], device: Device) -> Engine {
    load(file, options(device), 5000).unwrap()
}

#[test]
fn encoders_give_what_transformers_gives() -> Result<()> {
    for Converted { file, golden, tasks } in encoders() {
        for device in devices() {
            let mut theirs = engine(file, device.clone());
            assert_eq!(theirs.info.tasks, tasks.iter().map(|task| task.name()).collect::<Vec<_>>(), "{}", golden.name);
            assert_eq!(theirs.info.notices, [""; 0], "{}", golden.name);
            for (task, cases) in golden.tasks.iter().filter(|(task, _)| tasks.contains(task)) {
                let request = encode_request(*task, inputs(cases));
                let (outputs, _) = encode(&mut theirs.session, &request, 100)?;
                for (output, case) in outputs.iter().zip(cases) {
                    let d = difference(*task, output, case, largest(*task, cases));
                    println!("{} {}: {d:.1e} of the largest", golden.name, task.name());
                    assert!(d <= TOLERANCE, "{} {task:?} {:?} on {device:?}: {d}", golden.name, case.input);
                }
            }
        }
    }
    Ok(())
}

/// Tables in f32 of the same values, q, k and v in one tensor.
#[test]
fn encoders_give_the_bits_of_our_own_files() -> Result<()> {
    for Converted { file, golden, tasks } in encoders() {
        let [mut ours, mut theirs] = [golden.file, file].map(|file| engine(file, Device::Reference));
        for (task, cases) in golden.tasks.iter().filter(|(task, _)| tasks.contains(task)) {
            let request = encode_request(*task, inputs(cases));
            let [ours, theirs] = [&mut ours, &mut theirs].map(|engine| encode(&mut engine.session, &request, 100));
            assert!(ours? == theirs?, "{} {task:?}", golden.name);
        }
    }
    Ok(())
}

#[test]
fn texts_become_the_tokens_of_hugging_faces_tokenizer() {
    for Converted { file, golden, .. } in encoders() {
        let tokenizer = engine(file, Device::Reference).tokenizer;
        for case in golden.tasks.iter().filter(|(task, _)| *task != Task::FillMask).flat_map(|(_, cases)| cases) {
            let encoded = match &case.input {
                Input::Text(text) => tokenizer.encode_text(text),
                Input::Pair(first, second) => tokenizer.encode_pair(first, second),
                Input::Tokens(_) => unreachable!("goldens are texts"),
            };
            assert_eq!(encoded.ids, case.ids, "{} {:?}", golden.name, case.input);
        }
    }
}

const T5: &[u8] = include_bytes!("golden/converted/t5_relu.gguf");

fn t5_is_near<E: Executor>(mut runner: Runner<E>) -> Result<()> {
    for case in t5_goldens().remove(0).cases {
        let encoded = runner.remember(&case.output.source)?;
        let logits = runner.append(&case.target, MAX_ROWS)?;
        let d =
            [(&encoded, &case.encoded), (&logits, &case.logits)].map(|(found, rows)| golden::difference(found, rows));
        assert!(d.iter().all(|d| *d <= TOLERANCE), "{d:?}");
    }
    Ok(())
}

#[test]
fn a_t5_gives_what_transformers_gives() -> Result<()> {
    t5_is_near(Runner::load(T5, KvFormat::F32, 128, |geometry| Ok(Reference::new(geometry)))?)?;
    t5_is_near(Runner::load(T5, KvFormat::F32, 128, |geometry| Cpu::new(geometry, Pool::new(1)))?)
}

/// The converter says neither that a text ends with `</s>` nor which token is unknown.
#[test]
fn a_t5_reads_texts_and_answers_as_ours_does() -> Result<()> {
    let golden = t5_goldens().remove(0);
    let [ours, mut theirs] = [golden.file, T5].map(|file| engine(file, Device::Reference));
    for text in ["", "the house is wonderful", "a  b\n x", "Über 日本", "house</s>house"] {
        for parse_special in [false, true] {
            let options = EncodeOptions { add_special: true, parse_special, joiner: None };
            let ids = theirs.tokenizer.encode(text, &options);
            assert_eq!(ids, ours.tokenizer.encode(text, &options), "{text:?}");
            assert_eq!(ids.last(), Some(&1), "{text:?}");
        }
    }
    for output in &golden.outputs {
        let request = Request {
            prompt: output.source.clone(),
            max_tokens: Some(golden.max_new_tokens),
            sampling: SamplingParams::greedy(),
            ..Request::default()
        };
        let answer = run(&mut theirs.session, &request, 1000)?.choices.remove(0).tokens;
        assert_eq!(answer, output.greedy);
    }
    Ok(())
}
