//! Hyper-parameters of a model from GGUF metadata, each with its default beside its key, each range-checked.

use super::vocabulary;
use crate::{
    error::{Error, Result},
    gguf::{Header, Metadata, TensorInfo, Value},
};

/// Most layers of a model that this engine accepts.
const MAX_LAYERS: u64 = 512;
/// Widest row that this engine accepts.
const MAX_WIDTH: u64 = 1 << 20;
/// Largest head that this engine accepts.
const MAX_HEAD_SIZE: u64 = 512;
/// Longest trained context that this engine accepts.
const MAX_CONTEXT: u64 = 1 << 28;

/// What a model is made of. Names are GGUF's where it has one.
#[derive(Debug, Clone, PartialEq)]
pub struct Hyper {
    /// `general.architecture`
    pub architecture: String,
    /// `general.name`, where the file has one.
    pub name: Option<String>,
    /// L: `block_count`
    pub n_layer: usize,
    /// D: `embedding_length`
    pub n_embd: usize,
    /// F: `feed_forward_length`
    pub n_ff: usize,
    /// H: `attention.head_count`
    pub n_head: usize,
    /// G: `attention.head_count_kv`, default H
    pub n_head_kv: usize,
    /// K: `attention.key_length`, default D / H
    pub head_size: usize,
    /// V: number of `tokenizer.ggml.tokens`
    pub n_vocab: usize,
    /// Trained context: `context_length`
    pub n_ctx_train: usize,
    /// `attention.layer_norm_rms_epsilon`, or `attention.layer_norm_epsilon` where a file has that
    pub norm_rms_eps: f32,
    /// Elements of a head that are rotated: `rope.dimension_count`, default K
    pub rope_dims: usize,
    /// `rope.freq_base`, default 10,000
    pub rope_freq_base: f32,
    /// `rope.scaling.type` and `rope.scaling.factor`
    pub rope_scaling: RopeScaling,
    /// `attention.sliding_window`, where it is there and not 0: how many positions a row sees, itself included.
    pub sliding_window: Option<usize>,
}

/// How positions are stretched beyond the trained ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Not at all. (Llama 3.x stretches by the tensor `rope_freqs.weight`, not by a key.)
    None,
    /// Positions are divided by the factor.
    Linear {
        /// Finite and > 0.
        factor: f32,
    },
}

impl Hyper {
    /// Reads and checks what all families have.
    pub(super) fn read(keys: &Keys<'_>) -> Result<Self> {
        let Keys { metadata, architecture, .. } = *keys;
        let n_embd = keys.count("embedding_length", 1, MAX_WIDTH, None)?;
        let n_head = keys.count("attention.head_count", 1, MAX_WIDTH, None)?;
        let n_head_kv = keys.count("attention.head_count_kv", 1, MAX_WIDTH, Some(n_head))?;
        if n_head % n_head_kv != 0 {
            return Err(keys.error("attention.head_count_kv", format!("{n_head_kv} does not divide {n_head} heads")));
        }
        let head_size = keys.count("attention.key_length", 1, MAX_HEAD_SIZE, Some(n_embd / n_head))?;
        let value_size = keys.count("attention.value_length", 1, MAX_HEAD_SIZE, Some(head_size))?;
        if value_size != head_size {
            return Err(Error::UnsupportedArch {
                what: format!("{architecture}: values of {value_size} beside keys of {head_size} are not supported"),
            });
        }
        let rope_dims = keys.count("rope.dimension_count", 1, MAX_HEAD_SIZE, Some(head_size))?;
        if rope_dims > head_size || rope_dims % 2 != 0 {
            return Err(
                keys.error("rope.dimension_count", format!("{rope_dims} is odd or over the head size {head_size}"))
            );
        }
        if keys.count("expert_count", 0, MAX_WIDTH, Some(0))? != 0 {
            return Err(Error::UnsupportedArch {
                what: format!("{architecture}: mixtures of experts are not supported"),
            });
        }
        Ok(Self {
            architecture: architecture.into(),
            name: metadata.str("general.name")?.map(Into::into),
            n_layer: keys.count("block_count", 1, MAX_LAYERS, None)?,
            n_embd,
            n_ff: keys.count("feed_forward_length", 1, MAX_WIDTH, None)?,
            n_head,
            n_head_kv,
            head_size,
            n_vocab: vocabulary::n_vocab(metadata)?,
            n_ctx_train: keys.count("context_length", 1, MAX_CONTEXT, None)?,
            norm_rms_eps: keys.norm_eps()?,
            rope_dims,
            rope_freq_base: keys.positive("rope.freq_base", Some(10_000.0))?,
            rope_scaling: keys.rope_scaling()?,
            sliding_window: Some(keys.count("attention.sliding_window", 0, MAX_CONTEXT, Some(0))?).filter(|n| *n > 0),
        })
    }
}

