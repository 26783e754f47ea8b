//! What runs a plan. An executor owns the weights, the key-value pages and the buffers; it is told what to do and asks
//! nothing upward.

use std::{future::Future, pin::Pin, sync::Arc};

use super::{BufferId, Op, Plan, Profile, Sees, Signal};
use crate::{
    error::{Error, Result},
    kv::{PAGE_POSITIONS, PageId},
    sample::{Best, Chooser},
    weights::{WeightId, WeightSpec},
};

/// A plan that an executor has prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanSlot(pub usize);

/// What a row starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowInput {
    /// A token id, < V (the session checks).
    Token(u32),
    /// Row of [`Step::embeddings`].
    Embedding(u32),
}

/// One new row of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Token or embedding.
    pub input: RowInput,
    /// Position in its sequence; the rows of one sequence stand together, at positions that ascend one by one.
    pub position: u32,
    /// Index into [`Step::sequences`].
    pub sequence: u32,
    /// Which text of a pair the row belongs to, 0 or 1 ([`super::RowIndex::Segment`]).
    pub segment: u32,
}

impl Row {
    /// A token of a text that is no pair.
    pub fn token(token: u32, position: u32, sequence: u32) -> Self {
        Self { input: RowInput::Token(token), position, sequence, segment: 0 }
    }
}

/// What a sequence looks at besides itself: the keys and values that an encoder left in pages of the same cache.
#[derive(Debug, Clone, Copy)]
pub struct Memory<'a> {
    /// In order of position.
    pub pages: &'a [PageId],
    /// How many positions it has, > 0.
    pub n_positions: usize,
}

/// What one run of a plan is to do.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// T rows, 1 ≤ T ≤ the plan's bound.
    pub rows: &'a [Row],
    /// Indices into `rows`, ascending: whose logits are wanted. May be empty.
    pub outputs: &'a [u32],
    /// The pages of each sequence, in order of position. Pages may be shared between sequences (a common prefix), but a
    /// page that a row writes to belongs to one sequence only. Every page is below [`Executor::kv_reserve`]'s count.
    pub sequences: &'a [&'a [PageId]],
    /// The memory of each sequence, where the plan attends to one ([`super::Sees::Memory`]); else empty.
    pub memories: &'a [Memory<'a>],
    /// [n, D] f32: rows for [`RowInput::Embedding`].
    pub embeddings: &'a [f32],
    /// What is wanted of the outputs. An executor may give more than that.
    pub want: Want,
}

/// What a step gives for each row of [`Step::outputs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// The whole output: [`Executor::output`].
    All,
    /// The best `n` logits, with all that equal the n-th: [`Executor::best`], or where that gives `None` the whole output.
    Best(usize),
}

/// Steps of one row that follow each other where the executor is, each from the token that it chose behind the one before.
#[derive(Debug, Clone, Copy)]
pub struct Ahead<'a> {
    /// How it chooses.
    pub chooser: Chooser,
    /// For each step the number in [0, 1) by which it draws: as many as there are steps, at most [`Executor::most_ahead`].
    pub draws: &'a [f32],
}

/// How far a step has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is more to run: call again.
    More,
    /// Everything runs elsewhere: call again once [`Executor::ready`] is raised.
    Pending,
    /// The outputs are there.
    Complete,
}

