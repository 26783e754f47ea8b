//! Matrix products: which parts go into one dispatch, with which epilogue, in which form.

use super::{
    Lowering,
    best::Blocks,
    rows::{activation_number, capped},
    team::Team,
};
use crate::{
    error::{Error, Result},
    gpu::{
        dispatch::{Dispatch, Extent, Operand},
        forms::Numbers,
        shader::{AS_BYTES, AS_F16, BEST, Kernel, Shader, T_16, T_64},
        weights::{Shard, Table},
    },
    plan::{Activation, BufferId, Epilogue, Lora, MatMul, Norm, NormKind, Part, Rows},
    quant::Format,
    weights::WeightId,
};

/// Rows of x that matrix × vector takes at once.
const VECTOR_ROWS: usize = 8;

/// Rows of the matrices together that a workgroup of matrix × matrix takes (shaders/tiles.wgsl).
const TILE_ROWS: u32 = 64;
/// Rows of x that it takes where a step has no more of them.
const SHORT_TILE: u32 = 16;

/// How a product is computed.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// Matrix × vector, for up to eight vectors at once.
    Vectors(Team),
    /// Matrix × matrix, in steps with so many rows of x.
    Tiles { tile_t: u32, numbers: Numbers, from: u32, to: u32 },
}

/// What is multiplied: rows of a buffer.
#[derive(Clone, Copy)]
struct Source {
    x: Operand,
    width: usize,
    rows: Rows,
    max_rows: usize,
    /// Root mean square only: it is folded into the product.
    norm: Option<Norm>,
}

/// A matrix and where its product goes.
#[derive(Clone, Copy)]
struct Target {
    weight: WeightId,
    bias: Option<WeightId>,
    out: Operand,
}

/// What a dispatch does with its products.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    /// Each goes to its own place.
    None,
    /// One product: `out = residual + scale · y`.
    Add { residual: Operand, scale: f32 },
    /// One: `out = act(y)`.
    Activate(Activation),
    /// One: `out = cap(scale · y)`.
    Scale { scale: f32, soft_cap: Option<f32> },
    /// Two: `out = act(y_0) ⊙ y_1`, to the place of the first.
    Glu(Activation),
}

impl Lowering<'_> {
    pub(super) fn mat_mul(&mut self, m: &MatMul) -> Result<()> {
        let source = self.source(m)?;
        match m.epilogue {
            Epilogue::None => {
                for group in self.weights.groups(m)? {
                    let parts: Vec<&Part> = group.iter().filter_map(|i| m.parts.get(*i)).collect();
                    match parts[..] {
                        [part] => self.part(source, part, Ending::None, part.out.into())?,
                        _ => {
                            let targets: Vec<Target> = parts.iter().map(|p| target(p, p.out.into())).collect();
                            self.product(source, &targets, Ending::None)?;
                        }
                    }
                }
                Ok(())
            }
            Epilogue::Add { residual, scale, out } => {
                let ending = Ending::Add { residual: residual.into(), scale };
                m.parts.iter().try_for_each(|part| self.part(source, part, ending, out.into()))
            }
            Epilogue::Activate { activation, out } => {
                m.parts.iter().try_for_each(|part| self.activated(source, part, activation, out))
            }
            Epilogue::Scale { scale, soft_cap, out } => {
                m.parts.iter().try_for_each(|part| self.scaled(source, part, (scale, soft_cap), out))
            }
            Epilogue::Glu { activation, out } => self.gated(source, m, activation, out),
        }
    }
}

