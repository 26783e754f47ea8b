//! A model recorded once as a list of typed operations, and then run. The plan is the only path: prefill, decode,
//! verify, tests and profiler all run plans.
//!
//! [`Builder`] records (and checks shapes), [`fuse`] rewrites plan to plan, [`memory`] gives every buffer its place,
//! [`dump`] prints. [`Executor`] is what runs a plan; executors live one layer up.

mod builder;
mod check;
pub mod dump;
mod executor;
pub mod fuse;
pub mod memory;
mod op;
mod profile;
mod signal;

pub use builder::{AttentionSpec, Builder};
pub use executor::{Ahead, Executor, Memory, MemoryReport, PlanSlot, Progress, Row, RowInput, Step, Want};
pub use op::{
    Activation, Append, Attention, BufferId, Epilogue, Lora, MatMul, Norm, NormKind, Op, Part, PositionBias, QkNorms,
    Rope, RopeStyle, RowIndex, Runs, Sees,
};
pub use profile::{KindTime, Profile};
pub use signal::Signal;

use crate::{
    error::{Error, Result},
    weights::WeightId,
};

/// How many rows (T) a step of a plan may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowBound {
    /// Exactly one: decode.
    One,
    /// Any number from 1 to this: verify (8), prefill (a chunk).
    UpTo(usize),
}

impl RowBound {
    /// The largest T.
    pub fn max(self) -> usize {
        match self {
            Self::One => 1,
            Self::UpTo(n) => n,
        }
    }
}

/// The symbolic number of rows of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// T: the step's new rows.
    New,
    /// The subset of T whose logits the step asks for.
    Out,
}

/// A buffer: [rows, width] f32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buffer {
    /// Name for dumps and taps, such as `blk.3.attn_out`.
    pub name: String,
    /// Symbolic number of rows.
    pub rows: Rows,
    /// Elements per row.
    pub width: usize,
}

/// A model's work for one step, recorded.
///
/// Invariant: operations are in an order in which every buffer is written before it is read, and written once.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// For people: `llama decode`.
    pub name: String,
    /// How many rows a step may have.
    pub rows: RowBound,
    /// How many of them may ask for logits.
    pub max_outputs: usize,
    /// Every buffer, by [`BufferId`].
    pub buffers: Vec<Buffer>,
    /// The operations in order.
    pub ops: Vec<Op>,
    /// The result: [Out, V] f32 logits, or what else the model gives for a row that is asked for (embeddings, labels).
    pub output: BufferId,
    /// Buffers that stay readable after a step ([`Executor::tap`]).
    pub taps: Vec<BufferId>,
    /// Whether an executor that rounds what it multiplies to 8 bits is to keep more of it, for some of the speed: for plans whose
    /// probabilities are asked for. Which of two texts is the more probable is often a matter of less than 8 bits take away.
    pub is_precise: bool,
}

impl Plan {
    /// The largest number of rows of a buffer.
    pub fn max_rows(&self, id: BufferId) -> usize {
        match self.buffers[id.0 as usize].rows {
            Rows::New => self.rows.max(),
            Rows::Out => self.max_outputs,
        }
    }

    /// Whether a buffer is to be read after the step: the output and the taps.
    pub fn stays(&self, id: BufferId) -> bool {
        self.output == id || self.taps.contains(&id)
    }

    /// Makes the buffer with this name a tap. To be called before the plan is fused: fusion keeps taps, and what it has
    /// taken away cannot be tapped.
    pub fn tap(&mut self, name: &str) -> Result<BufferId> {
        let id = self.find(name).filter(|id| self.ops.iter().any(|op| op.writes().contains(id)));
        let id =
            id.ok_or_else(|| Error::InvalidArgument { what: format!("plan {} has no buffer {name}", self.name) })?;
        if !self.taps.contains(&id) {
            self.taps.push(id);
        }
        Ok(id)
    }

    /// The buffer with this name.
    pub fn find(&self, name: &str) -> Option<BufferId> {
        self.buffers.iter().position(|b| b.name == name).map(|i| BufferId(i as u32))
    }
}

