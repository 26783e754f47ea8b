//! Plans: what the architecture records, what the files' keys change, how plans print, where buffers lie, what a plan must
//! not be.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{
    arena::arena_faults,
    llama_model::{llama_3_2_1b, llama_header, llama_model, smollm2_135m, tinyllama_1_1b},
    tiny_llama::TinyConfig,
};
use kinglet::{
    arch::{Model, RopeScaling, Task},
    error::Error,
    gguf::{Array, Header, Value},
    kv::{KvFormat, KvGeometry},
    plan::{
        Activation, Attention, Buffer, BufferId, Epilogue, MatMul, Norm, NormKind, Op, Part, Plan, Rope, RopeStyle,
        RowBound, Rows, Sees, dump,
        memory::{ALIGN, Layout, Lifetime, Slots, estimate},
    },
    quant::Format,
    weights::{WeightId, WeightSpec},
};

fn tiny() -> TinyConfig {
    TinyConfig { biases: true, rope_freqs: true, ..TinyConfig::default() }
}

fn plans(config: &TinyConfig) -> (Model, Vec<Plan>) {
    let model = llama_model(config);
    let plans = [(RowBound::One, 1), (RowBound::UpTo(8), 8), (RowBound::UpTo(256), 1), (RowBound::UpTo(256), 256)]
        .into_iter()
        .flat_map(|(rows, outputs)| {
            [
                model.plan(Task::Generate, rows, outputs).unwrap(),
                model.unfused_plan(Task::Generate, rows, outputs).unwrap(),
            ]
        })
        .collect();
    (model, plans)
}

// What is recorded.

#[test]
fn plans_print_as_they_did() {
    for (name, config) in
        [("smollm2_135m", smollm2_135m()), ("llama_3_2_1b", llama_3_2_1b()), ("tinyllama_1_1b", tinyllama_1_1b())]
    {
        let model = llama_model(&config);
        insta::assert_snapshot!(
            format!("{name}_decode"),
            dump::dump(&model.plan(Task::Generate, RowBound::One, 1).unwrap(), &model.weights)
        );
    }
    let model = llama_model(&smollm2_135m());
    let prefill = model.plan(Task::Generate, RowBound::UpTo(256), 1).unwrap();
    insta::assert_snapshot!("smollm2_135m_prefill", dump::dump(&prefill, &model.weights));
    let model = llama_model(&tiny());
    let unfused = model.unfused_plan(Task::Generate, RowBound::UpTo(8), 8).unwrap();
    insta::assert_snapshot!("tiny_unfused_with_biases", dump::dump(&unfused, &model.weights));
}

#[test]
fn a_dump_does_not_fold_a_layer_that_differs() {
    let mut header = llama_header(&TinyConfig { n_layer: 5, ..TinyConfig::default() });
    let odd = header.tensors.iter_mut().find(|t| t.name == "blk.3.ffn_up.weight").unwrap();
    odd.format = Format::Q4_0;
    let model = Model::from_header(&header).unwrap();
    let text = dump::dump(&model.plan(Task::Generate, RowBound::One, 1).unwrap(), &model.weights);
    assert!(text.contains("blk.2: as blk.1\n"), "{text}");
    assert!(text.contains("blk.3.ffn_up.weight Q4_0"), "{text}");
    assert!(text.contains("blk.4.ffn_up.weight Q8_0"), "{text}");
}

#[test]
fn at_most_six_operations_per_layer_remain() {
    for config in [smollm2_135m(), llama_3_2_1b(), tinyllama_1_1b(), tiny()] {
        let (_, plans) = plans(&config);
        for plan in plans.chunks(2) {
            let (fused, unfused) = (dump::layer_counts(&plan[0]), dump::layer_counts(&plan[1]));
            assert_eq!((fused.len(), unfused.len()), (config.n_layer, config.n_layer));
            assert!(fused.iter().all(|n| *n <= 6), "{fused:?}");
            assert!(unfused.iter().all(|n| *n == 16), "{unfused:?}");
            assert_eq!(plan[0].ops.len(), 6 * config.n_layer + 3, "embedding, rows, head");
        }
    }
}

// Keys and tensors of the file.