impl Lowering<'_> {
    fn source(&mut self, m: &MatMul) -> Result<Source> {
        let rows = self.plan.buffers.get(m.x.0 as usize).map_or(Rows::New, |b| b.rows);
        let max_rows = self.plan.max_rows(m.x);
        let source = Source { x: m.x.into(), width: self.width(m.x), rows, max_rows, norm: None };
        match m.norm {
            // Only a root mean square can be folded in, and only where all of a row passes by one invocation's team.
            Some(norm) if norm.kind == NormKind::Layer || self.is_tiled(max_rows) => {
                let normed = self.shared_scratch("normed", max_rows * source.width);
                self.norm(m.x, &norm, source.width, normed)?;
                Ok(Source { x: normed, ..source })
            }
            norm => Ok(Source { norm, ..source }),
        }
    }

    fn is_tiled(&self, max_rows: usize) -> bool {
        // Bytes are not precise, and nothing but what other plans take has been checked.
        let is_rough = self.plan.is_precise && self.forms.numbers == Numbers::Bytes;
        max_rows > VECTOR_ROWS && self.forms.tiles && !is_rough
    }

    /// Matrix × matrix: by steps of few rows and of many, where a plan has both.
    fn tiles(&self, source: &Source, format: Format) -> Vec<Form> {
        let numbers = match self.forms.numbers {
            // There are no bytes to multiply.
            Numbers::Bytes if !format.layout().has_scales() => Numbers::F32,
            numbers => numbers,
        };
        let tiles = |tile_t, from, to| Form::Tiles { tile_t, numbers, from, to };
        let long = self.forms.tile_t;
        match self.forms.short_tiles && source.rows == Rows::New {
            true if source.max_rows <= SHORT_TILE as usize => vec![tiles(SHORT_TILE, 0, u32::MAX)],
            true => vec![tiles(SHORT_TILE, 0, SHORT_TILE), tiles(long, SHORT_TILE + 1, u32::MAX)],
            false => vec![tiles(long, 0, u32::MAX)],
        }
    }

    /// A product with its low-rank addition, if it has one: `scale · (x · aᵀ) · bᵀ` joins what the plain product gave.
    fn part(&mut self, source: Source, part: &Part, ending: Ending, out: Operand) -> Result<()> {
        let Some(Lora { a, b, scale }) = part.lora else {
            return self.product(source, &[target(part, out)], ending);
        };
        let (n_rows, rank) = (self.weights.table(part.weight)?.n_rows, self.weights.table(a)?.n_rows);
        let plain = self.shared_scratch("product", source.max_rows * n_rows);
        let low = self.shared_scratch("low rank", source.max_rows * rank);
        self.product(source, &[target(part, plain)], ending)?;
        self.product(source, &[Target { weight: a, bias: None, out: low }], Ending::None)?;
        let low = Source { x: low, width: rank, norm: None, ..source };
        // r + s · (y + scale · (x · aᵀ) · bᵀ) = (r + s · y) + s · scale · …
        let scale = match ending {
            Ending::Add { scale: factor, .. } => factor * scale,
            _ => scale,
        };
        self.product(low, &[Target { weight: b, bias: None, out }], Ending::Add { residual: plain, scale })
    }

    /// `out = act(y)`: with a low-rank addition, which comes first, as an operation of its own.
    fn activated(&mut self, source: Source, part: &Part, activation: Activation, out: BufferId) -> Result<()> {
        if part.lora.is_none() {
            return self.part(source, part, Ending::Activate(activation), out.into());
        }
        let sum = self.shared_scratch("sum", source.max_rows * self.width(out));
        self.part(source, part, Ending::None, sum)?;
        self.activate(sum, activation, out);
        Ok(())
    }

    /// `out = cap(scale · y)`, likewise.
    fn scaled(&mut self, source: Source, part: &Part, (scale, cap): (f32, Option<f32>), out: BufferId) -> Result<()> {
        if part.lora.is_none() {
            return self.part(source, part, Ending::Scale { scale, soft_cap: cap }, out.into());
        }
        let sum = self.shared_scratch("sum", source.max_rows * self.width(out));
        self.part(source, part, Ending::None, sum)?;
        self.scale(sum, scale, cap, out);
        Ok(())
    }

    /// `out = act(gate) ⊙ up`: one dispatch where the matrices lie together, else three.
    fn gated(&mut self, source: Source, m: &MatMul, activation: Activation, out: BufferId) -> Result<()> {
        let groups = self.weights.groups(m)?;
        let targets: Vec<Target> = m.parts.iter().map(|p| target(p, out.into())).collect();
        if groups == [[0, 1]] {
            return self.product(source, &targets, Ending::Glu(activation));
        }
        let [gate_part, up_part] = &m.parts[..] else { return Err(Error::internal("a gate without its pair")) };
        let len = source.max_rows * self.width(out);
        let (gate, up) = (self.shared_scratch("gate", len), self.shared_scratch("up", len));
        self.part(source, gate_part, Ending::None, gate)?;
        self.part(source, up_part, Ending::None, up)?;
        self.glu(gate, up, activation, out);
        Ok(())
    }

    /// One dispatch per shard of the matrices, which are one group.
    fn product(&mut self, source: Source, targets: &[Target], ending: Ending) -> Result<()> {
        let tables: Vec<Table<'_>> = targets.iter().map(|t| self.weights.table(t.weight)).collect::<Result<_>>()?;
        let [first, ..] = tables[..] else { return Err(Error::internal("a product of nothing")) };
        let biases = self.weights.biases(&targets.iter().map(|t| (t.weight, t.bias)).collect::<Vec<_>>())?;
        let norm = source.norm.map(|norm| self.weights.vector(norm.weight)).transpose()?;
        let mut dispatches = vec![];
        for shard in first.shards {
            let n_first = first.n_rows.min(shard.n_rows);
            let n_rows = match (ending, tables.last()) {
                (Ending::None, Some(last)) if tables.len() > 1 => last.row + last.n_rows - first.row,
                _ => n_first,
            };
            let forms = match self.is_tiled(source.max_rows) {
                true => self.tiles(&source, first.format),
                false => vec![Form::Vectors(Team::of(self.forms, first.row_blocks, n_rows, source.max_rows))],
            };
            for form in forms {
                let shader = shader(&source, &first, targets.len(), ending, form).flag("BIAS", biases.is_some());
                let mut dispatch = Dispatch::new(shader, &[], grid(&source, form, ending, n_rows));
                dispatch.operands = operands(&source, targets, ending, shard);
                dispatch = match form {
                    Form::Vectors(team) if self.makes_logits(&source, targets, ending, first.shards) => {
                        self.with_blocks(dispatch, team, n_rows)
                    }
                    Form::Vectors(team) => {
                        let [width, _] = team.grid(n_rows);
                        team.constants(dispatch, width)
                    }
                    Form::Tiles { .. } => dispatch,
                };
                dispatch.operands.extend(norm.map(|plane| (4, Operand::Plane(plane))));
                dispatch.operands.extend(biases.map(|plane| (5, Operand::Plane(plane))));
                let dispatch = dispatch
                    .with("K", source.width as u32)
                    .with("BLOCKS", first.row_blocks as u32)
                    .with("OUTPUTS", u8::from(source.rows == Rows::Out))
                    .with("FIRST_ROW", shard.first_row as u32)
                    .with("ROW_0", first.row as u32)
                    .with("N", n_first as u32)
                    .with("WIDTH", first.n_rows as u32);
                dispatches.push(epilogue(dispatch, &source, ending, &tables));
            }
        }
        dispatches.into_iter().for_each(|d| self.push(d));
        Ok(())
    }

    /// Whether it is the one dispatch that makes the logits of one row.
    fn makes_logits(&self, source: &Source, targets: &[Target], ending: Ending, shards: &[Shard]) -> bool {
        let is_last = matches!(targets, [target] if target.out == self.plan.output.into());
        let is_plain = matches!(ending, Ending::None | Ending::Scale { .. });
        let is_one_row = source.max_rows == 1 && source.rows == Rows::Out;
        self.forms.best_in_products && is_last && is_plain && is_one_row && shards.len() == 1
    }

    /// A product that finds the best of blocks of what it makes.
    fn with_blocks(&mut self, dispatch: Dispatch, team: Team, n_rows: usize) -> Dispatch {
        let rounds = team.rounds(n_rows, self.forms.most_blocks);
        let operand = self.blocks_of(rounds.n_blocks);
        let (run, len) = (rounds.team_rows, rounds.team_rows * rounds.n_rounds);
        self.blocks = Some(Blocks { operand, n: rounds.n_blocks, len, run });
        let shader = dispatch.shader.clone().flag(BEST, true);
        let width = rounds.n_groups as u32;
        let grid = [Extent::Fixed(width), Extent::Fixed(1), Extent::PerOutputs(1)];
        let mut dispatch = team.constants(Dispatch { shader, grid, ..dispatch }, width);
        dispatch.operands.push((10, operand));
        dispatch.with("ROUNDS", rounds.n_rounds as u32)
    }

    /// A buffer of at least this length that operations use for the same purpose, one after the other.
    pub(super) fn shared_scratch(&mut self, purpose: &'static str, len: usize) -> Operand {
        let scratch = &mut self.lowered.scratch;
        let index = *self.shared.get_or_insert_with(purpose, || {
            scratch.push(0);
            scratch.len() - 1
        });
        if let Some(longest) = scratch.get_mut(index) {
            *longest = len.max(*longest);
        }
        Operand::Scratch(index)
    }
}

