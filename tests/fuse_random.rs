//! Fusion of thousands of random plans, which must compute the same bits and leave the same cache with any rule.

// The same tests in wasm32, where `usize` has 32 bits.
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod common;

use std::sync::Arc;

use common::{
    arena::arena_faults,
    recorder::{BIAS, GEOMETRY, LAYERS, LORA_A, LORA_B, Recorder, rope_plan, weight_specs},
    rng::Rng,
};
use kinglet::{
    kv::PageId,
    plan::{
        BufferId, Executor, Lora, Op, Plan, Row, Step, Want,
        fuse::{Rule, fuse},
        memory::Layout,
    },
    reference::Reference,
    weights::WeightId,
};

/// A plan of random operations on random earlier buffers, near ones more often, with up to two taps.
fn random_plan(rng: &mut Rng) -> Plan {
    let mut r = Recorder::new();
    let mut written = vec![];
    for _ in 0..4 + rng.below(16) {
        let n = r.0.buffers.len();
        let mut pick = || BufferId((n - 1 - rng.below(n).min(rng.below(4))) as u32);
        let (a, b) = (pick(), pick());
        match rng.below(16) {
            0 | 1 => _ = r.norm(a),
            2..=5 => _ = random_mat_mul(&mut r, a, rng),
            6 | 7 => _ = r.rope(a),
            8 | 9 if written.len() < LAYERS => {
                r.kv_write(written.len(), a, b);
                written.push(a);
            }
            8..=10 if !written.is_empty() => _ = r.attention(rng.below(written.len()), a),
            11 => _ = r.glu(a, b),
            12 => _ = r.activate(a),
            13 => _ = r.push(|out| Op::Add { a, b, scale: 0.5, out }),
            14 => _ = r.push(|out| Op::Scale { x: a, scale: 0.5, soft_cap: Some(3.0), out }),
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
    let [mut q, mut k, v] = [(); 3].map(|()| random_mat_mul(r, normed, rng));
    if rng.below(2) == 0 {
        (q, k) = (r.norm(q), r.norm(k));
    }
    let (rotated_q, rotated_k) = (r.rope(q), r.rope(k));
    r.kv_write(layer, rotated_k, v);
    let attended = r.attention(layer, rotated_q);
    let mut product = random_mat_mul(r, attended, rng);
    if rng.below(2) == 0 {
        product = r.norm(product);
    }
    let x = r.add(x, product);
    let normed = r.norm(x);
    let (gate, up) = (random_mat_mul(r, normed, rng), random_mat_mul(r, normed, rng));
    let glu = r.glu(gate, up);
    let product = random_mat_mul(r, glu, rng);
    let activated = r.activate(product);
    let mut down = random_mat_mul(r, activated, rng);
    if rng.below(2) == 0 {
        down = r.push(|out| Op::Scale { x: down, scale: 2.0, soft_cap: None, out });
    }
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
    let mut n_changed = [0; Rule::EVERY.len()];
    for seed in 0..1500 {
        let plan = random_plan(&mut Rng(seed));
        plan.check().unwrap_or_else(|e| panic!("seed {seed}, the test's own plan: {e}"));
        let expected = run(&plan);
        for (i, rule) in Rule::EVERY.into_iter().enumerate() {
            let fused = fuse(plan.clone(), &[rule]);
            n_changed[i] += usize::from(fused != plan);
            assert!(run(&fused) == expected, "seed {seed}, {rule:?}: {plan:#?}\nbecame {:#?}", fused.ops);
        }
        for rules in [Rule::EVERY.to_vec(), Rule::EVERY.into_iter().rev().collect(), Rule::EVERY.repeat(2)] {
            let fused = fuse(plan.clone(), &rules);
            assert!(run(&fused) == expected, "seed {seed}, {rules:?}: {plan:#?}\nbecame {:#?}", fused.ops);
            assert_eq!(arena_faults(&fused, &Layout::of(&fused)), [] as [String; 0], "seed {seed}, {rules:?}");
        }
    }
    // These need what only the grouping makes (two products in one operation), and the rules for rotations.
    let second = [Rule::GluIntoMatMul, Rule::RopeKvIntoAttention, Rule::QkNormsIntoAttention];
    for (i, n) in n_changed.into_iter().enumerate() {
        assert!(n > 100 || second.contains(&Rule::EVERY[i]), "{:?} changed {n} plans", Rule::EVERY[i]);
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