fn with_key(key: &str, value: Value) -> Header {
    let mut header = llama_header(&tiny());
    header.metadata.insert(format!("llama.{key}"), value).unwrap();
    header
}

fn first_rope(model: &Model) -> Rope {
    let plan = model.plan(Task::Generate, RowBound::One, 1).unwrap();
    plan.ops.iter().find_map(|op| if let Op::RopeKv { rope, .. } = op { Some(*rope) } else { None }).unwrap()
}

#[test]
fn rope_scaling_is_read_as_files_state_it() {
    let string = |s: &str| Value::String(s.into());
    let scaling = |pairs: &[(&str, Value)]| {
        let mut header = llama_header(&tiny());
        for (key, value) in pairs {
            header.metadata.insert(format!("llama.rope.{key}"), value.clone()).unwrap();
        }
        Model::from_header(&header).map(|m| (m.hyper.rope_scaling, first_rope(&m).frequency_scale))
    };
    let linear = |factor| Ok((RopeScaling::Linear { factor }, 1.0 / factor));
    let (kind, factor) = ("scaling.type", "scaling.factor");
    assert_eq!(scaling(&[]), Ok((RopeScaling::None, 1.0)));
    assert_eq!(scaling(&[(kind, string("none"))]), Ok((RopeScaling::None, 1.0)));
    assert_eq!(scaling(&[(kind, string("none")), (factor, Value::F32(2.0))]), Ok((RopeScaling::None, 1.0)));
    assert_eq!(scaling(&[(kind, string("linear")), (factor, Value::F32(4.0))]), linear(4.0));
    assert_eq!(scaling(&[(factor, Value::F32(4.0))]), linear(4.0));
    assert_eq!(scaling(&[("scale_linear", Value::F32(8.0))]), linear(8.0));
    let refused = |pairs: &[(&str, Value)]| scaling(pairs).unwrap_err();
    assert_eq!(refused(&[(kind, string("linear"))]).code(), "E_FILE_FORMAT");
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert_eq!(refused(&[(factor, Value::F32(bad))]).code(), "E_FILE_FORMAT", "{bad}");
    }
    for other in ["yarn", "longrope", "su", ""] {
        let error = refused(&[(kind, string(other)), (factor, Value::F32(4.0))]);
        assert!(error.code() == "E_UNSUPPORTED_ARCH" && error.to_string().contains(&format!("{other:?}")), "{error}");
    }
}

#[test]
fn rope_factors_are_used_and_must_have_their_shape() {
    let model = llama_model(&tiny());
    let factors = model.weights.find("rope_freqs.weight");
    assert!(factors.is_some() && first_rope(&model).factors == factors);
    assert!(model.used_weights().unwrap().contains(&factors.unwrap()));

    let mut header = llama_header(&tiny());
    header.tensors.iter_mut().find(|t| t.name == "rope_freqs.weight").unwrap().shape = vec![9];
    let error = Model::from_header(&header).unwrap_err();
    assert!(
        error.code() == "E_FILE_FORMAT" && error.to_string().contains("rope_freqs.weight has the shape [9]"),
        "{error}"
    );
}

#[test]
fn a_sliding_window_reaches_the_attention() {
    let windows = |header: &Header| -> Vec<Option<usize>> {
        let plan = Model::from_header(header).unwrap().plan(Task::Generate, RowBound::One, 1).unwrap();
        plan.ops.iter().filter_map(|op| if let Op::Attention(a) = op { Some(a.window) } else { None }).collect()
    };
    assert_eq!(windows(&with_key("attention.sliding_window", Value::U32(4096))), [Some(4096); 2]);
    assert_eq!(windows(&with_key("attention.sliding_window", Value::U32(0))), [None; 2]);
}

