//! Fusion: what each rule makes of the smallest plan that it applies to, where it must keep its hands off, and thousands of
//! random plans that must compute the same bits and leave the same cache with any rule.

// The same tests in wasm32, where `usize` has 32 bits.
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod common;

use std::sync::Arc;

use common::{
    arena::arena_faults,
    recorder::{BIAS, GEOMETRY, LAYERS, LORA_A, LORA_B, ROPE, Recorder, norm, part, plain, weight_specs},
    rng::Rng,
};
use kinglet::{
    kv::PageId,
    plan::{
        Activation, BufferId, Epilogue, Executor, Lora, MatMul, Op, Plan, Rope, Row, Step, Want,
        fuse::{Rule, fuse},
        memory::Layout,
    },
    reference::Reference,
    weights::WeightId,
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

// Add.

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

/// Rotations of q and k and the write, in the order asked for; then whatever the test adds, then the attention.
fn rope_plan(q_first: bool, between: impl FnOnce(&mut Recorder, BufferId, BufferId)) -> Plan {
    let mut r = Recorder::new();
    let (q, k, v) = (r.mat_mul(BufferId(0), 0), r.mat_mul(BufferId(0), 1), r.mat_mul(BufferId(0), 2));
    let (rotated_q, rotated_k) = if q_first {
        let rotated_q = r.rope(q);
        let rotated_k = r.rope(k);
        r.kv_write(0, rotated_k, v);
        (rotated_q, rotated_k)
    } else {
        let rotated_k = r.rope(k);
        r.kv_write(0, rotated_k, v);
        (r.rope(q), rotated_k)
    };
    between(&mut r, rotated_q, rotated_k);
    r.attention(0, rotated_q);
    r.finish()
}

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

// Random plans.

/// A plan of random operations on random earlier buffers, near ones more often, with up to two taps.
fn random_plan(rng: &mut Rng) -> Plan {
    let mut r = Recorder::new();
    let mut written = vec![];
    for _ in 0..4 + rng.below(16) {
        let n = r.0.buffers.len();
        let mut pick = || BufferId((n - 1 - rng.below(n).min(rng.below(4))) as u32);
        let (a, b) = (pick(), pick());
        match rng.below(13) {
            0 | 1 => _ = r.norm(a),
            2..=5 => _ = random_mat_mul(&mut r, a, rng),
            6 | 7 => _ = r.rope(a),
            8 | 9 if written.len() < LAYERS => {
                r.kv_write(written.len(), a, b);
                written.push(a);
            }
            8..=10 if !written.is_empty() => _ = r.attention(rng.below(written.len()), a),
            11 => _ = r.glu(a, b),
            _ => _ = r.add(a, b),
        }
    }
    // A block as models have it, so that every rule meets what it is for.
    if written.len() < LAYERS && rng.below(2) == 0 {
        random_block(&mut r, written.len(), rng);
    }
    let mut plan = r.finish();
    plan.taps = (0..rng.below(3)).map(|_| BufferId(rng.below(plan.buffers.len()) as u32)).collect();
    plan
}

fn random_mat_mul(r: &mut Recorder, x: BufferId, rng: &mut Rng) -> BufferId {
    let out = r.mat_mul(x, rng.below(4) as u32);
    if let Some(Op::MatMul(m)) = r.0.ops.last_mut() {
        m.parts[0].bias = (rng.below(3) == 0).then_some(BIAS);
        m.parts[0].lora = (rng.below(3) == 0).then_some(Lora { a: LORA_A, b: LORA_B, scale: 0.5 });
    }
    out
}

fn random_block(r: &mut Recorder, layer: usize, rng: &mut Rng) {
    let x = BufferId(r.0.buffers.len() as u32 - 1);
    let normed = r.norm(x);
    let [q, k, v] = [(); 3].map(|()| random_mat_mul(r, normed, rng));
    let (rotated_q, rotated_k) = (r.rope(q), r.rope(k));
    r.kv_write(layer, rotated_k, v);
    let attended = r.attention(layer, rotated_q);
    let product = random_mat_mul(r, attended, rng);
    let x = r.add(x, product);
    let normed = r.norm(x);
    let (gate, up) = (random_mat_mul(r, normed, rng), random_mat_mul(r, normed, rng));
    let glu = r.glu(gate, up);
    let down = random_mat_mul(r, glu, rng);
    r.add(x, down);
}

/// Output, taps and cache as bits.
fn run(plan: &Plan) -> Vec<u32> {
    let mut executor = Reference::new(GEOMETRY);
    let mut rng = Rng(3);
    for (i, spec) in weight_specs().iter().enumerate() {
        let id = WeightId(i as u32);
        executor.create_weight(id, spec).unwrap();
        let n = spec.shape.iter().product();
        let bytes: Vec<u8> = (0..n).flat_map(|_| (0.5 * rng.signed()).to_le_bytes()).collect();
        executor.write_weight(id, &bytes).unwrap();
    }
    let slot = executor.prepare(Arc::new(plan.clone())).unwrap_or_else(|e| panic!("{e}"));
    executor.kv_reserve(1).unwrap();
    let row = |t: u32| Row::token(t, t, 0);
    let rows = [row(0), row(1), row(2)];
    executor
        .begin(
            slot,
            &Step {
                rows: &rows,
                outputs: &[],
                sequences: &[&[PageId(0)]],
                memories: &[],
                embeddings: &[],
                want: Want::All,
            },
        )
        .unwrap();
    executor.advance(usize::MAX).unwrap();
    let mut bits = vec![];
    for id in plan.taps.iter().chain([&plan.output]) {
        bits.extend(executor.tap(*id).unwrap().iter().map(|x| x.to_bits()));
    }
    let mut cache = vec![];
    executor.kv_read(&[(PageId(0), rows.len())], &mut cache).unwrap();
    bits.extend(cache.into_iter().map(u32::from));
    bits
}

#[test]
fn random_plans_compute_the_same_bits_with_any_rule() {
    let mut n_changed = [0; Rule::ALL.len()];
    for seed in 0..1500 {
        let plan = random_plan(&mut Rng(seed));
        plan.check().unwrap_or_else(|e| panic!("seed {seed}, the test's own plan: {e}"));
        let expected = run(&plan);
        for (i, rule) in Rule::ALL.into_iter().enumerate() {
            let fused = fuse(plan.clone(), &[rule]);
            n_changed[i] += usize::from(fused != plan);
            assert!(run(&fused) == expected, "seed {seed}, {rule:?}: {plan:#?}\nbecame {:#?}", fused.ops);
        }
        for rules in [Rule::ALL.to_vec(), Rule::ALL.into_iter().rev().collect(), Rule::ALL.repeat(2)] {
            let fused = fuse(plan.clone(), &rules);
            assert!(run(&fused) == expected, "seed {seed}, {rules:?}: {plan:#?}\nbecame {:#?}", fused.ops);
            assert_eq!(arena_faults(&fused, &Layout::of(&fused)), [] as [String; 0], "seed {seed}, {rules:?}");
        }
    }
    // Glu needs two products in one operation, which only the grouping makes.
    let glu = Rule::ALL.iter().position(|r| *r == Rule::GluIntoMatMul).unwrap();
    for (i, n) in n_changed.into_iter().enumerate() {
        assert!(n > 100 || i == glu, "{:?} changed {n} plans", Rule::ALL[i]);
    }
}

/// The comparison sees a plan that a wrong rule made: the attention moved before the write of its layer is no plan, an add
/// with the operands of another is not the same plan.
#[test]
fn the_comparison_fails_for_a_wrong_rewrite() {
    let plan = rope_plan(true, |_, _, _| {});
    let mut wrong = plan.clone();
    wrong.ops.swap(6, 7);
    assert!(wrong.check().is_err());
    let mut wrong = plan.clone();
    let Op::KvWrite { k, v, .. } = &mut wrong.ops[6] else { panic!("the write") };
    std::mem::swap(k, v);
    assert!(run(&wrong) != run(&plan));
}
