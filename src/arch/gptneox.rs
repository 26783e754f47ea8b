//! `gptneox`: Pythia. Layer norms, biases everywhere, a quarter of each head rotated, GELU. In most models attention and
//! feed-forward run beside each other (`use_parallel_residual`): `x + attention(attn_norm(x)) + feed_forward(ffn_norm(x))`.
//!
//! GELU is the exact one, as Pythia was trained. (No key says it; llama.cpp computes the tanh form for all families.)
//!
//! Source: Black et al., GPT-NeoX-20B, arXiv 2204.06745; Biderman et al., Pythia, arXiv 2304.01373.

use super::{
    Family, Hyper, Keys, Task,
    blocks::{self, Attend, FeedForward, Head, Layer, Style},
};
use crate::{
    error::Result,
    plan::{Activation, BufferId, Builder, RopeStyle},
};

#[derive(Debug)]
struct GptNeoX {
    style: Style,
    is_parallel: bool,
}

pub(super) fn read(keys: &Keys<'_>, _h: &Hyper) -> Result<Box<dyn Family>> {
    let key = "use_parallel_residual";
    let is_parallel = keys.bool(key)?.ok_or_else(|| keys.error(key, "is missing"))?;
    Ok(Box::new(GptNeoX { style: Style::layer(keys)?.with_biases(), is_parallel }))
}

impl Family for GptNeoX {
    fn record(&self, b: &mut Builder<'_>, h: &Hyper, _task: Task) -> Result<BufferId> {
        let table = blocks::token_embd(b, h)?;
        let attend = Attend::new(h, Some(blocks::rope(h, RopeStyle::Neox)));
        let feed_forward = FeedForward::Plain(Activation::Gelu);
        let mut x = b.embed(table, 1.0);
        for layer in 0..h.n_layer {
            let layer = Layer::new(h, self.style, layer);
            x = match self.is_parallel {
                true => layer.parallel(b, x, &attend, feed_forward, false)?,
                false => layer.pre_norm(b, x, &attend, feed_forward, 1.0)?,
            };
        }
        Head::own().record(b, h, self.style, x)
    }
}
