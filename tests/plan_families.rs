//! What a plan of the operations and forms that other families than Llama have must not be.

#![cfg(not(target_arch = "wasm32"))]

use kinglet::{
    kv::{KvFormat, KvGeometry},
    plan::{
        Activation, Attention, Buffer, BufferId, Epilogue, MatMul, Norm, NormKind, Op, Part, Plan, PositionBias,
        RowBound, RowIndex, Rows, Sees,
    },
    quant::Format,
    weights::{WeightId, WeightSpec},
};

/// Each once.
fn family_plan() -> Plan {
    let mut plan = Plan {
        name: "families".into(),
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
    let [x, attended, placed, normed, convolved, activated, scaled, remembered] =
        [(); 8].map(|()| buffer(Rows::New, 4));
    let mean = buffer(Rows::Out, 4);
    let part = Part { weight: WeightId(2), bias: None, lora: None, out: buffer(Rows::New, 4) };
    let norm = Norm { kind: NormKind::Rms, weight: WeightId(4), bias: None, eps: 1e-5 };
    let past = Attention {
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
        q: x,
        out: attended,
    };
    let bias = PositionBias { table: WeightId(5), max_distance: 5, both_sides: false };
    plan.ops = vec![
        Op::Embed { table: WeightId(0), scale: 1.0, out: x },
        Op::KvWrite { layer: 0, k: x, v: x },
        Op::Attention(Attention { soft_cap: Some(3.0), bias: Some(bias), ..past }),
        Op::AddRow { x: attended, table: WeightId(0), index: RowIndex::Position(2), out: placed },
        Op::Norm { x: placed, norm, size: 2, out: normed },
        Op::ShortConv { layer: 1, x: normed, weight: WeightId(6), out: convolved },
        Op::MatMul(MatMul {
            x: convolved,
            norm: None,
            parts: vec![part],
            epilogue: Epilogue::Activate { activation: Activation::Relu, out: activated },
        }),
        Op::Scale { x: activated, scale: 2.0, soft_cap: Some(1.0), out: scaled },
        Op::Attention(Attention { sees: Sees::Memory, layer: 2, q: scaled, out: remembered, ..past }),
        Op::MeanRows { x: remembered, out: mean },
    ];
    plan.output = mean;
    plan
}

/// Weights by id.
fn weights() -> Vec<WeightSpec> {
    let shapes: [&[usize]; 7] = [&[10, 4], &[4], &[4, 4], &[6, 4], &[2], &[4, 1], &[4, 3]];
    let names = ["table", "norm", "square", "wide", "head norm", "buckets", "taps"];
    let spec =
        |(name, shape): (&str, &[usize])| WeightSpec { name: name.into(), shape: shape.into(), format: Format::F32 };
    names.into_iter().zip(shapes).map(spec).collect()
}

#[test]
fn each_fault_of_an_operation_of_other_families_is_found() {
    let weights = weights();
    let check = |plan: &Plan| {
        plan.check()?;
        plan.check_weights(|id| weights.get(id.0 as usize))?;
        plan.check_geometry(&KvGeometry { layers: 3, kv_heads: 1, head_size: 4, format: KvFormat::F16 })
    };
    assert_eq!(check(&family_plan()), Ok(()));
    type Change = fn(&mut Plan);
    let cases: &[(&str, Change)] = &[
        ("a soft cap of 0", |p| attention(p).soft_cap = Some(0.0)),
        ("a soft cap of inf", |p| attention(p).soft_cap = Some(f32::INFINITY)),
        ("4 buckets for distances to 2", |p| attention(p).bias.as_mut().unwrap().max_distance = 2),
        ("4 buckets for distances to 1", |p| {
            let bias = attention(p).bias.as_mut().unwrap();
            (bias.both_sides, bias.max_distance) = (true, 1);
        }),
        ("tensor taps has the shape [4, 3], expected [4, 1]", |p| {
            attention(p).bias.as_mut().unwrap().table = WeightId(6);
        }),
        ("tensor norm has the shape [4], expected [1, 4]", |p| {
            let Op::AddRow { table, .. } = &mut p.ops[3] else { panic!("the table") };
            *table = WeightId(1);
        }),
        ("no whole number of 3 elements", |p| *norm_size(p) = 3),
        ("no whole number of 0 elements", |p| *norm_size(p) = 0),
        ("tensor head norm has the shape [2], expected [4]", |p| *norm_size(p) = 4),
        ("tensor wide has the shape [6, 4], expected [4, 4]", |p| {
            let Op::ShortConv { weight, .. } = &mut p.ops[5] else { panic!("the convolution") };
            *weight = WeightId(3);
        }),
        ("does not go with these 2 parts", |p| {
            let part = mat_mul(p, 6).parts[0].clone();
            mat_mul(p, 6).parts.push(part);
        }),
        ("a factor of NaN", |p| {
            let Op::Scale { scale, .. } = &mut p.ops[7] else { panic!("the factor") };
            *scale = f32::NAN;
        }),
        ("a soft cap of -1", |p| {
            let Op::Scale { soft_cap, .. } = &mut p.ops[7] else { panic!("the factor") };
            *soft_cap = Some(-1.0);
        }),
        ("a factor of inf", |p| {
            let (a, out) = (BufferId(5), BufferId(6));
            p.ops[7] = Op::Add { a, b: a, scale: f32::INFINITY, out };
        }),
        ("a factor of inf", |p| {
            let (residual, out) = (BufferId(4), BufferId(5));
            mat_mul(p, 6).epilogue = Epilogue::Add { residual, scale: f32::INFINITY, out };
        }),
        ("a window or a bias over the memory", |p| memory(p).window = Some(4)),
        ("a window or a bias over the memory", |p| memory(p).bias = attention(p).bias),
        ("Attention does not fit a cache of", |p| memory(p).layer = 3),
        ("expected [Out, 4]", |p| {
            let output = p.output;
            p.buffers[output.0 as usize].rows = Rows::New;
        }),
    ];
    for (why, change) in cases {
        let mut plan = family_plan();
        change(&mut plan);
        let found = check(&plan);
        assert!(found.as_ref().is_err_and(|e| e.to_string().contains(why)), "expected {why}: {found:?}");
    }
}

#[test]
fn a_convolution_must_fit_the_cache() {
    let mut plan = family_plan();
    plan.ops.retain(|op| matches!(op, Op::Embed { .. } | Op::ShortConv { .. } | Op::MeanRows { .. }));
    let (x, out) = (BufferId(0), BufferId(4));
    plan.ops[1] = Op::ShortConv { layer: 1, x, weight: WeightId(6), out };
    plan.ops[2] = Op::MeanRows { x: out, out: plan.output };
    let fits = |layers, head_size| {
        plan.check()?;
        plan.check_geometry(&KvGeometry { layers, kv_heads: 1, head_size, format: KvFormat::F32 })
    };
    // Four channels: two as keys and two as values.
    assert_eq!(fits(2, 2), Ok(()));
    assert!(fits(2, 1).is_err_and(|e| e.to_string().contains("does not fit")));
    assert!(fits(1, 2).is_err_and(|e| e.to_string().contains("does not fit")));
}

fn norm_size(plan: &mut Plan) -> &mut usize {
    if let Op::Norm { size, .. } = &mut plan.ops[4] { size } else { panic!("operation 4 is no Norm") }
}

fn attention(plan: &mut Plan) -> &mut Attention {
    if let Op::Attention(a) = &mut plan.ops[2] { a } else { panic!("operation 2 is no Attention") }
}

fn memory(plan: &mut Plan) -> &mut Attention {
    if let Op::Attention(a) = &mut plan.ops[8] { a } else { panic!("operation 8 is no Attention") }
}

fn mat_mul(plan: &mut Plan, i: usize) -> &mut MatMul {
    if let Op::MatMul(m) = &mut plan.ops[i] { m } else { panic!("operation {i} is no MatMul") }
}
