//! What stands behind an encoder's layers: pooling and heads. The names of their tensors and keys are here and nowhere else.
//!
//! ```text
//! llama.cpp's        cls.weight [D, D], cls.bias [D]                     a classifier's own layer: BERT's pooler, RoBERTa's
//!                                                                        classifier.dense, DistilBERT's pre_classifier,
//!                                                                        ModernBERT's head.dense
//!                    cls.norm.weight [D], cls.norm.bias [D]              its norm: ModernBERT's head.norm
//!                    cls.output.weight [labels, D], cls.output.bias      one logit for each label
//!                    <arch>.classifier.output_labels                     their names; without it LABEL_0, LABEL_1, …
//!                    <arch>.pooling_type                                 0 none, 1 mean, 2 first token, 3 last token, 4 rank
//!                    <arch>.classifier.pooling_type                      what a classifier reads: 1 mean or 2 first token
//! kinglet's own      mlm.dense.weight [D, D], mlm.dense.bias [D]         masked language model: cls.predictions.transform.dense,
//!                                                                        vocab_transform, head.dense
//!                    mlm.norm.weight [D], mlm.norm.bias [D]              …transform.LayerNorm, vocab_layer_norm, head.norm
//!                    mlm.output.weight [V, D]                            decoder, vocab_projector; without it the embedding table
//!                    mlm.output.bias [V]                                 decoder.bias, vocab_projector.bias: it makes the head
//!                    kinglet.embedding.normalize                         false: embeddings keep their length
//! ```
//! `cls.output` classifies a text or a pair ([`Task::Classify`]; with one label it ranks), or with `pooling_type` none each token
//! ([`Task::Label`]). A file by llama.cpp of a BERT classifier has lost the pooler that the classifier was trained on, and is refused.

use super::{Hyper, Keys, Task};
use crate::{
    error::{Error, Result},
    plan::{Activation, BufferId, Builder},
};

/// Most labels of a classifier that this engine accepts.
const MAX_LABELS: usize = 1 << 16;

/// What becomes of the rows of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first row.
    Cls,
    /// The last row.
    Last,
}

/// The pooling and the heads of an encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// What embeddings are made by.
    pub pooling: Pooling,
    /// Whether embeddings are divided by their length.
    pub normalize: bool,
    /// Names of the labels, where there is a classifier.
    pub labels: Vec<String>,
    /// How many kinds of text there are: with two, the second text of a pair is told from the first.
    pub n_segments: usize,
    /// What should be known about how this was found.
    pub notice: Option<&'static str>,
    pub(super) tasks: Vec<Task>,
    /// What a classifier reads.
    classifier_pooling: Pooling,
    /// Whether a norm stands behind `cls`.
    norms_classifier: bool,
    /// Of `cls` and of `mlm.dense`.
    activations: [Activation; 2],
    /// ε of every norm.
    eps: f32,
}

impl Head {
    /// Which row of a text asks for the result of a task that gives one row for each text.
    pub fn asks_last(&self, task: Task) -> bool {
        task == Task::Embed && self.pooling == Pooling::Last
    }

    /// From the keys and the names of the tensors.
    pub(super) fn read(keys: &Keys<'_>, defaults: &Defaults) -> Result<Self> {
        let pooling_type = keys.count_or("pooling_type", 0, 4)?;
        let n_labels = keys.tensor_shape("cls.output.weight").and_then(|shape| shape.first().copied());
        let pooling = match pooling_type {
            Some(1) => Some(Pooling::Mean),
            Some(2) => Some(Pooling::Cls),
            Some(3) => Some(Pooling::Last),
            _ => None,
        };
        let mut tasks = vec![];
        tasks.extend(pooling.map(|_| Task::Embed));
        if keys.tensor_shape("mlm.output.bias").is_some() {
            tasks.push(Task::FillMask);
        }
        if n_labels.is_some() {
            tasks.push(if pooling_type == Some(0) { Task::Label } else { Task::Classify });
        }
        let guesses = tasks.is_empty() && pooling_type.is_none();
        if guesses {
            tasks.push(Task::Embed);
        }
        if tasks.is_empty() {
            return Err(keys.error("pooling_type", "there is neither a pooling nor a head that this engine knows"));
        }
        if tasks.contains(&Task::Classify) && defaults.needs_pooler && keys.tensor_shape("cls.weight").is_none() {
            let what = "tensor cls.weight is missing: the classifier was trained on what this layer (the pooler) gives";
            return Err(Error::file(what));
        }
        Ok(Self {
            pooling: pooling.unwrap_or(Pooling::Mean),
            normalize: keys.metadata.bool("kinglet.embedding.normalize")?.unwrap_or(true),
            labels: n_labels.map_or(Ok(vec![]), |n| labels(keys, n))?,
            n_segments: keys.tensor_shape("token_types.weight").map_or(0, |shape| shape.first().copied().unwrap_or(0)),
            notice: guesses.then_some("the file does not say how a text's tokens are pooled: their mean is taken"),
            tasks,
            classifier_pooling: match keys.count_or("classifier.pooling_type", 1, 2)? {
                None => defaults.classifier_pooling,
                Some(1) => Pooling::Mean,
                Some(_) => Pooling::Cls,
            },
            norms_classifier: defaults.norms_classifier,
            activations: defaults.activations,
            eps: keys.positive("attention.layer_norm_epsilon", None)?,
        })
    }

