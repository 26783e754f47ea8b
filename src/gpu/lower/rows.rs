//! Operations on rows by themselves.

use super::Lowering;
use crate::{
    error::Result,
    gpu::{
        dispatch::{Dispatch, Extent, Operand},
        shader::{Kernel, Shader},
    },
    plan::BufferId,
    weights::WeightId,
};

/// Invocations of a workgroup that works element by element.
const WORKGROUP: u32 = 64;

impl Lowering<'_> {
    pub(super) fn embed(&mut self, table: WeightId, scale: f32, out: BufferId) -> Result<()> {
        let (plane, format) = self.weights.plane(table)?;
        let width = self.width(out);
        let shader = Shader::new(Kernel::Embed).format(format);
        let operands = [Operand::Step, Operand::Rows, Operand::Plane(plane), Operand::Embeddings, out.into()];
        let blocks = (width as u32).div_ceil(32);
        let grid = [Extent::Fixed(blocks.div_ceil(WORKGROUP)), Extent::PerRows(1), Extent::Fixed(1)];
        let dispatch = Dispatch::new(shader, &operands, grid);
        self.push(dispatch.with("WIDTH", width as u32).with("BLOCKS", blocks).with("SCALE", scale));
        Ok(())
    }

    pub(super) fn add(&mut self, a: BufferId, b: BufferId, out: BufferId) -> Result<()> {
        let groups = (self.max_len(out) as u32).div_ceil(WORKGROUP);
        let grid = [Extent::Fixed(groups), Extent::Fixed(1), Extent::Fixed(1)];
        let operands = [Operand::Step, a.into(), b.into(), out.into()];
        self.push(Dispatch::new(Shader::new(Kernel::Add), &operands, grid).with("WIDTH", self.width(out) as u32));
        Ok(())
    }

    pub(super) fn select_rows(&mut self, x: BufferId, out: BufferId) -> Result<()> {
        let width = self.width(x) as u32;
        let grid = [Extent::Fixed(width.div_ceil(WORKGROUP)), Extent::PerOutputs(1), Extent::Fixed(1)];
        let operands = [Operand::Step, Operand::Outputs, x.into(), out.into()];
        self.push(Dispatch::new(Shader::new(Kernel::SelectRows), &operands, grid).with("WIDTH", width));
        Ok(())
    }
}
