//! What a plan becomes: a list of dispatches, each with everything that is known before a step. Pure data; `lower/` makes
//! it, `record` turns it into commands.

use super::shader::{Name, Shader};
use crate::plan::{BufferId, PositionBias, Rope};

/// One dispatch.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    /// Its text.
    pub shader: Shader,
    /// Its `override` constants.
    pub constants: Vec<(Name, f64)>,
    /// What is bound, by binding number.
    pub operands: Vec<(u32, Operand)>,
    /// Number of workgroups.
    pub grid: [Extent; 3],
    /// The operation of the plan that it is part of; lowering sets it.
    pub op: usize,
}

/// Something that a dispatch reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operand {
    /// The step's numbers (uniform).
    Step,
    /// The step's rows.
    Rows,
    /// The row of a step that has no other (uniform: of storage there are few bindings).
    OnlyRow,
    /// Which rows ask for outputs.
    Outputs,
    /// The pages of the step's sequences.
    Pages,
    /// The step's embedding rows, [n, D] f32.
    Embeddings,
    /// A buffer of the plan.
    Buffer(BufferId),
    /// A buffer that only lowering knows of: an index into [`Lowered::scratch`].
    Scratch(usize),
    /// A plane of weights, as `weights` numbers them.
    Plane(usize),
    /// Keys and values of a layer.
    Cache(usize),
    /// The frequencies of a rotation: an index into [`Lowered::ropes`].
    Frequencies(usize),
    /// The biases of attention by distance: an index into [`Lowered::biases`].
    Biases(usize),
    /// The best logits of the outputs.
    Best,
    /// What a run of steps was told (shaders/choose.wgsl).
    Ahead,
    /// The best logits of every step of a run, and what was chosen.
    AheadResults,
}

/// Biases by distance as a kernel wants them: [H, 2 · radius + 1].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Biases {
    /// Where they come from.
    pub bias: PositionBias,
    /// H
    pub heads: usize,
    /// Past this distance either way all are the same, or no step goes.
    pub radius: usize,
}

impl Biases {
    /// Length, f32 elements.
    pub fn len(&self) -> usize {
        self.heads * (2 * self.radius + 1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.heads == 0
    }
}

/// Workgroups along one dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// That many.
    Fixed(u32),
    /// One for so many new rows.
    PerRows(u32),
    /// One for so many rows that ask for outputs.
    PerOutputs(u32),
    /// One for so many new rows where there are from..=to of them, else none.
    #[expect(missing_docs, reason = "said above")]
    RowsBetween { each: u32, from: u32, to: u32 },
    /// One for each part of what the farthest row sees.
    PerParts(Parts),
    /// That many where there are several parts, else none.
    IfParts(Parts, u32),
}

/// How many of what a dispatch is for a step has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// T
    pub rows: usize,
    /// Rows that ask for outputs.
    pub outputs: usize,
    /// Positions up to the farthest row's, with its own.
    pub positions: usize,
}

impl Counts {
    /// Workgroups of a dispatch.
    pub fn of(self, grid: [Extent; 3]) -> [u32; 3] {
        grid.map(|extent| extent.of(self))
    }
}

/// The parts that what a row sees is cut into, as shaders/parts.wgsl says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Positions of each, at least.
    pub len: u32,
    /// Positions that are seen, at most.
    pub window: u32,
}

impl Parts {
    /// Most parts: many workgroups, few results to bring together.
    pub const MOST: u32 = 32;

    /// How many there are.
    pub fn of(self, n_positions: usize) -> u32 {
        let n_seen = u32::try_from(n_positions).unwrap_or(u32::MAX).min(self.window);
        (n_seen / self.len.max(1)).clamp(1, Self::MOST)
    }
}

impl Extent {
    /// The number for a step.
    pub fn of(self, counts: Counts) -> u32 {
        match self {
            Self::Fixed(n) => n,
            Self::PerRows(each) => (counts.rows as u32).div_ceil(each),
            Self::PerOutputs(each) => (counts.outputs as u32).div_ceil(each),
            Self::RowsBetween { each, from, to } => {
                let n = counts.rows as u32;
                if (from..=to).contains(&n) { n.div_ceil(each) } else { 0 }
            }
            Self::PerParts(parts) => parts.of(counts.positions),
            Self::IfParts(parts, n) => {
                if parts.of(counts.positions) > 1 {
                    n
                } else {
                    0
                }
            }
        }
    }
}

/// A plan as dispatches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lowered {
    /// In order.
    pub dispatches: Vec<Dispatch>,
    /// Those that find the best logits of the outputs, where a step wants them: of blocks, where no product does, then of all.
    pub best: Vec<Dispatch>,
    /// What finds the best logits of one row and makes the next step of them, in place of the last of `best`, where runs can be.
    pub choose: Option<Dispatch>,
    /// So many of the first dispatches `choose` does by itself, for the step behind it.
    pub n_embeds: usize,
    /// Buffers that are no more than another name: of the first, which lies where the second does.
    pub same: Vec<(BufferId, BufferId)>,
    /// Lengths of the buffers that only lowering knows of, f32 elements.
    pub scratch: Vec<usize>,
    /// The rotations, each once.
    pub ropes: Vec<Rope>,
    /// The biases by distance, each once.
    pub biases: Vec<Biases>,
}

impl Lowered {
    /// The dispatches of a step of a run behind another.
    pub fn ahead(&self) -> impl Iterator<Item = &Dispatch> {
        let of_blocks = self.best.split_last().map_or(&[][..], |(_, first)| first);
        self.dispatches.iter().skip(self.n_embeds).chain(of_blocks).chain(&self.choose)
    }

    /// Every dispatch that there may be.
    pub fn all(&self) -> impl Iterator<Item = &Dispatch> {
        self.dispatches.iter().chain(&self.best).chain(&self.choose)
    }
}

impl Dispatch {
    /// A dispatch whose operands are bound in order, from binding 0.
    pub fn new(shader: Shader, operands: &[Operand], grid: [Extent; 3]) -> Self {
        let operands = operands.iter().enumerate().map(|(i, operand)| (i as u32, *operand)).collect();
        Self { shader, constants: vec![], operands, grid, op: 0 }
    }

    /// Sets an `override` constant.
    pub fn with(mut self, name: Name, value: impl Into<f64>) -> Self {
        self.constants.push((name, value.into()));
        self
    }
}
