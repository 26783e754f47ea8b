//! Files of the decoder families that are wrong, or of a variant that this engine does not run: refused from the header alone,
//! with the name of the key or the tensor. What the keys of each family change in its plan.

mod common;

// The same tests in wasm32, where `usize` has 32 bits.
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use common::{
    decoders::{decoder_named, decoders},
    encoders::rebuilt,
    gguf_builder::{GgufBuilder, string},
    parse::parse,
    refused::{ARCH, FORMAT, model, refused},
};
use kinglet::{
    arch::Task,
    gguf::{Array, Value},
    kv::KvFormat,
    plan::{Attention, Epilogue, Op, Plan, Rope, RowBound},
    quant::Format,
};

fn good(name: &str) -> GgufBuilder {
    rebuilt(decoder_named(name).file)
}

/// Tensors that a file of these families may lack: biases of q, k and v and a head of its own.
fn may_lack(name: &str, tensor: &str) -> bool {
    let is_bias = tensor.ends_with(".bias");
    match name {
        "qwen2_full" | "phi3" => tensor == "output.weight" || is_bias,
        "qwen2" | "granite_full" => is_bias,
        "stablelm" => ["attn_q.bias", "attn_k.bias", "attn_v.bias"].iter().any(|bias| tensor.ends_with(bias)),
        _ => false,
    }
}

/// What an error about a tensor says: its name, or that of a part of it.
fn names(error: &str, tensor: &str) -> bool {
    let stem = tensor.trim_end_matches("weight").trim_end_matches("bias");
    let stems = [stem.into(), stem.replace("attn_qkv.", "attn_q."), stem.replace("ffn_up.", "ffn_gate.")];
    stems.iter().any(|stem: &String| error.contains(&format!("tensor {stem}")))
}

#[test]
fn missing_tensors_are_named() {
    for decoder in decoders() {
        for tensor in parse(decoder.file).unwrap().header.tensors {
            let result = model(&rebuilt(decoder.file).without_tensor(&tensor.name));
            if may_lack(decoder.name, &tensor.name) {
                assert!(result.is_ok(), "{}: without {}", decoder.name, tensor.name);
                continue;
            }
            // A layer of stablelm without a norm is another kind of layer, and then the norm's bias is left over.
            let other_kind = decoder.name == "stablelm" && tensor.name.ends_with("ffn_norm.weight");
            let error = result.expect_err(&format!("{}: without {}", decoder.name, tensor.name));
            let found = names(&error.to_string(), &tensor.name) && error.code() == FORMAT;
            assert!(found || other_kind, "{}: without {}: {error}", decoder.name, tensor.name);
        }
    }
}

#[test]
fn wrong_shapes_are_named() {
    for decoder in decoders() {
        for tensor in parse(decoder.file).unwrap().header.tensors {
            for i in 0..tensor.shape.len() {
                let mut shape = tensor.shape.clone();
                shape[i] += 1;
                let file = rebuilt(decoder.file).reshaped(&tensor.name, &shape, Format::F32);
                let error = model(&file).expect_err(&format!("{}: {} as {shape:?}", decoder.name, tensor.name));
                assert_eq!(error.code(), FORMAT, "{error}");
                assert!(names(&error.to_string(), &tensor.name), "{}: {} {error}", decoder.name, tensor.name);
            }
        }
    }
}

#[test]
fn tensors_that_would_be_left_out_are_refused() {
    for decoder in decoders() {
        let file = rebuilt(decoder.file).tensor("blk.0.ffn_gate_inp.weight", &[4], Format::F32, vec![0; 16]);
        refused(&file, ARCH, "this engine does not know tensor blk.0.ffn_gate_inp.weight");
    }
    let with = |name, tensor| good(name).tensor(tensor, &[4], Format::F32, vec![0; 16]);
    refused(&with("stablelm", "blk.0.attn_q_norm.weight"), ARCH, "does not know tensor blk.0.attn_q_norm.weight");
    refused(&with("phi3", "rope_factors_long.weight"), ARCH, "does not know tensor rope_factors_long.weight");
    refused(&with("gpt2", "output.bias"), ARCH, "does not know tensor output.bias");
}

