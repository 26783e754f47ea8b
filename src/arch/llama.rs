//! `llama`: SmolLM and SmolLM2, TinyLlama, Llama 2 and 3.x, Mistral. Pre-norm blocks, rotary positions in GGUF's interleaved
//! order, grouped queries, SwiGLU. The head is the embedding table where the file has no `output.weight`.
//!
//! Source: Touvron et al., LLaMA, arXiv 2302.13971; tensor names of ggml's gguf-py `constants.py`.

use super::{
    Family, Hyper, Keys, Task,
    blocks::{self, Attend, FeedForward, Head, Layer, Style},
};
use crate::{
    error::Result,
    plan::{Activation, BufferId, Builder},
};

#[derive(Debug)]
struct Llama {
    style: Style,
}

pub(super) fn read(keys: &Keys<'_>, _h: &Hyper) -> Result<Box<dyn Family>> {
    Ok(Box::new(Llama { style: Style::rms(keys)? }))
}

impl Family for Llama {
    fn record(&self, b: &mut Builder<'_>, h: &Hyper, _task: Task) -> Result<BufferId> {
        let table = blocks::token_embd(b, h)?;
        let attend = Attend::new(h, Some(blocks::llama_rope(b, h)?));
        let mut x = b.embed(table, 1.0);
        for layer in 0..h.n_layer {
            let layer = Layer::new(h, self.style, layer);
            x = layer.pre_norm(b, x, &attend, FeedForward::Gated(Activation::Silu), 1.0)?;
        }
        Head::or_tied(table).record(b, h, self.style, x)
    }
}
