//! The operations of a plan: a closed list, no closures, no back-end types. Each is defined here by its formula;
//! `reference/` is the same definition as code.
//!
//! Buffers are written by exactly one operation (single assignment); the memory pass lets them share room.

use super::Row;
use crate::weights::WeightId;

/// A buffer of a plan: an index into [`super::Plan::buffers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

/// One operation. `x` is what it reads, `out` what it writes; shapes in brackets.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// `out[t] = scale · table[token(t)]`, or the step's embedding row t where the row carries one.
    Embed {
        /// [V, D]
        table: WeightId,
        /// Factor (1 for Llama, √D for Gemma).
        scale: f32,
        /// [T, D] f32
        out: BufferId,
    },
    /// `out[t] = x[t] + table[index(t)]`: learned positions, kinds of text.
    AddRow {
        /// [T, D] f32
        x: BufferId,
        /// [P, D]
        table: WeightId,
        /// Which row of the table belongs to a row of the step.
        index: RowIndex,
        /// [T, D] f32
        out: BufferId,
    },
    /// `out = norm(x)`, see [`Norm`]; each run of `size` elements of a row by itself (D for whole rows, a head size for heads).
    Norm {
        /// [T, D] f32
        x: BufferId,
        /// Kind, weight, epsilon.
        norm: Norm,
        /// Elements that are normalised together: D is a multiple.
        size: usize,
        /// [T, D] f32
        out: BufferId,
    },
    /// `out = residual + scale · norm(x)`, of whole rows: [`Op::Norm`] and [`Op::Add`], the fused form.
    NormAdd {
        /// [T, D] f32
        x: BufferId,
        /// Kind, weight, epsilon.
        norm: Norm,
        /// [T, D] f32
        residual: BufferId,
        /// Factor on what was normalised, finite.
        scale: f32,
        /// [T, D] f32
        out: BufferId,
    },
    /// Matrix products that share their input, with an optional norm before and an optional epilogue after.
    MatMul(MatMul),
    /// `out = rotate(x, position(t))`, see [`Rope`].
    Rope {
        /// [T, heads · K] f32
        x: BufferId,
        /// Number of heads in x.
        heads: usize,
        /// Head size K and the rotation.
        rope: Rope,
        /// [T, heads · K] f32
        out: BufferId,
    },
    /// Writes k and v to the cache of `layer` at position(t) of sequence(t), rounded to the cache's format.
    KvWrite {
        /// Layer of the cache.
        layer: usize,
        /// [T, G · K] f32
        k: BufferId,
        /// [T, G · K] f32
        v: BufferId,
    },
    /// [`Op::Rope`] on q and k, then [`Op::KvWrite`] of the rotated k and of v: the fused form.
    RopeKv {
        /// Layer of the cache.
        layer: usize,
        /// Number of query heads H.
        heads: usize,
        /// Number of kv heads G.
        kv_heads: usize,
        /// Head size K and the rotation, the same for q and k.
        rope: Rope,
        /// [T, H · K] f32
        q: BufferId,
        /// [T, G · K] f32
        k: BufferId,
        /// [T, G · K] f32
        v: BufferId,
        /// Rotated q, [T, H · K] f32
        out: BufferId,
    },
    /// Attention over the cache. For row t, head h, g = h / (H / G), over the positions p that [`Sees`] and the window leave:
    /// `out[t, h] = Σ_p softmax_p(cap(scale · q[t, h] · k[g, p]) + bias(p − position(t))[h]) · v[g, p]`
    /// with `cap(s) = c · tanh(s / c)` where there is a soft cap c, and [`PositionBias`] where there is one.
    Attention(Attention),
    /// A short causal convolution of each channel by itself, over the positions p of sequence(t) from 0 on:
    /// `out[t] = Σ_{i < N} weight[·, i] ⊙ x[position(t) − (N − 1) + i]`. The past rows of x are read from the cache of `layer`,
    /// where the operation first writes this step's, in the cache's format: the first G · K channels as keys, the rest as values.
    ShortConv {
        /// Layer of the cache.
        layer: usize,
        /// [T, D] f32, D ≤ 2 · G · K
        x: BufferId,
        /// [D, N]
        weight: WeightId,
        /// [T, D] f32
        out: BufferId,
    },
    /// `out = act(x)`.
    Activate {
        /// [T, F] f32
        x: BufferId,
        /// The function.
        activation: Activation,
        /// [T, F] f32
        out: BufferId,
    },
    /// `out = act(gate) ⊙ up`.
    Glu {
        /// [T, F] f32
        gate: BufferId,
        /// [T, F] f32
        up: BufferId,
        /// Activation on the gate.
        activation: Activation,
        /// [T, F] f32
        out: BufferId,
    },
    /// `out = a + scale · b`.
    Add {
        /// [T, D] f32
        a: BufferId,
        /// [T, D] f32
        b: BufferId,
        /// Factor on b (1 but for Granite), finite.
        scale: f32,
        /// [T, D] f32
        out: BufferId,
    },
    /// Keeps only the rows whose logits the step asks for, in order: `out[o] = x[outputs[o]]`.
    SelectRows {
        /// [T, D] f32
        x: BufferId,
        /// [Out, D] f32
        out: BufferId,
    },
    /// `out[o]` = the mean of x over the step's rows of sequence(outputs[o]): pooling of an encoder.
    MeanRows {
        /// [T, D] f32
        x: BufferId,
        /// [Out, D] f32
        out: BufferId,
    },
    /// `out = cap(scale · x)` with `cap(y) = c · tanh(y / c)` where there is a soft cap c: what some families do to logits.
    Scale {
        /// [T, D] f32
        x: BufferId,
        /// Factor, finite.
        scale: f32,
        /// c, finite and > 0.
        soft_cap: Option<f32>,
        /// [T, D] f32
        out: BufferId,
    },
}

