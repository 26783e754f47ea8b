//! Steps on an executor: which plan, which pages, what is in flight. Knows sequences and tokens, but not what they are for.

use std::sync::Arc;

use crate::{
    arch::{Model, Task},
    error::{Error, Result},
    kv::{Kv, KvGeometry, PageId, SequenceId},
    plan::{Executor, MemoryReport, Plan, PlanSlot, Progress, Row, RowBound, Signal, Step, Want},
    sample::Scores,
};

/// Rows of a prefill step.
pub const CHUNK_ROWS: usize = 64;
/// Rows of a step in which every row may ask for logits: scoring, several choices at once.
pub const FEW_ROWS: usize = 8;

/// The plans that a session runs.
#[derive(Debug, Clone)]
pub struct Plans {
    /// One row, its logits.
    pub one: Arc<Plan>,
    /// Up to [`FEW_ROWS`] rows, all their logits.
    pub few: Arc<Plan>,
    /// Up to [`CHUNK_ROWS`] rows, logits of one at most.
    pub chunk: Arc<Plan>,
}

impl Plans {
    /// Records the plans of a model.
    pub fn of(model: &Model) -> Result<Self> {
        Ok(Self {
            one: Arc::new(model.plan(Task::Generate, RowBound::One, 1)?),
            few: Arc::new(model.plan(Task::Generate, RowBound::UpTo(FEW_ROWS), FEW_ROWS)?),
            chunk: Arc::new(model.plan(Task::Generate, RowBound::UpTo(CHUNK_ROWS), 1)?),
        })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Plan>> {
        [&self.one, &self.few, &self.chunk].into_iter()
    }
}

/// A prepared plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prepared {
    slot: PlanSlot,
    n_ops: usize,
    rows: usize,
    outputs: usize,
}

/// Rows of one sequence in a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) sequence: SequenceId,
    pub(super) tokens: &'a [u32],
    pub(super) logits: Logits,
}

/// Which rows of a run give logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logits {
    None,
    Last,
    All,
}

/// An executor with prepared plans and the book of its cache.
pub(super) struct Runner {
    executor: Box<dyn Executor>,
    /// Ascending by rows.
    plans: Vec<Prepared>,
    pub(super) kv: Kv,
    flight: Option<Flight>,
    /// Of the newest step.
    want: Want,
}

/// A step that has begun.
#[derive(Debug, Clone, Copy)]
struct Flight {
    rows: usize,
    /// Operations that have not run, as far as is known.
    ops_left: usize,
    /// It runs elsewhere, and there is nothing to do but to wait.
    pending: bool,
}

impl Runner {
    /// Prepares the plans. The weights may come later, but before the first step.
    pub(super) fn new(
        executor: Box<dyn Executor>,
        plans: &Plans,
        context_tokens: usize,
        n_sequences: usize,
    ) -> Result<Self> {
        let max_pages = KvGeometry::pages_for(context_tokens).saturating_mul(n_sequences);
        let mut runner = Self::without_plans(executor, Kv::new(context_tokens, max_pages));
        runner.plans = plans.iter().map(|plan| runner.prepare(plan.clone())).collect::<Result<_>>()?;
        Ok(runner)
    }

    /// For steps that bring their plan along ([`Self::begin_whole`]).
    pub(super) fn without_plans(executor: Box<dyn Executor>, kv: Kv) -> Self {
        Self { executor, plans: vec![], kv, flight: None, want: Want::All }
    }

    /// Gets a plan ready.
    pub(super) fn prepare(&mut self, plan: Arc<Plan>) -> Result<Prepared> {
        let slot = self.executor.prepare(plan.clone())?;
        Ok(Prepared { slot, n_ops: plan.ops.len(), rows: plan.rows.max(), outputs: plan.max_outputs })
    }

    pub(super) fn executor(&mut self) -> &mut dyn Executor {
        self.executor.as_mut()
    }

    pub(super) fn memory(&self) -> MemoryReport {
        self.executor.memory()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.flight.is_none()
    }

    pub(super) fn rows_in_flight(&self) -> Option<usize> {
        self.flight.map(|f| f.rows)
    }

