//! `gpt2`: layer norms, learned positions (`position_embd.weight`, one row for each position of the trained context: there are
//! no more), biases everywhere, GELU. q, k and v are one tensor.
//!
//! Source: Radford et al., Language Models are Unsupervised Multitask Learners, 2019.

use super::{
    Family, Hyper, Keys, Task,
    blocks::{self, Attend, FeedForward, Head, Layer, Style},
};
use crate::{
    error::Result,
    plan::{Activation, BufferId, Builder, RowIndex},
};

#[derive(Debug)]
struct Gpt2 {
    style: Style,
}

pub(super) fn read(keys: &Keys<'_>, _h: &Hyper) -> Result<Box<dyn Family>> {
    Ok(Box::new(Gpt2 { style: Style::layer(keys)?.with_biases() }))
}

impl Family for Gpt2 {
    fn record(&self, b: &mut Builder<'_>, h: &Hyper, _task: Task) -> Result<BufferId> {
        let table = blocks::token_embd(b, h)?;
        let positions = b.weight("position_embd.weight", &[h.n_ctx_train, h.n_embd])?;
        let attend = Attend::new(h, None);
        let x = b.embed(table, 1.0);
        let mut x = b.add_row("positioned", x, positions, RowIndex::Position(0));
        for layer in 0..h.n_layer {
            let layer = Layer::new(h, self.style, layer);
            x = layer.pre_norm(b, x, &attend, FeedForward::Plain(Activation::GeluTanh), 1.0)?;
        }
        Head::or_tied(table).record(b, h, self.style, x)
    }
}
