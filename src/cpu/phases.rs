//! Which operations of a plan may run without a barrier between them, and where its buffers lie so that they can.
//!
//! The threads have to meet before an operation that needs what another one, since they last met, left in shared memory. In a plan
//! of one row three things keep such meetings few:
//!
//! * What is cheap (a norm, a sum, a rotation of the row) every thread computes by itself, into an arena of its own: `private`
//!   buffers. That takes less time than a barrier.
//! * The cache is appended to by the attention that comes next: whoever has the last positions of a kv head writes the key and value
//!   before reading them.
//! * Operations that do not need each other (the two products of a parallel block) share a phase.
//!
//! ```text
//! Llama       norm·QKV │ rotate, append, attend │ output + residual │ norm·gate, up, GLU │ down + residual │
//! ```
//!
//! The buffers that some operation of a phase uses have room of their own until the phase ends: who has not met may not overwrite.

use std::ops::Range;

use crate::plan::{
    Attention, BufferId, Op, Plan, RowBound, Sees,
    memory::{Layout, Lifetime},
};

/// Widest row that every thread computes by itself: some microseconds.
const MAX_PRIVATE_WIDTH: usize = 4096;

/// How the threads walk through a plan.
pub(super) struct Phases {
    /// For each operation whether the threads meet before it.
    meets_before: Vec<bool>,
    /// For each operation whether every thread does all of it by itself.
    alone: Vec<bool>,
    /// For each attention the operation whose keys and values it appends to the cache.
    appends: Vec<Option<usize>>,
    /// For each operation that writes keys and values whether an attention does that for it.
    is_put_off: Vec<bool>,
    /// The buffers that the threads share.
    pub(super) shared: Layout,
    /// Those that each has for itself.
    pub(super) private: Layout,
}

/// Where a buffer lies.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Shared(usize),
    Private(usize),
}

/// Something that operations leave for each other in shared memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Thing {
    Buffer(BufferId),
    /// The keys and values of a layer.
    Cache(usize),
    /// The activations of a product of several rows.
    Activations,
    /// The parts of attention.
    Partials,
}

impl Phases {
    pub(super) fn of(plan: &Plan) -> Self {
        let n = plan.ops.len();
        let appends: Vec<Option<usize>> = (0..n).map(|i| appended(plan, i)).collect();
        let mut is_put_off = vec![false; n];
        appends.iter().flatten().for_each(|write| is_put_off[*write] = true);
        let alone = plan.ops.iter().zip(&is_put_off).map(|(op, off)| is_for_each(plan, op, *off)).collect();
        let nowhere = Layout { offsets: vec![], arena_len: 0 };
        let mut phases =
            Self { meets_before: vec![], alone, appends, is_put_off, shared: nowhere.clone(), private: nowhere };
        phases.meets_before = phases.meetings(plan);
        (phases.shared, phases.private) = phases.layouts(plan);
        phases
    }

    pub(super) fn meets_before(&self, op: usize) -> bool {
        self.meets_before[op]
    }

    pub(super) fn is_alone(&self, op: usize) -> bool {
        self.alone[op]
    }

    pub(super) fn appends(&self, attention: usize) -> Option<usize> {
        self.appends[attention]
    }

    pub(super) fn is_put_off(&self, op: usize) -> bool {
        self.is_put_off[op]
    }

    /// Where a buffer begins; nowhere for one that nothing writes.
    pub(super) fn place(&self, id: BufferId) -> Option<Place> {
        let i = id.0 as usize;
        self.private.offsets[i].map(Place::Private).or(self.shared.offsets[i].map(Place::Shared))
    }

    /// The operations between which the threads do not meet.
    pub(super) fn ranges(&self) -> Vec<Range<usize>> {
        let n = self.meets_before.len();
        let starts: Vec<usize> = (0..n).filter(|i| *i == 0 || self.meets_before[*i]).collect();
        let ends = starts.iter().skip(1).copied().chain([n]);
        starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
    }

    /// The same without one of its meetings, for a test of the tests.
    #[cfg(all(test, not(target_arch = "wasm32")))]
    pub(super) fn without_meeting(&self, op: usize) -> Self {
        let Self { alone, appends, is_put_off, shared, private, .. } = self;
        let mut meets_before = self.meets_before.clone();
        meets_before[op] = false;
        Self {
            meets_before,
            alone: alone.clone(),
            appends: appends.clone(),
            is_put_off: is_put_off.clone(),
            shared: shared.clone(),
            private: private.clone(),
        }
    }

    /// What an operation reads, a put-off append included.
    fn reads(&self, plan: &Plan, i: usize) -> Vec<BufferId> {
        let appended = self.appends[i].and_then(|write| keys_values(&plan.ops[write]));
        let mut reads = plan.ops[i].reads();
        reads.extend(appended.into_iter().flatten());
        reads
    }

