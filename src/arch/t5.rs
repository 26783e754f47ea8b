//! `t5`: T5, flan-T5, mT5, umT5 and ByT5. An encoder and a decoder of pre-norm blocks without positions but for a bias of the
//! scores by distance: each layer's own (umT5), or that of layer 0 for all. Scores are not scaled. The feed-forward part is
//! relu (T5), or gated by gelu (v1.1 and what came later). The head is the embedding table on rows times D^−½ (T5), or
//! `output.weight` (the others).
//!
//! The encoder's layers take turns on layer 0 of the cache; what stays in the pages is the keys and values by which the layers of
//! the decoder look at the encoded rows.
//!
//! Sources: Raffel et al., arXiv 1910.10683; Chung et al., arXiv 2304.09151 (umT5); mesh_tensorflow's `transformer.py` for the scale;
//! names of tensors and keys as llama.cpp's convert_hf_to_gguf.py writes them.

use super::{Family, Hyper, Keys, Task};
use crate::{
    error::{Error, Result},
    kv::{KvFormat, KvGeometry},
    plan::{Activation, AttentionSpec, BufferId, Builder, PositionBias, Sees},
};

/// From here on all distances share a bucket: the same in every published model, and no file has a key for it.
const MAX_DISTANCE: usize = 128;
/// The longest text that the encoder takes in its one step, tokens.
const LONGEST_CONTEXT: usize = 1 << 20;

#[derive(Debug)]
struct T5 {
    n_layer_dec: usize,
    n_buckets: usize,
    decoder_start: u32,
    /// Whether feed-forwards have gates: all of them, or none.
    is_gated: bool,
    /// Whether every layer has a bias of its own (umT5); else all of a side have that of its first.
    biases_each: bool,
    /// ε of every norm.
    eps: f32,
}

pub(super) fn read(keys: &Keys<'_>, h: &Hyper) -> Result<Box<dyn Family>> {
    if h.n_head_kv != h.n_head {
        return Err(Error::UnsupportedArch { what: "t5: fewer kv heads than heads are not supported".into() });
    }
    // What one side lacks, the other shows: a tensor that is missing is not another kind of model.
    let has = |name: &str| ["enc", "dec"].iter().any(|side| keys.tensor_shape(&format!("{side}.{name}")).is_some());
    Ok(Box::new(T5 {
        is_gated: has("blk.0.ffn_gate.weight"),
        biases_each: has("blk.1.attn_rel_b.weight"),
        n_layer_dec: keys.layers("decoder_block_count", Some(h.n_layer))?,
        // A half of a side's buckets has a distance each; both sides of the encoder have a half of all.
        n_buckets: keys.count("attention.relative_buckets_count", 4, 2 * MAX_DISTANCE as u64 - 1, None)?,
        decoder_start: keys.count("decoder_start_token_id", 0, h.n_vocab as u64 - 1, None)? as u32,
        eps: keys.positive("attention.layer_norm_rms_epsilon", None)?,
    }))
}

impl Family for T5 {
    fn tasks(&self) -> &[Task] {
        &[Task::Generate, Task::Remember]
    }

    fn record(&self, b: &mut Builder<'_>, h: &Hyper, task: Task) -> Result<BufferId> {
        match task {
            Task::Remember => self.encode(b, h),
            _ => self.decode(b, h),
        }
    }

    fn kv_geometry(&self, h: &Hyper, format: KvFormat) -> KvGeometry {
        KvGeometry { layers: self.n_layer_dec, kv_heads: h.n_head_kv, head_size: h.head_size, format }
    }

    fn decoder_start(&self) -> Option<u32> {
        Some(self.decoder_start)
    }

    fn longest_context(&self, h: &Hyper) -> usize {
        h.n_ctx_train.max(LONGEST_CONTEXT)
    }
}

impl T5 {
    /// Token rows in; rows as encoded out, [Out, D].
    fn encode(&self, b: &mut Builder<'_>, h: &Hyper) -> Result<BufferId> {
        let table = b.weight("token_embd.weight", &[h.n_vocab, h.n_embd])?;
        let mut x = b.embed(table, 1.0);
        for layer in 0..h.n_layer {
            let block = format!("enc.blk.{layer}");
            let bias = self.bias(b, h, "enc", layer, true)?;
            x = self.self_attention(b, h, &block, x, spec(h, 0, Sees::Whole, Some(bias)))?;
            x = self.feed_forward(b, h, &block, x)?;
        }
        let encoded = b.rms_norm("enc.output_norm", x, "enc.output_norm.weight", self.eps)?;
        for layer in 0..self.n_layer_dec {
            let name = |part: &str| format!("dec.blk.{layer}.{part}");
            let k = b.linear(&name("cross_attn_k"), encoded, &name("cross_attn_k"), h.n_head * h.head_size)?;
            let v = b.linear(&name("cross_attn_v"), encoded, &name("cross_attn_v"), h.n_head * h.head_size)?;
            b.kv_write(layer, k, v);
        }
        Ok(b.select_rows("outputs", encoded))
    }