#[test]
fn architectures_that_are_not_known_are_refused_with_those_that_are() {
    for other in ["mamba", "gemma3n", "qwen3moe", "GPT2", ""] {
        refused(&good("gpt2").set("general.architecture", string(other)), ARCH, &format!("architecture {other:?}"));
    }
    let error = model(&good("gpt2").set("general.architecture", string("mamba"))).unwrap_err().to_string();
    for decoder in decoders() {
        let architecture =
            parse(decoder.file).unwrap().header.metadata.str("general.architecture").unwrap().unwrap().to_owned();
        assert!(error.contains(&architecture), "{error} does not name {architecture}");
    }
}

/// Keys of variants that every family refuses.
#[test]
fn variants_that_would_run_wrongly_are_refused() {
    for decoder in decoders() {
        let header = parse(decoder.file).unwrap().header;
        let architecture = header.metadata.str("general.architecture").unwrap().unwrap();
        for (key, value) in [
            ("expert_count", Value::U32(8)),
            ("attention.causal", Value::Bool(false)),
            ("attention.value_length", Value::U32(4)),
            ("rope.scaling.type", string("yarn")),
            ("rope.scaling.type", string("longrope")),
            ("rope.scaling.attn_factor", Value::F32(1.2)),
            ("rope.scaling.yarn_attn_factor", Value::F32(1.2)),
        ] {
            let key = format!("{architecture}.{key}");
            refused(&rebuilt(decoder.file).set(&key, value), ARCH, &format!("(metadata key {key}) is not supported"));
        }
    }
}

#[test]
fn keys_of_the_families_are_checked() {
    let (nan, array) = (Value::F32(f32::NAN), |a: Vec<i32>| Value::Array(Array::I32(a)));
    let booleans = |a: Vec<bool>| Value::Array(Array::Bool(a));
    let pattern = "attention.sliding_window_pattern";
    for (name, key, value, code, part) in [
        ("gpt2", "attention.layer_norm_epsilon", nan.clone(), FORMAT, "NaN is not finite and > 0"),
        ("gemma", "attention.layer_norm_rms_epsilon", nan.clone(), FORMAT, "NaN is not finite and > 0"),
        ("gptneox", "use_parallel_residual", Value::U32(1), FORMAT, "is not a boolean"),
        ("gptneox", "rope.dimension_count", Value::U32(7), FORMAT, "7 is odd or over the head size"),
        ("gemma2", "attention.sliding_window", Value::U32(0), FORMAT, "0 is not in 1..="),
        ("gemma2", "attn_logit_softcapping", Value::F32(0.0), FORMAT, "0 is not finite and > 0"),
        ("gemma2", "final_logit_softcapping", nan.clone(), FORMAT, "NaN is not finite and > 0"),
        ("gemma2", pattern, booleans(vec![true; 2]), FORMAT, "is no array of 3 booleans"),
        ("gemma3", pattern, array(vec![1; 7]), FORMAT, "is no array of 7 booleans"),
        ("gemma3", pattern, Value::I32(-1), FORMAT, "is not a whole number"),
        ("gemma3", "rope.freq_base_swa", Value::F32(0.0), FORMAT, "0 is not finite and > 0"),
        ("gemma3", "final_logit_softcapping", Value::F32(-1.0), FORMAT, "-1 is not finite and > 0"),
        ("olmo3", pattern, Value::U64(1 << 40), FORMAT, "is not in 0..="),
        ("granite", "logit_scale", Value::F32(0.0), FORMAT, "0 is not finite and > 0"),
        ("granite", "logit_scale", Value::F32(1e-40), FORMAT, "is too near to 0"),
        ("granite", "attention.scale", nan.clone(), FORMAT, "NaN is not finite and > 0"),
        ("granite", "embedding_scale", Value::F32(f32::INFINITY), FORMAT, "inf is not finite and > 0"),
        ("granite", "residual_scale", nan, FORMAT, "NaN is not finite and > 0"),
        ("granite", "rope.scaling.finetuned", Value::U32(0), FORMAT, "is not a boolean"),
        ("lfm2", "shortconv.l_cache", Value::U32(1), FORMAT, "1 is not in 2..="),
        ("lfm2", "attention.head_count_kv", array(vec![0, 2]), FORMAT, "has 2 elements, expected one for each of 3"),
        ("lfm2", "attention.head_count_kv", array(vec![0, 3, 0]), FORMAT, "3 does not divide 4 heads"),
        ("lfm2", "attention.head_count_kv", array(vec![0, -1, 0]), FORMAT, "is not in 1..="),
        ("lfm2", "attention.head_count_kv", array(vec![0; 3]), ARCH, "a model without attention"),
        ("lfm2", "attention.head_count_kv", array(vec![1, 2, 0]), ARCH, "differs by layer"),
        ("qwen3", "attention.head_count_kv", array(vec![2, 0]), ARCH, "differs by layer"),
        ("gpt2", "feed_forward_length", array(vec![96, 48]), ARCH, "differs by layer"),
    ] {
        let header = parse(decoder_named(name).file).unwrap().header;
        let key = format!("{}.{key}", header.metadata.str("general.architecture").unwrap().unwrap());
        let file = good(name).set(&key, value);
        refused(&file, code, part);
        refused(&file, code, &format!("metadata key {key}"));
    }
    for (name, key) in [
        ("gpt2", "gpt2.attention.layer_norm_epsilon"),
        ("qwen2", "qwen2.attention.layer_norm_rms_epsilon"),
        ("gptneox", "gptneox.use_parallel_residual"),
        ("granite", "granite.logit_scale"),
        ("lfm2", "lfm2.shortconv.l_cache"),
    ] {
        refused(&good(name).without(key), FORMAT, &format!("metadata key {key}: is missing"));
    }
}