fn target(part: &Part, out: Operand) -> Target {
    Target { weight: part.weight, bias: part.bias, out }
}

/// What is bound, but for the vectors.
fn operands(source: &Source, targets: &[Target], ending: Ending, shard: &Shard) -> Vec<(u32, Operand)> {
    let out = |i: usize| targets.get(i).filter(|_| i == 0 || ending == Ending::None).map(|t| t.out);
    let residual = match ending {
        Ending::Add { residual, .. } => Some(residual),
        Ending::None | Ending::Activate(_) | Ending::Scale { .. } | Ending::Glu(_) => None,
    };
    let bound = [
        (0, (source.max_rows > 1).then_some(Operand::Step)),
        (1, Some(Operand::Plane(shard.quants))),
        (2, shard.scales.map(Operand::Plane)),
        (3, Some(source.x)),
        (6, residual),
        (7, out(0)),
        (8, out(1)),
        (9, out(2)),
    ];
    bound.into_iter().filter_map(|(binding, operand)| Some((binding, operand?))).collect()
}

/// The constants of the flags that are set.
fn epilogue(mut dispatch: Dispatch, source: &Source, ending: Ending, tables: &[Table<'_>]) -> Dispatch {
    if let Some(norm) = source.norm {
        dispatch = dispatch.with("EPS", norm.eps);
    }
    let (first, rest) = (tables.first(), tables.get(1..).unwrap_or_default());
    match ending {
        Ending::None => {
            for (table, (row, n)) in rest.iter().zip([("ROW_1", "N_1"), ("ROW_2", "N_2")]) {
                dispatch = dispatch.with(row, table.row as u32).with(n, table.n_rows as u32);
            }
            dispatch
        }
        Ending::Add { scale, .. } => dispatch.with("SCALE", scale),
        Ending::Activate(activation) => dispatch.with("ACTIVATION", activation_number(activation)),
        Ending::Scale { scale, soft_cap } => capped(dispatch.with("SCALE", scale), soft_cap),
        Ending::Glu(activation) => {
            let up_row = rest.first().zip(first).map_or(0, |(up, gate)| up.row - gate.row);
            dispatch.with("UP_ROW", up_row as u32).with("ACTIVATION", activation_number(activation))
        }
    }
}

fn shader(source: &Source, table: &Table<'_>, n_parts: usize, ending: Ending, form: Form) -> Shader {
    let is_glu = matches!(ending, Ending::Glu(_));
    let shader = match form {
        Form::Vectors(team) => team.flags(Shader::new(Kernel::Matvec)).flag("ROWS_8", source.max_rows > 1),
        Form::Tiles { tile_t, numbers, .. } => {
            let kernel = if numbers == Numbers::F32 { Kernel::Matmul } else { Kernel::MatmulNarrow };
            let shader = Shader::new(kernel).flag(AS_F16, numbers == Numbers::F16);
            let shader = shader.flag(AS_BYTES, numbers == Numbers::Bytes);
            shader.flag(T_16, tile_t == SHORT_TILE).flag(T_64, tile_t == 64)
        }
    };
    shader
        .format(table.format)
        .flag("COUNTED", source.max_rows > 1)
        .flag("RAGGED", !source.width.is_multiple_of(32))
        .flag("NORM", source.norm.is_some())
        .flag("ADD", matches!(ending, Ending::Add { .. }))
        .flag("ACTIVATED", matches!(ending, Ending::Activate(_)))
        .flag("SCALED", matches!(ending, Ending::Scale { .. }))
        .flag("GLU", is_glu)
        .flag("PARTS_2", !is_glu && n_parts >= 2)
        .flag("PARTS_3", !is_glu && n_parts >= 3)
}

/// Workgroups for the rows of the matrix and of x. Those of a long matrix are laid out in two dimensions.
fn grid(source: &Source, form: Form, ending: Ending, n_rows: usize) -> [Extent; 3] {
    let batches = |each| match source.rows {
        Rows::New => Extent::PerRows(each),
        Rows::Out => Extent::PerOutputs(each),
    };
    match form {
        Form::Vectors(team) => {
            let [width, height] = team.grid(n_rows);
            let each = if source.max_rows > 1 { VECTOR_ROWS as u32 } else { 1 };
            [Extent::Fixed(width), Extent::Fixed(height), batches(each)]
        }
        Form::Tiles { tile_t, from, to, .. } => {
            let each = if matches!(ending, Ending::Glu(_)) { TILE_ROWS / 2 } else { TILE_ROWS };
            let tiles = match (from, to) {
                (0, u32::MAX) => batches(tile_t),
                _ => Extent::RowsBetween { each: tile_t, from, to },
            };
            [Extent::Fixed((n_rows as u32).div_ceil(each)), tiles, Extent::Fixed(1)]
        }
    }
}
