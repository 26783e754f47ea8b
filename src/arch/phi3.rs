//! `phi3`: Phi-3, Phi-3.5 and Phi-4 as far as they have no long-context factors. Llama in NeoX order, q, k and v as one tensor,
//! gate and up as one (`ffn_up`, [2 · F, D], the gate first), part of each head rotated in Phi-4-mini.
//!
//! The window counts in every layer, as in transformers; llama.cpp leaves it out, so beyond it the two differ. The files of
//! 128k models have two sets of rotary factors and a choice by length, and are refused by the name of these.
//!
//! Source: Abdin et al., Phi-3 technical report, arXiv 2404.14219; transformers `modeling_phi3.py`.

use super::{
    Family, Hyper, Keys, Task,
    blocks::{self, Attend, FeedForward, Head, Layer, Style},
};
use crate::{
    error::{Error, Result},
    plan::{Activation, BufferId, Builder, RopeStyle},
    weights::Weights,
};

#[derive(Debug)]
struct Phi3 {
    style: Style,
}

pub(super) fn read(keys: &Keys<'_>, _h: &Hyper) -> Result<Box<dyn Family>> {
    Ok(Box::new(Phi3 { style: Style::rms(keys)? }))
}

impl Family for Phi3 {
    fn split(&self, weights: &mut Weights, h: &Hyper) -> Result<()> {
        for layer in 0..h.n_layer {
            let [gate, up] = ["gate", "up"].map(|part| format!("blk.{layer}.ffn_{part}.weight"));
            if weights.find(&up).is_none() {
                return Err(Error::file(format!(
                    "tensor {up} [{}, {}] is missing from the file",
                    2 * h.n_ff,
                    h.n_embd
                )));
            }
            weights.split(&up, &[(&gate, h.n_ff), (&up, h.n_ff)])?;
        }
        blocks::split_qkv(weights, h)
    }

    fn record(&self, b: &mut Builder<'_>, h: &Hyper, _task: Task) -> Result<BufferId> {
        let table = blocks::token_embd(b, h)?;
        let attend = Attend::new(h, Some(blocks::rope(h, RopeStyle::Neox)));
        let mut x = b.embed(table, 1.0);
        for layer in 0..h.n_layer {
            let layer = Layer::new(h, self.style, layer);
            x = layer.pre_norm(b, x, &attend, FeedForward::Gated(Activation::Silu), 1.0)?;
        }
        Head::or_tied(table).record(b, h, self.style, x)
    }
}