#[test]
fn files_that_this_engine_would_run_wrongly_are_refused() {
    let code = |header: &Header| Model::from_header(header).map(|_| ()).map_err(|e| (e.code(), e.to_string()));
    let refused = |header: &Header, expected: &str, names: &str| {
        let found = code(header);
        assert!(
            found.as_ref().is_err_and(|(code, what)| *code == expected && what.contains(names)),
            "{names}: {found:?}"
        );
    };
    let change = |name: &str, new: &str| {
        let mut header = llama_header(&tiny());
        header.tensors.iter_mut().find(|t| t.name == name).unwrap().name = new.into();
        header
    };
    assert_eq!(code(&llama_header(&tiny())), Ok(()));
    refused(&change("blk.1.ffn_up.weight", "blk.1.ffn_up.scale"), "E_FILE_FORMAT", "blk.1.ffn_up.weight");
    refused(&change("blk.1.attn_q.bias", "blk.1.attn_q_norm.weight"), "E_UNSUPPORTED_ARCH", "blk.1.attn_q_norm.weight");
    refused(&change("blk.1.attn_q.bias", "blk.2.attn_q.bias"), "E_UNSUPPORTED_ARCH", "blk.2.attn_q.bias");
    assert_eq!(code(&change("blk.1.attn_q.bias", "blk.1.attn_rot_embd.weight")), Ok(()), "carries nothing to compute");

    let mut transposed = llama_header(&tiny());
    transposed.tensors.iter_mut().find(|t| t.name == "blk.0.ffn_up.weight").unwrap().shape.reverse();
    refused(&transposed, "E_FILE_FORMAT", "blk.0.ffn_up.weight has the shape [64, 96], expected [96, 64]");

    refused(&with_key("expert_count", Value::U32(8)), "E_UNSUPPORTED_ARCH", "experts");
    refused(&with_key("attention.value_length", Value::U32(32)), "E_UNSUPPORTED_ARCH", "values of 32");
}

#[test]
fn keys_per_layer_count_where_all_layers_agree() {
    let with_heads = |array: Array| {
        let original = llama_header(&tiny());
        let mut metadata = kinglet::gguf::Metadata::default();
        for (key, value) in original.metadata.iter() {
            let is_heads = key == "llama.attention.head_count_kv";
            let value = if is_heads { Value::Array(array.clone()) } else { value.clone() };
            metadata.insert(key.into(), value).unwrap();
        }
        Model::from_header(&Header { metadata, ..original }).map(|m| m.hyper.n_head_kv)
    };
    assert_eq!(with_heads(Array::I32(vec![2, 2])), Ok(2));
    assert_eq!(with_heads(Array::I32(vec![2, 4])).unwrap_err().code(), "E_UNSUPPORTED_ARCH");
    assert_eq!(with_heads(Array::I32(vec![-2, -2])).unwrap_err().code(), "E_FILE_FORMAT");
    assert_eq!(with_heads(Array::I32(vec![])).unwrap_err().code(), "E_UNSUPPORTED_ARCH");
}

// Memory.

#[test]
fn no_two_live_buffers_share_room() {
    for config in [smollm2_135m(), tinyllama_1_1b(), tiny()] {
        let (_, mut plans) = plans(&config);
        plans[1].tap("blk.0.attn_norm").unwrap();
        plans[1].tap("blk.1.ffn_glu").unwrap();
        for plan in &plans {
            let layout = Layout::of(plan);
            assert_eq!(arena_faults(plan, &layout), [] as [String; 0]);
            for (i, (offset, lifetime)) in layout.offsets.iter().zip(Lifetime::of(plan)).enumerate() {
                assert_eq!(offset.is_some(), lifetime.is_some(), "{}", plan.buffers[i].name);
                assert_eq!(offset.unwrap_or(0) % ALIGN, 0);
                let end = offset.map_or(0, |o| o + plan.max_rows(BufferId(i as u32)) * plan.buffers[i].width);
                assert!(end <= layout.arena_len);
            }
        }
    }
}

