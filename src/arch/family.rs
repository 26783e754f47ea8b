//! What a model family is to the rest of the engine, and which there are.

use std::fmt::Debug;

use super::{
    Head, Hyper, Keys, bert, blocks, gemma, gpt2, gptneox, granite, lfm2, llama, modern_bert, olmo2, phi2, phi3, qwen,
    smollm3, stablelm, starcoder2, t5,
};
use crate::{
    error::{Error, Result},
    kv::{KvFormat, KvGeometry},
    plan::{BufferId, Builder},
    weights::Weights,
};

/// What a plan of a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// Logits [Out, V] of the token that follows each row: text generation. The decoder of an encoder-decoder looks at what
    /// [`Task::Remember`] left.
    Generate,
    /// The encoder of an encoder-decoder: leaves keys and values for every layer of the decoder in the pages of the sequence,
    /// which thereby become a memory ([`crate::plan::Memory`]). Output: the rows as encoded, [Out, D].
    Remember,
    /// One row per sequence, the embedding of its text, [Out, D], not normalised. Exactly one row of each sequence asks.
    Embed,
    /// Logits [Out, V] of the token at each row itself: an encoder trained to fill in masks.
    FillMask,
    /// Logits [Out, labels] of each sequence's text or pair of texts. Exactly one row of each sequence asks.
    Classify,
    /// Logits [Out, labels] of each row.
    Label,
}

impl Task {
    /// Its public name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Remember => "remember",
            Self::Embed => "embed",
            Self::FillMask => "fill-mask",
            Self::Classify => "classify",
            Self::Label => "label",
        }
    }
}

/// A model family: reads what it needs from a header, and records its plans. One file each; here is what all have in common.
pub(super) trait Family: Debug + Send + Sync {
    /// What this model can do; the first is what it is for.
    fn tasks(&self) -> &[Task] {
        &[Task::Generate]
    }

    /// Pooling and heads of an encoder.
    fn head(&self) -> Option<&Head> {
        None
    }

    /// Gives names of their own to parts of tensors ([`Weights::split`]). Called once, before anything is recorded.
    fn split(&self, weights: &mut Weights, h: &Hyper) -> Result<()> {
        blocks::split_qkv(weights, h)
    }

    /// Records one step of a task that the model can do; gives the output.
    fn record(&self, b: &mut Builder<'_>, h: &Hyper, task: Task) -> Result<BufferId>;

    /// Shape of the key-value cache.
    fn kv_geometry(&self, h: &Hyper, format: KvFormat) -> KvGeometry {
        KvGeometry { layers: h.n_layer, kv_heads: h.n_head_kv, head_size: h.head_size, format }
    }

    /// The token with which the decoder of an encoder-decoder begins.
    fn decoder_start(&self) -> Option<u32> {
        None
    }

    /// The longest context that the positions of this family allow.
    fn longest_context(&self, h: &Hyper) -> usize {
        h.n_ctx_train
    }
}

type Read = fn(&Keys<'_>, &Hyper) -> Result<Box<dyn Family>>;

/// By `general.architecture`.
const FAMILIES: [(&str, Read); 20] = [
    ("llama", llama::read),
    ("gemma", gemma::read_1),
    ("gemma2", gemma::read_2),
    ("gemma3", gemma::read_3),
    ("gpt2", gpt2::read),
    ("gptneox", gptneox::read),
    ("granite", granite::read),
    ("lfm2", lfm2::read),
    ("olmo2", olmo2::read),
    ("phi2", phi2::read),
    ("phi3", phi3::read),
    ("qwen2", qwen::read_2),
    ("qwen3", qwen::read_3),
    ("smollm3", smollm3::read),
    ("stablelm", stablelm::read),
    ("starcoder2", starcoder2::read),
    ("bert", bert::read),
    ("nomic-bert", bert::read),
    ("modern-bert", modern_bert::read),
    ("t5", t5::read),
];

/// The family that reads this architecture.
pub(super) fn find(architecture: &str) -> Result<Read> {
    FAMILIES.iter().find(|(name, _)| *name == architecture).map(|(_, read)| *read).ok_or_else(|| {
        let names: Vec<&str> = FAMILIES.iter().map(|(name, _)| *name).collect();
        Error::UnsupportedArch {
            what: format!("architecture {architecture:?} is not supported (supported: {})", names.join(", ")),
        }
    })
}
