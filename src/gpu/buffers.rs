//! The buffers of a plan as GPU buffers: those that the memory pass lets share room are one buffer. Separate buffers, not one
//! arena: a dispatch may not read and write the same buffer, and drivers order whole buffers.

use std::rc::Rc;

use super::{
    context::{Buffer, Context},
    dispatch::Lowered,
};
use crate::plan::{BufferId, Plan, memory::Slots};

/// Memory of one prepared plan.
pub(super) struct Buffers {
    slots: Slots,
    buffers: Vec<Buffer>,
    scratch: Vec<Buffer>,
}

impl Buffers {
    pub(super) fn new(context: &Rc<Context>, plan: &Plan, lowered: &Lowered) -> Self {
        let slots = slots(context, plan, lowered);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let buffer = |len: &usize| context.buffer("activations", 4 * *len as u64, usage);
        let needed_bytes = 4 * slots.lens.iter().chain(&lowered.scratch).map(|len| *len as u64).sum::<u64>();
        let (buffers, scratch) = context.guarded(&plan.name, needed_bytes, || {
            (slots.lens.iter().map(buffer).collect(), lowered.scratch.iter().map(buffer).collect())
        });
        Self { slots, buffers, scratch }
    }

    /// Where a buffer of the plan is, if any operation writes it.
    pub(super) fn of(&self, id: BufferId) -> Option<&wgpu::Buffer> {
        let slot = self.slots.slot_of.get(id.0 as usize).copied().flatten()?;
        self.buffers.get(slot).map(|b| &**b)
    }

    pub(super) fn scratch(&self, index: usize) -> Option<&wgpu::Buffer> {
        self.scratch.get(index).map(|b| &**b)
    }

    pub(super) fn n_bytes(&self) -> u64 {
        self.buffers.iter().chain(&self.scratch).map(|b| b.size()).sum()
    }
}

#[cfg(target_arch = "wasm32")]
fn slots(_context: &Context, plan: &Plan, lowered: &Lowered) -> Slots {
    Slots::with(plan, &lowered.same, kept(plan, lowered))
}

/// None is shared where zones are watched, so that each begins where its buffer ends.
#[cfg(not(target_arch = "wasm32"))]
fn slots(context: &Context, plan: &Plan, lowered: &Lowered) -> Slots {
    match context.zones().are_watched() {
        true => Slots::apart(plan, &lowered.same),
        false => Slots::with(plan, &lowered.same, kept(plan, lowered)),
    }
}

/// What a step leaves for the one behind it in a run: the looked-up token.
fn kept(plan: &Plan, lowered: &Lowered) -> Option<BufferId> {
    plan.ops.first().filter(|_| lowered.n_embeds > 0)?.writes().first().copied()
}
