//! `lfm2`: most layers have a short convolution in place of attention: with `b, c, u = in_proj(norm(x))`,
//! `x + out_proj(c ⊙ convolution(b ⊙ u))`, then a feed-forward as everywhere. Layers of attention are those with kv heads
//! (`attention.head_count_kv` is 0 in the others); they norm each head of queries and keys.
//!
//! A convolution keeps its past rows in the cache of its layer, whose k and v have room for 2 · G · K channels. Where D is more (all
//! models but the smallest), its channels are dealt to several convolutions, each with a layer of the cache; those of the first are
//! the model's, the others come behind them.
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
/// Most convolutions that share the channels of a layer; published models need 1 or 2.
const MAX_PARTS: usize = 8;

#[derive(Debug)]
struct Lfm2 {
    style: Style,
    /// N: taps of the convolutions, `shortconv.l_cache`
    n_taps: usize,
    /// How many convolutions share the channels of a layer.
    n_parts: usize,
}

pub(super) fn read(keys: &Keys<'_>, h: &Hyper) -> Result<Box<dyn Family>> {
    let n_taps = keys.count("shortconv.l_cache", 2, MAX_TAPS, None)?;
    let n_parts = h.n_embd.div_ceil(2 * h.n_head_kv * h.head_size);
    if n_parts > MAX_PARTS || !h.n_embd.is_multiple_of(n_parts) {
        let what = format!("a convolution of {} channels in {n_parts} layers of the cache", h.n_embd);
        return Err(keys.unsupported("embedding_length", what));
    }
    Ok(Box::new(Lfm2 { style: Style::rms(keys)?, n_taps, n_parts }))
}

impl Family for Lfm2 {
    fn split(&self, weights: &mut Weights, h: &Hyper) -> Result<()> {
        let width = h.n_embd / self.n_parts;
        for layer in 0..h.n_layer {
            let name = |part: &str| format!("blk.{layer}.shortconv.{part}.weight");
            let parts = |part: &str| (0..self.n_parts).map(|i| name(&self.part(part, i))).collect::<Vec<String>>();
            let of_width = |names: &[String]| names.iter().map(|name| (name.clone(), width)).collect::<Vec<_>>();
            let inputs = ["in_proj.b", "in_proj.c", "in_proj.u"].map(parts).concat();
            weights.split(&name("in_proj"), &borrowed(&of_width(&inputs)))?;
            if self.n_parts > 1 {
                weights.split(&name("conv"), &borrowed(&of_width(&parts("conv"))))?;
                weights.split_columns(&name("out_proj"), &borrowed(&of_width(&parts("out_proj"))))?;
            }
        }
        blocks::split_qkv(weights, h)
    }

    fn record(&self, b: &mut Builder<'_>, h: &Hyper, _task: Task) -> Result<BufferId> {
        let table = blocks::token_embd(b, h)?;
        let rope = blocks::rope(h, RopeStyle::Neox);
        let attend = Attend { head_norms: HeadNorms::EachHead, ..Attend::new(h, Some(rope)) };
        let mut more_layers = h.n_layer..;
        let mut x = b.embed(table, 1.0);
        for (i, has_attention) in h.has_attention.iter().enumerate() {
            let layer = Layer::new(h, self.style, i);
            if *has_attention {
                x = layer.pre_norm(b, x, &attend, FeedForward::Gated(Activation::Silu), 1.0)?;
                continue;
            }
            let normed = layer.norm(b, "attn_norm", x)?;
            for part in 0..self.n_parts {
                let cache_layer = if part == 0 { i } else { more_layers.next().unwrap_or(usize::MAX) };
                let mixed = self.convolution(b, h, &layer, part, cache_layer, normed)?;
                x = b.add(&layer.name(&self.part("conv_residual", part)), x, mixed);
            }
            let normed = layer.norm(b, "ffn_norm", x)?;
            let fed = layer.feed_forward(b, normed, FeedForward::Gated(Activation::Silu))?;
            x = b.add(&layer.name("ffn_residual"), x, fed);
        }
        Head { norm: "token_embd_norm", ..Head::or_tied(table) }.record(b, h, self.style, x)
    }

    fn kv_geometry(&self, h: &Hyper, format: KvFormat) -> KvGeometry {
        let n_convolutions = h.has_attention.iter().filter(|has| !**has).count();
        let layers = h.n_layer + (self.n_parts - 1) * n_convolutions;
        KvGeometry { layers, kv_heads: h.n_head_kv, head_size: h.head_size, format }
    }
}

impl Lfm2 {
    /// Name of what belongs to one of the convolutions of a layer.
    fn part(&self, name: &str, index: usize) -> String {
        if self.n_parts == 1 { name.into() } else { format!("{name}.{index}") }
    }

    /// `out_proj(c ⊙ convolution(b ⊙ u))` of some channels: [T, D]
    fn convolution(
        &self,
        b: &mut Builder<'_>,
        h: &Hyper,
        layer: &Layer<'_>,
        index: usize,
        cache_layer: usize,
        x: BufferId,
    ) -> Result<BufferId> {
        let (width, part) = (h.n_embd / self.n_parts, |name: &str| self.part(&format!("shortconv.{name}"), index));
        let weight = b.weight(&layer.name(&format!("{}.weight", part("conv"))), &[width, self.n_taps])?;
        let gate = layer.linear(b, &part("in_proj.b"), x, width)?;
        let out_gate = layer.linear(b, &part("in_proj.c"), x, width)?;
        let u = layer.linear(b, &part("in_proj.u"), x, width)?;
        let gated = b.glu(&layer.name(&part("gated")), gate, u, Activation::Identity);
        let convolved = b.short_conv(&layer.name(&part("conv")), cache_layer, gated, weight);
        let gated = b.glu(&layer.name(&part("out_gated")), out_gate, convolved, Activation::Identity);
        layer.linear(b, &part("out_proj"), gated, h.n_embd)
    }
}

/// As [`Weights::split`] takes them.
fn borrowed(parts: &[(String, usize)]) -> Vec<(&str, usize)> {
    parts.iter().map(|(name, n)| (name.as_str(), *n)).collect()
}
