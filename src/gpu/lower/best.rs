//! Finding the best logits of the outputs, after the plan's own operations, in steps that want no more than those, and what makes the next
//! step of them.

use super::{Lowering, rows::lanes};
use crate::{
    gpu::{
        best::{SLACK, STRIDE_BYTES},
        dispatch::{Dispatch, Extent, Operand},
        shader::{EMBED, Kernel, Shader},
    },
    plan::{Op, Rows},
};

/// Blocks of a row that block_best.wgsl makes, about: many more than are ever wanted.
const BLOCKS: usize = 2048;
/// Invocations of a workgroup of block_best.wgsl, each with a block.
const WORKGROUP: usize = 64;

/// The blocks of a row's logits, as shaders/candidates.wgsl has them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blocks {
    pub(super) operand: Operand,
    pub(super) n: usize,
    /// Logits of each.
    pub(super) len: usize,
    /// Those of them that follow each other.
    pub(super) run: usize,
}

impl Lowering<'_> {
    pub(super) fn best(&mut self) {
        let output = self.plan.output;
        if self.plan.buffers.get(output.0 as usize).is_none_or(|b| b.rows != Rows::Out) {
            return;
        }
        let (blocks, of_blocks) = match self.blocks {
            Some(blocks) => (blocks, None),
            None => {
                let (blocks, dispatch) = self.block_best();
                (blocks, Some(dispatch))
            }
        };
        let grid = [Extent::PerOutputs(1), Extent::Fixed(1), Extent::Fixed(1)];
        let operands = [Operand::Step, output.into(), blocks.operand, Operand::Best];
        let best = Dispatch::new(Shader::new(Kernel::Best), &operands, grid);
        let best = self.among(blocks, best).with("STRIDE", (STRIDE_BYTES / 4) as u32);
        self.lowered.best = of_blocks.into_iter().chain([best]).collect();
        self.choose(blocks);
    }

    /// What finds the best of each block, where no product did.
    fn block_best(&mut self) -> (Blocks, Dispatch) {
        let output = self.plan.output;
        let vocabulary = self.width(output);
        let len = vocabulary.div_ceil(BLOCKS).max(1);
        let n_groups = vocabulary.div_ceil(len * WORKGROUP);
        let n = n_groups * WORKGROUP;
        let blocks = Blocks { operand: self.blocks_of(n), n, len, run: 1 };
        let grid = [Extent::Fixed(n_groups as u32), Extent::PerOutputs(1), Extent::Fixed(1)];
        let dispatch = Dispatch::new(Shader::new(Kernel::BlockBest), &[output.into(), blocks.operand], grid);
        (blocks, dispatch.with("VOCABULARY", vocabulary as u32).with("N_BLOCKS", n as u32))
    }

    /// Room for so many blocks of each output.
    pub(super) fn blocks_of(&mut self, n: usize) -> Operand {
        // As many as other teams would make, so that these can be tried on the same buffers.
        let n = if self.plan.max_outputs == 1 { n.max(self.forms.most_blocks) } else { n };
        self.lowered.scratch.push(2 * n * self.plan.max_outputs);
        Operand::Scratch(self.lowered.scratch.len() - 1)
    }

    /// With the constants of shaders/candidates.wgsl.
    fn among(&self, blocks: Blocks, dispatch: Dispatch) -> Dispatch {
        let numbers = [self.width(self.plan.output), blocks.n, blocks.len, blocks.run, SLACK];
        let names = ["VOCABULARY", "N_BLOCKS", "BLOCK_LEN", "RUN", "SLACK"];
        names.into_iter().zip(numbers).fold(dispatch, |dispatch, (name, n)| dispatch.with(name, n as u32))
    }

    /// What makes the next step of a plan of one row, where that begins with a token.
    fn choose(&mut self, blocks: Blocks) {
        let tables = self.plan.ops.iter().filter_map(|op| match op {
            Op::Embed { table, .. } => self.weights.table(*table).ok(),
            _ => None,
        });
        let Some(n_tokens) = tables.map(|table| table.n_rows).min() else { return };
        if !self.forms.runs || self.plan.rows.max() > 1 || self.plan.max_outputs != 1 {
            return;
        }
        let operands = [Operand::Rows, Operand::Ahead, self.plan.output.into(), blocks.operand, Operand::AheadResults];
        let choose = Dispatch::new(Shader::new(Kernel::Choose), &operands, [Extent::Fixed(1); 3]);
        let choose = self.among(blocks, choose).with("N_TOKENS", n_tokens as u32);
        let looks_up = self.looking_up(&choose);
        self.lowered.n_embeds = usize::from(looks_up.is_some());
        self.lowered.choose = Some(looks_up.unwrap_or(choose));
    }

    /// The same with what the first operation does, where that looks up a table in one piece.
    fn looking_up(&self, choose: &Dispatch) -> Option<Dispatch> {
        let Some(Op::Embed { table, scale, out }) = self.plan.ops.first() else { return None };
        let table = self.weights.table(*table).ok()?;
        let [shard] = table.shards else { return None };
        let width = self.width(*out);
        let shader = lanes(Kernel::Choose, width).format(table.format).flag(EMBED, true);
        let mut dispatch = Dispatch { shader, ..choose.clone() };
        let planes = [Some(shard.quants), shard.scales].into_iter().flatten().map(Operand::Plane);
        dispatch.operands.extend((5..).zip([(*out).into()].into_iter().chain(planes)));
        let dispatch =
            dispatch.with("WIDTH", width as u32).with("BLOCKS", table.row_blocks as u32).with("SCALE", *scale);
        self.forms.embeds.then_some(dispatch)
    }
}
