//! `phi2`: Phi-1, 1.5 and 2. Layer norms, biases everywhere, on the head too; part of each head rotated; attention and
//! feed-forward beside each other on the same norm: `x + attention(norm(x)) + feed_forward(norm(x))`.
//!
//! Source: Li et al., Textbooks Are All You Need II, arXiv 2309.05463; transformers `modeling_phi.py`.

use super::{
    Family, Hyper, Keys, Task,
    blocks::{self, Attend, FeedForward, Head, Layer, Style},
};
use crate::{
    error::Result,
    plan::{Activation, BufferId, Builder, RopeStyle},
};

#[derive(Debug)]
struct Phi2 {
    style: Style,
}

pub(super) fn read(keys: &Keys<'_>, _h: &Hyper) -> Result<Box<dyn Family>> {
    Ok(Box::new(Phi2 { style: Style::layer(keys)?.with_biases() }))
}

impl Family for Phi2 {
    fn record(&self, b: &mut Builder<'_>, h: &Hyper, _task: Task) -> Result<BufferId> {
        let table = blocks::token_embd(b, h)?;
        let attend = Attend::new(h, Some(blocks::rope(h, RopeStyle::Neox)));
        let mut x = b.embed(table, 1.0);
        for layer in 0..h.n_layer {
            let layer = Layer::new(h, self.style, layer);
            x = layer.parallel(b, x, &attend, FeedForward::Plain(Activation::GeluTanh), true)?;
        }
        b.weight("output.bias", &[h.n_vocab])?;
        Head { has_bias: true, ..Head::own() }.record(b, h, self.style, x)
    }
}