    /// Begins a step that appends each run to its sequence, and gives the `n_best` best logits of each row that asks, or all
    /// where that is `None`. The new positions belong to the sequence at once, but count
    /// only when [`Self::advance`] has said `true`; until then the caller truncates to give up.
    pub(super) fn begin(&mut self, runs: &[Run<'_>], n_best: Option<usize>) -> Result<()> {
        let mut rows = vec![];
        let mut outputs = vec![];
        for (index, run) in runs.iter().enumerate() {
            let start = self.kv.len(run.sequence)?;
            for copy in self.kv.append(run.sequence, run.tokens.len())? {
                self.executor.kv_reserve(self.kv.n_pages())?;
                self.executor.kv_copy(copy.from, copy.to, copy.n_positions)?;
            }
            for (i, &token) in run.tokens.iter().enumerate() {
                let last = i + 1 == run.tokens.len();
                if run.logits == Logits::All || (run.logits == Logits::Last && last) {
                    outputs.push(rows.len() as u32);
                }
                let position = u32::try_from(start + i).map_err(|_| Error::internal("a position over 2³²"))?;
                rows.push(Row::token(token, position, index as u32));
            }
        }
        self.executor.kv_reserve(self.kv.n_pages())?;
        let sequences = runs.iter().map(|run| self.kv.pages(run.sequence)).collect::<Result<Vec<&[PageId]>>>()?;
        let want = n_best.map_or(Want::All, Want::Best);
        let step = Step { rows: &rows, outputs: &outputs, sequences: &sequences, memories: &[], embeddings: &[], want };
        let fits = |p: &&Prepared| rows.len() <= p.rows && outputs.len() <= p.outputs;
        let plan = self.plans.iter().find(fits).copied();
        let plan = plan.ok_or_else(|| {
            Error::internal(format!("no plan for {} rows with {} outputs", rows.len(), outputs.len()))
        })?;
        self.executor.begin(plan.slot, &step)?;
        self.flight = Some(Flight { rows: rows.len(), ops_left: plan.n_ops, pending: false });
        self.want = want;
        Ok(())
    }

    /// Begins a step of a plan whose rows are whole sequences, which have their positions already.
    pub(super) fn begin_whole(
        &mut self,
        plan: Prepared,
        rows: &[Row],
        outputs: &[u32],
        sequences: &[SequenceId],
    ) -> Result<()> {
        self.executor.kv_reserve(self.kv.n_pages())?;
        let sequences = sequences.iter().map(|id| self.kv.pages(*id)).collect::<Result<Vec<&[PageId]>>>()?;
        let (memories, embeddings, want) = (&[], &[], Want::All);
        let step = Step { rows, outputs, sequences: &sequences, memories, embeddings, want };
        self.executor.begin(plan.slot, &step)?;
        self.flight = Some(Flight { rows: rows.len(), ops_left: plan.n_ops, pending: false });
        self.want = want;
        Ok(())
    }

    /// The whole output of the o-th row that asked, of the newest step, which is complete.
    pub(super) fn output(&self, o: usize) -> Result<&[f32]> {
        self.executor.output(o)
    }

    /// Runs up to `ops` operations of the step in flight and takes them off. A step that runs elsewhere takes no operations
    /// off while it is waited for.
    pub(super) fn advance(&mut self, ops: &mut usize) -> Result<Progress> {
        let flight = self.flight.as_mut().ok_or_else(|| Error::internal("no step is in flight"))?;
        let now = flight.ops_left.min(*ops);
        let progress = self.executor.advance(now)?;
        if progress == Progress::More && now == flight.ops_left {
            return Err(Error::internal(format!("a step with {now} operations left ran them and is not complete")));
        }
        flight.pending = progress == Progress::Pending;
        if !flight.pending {
            *ops -= now;
            flight.ops_left -= now;
        }
        if progress == Progress::Complete {
            self.flight = None;
        }
        Ok(progress)
    }

    /// Raised when the step in flight can go on; `None` where it can go on now.
    pub(super) fn waiting(&self) -> Option<Signal> {
        self.flight.filter(|f| f.pending).map(|_| self.executor.ready())
    }

    /// Forgets the step in flight; what it wrote does not count once its sequences are truncated.
    pub(super) fn drop_step(&mut self) {
        self.flight = None;
    }

    /// What the newest step, which is complete, says of the o-th row that asked.
    pub(super) fn scores(&self, o: usize) -> Result<Scores<'_>> {
        let Want::Best(wanted) = self.want else { return Ok(Scores::All(self.executor.output(o)?)) };
        match self.executor.best(o)? {
            None => Ok(Scores::All(self.executor.output(o)?)),
            Some(best) if best.candidates.len() >= wanted => Ok(Scores::Best(best)),
            Some(best) => {
                let n = best.candidates.len();
                Err(Error::internal(format!("the executor gave the {n} best logits, {wanted} were asked for")))
            }
        }
    }
}
