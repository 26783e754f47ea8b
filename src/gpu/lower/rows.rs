//! Operations on rows by themselves: one workgroup or more per row.

use super::{Lowering, MAX_HEAD_SIZE, MAX_PAIRS};
use crate::{
    error::{Error, Result},
    gpu::{
        dispatch::{Dispatch, Extent, Operand},
        shader::{CAP, Kernel, Name, Shader},
        weights::{Shard, Table},
    },
    plan::{Activation, BufferId, Norm, NormKind, Rope, RopeStyle, RowIndex},
    weights::WeightId,
};

/// Invocations of a workgroup that works element by element.
pub(super) const WORKGROUP: u32 = 64;

impl Lowering<'_> {
    pub(super) fn embed(&mut self, table: WeightId, scale: f32, out: BufferId) -> Result<()> {
        let width = self.width(out);
        let (table, shader) = (self.weights.table(table)?, lanes(Kernel::Embed, width));
        let operands = [Operand::Rows, Operand::Embeddings, out.into()];
        let dispatches = read_rows(&shader, table, width, operands, &[("SCALE", f64::from(scale))]);
        dispatches.into_iter().for_each(|d| self.push(d));
        Ok(())
    }

    pub(super) fn add_row(&mut self, x: BufferId, table: WeightId, index: RowIndex, out: BufferId) -> Result<()> {
        let width = self.width(out);
        let (offset, is_segment) = match index {
            RowIndex::Position(offset) => (offset, false),
            RowIndex::Segment => (0, true),
        };
        let constants = [("OFFSET", f64::from(offset as u32)), ("SEGMENT", f64::from(u8::from(is_segment)))];
        let table = self.weights.table(table)?;
        let shader = lanes(Kernel::Embed, width).flag("ADD", true);
        let dispatches = read_rows(&shader, table, width, [Operand::Rows, x.into(), out.into()], &constants);
        dispatches.into_iter().for_each(|d| self.push(d));
        Ok(())
    }

    /// Each run of `size` elements of a row by itself.
    pub(super) fn norm(&mut self, x: BufferId, norm: &Norm, size: usize, out: impl Into<Operand>) -> Result<()> {
        let dispatch = self.normalized(x, norm, size, out)?;
        self.push(dispatch);
        Ok(())
    }

    /// `out = residual + scale · norm(x)`
    pub(super) fn norm_add(
        &mut self,
        x: BufferId,
        norm: &Norm,
        (residual, scale): (BufferId, f32),
        out: BufferId,
    ) -> Result<()> {
        let mut dispatch = self.normalized(x, norm, self.width(x), out)?;
        dispatch.operands.push((4, residual.into()));
        let shader = dispatch.shader.clone().flag("ADD", true);
        self.push(Dispatch { shader, ..dispatch }.with("SCALE", scale));
        Ok(())
    }

    fn normalized(&self, x: BufferId, norm: &Norm, size: usize, out: impl Into<Operand>) -> Result<Dispatch> {
        let weight = self.weights.vector(norm.weight)?;
        let mut operands = vec![x.into(), Operand::Plane(weight), out.into()];
        if let Some(bias) = norm.bias {
            operands.push(Operand::Plane(self.weights.vector(bias)?));
        }
        let n_runs = (self.width(x) / size.max(1)) as u32;
        let shader =
            lanes(Kernel::Norm, size).flag("LAYER", norm.kind == NormKind::Layer).flag("BIAS", norm.bias.is_some());
        let grid = [Extent::Fixed(n_runs), self.rows_of(x), Extent::Fixed(1)];
        let dispatch = Dispatch::new(shader, &operands, grid).with("WIDTH", size as u32).with("RUNS", n_runs);
        Ok(dispatch.with("EPS", norm.eps))
    }

    pub(super) fn add(&mut self, a: BufferId, b: BufferId, scale: f32, out: BufferId) {
        let dispatch = self.lane_by_lane(Kernel::Add, &[a.into(), b.into()], out);
        self.push(dispatch.with("SCALE", scale));
    }

    pub(super) fn activate(&mut self, x: impl Into<Operand>, activation: Activation, out: BufferId) {
        let dispatch = self.lane_by_lane(Kernel::Activate, &[x.into()], out);
        self.push(dispatch.with("ACTIVATION", activation_number(activation)));
    }

    pub(super) fn scale(&mut self, x: impl Into<Operand>, scale: f32, soft_cap: Option<f32>, out: BufferId) {
        let dispatch = self.lane_by_lane(Kernel::Scale, &[x.into()], out);
        self.push(capped(dispatch, soft_cap).with("SCALE", scale));
    }

    pub(super) fn mean_rows(&mut self, x: BufferId, out: BufferId) {
        let dispatch = self.lane_by_lane(Kernel::MeanRows, &[Operand::Rows, Operand::Outputs, x.into()], out);
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
        self.push(dispatch.with("ACTIVATION", activation_number(activation)));
    }

    pub(super) fn select_rows(&mut self, x: BufferId, out: BufferId) {
        // Of one row there is nothing to select.
        if self.plan.rows.max() == 1 && self.plan.max_outputs == 1 && !self.plan.stays(out) {
            self.lowered.same.push((out, x));
            return;
        }
        let dispatch = self.lane_by_lane(Kernel::SelectRows, &[Operand::Outputs, x.into()], out);
        self.push(dispatch);
    }

    pub(super) fn rope(&mut self, x: BufferId, rope: &Rope, out: BufferId) -> Result<()> {
        let operands = [Operand::Rows, self.frequencies(rope)?, x.into(), out.into()];
        let width = self.width(x) as u32;
        let grid = [Extent::Fixed(width.div_ceil(WORKGROUP)), Extent::PerRows(1), Extent::Fixed(1)];
        let dispatch = Dispatch::new(Shader::new(Kernel::Rope), &operands, grid).with("WIDTH", width);
        self.push(rotating(dispatch.with("HEAD_SIZE", rope.head_size as u32), rope));
        Ok(())
    }

    /// The table of a rotation.
    pub(super) fn frequencies(&mut self, rope: &Rope) -> Result<Operand> {
        if rope.dims / 2 > MAX_PAIRS {
            let what =
                format!("a rotation of {} elements on the GPU (up to {MAX_HEAD_SIZE} are supported there)", rope.dims);
            return Err(Error::UnsupportedFeature { what });
        }
        let ropes = &mut self.lowered.ropes;
        let index = ropes.iter().position(|r| r == rope).unwrap_or(ropes.len());
        if index == ropes.len() {
            ropes.push(*rope);
        }
        Ok(Operand::Frequencies(index))
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

/// embed.wgsl, once for each shard of the table.
fn read_rows(
    shader: &Shader,
    table: Table<'_>,
    width: usize,
    operands: [Operand; 3],
    constants: &[(Name, f64)],
) -> Vec<Dispatch> {
    let blocks = table.row_blocks as u32;
    let of_shard = |shard: &Shard| {
        let planes = [Some(shard.quants), shard.scales].into_iter().flatten().map(Operand::Plane);
        let operands: Vec<Operand> = operands.into_iter().chain(planes).collect();
        let grid = [Extent::Fixed(blocks.div_ceil(WORKGROUP)), Extent::PerRows(1), Extent::Fixed(1)];
        let dispatch = Dispatch::new(shader.clone().format(table.format), &operands, grid);
        let dispatch = dispatch.with("WIDTH", width as u32).with("BLOCKS", blocks);
        let dispatch = dispatch.with("FIRST_ROW", shard.first_row as u32).with("N_ROWS", shard.n_rows as u32);
        constants.iter().fold(dispatch, |d, (name, value)| d.with(name, *value))
    };
    table.shards.iter().map(of_shard).collect()
}

/// The constant of shaders/activation.wgsl.
pub(super) fn activation_number(activation: Activation) -> u32 {
    match activation {
        Activation::Silu => 0,
        Activation::GeluTanh => 1,
        Activation::Gelu => 2,
        Activation::Relu => 3,
        Activation::Tanh => 4,
        Activation::Identity => 5,
    }
}

/// With the cap of shaders/cap.wgsl, where there is one.
pub(super) fn capped(dispatch: Dispatch, soft_cap: Option<f32>) -> Dispatch {
    let Some(cap) = soft_cap else { return dispatch };
    let shader = dispatch.shader.clone().flag(CAP, true);
    Dispatch { shader, ..dispatch }.with("CAP", cap)
}

/// A shader on rows of this width (shaders/lanes.wgsl).
pub(super) fn lanes(kernel: Kernel, width: usize) -> Shader {
    Shader::new(kernel).flag("VEC4", width.is_multiple_of(4))
}

/// The constants of shaders/rotation.wgsl.
pub(super) fn rotating(dispatch: Dispatch, rope: &Rope) -> Dispatch {
    dispatch.with("DIMS", rope.dims as u32).with("NEOX", u8::from(rope.style == RopeStyle::Neox))
}
