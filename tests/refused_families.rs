//! What is refused of every family from the header alone, with its code and by name: an architecture that there is none of, each tensor
//! that is missing or has another shape, and tasks that a model is not made for.
//!
//! Checkpoints among them, as `checkpointHeader` (www/pkg) tells the engine of them. What only one family can have wrong is refused in
//! its own tests, what a checkpoint can in www/pkg/test/checkpoint.test.ts.

mod common;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use common::{
    decoders::decoders,
    encoders::{encode_request, encoder_goldens, rebuilt},
    generate::{load, options},
    gguf_builder::string,
    parse::parse,
    refused::{ARCH, FORMAT},
    t5::t5_goldens,
};
use kinglet::{
    arch::{Model, Task},
    checkpoint::Converter,
    engine::Device,
    gguf::{Header, TensorInfo},
    plan::RowBound,
    session::Input,
};

const TASKS: [Task; 6] = [Task::Generate, Task::Remember, Task::Embed, Task::FillMask, Task::Classify, Task::Label];

/// Headers of every family, of GGUF files and of checkpoints.
fn headers() -> Vec<(String, Header)> {
    let decoders = decoders().into_iter().map(|d| (d.name, d.file));
    let encoders = encoder_goldens().into_iter().map(|e| (e.name, e.file));
    let files = decoders.chain(encoders).chain(t5_goldens().into_iter().map(|t| (t.name, t.file)));
    let mut headers: Vec<(String, Header)> =
        files.map(|(name, file)| (name.to_owned(), parse(file).unwrap().header)).collect();
    macro_rules! checkpoints {
        ($($name:literal)*) => {
            [$(($name, &include_bytes!(concat!("golden/checkpoints/", $name, "/header.bin"))[..])),*]
        };
    }
    for (name, header) in checkpoints!("llama" "gpt2" "gemma3" "bert" "distilbert" "modernbert" "t5" "flan-t5") {
        headers.push((format!("checkpoint of {name}"), Converter::new(header).unwrap().0));
    }
    headers
}

/// The code and the words.
fn refused(name: &str, what: &str, header: &Header) -> (&'static str, String) {
    match Model::from_header(header) {
        Ok(_) => panic!("{name} was accepted: {what}"),
        Err(error) => (error.code(), error.to_string()),
    }
}

#[test]
fn an_architecture_that_there_is_none_of() {
    for (name, file) in
        encoder_goldens().iter().map(|e| (e.name, e.file)).chain(t5_goldens().iter().map(|t| (t.name, t.file)))
    {
        let header = parse(&rebuilt(file).set("general.architecture", string("mamba")).build()).unwrap().header;
        let (code, said) = refused(name, "mamba", &header);
        assert_eq!(code, ARCH, "{said}");
        assert!(said.contains("architecture \"mamba\" is not supported (supported: llama, "), "{said}");
    }
}

/// What is a whole model without these: with its table of tokens as head, without kinds of text, or without biases.
fn may_be_absent(name: &str) -> bool {
    ["output.weight", "token_types.weight"].contains(&name) || name.ends_with(".bias")
}

/// Whether an error names a tensor, or the first part of one that is taken apart: files may hold either.
fn names(said: &str, tensor: &str) -> bool {
    let stem = tensor.trim_end_matches(".weight").trim_end_matches(".bias");
    let parts = [stem.into(), stem.replace("attn_qkv", "attn_q"), stem.replace("ffn_up", "ffn_gate")];
    parts.iter().any(|part: &String| said.contains(&format!("tensor {part}.")))
}

/// [`ARCH`] where what is left of a part is not known without it.
#[test]
fn a_tensor_that_is_missing_is_named() {
    let (mut n_named, mut n_absent) = (0, 0);
    for (name, header) in headers() {
        for (i, tensor) in header.tensors.iter().enumerate() {
            let mut without = header.clone();
            without.tensors.remove(i);
            if may_be_absent(&tensor.name) && Model::from_header(&without).is_ok() {
                n_absent += 1;
                continue;
            }
            let (code, said) = refused(&name, &tensor.name, &without);
            let says_what = match code {
                ARCH => names(&said, &tensor.name) || said.contains("this engine does not know tensor "),
                // What was an encoder's only purpose.
                _ if said.contains("neither a pooling nor a head") => tensor.name == "cls.output.weight",
                _ => code == FORMAT && names(&said, &tensor.name),
            };
            assert!(says_what, "{name}, {}: {code} {said}", tensor.name);
            n_named += 1;
        }
    }
    assert!(n_named > 5 * n_absent && n_absent > 0, "{n_named} and {n_absent}");
}

#[test]
fn a_tensor_of_another_shape_is_named_with_what_is_expected() {
    for (name, header) in headers() {
        for (i, tensor) in header.tensors.iter().enumerate() {
            // How many kinds of text there are is nowhere else.
            if tensor.name == "token_types.weight" {
                continue;
            }
            let mut other = header.clone();
            other.tensors[i].shape[0] += 1;
            let (code, said) = refused(&name, &tensor.name, &other);
            assert_eq!(code, FORMAT, "{name}, {}: {said}", tensor.name);
            let says_what = said.contains("expected") || said.contains("classifier.output_labels names");
            assert!(names(&said, &tensor.name) && says_what, "{name}, {}: {said}", tensor.name);
        }
    }
}

/// A head that this engine does not know, among them.
#[test]
fn a_tensor_that_there_is_no_use_for_is_named() {
    for (name, mut header) in headers() {
        let head = TensorInfo { name: "qa_outputs.weight".into(), ..header.tensors[0].clone() };
        header.tensors.push(head);
        let (code, said) = refused(&name, "qa_outputs", &header);
        assert_eq!(code, ARCH, "{name}: {said}");
        assert!(said.contains("this engine does not know tensor qa_outputs.weight"), "{name}: {said}");
    }
}

#[test]
fn a_task_that_a_model_is_not_made_for_is_refused_by_both_names() {
    for (name, header) in headers() {
        let model = Model::from_header(&header).unwrap();
        let architecture = &model.hyper.architecture;
        assert!(!model.tasks().is_empty() && model.tasks().len() < TASKS.len());
        for task in TASKS {
            let plan = model.plan(task, RowBound::UpTo(4), 4);
            if model.tasks().contains(&task) {
                plan.unwrap();
                continue;
            }
            let error = plan.unwrap_err();
            assert_eq!(error.code(), "E_UNSUPPORTED_TASK", "{name}");
            let part = format!("a model of {architecture} cannot {}: it can {}", task.name(), model.tasks()[0].name());
            assert!(error.to_string().contains(&part), "{error}");
        }
    }
}

#[test]
fn what_writes_texts_encodes_none() {
    let t5 = t5_goldens().remove(0).file;
    let decoder = decoders().remove(0).file;
    for file in [t5, decoder] {
        let mut engine = load(file, options(Device::Reference), 1 << 20).unwrap();
        for task in [Task::Embed, Task::FillMask, Task::Classify, Task::Label] {
            let error = engine.session.encode(encode_request(task, vec![Input::Text("a".into())])).unwrap_err();
            assert_eq!(error.code(), "E_UNSUPPORTED_TASK");
            let part = format!("this model is no encoder: it cannot {}", task.name());
            assert!(error.to_string().contains(&part), "{error}");
            assert!(!engine.session.is_busy());
        }
    }
}
