//! Fusion: what each rule makes of the smallest plan that it applies to, and where it must keep its hands off. Random plans are
//! in fuse_random.rs.

// The same tests in wasm32, where `usize` has 32 bits.
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod common;

use common::recorder::{ROPE, Recorder, VECTOR, WIDTH, norm, part, plain, rope_plan};
use kinglet::plan::{
    Activation, Append, BufferId, Epilogue, MatMul, Norm, NormKind, Op, Plan, QkNorms, Rope, Runs, Sees,
    fuse::{Rule, fuse},
};

/// Applies one rule; the result must be a plan.
fn apply(rule: Rule, plan: &Plan) -> Vec<Op> {
    let fused = fuse(plan.clone(), &[rule]);
    fused.check().unwrap_or_else(|e| panic!("{e}"));
    fused.ops
}

fn assert_untouched(rule: Rule, plan: &Plan) {
    plan.check().unwrap_or_else(|e| panic!("the test's own plan: {e}"));
    assert_eq!(apply(rule, plan), plan.ops, "{rule:?}");
}

// Group.

#[test]
fn products_of_one_input_become_one_operation() {
    let mut r = Recorder::new();
    let (x, other) = (BufferId(0), BufferId(1));
    r.norm(x);
    let (a, b, c) = (r.mat_mul(x, 0), r.mat_mul(x, 1), r.mat_mul(x, 2));
    r.mat_mul(other, 0);
    let ops = apply(Rule::GroupMatMuls, &r.finish());
    assert_eq!(ops.len(), 4);
    assert_eq!(ops[2], plain(x, None, vec![part(0, a), part(1, b), part(2, c)]));
}

#[test]
fn products_are_not_grouped_across_others_or_with_another_norm() {
    let x = BufferId(0);
    let mut r = Recorder::new();
    r.mat_mul(x, 0);
    r.norm(x);
    r.mat_mul(x, 1);
    r.push(|out| plain(x, Some(norm()), vec![part(2, out)]));
    assert_untouched(Rule::GroupMatMuls, &r.finish());

    let mut r = Recorder::new();
    let a = r.mat_mul(x, 0);
    r.push(|out| {
        Op::MatMul(MatMul {
            x,
            norm: None,
            parts: vec![part(1, x)],
            epilogue: Epilogue::Add { residual: a, scale: 1.0, out },
        })
    });
    assert_untouched(Rule::GroupMatMuls, &r.finish());
}

// Norm.

fn norm_plan() -> (Plan, BufferId) {
    let mut r = Recorder::new();
    let normed = r.norm(BufferId(0));
    r.mat_mul(normed, 0);
    (r.finish(), normed)
}

#[test]
fn a_norm_moves_into_its_only_reader() {
    let ops = apply(Rule::NormIntoMatMul, &norm_plan().0);
    assert_eq!(ops[1..], [plain(BufferId(0), Some(norm()), vec![part(0, BufferId(2))])]);
}

#[test]
fn a_norm_stays_where_somebody_else_wants_it() {
    let (mut plan, normed) = norm_plan();
    plan.taps.push(normed);
    assert_untouched(Rule::NormIntoMatMul, &plan);

    let (mut plan, normed) = norm_plan();
    plan.output = normed;
    assert_untouched(Rule::NormIntoMatMul, &plan);

    let (plan, normed) = norm_plan();
    let mut r = Recorder(plan);
    r.add(normed, BufferId(2));
    assert_untouched(Rule::NormIntoMatMul, &r.finish());

    // Read as the residual, too.
    let mut r = Recorder::new();
    let x = r.norm(BufferId(0));
    let fused = |out| {
        let epilogue = Epilogue::Add { residual: x, scale: 1.0, out };
        Op::MatMul(MatMul { x, norm: None, parts: vec![part(0, BufferId(0))], epilogue })
    };
    r.push(fused);
    assert_untouched(Rule::NormIntoMatMul, &r.finish());

    // A norm of a norm: only the outer one fits.
    let mut r = Recorder::new();
    let inner = r.norm(BufferId(0));
    let outer = r.norm(inner);
    r.mat_mul(outer, 0);
    let ops = apply(Rule::NormIntoMatMul, &r.finish());
    assert_eq!(ops[2..], [plain(inner, Some(norm()), vec![part(0, BufferId(3))])]);
}

// Glu.

