//! Measures, for who asks, what each kind of dispatch takes on the device: by timestamps round a compute pass of its own for each. So a
//! step is slower than without, in what lies between dispatches; what they take themselves is right, as far as the clock is fine (a
//! browser's may be as coarse as 0.1 ms: sums over many steps are right then, small ones are not).

use std::{collections::VecDeque, rc::Rc};

use super::{
    context::{Buffer, Context},
    readback::{Readback, Ticket},
};
use crate::{
    error::Result,
    plan::{KindTime, Profile, Signal},
    sorted::SortedMap,
};

/// Most dispatches of a step that are measured: a set of queries has room for twice as many.
pub(super) const MOST: usize = 2048;
const TIMESTAMP_BYTES: u64 = 8;

/// What was measured so far.
pub(super) struct Recorder {
    context: Rc<Context>,
    queries: wgpu::QuerySet,
    resolved: Buffer,
    stages: Readback,
    /// Steps whose timestamps have not come, in order.
    pending: VecDeque<Pending>,
    kinds: SortedMap<String, (u64, f64)>,
    steps: usize,
    rows: usize,
    steps_ms: f64,
}

struct Pending {
    ticket: Ticket,
    is_asked_for: bool,
    n_rows: usize,
    /// Of each dispatch.
    kinds: Vec<String>,
}

impl Recorder {
    /// `None` where the device has no timestamps.
    pub(super) fn new(context: Rc<Context>) -> Option<Self> {
        if !context.device().features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return None;
        }
        let n_bytes = 2 * MOST as u64 * TIMESTAMP_BYTES;
        let (queries, resolved) = context.guarded("timestamps", n_bytes, || {
            let queries = context.device().create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2 * MOST as u32,
            });
            let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
            (queries, context.buffer("timestamps", n_bytes, usage))
        });
        Some(Self {
            stages: Readback::new(context.clone()),
            context,
            queries,
            resolved,
            pending: VecDeque::default(),
            kinds: SortedMap::default(),
            steps: 0,
            rows: 0,
            steps_ms: 0.0,
        })
    }

    /// Where the timestamps of a step go: two for each dispatch.
    pub(super) fn queries(&self) -> &wgpu::QuerySet {
        &self.queries
    }

    /// Has the timestamps of a step read back, once what was recorded is submitted and [`Self::submitted`] is called. `kinds`: of its
    /// dispatches, as far as they are measured.
    pub(super) fn resolve(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        n_rows: usize,
        kinds: Vec<String>,
    ) -> Result<()> {
        let n_queries = 2 * kinds.len();
        let n_bytes = n_queries as u64 * TIMESTAMP_BYTES;
        let ticket = self.stages.take(n_bytes);
        encoder.resolve_query_set(&self.queries, 0..n_queries as u32, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, self.stages.buffer(ticket)?, 0, n_bytes);
        self.pending.push_back(Pending { ticket, is_asked_for: false, n_rows, kinds });
        Ok(())
    }

    /// To be called when that was submitted, before the step's results are asked for: so its timestamps come before them.
    pub(super) fn submitted(&mut self) -> Result<()> {
        for pending in self.pending.iter_mut().filter(|p| !p.is_asked_for) {
            pending.is_asked_for = true;
            self.stages.map(pending.ticket, pending.n_bytes(), &Signal::default())?;
        }
        Ok(())
    }

    /// Takes what has come.
    pub(super) fn collect(&mut self) -> Result<()> {
        while let Some(pending) = self.pending.front() {
            let read = |bytes: &[u8]| -> Vec<u64> { bytemuck::pod_collect_to_vec(bytes) };
            let Some(ticks) = self.stages.read(pending.ticket, pending.n_bytes(), read)? else { break };
            if let Some(pending) = self.pending.pop_front() {
                self.add(&pending, &ticks);
            }
        }
        Ok(())
    }

    fn add(&mut self, pending: &Pending, ticks: &[u64]) {
        let ms_per_tick = f64::from(self.context.queue().get_timestamp_period()) / 1e6;
        let ms = |from: u64, to: u64| to.saturating_sub(from) as f64 * ms_per_tick;
        for (kind, times) in pending.kinds.iter().zip(ticks.chunks_exact(2)) {
            let total = self.kinds.get_or_insert_with(kind.clone(), || (0, 0.0));
            total.0 += 1;
            total.1 += ms(times[0], times[1]);
        }
        self.steps += 1;
        self.rows += pending.n_rows;
        self.steps_ms += ticks.first().zip(ticks.last()).map_or(0.0, |(first, last)| ms(*first, *last));
    }

    /// What there is; it begins anew.
    pub(super) fn take(&mut self) -> Profile {
        let kinds = std::mem::take(&mut self.kinds).into_entries().into_iter();
        Profile {
            steps: std::mem::take(&mut self.steps),
            rows: std::mem::take(&mut self.rows),
            steps_ms: std::mem::take(&mut self.steps_ms),
            kinds: kinds.map(|(kind, (count, ms))| KindTime { kind, count, ms }).collect(),
            flavour: self.context.features().join(", "),
            ..Profile::default()
        }
    }
}

impl Pending {
    fn n_bytes(&self) -> u64 {
        2 * self.kinds.len() as u64 * TIMESTAMP_BYTES
    }
}