#[test]
fn buffers_share_a_slot_only_one_after_the_other() {
    for config in [smollm2_135m(), tinyllama_1_1b(), tiny()] {
        let (_, mut plans) = plans(&config);
        plans[1].tap("blk.0.attn_norm").unwrap();
        for plan in &plans {
            let slots = Slots::of(plan);
            // The slots one behind the other are an arena, and the replay judges that.
            let starts: Vec<usize> =
                slots.lens.iter().scan(0, |end, len| Some(std::mem::replace(end, *end + len))).collect();
            let offsets = slots.slot_of.iter().map(|slot| slot.map(|s| starts[s])).collect();
            let arena = Layout { offsets, arena_len: slots.lens.iter().sum() };
            assert_eq!(arena_faults(plan, &arena), [] as [String; 0]);
            for (i, slot) in slots.slot_of.iter().enumerate() {
                assert_eq!(slot.is_some(), Lifetime::of(plan)[i].is_some());
                let len = plan.max_rows(BufferId(i as u32)) * plan.buffers[i].width;
                assert!(slot.is_none_or(|s| len <= slots.lens[s]), "{}", plan.buffers[i].name);
            }
        }
        assert!(Slots::of(&plans[0]).lens.len() <= 8, "few buffers: {:?}", Slots::of(&plans[0]).lens);
    }
}

#[test]
fn the_replay_finds_what_is_overwritten() {
    let plan = llama_model(&tiny()).plan(Task::Generate, RowBound::UpTo(8), 8).unwrap();
    let on = |moved: &str, to: &str| {
        let mut layout = Layout::of(&plan);
        layout.arena_len *= 2;
        let [moved, to] = [moved, to].map(|name| plan.find(name).unwrap().0 as usize);
        layout.offsets[moved] = layout.offsets[to];
        arena_faults(&plan, &layout)
    };
    // Two outputs of one operation; an output on an input; a later write on the result.
    assert!(on("blk.0.attn_k", "blk.0.attn_q").iter().any(|f| f == "operation 1: blk.0.attn_q was overwritten"));
    assert!(on("blk.0.q_rope", "blk.0.attn_q").iter().any(|f| f == "operation 2: blk.0.attn_q was overwritten"));
    assert_eq!(on("logits", "outputs"), ["operation 14: outputs was overwritten"]);
}

#[test]
fn lifetimes_reach_from_the_write_to_the_last_read() {
    let mut plan = llama_model(&tiny()).unfused_plan(Task::Generate, RowBound::One, 1).unwrap();
    plan.tap("blk.0.attn_norm").unwrap();
    let lifetime = |name: &str| {
        let lifetime = Lifetime::of(&plan)[plan.find(name).unwrap().0 as usize].unwrap();
        (lifetime.first, lifetime.last)
    };
    // 0 embed, 1 norm, 2 q, 3 k, 4 v, 5 rope q, 6 rope k, 7 write, 8 attention, 9 output, 10 add, …
    assert_eq!(lifetime("embd"), (0, 10));
    assert_eq!(lifetime("blk.0.attn_v"), (4, 7));
    assert_eq!(lifetime("blk.0.q_rope"), (5, 8));
    assert_eq!(lifetime("blk.0.attn_norm"), (1, plan.ops.len()), "a tap lives to the end");
    assert_eq!(lifetime("logits"), (plan.ops.len() - 1, plan.ops.len()));
}

#[test]
fn the_arena_is_near_the_least_possible() {
    for config in [smollm2_135m(), llama_3_2_1b()] {
        let plan = llama_model(&config).plan(Task::Generate, RowBound::UpTo(256), 1).unwrap();
        let lifetimes = Lifetime::of(&plan);
        let len = |i: usize| plan.max_rows(BufferId(i as u32)) * plan.buffers[i].width;
        let live_at = |op: usize| -> usize {
            let is_live = |i: &usize| lifetimes[*i].is_some_and(|l| l.first <= op && op <= l.last);
            (0..plan.buffers.len()).filter(is_live).map(len).sum()
        };
        let least = (0..plan.ops.len()).map(live_at).max().unwrap();
        assert!(Layout::of(&plan).arena_len <= least + least / 10, "{} over {least}", Layout::of(&plan).arena_len);
    }
}