fn glu_plan(swapped: bool) -> Plan {
    let mut r = Recorder::new();
    let (gate, up) = (BufferId(1), BufferId(2));
    r.push(|out| plain(BufferId(0), None, vec![part(0, out)]));
    r.push(|_| plain(BufferId(0), None, vec![part(0, gate), part(1, up)]));
    r.0.ops.remove(1);
    if swapped {
        r.glu(up, gate)
    } else {
        r.glu(gate, up)
    };
    r.finish()
}

#[test]
fn a_glu_becomes_the_epilogue() {
    let ops = apply(Rule::GluIntoMatMul, &glu_plan(false));
    let epilogue = Epilogue::Glu { activation: Activation::Silu, out: BufferId(3) };
    let parts = vec![part(0, BufferId(1)), part(1, BufferId(2))];
    assert_eq!(ops[1..], [Op::MatMul(MatMul { x: BufferId(0), norm: None, parts, epilogue })]);
}

#[test]
fn a_glu_stays_where_the_products_are_not_its_own_in_its_order() {
    assert_untouched(Rule::GluIntoMatMul, &glu_plan(true));
    for tapped in [1, 2] {
        let mut plan = glu_plan(false);
        plan.taps.push(BufferId(tapped));
        assert_untouched(Rule::GluIntoMatMul, &plan);

        let mut r = Recorder(glu_plan(false));
        r.norm(BufferId(tapped));
        assert_untouched(Rule::GluIntoMatMul, &r.finish());
    }
    let mut r = Recorder::new();
    let (gate, up) = (r.mat_mul(BufferId(0), 0), r.mat_mul(BufferId(0), 1));
    r.glu(gate, up);
    assert_untouched(Rule::GluIntoMatMul, &r.finish());

    let mut r = Recorder::new();
    let both = r.mat_mul(BufferId(0), 0);
    r.glu(both, both);
    assert_untouched(Rule::GluIntoMatMul, &r.finish());
}

// Activation.

#[test]
fn an_activation_becomes_the_epilogue() {
    let mut r = Recorder::new();
    let product = r.push(|out| plain(BufferId(0), Some(norm()), vec![part(0, out)]));
    let out = r.activate(product);
    let epilogue = Epilogue::Activate { activation: Activation::Gelu, out };
    let parts = vec![part(0, product)];
    let fused = Op::MatMul(MatMul { x: BufferId(0), norm: Some(norm()), parts, epilogue });
    assert_eq!(apply(Rule::ActivateIntoMatMul, &r.finish())[1..], [fused]);
}

#[test]
fn an_activation_stays_where_the_product_is_not_its_own() {
    // Wanted by the caller, by another operation, one of two parts, no product, one with an epilogue already.
    let mut r = Recorder::new();
    let product = r.mat_mul(BufferId(0), 0);
    r.activate(product);
    let mut tapped = r.finish();
    tapped.taps.push(product);
    assert_untouched(Rule::ActivateIntoMatMul, &tapped);
    tapped.taps.clear();
    let mut r = Recorder(tapped);
    r.norm(product);
    assert_untouched(Rule::ActivateIntoMatMul, &r.finish());

    let mut plan = glu_plan(false);
    plan.ops[2] = Op::Activate { x: BufferId(1), activation: Activation::Relu, out: BufferId(3) };
    assert_untouched(Rule::ActivateIntoMatMul, &plan);

    let mut r = Recorder::new();
    let normed = r.norm(BufferId(0));
    r.activate(normed);
    assert_untouched(Rule::ActivateIntoMatMul, &r.finish());

    let mut r = Recorder::new();
    let product = r.mat_mul(BufferId(0), 0);
    let activated = r.activate(product);
    r.activate(activated);
    let once = fuse(r.finish(), &[Rule::ActivateIntoMatMul]);
    assert_eq!(once.ops.len(), 3);
    assert_untouched(Rule::ActivateIntoMatMul, &once);
}

#[test]
fn a_norm_of_heads_stays() {
    let (mut plan, _) = norm_plan();
    let Op::Norm { size, .. } = &mut plan.ops[1] else { panic!("the norm") };
    *size = 4;
    assert_untouched(Rule::NormIntoMatMul, &plan);
}

// Add.

