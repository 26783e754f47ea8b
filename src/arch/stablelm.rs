//! `stablelm`: StableLM 3B and StableLM 2 1.6B. Layer norms, part of each head rotated, SwiGLU, biases on q, k and v in some. A
//! file without `ffn_norm` runs attention and feed-forward beside each other on the same norm (as llama.cpp tells them apart).
//!
//! StableLM 2 12B norms each head with weights of its own and is refused by the name of these tensors.
//!
//! Source: Bellagente et al., Stable LM 2 1.6B technical report, arXiv 2402.17834; transformers `modeling_stablelm.py`.

use super::{
    Family, Hyper, Keys, Task,
    blocks::{self, Attend, FeedForward, Head, Layer, Style},
};
use crate::{
    error::Result,
    plan::{Activation, BufferId, Builder, RopeStyle},
};

#[derive(Debug)]
struct StableLm {
    style: Style,
}

pub(super) fn read(keys: &Keys<'_>, _h: &Hyper) -> Result<Box<dyn Family>> {
    Ok(Box::new(StableLm { style: Style::layer(keys)? }))
}

impl Family for StableLm {
    fn record(&self, b: &mut Builder<'_>, h: &Hyper, _task: Task) -> Result<BufferId> {
        let table = blocks::token_embd(b, h)?;
        let attend = Attend::new(h, Some(blocks::rope(h, RopeStyle::Neox)));
        let feed_forward = FeedForward::Gated(Activation::Silu);
        let mut x = b.embed(table, 1.0);
        for layer in 0..h.n_layer {
            let layer = Layer::new(h, self.style, layer);
            x = match b.optional_weight(&layer.name("ffn_norm.weight"), &[h.n_embd])? {
                Some(_) => layer.pre_norm(b, x, &attend, feed_forward, 1.0)?,
                None => layer.parallel(b, x, &attend, feed_forward, true)?,
            };
        }
        Head::own().record(b, h, self.style, x)
    }
}