#[test]
fn memory_is_known_from_the_header() {
    let model = llama_model(&smollm2_135m());
    let (decode, prefill) = (
        model.plan(Task::Generate, RowBound::One, 1).unwrap(),
        model.plan(Task::Generate, RowBound::UpTo(256), 1).unwrap(),
    );
    let page_bytes = model.kv_geometry(KvFormat::F16).page_bytes() as u64;
    let report = estimate(&[&decode, &prefill], &model.weights, WeightSpec::file_bytes, page_bytes, 4097);
    // Q8_0 table, Q4_1 matrices (q, k, v, output, gate, up, down), F32 norms.
    let matrices = 30 * (2 * 576 * 576 + 2 * 192 * 576 + 3 * 1536 * 576) / 32 * 20;
    assert_eq!(report.weights_bytes, 49_152 * 576 / 32 * 34 + matrices + (2 * 30 + 1) * 576 * 4);
    assert_eq!(report.kv_bytes, 65 * 64 * 30 * 2 * 192 * 2);
    assert_eq!(report.buffers_bytes, Layout::of(&decode).n_bytes() + Layout::of(&prefill).n_bytes());
}

#[test]
fn sizes_that_overflow_are_huge_not_small() {
    let geometry = KvGeometry { layers: usize::MAX / 2, kv_heads: 4, head_size: 128, format: KvFormat::F32 };
    assert_eq!(geometry.page_bytes(), usize::MAX);
    let mut plan = llama_model(&tiny()).plan(Task::Generate, RowBound::One, 1).unwrap();
    plan.rows = RowBound::UpTo(usize::MAX);
    assert_eq!(Layout::of(&plan).n_bytes(), u64::MAX);
}

// What a plan must not be.

/// Two rows of a plan for one head of 4: everything that check() looks at, once.
fn small_plan() -> Plan {
    let mut plan = Plan {
        name: "small".into(),
        rows: RowBound::UpTo(2),
        max_outputs: 1,
        buffers: vec![],
        ops: vec![],
        output: BufferId(0),
        taps: vec![],
        is_precise: false,
    };
    let mut buffer = |rows, width| {
        plan.buffers.push(Buffer { name: format!("b{}", plan.buffers.len()), rows, width });
        BufferId(plan.buffers.len() as u32 - 1)
    };
    let (x, n, q, k, v) =
        (buffer(Rows::New, 4), buffer(Rows::New, 4), buffer(Rows::New, 4), buffer(Rows::New, 4), buffer(Rows::New, 4));
    let (rotated, attended, out) = (buffer(Rows::New, 4), buffer(Rows::New, 4), buffer(Rows::Out, 4));
    let (gate, up, glu) = (buffer(Rows::Out, 6), buffer(Rows::Out, 6), buffer(Rows::Out, 6));
    let norm = Norm { kind: NormKind::Rms, weight: WeightId(1), bias: None, eps: 1e-5 };
    let rope = Rope { style: RopeStyle::Norm, head_size: 4, dims: 4, base: 10.0, frequency_scale: 1.0, factors: None };
    let part = |weight, out| Part { weight: WeightId(weight), bias: None, lora: None, out };
    plan.ops = vec![
        Op::Embed { table: WeightId(0), scale: 1.0, out: x },
        Op::Norm { x, norm, size: 4, out: n },
        Op::MatMul(MatMul {
            x: n,
            norm: None,
            parts: vec![part(2, q), part(2, k), part(2, v)],
            epilogue: Epilogue::None,
        }),
        Op::RopeKv { layer: 0, heads: 1, kv_heads: 1, rope, q, k, v, out: rotated },
        Op::Attention(Attention {
            layer: 0,
            heads: 1,
            kv_heads: 1,
            head_size: 4,
            scale: 0.5,
            sees: Sees::Past,
            window: None,
            soft_cap: None,
            bias: None,
            append: None,
            q: rotated,
            out: attended,
        }),
        Op::SelectRows { x: attended, out },
        Op::MatMul(MatMul {
            x: out,
            norm: Some(norm),
            parts: vec![part(3, gate), part(3, up)],
            epilogue: Epilogue::Glu { activation: Activation::Silu, out: glu },
        }),
    ];
    plan.output = glu;
    plan
}

fn small_weights() -> Vec<WeightSpec> {
    let spec = |name: &str, shape: &[usize]| WeightSpec { name: name.into(), shape: shape.into(), format: Format::F32 };
    vec![spec("table", &[10, 4]), spec("norm", &[4]), spec("square", &[4, 4]), spec("wide", &[6, 4])]
}

