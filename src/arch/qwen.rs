//! `qwen2` (Qwen 1.5, 2 and 2.5) and `qwen3`: Llama in NeoX order. qwen2 has biases on queries, keys and values; qwen3 has
//! none, norms each head of queries and keys instead, and heads whose size is not D / H.
//!
//! Source: Qwen2 technical report, arXiv 2407.10671; Qwen3 technical report, arXiv 2505.09388.

use super::{
    Family, Hyper, Keys, Task,
    blocks::{self, Attend, FeedForward, Head, HeadNorms, Layer, Style},
};
use crate::{
    error::Result,
    plan::{Activation, BufferId, Builder, RopeStyle},
};

#[derive(Debug)]
struct Qwen {
    style: Style,
    head_norms: HeadNorms,
}

pub(super) fn read_2(keys: &Keys<'_>, _h: &Hyper) -> Result<Box<dyn Family>> {
    Ok(Box::new(Qwen { style: Style::rms(keys)?, head_norms: HeadNorms::None }))
}

pub(super) fn read_3(keys: &Keys<'_>, _h: &Hyper) -> Result<Box<dyn Family>> {
    Ok(Box::new(Qwen { style: Style::rms(keys)?, head_norms: HeadNorms::EachHead }))
}

impl Family for Qwen {
    fn record(&self, b: &mut Builder<'_>, h: &Hyper, _task: Task) -> Result<BufferId> {
        let table = blocks::token_embd(b, h)?;
        let rope = blocks::rope(h, RopeStyle::Neox);
        let attend = Attend { head_norms: self.head_norms, ..Attend::new(h, Some(rope)) };
        let mut x = b.embed(table, 1.0);
        for layer in 0..h.n_layer {
            let layer = Layer::new(h, self.style, layer);
            x = layer.pre_norm(b, x, &attend, FeedForward::Gated(Activation::Silu), 1.0)?;
        }
        Head { has_bias: true, ..Head::or_tied(table) }.record(b, h, self.style, x)
    }
}
