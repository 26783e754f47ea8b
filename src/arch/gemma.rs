//! `gemma`, `gemma2` and `gemma3`: embeddings times √D, GeGLU, heads whose size is not D / H. Files hold 1 + the weights of
//! norms, so those are plain ones.
//!
//! gemma2 also norms behind attention and feed-forward, caps scores and logits, and has a window in every second layer. gemma3
//! norms each head of queries and keys instead of capping scores; five layers of six have a window, and these rotate with a base
//! of their own and never stretch positions. The largest model of either scales scores by D / H instead of K, which no key
//! says: it is known by its number of layers, as in llama.cpp.
//!
//! Source: Gemma, arXiv 2403.08295; Gemma 2, arXiv 2408.00118; Gemma 3, arXiv 2503.19786; llama.cpp `gemma*.cpp`.

use super::{
    Family, Hyper, Keys, Task,
    blocks::{self, Attend, FeedForward, Head, HeadNorms, Layer, Style},
    hyper::MAX_CONTEXT,
};
use crate::{
    error::Result,
    plan::{Activation, BufferId, Builder, Rope, RopeStyle},
};

#[derive(Debug)]
struct Gemma {
    style: Style,
    head_norms: HeadNorms,
    has_post_norms: bool,
    /// Of windowed layers.
    window: Option<usize>,
    /// By layer.
    is_windowed: Vec<bool>,
    /// Of windowed layers.
    rope_base: f32,
    /// Of windowed layers.
    frequency_scale: f32,
    attention_soft_cap: Option<f32>,
    logit_soft_cap: Option<f32>,
    /// Scores are divided by its root.
    scale_size: usize,
}

impl Gemma {
    fn new(keys: &Keys<'_>, h: &Hyper) -> Result<Self> {
        let frequency_scale = blocks::rope(h, RopeStyle::Neox).frequency_scale;
        Ok(Self {
            style: Style::rms(keys)?,
            head_norms: HeadNorms::None,
            has_post_norms: false,
            window: h.sliding_window,
            is_windowed: vec![h.sliding_window.is_some(); h.n_layer],
            rope_base: h.rope_freq_base,
            frequency_scale,
            attention_soft_cap: None,
            logit_soft_cap: None,
            scale_size: h.head_size,
        })
    }
}

pub(super) fn read_1(keys: &Keys<'_>, h: &Hyper) -> Result<Box<dyn Family>> {
    Ok(Box::new(Gemma::new(keys, h)?))
}

pub(super) fn read_2(keys: &Keys<'_>, h: &Hyper) -> Result<Box<dyn Family>> {
    Ok(Box::new(Gemma {
        has_post_norms: true,
        window: Some(keys.count("attention.sliding_window", 1, MAX_CONTEXT, Some(4096))?),
        is_windowed: keys.window_pattern(h.n_layer, 2)?,
        rope_base: keys.positive("rope.freq_base_swa", Some(h.rope_freq_base.into()))?,
        attention_soft_cap: Some(keys.positive("attn_logit_softcapping", Some(50.0))?),
        logit_soft_cap: Some(keys.positive("final_logit_softcapping", Some(30.0))?),
        scale_size: if h.n_layer == 46 { h.n_embd / h.n_head } else { h.head_size },
        ..Gemma::new(keys, h)?
    }))
}

pub(super) fn read_3(keys: &Keys<'_>, h: &Hyper) -> Result<Box<dyn Family>> {
    let is_windowed = match h.sliding_window {
        Some(_) => keys.window_pattern(h.n_layer, 6)?,
        None => vec![false; h.n_layer],
    };
    Ok(Box::new(Gemma {
        head_norms: HeadNorms::EachHead,
        has_post_norms: true,
        is_windowed,
        rope_base: keys.positive("rope.freq_base_swa", Some(10_000.0))?,
        frequency_scale: 1.0,
        logit_soft_cap: keys.factor("final_logit_softcapping")?,
        scale_size: if h.n_layer == 62 { h.n_embd / h.n_head } else { h.head_size },
        ..Gemma::new(keys, h)?
    }))
}

impl Family for Gemma {
    fn record(&self, b: &mut Builder<'_>, h: &Hyper, _task: Task) -> Result<BufferId> {
        let table = blocks::token_embd(b, h)?;
        let rope = blocks::rope(h, RopeStyle::Neox);
        let full = Attend {
            rope: Some(rope),
            head_norms: self.head_norms,
            scale: 1.0 / (self.scale_size as f32).sqrt(),
            window: None,
            soft_cap: self.attention_soft_cap,
        };
        let rope = Rope { base: self.rope_base, frequency_scale: self.frequency_scale, ..rope };
        let windowed = Attend { rope: Some(rope), window: self.window, ..full };
        let mut x = b.embed(table, (h.n_embd as f32).sqrt());
        for (i, is_windowed) in self.is_windowed.iter().enumerate() {
            let layer = Layer::new(h, self.style, i);
            let normed = layer.norm(b, "attn_norm", x)?;
            let attended = layer.attention(b, normed, if *is_windowed { &windowed } else { &full })?;
            let attended = self.post_norm(b, &layer, "post_attention_norm", attended)?;
            x = b.add(&layer.name("attn_residual"), x, attended);
            let normed = layer.norm(b, "ffn_norm", x)?;
            let fed = layer.feed_forward(b, normed, FeedForward::Gated(Activation::GeluTanh))?;
            let fed = self.post_norm(b, &layer, "post_ffw_norm", fed)?;
            x = b.add(&layer.name("ffn_residual"), x, fed);
        }
        Head { soft_cap: self.logit_soft_cap, ..Head::or_tied(table) }.record(b, h, self.style, x)
    }
}

impl Gemma {
    fn post_norm(&self, b: &mut Builder<'_>, layer: &Layer<'_>, part: &str, x: BufferId) -> Result<BufferId> {
        if self.has_post_norms { layer.norm(b, part, x) } else { Ok(x) }
    }
}