impl Step<'_> {
    /// Checks a step against the rules above, for a plan and an executor with pages 0..n_pages. A step comes from the
    /// session, so a fault is a defect of the engine.
    pub fn check(&self, plan: &Plan, n_pages: usize) -> Result<()> {
        let fault = |what: String| Err(Error::internal(format!("a step of plan {}: {what}", plan.name)));
        let (n, max) = (self.rows.len(), plan.rows.max());
        if n == 0 || n > max {
            return fault(format!("{n} rows, expected 1 to {max}"));
        }
        if self.outputs.len() > plan.max_outputs {
            return fault(format!("{} outputs, at most {} are planned", self.outputs.len(), plan.max_outputs));
        }
        if self.outputs.iter().any(|o| *o as usize >= n) || !self.outputs.is_sorted_by(|a, b| a < b) {
            return fault(format!("outputs {:?} of {n} rows", self.outputs));
        }
        if let Some(page) = self.sequences.iter().copied().flatten().find(|p| p.0 as usize >= n_pages) {
            return fault(format!("page {} of {n_pages}", page.0));
        }
        self.check_attention(plan, n_pages).or_else(fault)?;
        for (i, row) in self.rows.iter().enumerate() {
            let Some(pages) = self.sequences.get(row.sequence as usize) else {
                return fault(format!("row {i}: there is no sequence {}", row.sequence));
            };
            let Some(page) = pages.get(row.position as usize / PAGE_POSITIONS) else {
                return fault(format!("row {i}: position {} is past {} pages", row.position, pages.len()));
            };
            let follows = match self.rows[..i].iter().rposition(|r| r.sequence == row.sequence) {
                None => true,
                Some(j) => j + 1 == i && self.rows[j].position.checked_add(1) == Some(row.position),
            };
            if !follows {
                return fault(format!("row {i}: position {} does not follow its sequence", row.position));
            }
            let mut others = self.sequences.iter().enumerate().filter(|(s, _)| *s != row.sequence as usize);
            if others.any(|(_, pages)| pages.contains(page)) {
                return fault(format!("row {i}: page {} is shared and would be written", page.0));
            }
        }
        Ok(())
    }

    /// Checks that the tables of [`Op::AddRow`] have a row for every row of the step.
    pub fn check_tables<'a>(&self, plan: &Plan, spec: impl Fn(WeightId) -> Option<&'a WeightSpec>) -> Result<()> {
        for op in &plan.ops {
            let Op::AddRow { table, index, .. } = op else { continue };
            let n = spec(*table).map_or(0, WeightSpec::n_rows);
            if let Some(row) = self.rows.iter().map(|row| index.of(row)).find(|row| *row >= n) {
                let what = format!("a step of plan {}: row {row} of {n} in {}", plan.name, op.name());
                return Err(Error::internal(what));
            }
        }
        Ok(())
    }

    /// What the plan's attention asks of a step.
    fn check_attention(&self, plan: &Plan, n_pages: usize) -> Result<(), String> {
        let sees = |sees| plan.ops.iter().any(|op| matches!(op, Op::Attention(a) if a.sees == sees));
        let starts =
            self.rows.iter().enumerate().filter(|(i, row)| {
                *i == 0 || self.rows.get(i - 1).is_none_or(|before| before.sequence != row.sequence)
            });
        if sees(Sees::Whole)
            && let Some((i, row)) = starts.into_iter().find(|(_, row)| row.position != 0)
        {
            return Err(format!("row {i}: position {} begins a sequence that is to be whole", row.position));
        }
        if !sees(Sees::Memory) {
            return Ok(());
        }
        if self.memories.len() != self.sequences.len() {
            return Err(format!("{} memories of {} sequences", self.memories.len(), self.sequences.len()));
        }
        for Memory { pages, n_positions } in self.memories {
            let has_room = *n_positions > 0 && n_positions.div_ceil(PAGE_POSITIONS) <= pages.len();
            if !has_room || pages.iter().any(|p| p.0 as usize >= n_pages) {
                return Err(format!(
                    "a memory of {n_positions} positions in {} pages, of {n_pages} in all",
                    pages.len()
                ));
            }
        }
        Ok(())
    }
}

/// Memory that an executor holds, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryReport {
    /// Weights as they are laid out for the executor.
    pub weights_bytes: u64,
    /// Key-value pages.
    pub kv_bytes: u64,
    /// Buffers of the prepared plans and scratch.
    pub buffers_bytes: u64,
}

/// Runs plans. Order of calls: [`create_weight`](Self::create_weight) for each weight of the plans,
/// [`prepare`](Self::prepare) for each plan (an executor may lay weights out for the plans that it has seen),
/// [`write_weight`](Self::write_weight) until all are complete, [`check`](Self::check), then steps. A plan may be prepared
/// later too.
pub trait Executor {
    /// Makes room for a weight. `Error::Memory` where it cannot be had.
    fn create_weight(&mut self, id: WeightId, spec: &WeightSpec) -> Result<()>;

    /// Takes the next bytes of a weight, in file order from its first byte to its last; any chunk size. A weight that
    /// holds a NaN or infinity (in a scale or a value) is `Error::FileFormat` naming it.
    fn write_weight(&mut self, id: WeightId, bytes: &[u8]) -> Result<()>;

    /// Gets a plan ready: buffers, scratch. Fails on an operation or a format that it lacks, naming it; never falls back.
    fn prepare(&mut self, plan: Arc<Plan>) -> Result<PlanSlot>;

    /// Makes sure that pages 0..n exist.
    fn kv_reserve(&mut self, n_pages: usize) -> Result<()>;

