//! Records a model as a plan. The methods read like ordinary calls; each checks the shapes of what it is given, so that a
//! file whose tensors do not fit is refused before any weight arrives, with expected and actual shapes.

use super::{
    Activation, Attention, Buffer, BufferId, Epilogue, MatMul, Norm, NormKind, Op, Part, Plan, PositionBias, Rope,
    RowBound, RowIndex, Rows, Sees,
};
use crate::{
    error::{Error, Result},
    weights::{WeightId, Weights},
};

/// Records operations one after the other.
#[derive(Debug)]
pub struct Builder<'a> {
    weights: &'a Weights,
    name: String,
    rows: RowBound,
    max_outputs: usize,
    buffers: Vec<Buffer>,
    ops: Vec<Op>,
}

impl<'a> Builder<'a> {
    /// Starts a plan for steps of `rows` rows of which at most `max_outputs` ask for logits.
    pub fn new(name: impl Into<String>, weights: &'a Weights, rows: RowBound, max_outputs: usize) -> Self {
        Self { weights, name: name.into(), rows, max_outputs, buffers: vec![], ops: vec![] }
    }

    /// Ends the plan: `output` holds the result.
    pub fn finish(self, output: BufferId) -> Plan {
        Plan {
            name: self.name,
            rows: self.rows,
            max_outputs: self.max_outputs,
            buffers: self.buffers,
            ops: self.ops,
            output,
            taps: vec![],
            is_precise: false,
        }
    }

    /// Looks a weight up by its GGUF name; it must have exactly this shape.
    pub fn weight(&self, name: &str, shape: &[usize]) -> Result<WeightId> {
        self.optional_weight(name, shape)?
            .ok_or_else(|| Error::file(format!("tensor {name} {shape:?} is missing from the file")))
    }

    /// Like [`Self::weight`] for a weight that may be absent. One that is there with another shape is an error.
    pub fn optional_weight(&self, name: &str, shape: &[usize]) -> Result<Option<WeightId>> {
        let Some(id) = self.weights.find(name) else { return Ok(None) };
        let actual = &self.weights.spec(id).shape;
        if actual != shape {
            return Err(Error::file(format!("tensor {name} has the shape {actual:?}, expected {shape:?}")));
        }
        Ok(Some(id))
    }

    /// Rows of `table` [V, D] for the step's tokens, times `scale`: [T, D].
    pub fn embed(&mut self, table: WeightId, scale: f32) -> BufferId {
        let out = self.buffer("embd", Rows::New, self.weights.spec(table).row_len());
        self.ops.push(Op::Embed { table, scale, out });
        out
    }

    /// `x[t] + table[index(t)]`: [T, D].
    pub fn add_row(&mut self, out_name: &str, x: BufferId, table: WeightId, index: RowIndex) -> BufferId {
        let out = self.like(out_name, x);
        self.ops.push(Op::AddRow { x, table, index, out });
        out
    }

    /// `x / √(mean(x²) + ε) ⊙ weight`, weight [D] by GGUF name.
    pub fn rms_norm(&mut self, out_name: &str, x: BufferId, weight: &str, eps: f32) -> Result<BufferId> {
        let size = self.width(x);
        self.heads_rms_norm(out_name, x, weight, size, eps)
    }

    /// [`Self::rms_norm`] of each run of `size` elements by itself, weight [size]: of each head.
    pub fn heads_rms_norm(
        &mut self,
        out_name: &str,
        x: BufferId,
        weight: &str,
        size: usize,
        eps: f32,
    ) -> Result<BufferId> {
        let norm = Norm { kind: NormKind::Rms, weight: self.weight(weight, &[size])?, bias: None, eps };
        Ok(self.norm(out_name, x, norm, size))
    }

    /// `(x − mean(x)) / √(var(x) + ε) ⊙ weight + bias`: weight [D] is `<name>.weight`; the bias [D] is `<name>.bias` where the
    /// file has one.
    pub fn layer_norm(&mut self, out_name: &str, x: BufferId, name: &str, eps: f32) -> Result<BufferId> {
        let size = self.width(x);
        let weight = self.weight(&format!("{name}.weight"), &[size])?;
        let bias = self.optional_weight(&format!("{name}.bias"), &[size])?;
        Ok(self.norm(out_name, x, Norm { kind: NormKind::Layer, weight, bias, eps }, size))
    }

    fn norm(&mut self, out_name: &str, x: BufferId, norm: Norm, size: usize) -> BufferId {
        let out = self.like(out_name, x);
        self.ops.push(Op::Norm { x, norm, size, out });
        out
    }

    /// `x · weightᵀ + bias`: weight [n, K] is `<name>.weight`; the bias [n] is `<name>.bias` where the file has one.
    pub fn linear(&mut self, out_name: &str, x: BufferId, name: &str, n: usize) -> Result<BufferId> {
        let weight = self.weight(&format!("{name}.weight"), &[n, self.width(x)])?;
        let bias = self.optional_weight(&format!("{name}.bias"), &[n])?;
        Ok(self.mat_mul(out_name, x, weight, bias))
    }

    /// `x · weightᵀ + bias` for a weight [n, K] that was looked up already.
    pub fn mat_mul(&mut self, out_name: &str, x: BufferId, weight: WeightId, bias: Option<WeightId>) -> BufferId {
        let out = self.buffer(out_name, self.buffer_rows(x), self.weights.spec(weight).n_rows());
        let part = Part { weight, bias, lora: None, out };
        self.ops.push(Op::MatMul(MatMul { x, norm: None, parts: vec![part], epilogue: Epilogue::None }));
        out
    }

