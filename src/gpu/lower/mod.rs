//! From a plan's operations to dispatches: one function per operation, in the file of its kind. Pure: looks up where weights
//! are and which forms are in use, creates nothing.

mod rows;

use super::{
    dispatch::{Dispatch, Lowered, Operand},
    forms::Forms,
    weights::Weights,
};
use crate::{
    error::{Error, Result},
    plan::{BufferId, Op, Plan},
};

/// What the functions of this module work on.
pub(super) struct Lowering<'a> {
    plan: &'a Plan,
    weights: &'a Weights,
    forms: Forms,
    lowered: Lowered,
}

/// Lowers a plan whose weights have their places.
pub(super) fn lower(plan: &Plan, weights: &Weights, forms: Forms) -> Result<Lowered> {
    let mut lowering = Lowering { plan, weights, forms, lowered: Lowered::default() };
    for (i, op) in plan.ops.iter().enumerate() {
        let first = lowering.lowered.dispatches.len();
        lowering.op(op)?;
        lowering.lowered.dispatches[first..].iter_mut().for_each(|d| d.op = i);
    }
    Ok(lowering.lowered)
}

impl Lowering<'_> {
    fn op(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::Embed { table, scale, out } => self.embed(*table, *scale, *out),
            Op::Add { a, b, out } => self.add(*a, *b, *out),
            Op::SelectRows { x, out } => self.select_rows(*x, *out),
            other => {
                let _ = self.forms;
                Err(Error::UnsupportedFeature { what: format!("{other:?} on the GPU") })
            }
        }
    }

    fn push(&mut self, dispatch: Dispatch) {
        self.lowered.dispatches.push(dispatch);
    }

    /// Elements per row of a buffer.
    fn width(&self, id: BufferId) -> usize {
        self.plan.buffers.get(id.0 as usize).map_or(0, |b| b.width)
    }

    /// Most elements of a buffer in a step.
    fn max_len(&self, id: BufferId) -> usize {
        self.plan.max_rows(id) * self.width(id)
    }
}

impl From<BufferId> for Operand {
    fn from(id: BufferId) -> Self {
        Self::Buffer(id)
    }
}