    /// Token rows in; logits [Out, V] out.
    fn decode(&self, b: &mut Builder<'_>, h: &Hyper) -> Result<BufferId> {
        let table = b.weight("token_embd.weight", &[h.n_vocab, h.n_embd])?;
        let mut x = b.embed(table, 1.0);
        for layer in 0..self.n_layer_dec {
            let block = format!("dec.blk.{layer}");
            let bias = self.bias(b, h, "dec", layer, false)?;
            x = self.self_attention(b, h, &block, x, spec(h, layer, Sees::Past, Some(bias)))?;
            let name = |part: &str| format!("{block}.{part}");
            let normed = b.rms_norm(&name("cross_attn_norm"), x, &name("cross_attn_norm.weight"), self.eps)?;
            let q = b.linear(&name("cross_attn_q"), normed, &name("cross_attn_q"), h.n_head * h.head_size)?;
            let attended = b.attention(&name("cross_attn"), q, spec(h, layer, Sees::Memory, None));
            let attended = b.linear(&name("cross_attn_o"), attended, &name("cross_attn_o"), h.n_embd)?;
            x = b.add(&name("cross_attn_residual"), x, attended);
            x = self.feed_forward(b, h, &block, x)?;
        }
        let rows = b.select_rows("outputs", x);
        let normed = b.rms_norm("dec.output_norm", rows, "dec.output_norm.weight", self.eps)?;
        match b.optional_weight("output.weight", &[h.n_vocab, h.n_embd])? {
            Some(head) => Ok(b.mat_mul("logits", normed, head, None)),
            None => {
                let scaled = b.scale("scaled", normed, 1.0 / (h.n_embd as f32).sqrt(), None);
                Ok(b.mat_mul("logits", scaled, table, None))
            }
        }
    }

    /// The layer's own bias, or that of layer 0.
    fn bias(&self, b: &Builder<'_>, h: &Hyper, side: &str, layer: usize, both_sides: bool) -> Result<PositionBias> {
        let name = |layer: usize| format!("{side}.blk.{layer}.attn_rel_b.weight");
        let shape = [self.n_buckets, h.n_head];
        let table = b.weight(&name(if self.biases_each { layer } else { 0 }), &shape)?;
        Ok(PositionBias { table, max_distance: MAX_DISTANCE, both_sides })
    }

    fn self_attention(
        &self,
        b: &mut Builder<'_>,
        h: &Hyper,
        block: &str,
        x: BufferId,
        spec: AttentionSpec,
    ) -> Result<BufferId> {
        let (name, width) = (|part: &str| format!("{block}.{part}"), h.n_head * h.head_size);
        let normed = b.rms_norm(&name("attn_norm"), x, &name("attn_norm.weight"), self.eps)?;
        let q = b.linear(&name("attn_q"), normed, &name("attn_q"), width)?;
        let k = b.linear(&name("attn_k"), normed, &name("attn_k"), width)?;
        let v = b.linear(&name("attn_v"), normed, &name("attn_v"), width)?;
        b.kv_write(spec.layer, k, v);
        let attended = b.attention(&name("attn"), q, spec);
        let attended = b.linear(&name("attn_o"), attended, &name("attn_o"), h.n_embd)?;
        Ok(b.add(&name("attn_residual"), x, attended))
    }

    fn feed_forward(&self, b: &mut Builder<'_>, h: &Hyper, block: &str, x: BufferId) -> Result<BufferId> {
        let name = |part: &str| format!("{block}.{part}");
        let normed = b.rms_norm(&name("ffn_norm"), x, &name("ffn_norm.weight"), self.eps)?;
        let inner = if self.is_gated {
            let gate = b.linear(&name("ffn_gate"), normed, &name("ffn_gate"), h.n_ff)?;
            let up = b.linear(&name("ffn_up"), normed, &name("ffn_up"), h.n_ff)?;
            b.glu(&name("ffn_glu"), gate, up, Activation::GeluTanh)
        } else {
            let up = b.linear(&name("ffn_up"), normed, &name("ffn_up"), h.n_ff)?;
            b.activate(&name("ffn_relu"), up, Activation::Relu)
        };
        let down = b.linear(&name("ffn_down"), inner, &name("ffn_down"), h.n_embd)?;
        Ok(b.add(&name("ffn_residual"), x, down))
    }
}

fn spec(h: &Hyper, layer: usize, sees: Sees, bias: Option<PositionBias>) -> AttentionSpec {
    let causal = AttentionSpec::causal(layer, h.n_head, h.n_head_kv, h.head_size);
    AttentionSpec { scale: 1.0, sees, bias, ..causal }
}