#[test]
fn a_factor_goes_into_the_epilogue_where_the_product_has_it() {
    let (x, product, out) = (BufferId(0), BufferId(1), BufferId(2));
    let scaled = |a, b| {
        let mut r = Recorder::new();
        r.mat_mul(x, 0);
        r.push(|out| Op::Add { a, b, scale: 0.25, out });
        r.finish()
    };
    let epilogue = Epilogue::Add { residual: x, scale: 0.25, out };
    let fused = Op::MatMul(MatMul { x, norm: None, parts: vec![part(0, product)], epilogue });
    assert_eq!(apply(Rule::AddIntoMatMul, &scaled(x, product))[1..], [fused]);
    // p + s · r is something else.
    assert_untouched(Rule::AddIntoMatMul, &scaled(product, x));
}

#[test]
fn an_add_becomes_the_epilogue_of_either_operand() {
    let (x, product, out) = (BufferId(0), BufferId(1), BufferId(2));
    let epilogue = Epilogue::Add { residual: x, scale: 1.0, out };
    let fused = Op::MatMul(MatMul { x, norm: None, parts: vec![part(0, product)], epilogue });
    for operands in [[x, product], [product, x]] {
        let mut r = Recorder::new();
        r.mat_mul(x, 0);
        r.add(operands[0], operands[1]);
        assert_eq!(apply(Rule::AddIntoMatMul, &r.finish())[1..], *std::slice::from_ref(&fused));
    }
}

#[test]
fn of_two_products_one_takes_the_add_after_the_other_is_written() {
    let mut r = Recorder::new();
    let (a, b) = (r.mat_mul(BufferId(0), 0), r.mat_mul(BufferId(0), 1));
    let out = r.add(b, a);
    let ops = apply(Rule::AddIntoMatMul, &r.finish());
    assert_eq!(ops.len(), 3);
    assert_eq!(ops[1], plain(BufferId(0), None, vec![part(1, b)]));
    assert!(matches!(&ops[2], Op::MatMul(m) if m.epilogue == Epilogue::Add { residual: b, scale: 1.0, out }));
}

#[test]
fn an_add_stays_where_the_product_is_wanted_elsewhere() {
    let x = BufferId(0);
    let mut r = Recorder::new();
    let product = r.mat_mul(x, 0);
    r.add(product, product);
    assert_untouched(Rule::AddIntoMatMul, &r.finish());

    let mut r = Recorder::new();
    let product = r.mat_mul(x, 0);
    r.add(x, product);
    let mut plan = r.finish();
    plan.taps.push(product);
    assert_untouched(Rule::AddIntoMatMul, &plan);

    let mut r = Recorder::new();
    let normed = r.norm(x);
    r.add(x, normed);
    assert_untouched(Rule::AddIntoMatMul, &r.finish());

    // One of two parts.
    let mut plan = glu_plan(false);
    plan.ops[2] = Op::Add { a: x, b: BufferId(1), scale: 1.0, out: BufferId(3) };
    assert_untouched(Rule::AddIntoMatMul, &plan);
}

// Rope and cache.

#[test]
fn rotations_join_the_write() {
    for q_first in [true, false] {
        let plan = rope_plan(q_first, |_, _, _| {});
        let ops = apply(Rule::RopeKv, &plan);
        let out = if q_first { BufferId(4) } else { BufferId(5) };
        let (q, k, v) = (BufferId(1), BufferId(2), BufferId(3));
        assert_eq!(ops[4], Op::RopeKv { layer: 0, heads: 2, kv_heads: 2, rope: ROPE, q, k, v, out });
        assert_eq!(ops.len(), 6);
        assert!(matches!(ops[5], Op::Attention(_)));
    }
    // A tapped rotated query is still written.
    let mut plan = rope_plan(true, |_, _, _| {});
    plan.taps.push(BufferId(4));
    assert_eq!(apply(Rule::RopeKv, &plan).len(), 6);
}

/// A plan whose rotations have joined the write.
fn joined(between: impl FnOnce(&mut Recorder, BufferId, BufferId)) -> Plan {
    let plan = rope_plan(true, between);
    Plan { ops: apply(Rule::RopeKv, &plan), ..plan }
}

#[test]
fn rotations_and_the_write_join_attention() {
    let plan = joined(|_, _, _| {});
    let ops = apply(Rule::RopeKvIntoAttention, &plan);
    assert_eq!(ops.len(), plan.ops.len() - 1);
    let Op::Attention(a) = &ops[4] else { panic!("{:?} is no attention", ops[4]) };
    let (q, k, v) = (BufferId(1), BufferId(2), BufferId(3));
    assert_eq!((a.q, a.append), (q, Some(Append { norms: None, rope: ROPE, k, v })));
    Plan { ops, ..plan }.check().unwrap();
}

