//! `smollm3`: Llama, but every fourth layer does not rotate (NoPE): it knows order only from the others. No key says which
//! layers; llama.cpp has the number in its code too.
//!
//! Source: SmolLM3 (Hugging Face, 2025), transformers `modeling_smollm3.py`; Yang et al., arXiv 2501.18795.

use super::{
    Family, Hyper, Keys, Task,
    blocks::{self, Attend, FeedForward, Head, Layer, Style},
};
use crate::{
    error::Result,
    plan::{Activation, BufferId, Builder},
};

/// Layers 3, 7, 11, … do not rotate.
const NO_ROPE_STEP: usize = 4;

#[derive(Debug)]
struct SmolLm3 {
    style: Style,
}

pub(super) fn read(keys: &Keys<'_>, _h: &Hyper) -> Result<Box<dyn Family>> {
    Ok(Box::new(SmolLm3 { style: Style::rms(keys)? }))
}

impl Family for SmolLm3 {
    fn record(&self, b: &mut Builder<'_>, h: &Hyper, _task: Task) -> Result<BufferId> {
        let table = blocks::token_embd(b, h)?;
        let rope = blocks::llama_rope(b, h)?;
        let mut x = b.embed(table, 1.0);
        for i in 0..h.n_layer {
            let attend = Attend::new(h, Some(rope).filter(|_| (i + 1) % NO_ROPE_STEP != 0));
            let layer = Layer::new(h, self.style, i);
            x = layer.pre_norm(b, x, &attend, FeedForward::Gated(Activation::Silu), 1.0)?;
        }
        Head::or_tied(table).record(b, h, self.style, x)
    }
}
