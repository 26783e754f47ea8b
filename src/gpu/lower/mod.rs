//! From a plan's operations to dispatches: one function per operation, in the file of its kind. Pure: looks up where weights
//! are and which forms are in use, creates nothing.

mod attention;
mod best;
mod matmul;
mod rows;
mod team;

pub(super) use self::attention::MIN_TILED_ROWS;
use self::{attention::RopeKv, best::Blocks};
use super::{
    dispatch::{Dispatch, Extent, Lowered, Operand},
    forms::Forms,
    weights::Weights,
};
use crate::{
    error::Result,
    kv::KvGeometry,
    plan::{BufferId, Op, Plan, Rows},
    sorted::SortedMap,
};

/// The largest head that attention takes.
pub(super) const MAX_HEAD_SIZE: usize = 256;

/// The most pairs that a rotation turns.
pub(super) const MAX_PAIRS: usize = MAX_HEAD_SIZE / 2;

/// What the functions of this module work on.
pub(super) struct Lowering<'a> {
    plan: &'a Plan,
    weights: &'a Weights,
    geometry: &'a KvGeometry,
    forms: Forms,
    lowered: Lowered,
    /// Scratch by what it is for.
    shared: SortedMap<&'static str, usize>,
    /// The blocks of the logits, where a product makes them.
    blocks: Option<Blocks>,
}

/// Lowers a plan whose weights have their places.
pub(super) fn lower(plan: &Plan, weights: &Weights, geometry: &KvGeometry, forms: Forms) -> Result<Lowered> {
    let (lowered, shared) = (Lowered::default(), SortedMap::default());
    let mut lowering = Lowering { plan, weights, geometry, forms, lowered, shared, blocks: None };
    for (i, op) in plan.ops.iter().enumerate() {
        let first = lowering.lowered.dispatches.len();
        lowering.op(op)?;
        lowering.lowered.dispatches[first..].iter_mut().for_each(|d| d.op = i);
    }
    lowering.best();
    Ok(lowering.lowered)
}

impl Lowering<'_> {
    fn op(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::Embed { table, scale, out } => return self.embed(*table, *scale, *out),
            Op::AddRow { x, table, index, out } => return self.add_row(*x, *table, *index, *out),
            Op::Norm { x, norm, size, out } => return self.norm(*x, norm, *size, *out),
            Op::NormAdd { x, norm, residual, scale, out } => return self.norm_add(*x, norm, (*residual, *scale), *out),
            Op::MatMul(m) => return self.mat_mul(m),
            Op::Rope { x, rope, out, .. } => return self.rope(*x, rope, *out),
            Op::KvWrite { layer, k, v } => return self.kv_write(*layer, *k, *v),
            &Op::RopeKv { layer, heads, ref rope, q, k, v, out, .. } => {
                let (widths, [q, k, v, out]) = ([q, k].map(|id| self.width(id)), [q, k, v, out].map(Operand::from));
                return self.rope_kv(RopeKv { layer, heads, rope, q, k, v, widths, out, norms: None });
            }
            Op::Attention(a) => return self.attention(a),
            Op::Glu { gate, up, activation, out } => self.glu(*gate, *up, *activation, *out),
            Op::ShortConv { layer, x, weight, out } => return self.short_conv(*layer, *x, *weight, *out),
            Op::Activate { x, activation, out } => self.activate(*x, *activation, *out),
            Op::Add { a, b, scale, out } => self.add(*a, *b, *scale, *out),
            Op::MeanRows { x, out } => self.mean_rows(*x, *out),
            Op::Scale { x, scale, soft_cap, out } => self.scale(*x, *scale, *soft_cap, *out),
            Op::SelectRows { x, out } => self.select_rows(*x, *out),
        }
        Ok(())
    }

    fn push(&mut self, dispatch: Dispatch) {
        self.lowered.dispatches.push(dispatch);
    }

    /// Elements per row of a buffer.
    fn width(&self, id: BufferId) -> usize {
        self.plan.buffers.get(id.0 as usize).map_or(0, |b| b.width)
    }

    /// One workgroup per row of a buffer.
    fn rows_of(&self, id: BufferId) -> Extent {
        match self.plan.buffers.get(id.0 as usize).map(|b| b.rows) {
            Some(Rows::Out) => Extent::PerOutputs(1),
            _ => Extent::PerRows(1),
        }
    }
}

impl From<BufferId> for Operand {
    fn from(id: BufferId) -> Self {
        Self::Buffer(id)
    }
}