/// Which row of a table [`Op::AddRow`] adds to row t.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowIndex {
    /// position(t) + this.
    Position(usize),
    /// segment(t): 0, or 1 in the second text of a pair.
    Segment,
}

impl RowIndex {
    /// The row of the table for a row of a step.
    pub fn of(self, row: &Row) -> usize {
        match self {
            Self::Position(offset) => (row.position as usize).saturating_add(offset),
            Self::Segment => row.segment as usize,
        }
    }
}

/// A normalisation over the last dimension.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// Formula.
    pub kind: NormKind,
    /// [D]
    pub weight: WeightId,
    /// [D], only with [`NormKind::Layer`].
    pub bias: Option<WeightId>,
    /// ε, finite and > 0.
    pub eps: f32,
}

/// Formula of a [`Norm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// `x / √(mean(x²) + ε) ⊙ weight`
    Rms,
    /// `(x − mean(x)) / √(var(x) + ε) ⊙ weight + bias`
    Layer,
}

/// `y_i = norm(x) · weight_iᵀ (+ scale · (norm(x) · aᵀ) · bᵀ) + bias_i` for every part i; then the epilogue.
#[derive(Debug, Clone, PartialEq)]
pub struct MatMul {
    /// [T, K] f32
    pub x: BufferId,
    /// Applied to x first.
    pub norm: Option<Norm>,
    /// One or more products. With [`Epilogue::Glu`] exactly two (gate, up); with [`Epilogue::Add`],
    /// [`Epilogue::Activate`] and [`Epilogue::Scale`] exactly one.
    pub parts: Vec<Part>,
    /// What happens to the products.
    pub epilogue: Epilogue,
}

/// One product of a [`MatMul`].
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// [N, K]
    pub weight: WeightId,
    /// [N]
    pub bias: Option<WeightId>,
    /// Low-rank addition.
    pub lora: Option<Lora>,
    /// [T, N] f32; with an epilogue this is not written (the epilogue's `out` is).
    pub out: BufferId,
}

/// A low-rank operand of a [`Part`]: `scale · (x · aᵀ) · bᵀ`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lora {
    /// [R, K]
    pub a: WeightId,
    /// [N, R]
    pub b: WeightId,
    /// Factor (alpha / rank).
    pub scale: f32,
}

/// What a [`MatMul`] does with its products before it writes them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Epilogue {
    /// Each part is written to its own `out`.
    None,
    /// `out = residual + scale · y_0`.
    Add {
        /// [T, N] f32
        residual: BufferId,
        /// Factor on the product, finite.
        scale: f32,
        /// [T, N] f32
        out: BufferId,
    },
    /// `out = act(y_0)`.
    Activate {
        /// The function.
        activation: Activation,
        /// [T, N] f32
        out: BufferId,
    },
    /// `out = cap(scale · y_0)`, see [`Op::Scale`].
    Scale {
        /// Factor, finite.
        scale: f32,
        /// c, finite and > 0.
        soft_cap: Option<f32>,
        /// [T, N] f32
        out: BufferId,
    },
    /// `out = act(y_0) ⊙ y_1`.
    Glu {
        /// Activation on y_0.
        activation: Activation,
        /// [T, N] f32
        out: BufferId,
    },
}

/// An activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + e^−x)`
    Silu,
    /// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`
    GeluTanh,
    /// `x/2 · (1 + erf(x / √2))`
    Gelu,
    /// `max(x, 0)`
    Relu,
    /// `tanh(x)`
    Tanh,
    /// `x`: a gate that is no more than a factor.
    Identity,
}

/// A rotary position encoding. Pair i of `dims / 2` turns by
/// `θ_i = position · frequency_scale · base^(−2i / dims) / factors[i]`; `(a, b) → (a cos θ − b sin θ, a sin θ + b cos θ)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// Which elements form pair i.
    pub style: RopeStyle,
    /// Head size K; the elements past `dims` stay as they are.
    pub head_size: usize,
    /// Elements that are rotated: even, ≤ K.
    pub dims: usize,
    /// Base of the frequencies, finite and > 0.
    pub base: f32,
    /// Factor on the position (1 / factor of linear scaling).
    pub frequency_scale: f32,
    /// [dims / 2]: divides the frequency of each pair (Llama 3.x, `rope_freqs.weight`).
    pub factors: Option<WeightId>,
}