/// The same with norms of q and k, in runs of `sizes`.
fn joined_and_normed(sizes: [usize; 2]) -> Plan {
    let mut r = Recorder::new();
    let (q, k, v) = (r.mat_mul(BufferId(0), 0), r.mat_mul(BufferId(0), 1), r.mat_mul(BufferId(0), 2));
    let [q, k] = [(q, sizes[0]), (k, sizes[1])].map(|(x, size)| r.push(|out| Op::Norm { x, norm: norm(), size, out }));
    let (q, k) = (r.rope(q), r.rope(k));
    r.kv_write(0, k, v);
    r.attention(0, q);
    fuse(r.finish(), &[Rule::RopeKv, Rule::RopeKvIntoAttention])
}

#[test]
fn norms_of_q_and_k_join_attention_that_appends() {
    for (size, runs) in [(4, Runs::Heads), (WIDTH, Runs::Rows)] {
        let plan = joined_and_normed([size; 2]);
        let ops = apply(Rule::QkNormsIntoAttention, &plan);
        assert_eq!(ops.len(), plan.ops.len() - 2);
        let Some(Op::Attention(a)) = ops.last() else { panic!("{ops:?}") };
        let (q, k, v) = (BufferId(1), BufferId(2), BufferId(3));
        let norms = Some(QkNorms { runs, q: VECTOR, k: VECTOR, eps: norm().eps });
        assert_eq!((a.q, a.append), (q, Some(Append { norms, rope: ROPE, k, v })));
        Plan { ops, ..plan }.check().unwrap();
    }
}

#[test]
fn norms_of_q_and_k_stay_where_they_differ_or_are_wanted() {
    assert_untouched(Rule::QkNormsIntoAttention, &joined_and_normed([4, WIDTH]));
    assert_untouched(Rule::QkNormsIntoAttention, &joined_and_normed([2, 2]));
    let edited = |edit: fn(&mut Norm)| {
        let mut plan = joined_and_normed([4, 4]);
        let norm = plan.ops.iter_mut().rev().find_map(|op| match op {
            Op::Norm { norm, .. } => Some(norm),
            _ => None,
        });
        edit(norm.expect("there is one"));
        plan
    };
    assert_untouched(Rule::QkNormsIntoAttention, &edited(|norm| norm.eps = 1e-3));
    assert_untouched(Rule::QkNormsIntoAttention, &edited(|norm| norm.kind = NormKind::Layer));
    let mut tapped = joined_and_normed([4, 4]);
    tapped.taps.push(BufferId(4));
    assert_untouched(Rule::QkNormsIntoAttention, &tapped);
    // Nothing appends.
    let mut r = Recorder::new();
    let normed = r.norm(BufferId(0));
    r.kv_write(0, normed, normed);
    r.attention(0, normed);
    assert_untouched(Rule::QkNormsIntoAttention, &r.finish());
}

#[test]
fn a_factor_becomes_the_epilogue() {
    let scaled = |is_wanted: bool| {
        let mut r = Recorder::new();
        let product = r.push(|out| plain(BufferId(0), Some(norm()), vec![part(0, out)]));
        let out = r.push(|out| Op::Scale { x: product, scale: 0.5, soft_cap: Some(3.0), out });
        if is_wanted {
            r.add(product, out);
        }
        (r.finish(), product, out)
    };
    let (plan, product, out) = scaled(false);
    let epilogue = Epilogue::Scale { scale: 0.5, soft_cap: Some(3.0), out };
    let fused = Op::MatMul(MatMul { x: BufferId(0), norm: Some(norm()), parts: vec![part(0, product)], epilogue });
    let ops = apply(Rule::ScaleIntoMatMul, &plan);
    assert_eq!(ops[1..], [fused]);
    Plan { ops, ..plan.clone() }.check().unwrap();
    assert_untouched(Rule::ScaleIntoMatMul, &scaled(true).0);
    assert_untouched(Rule::ScaleIntoMatMul, &Plan { taps: vec![product], ..plan });
}