    fn meetings(&self, plan: &Plan) -> Vec<bool> {
        let mut private = vec![false; plan.buffers.len()];
        let alone = plan.ops.iter().zip(&self.alone).filter(|(_, alone)| **alone);
        alone.flat_map(|(op, _)| op.writes()).for_each(|id| private[id.0 as usize] = true);
        let buffers = |ids: Vec<BufferId>| {
            let shared = ids.into_iter().filter(|id| !private[id.0 as usize]);
            shared.map(Thing::Buffer).collect::<Vec<_>>()
        };
        let (mut read, mut written): (Vec<Thing>, Vec<Thing>) = (vec![], vec![]);
        let mut meets = vec![];
        for (i, op) in plan.ops.iter().enumerate() {
            let (mut reads, mut writes) = (buffers(self.reads(plan, i)), buffers(op.writes()));
            match op {
                Op::KvWrite { layer, .. } | Op::RopeKv { layer, .. } if !self.is_put_off[i] => {
                    writes.push(Thing::Cache(*layer));
                }
                Op::ShortConv { layer, .. } => writes.push(Thing::Cache(*layer)),
                Op::Attention(a) => {
                    writes.push(Thing::Partials);
                    match self.appends[i] {
                        Some(_) => writes.push(Thing::Cache(a.layer)),
                        None if a.sees == Sees::Memory => {}
                        None => reads.push(Thing::Cache(a.layer)),
                    }
                }
                Op::MatMul(m) if plan.max_rows(m.x) > 1 => writes.push(Thing::Activations),
                _ => {}
            }
            let needs = reads.iter().any(|thing| written.contains(thing))
                || writes.iter().any(|thing| written.contains(thing) || read.contains(thing));
            if needs {
                read.clear();
                written.clear();
            }
            meets.push(needs);
            read.append(&mut reads);
            written.append(&mut writes);
        }
        meets
    }

    /// Shared buffers live for whole phases, private ones as their operations say.
    fn layouts(&self, plan: &Plan) -> (Layout, Layout) {
        let mut phase = 0;
        let phase_of: Vec<usize> = self
            .meets_before
            .iter()
            .map(|meets| {
                phase += usize::from(*meets);
                phase
            })
            .collect();
        let mut lifetimes: [Vec<Option<Lifetime>>; 2] =
            [vec![None; plan.buffers.len()], vec![None; plan.buffers.len()]];
        for (i, op) in plan.ops.iter().enumerate() {
            let kind = usize::from(self.alone[i]);
            for id in op.writes() {
                let last = if plan.stays(id) { usize::MAX } else { 0 };
                lifetimes[kind][id.0 as usize] = Some(Lifetime { first: [phase_of[i], i][kind], last });
            }
            for id in self.reads(plan, i).into_iter().chain(op.writes()) {
                for (lifetimes, now) in lifetimes.iter_mut().zip([phase_of[i], i]) {
                    if let Some(lifetime) = &mut lifetimes[id.0 as usize] {
                        lifetime.last = lifetime.last.max(now);
                    }
                }
            }
        }
        let [shared, private] = lifetimes;
        (Layout::place(plan, &shared), Layout::place(plan, &private))
    }
}

/// The keys and values that an operation writes to the cache.
fn keys_values(op: &Op) -> Option<[BufferId; 2]> {
    match op {
        Op::KvWrite { k, v, .. } | Op::RopeKv { k, v, .. } => Some([*k, *v]),
        _ => None,
    }
}

/// The operation whose keys and values the attention `i` may append by itself: in a plan of one row the last one above it on the
/// cache of its layer.
fn appended(plan: &Plan, i: usize) -> Option<usize> {
    let Op::Attention(Attention { layer, kv_heads, head_size, sees: Sees::Past, .. }) = plan.ops[i] else {
        return None;
    };
    let is_on_layer = |op: &Op| match op {
        Op::KvWrite { layer: l, .. } | Op::RopeKv { layer: l, .. } | Op::ShortConv { layer: l, .. } => *l == layer,
        Op::Attention(a) => a.layer == layer,
        _ => false,
    };
    let write = plan.ops[..i].iter().rposition(is_on_layer).filter(|_| plan.rows == RowBound::One)?;
    let [k, _] = keys_values(&plan.ops[write])?;
    (plan.buffers[k.0 as usize].width == kv_heads * head_size).then_some(write)
}

/// Whether every thread computes this operation by itself.
fn is_for_each(plan: &Plan, op: &Op, is_put_off: bool) -> bool {
    let is_cheap = match op {
        Op::Embed { .. }
        | Op::AddRow { .. }
        | Op::Norm { .. }
        | Op::Rope { .. }
        | Op::Activate { .. }
        | Op::Glu { .. }
        | Op::Add { .. }
        | Op::SelectRows { .. }
        | Op::Scale { .. } => true,
        Op::RopeKv { .. } | Op::KvWrite { .. } => is_put_off,
        Op::MatMul(_) | Op::Attention(_) | Op::ShortConv { .. } | Op::MeanRows { .. } | Op::NormAdd { .. } => false,
    };
    let fits = |id: &BufferId| !plan.stays(*id) && plan.buffers[id.0 as usize].width <= MAX_PRIVATE_WIDTH;
    plan.rows == RowBound::One && is_cheap && op.writes().iter().all(fits)
}
