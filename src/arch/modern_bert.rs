//! `modern-bert`: ModernBERT. Norms before each part (the first layer's attention has none), rotary positions, GeGLU whose gate
//! and values are one matrix, and two kinds of layers: those that see the whole text, the first and each n-th behind it, and
//! those that see their neighbourhood, with a rotation of their own.
//!
//! Source: Warner et al., Smarter, Better, Faster, Longer, arXiv 2412.13663; HF transformers' `modeling_modernbert.py`; keys and
//! tensor names of llama.cpp's converter.

use super::{
    Family, Head, Hyper, Keys, Pooling, Task,
    bert::{attention, one_layer},
    blocks,
    head::Defaults,
    hyper::MAX_LAYERS,
};
use crate::{
    error::Result,
    kv::{KvFormat, KvGeometry},
    plan::{Activation, BufferId, Builder, Rope, RopeStyle},
    weights::Weights,
};

#[derive(Debug)]
struct ModernBert {
    head: Head,
    /// Which layers see their neighbourhood only.
    is_local: Vec<bool>,
    /// `rope.freq_base_swa`: of those.
    local_base: f32,
    /// `hidden_activation`: of the gates. Granite's embeddings have SiLU.
    activation: Activation,
}

pub(super) fn read(keys: &Keys<'_>, h: &Hyper) -> Result<Box<dyn Family>> {
    let defaults = Defaults {
        classifier_pooling: Pooling::Mean,
        activations: [Activation::Gelu; 2],
        needs_pooler: false,
        norms_classifier: true,
    };
    Ok(Box::new(ModernBert {
        head: Head::read(keys, &defaults)?,
        is_local: is_local(keys, h.n_layer)?,
        local_base: keys.positive("rope.freq_base_swa", Some(10_000.0))?,
        activation: match keys.str("hidden_activation")? {
            None | Some("gelu") => Activation::Gelu,
            Some("silu") => Activation::Silu,
            Some(other) => return Err(keys.unsupported("hidden_activation", format!("the activation {other:?}"))),
        },
    }))
}

impl Family for ModernBert {
    fn tasks(&self) -> &[Task] {
        &self.head.tasks
    }

    fn head(&self) -> Option<&Head> {
        Some(&self.head)
    }

    fn split(&self, weights: &mut Weights, h: &Hyper) -> Result<()> {
        for layer in 0..h.n_layer {
            let [both, gate, up] = ["up", "gate", "value"].map(|part| format!("blk.{layer}.ffn_{part}.weight"));
            weights.split(&both, &[(&gate, h.n_ff), (&up, h.n_ff)])?;
        }
        blocks::split_qkv(weights, h)
    }

    fn record(&self, b: &mut Builder<'_>, h: &Hyper, task: Task) -> Result<BufferId> {
        let eps = self.head.eps();
        let table = b.weight("token_embd.weight", &[h.n_vocab, h.n_embd])?;
        let x = b.embed(table, 1.0);
        let mut x = b.layer_norm("embd_norm", x, "token_embd_norm", eps)?;
        for layer in 0..h.n_layer {
            let name = |part: &str| format!("blk.{layer}.{part}");
            let normed = match layer {
                0 => x,
                _ => b.layer_norm(&name("attn_norm"), x, &name("attn_norm"), eps)?,
            };
            // The key counts both sides and the position itself once: 128 is 64 before and 64 behind.
            let is_local = self.is_local.get(layer).is_some_and(|is_local| *is_local);
            let window = h.sliding_window.filter(|_| is_local).map(|both| both / 2 + 1);
            let base = if window.is_some() { self.local_base } else { h.rope_freq_base };
            let rope = Rope { base, ..blocks::rope(h, RopeStyle::Neox) };
            let attended = attention(b, h, layer, normed, Some(rope), window)?;
            x = b.add(&name("attn_residual"), x, attended);

            let normed = b.layer_norm(&name("ffn_norm"), x, &name("ffn_norm"), eps)?;
            let gate = b.linear(&name("ffn_gate"), normed, &name("ffn_gate"), h.n_ff)?;
            let up = b.linear(&name("ffn_value"), normed, &name("ffn_value"), h.n_ff)?;
            let gated = b.glu(&name("ffn_glu"), gate, up, self.activation);
            let down = b.linear(&name("ffn_down"), gated, &name("ffn_down"), h.n_embd)?;
            x = b.add(&name("ffn_residual"), x, down);
        }
        let x = b.layer_norm("output_norm", x, "output_norm", eps)?;
        self.head.record(b, h, x, task)
    }

    fn kv_geometry(&self, h: &Hyper, format: KvFormat) -> KvGeometry {
        one_layer(h, format)
    }
}

/// `attention.sliding_window_pattern`: an array of L booleans, or n: the first layer and each n-th behind it see the whole text.
/// (Of decoders it is the last of each n.)
fn is_local(keys: &Keys<'_>, n_layer: usize) -> Result<Vec<bool>> {
    let key = "attention.sliding_window_pattern";
    if keys.is_array(key) {
        return keys.window_pattern(n_layer, 0);
    }
    let n = keys.count_or(key, 1, MAX_LAYERS)?.unwrap_or(3);
    Ok((0..n_layer).map(|layer| layer % n != 0).collect())
}