#[test]
fn a_norm_joins_the_add() {
    let (x, normed) = (BufferId(0), BufferId(1));
    for (a, b, scale, is_joined) in
        [(x, normed, 0.5, true), (x, normed, 1.0, true), (normed, x, 1.0, true), (normed, x, 0.5, false)]
    {
        let mut r = Recorder::new();
        r.norm(x);
        let out = r.push(|out| Op::Add { a, b, scale, out });
        let plan = r.finish();
        match is_joined {
            true => {
                let ops = apply(Rule::NormIntoAdd, &plan);
                assert_eq!(ops[1..], [Op::NormAdd { x, norm: norm(), residual: x, scale, out }]);
                Plan { ops, ..plan }.check().unwrap();
            }
            false => assert_untouched(Rule::NormIntoAdd, &plan),
        }
    }
}

#[test]
fn a_norm_stays_where_it_is_of_heads_or_wanted_elsewhere() {
    let x = BufferId(0);
    let plan = |size| {
        let mut r = Recorder::new();
        let normed = r.push(|out| Op::Norm { x, norm: norm(), size, out });
        r.add(x, normed);
        (r.finish(), normed)
    };
    assert_untouched(Rule::NormIntoAdd, &plan(4).0);
    let (mut tapped, normed) = plan(WIDTH);
    tapped.taps.push(normed);
    assert_untouched(Rule::NormIntoAdd, &tapped);
}

#[test]
fn rotations_and_the_write_stay_where_they_are_looked_at() {
    // The caller wants the rotated query.
    let mut tapped = joined(|_, _, _| {});
    tapped.taps.push(BufferId(4));
    assert_untouched(Rule::RopeKvIntoAttention, &tapped);
    // So does another operation.
    assert_untouched(Rule::RopeKvIntoAttention, &joined(|r, q, _| _ = r.norm(q)));
    // The attention sees something else than the past.
    let mut whole = joined(|_, _, _| {});
    let Some(Op::Attention(a)) = whole.ops.last_mut() else { panic!("no attention") };
    a.sees = Sees::Whole;
    assert_untouched(Rule::RopeKvIntoAttention, &whole);
}

#[test]
fn rotations_stay_where_they_are_wanted_or_differ() {
    let mut tapped = rope_plan(true, |_, _, _| {});
    tapped.taps.push(BufferId(5));
    assert_untouched(Rule::RopeKv, &tapped);
    // Somebody else reads the rotated k.
    assert_untouched(Rule::RopeKv, &rope_plan(true, |r, _, k| _ = r.norm(k)));
    // q turns another way.
    let mut differs = rope_plan(true, |_, _, _| {});
    differs.ops[4] = Op::Rope { x: BufferId(1), heads: 2, rope: Rope { base: 7.0, ..ROPE }, out: BufferId(4) };
    assert_untouched(Rule::RopeKv, &differs);
    // Nobody attends to the layer.
    let mut unread = rope_plan(true, |_, _, _| {});
    unread.ops.pop();
    unread.output = BufferId(4);
    assert_untouched(Rule::RopeKv, &unread);
}

#[test]
fn rotations_stay_where_the_rotated_query_is_read_before_the_write() {
    let mut r = Recorder::new();
    let (q, k) = (r.mat_mul(BufferId(0), 0), r.mat_mul(BufferId(0), 1));
    let rotated_q = r.rope(q);
    let v = r.norm(rotated_q); // v depends on the rotated query
    let rotated_k = r.rope(k);
    r.kv_write(0, rotated_k, v);
    r.attention(0, rotated_q);
    assert_untouched(Rule::RopeKv, &r.finish());
}

#[test]
fn rotations_stay_where_the_query_comes_after_the_write() {
    let mut r = Recorder::new();
    let k = r.mat_mul(BufferId(0), 1);
    let rotated_k = r.rope(k);
    r.kv_write(0, rotated_k, k);
    let q = r.mat_mul(BufferId(0), 0);
    let rotated_q = r.rope(q);
    r.attention(0, rotated_q);
    assert_untouched(Rule::RopeKv, &r.finish());

    // The query of a layer is the attention of the layer before.
    let mut r = Recorder::new();
    let k = r.mat_mul(BufferId(0), 1);
    r.kv_write(0, BufferId(0), BufferId(0));
    let rotated_k = r.rope(k);
    r.kv_write(1, rotated_k, k);
    let attended = r.attention(0, BufferId(0));
    let rotated_q = r.rope(attended);
    r.attention(1, rotated_q);
    assert_untouched(Rule::RopeKv, &r.finish());
}
