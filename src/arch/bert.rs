//! `bert`: BERT, MiniLM, BGE, E5, RoBERTa, and DistilBERT, which llama.cpp's converter calls so too; `nomic-bert`. Rows that see the
//! whole text, norms behind each part (post-norm). `bert` has learned positions and GELU; `nomic-bert` rotates positions and has
//! SwiGLU and no biases. DistilBERT knows no kinds of text, and ReLU stands in its classifier.
//!
//! The layers take turns on one layer of the cache: nothing of a text is needed after its step.
//!
//! Source: Devlin et al., BERT, arXiv 1810.04805; Nussbaum et al., Nomic Embed, arXiv 2402.01613; tensor names of ggml's gguf-py.

use super::{Family, Head, Hyper, Keys, Pooling, Task, blocks, head::Defaults};
use crate::{
    error::Result,
    kv::{KvFormat, KvGeometry},
    plan::{Activation, AttentionSpec, BufferId, Builder, Rope, RopeStyle, RowIndex, Sees},
};

#[derive(Debug)]
struct Bert {
    head: Head,
    /// Of `nomic-bert`, in place of learned positions.
    rotates: bool,
}

pub(super) fn read(keys: &Keys<'_>, _h: &Hyper) -> Result<Box<dyn Family>> {
    let is_distilbert = keys.tensor_shape("token_types.weight").is_none();
    let rotates = keys.architecture() == "nomic-bert";
    let defaults = Defaults {
        classifier_pooling: Pooling::Cls,
        activations: [
            if is_distilbert { Activation::Relu } else { Activation::Tanh },
            if rotates { Activation::Silu } else { Activation::Gelu },
        ],
        needs_pooler: true,
        norms_classifier: false,
    };
    Ok(Box::new(Bert { head: Head::read(keys, &defaults)?, rotates }))
}

impl Family for Bert {
    fn tasks(&self) -> &[Task] {
        &self.head.tasks
    }

    fn head(&self) -> Option<&Head> {
        Some(&self.head)
    }

    fn record(&self, b: &mut Builder<'_>, h: &Hyper, task: Task) -> Result<BufferId> {
        let eps = self.head.eps();
        let table = b.weight("token_embd.weight", &[h.n_vocab, h.n_embd])?;
        let mut x = b.embed(table, 1.0);
        if self.head.n_segments > 0 {
            let kinds = b.weight("token_types.weight", &[self.head.n_segments, h.n_embd])?;
            x = b.add_row("embd_kind", x, kinds, RowIndex::Segment);
        }
        if !self.rotates {
            let positions = b.weight("position_embd.weight", &[h.n_ctx_train, h.n_embd])?;
            x = b.add_row("embd_position", x, positions, RowIndex::Position(0));
        }
        x = b.layer_norm("embd_norm", x, "token_embd_norm", eps)?;
        for layer in 0..h.n_layer {
            let name = |part: &str| format!("blk.{layer}.{part}");
            let rope = self.rotates.then(|| blocks::rope(h, RopeStyle::Neox));
            let attended = attention(b, h, layer, x, rope, None)?;
            x = b.add(&name("attn_residual"), x, attended);
            x = b.layer_norm(&name("attn_output_norm"), x, &name("attn_output_norm"), eps)?;

            let up = b.linear(&name("ffn_up"), x, &name("ffn_up"), h.n_ff)?;
            let hidden = if self.rotates {
                let gate = b.linear(&name("ffn_gate"), x, &name("ffn_gate"), h.n_ff)?;
                b.glu(&name("ffn_glu"), gate, up, Activation::Silu)
            } else {
                b.activate(&name("ffn_gelu"), up, Activation::Gelu)
            };
            let down = b.linear(&name("ffn_down"), hidden, &name("ffn_down"), h.n_embd)?;
            x = b.add(&name("ffn_residual"), x, down);
            x = b.layer_norm(&name("layer_output_norm"), x, &name("layer_output_norm"), eps)?;
        }
        self.head.record(b, h, x, task)
    }

    fn kv_geometry(&self, h: &Hyper, format: KvFormat) -> KvGeometry {
        one_layer(h, format)
    }
}

/// The cache of an encoder, whose layers take turns on it.
pub(super) fn one_layer(h: &Hyper, format: KvFormat) -> KvGeometry {
    KvGeometry { layers: 1, kv_heads: h.n_head_kv, head_size: h.head_size, format }
}

/// Attention of a layer over the whole text, or over its neighbourhood.
pub(super) fn attention(
    b: &mut Builder<'_>,
    h: &Hyper,
    layer: usize,
    x: BufferId,
    rope: Option<Rope>,
    window: Option<usize>,
) -> Result<BufferId> {
    let name = |part: &str| format!("blk.{layer}.{part}");
    let (q_width, kv_width) = (h.n_head * h.head_size, h.n_head_kv * h.head_size);
    let mut q = b.linear(&name("attn_q"), x, &name("attn_q"), q_width)?;
    let mut k = b.linear(&name("attn_k"), x, &name("attn_k"), kv_width)?;
    let v = b.linear(&name("attn_v"), x, &name("attn_v"), kv_width)?;
    if let Some(rope) = rope {
        q = b.rope(&name("q_rope"), q, h.n_head, rope);
        k = b.rope(&name("k_rope"), k, h.n_head_kv, rope);
    }
    b.kv_write(0, k, v);
    let spec =
        AttentionSpec { sees: Sees::Whole, window, ..AttentionSpec::causal(0, h.n_head, h.n_head_kv, h.head_size) };
    let attended = b.attention(&name("attn"), q, spec);
    b.linear(&name("attn_output"), attended, &name("attn_output"), h.n_embd)
}
