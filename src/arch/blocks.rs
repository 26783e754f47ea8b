//! What the decoder families are put together from: norms, attention, feed-forward, head. Each family's file calls these and
//! says only what is special about it. Tensor names are GGUF's; a name without a block is `blk.<layer>.<name>`.
//!
//! Biases are taken where the file has them: a tensor that no plan reads is an error ([`super::Model::from_header`]).

use super::{Hyper, Keys, RopeScaling};
use crate::{
    error::Result,
    plan::{Activation, AttentionSpec, BufferId, Builder, NormKind, Rope, RopeStyle},
    weights::{WeightId, Weights},
};

/// What is the same in all layers of a model: its norms, and whether its biases have to be there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    norm: NormKind,
    eps: f32,
    needs_biases: bool,
}

impl Style {
    /// RMS norms, with `attention.layer_norm_rms_epsilon`.
    pub(super) fn rms(keys: &Keys<'_>) -> Result<Self> {
        let eps = keys.positive("attention.layer_norm_rms_epsilon", None)?;
        Ok(Self { norm: NormKind::Rms, eps, needs_biases: false })
    }

    /// Layer norms with biases, with `attention.layer_norm_epsilon`.
    pub(super) fn layer(keys: &Keys<'_>) -> Result<Self> {
        let eps = keys.positive("attention.layer_norm_epsilon", None)?;
        Ok(Self { norm: NormKind::Layer, eps, needs_biases: false })
    }

    /// A file in which one of the products of a layer has no bias is damaged.
    pub(super) fn with_biases(self) -> Self {
        Self { needs_biases: true, ..self }
    }

    /// The norm `name` of whole rows.
    pub(super) fn norm(self, b: &mut Builder<'_>, name: &str, x: BufferId) -> Result<BufferId> {
        match self.norm {
            NormKind::Rms => b.rms_norm(name, x, &format!("{name}.weight"), self.eps),
            NormKind::Layer => {
                b.weight(&format!("{name}.bias"), &[b.width(x)])?;
                b.layer_norm(name, x, name, self.eps)
            }
        }
    }
}

/// What is special about a family's attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attend {
    /// How queries and keys are rotated, if at all.
    pub(super) rope: Option<Rope>,
    /// RMS norms of queries and keys before that: `attn_q_norm`, `attn_k_norm`.
    pub(super) head_norms: HeadNorms,
    /// Factor on the scores.
    pub(super) scale: f32,
    /// How many positions a row sees, itself included.
    pub(super) window: Option<usize>,
    /// Cap of the scores.
    pub(super) soft_cap: Option<f32>,
}

/// Style of queries and keys.
#[derive(Debug, Clone, Copy)]
pub(super) enum HeadNorms {
    /// There are none.
    None,
    /// Of each head by itself, weights [K].
    EachHead,
    /// Of all heads together, weights [H · K] and [G · K].
    AllHeads,
}

impl Attend {
    /// No norms of heads, scores by 1/√K, the window of the file in every layer.
    pub(super) fn new(h: &Hyper, rope: Option<Rope>) -> Self {
        let scale = 1.0 / (h.head_size as f32).sqrt();
        Self { rope, head_norms: HeadNorms::None, scale, window: h.sliding_window, soft_cap: None }
    }
}

/// A feed-forward network.
#[derive(Debug, Clone, Copy)]
pub(super) enum FeedForward {
    /// `ffn_down(act(ffn_gate(x)) ⊙ ffn_up(x))`
    Gated(Activation),
    /// `ffn_down(act(ffn_up(x)))`
    Plain(Activation),
}

/// One layer, while it is recorded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layer<'a> {
    h: &'a Hyper,
    style: Style,
    index: usize,
}

impl<'a> Layer<'a> {
    pub(super) fn new(h: &'a Hyper, style: Style, index: usize) -> Self {
        Self { h, style, index }
    }

    /// `blk.<layer>.<part>`
    pub(super) fn name(&self, part: &str) -> String {
        format!("blk.{}.{part}", self.index)
    }

