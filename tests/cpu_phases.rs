//! Where the threads of the CPU meet: which operations run between two barriers, how many barriers a layer has. The text is stored;
//! the budget is checked. (`tests/cpu_models.rs` counts those of a step that is run.)

#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::{fmt::Write, sync::Arc};

use common::{
    decoders::decoders,
    llama_model::{llama_model, smollm2_135m},
    parse::parse,
    tiny_llama::TinyConfig,
};
use kinglet::{
    arch::{Model, Task},
    cpu::{Cpu, pool::Pool},
    kv::KvFormat,
    plan::{Executor, Op, Plan, RowBound},
};

/// The most barriers of a decoder's layer in a step of one row.
const MOST_PER_LAYER: usize = 5;

/// The plan of a step, and what is written between two barriers.
fn phases(model: &Model, bound: RowBound, max_outputs: usize) -> (Plan, Vec<Vec<Op>>) {
    let mut cpu = Cpu::new(model.kv_geometry(KvFormat::F16), Pool::new(1)).unwrap();
    let plan = model.plan(Task::Generate, bound, max_outputs).unwrap();
    let slot = cpu.prepare(Arc::new(plan.clone())).unwrap();
    let phases = cpu.phases(slot).unwrap().into_iter().map(|range| plan.ops[range].to_vec()).collect();
    (plan, phases)
}

/// The layer that a phase ends in.
fn layer(plan: &Plan, phase: &[Op]) -> Option<usize> {
    let last = phase.iter().rev().flat_map(Op::writes).next()?;
    plan.buffers[last.0 as usize].name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

fn layer_counts(plan: &Plan, phases: &[Vec<Op>]) -> Vec<usize> {
    let mut counts = vec![];
    for layer in phases.iter().filter_map(|phase| layer(plan, phase)) {
        counts.resize(counts.len().max(layer + 1), 0);
        counts[layer] += 1;
    }
    counts
}

#[test]
fn phases_are_as_they_were() {
    let model = llama_model(&smollm2_135m());
    for (name, bound, outputs) in [("one", RowBound::One, 1), ("few", RowBound::UpTo(8), 8)] {
        let (plan, phases) = phases(&model, bound, outputs);
        let mut text = format!("{}\n", plan.name);
        for phase in phases.iter().filter(|phase| layer(&plan, phase).is_none_or(|layer| layer == 0)) {
            let name = |op: &Op| match op {
                Op::KvWrite { .. } => "(cache)".into(),
                _ => op
                    .writes()
                    .iter()
                    .map(|id| plan.buffers[id.0 as usize].name.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
            };
            writeln!(text, "  {}", phase.iter().map(name).collect::<Vec<_>>().join(" + ")).unwrap();
        }
        let counts = layer_counts(&plan, &phases);
        assert!(counts.iter().all(|n| *n == counts[0]), "layers differ: {counts:?}");
        writeln!(text, "{} phases in each of {} layers, {} barriers", counts[0], counts.len(), phases.len() - 1)
            .unwrap();
        insta::assert_snapshot!(format!("smollm2_135m_{name}"), text);
    }
}

/// Of a step of one row, by tiny models: how many there are does not depend on sizes.
#[test]
fn phases_of_every_family_are_as_they_were() {
    let mut text = String::new();
    for decoder in decoders() {
        let model = Model::from_header(&parse(decoder.file).unwrap().header).unwrap();
        let (plan, phases) = phases(&model, RowBound::One, 1);
        let counts = layer_counts(&plan, &phases);
        // Where a layer has two convolutions, one follows the other.
        let most = if decoder.name == "lfm2_wide" { MOST_PER_LAYER + 2 } else { MOST_PER_LAYER };
        assert!(counts.iter().all(|n| *n <= most), "{}: {counts:?}", decoder.name);
        let counts = counts.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        writeln!(text, "{}: {counts} in its layers, {} barriers", decoder.name, phases.len() - 1).unwrap();
    }
    insta::assert_snapshot!("families_one", text);
}

#[test]
fn a_layer_stays_within_its_budget() {
    for biases in [false, true] {
        for rope_freqs in [false, true] {
            let config = TinyConfig { biases, rope_freqs, ..TinyConfig::default() };
            let (_, phases) = phases(&llama_model(&config), RowBound::One, 1);
            assert_eq!(phases.len() - 1, MOST_PER_LAYER * config.n_layer);
        }
    }
}