    /// ε of every norm.
    pub(super) fn eps(&self) -> f32 {
        self.eps
    }

    /// From the encoded rows x [T, D] to the output of the task.
    pub(super) fn record(&self, b: &mut Builder<'_>, h: &Hyper, x: BufferId, task: Task) -> Result<BufferId> {
        match task {
            Task::Embed => Ok(pool(b, x, self.pooling)),
            Task::FillMask => {
                let rows = b.select_rows("outputs", x);
                let hidden = layer(b, "mlm", "mlm.dense", rows, self.activations[1])?;
                let hidden = b.layer_norm("mlm_norm", hidden, "mlm.norm", self.eps)?;
                let table = b.weight("token_embd.weight", &[h.n_vocab, h.n_embd])?;
                let weight = b.optional_weight("mlm.output.weight", &[h.n_vocab, h.n_embd])?.unwrap_or(table);
                let bias = b.weight("mlm.output.bias", &[h.n_vocab])?;
                Ok(b.mat_mul("logits", hidden, weight, Some(bias)))
            }
            Task::Classify | Task::Label => {
                let mut rows = match task {
                    Task::Label => b.select_rows("outputs", x),
                    _ => pool(b, x, self.classifier_pooling),
                };
                if b.optional_weight("cls.weight", &[h.n_embd, h.n_embd])?.is_some() {
                    rows = layer(b, "cls", "cls", rows, self.activations[0])?;
                    if self.norms_classifier {
                        rows = b.layer_norm("cls_norm", rows, "cls.norm", self.eps)?;
                    }
                }
                b.linear("logits", rows, "cls.output", self.labels.len())
            }
            Task::Generate | Task::Remember => Err(Error::internal(format!("an encoder's head for {task:?}"))),
        }
    }
}

/// A product and an activation.
fn layer(b: &mut Builder<'_>, out_name: &str, dense: &str, x: BufferId, activation: Activation) -> Result<BufferId> {
    let x = b.linear(&format!("{out_name}_dense"), x, dense, b.width(x))?;
    Ok(b.activate(&format!("{out_name}_activation"), x, activation))
}

/// What a family's heads are like where the file does not say.
pub(super) struct Defaults {
    pub(super) classifier_pooling: Pooling,
    /// Behind `cls` and behind `mlm.dense`.
    pub(super) activations: [Activation; 2],
    /// Whether a classifier without `cls` has lost it.
    pub(super) needs_pooler: bool,
    /// Whether a norm stands behind `cls`.
    pub(super) norms_classifier: bool,
}

fn pool(b: &mut Builder<'_>, x: BufferId, pooling: Pooling) -> BufferId {
    match pooling {
        Pooling::Mean => b.mean_rows("pooled", x),
        Pooling::Cls | Pooling::Last => b.select_rows("pooled", x),
    }
}

fn labels(keys: &Keys<'_>, n: usize) -> Result<Vec<String>> {
    if n > MAX_LABELS {
        let what = "the labels of tensor cls.output.weight".into();
        return Err(Error::FileLimit { what, found: n as u64, limit: MAX_LABELS as u64, offset: None });
    }
    let key = format!("{}.classifier.output_labels", keys.architecture());
    let Some(names) = keys.metadata.strings(&key)? else { return Ok((0..n).map(|i| format!("LABEL_{i}")).collect()) };
    if names.len() != n {
        let what = format!("metadata key {key} names {} labels, but tensor cls.output.weight has {n}", names.len());
        return Err(Error::file(what));
    }
    Ok(names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}
