//! The operations of a plan: a closed list, no closures, no back-end types. Each is defined here by its formula;
//! `reference/` is the same definition as code.
//!
//! Buffers are written by exactly one operation (single assignment); the memory pass lets them share room.

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
    /// `out = norm(x)`, see [`Norm`].
    Norm {
        /// [T, D] f32
        x: BufferId,
        /// Kind, weight, epsilon.
        norm: Norm,
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
    /// Causal attention over the cache. For row t, head h, g = h / (H / G), over the positions p ≤ position(t) of
    /// sequence(t) (and > position(t) − window where there is one):
    /// `out[t, h] = Σ_p softmax_p(scale · q[t, h] · k[g, p]) · v[g, p]`.
    Attention(Attention),
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
    /// `out = a + b`.
    Add {
        /// [T, D] f32
        a: BufferId,
        /// [T, D] f32
        b: BufferId,
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
    /// One or more products. With [`Epilogue::Glu`] exactly two (gate, up); with [`Epilogue::Add`] exactly one.
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
    /// `out = residual + y_0`.
    Add {
        /// [T, N] f32
        residual: BufferId,
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
    /// Length of a sliding window, positions.
    pub window: Option<usize>,
    /// [T, H · K] f32
    pub q: BufferId,
    /// [T, H · K] f32
    pub out: BufferId,
}
