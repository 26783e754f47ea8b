//! `starcoder2`: layer norms, rotary positions in NeoX order, grouped queries, biases everywhere, GELU without a gate.
//!
//! Source: Lozhkov et al., StarCoder 2 and The Stack v2, arXiv 2402.19173.

use super::{
    Family, Hyper, Keys, Task,
    blocks::{self, Attend, FeedForward, Head, Layer, Style},
};
use crate::{
    error::Result,
    plan::{Activation, BufferId, Builder, RopeStyle},
};

#[derive(Debug)]
struct StarCoder2 {
    style: Style,
}

pub(super) fn read(keys: &Keys<'_>, _h: &Hyper) -> Result<Box<dyn Family>> {
    Ok(Box::new(StarCoder2 { style: Style::layer(keys)?.with_biases() }))
}

impl Family for StarCoder2 {
    fn record(&self, b: &mut Builder<'_>, h: &Hyper, _task: Task) -> Result<BufferId> {
        let table = blocks::token_embd(b, h)?;
        let attend = Attend::new(h, Some(blocks::rope(h, RopeStyle::Neox)));
        let mut x = b.embed(table, 1.0);
        for layer in 0..h.n_layer {
            let layer = Layer::new(h, self.style, layer);
            x = layer.pre_norm(b, x, &attend, FeedForward::Plain(Activation::GeluTanh), 1.0)?;
        }
        Head::or_tied(table).record(b, h, self.style, x)
    }
}
