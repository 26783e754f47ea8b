//! What is said about a model: for people, for pages that choose, for templates.

use serde::Serialize;

use crate::{
    arch::Model,
    error::Result,
    gguf::{Header, Metadata},
    plan::MemoryReport,
    quant::Format,
    tokenizer::Tokenizer,
};

/// Facts about a model that is loading or loaded.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    /// `general.architecture`
    pub architecture: String,
    /// `general.name`; the architecture's name where the file has none.
    pub name: String,
    /// Number of weights.
    pub parameters: u64,
    /// Name of the format that most of the weights are in.
    pub quantization: String,
    /// Length of the file, bytes; while it loads, the least length that its header promises.
    pub file_bytes: u64,
    /// What the model can do: names of tasks, the first is what it is for.
    pub tasks: Vec<&'static str>,
    /// Names of a classifier's labels.
    pub labels: Vec<String>,
    /// D: elements of an embedding.
    pub embedding_length: usize,
    /// Longest prompt and answer together, tokens; of an encoder-decoder each by itself.
    pub context_length: usize,
    /// The same as the model was trained, tokens.
    pub trained_context_length: usize,
    /// Tokens of the vocabulary.
    pub vocabulary_size: usize,
    /// Bytes: the estimate while loading, what is held afterwards; the cache as it is when the context is full.
    pub memory: MemoryReport,
    /// What a careful user would want to know about the file.
    pub notices: Vec<String>,
}

impl Info {
    /// From a header that has passed every check.
    pub(super) fn new(
        header: &Header,
        model: &Model,
        tokenizer: &Tokenizer,
        context_length: usize,
        memory: MemoryReport,
    ) -> Result<Self> {
        let hyper = &model.hyper;
        let mut notices = vec![];
        let completes = model.head().is_some() || model.decoder_start().is_some();
        if !completes && header.metadata.str(CHAT_TEMPLATE)?.is_none() {
            notices.push("the file has no chat template".to_owned());
        }
        notices.extend(model.head().and_then(|head| head.notice).map(str::to_owned));
        notices.extend(tokenizer.notice().map(str::to_owned));
        Ok(Self {
            architecture: hyper.architecture.clone(),
            name: hyper.name.clone().unwrap_or_else(|| hyper.architecture.clone()),
            parameters: model.weights.iter().map(|(_, spec)| n_elements(&spec.shape)).sum(),
            quantization: dominant_format(model).map_or("none", Format::name).to_owned(),
            tasks: model.tasks().iter().map(|task| task.name()).collect(),
            labels: model.head().map_or(vec![], |head| head.labels.clone()),
            embedding_length: hyper.n_embd,
            file_bytes: header.end_offset,
            context_length,
            trained_context_length: hyper.n_ctx_train,
            vocabulary_size: hyper.n_vocab,
            memory,
            notices,
        })
    }
}

const CHAT_TEMPLATE: &str = "tokenizer.chat_template";

/// What rendering a chat needs. The template is an untrusted program: nothing here runs it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// `tokenizer.chat_template`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// Text of the token that begins a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bos_token: Option<String>,
    /// Text of the token that ends a turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eos_token: Option<String>,
    /// Text of every special token: none of them may come out of what a user writes.
    pub special_strings: Vec<String>,
}

impl Template {
    pub(super) fn new(metadata: &Metadata, tokenizer: &Tokenizer) -> Result<Self> {
        // As many as the file says.
        let mut special: Vec<(u32, &str)> = tokenizer.special_strings().collect();
        special.sort_unstable_by_key(|(id, _)| *id);
        let text = |id: Option<u32>| special.iter().find(|(i, _)| Some(*i) == id).map(|(_, s)| String::from(*s));
        Ok(Self {
            chat_template: metadata.str(CHAT_TEMPLATE)?.map(Into::into),
            bos_token: text(tokenizer.bos()),
            eos_token: text(tokenizer.eos()),
            special_strings: special.iter().map(|(_, s)| String::from(*s)).collect(),
        })
    }
}

fn n_elements(shape: &[usize]) -> u64 {
    shape.iter().fold(1, |n: u64, d| n.saturating_mul(*d as u64))
}

/// The format with the most weights, of matrices if there are any.
fn dominant_format(model: &Model) -> Option<Format> {
    let count = |format: Format| -> u64 {
        let of_format = model.weights.iter().filter(|(_, spec)| spec.format == format);
        of_format.map(|(_, spec)| n_elements(&spec.shape)).sum()
    };
    Format::ALL.into_iter().max_by_key(|f| count(*f)).filter(|f| count(*f) > 0)
}
