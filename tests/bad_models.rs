//! Files that are well-formed GGUF but no model: every hyper-parameter, every tensor and everything that speaks of the
//! vocabulary is checked against the others from the header alone, and the message names what is wrong.

mod common;

// The same tests in wasm32, where `usize` has 32 bits.
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use common::{
    gguf_builder::{GgufBuilder, string, strings},
    parse::parse,
    refused::{ARCH, FORMAT, model, refused},
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    arch::RopeScaling,
    error::Error,
    gguf::{Array, Value},
    quant::Format,
};

fn good() -> GgufBuilder {
    tiny_llama(&TinyConfig::default(), 5)
}

#[test]
fn good_models_are_accepted() {
    let base = TinyConfig::default();
    for config in [
        base.clone(),
        TinyConfig { head_format: Some(Format::F16), ..base.clone() },
        TinyConfig { biases: true, rope_freqs: true, format: Format::Q4_1, ..base.clone() },
        TinyConfig { head_size: 32, format: Format::Q4_0, embd_format: Format::BF16, ..base.clone() },
        TinyConfig { n_layer: 1, n_head_kv: 4, format: Format::F32, ..base },
    ] {
        let model = model(&tiny_llama(&config, 1)).unwrap();
        let h = &model.hyper;
        assert_eq!((h.n_layer, h.n_embd, h.n_head, h.n_head_kv), (config.n_layer, 64, 4, config.n_head_kv));
        assert_eq!((h.head_size, h.n_vocab, h.n_ff), (config.head_size, config.n_vocab, config.n_ff));
        assert_eq!(model.used_weights().unwrap().len(), model.weights.len());
    }
}

#[test]
fn row_16_hyper_parameters() {
    let n = Value::U32;
    let cases = [
        ("block_count", n(0), "0 is not in 1..=512"),
        ("block_count", n(1_000_000), "1000000 is not in 1..=512"),
        ("block_count", Value::U64(u64::MAX), "18446744073709551615 is not in 1..=512"),
        ("block_count", Value::I32(-1), "is not a whole number ≥ 0"),
        ("block_count", Value::F32(2.0), "is not a whole number ≥ 0"),
        ("block_count", string("2"), "is not a whole number ≥ 0"),
        ("embedding_length", n(0), "0 is not in 1..=1048576"),
        ("embedding_length", Value::U64((1 << 32) + 64), "4294967360 is not in 1..=1048576"),
        ("feed_forward_length", n(0), "0 is not in 1..=1048576"),
        ("context_length", n(0), "0 is not in 1..="),
        ("attention.head_count", n(0), "0 is not in 1..="),
        ("attention.head_count_kv", n(0), "0 is not in 1..="),
        ("attention.head_count_kv", n(3), "3 does not divide 4 heads"),
        ("attention.head_count_kv", n(8), "8 does not divide 4 heads"),
        ("attention.key_length", n(0), "0 is not in 1..=512"),
        ("attention.key_length", n(513), "513 is not in 1..=512"),
        ("rope.dimension_count", n(0), "0 is not in 1..=512"),
        ("rope.dimension_count", n(18), "18 is odd or over the head size 16"),
        ("rope.dimension_count", n(15), "15 is odd or over the head size 16"),
        ("attention.layer_norm_rms_epsilon", Value::F32(f32::NAN), "NaN is not finite and > 0"),
        ("attention.layer_norm_rms_epsilon", Value::F32(0.0), "0 is not finite and > 0"),
        ("attention.layer_norm_rms_epsilon", Value::F32(-1e-5), "-0.00001 is not finite and > 0"),
        ("attention.layer_norm_rms_epsilon", n(1), "is not a floating-point number"),
        ("rope.freq_base", Value::F32(f32::INFINITY), "inf is not finite and > 0"),
        ("rope.freq_base", Value::F64(1e300), "inf is not finite and > 0"),
        ("rope.freq_base", Value::F32(0.0), "0 is not finite and > 0"),
        ("rope.scaling.factor", Value::F32(f32::NAN), "NaN is not finite and > 0"),
        ("rope.scale_linear", Value::F32(0.0), "0 is not finite and > 0"),
        ("rope.scaling.factor", Value::F32(1e-40), "1e-40 is too near to 0"),
        ("attention.causal", n(0), "is not a boolean"),
    ];
    for (key, value, part) in cases {
        let key = format!("llama.{key}");
        let file = good().set(&key, value);
        refused(&file, FORMAT, part);
        refused(&file, FORMAT, &format!("metadata key {key}"));
    }
}

#[test]
fn missing_keys_are_named() {
    for key in [
        "block_count",
        "embedding_length",
        "feed_forward_length",
        "context_length",
        "attention.head_count",
        "attention.layer_norm_rms_epsilon",
    ] {
        let key = format!("llama.{key}");
        refused(&good().without(&key), FORMAT, &format!("metadata key {key}: is missing"));
    }
    refused(&good().without("general.architecture"), FORMAT, "general.architecture is missing");
    refused(&GgufBuilder::new(), FORMAT, "general.architecture is missing");
}

