//! Replays a plan on its arena without computing anything: each place remembers which buffer was written there last. Knows
//! nothing of lifetimes, so that it can judge them.

use kinglet::plan::{
    BufferId, Plan,
    memory::{ALIGN, Layout},
};

/// What a plan would read wrongly on this layout; empty where the layout is right.
pub fn arena_faults(plan: &Plan, layout: &Layout) -> Vec<String> {
    // Every buffer begins at a multiple of ALIGN, so a place is ALIGN elements.
    let mut owners: Vec<Option<BufferId>> = vec![None; layout.arena_len.div_ceil(ALIGN)];
    let places = |id: BufferId| {
        let len = plan.max_rows(id) * plan.buffers[id.0 as usize].width;
        let start = layout.offsets[id.0 as usize].expect("a buffer that is used has a place");
        start / ALIGN..(start + len).div_ceil(ALIGN)
    };
    let name = |id: BufferId| &plan.buffers[id.0 as usize].name;
    let mut faults = vec![];
    for (i, op) in plan.ops.iter().enumerate() {
        // Outputs first: they must not lie on inputs either.
        for id in op.writes() {
            owners[places(id)].fill(Some(id));
        }
        for id in op.reads().into_iter().chain(op.writes()) {
            if owners[places(id)].iter().any(|owner| *owner != Some(id)) {
                faults.push(format!("operation {i}: {} was overwritten", name(id)));
            }
        }
    }
    for id in plan.taps.iter().chain([&plan.output]) {
        if owners[places(*id)].iter().any(|owner| owner != &Some(*id)) {
            faults.push(format!("at the end: {} was overwritten", name(*id)));
        }
    }
    faults
}