    /// Rotates `heads` heads of x by the rows' positions: [T, heads · K].
    pub fn rope(&mut self, out_name: &str, x: BufferId, heads: usize, rope: Rope) -> BufferId {
        let out = self.like(out_name, x);
        self.ops.push(Op::Rope { x, heads, rope, out });
        out
    }

    /// Writes k and v [T, G · K] to the cache of `layer`.
    pub fn kv_write(&mut self, layer: usize, k: BufferId, v: BufferId) {
        self.ops.push(Op::KvWrite { layer, k, v });
    }

    /// Attention of q [T, H · K] over the cache; the buffers of [`Attention`] are filled in here.
    pub fn attention(&mut self, out_name: &str, q: BufferId, spec: AttentionSpec) -> BufferId {
        let AttentionSpec { layer, heads, kv_heads, head_size, scale, sees, window, soft_cap, bias } = spec;
        let out = self.like(out_name, q);
        self.ops.push(Op::Attention(Attention {
            layer,
            heads,
            kv_heads,
            head_size,
            scale,
            sees,
            window,
            soft_cap,
            bias,
            append: None,
            q,
            out,
        }));
        out
    }

    /// A causal convolution of each channel of x [T, D] by weight [D, N], its past in the cache of `layer`.
    pub fn short_conv(&mut self, out_name: &str, layer: usize, x: BufferId, weight: WeightId) -> BufferId {
        let out = self.like(out_name, x);
        self.ops.push(Op::ShortConv { layer, x, weight, out });
        out
    }

    /// `act(x)`.
    pub fn activate(&mut self, out_name: &str, x: BufferId, activation: Activation) -> BufferId {
        let out = self.like(out_name, x);
        self.ops.push(Op::Activate { x, activation, out });
        out
    }

    /// `act(gate) ⊙ up`.
    pub fn glu(&mut self, out_name: &str, gate: BufferId, up: BufferId, activation: Activation) -> BufferId {
        let out = self.like(out_name, gate);
        self.ops.push(Op::Glu { gate, up, activation, out });
        out
    }

    /// `a + b`.
    pub fn add(&mut self, out_name: &str, a: BufferId, b: BufferId) -> BufferId {
        self.add_scaled(out_name, a, b, 1.0)
    }

    /// `a + scale · b`.
    pub fn add_scaled(&mut self, out_name: &str, a: BufferId, b: BufferId, scale: f32) -> BufferId {
        let out = self.like(out_name, a);
        self.ops.push(Op::Add { a, b, scale, out });
        out
    }

    /// `cap(scale · x)`, see [`Op::Scale`].
    pub fn scale(&mut self, out_name: &str, x: BufferId, scale: f32, soft_cap: Option<f32>) -> BufferId {
        let out = self.like(out_name, x);
        self.ops.push(Op::Scale { x, scale, soft_cap, out });
        out
    }

    /// The rows whose logits are wanted: [Out, D].
    pub fn select_rows(&mut self, out_name: &str, x: BufferId) -> BufferId {
        let out = self.buffer(out_name, Rows::Out, self.width(x));
        self.ops.push(Op::SelectRows { x, out });
        out
    }

    /// For each row that is asked for the mean of its sequence's rows: [Out, D].
    pub fn mean_rows(&mut self, out_name: &str, x: BufferId) -> BufferId {
        let out = self.buffer(out_name, Rows::Out, self.width(x));
        self.ops.push(Op::MeanRows { x, out });
        out
    }

    /// Elements per row of a buffer.
    pub fn width(&self, id: BufferId) -> usize {
        self.buffers[id.0 as usize].width
    }

    /// Whether a buffer has a row for each row that is asked for, and not for every row of the step.
    pub fn has_outputs_only(&self, id: BufferId) -> bool {
        self.buffer_rows(id) == Rows::Out
    }

    fn buffer_rows(&self, id: BufferId) -> Rows {
        self.buffers[id.0 as usize].rows
    }

    /// A buffer of the shape of another.
    fn like(&mut self, name: &str, other: BufferId) -> BufferId {
        self.buffer(name, self.buffer_rows(other), self.width(other))
    }

    fn buffer(&mut self, name: &str, rows: Rows, width: usize) -> BufferId {
        self.buffers.push(Buffer { name: name.into(), rows, width });
        BufferId((self.buffers.len() - 1) as u32)
    }
}

/// What [`Builder::attention`] is told: [`Attention`] without its buffers.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the fields of Attention")]
pub struct AttentionSpec {
    pub layer: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_size: usize,
    pub scale: f32,
    pub sees: Sees,
    pub window: Option<usize>,
    pub soft_cap: Option<f32>,
    pub bias: Option<PositionBias>,
}

impl AttentionSpec {
    /// Of a row over its past: `heads` query heads, each kv head shared by `heads / kv_heads` of them, scores by 1/√`head_size`.
    pub fn causal(layer: usize, heads: usize, kv_heads: usize, head_size: usize) -> Self {
        let scale = 1.0 / (head_size as f32).sqrt();
        Self { layer, heads, kv_heads, head_size, scale, sees: Sees::Past, window: None, soft_cap: None, bias: None }
    }
}
