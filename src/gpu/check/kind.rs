//! What operations have in common that are the same to a shader. Called by `sample`.

use super::rename::rename;
use crate::{
    plan::{Attention, BufferId, Op, Rows},
    quant::Format,
    weights::WeightId,
};

/// What an operation is to a shader.
#[derive(PartialEq)]
pub(super) struct Kind {
    /// Without ids and layers.
    pub(super) op: Op,
    /// Rows and widths of what it reads and writes.
    pub(super) buffers: Vec<(Rows, usize)>,
    /// Formats and shapes.
    pub(super) weights: Vec<(Format, Vec<usize>)>,
}

/// What the operations of a sample have in common.
#[derive(PartialEq)]
pub(super) struct Group {
    pub(super) is_wide: bool,
    /// Of the one kind that is in shards.
    pub(super) split: Option<Kind>,
    pub(super) makes_logits: bool,
}

impl Group {
    /// Samples stand in the order of this.
    pub(super) fn place(&self) -> (bool, bool, bool) {
        (self.is_wide, self.split.is_some(), self.makes_logits)
    }
}

/// An operation without ids and layers, and the ids of its buffers and weights.
pub(super) fn without_ids(op: &Op) -> (Op, Vec<BufferId>, Vec<WeightId>) {
    let (mut buffers, mut weights) = (vec![], vec![]);
    let mut blank = op.clone();
    rename(
        &mut blank,
        &mut |id| {
            buffers.push(id);
            BufferId(0)
        },
        &mut |id| {
            weights.push(id);
            WeightId(0)
        },
    );
    if let Op::KvWrite { layer, .. }
    | Op::RopeKv { layer, .. }
    | Op::ShortConv { layer, .. }
    | Op::Attention(Attention { layer, .. }) = &mut blank
    {
        *layer = 0;
    }
    (blank, buffers, weights)
}