/// Reads `<architecture>.<key>`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys<'a> {
    pub(super) metadata: &'a Metadata,
    architecture: &'a str,
    tensors: &'a [TensorInfo],
}

impl<'a> Keys<'a> {
    /// The keys of the file's architecture.
    pub(super) fn of(header: &'a Header) -> Result<Self> {
        let metadata = &header.metadata;
        let architecture = metadata.str("general.architecture")?;
        let architecture = architecture.ok_or_else(|| Error::file("metadata key general.architecture is missing"))?;
        Ok(Self { metadata, architecture, tensors: &header.tensors })
    }

    /// `general.architecture`
    pub(super) fn architecture(&self) -> &'a str {
        self.architecture
    }

    /// Shape of a tensor of the file, where it has one of this name.
    pub(super) fn tensor_shape(&self, name: &str) -> Option<&'a [usize]> {
        self.tensors.iter().find(|tensor| tensor.name == name).map(|tensor| tensor.shape.as_slice())
    }

    /// `attention.causal`
    pub(super) fn is_causal(&self) -> Result<Option<bool>> {
        self.metadata.bool(&self.key("attention.causal"))
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    pub(super) fn error(&self, key: &str, what: impl std::fmt::Display) -> Error {
        Error::file(format!("metadata key {}: {what}", self.key(key)))
    }

    /// A whole number in `min..=max`. A per-layer array of equal numbers counts as that number.
    fn count(&self, key: &str, min: u64, max: u64, default: Option<usize>) -> Result<usize> {
        let name = self.key(key);
        if let Some(Value::Array(_)) = self.metadata.get(&name) {
            return match self.metadata.i32s(&name)? {
                Some([first, rest @ ..]) if rest.iter().all(|x| x == first) => {
                    self.check(key, u64::try_from(*first).unwrap_or(u64::MAX), min, max)
                }
                _ => Err(Error::UnsupportedArch {
                    what: format!("{}: {name} differs by layer, which is not supported", self.architecture),
                }),
            };
        }
        match (self.metadata.u64(&name)?, default) {
            (Some(n), _) => self.check(key, n, min, max),
            (None, Some(n)) => self.check(key, n as u64, min, max),
            (None, None) => Err(self.error(key, "is missing")),
        }
    }

    /// A whole number in `min..=max`, or none.
    pub(super) fn count_or(&self, key: &str, min: u64, max: u64) -> Result<Option<usize>> {
        match self.metadata.get(&self.key(key)) {
            Some(_) => self.count(key, min, max, None).map(Some),
            None => Ok(None),
        }
    }

    fn check(&self, key: &str, n: u64, min: u64, max: u64) -> Result<usize> {
        if (min..=max).contains(&n) {
            Ok(n as usize)
        } else {
            Err(self.error(key, format!("{n} is not in {min}..={max}")))
        }
    }

    /// A number that is finite and > 0.
    pub(super) fn positive(&self, key: &str, default: Option<f64>) -> Result<f32> {
        let x = self.metadata.f64(&self.key(key))?.or(default).ok_or_else(|| self.error(key, "is missing"))? as f32;
        if x.is_finite() && x > 0.0 { Ok(x) } else { Err(self.error(key, format!("{x} is not finite and > 0"))) }
    }

    /// ε of the norms, of whichever kind they are.
    fn norm_eps(&self) -> Result<f32> {
        const KINDS: [&str; 2] = ["attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon"];
        match KINDS.into_iter().find(|key| self.metadata.get(&self.key(key)).is_some()) {
            Some(key) => self.positive(key, None),
            None => Err(self.error(KINDS[1], format!("is missing, and {} too", self.key(KINDS[0])))),
        }
    }

    /// As ggml reads them: a factor without a type stretches linearly, and `rope.scale_linear` is its old name.
    fn rope_scaling(&self) -> Result<RopeScaling> {
        let unsupported =
            |what: String| Error::UnsupportedArch { what: format!("{}: {what} is not supported", self.architecture) };
        if let Some(factor) = self.metadata.f64(&self.key("rope.scaling.attn_factor"))?.filter(|&factor| factor != 1.0)
        {
            return Err(unsupported(format!("the rope attention factor {factor}")));
        }
        let has = |key: &&str| self.metadata.get(&self.key(key)).is_some();
        let factor = ["rope.scaling.factor", "rope.scale_linear"].into_iter().find(has);
        match (self.metadata.str(&self.key("rope.scaling.type"))?, factor) {
            (Some("none"), _) | (None, None) => Ok(RopeScaling::None),
            (None | Some("linear"), _) => {
                let key = factor.unwrap_or("rope.scaling.factor");
                let factor = self.positive(key, None)?;
                // Positions are divided by it.
                if factor.recip().is_infinite() {
                    return Err(self.error(key, format!("{factor:e} is too near to 0")));
                }
                Ok(RopeScaling::Linear { factor })
            }
            (Some(other), _) => Err(unsupported(format!("rope scaling {other:?}"))),
        }
    }
}