    /// Most families' block: `y = x + s · attention(norm(x))`, then `y + s · feed_forward(norm(y))`.
    pub(super) fn pre_norm(
        &self,
        b: &mut Builder<'_>,
        x: BufferId,
        attend: &Attend,
        feed_forward: FeedForward,
        s: f32,
    ) -> Result<BufferId> {
        let normed = self.norm(b, "attn_norm", x)?;
        let attended = self.attention(b, normed, attend)?;
        let x = b.add_scaled(&self.name("attn_residual"), x, attended, s);
        let normed = self.norm(b, "ffn_norm", x)?;
        let fed = self.feed_forward(b, normed, feed_forward)?;
        Ok(b.add_scaled(&self.name("ffn_residual"), x, fed, s))
    }

    /// Attention and feed-forward beside each other: `x + attention(norm(x)) + feed_forward(n(x))`, where n is the norm `ffn_norm`, or
    /// without one of its own (`shares_norm`) attention's.
    pub(super) fn parallel(
        &self,
        b: &mut Builder<'_>,
        x: BufferId,
        attend: &Attend,
        feed_forward: FeedForward,
        shares_norm: bool,
    ) -> Result<BufferId> {
        let normed = self.norm(b, "attn_norm", x)?;
        let attended = self.attention(b, normed, attend)?;
        let sum = b.add(&self.name("attn_residual"), x, attended);
        let normed = if shares_norm { normed } else { self.norm(b, "ffn_norm", x)? };
        let fed = self.feed_forward(b, normed, feed_forward)?;
        Ok(b.add(&self.name("ffn_residual"), sum, fed))
    }

    /// Norm `part` of whole rows.
    pub(super) fn norm(&self, b: &mut Builder<'_>, part: &str, x: BufferId) -> Result<BufferId> {
        self.style.norm(b, &self.name(part), x)
    }

    /// Product with `part`: [T, n].
    pub(super) fn linear(&self, b: &mut Builder<'_>, part: &str, x: BufferId, n: usize) -> Result<BufferId> {
        let name = self.name(part);
        if self.style.needs_biases {
            b.weight(&format!("{name}.bias"), &[n])?;
        }
        b.linear(&name, x, &name, n)
    }

    /// `attn_output(attention(attn_q(x), attn_k(x), attn_v(x)))`: [T, D].
    pub(super) fn attention(&self, b: &mut Builder<'_>, x: BufferId, attend: &Attend) -> Result<BufferId> {
        let Hyper { n_head, n_head_kv, head_size, n_embd, .. } = *self.h;
        let q = self.linear(b, "attn_q", x, n_head * head_size)?;
        let k = self.linear(b, "attn_k", x, n_head_kv * head_size)?;
        let v = self.linear(b, "attn_v", x, n_head_kv * head_size)?;
        let q = self.head_norm(b, "attn_q_norm", q, attend.head_norms)?;
        let k = self.head_norm(b, "attn_k_norm", k, attend.head_norms)?;
        let (q, k) = match attend.rope {
            Some(rope) => {
                let q = b.rope(&self.name("q_rope"), q, n_head, rope);
                (q, b.rope(&self.name("k_rope"), k, n_head_kv, rope))
            }
            None => (q, k),
        };
        b.kv_write(self.index, k, v);
        let Attend { scale, window, soft_cap, .. } = *attend;
        let causal = AttentionSpec::causal(self.index, n_head, n_head_kv, head_size);
        let attended = b.attention(&self.name("attn"), q, AttentionSpec { scale, window, soft_cap, ..causal });
        self.linear(b, "attn_output", attended, n_embd)
    }

    fn head_norm(&self, b: &mut Builder<'_>, part: &str, x: BufferId, norms: HeadNorms) -> Result<BufferId> {
        let size = match norms {
            HeadNorms::None => return Ok(x),
            HeadNorms::EachHead => self.h.head_size,
            HeadNorms::AllHeads => b.width(x),
        };
        let name = self.name(part);
        b.heads_rms_norm(&name, x, &format!("{name}.weight"), size, self.style.eps)
    }

    /// The feed-forward network: [T, D].
    pub(super) fn feed_forward(&self, b: &mut Builder<'_>, x: BufferId, kind: FeedForward) -> Result<BufferId> {
        let inner = match kind {
            FeedForward::Gated(activation) => {
                let gate = self.linear(b, "ffn_gate", x, self.h.n_ff)?;
                let up = self.linear(b, "ffn_up", x, self.h.n_ff)?;
                b.glu(&self.name("ffn_glu"), gate, up, activation)
            }
            FeedForward::Plain(activation) => {
                let up = self.linear(b, "ffn_up", x, self.h.n_ff)?;
                b.activate(&self.name("ffn_act"), up, activation)
            }
        };
        self.linear(b, "ffn_down", inner, self.h.n_embd)
    }
}

