//! `olmo2`: OLMo 2 and, with a window in three layers of four, OLMo 3. Style stand behind attention and feed-forward, not
//! before: `x + norm(attention(x))`. Queries and keys are normed over all heads together.
//!
//! Source: OLMo 2, arXiv 2501.00656; transformers `modeling_olmo3.py` (linear scaling of positions in full layers only).

use super::{
    Family, Hyper, Keys, Task,
    blocks::{self, Attend, FeedForward, Head, HeadNorms, Layer, Style},
};
use crate::{
    error::Result,
    plan::{Activation, BufferId, Builder, Rope, RopeStyle},
};

/// Every fourth layer of OLMo 3 sees everything, if the file does not say another pattern.
const PATTERN: usize = 4;

#[derive(Debug)]
struct Olmo2 {
    style: Style,
    /// By layer.
    is_windowed: Vec<bool>,
    window_rope_base: f32,
}

pub(super) fn read(keys: &Keys<'_>, h: &Hyper) -> Result<Box<dyn Family>> {
    let is_windowed = match h.sliding_window {
        Some(_) => keys.window_pattern(h.n_layer, PATTERN)?,
        None => vec![false; h.n_layer],
    };
    let window_rope_base = keys.positive("rope.freq_base_swa", Some(h.rope_freq_base.into()))?;
    Ok(Box::new(Olmo2 { style: Style::rms(keys)?, is_windowed, window_rope_base }))
}

impl Family for Olmo2 {
    fn record(&self, b: &mut Builder<'_>, h: &Hyper, _task: Task) -> Result<BufferId> {
        let table = blocks::token_embd(b, h)?;
        let rope = blocks::rope(h, RopeStyle::Neox);
        let windowed = Attend { head_norms: HeadNorms::AllHeads, ..Attend::new(h, Some(rope)) };
        let full = Attend { window: None, ..windowed };
        let rope = Rope { base: self.window_rope_base, frequency_scale: 1.0, ..rope };
        let windowed = Attend { rope: Some(rope), ..windowed };
        let mut x = b.embed(table, 1.0);
        for (i, is_windowed) in self.is_windowed.iter().enumerate() {
            let layer = Layer::new(h, self.style, i);
            let attended = layer.attention(b, x, if *is_windowed { &windowed } else { &full })?;
            let normed = layer.norm(b, "post_attention_norm", attended)?;
            x = b.add(&layer.name("attn_residual"), x, normed);
            let fed = layer.feed_forward(b, x, FeedForward::Gated(Activation::Silu))?;
            let normed = layer.norm(b, "post_ffw_norm", fed)?;
            x = b.add(&layer.name("ffn_residual"), x, normed);
        }
        Head::own().record(b, h, self.style, x)
    }
}
