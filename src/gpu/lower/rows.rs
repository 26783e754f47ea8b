//! Operations on rows by themselves: one workgroup or more per row.

use super::Lowering;
use crate::{
    error::Result,
    gpu::{
        dispatch::{Dispatch, Extent, Operand},
        shader::{Kernel, Shader},
    },
    plan::{Activation, BufferId, Norm, NormKind, Rope, RopeStyle},
    weights::WeightId,
};

/// Invocations of a workgroup that works element by element.
pub(super) const WORKGROUP: u32 = 64;

impl Lowering<'_> {
    pub(super) fn embed(&mut self, table: WeightId, scale: f32, out: BufferId) -> Result<()> {
        let width = self.width(out);
        let table = self.weights.table(table)?;
        let blocks = table.row_blocks as u32;
        let mut dispatches = vec![];
        for shard in table.shards {
            let shader = lanes(Kernel::Embed, width).format(table.format);
            let mut operands = vec![Operand::Rows, Operand::Embeddings, out.into(), Operand::Plane(shard.quants)];
            operands.extend(shard.scales.map(Operand::Plane));
            let grid = [Extent::Fixed(blocks.div_ceil(WORKGROUP)), Extent::PerRows(1), Extent::Fixed(1)];
            let dispatch = Dispatch::new(shader, &operands, grid).with("WIDTH", width as u32).with("BLOCKS", blocks);
            let rows = [("FIRST_ROW", shard.first_row as u32), ("N_ROWS", shard.n_rows as u32)];
            dispatches.push(rows.into_iter().fold(dispatch.with("SCALE", scale), |d, (name, n)| d.with(name, n)));
        }
        dispatches.into_iter().for_each(|d| self.push(d));
        Ok(())
    }

    pub(super) fn norm(&mut self, x: BufferId, norm: &Norm, out: impl Into<Operand>) -> Result<()> {
        let weight = self.weights.vector(norm.weight)?;
        let mut operands = vec![x.into(), Operand::Plane(weight), out.into()];
        if let Some(bias) = norm.bias {
            operands.push(Operand::Plane(self.weights.vector(bias)?));
        }
        let width = self.width(x);
        let shader =
            lanes(Kernel::Norm, width).flag("LAYER", norm.kind == NormKind::Layer).flag("BIAS", norm.bias.is_some());
        let grid = [Extent::Fixed(1), self.rows_of(x), Extent::Fixed(1)];
        self.push(Dispatch::new(shader, &operands, grid).with("WIDTH", width as u32).with("EPS", norm.eps));
        Ok(())
    }

    pub(super) fn add(&mut self, a: BufferId, b: BufferId, out: BufferId) {
        let dispatch = self.lane_by_lane(Kernel::Add, &[a.into(), b.into()], out);
        self.push(dispatch);
    }

    pub(super) fn glu(
        &mut self,
        gate: impl Into<Operand>,
        up: impl Into<Operand>,
        activation: Activation,
        out: BufferId,
    ) {
        let dispatch = self.lane_by_lane(Kernel::Glu, &[gate.into(), up.into()], out);
        self.push(dispatch.with("GELU", u8::from(activation == Activation::GeluTanh)));
    }

    pub(super) fn select_rows(&mut self, x: BufferId, out: BufferId) {
        let dispatch = self.lane_by_lane(Kernel::SelectRows, &[Operand::Outputs, x.into()], out);
        self.push(dispatch);
    }

    pub(super) fn rope(&mut self, x: BufferId, rope: &Rope, out: BufferId) {
        let operands = [Operand::Rows, self.frequencies(rope), x.into(), out.into()];
        let width = self.width(x) as u32;
        let grid = [Extent::Fixed(width.div_ceil(WORKGROUP)), Extent::PerRows(1), Extent::Fixed(1)];
        let dispatch = Dispatch::new(Shader::new(Kernel::Rope), &operands, grid).with("WIDTH", width);
        self.push(rotating(dispatch.with("HEAD_SIZE", rope.head_size as u32), rope));
    }

    /// The table of a rotation.
    pub(super) fn frequencies(&mut self, rope: &Rope) -> Operand {
        let ropes = &mut self.lowered.ropes;
        let index = ropes.iter().position(|r| r == rope).unwrap_or(ropes.len());
        if index == ropes.len() {
            ropes.push(*rope);
        }
        Operand::Frequencies(index)
    }

    /// One invocation per lane of `out`, which is bound after `operands`.
    fn lane_by_lane(&self, kernel: Kernel, operands: &[Operand], out: BufferId) -> Dispatch {
        let width = self.width(out);
        let n_lanes = if width.is_multiple_of(4) { width / 4 } else { width } as u32;
        let grid = [Extent::Fixed(n_lanes.div_ceil(WORKGROUP)), self.rows_of(out), Extent::Fixed(1)];
        let operands = [operands, &[out.into()]].concat();
        Dispatch::new(lanes(kernel, width), &operands, grid).with("WIDTH", width as u32)
    }
}

/// A shader on rows of this width (shaders/lanes.wgsl).
fn lanes(kernel: Kernel, width: usize) -> Shader {
    Shader::new(kernel).flag("VEC4", width.is_multiple_of(4))
}

/// The constants of shaders/rotation.wgsl.
pub(super) fn rotating(dispatch: Dispatch, rope: &Rope) -> Dispatch {
    dispatch.with("DIMS", rope.dims as u32).with("NEOX", u8::from(rope.style == RopeStyle::Neox))
}