/// Everything that an executor checks.
fn check(plan: &Plan, weights: &[WeightSpec]) -> Result<(), Error> {
    plan.check()?;
    plan.check_weights(|id| weights.get(id.0 as usize))?;
    plan.check_geometry(&KvGeometry { layers: 1, kv_heads: 1, head_size: 4, format: KvFormat::F16 })
}

#[test]
fn each_fault_of_a_plan_is_found() {
    assert_eq!(check(&small_plan(), &small_weights()), Ok(()));
    type Change = fn(&mut Plan);
    let cases: &[(&str, Change)] = &[
        ("no rows", |p| p.rows = RowBound::UpTo(0)),
        ("read before it is written", |p| p.ops.swap(1, 2)),
        ("read before it is written", |p| _ = p.ops.remove(0)),
        ("written twice", |p| p.ops.insert(1, p.ops[0].clone())),
        ("there is no buffer", |p| p.ops[0] = Op::Embed { table: WeightId(0), scale: 1.0, out: BufferId(99) }),
        ("nothing writes buffer 8", |p| p.output = BufferId(8)),
        ("nothing writes buffer 99", |p| p.taps.push(BufferId(99))),
        ("read before it is written", |p| p.ops.swap(3, 4)),
        ("b1 is [New, 5]", |p| p.buffers[1].width = 5),
        ("b7 is [New, 4]", |p| p.buffers[7].rows = Rows::New),
        ("b5 is [Out, 4]", |p| p.buffers[5].rows = Rows::Out),
        ("does not go with these 1 parts", |p| mat_mul(p, 6).parts.truncate(1)),
        ("does not go with these 2 parts", |p| p.buffers[9].width = 5),
        ("does not go with these 2 parts", |p| {
            mat_mul(p, 6).epilogue = Epilogue::Add { residual: BufferId(7), scale: 1.0, out: BufferId(10) };
        }),
        ("no parts", |p| mat_mul(p, 2).parts.clear()),
        ("ε is 0", |p| mat_mul(p, 6).norm.as_mut().unwrap().eps = 0.0),
        ("ε is NaN", |p| mat_mul(p, 6).norm.as_mut().unwrap().eps = f32::NAN),
        ("3 of 4 elements", |p| rope(p).dims = 3),
        ("6 of 4 elements", |p| rope(p).dims = 6),
        ("base inf", |p| rope(p).base = f32::INFINITY),
        ("no multiple of 0", |p| attention(p).kv_heads = 0),
        ("an empty window", |p| attention(p).window = Some(0)),
        ("layer 1 is read before", |p| attention(p).layer = 1),
        ("layer 0 is written twice", |p| {
            p.ops.insert(4, Op::KvWrite { layer: 0, k: BufferId(3), v: BufferId(4) });
        }),
        ("Attention does not fit a cache of 1 layers of 1 heads of 4", |p| {
            (attention(p).head_size, attention(p).heads, attention(p).kv_heads) = (2, 2, 2);
        }),
        ("weight 9 is not there", |p| mat_mul(p, 2).parts[0].weight = WeightId(9)),
        ("tensor wide has the shape [6, 4], expected [4, 4]", |p| mat_mul(p, 2).parts[1].weight = WeightId(3)),
        ("tensor table has the shape [10, 4], expected [4]", |p| mat_mul(p, 2).parts[1].bias = Some(WeightId(0))),
        ("tensor square has the shape [4, 4], expected [2]", |p| rope(p).factors = Some(WeightId(2))),
    ];
    for (why, change) in cases {
        let mut plan = small_plan();
        change(&mut plan);
        let found = check(&plan, &small_weights());
        assert!(found.as_ref().is_err_and(|e| e.to_string().contains(why)), "expected {why}: {found:?}");
    }
}

fn mat_mul(plan: &mut Plan, i: usize) -> &mut MatMul {
    if let Op::MatMul(m) = &mut plan.ops[i] { m } else { panic!("operation {i} is no MatMul") }
}

fn rope(plan: &mut Plan) -> &mut Rope {
    if let Op::RopeKv { rope, .. } = &mut plan.ops[3] { rope } else { panic!("operation 3 is no RopeKv") }
}

fn attention(plan: &mut Plan) -> &mut Attention {
    if let Op::Attention(a) = &mut plan.ops[4] { a } else { panic!("operation 4 is no Attention") }
}
