//! The phases of every decoder's plans, judged by somebody who knows nothing of lifetimes. Compiled into the library's own tests.

use super::phases::{Phases, Place};
use crate::{
    arch::{Model, Task},
    gguf::{Event, Parser},
    plan::{BufferId, Op, Plan, RowBound},
};

/// Of every shape that plans have: norms of heads, norms behind a product, blocks side by side, convolutions.
fn models() -> Vec<Model> {
    macro_rules! files {
        ($($name:literal)*) => {
            [$(include_bytes!(concat!("../golden/decoders/", $name, ".gguf")).as_slice()),*]
        };
    }
    let model = |file: &&[u8]| {
        let mut model = None;
        let read = Parser::new().feed(file, &mut |event| {
            if let Event::Header(header) = event {
                model = Some(Model::from_header(&header)?);
            }
            Ok(())
        });
        read.unwrap();
        model.unwrap()
    };
    files!("gemma3" "gptneox" "granite" "lfm2_wide" "olmo2" "phi2" "qwen2" "qwen3" "smollm3")
        .iter()
        .map(model)
        .collect()
}

fn plans() -> Vec<Plan> {
    let of = |model: &Model| {
        let bounds = [(RowBound::One, 1), (RowBound::UpTo(8), 8)];
        let mut plans: Vec<Plan> = bounds.map(|(rows, n)| model.plan(Task::Generate, rows, n).unwrap()).into();
        plans.extend(bounds.map(|(rows, n)| model.unfused_plan(Task::Generate, rows, n).unwrap()));
        let mut tapped = model.unfused_plan(Task::Generate, RowBound::One, 1).unwrap();
        ["blk.0.attn_q", "blk.1.attn_output"].iter().for_each(|name| _ = tapped.tap(name));
        plans.push(tapped);
        plans
    };
    models().iter().flat_map(of).collect()
}

/// What an operation touches when it comes to it: reads, writes.
fn touched(plan: &Plan, phases: &Phases, i: usize) -> [Vec<BufferId>; 2] {
    let op = &plan.ops[i];
    let mut reads = op.reads();
    match op {
        Op::RopeKv { q, .. } if phases.is_put_off(i) => reads = vec![*q],
        Op::KvWrite { .. } if phases.is_put_off(i) => reads = vec![],
        _ => {}
    }
    if let Some(Op::RopeKv { k, v, .. } | Op::KvWrite { k, v, .. }) = phases.appends(i).map(|write| &plan.ops[write]) {
        reads.extend([*k, *v]);
    }
    [reads, op.writes()]
}

/// What would be read wrongly where threads are anywhere in a phase, or buffers lie where they do.
fn faults(plan: &Plan, phases: &Phases) -> Vec<String> {
    let mut faults = vec![];
    let place = |id: BufferId| phases.place(id).expect("a buffer that is used has a place");
    let range = |id: BufferId| match place(id) {
        Place::Shared(start) => (false, start..start + plan.max_rows(id) * plan.buffers[id.0 as usize].width),
        Place::Private(start) => (true, start..start + plan.max_rows(id) * plan.buffers[id.0 as usize].width),
    };
    let overlap = |a: BufferId, b: BufferId| {
        let ((a_private, a), (b_private, b)) = (range(a), range(b));
        a_private == b_private && a.start < b.end && b.start < a.end
    };
    let is_private = |id: BufferId| matches!(place(id), Place::Private(_));
    let name = |id: BufferId| &plan.buffers[id.0 as usize].name;
    // Whose the places of the arenas are, by the operation that wrote there last.
    let mut alive: Vec<BufferId> = vec![];
    for phase in phases.ranges() {
        let all: Vec<[Vec<BufferId>; 2]> = phase.clone().map(|i| touched(plan, phases, i)).collect();
        for (i, [reads, writes]) in phase.zip(&all) {
            if phases.is_alone(i) != writes.iter().any(|id| is_private(*id)) && !writes.is_empty() {
                faults.push(format!("operation {i}: who has what it writes?"));
            }
            for id in reads {
                if !alive.contains(id) {
                    faults.push(format!("operation {i}: {} was overwritten", name(*id)));
                }
                let in_phase = all.iter().any(|[_, writes]| writes.contains(id));
                if in_phase && !is_private(*id) {
                    faults.push(format!("operation {i}: {} is written in the phase", name(*id)));
                }
            }
            for id in writes {
                alive.retain(|other| !overlap(*id, *other));
                alive.push(*id);
                let mut of_phase = all.iter().flatten().flatten().filter(|other| *other != id);
                let shares = of_phase.any(|other| !is_private(*id) && overlap(*id, *other));
                if shares || reads.iter().any(|read| overlap(*id, *read)) {
                    faults.push(format!("operation {i}: {} shares its place", name(*id)));
                }
            }
        }
    }
    for id in plan.taps.iter().chain([&plan.output]) {
        if is_private(*id) || !alive.contains(id) {
            faults.push(format!("at the end: {} is gone", name(*id)));
        }
    }
    faults
}

#[test]
fn nothing_is_overwritten_or_read_too_early() {
    for plan in plans() {
        assert_eq!(faults(&plan, &Phases::of(&plan)), [] as [String; 0], "{}", plan.name);
    }
}

/// A layer of the cache is read after it was written, and written after it was read.
#[test]
fn the_cache_is_written_before_it_is_read() {
    for plan in plans() {
        let phases = Phases::of(&plan);
        for phase in phases.ranges() {
            let mut touched: Vec<(usize, bool)> = vec![];
            for i in phase {
                let (layer, writes) = match &plan.ops[i] {
                    Op::KvWrite { layer, .. } | Op::RopeKv { layer, .. } if !phases.is_put_off(i) => (*layer, true),
                    Op::ShortConv { layer, .. } => (*layer, true),
                    Op::Attention(a) => (a.layer, phases.appends(i).is_some()),
                    _ => continue,
                };
                assert!(!touched.iter().any(|(l, w)| *l == layer && (*w || writes)), "{}: operation {i}", plan.name);
                touched.push((layer, writes));
            }
        }
    }
}

/// The products of several rows share their activations.
#[test]
fn products_of_several_rows_do_not_share_a_phase() {
    for plan in plans().iter().filter(|plan| plan.rows != RowBound::One) {
        for phase in Phases::of(plan).ranges() {
            let n = plan.ops[phase].iter().filter(|op| matches!(op, Op::MatMul(_))).count();
            assert!(n <= 1, "{}: {n} products", plan.name);
        }
    }
}

#[test]
fn the_judge_sees_what_is_wrong() {
    let plan = models()[6].plan(Task::Generate, RowBound::One, 1).unwrap();
    let good = Phases::of(&plan);
    let meets: Vec<usize> = (0..plan.ops.len()).filter(|i| good.meets_before(*i)).collect();
    for i in meets {
        assert_ne!(faults(&plan, &good.without_meeting(i)), [] as [String; 0], "the meeting before {i}");
    }
    let mut moved = Phases::of(&plan);
    moved.shared.offsets.iter_mut().flatten().for_each(|offset| *offset = 0);
    assert_ne!(faults(&plan, &moved), [] as [String; 0]);
    let mut moved = Phases::of(&plan);
    moved.private.offsets.iter_mut().flatten().for_each(|offset| *offset = 0);
    assert_ne!(faults(&plan, &moved), [] as [String; 0]);
}