    /// Copies the first `n_positions` of a page, all layers, keys and values.
    fn kv_copy(&mut self, from: PageId, to: PageId, n_positions: usize) -> Result<()>;

    /// Appends the first so many positions of each page to `bytes` in canonical order: for each layer, k then v, each
    /// [position, G, K] in the cache's format, little-endian. Appends nothing before it is [`Progress::Complete`]; until then
    /// it is called again with the same pages, and nothing else is done with the executor.
    fn kv_read(&mut self, pages: &[(PageId, usize)], bytes: &mut Vec<u8>) -> Result<Progress>;

    /// The inverse of [`kv_read`](Self::kv_read).
    fn kv_write(&mut self, page: PageId, n_positions: usize, bytes: &[u8]) -> Result<()>;

    /// Starts a step; a step that was begun before and not finished is dropped (what it wrote to the cache lies past the
    /// sequence's length and does not count). Where it still runs elsewhere, it is over before anything that is asked for
    /// later touches the cache: its pages may belong to another sequence by now.
    fn begin(&mut self, slot: PlanSlot, step: &Step) -> Result<()>;

    /// How many steps of this plan it can take ahead at a time; 0 where it takes none.
    fn most_ahead(&self, _slot: PlanSlot) -> usize {
        0
    }

    /// Starts a run of steps, as [`begin`](Self::begin) does one. `step` is the first: one row, which asks, and [`Want::Best`]; its
    /// sequence has pages for all. The results are those of so many outputs, one for each step ([`best`](Self::best),
    /// [`chosen`](Self::chosen)), as far as [`n_ahead`](Self::n_ahead) says; taps are those of its end.
    fn begin_ahead(&mut self, _slot: PlanSlot, _step: &Step, _ahead: &Ahead) -> Result<()> {
        Err(Error::internal("this executor takes no steps ahead"))
    }

    /// Puts another run behind the newest that was started so, which may not be complete: it goes on from there. `pages` are those
    /// of its sequence by now. `false` where that cannot be, and then nothing is done.
    fn extend_ahead(&mut self, _pages: &[PageId], _ahead: &Ahead) -> Result<bool> {
        Ok(false)
    }

    /// After a complete run: the run that was put behind it is what [`advance`](Self::advance) and the results mean from now on.
    /// `false` where there is none. Any other step that begins drops it.
    fn follow_ahead(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Of how many of its steps a complete run has results; the first that is missing has to be taken by itself.
    fn n_ahead(&self) -> usize {
        0
    }

    /// What the executor chose behind the i-th step of a complete run.
    fn chosen(&self, _i: usize) -> Result<u32> {
        Err(Error::internal("this executor chooses no tokens"))
    }

    /// Runs up to `max_ops` further operations of the step. An executor that hands a whole step over at once may run more.
    fn advance(&mut self, max_ops: usize) -> Result<Progress>;

    /// Raised when [`Progress::Pending`] is over.
    fn ready(&self) -> Signal {
        Signal::raised()
    }

    /// Shows that this executor computes what plans say, as far as that is not known from the build alone: resolves when it
    /// is trusted, fails with what is wrong with it. To be awaited after the plans are prepared and before the first step.
    fn check(&mut self) -> Pin<Box<dyn Future<Output = Result<()>>>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The plan's output for the o-th row that asked for it, after a complete step: [V] f32. Fails where the step wanted
    /// less and got less ([`Self::best`]).
    fn output(&self, o: usize) -> Result<&[f32]>;

    /// The best logits of the o-th row that asked, after a complete step that wanted [`Want::Best`]; `None` where the whole
    /// output is there instead.
    fn best(&self, _o: usize) -> Result<Option<Best<'_>>> {
        Ok(None)
    }

    /// A tapped buffer after a complete step: [rows, width] f32.
    fn tap(&self, buffer: BufferId) -> Result<&[f32]>;

    /// What it holds.
    fn memory(&self) -> MemoryReport;

    /// While weights are on their way: runs a kind of operation that has not been run yet for some milliseconds, so that its code has
    /// run before it is waited for. `false` where there is none that could be run by what has come. No result depends on it.
    fn warm(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Begins to measure where the time of steps goes, or ends it; what was measured before is forgotten. Where nothing can be
    /// measured, nothing happens.
    fn set_profiling(&mut self, _on: bool) {}

    /// What has been measured; it begins anew. `None` where nothing is.
    fn take_profile(&mut self) -> Option<Profile> {
        None
    }
}
