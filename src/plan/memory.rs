//! Gives every buffer its place in one arena, so that the peak is known before the weights arrive, and adds up what a model
//! needs ([`estimate`]), so that "does not fit" is said before the download.

use super::{Buffer, BufferId, MemoryReport, Plan};
use crate::{
    kv::KvGeometry,
    weights::{WeightId, WeightSpec, Weights},
};

/// Where the buffers of a plan lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// For each buffer its offset in the arena, f32 elements, a multiple of [`ALIGN`]; `None` for one that no operation
    /// writes (its place was fused away).
    pub offsets: Vec<Option<usize>>,
    /// Length of the arena, f32 elements.
    pub arena_len: usize,
}

/// Alignment of buffers, f32 elements (64 bytes).
pub const ALIGN: usize = 16;

/// The operations, by index, between which a buffer must keep its contents, both included. An operation's inputs and
/// outputs are alive together: executors may write an output before they have read all of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// The operation that writes it.
    pub first: usize,
    /// The last operation that reads it; past every operation for a tap or the output.
    pub last: usize,
}

impl Lifetime {
    /// Of every buffer that an operation writes.
    pub fn of(plan: &Plan) -> Vec<Option<Self>> {
        let mut lifetimes = vec![None; plan.buffers.len()];
        for (i, op) in plan.ops.iter().enumerate() {
            for id in op.writes() {
                let last = if plan.stays(id) { plan.ops.len() } else { i };
                lifetimes[id.0 as usize] = Some(Self { first: i, last });
            }
            for id in op.reads() {
                if let Some(lifetime) = &mut lifetimes[id.0 as usize] {
                    lifetime.last = lifetime.last.max(i);
                }
            }
        }
        lifetimes
    }

    /// Whether there is a moment at which both are alive.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// A buffer that has its place.
struct Placed {
    offset: usize,
    end: usize,
    lifetime: Lifetime,
}

impl Layout {
    /// Places the buffers of a plan: two buffers share room only where their lifetimes are disjoint. Greedy: the largest
    /// buffer first, each in the smallest gap that it fits into.
    pub fn of(plan: &Plan) -> Self {
        Self::place(plan, &Lifetime::of(plan))
    }

    /// [`Layout::of`] the buffers that have one of these lifetimes, which may be counted in anything that goes on: two that overlap
    /// in none never share room.
    pub fn place(plan: &Plan, lifetimes: &[Option<Lifetime>]) -> Self {
        let mut order: Vec<usize> = (0..plan.buffers.len()).collect();
        order.sort_by_key(|i| std::cmp::Reverse(buffer_len(plan, *i)));

        let mut layout = Self { offsets: vec![None; plan.buffers.len()], arena_len: 0 };
        let mut placed: Vec<Placed> = vec![];
        for i in order {
            let Some(lifetime) = lifetimes[i] else { continue };
            let len = buffer_len(plan, i);
            let offset = best_fit(&placed, lifetime, len);
            layout.offsets[i] = Some(offset);
            layout.arena_len = layout.arena_len.max(offset.saturating_add(len));
            let at = placed.partition_point(|p| p.offset < offset);
            placed.insert(at, Placed { offset, end: offset.saturating_add(len), lifetime });
        }
        layout
    }

    /// Length of the arena, bytes.
    pub fn n_bytes(&self) -> u64 {
        (self.arena_len as u64).saturating_mul(size_of::<f32>() as u64)
    }
}

/// Offset of the smallest gap of at least `len` between the buffers that are alive at the same time; after the last of them
/// where there is none. `placed` is in order of offset.
fn best_fit(placed: &[Placed], lifetime: Lifetime, len: usize) -> usize {
    let mut best: Option<(usize, usize)> = None;
    let mut free_from = 0;
    for p in placed.iter().filter(|p| p.lifetime.overlaps(&lifetime)) {
        let gap = p.offset.saturating_sub(free_from);
        if gap >= len && best.is_none_or(|(smallest, _)| gap < smallest) {
            best = Some((gap, free_from));
        }
        free_from = free_from.max(p.end);
    }
    best.map_or(free_from, |(_, offset)| offset)
}

/// Saturating: a header may claim any width, and a plan that cannot fit is refused by its size.
fn buffer_len(plan: &Plan, i: usize) -> usize {
    let len = plan.max_rows(BufferId(i as u32)).saturating_mul(plan.buffers[i].width);
    len.checked_next_multiple_of(ALIGN).unwrap_or(usize::MAX)
}

/// Buffers that share room as whole buffers, for an executor that cannot give out parts of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    /// For each buffer its slot; `None` for one that no operation writes.
    pub slot_of: Vec<Option<usize>>,
    /// Length of each slot, f32 elements.
    pub lens: Vec<usize>,
}