impl Op {
    /// The buffers that the operation reads.
    pub fn reads(&self) -> Vec<BufferId> {
        match self {
            Self::Embed { .. } => vec![],
            Self::AddRow { x, .. }
            | Self::Norm { x, .. }
            | Self::Rope { x, .. }
            | Self::ShortConv { x, .. }
            | Self::Activate { x, .. }
            | Self::SelectRows { x, .. }
            | Self::MeanRows { x, .. }
            | Self::Scale { x, .. } => vec![*x],
            Self::MatMul(m) => match m.epilogue {
                Epilogue::Add { residual, .. } => vec![m.x, residual],
                Epilogue::None | Epilogue::Activate { .. } | Epilogue::Scale { .. } | Epilogue::Glu { .. } => vec![m.x],
            },
            Self::NormAdd { x, residual, .. } => vec![*x, *residual],
            Self::KvWrite { k, v, .. } => vec![*k, *v],
            Self::RopeKv { q, k, v, .. } => vec![*q, *k, *v],
            Self::Attention(a) => {
                let appended = a.append.into_iter().flat_map(|append| [append.k, append.v]);
                std::iter::once(a.q).chain(appended).collect()
            }
            Self::Glu { gate, up, .. } => vec![*gate, *up],
            Self::Add { a, b, .. } => vec![*a, *b],
        }
    }

    /// The layer whose cache it reads or writes.
    pub fn cache_layer(&self) -> Option<usize> {
        match self {
            Self::KvWrite { layer, .. } | Self::RopeKv { layer, .. } | Self::ShortConv { layer, .. } => Some(*layer),
            Self::Attention(a) => Some(a.layer),
            _ => None,
        }
    }

    /// The buffers that the operation writes.
    pub fn writes(&self) -> Vec<BufferId> {
        match self {
            Self::Embed { out, .. }
            | Self::AddRow { out, .. }
            | Self::Norm { out, .. }
            | Self::NormAdd { out, .. }
            | Self::Rope { out, .. }
            | Self::RopeKv { out, .. }
            | Self::ShortConv { out, .. }
            | Self::Activate { out, .. }
            | Self::Glu { out, .. }
            | Self::Add { out, .. }
            | Self::SelectRows { out, .. }
            | Self::MeanRows { out, .. }
            | Self::Scale { out, .. } => vec![*out],
            Self::MatMul(m) => match m.epilogue {
                Epilogue::None => m.parts.iter().map(|p| p.out).collect(),
                Epilogue::Add { out, .. }
                | Epilogue::Activate { out, .. }
                | Epilogue::Scale { out, .. }
                | Epilogue::Glu { out, .. } => vec![out],
            },
            Self::KvWrite { .. } => vec![],
            Self::Attention(a) => vec![a.out],
        }
    }

    /// The weights that the operation reads.
    pub fn weights(&self) -> Vec<WeightId> {
        fn norm_weights(n: &Norm) -> impl Iterator<Item = WeightId> {
            std::iter::once(n.weight).chain(n.bias)
        }
        match self {
            Self::Embed { table, .. } | Self::AddRow { table, .. } => vec![*table],
            Self::ShortConv { weight, .. } => vec![*weight],
            Self::Attention(a) => {
                let of_append = a.append.iter().flat_map(|append| {
                    let norms = append.norms.into_iter().flat_map(|norms| [norms.q, norms.k]);
                    append.rope.factors.into_iter().chain(norms)
                });
                a.bias.iter().map(|bias| bias.table).chain(of_append).collect()
            }
            Self::Norm { norm, .. } | Self::NormAdd { norm, .. } => norm_weights(norm).collect(),
            Self::MatMul(m) => {
                let parts = m.parts.iter().flat_map(|p| {
                    std::iter::once(p.weight).chain(p.bias).chain(p.lora.into_iter().flat_map(|l| [l.a, l.b]))
                });
                m.norm.iter().flat_map(norm_weights).chain(parts).collect()
            }
            Self::Rope { rope, .. } | Self::RopeKv { rope, .. } => rope.factors.into_iter().collect(),
            Self::KvWrite { .. }
            | Self::Activate { .. }
            | Self::Glu { .. }
            | Self::Add { .. }
            | Self::SelectRows { .. }
            | Self::MeanRows { .. }
            | Self::Scale { .. } => vec![],
        }
    }
}
