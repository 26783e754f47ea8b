//! `llama`: SmolLM and SmolLM2, TinyLlama, Llama 2 and 3.x, Mistral. Pre-norm blocks, rotary positions in GGUF's interleaved
//! order, grouped queries, SwiGLU. The head is the embedding table where the file has no `output.weight`.
//!
//! Source: Touvron et al., LLaMA, arXiv 2302.13971; tensor names of ggml's gguf-py `constants.py`.

use super::{Family, Hyper, Keys, RopeScaling, Task};
use crate::{
    error::Result,
    plan::{Activation, AttentionSpec, BufferId, Builder, Rope, RopeStyle},
};

#[derive(Debug)]
struct Llama;

pub(super) fn read(_keys: &Keys<'_>, _h: &Hyper) -> Result<Box<dyn Family>> {
    Ok(Box::new(Llama))
}

impl Family for Llama {
    fn record(&self, b: &mut Builder<'_>, h: &Hyper, _task: Task) -> Result<BufferId> {
        forward(b, h)
    }
}

/// Records one step: token rows in, logits [Out, V] out.
fn forward(b: &mut Builder<'_>, h: &Hyper) -> Result<BufferId> {
    let (q_width, kv_width) = (h.n_head * h.head_size, h.n_head_kv * h.head_size);
    let table = b.weight("token_embd.weight", &[h.n_vocab, h.n_embd])?;
    let rope = Rope {
        style: RopeStyle::Norm,
        head_size: h.head_size,
        dims: h.rope_dims,
        base: h.rope_freq_base,
        frequency_scale: match h.rope_scaling {
            RopeScaling::None => 1.0,
            RopeScaling::Linear { factor } => 1.0 / factor,
        },
        factors: b.optional_weight("rope_freqs.weight", &[h.rope_dims / 2])?,
    };
    let mut x = b.embed(table, 1.0);
    for layer in 0..h.n_layer {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let normed = b.rms_norm(&name("attn_norm"), x, &name("attn_norm.weight"), h.norm_rms_eps)?;
        let q = b.linear(&name("attn_q"), normed, &name("attn_q"), q_width)?;
        let k = b.linear(&name("attn_k"), normed, &name("attn_k"), kv_width)?;
        let v = b.linear(&name("attn_v"), normed, &name("attn_v"), kv_width)?;
        let q = b.rope(&name("q_rope"), q, h.n_head, rope);
        let k = b.rope(&name("k_rope"), k, h.n_head_kv, rope);
        b.kv_write(layer, k, v);
        let spec = AttentionSpec {
            window: h.sliding_window,
            ..AttentionSpec::causal(layer, h.n_head, h.n_head_kv, h.head_size)
        };
        let attended = b.attention(&name("attn"), q, spec);
        let attended = b.linear(&name("attn_output"), attended, &name("attn_output"), h.n_embd)?;
        x = b.add(&name("attn_residual"), x, attended);

        let normed = b.rms_norm(&name("ffn_norm"), x, &name("ffn_norm.weight"), h.norm_rms_eps)?;
        let gate = b.linear(&name("ffn_gate"), normed, &name("ffn_gate"), h.n_ff)?;
        let up = b.linear(&name("ffn_up"), normed, &name("ffn_up"), h.n_ff)?;
        let gated = b.glu(&name("ffn_glu"), gate, up, Activation::Silu);
        let down = b.linear(&name("ffn_down"), gated, &name("ffn_down"), h.n_embd)?;
        x = b.add(&name("ffn_residual"), x, down);
    }
    let rows = b.select_rows("outputs", x);
    let normed = b.rms_norm("output_norm", rows, "output_norm.weight", h.norm_rms_eps)?;
    let head = b.optional_weight("output.weight", &[h.n_vocab, h.n_embd])?.unwrap_or(table);
    Ok(b.mat_mul("logits", normed, head, None))
}