impl Slots {
    /// Buffers share a slot only where their lifetimes are disjoint. Greedy: the largest buffer first, each in the first slot
    /// that is free while it lives; so no slot is longer than its first buffer.
    pub fn of(plan: &Plan) -> Self {
        Self::with(plan, &[], None)
    }

    /// The same where some buffers are no more than another name (of the first of a pair, which lies where the second does), and the next
    /// step begins with what is in `kept`.
    pub fn with(plan: &Plan, same: &[(BufferId, BufferId)], kept: Option<BufferId>) -> Self {
        let mut lifetimes = Lifetime::of(plan);
        for (name, of) in same {
            let last = lifetimes[name.0 as usize].take().map_or(0, |lifetime| lifetime.last);
            lifetimes[of.0 as usize].iter_mut().for_each(|lifetime| lifetime.last = lifetime.last.max(last));
        }
        if let Some(kept) = kept {
            lifetimes[kept.0 as usize].iter_mut().for_each(|lifetime| lifetime.last = plan.ops.len());
        }
        let mut order: Vec<usize> = (0..plan.buffers.len()).collect();
        order.sort_by_key(|i| std::cmp::Reverse(buffer_len(plan, *i)));
        let mut slots = Self { slot_of: vec![None; plan.buffers.len()], lens: vec![] };
        let mut tenants: Vec<Vec<Lifetime>> = vec![];
        for i in order {
            let Some(lifetime) = lifetimes[i] else { continue };
            let free = tenants.iter().position(|t| !t.iter().any(|other| other.overlaps(&lifetime)));
            let slot = free.unwrap_or(tenants.len());
            if slot == tenants.len() {
                tenants.push(vec![]);
                slots.lens.push(buffer_len(plan, i));
            }
            tenants[slot].push(lifetime);
            slots.slot_of[i] = Some(slot);
        }
        slots.name(same);
        slots
    }

    /// Every buffer in a slot of its own that is just as long, but for those that are another name.
    pub fn apart(plan: &Plan, same: &[(BufferId, BufferId)]) -> Self {
        let len = |(i, buffer): (usize, &Buffer)| plan.max_rows(BufferId(i as u32)).saturating_mul(buffer.width);
        let lifetimes = Lifetime::of(plan).into_iter().enumerate();
        let mut slots = Self {
            slot_of: lifetimes.map(|(i, lifetime)| lifetime.map(|_| i)).collect(),
            lens: plan.buffers.iter().enumerate().map(len).collect(),
        };
        slots.name(same);
        slots
    }

    fn name(&mut self, same: &[(BufferId, BufferId)]) {
        same.iter().for_each(|(name, of)| self.slot_of[name.0 as usize] = self.slot_of[of.0 as usize]);
    }
}

/// What an executor will hold, bytes, known from the header alone. `weight_bytes` is the size of a weight in the executor's
/// layout; each plan has an arena of its own; the cache is of one sequence of `context_tokens` positions, in pages of `page_bytes`.
pub fn estimate(
    plans: &[&Plan],
    weights: &Weights,
    weight_bytes: impl Fn(&WeightSpec) -> u64,
    page_bytes: u64,
    context_tokens: usize,
) -> MemoryReport {
    let mut used: Vec<WeightId> = plans.iter().flat_map(|p| &p.ops).flat_map(|op| op.weights()).collect();
    used.sort_unstable();
    used.dedup();
    let n_pages = KvGeometry::pages_for(context_tokens) as u64;
    MemoryReport {
        weights_bytes: used.iter().fold(0, |sum: u64, id| sum.saturating_add(weight_bytes(weights.spec(*id)))),
        kv_bytes: n_pages.saturating_mul(page_bytes),
        buffers_bytes: plans.iter().fold(0, |sum: u64, plan| sum.saturating_add(Layout::of(plan).n_bytes())),
    }
}