// What the keys change.

fn plan(file: &GgufBuilder) -> Plan {
    model(file).unwrap().plan(Task::Generate, RowBound::One, 1).unwrap()
}

fn attentions(file: &GgufBuilder) -> Vec<Attention> {
    plan(file).ops.iter().filter_map(|op| if let Op::Attention(a) = op { Some(*a) } else { None }).collect()
}

fn windows(file: &GgufBuilder) -> Vec<Option<usize>> {
    attentions(file).iter().map(|a| a.window).collect()
}

fn ropes(file: &GgufBuilder) -> Vec<Rope> {
    plan(file).ops.iter().filter_map(|op| if let Op::RopeKv { rope, .. } = op { Some(*rope) } else { None }).collect()
}

#[test]
fn windows_are_where_the_pattern_says() {
    let (nine, key) = (Some(9), "gemma3.attention.sliding_window_pattern");
    assert_eq!(windows(&good("gemma3")), [nine, nine, nine, nine, nine, None, nine]);
    let every_third = good("gemma3").set(key, Value::U32(3));
    assert_eq!(windows(&every_third), [nine, nine, None, nine, nine, None, nine]);
    assert_eq!(windows(&good("gemma3").set(key, Value::U32(0))), [nine; 7]);
    assert_eq!(windows(&good("gemma3").set(key, Value::U32(1))), [None; 7]);
    let array = vec![false, true, true, false, false, true, false];
    let expected: Vec<Option<usize>> = array.iter().map(|has| nine.filter(|_| *has)).collect();
    assert_eq!(windows(&good("gemma3").set(key, Value::Array(Array::Bool(array)))), expected);
    assert_eq!(windows(&good("gemma3").without("gemma3.attention.sliding_window")), [None; 7]);

    assert_eq!(windows(&good("gemma2")), [Some(7), None, Some(7)]);
    let by_default = good("gemma2").without("gemma2.attention.sliding_window");
    assert_eq!(windows(&by_default), [Some(4096), None, Some(4096)]);
    assert_eq!(windows(&good("olmo3")), [nine, nine, nine, None]);
    let by_default = good("olmo3").without("olmo2.attention.sliding_window_pattern");
    assert_eq!(windows(&by_default), [nine, nine, nine, None]);
    assert_eq!(windows(&good("olmo2")), [None; 2]);
    assert_eq!(windows(&good("phi3_window")), [Some(11); 2]);
    assert_eq!(windows(&good("phi3")), [None; 2], "0 is no window");
    let window = good("starcoder2").set("starcoder2.attention.sliding_window", Value::U32(5));
    assert_eq!(windows(&window), [Some(5); 2]);
}

