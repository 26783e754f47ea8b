//! Records a model as a plan. The methods read like ordinary calls; each checks the shapes of what it is given, so that a
//! file whose tensors do not fit is refused before any weight arrives, with expected and actual shapes.

use super::{
    Activation, Attention, Buffer, BufferId, Epilogue, MatMul, Norm, NormKind, Op, Part, Plan, Rope, RowBound, Rows,
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

    /// `x / √(mean(x²) + ε) ⊙ weight`, weight [D] by GGUF name.
    pub fn rms_norm(&mut self, out_name: &str, x: BufferId, weight: &str, eps: f32) -> Result<BufferId> {
        let width = self.width(x);
        let norm = Norm { kind: NormKind::Rms, weight: self.weight(weight, &[width])?, bias: None, eps };
        let out = self.buffer(out_name, self.buffer_rows(x), width);
        self.ops.push(Op::Norm { x, norm, out });
        Ok(out)
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
        let out = self.buffer(out_name, self.buffer_rows(x), self.width(x));
        self.ops.push(Op::Rope { x, heads, rope, out });
        out
    }

    /// Writes k and v [T, G · K] to the cache of `layer`.
    pub fn kv_write(&mut self, layer: usize, k: BufferId, v: BufferId) {
        self.ops.push(Op::KvWrite { layer, k, v });
    }

    /// Causal attention of q [T, H · K] over the cache; `spec.q` and `spec.out` are filled in here.
    pub fn attention(&mut self, out_name: &str, q: BufferId, spec: AttentionSpec) -> BufferId {
        let AttentionSpec { layer, heads, kv_heads, head_size, scale, window } = spec;
        let out = self.buffer(out_name, self.buffer_rows(q), self.width(q));
        self.ops.push(Op::Attention(Attention { layer, heads, kv_heads, head_size, scale, window, q, out }));
        out
    }

    /// `act(gate) ⊙ up`.
    pub fn glu(&mut self, out_name: &str, gate: BufferId, up: BufferId, activation: Activation) -> BufferId {
        let out = self.buffer(out_name, self.buffer_rows(gate), self.width(gate));
        self.ops.push(Op::Glu { gate, up, activation, out });
        out
    }

    /// `a + b`.
    pub fn add(&mut self, out_name: &str, a: BufferId, b: BufferId) -> BufferId {
        let out = self.buffer(out_name, self.buffer_rows(a), self.width(a));
        self.ops.push(Op::Add { a, b, out });
        out
    }

    /// The rows whose logits are wanted: [Out, D].
    pub fn select_rows(&mut self, out_name: &str, x: BufferId) -> BufferId {
        let out = self.buffer(out_name, Rows::Out, self.width(x));
        self.ops.push(Op::SelectRows { x, out });
        out
    }

    /// Elements per row of a buffer.
    pub fn width(&self, id: BufferId) -> usize {
        self.buffers[id.0 as usize].width
    }

    fn buffer_rows(&self, id: BufferId) -> Rows {
        self.buffers[id.0 as usize].rows
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
    pub window: Option<usize>,
}
