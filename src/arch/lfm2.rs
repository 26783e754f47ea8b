//! `lfm2`: most layers have a short convolution in place of attention: with `b, c, u = in_proj(norm(x))`,
//! `x + out_proj(c ⊙ convolution(b ⊙ u))`, then a feed-forward as everywhere. Layers of attention are those with kv heads
//! (`attention.head_count_kv` is 0 in the others); they norm each head of queries and keys.
//!
//! A convolution keeps its past rows in the cache of its layer, so the cache's rows have to hold D elements in k and v together:
//! where the kv heads are fewer than that, the cache has room for more.
//!
//! Source: LFM2 technical report, arXiv 2511.23404; transformers `modeling_lfm2.py`. The norm before the head is called
//! `token_embd_norm` in GGUF.

use super::{
    Family, Hyper, Keys, Task,
    blocks::{self, Attend, FeedForward, Head, HeadNorms, Layer, Style},
};
use crate::{
    error::Result,
    kv::{KvFormat, KvGeometry},
    plan::{Activation, BufferId, Builder, RopeStyle},
    weights::Weights,
};

/// Longest convolution that this engine accepts; published models have 3 taps.
const MAX_TAPS: u64 = 64;

#[derive(Debug)]
struct Lfm2 {
    style: Style,
    /// N: taps of the convolutions, `shortconv.l_cache`
    n_taps: usize,
}

pub(super) fn read(keys: &Keys<'_>, _h: &Hyper) -> Result<Box<dyn Family>> {
    Ok(Box::new(Lfm2 { style: Style::rms(keys)?, n_taps: keys.count("shortconv.l_cache", 2, MAX_TAPS, None)? }))
}

impl Family for Lfm2 {
    fn split(&self, weights: &mut Weights, h: &Hyper) -> Result<()> {
        for layer in 0..h.n_layer {
            let name = |part: &str| format!("blk.{layer}.shortconv.{part}.weight");
            let parts = ["in_b", "in_c", "in_u"].map(name);
            weights.split(&name("in_proj"), &parts.each_ref().map(|part| (part.as_str(), h.n_embd)))?;
        }
        blocks::split_qkv(weights, h)
    }

    fn record(&self, b: &mut Builder<'_>, h: &Hyper, _task: Task) -> Result<BufferId> {
        let table = blocks::token_embd(b, h)?;
        let rope = blocks::rope(h, RopeStyle::Neox);
        let attend = Attend { head_norms: HeadNorms::EachHead, ..Attend::new(h, Some(rope)) };
        let mut x = b.embed(table, 1.0);
        for (i, has_attention) in h.has_attention.iter().enumerate() {
            let layer = Layer::new(h, self.style, i);
            if *has_attention {
                x = layer.pre_norm(b, x, &attend, FeedForward::Gated(Activation::Silu), 1.0)?;
                continue;
            }
            let normed = layer.norm(b, "attn_norm", x)?;
            let mixed = self.convolution(b, h, i, normed)?;
            x = b.add(&layer.name("conv_residual"), x, mixed);
            let normed = layer.norm(b, "ffn_norm", x)?;
            let fed = layer.feed_forward(b, normed, FeedForward::Gated(Activation::Silu))?;
            x = b.add(&layer.name("ffn_residual"), x, fed);
        }
        Head { norm: "token_embd_norm", ..Head::or_tied(table) }.record(b, h, self.style, x)
    }

    fn kv_geometry(&self, h: &Hyper, format: KvFormat) -> KvGeometry {
        let kv_heads = h.n_head_kv.max(h.n_embd.div_ceil(2 * h.head_size));
        KvGeometry { layers: h.n_layer, kv_heads, head_size: h.head_size, format }
    }
}

impl Lfm2 {
    /// `out_proj(c ⊙ convolution(b ⊙ u))`: [T, D]
    fn convolution(&self, b: &mut Builder<'_>, h: &Hyper, index: usize, x: BufferId) -> Result<BufferId> {
        let layer = Layer::new(h, self.style, index);
        let weight = b.weight(&layer.name("shortconv.conv.weight"), &[h.n_embd, self.n_taps])?;
        let gate = layer.linear(b, "shortconv.in_b", x, h.n_embd)?;
        let out_gate = layer.linear(b, "shortconv.in_c", x, h.n_embd)?;
        let u = layer.linear(b, "shortconv.in_u", x, h.n_embd)?;
        let gated = b.glu(&layer.name("shortconv.gated"), gate, u, Activation::Identity);
        let convolved = b.short_conv(&layer.name("shortconv.conv"), index, gated, weight);
        let gated = b.glu(&layer.name("shortconv.out_gated"), out_gate, convolved, Activation::Identity);
        layer.linear(b, "shortconv.out_proj", gated, h.n_embd)
    }
}
