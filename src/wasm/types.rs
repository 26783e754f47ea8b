//! The values that cross the border, as JavaScript writes them. Numbers come as f64 and are checked here, so that a value
//! out of range is a RangeError that names it, not a cast.

use std::sync::Arc;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Visitor},
};
use wasm_bindgen::JsValue;

use super::{encode::JsOutput, processor::Processor, score::JsScored};
#[cfg(feature = "gpu")]
use crate::gpu::{Request as GpuRequest, Subgroups};
use crate::{
    engine::{Device, Info, Options, read_vocabulary},
    error::{Error, Result},
    kv::KvFormat,
    sample::SamplingParams,
    session::{BeamParams, EarlyStopping, Echo, Event, FinishReason, Request, Speculation, TopLogprob, Usage},
};

/// Most threads of a pool.
#[cfg(feature = "cpu")]
const MAX_THREADS: u64 = 64;
/// Largest whole number that is a JavaScript number for certain.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Reads a plain object; one of the wrong shape is a TypeError.
pub(super) fn from_js<T: DeserializeOwned>(value: JsValue) -> Result<T, JsValue> {
    serde_wasm_bindgen::from_value(value).map_err(|error| {
        super::plain(&PlainError { code: "TypeError", message: error.to_string(), details: Details::default() })
    })
}

/// Writes a plain object; `None` is null.
pub(super) fn to_js<T: Serialize>(value: &T) -> Result<JsValue, JsValue> {
    let serializer =
        serde_wasm_bindgen::Serializer::new().serialize_missing_as_null(true).serialize_maps_as_objects(true);
    value.serialize(&serializer).map_err(Into::into)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EngineOptions {
    device: DeviceKind,
    #[cfg(feature = "gpu")]
    gpu: Option<GpuOptions>,
    context_length: Option<f64>,
    kv_type: KvType,
    #[cfg(feature = "cpu")]
    threads: f64,
    vocabulary: Option<Bytes>,
}

/// A Uint8Array, read as a whole.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BytesVisitor)
    }
}

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a Uint8Array")
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(Bytes(bytes))
    }
}

/// What runs a model, by its public name.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum DeviceKind {
    Cpu,
    WebGpu,
}