/// The table of tokens, [V, D].
pub(super) fn token_embd(b: &Builder<'_>, h: &Hyper) -> Result<WeightId> {
    b.weight("token_embd.weight", &[h.n_vocab, h.n_embd])
}

/// The rotation that the keys of the file say, without factors.
pub(super) fn rope(h: &Hyper, style: RopeStyle) -> Rope {
    let frequency_scale = match h.rope_scaling {
        RopeScaling::None => 1.0,
        RopeScaling::Linear { factor } => 1.0 / factor,
    };
    let Hyper { head_size, rope_dims: dims, rope_freq_base: base, .. } = *h;
    Rope { style, head_size, dims, base, frequency_scale, factors: None }
}

/// [`rope`] in GGUF's interleaved order, with the factors `rope_freqs.weight` where the file has them: Llama and its kin, whose
/// queries and keys the converter has permuted.
pub(super) fn llama_rope(b: &Builder<'_>, h: &Hyper) -> Result<Rope> {
    let factors = b.optional_weight("rope_freqs.weight", &[h.rope_dims / 2])?;
    Ok(Rope { factors, ..rope(h, RopeStyle::Norm) })
}

/// What is special about a family's head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// The norm before it.
    pub(super) norm: &'static str,
    /// The table of tokens, where it is the head of files without `output.weight`.
    pub(super) tied: Option<WeightId>,
    /// Whether it may have a bias.
    pub(super) has_bias: bool,
    /// Factor on the logits.
    pub(super) scale: f32,
    /// Cap of the logits.
    pub(super) soft_cap: Option<f32>,
}

impl Head {
    /// `output.weight` after `output_norm`.
    pub(super) fn own() -> Self {
        Self { norm: "output_norm", tied: None, has_bias: false, scale: 1.0, soft_cap: None }
    }

    /// `output.weight` or, in a file without it, the table of tokens, after `output_norm`.
    pub(super) fn or_tied(table: WeightId) -> Self {
        Self { tied: Some(table), ..Self::own() }
    }

    /// Logits [Out, V] of the rows that are asked for.
    pub(super) fn record(self, b: &mut Builder<'_>, h: &Hyper, style: Style, x: BufferId) -> Result<BufferId> {
        let rows = b.select_rows("outputs", x);
        let normed = style.norm(b, self.norm, rows)?;
        let shape = [h.n_vocab, h.n_embd];
        let weight = match self.tied {
            Some(table) => b.optional_weight("output.weight", &shape)?.unwrap_or(table),
            None => b.weight("output.weight", &shape)?,
        };
        let bias = match self.has_bias {
            true => b.optional_weight("output.bias", &[h.n_vocab])?,
            false => None,
        };
        if self.scale == 1.0 && self.soft_cap.is_none() {
            return Ok(b.mat_mul("logits", normed, weight, bias));
        }
        let product = b.mat_mul("output", normed, weight, bias);
        Ok(b.scale("logits", product, self.scale, self.soft_cap))
    }
}

/// Names of their own for q, k and v where a file holds them as one tensor: GPT-2, GPT-NeoX and Phi-3 always do, and any file
/// may (`convert_hf_to_gguf.py --fuse-qkv`).
pub(super) fn split_qkv(weights: &mut Weights, h: &Hyper) -> Result<()> {
    let [q, kv] = [h.n_head, h.n_head_kv].map(|heads| heads.saturating_mul(h.head_size));
    for (layer, kind) in (0..h.n_layer).flat_map(|layer| [(layer, "weight"), (layer, "bias")]) {
        let name = |part: &str| format!("blk.{layer}.{part}.{kind}");
        let parts = [(name("attn_q"), q), (name("attn_k"), kv), (name("attn_v"), kv)];
        weights.split(&name("attn_qkv"), &parts.each_ref().map(|(name, n)| (name.as_str(), *n)))?;
    }
    Ok(())
}
