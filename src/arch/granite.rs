//! `granite`: Llama with four factors: `embedding_scale` on the rows of the table, `attention.scale` on the scores in place of
//! 1/√K, `residual_scale` on what each half of a block adds, `logit_scale` as the divisor of the logits. A factor that is
//! missing or 0 is none, as llama.cpp reads them; `logit_scale` has to be there.
//!
//! Source: IBM Granite 3 (2024), transformers `modeling_granite.py`.

use super::{
    Family, Hyper, Keys, Task,
    blocks::{self, Attend, FeedForward, Head, Layer, Style},
};
use crate::{
    error::Result,
    plan::{Activation, BufferId, Builder},
};

#[derive(Debug)]
struct Granite {
    style: Style,
    attention_scale: Option<f32>,
    embedding_scale: f32,
    residual_scale: f32,
    logit_scale: f32,
    /// `rope.scaling.finetuned` is false in files of models without positions.
    rotates: bool,
}

pub(super) fn read(keys: &Keys<'_>, _h: &Hyper) -> Result<Box<dyn Family>> {
    Ok(Box::new(Granite {
        style: Style::rms(keys)?,
        attention_scale: keys.factor("attention.scale")?,
        embedding_scale: keys.factor("embedding_scale")?.unwrap_or(1.0),
        residual_scale: keys.factor("residual_scale")?.unwrap_or(1.0),
        logit_scale: keys.divisor("logit_scale")?,
        rotates: keys.bool("rope.scaling.finetuned")?.unwrap_or(true),
    }))
}

impl Family for Granite {
    fn record(&self, b: &mut Builder<'_>, h: &Hyper, _task: Task) -> Result<BufferId> {
        let table = blocks::token_embd(b, h)?;
        let mut attend = Attend::new(h, Some(blocks::llama_rope(b, h)?).filter(|_| self.rotates));
        attend.scale = self.attention_scale.unwrap_or(attend.scale);
        let mut x = b.embed(table, self.embedding_scale);
        for layer in 0..h.n_layer {
            let layer = Layer::new(h, self.style, layer);
            x = layer.pre_norm(b, x, &attend, FeedForward::Gated(Activation::Silu), self.residual_scale)?;
        }
        let head = Head { scale: 1.0 / self.logit_scale, ..Head::or_tied(table) };
        head.record(b, h, self.style, x)
    }
}