/// What the page saw of the adapter, and asked for in wgpu's name.
#[cfg(feature = "gpu")]
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GpuOptions {
    subgroups: bool,
    subgroup_min_size: f64,
    subgroup_max_size: f64,
    #[cfg(feature = "gpu")]
    #[serde(default)]
    packed_dot: bool,
    /// What it is called.
    #[cfg(feature = "gpu")]
    #[serde(default)]
    name: String,
    /// Where it is to be tuned: what is known of it.
    #[cfg(feature = "gpu")]
    tuned: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum KvType {
    F16,
    F32,
    #[serde(rename = "q8_0")]
    Q8_0,
}

impl EngineOptions {
    pub(super) fn device(&self) -> DeviceKind {
        self.device
    }

    /// What to ask of the GPU. Subgroups of sizes that WebGPU does not know are not used.
    #[cfg(feature = "gpu")]
    pub(super) fn gpu_request(&self) -> GpuRequest {
        let subgroups = self.gpu.as_ref().filter(|gpu| gpu.subgroups).and_then(|gpu| {
            let size = |name, n| whole(name, n, 4, 128).ok().map(|n| n as u32);
            let min = size("subgroupMinSize", gpu.subgroup_min_size)?;
            let max = size("subgroupMaxSize", gpu.subgroup_max_size)?;
            (min <= max).then_some(Subgroups { min, max })
        });
        let packed_dot = self.gpu.as_ref().is_some_and(|gpu| gpu.packed_dot);
        GpuRequest { subgroups, without_subgroups: subgroups.is_none(), packed_dot, ..GpuRequest::default() }
    }

    /// Where the GPU is to be tuned: its name, and what is known of it.
    #[cfg(feature = "gpu")]
    pub(super) fn tuned(&self) -> Option<(&str, &str)> {
        let gpu = self.gpu.as_ref()?;
        Some((&gpu.name, gpu.tuned.as_deref()?))
    }

    #[cfg(feature = "cpu")]
    pub(super) fn threads(&self) -> Result<usize> {
        Ok(whole("threads", self.threads, 1, MAX_THREADS)? as usize)
    }

    pub(super) fn load_options(&self, device: Device) -> Result<Options> {
        let context_length = self.context_length.map(|n| whole("contextLength", n, 1, MAX_SAFE_INTEGER)).transpose()?;
        let kv_format = match self.kv_type {
            KvType::F16 => KvFormat::F16,
            KvType::F32 => KvFormat::F32,
            KvType::Q8_0 => KvFormat::Q8_0,
        };
        let vocabulary = self.vocabulary.as_ref().map(|bytes| read_vocabulary(&bytes.0)).transpose()?;
        Ok(Options {
            context_length: context_length.map(|n| n as usize),
            kv_format,
            vocabulary: vocabulary.map(Arc::new),
            ..Options::new(device)
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GenerateRequest {
    prompt: Vec<u32>,
    max_tokens: Option<f64>,
    stop: Vec<String>,
    n: f64,
    seed: f64,
    temperature: f64,
    top_k: f64,
    top_p: f64,
    min_p: f64,
    repeat_penalty: f64,
    frequency_penalty: f64,
    presence_penalty: f64,
    logit_bias: Vec<(u32, f64)>,
    logprobs: Option<f64>,
    echo: bool,
    ignore_eos: bool,
    cache_prompt: bool,
    generated: Option<Vec<Vec<u32>>>,
    speculates: Option<bool>,
    beams: Option<Beams>,
}

/// A beam search.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Beams {
    width: f64,
    length_penalty: f64,
    early_stopping: EarlyStop,
}

/// [`EarlyStopping`] as Hugging Face's `generate` names it.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum EarlyStop {
    Yes,
    No,
    Never,
}

impl GenerateRequest {
    /// Whole numbers are whole; the session checks the ranges.
    pub(super) fn checked(self) -> Result<Request> {
        let count = |name: &str, n: f64| whole(name, n, 0, u64::from(u32::MAX)).map(|n| n as usize);
        Ok(Request {
            prompt: self.prompt,
            max_tokens: self.max_tokens.map(|n| count("maxTokens", n)).transpose()?,
            stop: self.stop,
            n: count("n", self.n)?,
            sampling: SamplingParams {
                seed: whole("seed", self.seed, 0, MAX_SAFE_INTEGER)?,
                temperature: self.temperature as f32,
                top_k: count("topK", self.top_k)? as u32,
                top_p: self.top_p as f32,
                min_p: self.min_p as f32,
                repeat_penalty: self.repeat_penalty as f32,
                frequency_penalty: self.frequency_penalty as f32,
                presence_penalty: self.presence_penalty as f32,
                logit_bias: self.logit_bias.into_iter().map(|(token, bias)| (token, bias as f32)).collect(),
            },
            logprobs: self.logprobs.map(|n| count("logprobs", n)).transpose()?,
            echo: self.echo,
            ignore_eos: self.ignore_eos,
            cache_prompt: self.cache_prompt,
            generated: self.generated,
            speculation: if self.speculates == Some(false) { Speculation::Off } else { Speculation::Auto },
            beams: self.beams.map(Beams::checked).transpose()?,
        })
    }
}

impl Beams {
    fn checked(self) -> Result<BeamParams> {
        Ok(BeamParams {
            width: whole("width", self.width, 0, u64::from(u32::MAX))? as usize,
            length_penalty: self.length_penalty,
            early_stopping: match self.early_stopping {
                EarlyStop::Yes => EarlyStopping::Yes,
                EarlyStop::No => EarlyStopping::Heuristic,
                EarlyStop::Never => EarlyStopping::Never,
            },
        })
    }
}

pub(super) fn whole(name: &str, value: f64, min: u64, max: u64) -> Result<u64> {
    let fits = value >= min as f64 && value <= max as f64 && value % 1.0 == 0.0;
    if fits {
        return Ok(value as u64);
    }
    Err(Error::InvalidArgument { what: format!("{name} is {value}, not a whole number in {min}..={max}") })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EngineInfo<'a> {
    #[serde(flatten)]
    model: &'a Info,
    device: DeviceKind,
    /// Of the GPU, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter: Option<&'a str>,
    /// What is used of the GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    features: Option<Vec<String>>,
    /// What has been found out of the GPU, for a later load.
    #[cfg(feature = "gpu")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tuned: Option<String>,
    threads: usize,
    simd: &'static str,
}

impl<'a> EngineInfo<'a> {
    pub(super) fn new(model: &'a Info, processor: &'a Processor) -> Self {
        let simd = match (cfg!(target_feature = "relaxed-simd"), cfg!(target_feature = "simd128")) {
            (true, _) => "relaxed",
            (false, true) => "simd128",
            (false, false) => "none",
        };
        Self {
            model,
            device: processor.kind(),
            adapter: processor.adapter(),
            features: processor.features(),
            #[cfg(feature = "gpu")]
            tuned: processor.tuned(),
            threads: processor.threads(),
            simd,
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum GenerateEvent {
    Prefill {
        processed: usize,
        total: usize,
        cached: usize,
    },
    Echo {
        ids: Vec<u32>,
        texts: Vec<String>,
        logprobs: Vec<Option<f64>>,
        top: Vec<Vec<Alternative>>,
    },
    Token {
        choice: usize,
        id: u32,
        text: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        bytes: Option<Vec<u8>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        logprob: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        top: Option<Vec<Alternative>>,
    },
    Done {
        choice: usize,
        reason: &'static str,
        text: String,
    },
    Output(JsOutput),
    Scored(JsScored),
    End {
        usage: JsUsage,
    },
}

#[derive(Serialize)]
pub(super) struct Alternative {
    id: u32,
    text: String,
    bytes: Vec<u8>,
    logprob: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JsUsage {
    prompt_tokens: usize,
    completion_tokens: usize,
    cached_tokens: usize,
    drafted_tokens: usize,
    accepted_tokens: usize,
}

impl From<TopLogprob> for Alternative {
    fn from(TopLogprob { id, text, bytes, logprob }: TopLogprob) -> Self {
        Self { id, text, bytes, logprob }
    }
}

impl From<Usage> for JsUsage {
    fn from(usage: Usage) -> Self {
        let Usage { prompt_tokens, completion_tokens, cached_tokens, drafted_tokens, accepted_tokens } = usage;
        Self { prompt_tokens, completion_tokens, cached_tokens, drafted_tokens, accepted_tokens }
    }
}

impl From<Event> for GenerateEvent {
    fn from(event: Event) -> Self {
        let alternatives = |top: Vec<TopLogprob>| top.into_iter().map(Into::into).collect();
        match event {
            Event::Prefill { processed, total, cached } => Self::Prefill { processed, total, cached },
            Event::Echo(Echo { ids, texts, logprobs, top }) => {
                Self::Echo { ids, texts, logprobs, top: top.into_iter().map(alternatives).collect() }
            }
            Event::Token { choice, id, text, logprobs } => {
                let (bytes, scores) = logprobs.map(|l| (l.bytes, (l.logprob, alternatives(l.top)))).unzip();
                let (logprob, top) = scores.unzip();
                Self::Token { choice, id, text, bytes, logprob, top }
            }
            Event::Done { choice, reason, text } => Self::Done { choice, reason: FinishReason::name(reason), text },
            Event::Output(output) => Self::Output(output.into()),
            Event::Scored(scored) => Self::Scored(scored.into()),
            Event::End(usage) => Self::End { usage: usage.into() },
        }
    }
}

#[derive(Serialize)]
pub(super) struct PlainError {
    code: &'static str,
    message: String,
    details: Details,
}

/// Counts as JavaScript numbers: a hostile file's may be beyond what is exact, which is no reason to lose the error.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Details {
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    needed_bytes: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_tokens: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    available_tokens: Option<f64>,
}

impl From<&Error> for PlainError {
    fn from(error: &Error) -> Self {
        let number = |n: Option<u64>| n.map(|n| n as f64);
        let details = error.details();
        let details = Details {
            offset: number(details.offset),
            parts: number(details.parts),
            limit: number(details.limit),
            found: number(details.found),
            needed_bytes: number(details.needed_bytes),
            requested_tokens: number(details.requested_tokens),
            available_tokens: number(details.available_tokens),
        };
        Self { code: error.code(), message: error.to_string(), details }
    }
}