/// Which elements of a head form pair i.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeStyle {
    /// (2i, 2i + 1): GGUF files of the `llama` architecture.
    Norm,
    /// (i, i + dims / 2): GPT-NeoX, Qwen, Gemma.
    Neox,
}

/// Operands of [`Op::Attention`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Layer of the cache.
    pub layer: usize,
    /// Number of query heads H.
    pub heads: usize,
    /// Number of kv heads G; H is a multiple.
    pub kv_heads: usize,
    /// Head size K.
    pub head_size: usize,
    /// Factor on the scores (1/√K for Llama).
    pub scale: f32,
    /// What a row sees.
    pub sees: Sees,
    /// Length of a sliding window: p > position(t) − window and p < position(t) + window.
    pub window: Option<usize>,
    /// c: scores are capped before the bias is added. Finite and > 0.
    pub soft_cap: Option<f32>,
    /// Added to the scores by distance.
    pub bias: Option<PositionBias>,
    /// What is done before.
    pub append: Option<Append>,
    /// [T, H · K] f32
    pub q: BufferId,
    /// [T, H · K] f32
    pub out: BufferId,
}

/// What attention does before it looks: it normalises q and k, where there are norms, rotates them, and writes k and v to the cache of
/// its layer, as [`Op::Norm`] and [`Op::RopeKv`] do. Only where a row sees the past.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Append {
    /// Norms of q and k.
    pub norms: Option<QkNorms>,
    /// Head size K and the rotation, the same for q and k.
    pub rope: Rope,
    /// [T, G · K] f32
    pub k: BufferId,
    /// [T, G · K] f32
    pub v: BufferId,
}

/// Norms of q and k, [`NormKind::Rms`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QkNorms {
    /// What is normalised together.
    pub runs: Runs,
    /// [K], or [H · K]
    pub q: WeightId,
    /// [K], or [G · K]
    pub k: WeightId,
    /// ε of both, finite and > 0.
    pub eps: f32,
}

impl QkNorms {
    /// Elements of a row of this width that are normalised together.
    pub fn run_len(&self, head_size: usize, width: usize) -> usize {
        match self.runs {
            Runs::Heads => head_size,
            Runs::Rows => width,
        }
    }

    /// As the norm of q, then as that of k.
    pub fn each(&self) -> [Norm; 2] {
        [self.q, self.k].map(|weight| Norm { kind: NormKind::Rms, weight, bias: None, eps: self.eps })
    }
}

/// Which elements of a row are normalised together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// Each head by itself: Qwen 3, Gemma 3.
    Heads,
    /// All of them: OLMo 2.
    Rows,
}

/// Which positions a row attends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sees {
    /// The positions p ≤ position(t) of sequence(t): decoders.
    Past,
    /// Every position of sequence(t): encoders. All of its rows are in the step, from position 0 on.
    Whole,
    /// Every position of the memory of sequence(t) ([`super::Memory`]): the decoder of an encoder-decoder looks at what was
    /// encoded. Without window and bias.
    Memory,
}

/// A learned bias of each head by distance d = p − position(t) (T5): `table[bucket(d)]`.
///
/// With n = the number of buckets (rows of the table), or half of it where both sides have their own: distances below n / 2
/// have a bucket each, the rest share the others on a logarithmic scale up to `max_distance`:
/// `min(n − 1, n/2 + ⌊ln(d / (n/2)) / ln(max_distance / (n/2)) · (n − n/2)⌋)`. One side: d is position(t) − p, 0 where p lies ahead;
/// both sides: |d|, and n more where p > position(t).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PositionBias {
    /// [buckets, H]
    pub table: WeightId,
    /// From this distance on all share the last bucket; > half of the buckets of a side.
    pub max_distance: usize,
    /// Whether positions ahead have buckets of their own.
    pub both_sides: bool,
}

impl PositionBias {
    /// Row of the table for a distance p − position(t), of `n_buckets` rows. In f32, as T5 was trained.
    pub fn bucket(&self, n_buckets: usize, distance: i64) -> usize {
        let (n, first) = match self.both_sides {
            true => (n_buckets / 2, if distance > 0 { n_buckets / 2 } else { 0 }),
            false => (n_buckets, 0),
        };
        let d = if self.both_sides { distance.unsigned_abs() } else { (-distance).max(0) as u64 };
        let near = n / 2;
        if d < near as u64 {
            return first + d as usize;
        }
        let scale = libm::log(self.max_distance as f64 / near as f64) as f32;
        let far = libm::logf(d as f32 / near as f32) / scale * (n - near) as f32;
        first + (near + far as usize).min(n - 1)
    }
}
