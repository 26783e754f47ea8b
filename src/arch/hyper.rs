//! Hyper-parameters of a model from GGUF metadata, each with its default beside its key, each range-checked.

use super::vocabulary;
use crate::{
    error::{Error, Result},
    gguf::{Array, Header, Metadata, TensorInfo, Value},
};

/// Most layers of a model that this engine accepts.
pub(super) const MAX_LAYERS: u64 = 512;
/// Widest row that this engine accepts.
const MAX_WIDTH: u64 = 1 << 20;
/// Largest head that this engine accepts.
const MAX_HEAD_SIZE: u64 = 512;
/// Architectures with layers that have no attention: 0 kv heads there.
const HYBRID: [&str; 1] = ["lfm2"];
/// Longest trained context that this engine accepts.
pub(super) const MAX_CONTEXT: u64 = 1 << 28;

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
    /// By layer, L: whether it has attention. All do but in hybrid models, whose `attention.head_count_kv` is 0 in the others.
    pub has_attention: Vec<bool>,
    /// K: `attention.key_length`, default D / H
    pub head_size: usize,
    /// V: number of `tokenizer.ggml.tokens`
    pub n_vocab: usize,
    /// Trained context: `context_length`
    pub n_ctx_train: usize,
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
        let n_layer = keys.count("block_count", 1, MAX_LAYERS, None)?;
        let (n_head_kv, has_attention) = keys.kv_heads(n_head, n_layer)?;
        if n_head % n_head_kv != 0 {
            return Err(keys.error("attention.head_count_kv", format!("{n_head_kv} does not divide {n_head} heads")));
        }
        let head_size = keys.count("attention.key_length", 1, MAX_HEAD_SIZE, Some(n_embd / n_head))?;
        let value_size = keys.count("attention.value_length", 1, MAX_HEAD_SIZE, Some(head_size))?;
        if value_size != head_size {
            let what = format!("values of {value_size} beside keys of {head_size}");
            return Err(keys.unsupported("attention.value_length", what));
        }
        let rope_dims = keys.count("rope.dimension_count", 1, MAX_HEAD_SIZE, Some(head_size))?;
        if rope_dims > head_size || rope_dims % 2 != 0 {
            return Err(
                keys.error("rope.dimension_count", format!("{rope_dims} is odd or over the head size {head_size}"))
            );
        }
        if keys.count("expert_count", 0, MAX_WIDTH, Some(0))? != 0 {
            return Err(keys.unsupported("expert_count", "a mixture of experts"));
        }
        Ok(Self {
            architecture: architecture.into(),
            name: metadata.str("general.name")?.map(Into::into),
            n_layer,
            n_embd,
            n_ff: keys.count("feed_forward_length", 1, MAX_WIDTH, None)?,
            n_head,
            n_head_kv,
            has_attention,
            head_size,
            n_vocab: vocabulary::n_vocab(metadata)?,
            n_ctx_train: keys.count("context_length", 1, MAX_CONTEXT, None)?,
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

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// What the file says and this engine does not do.
    pub(super) fn unsupported(&self, key: &str, what: impl std::fmt::Display) -> Error {
        Error::UnsupportedArch {
            what: format!("{}: {what} (metadata key {}) is not supported", self.architecture, self.key(key)),
        }
    }

    /// What the file says wrongly.
    pub(super) fn error(&self, key: &str, what: impl std::fmt::Display) -> Error {
        Error::file(format!("metadata key {}: {what}", self.key(key)))
    }

    /// A number of layers.
    pub(super) fn layers(&self, key: &str, default: Option<usize>) -> Result<usize> {
        self.count(key, 1, MAX_LAYERS, default)
    }

    /// A whole number in `min..=max`. A per-layer array of equal numbers counts as that number.
    pub(super) fn count(&self, key: &str, min: u64, max: u64, default: Option<usize>) -> Result<usize> {
        let name = self.key(key);
        if let Some(Value::Array(_)) = self.metadata.get(&name) {
            return match self.metadata.i32s(&name)? {
                Some([first, rest @ ..]) if rest.iter().all(|x| x == first) => {
                    self.check(key, u64::try_from(*first).unwrap_or(u64::MAX), min, max)
                }
                _ => Err(self.unsupported(key, "a number that differs by layer")),
            };
        }
        match (self.metadata.u64(&name)?, default) {
            (Some(n), _) => self.check(key, n, min, max),
            (None, Some(n)) => self.check(key, n as u64, min, max),
            (None, None) => Err(self.error(key, "is missing")),
        }
    }

    /// Whether the file has an array there.
    pub(super) fn is_array(&self, key: &str) -> bool {
        matches!(self.metadata.get(&self.key(key)), Some(Value::Array(_)))
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

    /// A factor or a cap, finite and > 0; 0 is as good as none, as llama.cpp reads them.
    pub(super) fn factor(&self, key: &str) -> Result<Option<f32>> {
        match self.metadata.f64(&self.key(key))? {
            None | Some(0.0) => Ok(None),
            Some(_) => self.positive(key, None).map(Some),
        }
    }

    /// A number that is finite, > 0 and whose inverse is finite.
    pub(super) fn divisor(&self, key: &str) -> Result<f32> {
        let x = self.positive(key, None)?;
        if x.recip().is_finite() { Ok(x) } else { Err(self.error(key, format!("{x:e} is too near to 0"))) }
    }

    /// A text, where the file has it.
    pub(super) fn str(&self, key: &str) -> Result<Option<&'a str>> {
        self.metadata.str(&self.key(key))
    }

    /// True or false, where the file says it.
    pub(super) fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.metadata.bool(&self.key(key))
    }

    /// Which of L layers have a window: `attention.sliding_window_pattern`, an array of L booleans, or n: every n-th layer has
    /// none (0: all have one).
    pub(super) fn window_pattern(&self, n_layer: usize, default: usize) -> Result<Vec<bool>> {
        let key = "attention.sliding_window_pattern";
        if let Some(Value::Array(array)) = self.metadata.get(&self.key(key)) {
            return match array {
                Array::Bool(layers) if layers.len() == n_layer => Ok(layers.clone()),
                _ => Err(self.error(key, format!("is no array of {n_layer} booleans, one for each layer"))),
            };
        }
        let n = self.count(key, 0, MAX_LAYERS, Some(default))?;
        Ok((0..n_layer).map(|layer| n == 0 || layer % n < n - 1).collect())
    }

    /// G, and which layers have attention.
    fn kv_heads(&self, n_head: usize, n_layer: usize) -> Result<(usize, Vec<bool>)> {
        let key = "attention.head_count_kv";
        let array = match self.metadata.get(&self.key(key)) {
            Some(Value::Array(Array::I32(array))) if HYBRID.contains(&self.architecture) => array,
            _ => return Ok((self.count(key, 1, MAX_WIDTH, Some(n_head))?, vec![true; n_layer])),
        };
        if array.len() != n_layer {
            return Err(
                self.error(key, format!("has {} elements, expected one for each of {n_layer} layers", array.len()))
            );
        }
        let mut heads = array.iter().filter(|n| **n != 0);
        let Some(first) = heads.next() else {
            return Err(self.unsupported(key, "a model without attention"));
        };
        if heads.any(|n| n != first) {
            return Err(self.unsupported(key, "a number that differs by layer"));
        }
        let n_head_kv = self.check(key, u64::try_from(*first).unwrap_or(u64::MAX), 1, MAX_WIDTH)?;
        Ok((n_head_kv, array.iter().map(|n| *n != 0).collect()))
    }

    /// As ggml reads them: a factor without a type stretches linearly, and `rope.scale_linear` is its old name.
    fn rope_scaling(&self) -> Result<RopeScaling> {
        for key in ["rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor"] {
            if let Some(factor) = self.metadata.f64(&self.key(key))?.filter(|&factor| factor != 1.0) {
                return Err(self.unsupported(key, format!("the rope attention factor {factor}")));
            }
        }
        let has = |key: &&str| self.metadata.get(&self.key(key)).is_some();
        let factor = ["rope.scaling.factor", "rope.scale_linear"].into_iter().find(has);
        match (self.metadata.str(&self.key("rope.scaling.type"))?, factor) {
            (Some("none"), _) | (None, None) => Ok(RopeScaling::None),
            // Positions are divided by it.
            (None | Some("linear"), _) => {
                Ok(RopeScaling::Linear { factor: self.divisor(factor.unwrap_or("rope.scaling.factor"))? })
            }
            (Some(other), _) => Err(self.unsupported("rope.scaling.type", format!("rope scaling {other:?}"))),
        }
    }
}