#[test]
fn variants_that_would_run_wrongly_are_refused() {
    let per_layer = |a: Vec<i32>| Value::Array(Array::I32(a));
    let cases = [
        ("general.architecture", string("mamba"), "architecture \"mamba\" is not supported (supported: llama, "),
        (
            "llama.expert_count",
            Value::U32(8),
            "a mixture of experts (metadata key llama.expert_count) is not supported",
        ),
        (
            "llama.attention.causal",
            Value::Bool(false),
            "attention that is not causal (metadata key llama.attention.causal)",
        ),
        (
            "llama.attention.value_length",
            Value::U32(8),
            "values of 8 beside keys of 16 (metadata key llama.attention.value_length)",
        ),
        ("llama.rope.scaling.type", string("yarn"), "rope scaling \"yarn\" (metadata key llama.rope.scaling.type)"),
        ("llama.rope.scaling.attn_factor", Value::F32(1.2), "the rope attention factor 1.2"),
        (
            "llama.attention.head_count_kv",
            per_layer(vec![2, 1]),
            "differs by layer (metadata key llama.attention.head_count_kv)",
        ),
        (
            "llama.attention.head_count_kv",
            per_layer(vec![]),
            "differs by layer (metadata key llama.attention.head_count_kv)",
        ),
    ];
    for (key, value, part) in cases {
        refused(&good().set(key, value), ARCH, part);
    }
    let same = good().set("llama.attention.head_count_kv", per_layer(vec![2, 2]));
    assert_eq!(model(&same).unwrap().hyper.n_head_kv, 2);
}

#[test]
fn rope_scaling_is_read_as_ggml_reads_it() {
    let factor = |key: &str| good().set(key, Value::F32(4.0));
    for file in [
        factor("llama.rope.scaling.factor"),
        factor("llama.rope.scale_linear"),
        factor("llama.rope.scaling.factor").set("llama.rope.scaling.type", string("linear")),
    ] {
        assert_eq!(model(&file).unwrap().hyper.rope_scaling, RopeScaling::Linear { factor: 4.0 });
    }
    let none = factor("llama.rope.scaling.factor").set("llama.rope.scaling.type", string("none"));
    for file in [good(), none] {
        assert_eq!(model(&file).unwrap().hyper.rope_scaling, RopeScaling::None);
    }
    let no_factor = good().set("llama.rope.scaling.type", string("linear"));
    refused(&no_factor, FORMAT, "llama.rope.scaling.factor: is missing");
}

#[test]
fn row_17_missing_tensors_are_named() {
    for (name, shape) in [
        ("token_embd.weight", "[320, 64]"),
        ("output_norm.weight", "[64]"),
        ("blk.0.attn_norm.weight", "[64]"),
        ("blk.0.attn_q.weight", "[64, 64]"),
        ("blk.1.attn_k.weight", "[32, 64]"),
        ("blk.1.attn_v.weight", "[32, 64]"),
        ("blk.1.attn_output.weight", "[64, 64]"),
        ("blk.0.ffn_norm.weight", "[64]"),
        ("blk.1.ffn_gate.weight", "[96, 64]"),
        ("blk.1.ffn_up.weight", "[96, 64]"),
        ("blk.1.ffn_down.weight", "[64, 96]"),
    ] {
        refused(&good().without_tensor(name), FORMAT, &format!("tensor {name} {shape} is missing"));
    }
    let more_layers = good().set("llama.block_count", Value::U32(512));
    refused(&more_layers, FORMAT, "tensor blk.2.attn_norm.weight [64] is missing");
}

#[test]
fn row_17_wrong_shapes_name_found_and_expected() {
    let f = Format::F32;
    for (name, shape, expected) in [
        ("blk.1.ffn_up.weight", &[64, 96][..], "[96, 64]"),
        ("blk.1.ffn_up.weight", &[96, 128], "[96, 64]"),
        ("blk.1.ffn_up.weight", &[96 * 64], "[96, 64]"),
        ("blk.1.ffn_up.weight", &[1, 96, 64], "[96, 64]"),
        ("blk.1.ffn_up.weight", &[0, 64], "[96, 64]"),
        ("blk.0.attn_k.weight", &[64, 64], "[32, 64]"),
        ("blk.0.attn_norm.weight", &[32], "[64]"),
        ("blk.0.attn_norm.weight", &[1, 64], "[64]"),
        ("output_norm.weight", &[64, 0], "[64]"),
        ("token_embd.weight", &[319, 64], "[320, 64]"),
        ("token_embd.weight", &[64, 320], "[320, 64]"),
    ] {
        let part = format!("tensor {name} has the shape {shape:?}, expected {expected}");
        refused(&good().reshaped(name, shape, f), FORMAT, &part);
    }
    let config = TinyConfig { head_format: Some(f), biases: true, rope_freqs: true, ..TinyConfig::default() };
    for (name, shape, expected) in [
        ("output.weight", &[321, 64][..], "[320, 64]"),
        ("blk.0.attn_q.bias", &[63], "[64]"),
        ("rope_freqs.weight", &[16], "[8]"),
    ] {
        let part = format!("tensor {name} has the shape {shape:?}, expected {expected}");
        refused(&tiny_llama(&config, 1).reshaped(name, shape, f), FORMAT, &part);
    }
    let wider = good().set("llama.feed_forward_length", Value::U32(128));
    refused(&wider, FORMAT, "tensor blk.0.ffn_gate.weight has the shape [96, 64], expected [128, 64]");
}

