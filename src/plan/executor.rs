//! What runs a plan. An executor owns the weights, the key-value pages and the buffers; it is told what to do and asks
//! nothing upward.

use std::sync::Arc;

use super::{BufferId, Plan};
use crate::{
    error::Result,
    kv::PageId,
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
    /// Position in its sequence; rows of one sequence are consecutive and ascending.
    pub position: u32,
    /// Index into [`Step::sequences`].
    pub sequence: u32,
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
    /// [n, D] f32: rows for [`RowInput::Embedding`].
    pub embeddings: &'a [f32],
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
/// [`write_weight`](Self::write_weight) until all are complete, [`prepare`](Self::prepare) (any time), then steps.
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

    /// Appends the first `n_positions` of a page to `bytes` in canonical order: for each layer, k then v, each
    /// [position, G, K] in the cache's format, little-endian.
    fn kv_read(&mut self, page: PageId, n_positions: usize, bytes: &mut Vec<u8>) -> Result<()>;

    /// The inverse of [`kv_read`](Self::kv_read).
    fn kv_write(&mut self, page: PageId, n_positions: usize, bytes: &[u8]) -> Result<()>;

    /// Starts a step; a step that was begun before and not finished is dropped (what it wrote to the cache lies past the
    /// sequence's length and does not count).
    fn begin(&mut self, slot: PlanSlot, step: &Step) -> Result<()>;

    /// Runs up to `max_ops` further operations of the step; `true` when the step is complete.
    fn advance(&mut self, max_ops: usize) -> Result<bool>;

    /// The plan's output for the o-th row that asked for it, after a complete step: [V] f32.
    fn output(&self, o: usize) -> Result<&[f32]>;

    /// A tapped buffer after a complete step: [rows, width] f32.
    fn tap(&self, buffer: BufferId) -> Result<&[f32]>;

    /// What it holds.
    fn memory(&self) -> MemoryReport;
}
