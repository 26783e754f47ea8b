//! Finding the best logits of the outputs, after the plan's own operations, in steps that want no more than those.

use super::Lowering;
use crate::{
    gpu::{
        best::{SLACK, STRIDE_BYTES},
        dispatch::{Dispatch, Extent, Operand},
        shader::{Kernel, Shader},
    },
    plan::{Op, Rows},
};

/// Blocks of logits of a row, about: many more than are ever wanted, so that there is seldom a second of the best in one.
const BLOCKS: usize = 2048;
/// Blocks that one workgroup of block_best.wgsl goes through.
const BLOCKS_PER_GROUP: usize = 64;

impl Lowering<'_> {
    pub(super) fn best(&mut self) {
        let output = self.plan.output;
        if self.plan.buffers.get(output.0 as usize).is_none_or(|b| b.rows != Rows::Out) {
            return;
        }
        let vocabulary = self.width(output);
        let block_len = vocabulary.div_ceil(BLOCKS).max(1);
        let n_groups = vocabulary.div_ceil(block_len * BLOCKS_PER_GROUP);
        let n_blocks = n_groups * BLOCKS_PER_GROUP;
        let blocks = Operand::Scratch(self.lowered.scratch.len());
        self.lowered.scratch.push(2 * n_blocks * self.plan.max_outputs);
        let sized =
            |dispatch: Dispatch| dispatch.with("VOCABULARY", vocabulary as u32).with("BLOCK_LEN", block_len as u32);
        let grid = [Extent::Fixed(n_groups as u32), Extent::PerOutputs(1), Extent::Fixed(1)];
        let first = Dispatch::new(Shader::new(Kernel::BlockBest), &[output.into(), blocks], grid);
        let grid = [Extent::PerOutputs(1), Extent::Fixed(1), Extent::Fixed(1)];
        let operands = [Operand::Step, output.into(), blocks, Operand::Best];
        let second = Dispatch::new(Shader::new(Kernel::Best), &operands, grid)
            .with("N_BLOCKS", n_blocks as u32)
            .with("STRIDE", (STRIDE_BYTES / 4) as u32)
            .with("SLACK", SLACK as u32);
        self.lowered.best = vec![sized(first), sized(second)];
        self.lowered.choose = self.choose();
    }

    /// What makes the next step of a plan of one row, where that begins with a token.
    fn choose(&self) -> Option<Dispatch> {
        let tables = self.plan.ops.iter().filter_map(|op| match op {
            Op::Embed { table, .. } => Some(*table),
            _ => None,
        });
        let n_tokens = tables.filter_map(|table| self.weights.table(table).ok()).map(|table| table.n_rows).min()?;
        let operands = [Operand::Rows, Operand::Ahead, Operand::Best, Operand::AheadResults];
        let dispatch = Dispatch::new(Shader::new(Kernel::Choose), &operands, [Extent::Fixed(1); 3])
            .with("N_TOKENS", n_tokens as u32)
            .with("SLACK", SLACK as u32);
        (self.forms.runs && self.plan.rows.max() == 1 && self.plan.max_outputs == 1).then_some(dispatch)
    }
}