#[test]
fn rotations_are_as_the_keys_say() {
    let bases = |file: &GgufBuilder| ropes(file).iter().map(|r| (r.base, r.frequency_scale)).collect::<Vec<_>>();
    let (global, local) = ((1e6, 1.0 / 8.0), (1e4, 1.0));
    assert_eq!(bases(&good("gemma3_linear")), [local, local, local, local, local, global]);
    let other = good("gemma3_linear").set("gemma3.rope.freq_base_swa", Value::F32(500.0));
    assert_eq!(bases(&other)[4..], [(500.0, 1.0), global]);
    let by_default = good("gemma3_linear").without("gemma3.rope.freq_base_swa");
    assert_eq!(bases(&by_default)[4..], [local, global]);

    let scaled = |name: &str, key: &str| good(name).set(key, Value::F32(4.0));
    let olmo = scaled("olmo3", "olmo2.rope.scaling.factor");
    assert_eq!(bases(&olmo), [(5e5, 1.0), (5e5, 1.0), (5e5, 1.0), (5e5, 0.25)], "only layers without a window stretch");
    assert_eq!(bases(&scaled("gemma2", "gemma2.rope.scaling.factor")), [(1e4, 0.25); 3]);

    let dims = |file: &GgufBuilder| ropes(file).iter().map(|r| (r.dims, r.head_size)).collect::<Vec<_>>();
    assert_eq!(dims(&good("phi2")), [(6, 12); 2]);
    assert_eq!(dims(&good("phi2").without("phi2.rope.dimension_count")), [(12, 12); 2]);
    assert_eq!(ropes(&good("smollm3")).len(), 3, "of four layers");
    assert_eq!(ropes(&good("gpt2")).len(), 0);
    assert_eq!(ropes(&good("granite").set("granite.rope.scaling.finetuned", Value::Bool(false))).len(), 0);
}

#[test]
fn factors_and_caps_are_as_the_keys_say() {
    let first = |file: &GgufBuilder| attentions(file)[0];
    let inverse_root = |n: f32| 1.0 / n.sqrt();
    assert_eq!(first(&good("granite")).scale, 0.2);
    assert_eq!(first(&good("granite").without("granite.attention.scale")).scale, inverse_root(8.0));
    assert_eq!(first(&good("granite").set("granite.attention.scale", Value::F32(0.0))).scale, inverse_root(8.0));
    let embedding = |file: &GgufBuilder| match plan(file).ops[0] {
        Op::Embed { scale, .. } => scale,
        _ => panic!("the first operation is another"),
    };
    assert_eq!(embedding(&good("granite")), 3.0);
    assert_eq!(embedding(&good("granite").without("granite.embedding_scale")), 1.0);
    assert_eq!(embedding(&good("gemma")), 32.0_f32.sqrt());
    let residuals = |file: &GgufBuilder| {
        let scale = |op: &Op| match op {
            Op::MatMul(m) => {
                if let Epilogue::Add { scale, .. } = m.epilogue {
                    Some(scale)
                } else {
                    None
                }
            }
            _ => None,
        };
        plan(file).ops.iter().filter_map(scale).collect::<Vec<f32>>()
    };
    assert_eq!(residuals(&good("granite")), [0.4; 4]);
    assert_eq!(residuals(&good("granite").without("granite.residual_scale")), [1.0; 4]);
    let head = |file: &GgufBuilder| match plan(file).ops.last() {
        Some(Op::Scale { scale, soft_cap, .. }) => Some((*scale, *soft_cap)),
        _ => None,
    };
    assert_eq!(head(&good("granite")), Some((1.0 / 2.5, None)));
    assert_eq!(head(&good("gemma2")), Some((1.0, Some(3.0))));
    assert_eq!(head(&good("gemma2").without("gemma2.final_logit_softcapping")), Some((1.0, Some(30.0))));
    assert_eq!(head(&good("gemma3")), None);
    assert_eq!(first(&good("gemma2")).soft_cap, Some(2.0));
    assert_eq!(first(&good("gemma2").without("gemma2.attn_logit_softcapping")).soft_cap, Some(50.0));
    assert_eq!(first(&good("gemma3")).soft_cap, None);
}

/// A convolution's rows are as wide as the model. Where a layer of the cache has no room for them, several have.
#[test]
fn the_cache_has_room_for_convolutions() {
    let geometry = |name| model(&good(name)).unwrap().kv_geometry(KvFormat::F16);
    assert_eq!((geometry("lfm2").kv_heads, geometry("lfm2").layers), (2, 3));
    assert_eq!((geometry("lfm2_wide").kv_heads, geometry("lfm2_wide").layers), (1, 5));
    let layers = |name| {
        let layer = |op: &Op| if let Op::ShortConv { layer, .. } = op { Some(*layer) } else { None };
        plan(&good(name)).ops.iter().filter_map(layer).collect::<Vec<_>>()
    };
    assert_eq!(layers("lfm2"), [0, 2]);
    assert_eq!(layers("lfm2_wide"), [0, 3, 2, 4]);
}