#[test]
fn tensors_that_would_be_left_out_are_refused() {
    for name in ["blk.0.attn_q_norm.weight", "blk.2.attn_q.weight", "blk.0.attn_norm.bias", "output.bias", "anything"] {
        let file = good().tensor(name, &[4], Format::F32, vec![0; 16]);
        refused(&file, ARCH, &format!("llama: this engine does not know tensor {name}"));
    }
    let file = good().tensor("blk.0.attn_rot_embd.weight", &[8], Format::F32, vec![0; 32]);
    model(&file).expect("rotary frequencies that follow from the metadata may be there");
}

#[test]
fn row_18_vocabulary() {
    let tokens = "tokenizer.ggml.tokens";
    refused(&good().without(tokens), FORMAT, "tokenizer.ggml.tokens is missing or empty");
    refused(&good().set(tokens, strings([""; 0])), FORMAT, "tokenizer.ggml.tokens is missing or empty");
    refused(&good().set(tokens, string("a")), FORMAT, "tokenizer.ggml.tokens is not an array of strings");
    let fewer = good().set(tokens, strings((0..319).map(|i| i.to_string()))).without("tokenizer.ggml.token_type");
    refused(&fewer, FORMAT, "token_embd.weight has the shape [320, 64], expected [319, 64]");

    let types = good().set("tokenizer.ggml.token_type", Value::Array(Array::I32(vec![1; 319])));
    refused(&types, FORMAT, "tokenizer.ggml.token_type has 319 elements, expected one for each of 320 tokens");
    let scores = good().set("tokenizer.ggml.scores", Value::Array(Array::F32(vec![0.0; 321])));
    refused(&scores, FORMAT, "tokenizer.ggml.scores has 321 elements, expected one for each of 320 tokens");
    let scores = good().set("tokenizer.ggml.scores", Value::Array(Array::I32(vec![0; 320])));
    refused(&scores, FORMAT, "tokenizer.ggml.scores is not an array of f32");
    let scores = |n| good().set("tokenizer.ggml.scores", Value::Array(Array::F64(vec![0.0; n])));
    refused(&scores(321), FORMAT, "tokenizer.ggml.scores has 321 elements, expected one for each of 320 tokens");
    model(&scores(320)).expect("those of a tokenizer.json are f64");

    for role in ["bos", "eos", "eot", "eom", "unknown"] {
        let key = format!("tokenizer.ggml.{role}_token_id");
        refused(&good().set(&key, Value::U32(320)), FORMAT, &format!("{key}: 320 is not in 0..320"));
        refused(&good().set(&key, Value::U32(u32::MAX)), FORMAT, &format!("{key}: 4294967295 is not in 0..320"));
        refused(&good().set(&key, Value::I32(-1)), FORMAT, &format!("{key} is not a whole number"));
        model(&good().set(&key, Value::U32(319))).unwrap();
    }
    model(&good().set("tokenizer.ggml.padding_token_id", Value::U32(320))).expect("padding is never fed");
}

/// A directory of a hundred thousand tensors that are no part of the model costs one look at each.
#[test]
fn many_unknown_tensors_are_refused_at_once() {
    let file = (0..90_000).fold(good(), |f, i| f.tensor(&format!("t{i}"), &[1], Format::F16, vec![0, 0]));
    refused(&file, ARCH, "this engine does not know tensor t0");
}

/// Row 15 is the executors' to notice; that a file can be made so is shown here.
#[test]
fn scales_can_be_poisoned() {
    let nan = 0x7e00_u16;
    let file = good().with(|f| f.tensor_mut("blk.1.ffn_up.weight").set_scales(nan));
    let parsed = parse(&file.build()).unwrap();
    let i = parsed.header.tensors.iter().position(|t| t.name == "blk.1.ffn_up.weight").unwrap();
    assert_eq!(kinglet::quant::first_non_finite(Format::Q8_0, &parsed.data[i]), Some(0));
    assert!(model(&file).is_ok(), "the header of such a file is good");
}

/// The checker is checked: a good model does not pass for a bad one.
#[cfg(not(target_arch = "wasm32"))]
#[test]
#[should_panic(expected = "was accepted")]
fn a_good_model_is_not_refused() {
    refused(&good(), FORMAT, "");
}

#[test]
fn errors_are_plain_values() {
    let error = model(&good().without("llama.block_count")).unwrap_err();
    assert_eq!(error, Error::FileFormat { what: "metadata key llama.block_count: is missing".into(), offset: None });
}
