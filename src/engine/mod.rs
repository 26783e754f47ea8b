//! From bytes to a model that is ready. Layer 3: no I/O; the caller feeds the file as it arrives.
//!
//! ```text
//! feed ──► header ──► decide: architecture, plans, tokenizer, memory ──► room for the weights
//!      ──► data   ──► the executor, weight by weight                 ──► finish: Engine
//! ```
//! Of a model in several files the headers come first, all of them ([`Loader::begin_header`], [`Loader::feed_header`]);
//! [`Loader::join`] decides, and then the files are fed one after the other, each ended by [`Loader::end_file`].
//! Of a checkpoint the header is made by who reads its JSON ([`Loader::begin_checkpoint`]); then comes the data of its tensors.
//!
//! Everything that can be wrong with a model is said at the header, before the weights are downloaded; what only the data
//! can show (a NaN, a missing end) is said as soon as it is seen. A GPU is checked after the header ([`Loader::check`]):
//! without that there is no engine on it.

mod check;
mod device;
mod identity;
mod info;
mod vocabulary;

pub use device::Device;
pub use info::{Info, Template};
pub use vocabulary::read_vocabulary;

use std::{borrow::Cow, future::Future, pin::Pin, rc::Rc, sync::Arc};

use self::{check::Verdict, identity::Identity};

use crate::{
    arch::Model,
    checkpoint::Converter,
    error::{Error, Result},
    gguf::{self, Event, Header, Metadata, Parser, Part, Parts},
    kv::{Binding, KvFormat, KvGeometry},
    plan::Plan,
    plan::{MemoryReport, memory},
    session::{Plans, Session, encoder_plans, encoder_positions},
    tokenizer::Tokenizer,
    weights::{Arrivals, Weights},
};

/// Context where neither the caller nor a shorter training says otherwise, tokens.
const DEFAULT_CONTEXT_TOKENS: usize = 4096;

/// How to load a model.
#[derive(Debug, Clone)]
pub struct Options {
    /// Longest prompt and answer together, tokens, or of an encoder-decoder each by itself; up to what the model was trained
    /// for, and beyond where its positions are relative. `None`: the smaller of that and 4,096.
    pub context_length: Option<usize>,
    /// Format of keys and values.
    pub kv_format: KvFormat,
    /// What runs the plans.
    pub device: Device,
    /// The most that weights, cache and buffers may take, bytes.
    pub memory_limit_bytes: u64,
    /// Keys `tokenizer.…` that take the place of the file's own ([`read_vocabulary`]).
    pub vocabulary: Option<Arc<Metadata>>,
}

impl Options {
    /// The defaults on a device.
    pub fn new(device: Device) -> Self {
        let memory_limit_bytes = device.memory_limit_bytes();
        Self { context_length: None, kv_format: KvFormat::F16, device, memory_limit_bytes, vocabulary: None }
    }
}

/// A model that is ready.
pub struct Engine {
    /// Facts about it.
    pub info: Info,
    /// What rendering a chat needs.
    pub template: Template,
    /// Text to tokens and back.
    pub tokenizer: Arc<Tokenizer>,
    /// What generates.
    pub session: Session,
    /// What snapshots of its conversations are bound to.
    pub binding: Binding,
}

impl Engine {
    /// [`Session::snapshot`] of a conversation with this model.
    pub fn snapshot(&mut self, note: &[u8], tokens: &[u32]) -> Result<Option<Vec<u8>>> {
        self.session.snapshot(note, tokens, &self.binding)
    }

    /// [`Session::restore`] of a conversation with this model.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        self.session.restore(bytes, &self.binding)
    }
}

/// A model that is arriving. After an error it stays failed: every later call gives the same error.
pub struct Loader {
    options: Options,
    /// Of the file that is being fed.
    parser: Parser,
    /// Headers of several files, until they are joined.
    headers: Parts,
    /// The files of a model whose headers were joined; none where it is one file that is fed at once.
    parts: Vec<Part>,
    n_ended: usize,
    /// Of the files that have ended.
    file_bytes: u64,
    trailing_bytes: u64,
    /// Where what is fed is the data of a checkpoint.
    checkpoint: Option<Converter>,
    /// Known from the header on.
    loading: Option<Loading>,
    verdict: Rc<Verdict>,
}

struct Loading {
    engine: Engine,
    weights: Weights,
    /// For each weight, whether the plans read it.
    used: Vec<bool>,
    arrivals: Arrivals,
    identity: Identity,
}

impl Loader {
    /// Waits for the first byte of a file.
    pub fn new(options: Options) -> Self {
        let verdict = if options.device.is_gpu() { Verdict::needed() } else { Verdict::not_needed() };
        Self {
            options,
            parser: Parser::new(),
            headers: Parts::default(),
            parts: vec![],
            n_ended: 0,
            file_bytes: 0,
            trailing_bytes: 0,
            checkpoint: None,
            loading: None,
            verdict: Rc::new(verdict),
        }
    }

    /// Begins with the header of one of several files; one that was begun and did not end is forgotten.
    pub fn begin_header(&mut self, name: &str) {
        self.headers.begin(name);
    }

    /// Takes the next bytes of the file that was begun. Once its header is complete: how many files the model has by it.
    pub fn feed_header(&mut self, bytes: &[u8]) -> Result<Option<u64>> {
        self.headers.feed(bytes)
    }

    /// Says what is missing where the file that was begun ends before its header is complete.
    pub fn end_header(&self) -> Result<()> {
        self.headers.end()
    }

    /// Decides about a model all of whose headers have come ([`Self::info`] is there from then on). In which order the files
    /// are to be fed, by the order of their headers.
    pub fn join(&mut self) -> Result<Vec<usize>> {
        let (header, parts) = std::mem::take(&mut self.headers).join()?;
        self.loading = Some(Loading::decide(&header, &self.options)?);
        self.parts = parts;
        Ok(self.parts.iter().map(|part| part.place).collect())
    }

    /// Decides about a checkpoint, whose header this is ([`crate::checkpoint`]); [`Self::feed`] then takes the data of its
    /// tensors, of all its files as one.
    pub fn begin_checkpoint(&mut self, header: &[u8]) -> Result<()> {
        let (header, mut converter) = Converter::new(header)?;
        let mut loading = Loading::decide(&header, &self.options)?;
        converter.write_made(&mut |tensor, bytes| loading.write(tensor, bytes))?;
        (self.loading, self.checkpoint) = (Some(loading), Some(converter));
        Ok(())
    }

    /// Ends the file that was fed; the next one begins.
    pub fn end_file(&mut self) -> Result<()> {
        let part = self.parts.get(self.n_ended);
        let summary = self.parser.finish().map_err(|e| named(part, e))?;
        self.parser = Parser::new();
        self.n_ended += 1;
        self.file_bytes = self.file_bytes.saturating_add(summary.file_bytes);
        self.trailing_bytes = self.trailing_bytes.saturating_add(summary.trailing_bytes);
        Ok(())
    }

    /// Takes the next bytes of the file, any number. `true` once: when the header is complete and everything has been
    /// decided ([`Self::info`] is there from then on).
    pub fn feed(&mut self, bytes: &[u8]) -> Result<bool> {
        self.verdict.fault()?;
        let Self { options, parser, parts, n_ended, checkpoint, loading, .. } = self;
        if let (Some(converter), Some(loading)) = (checkpoint, loading.as_mut()) {
            converter.feed(bytes, &mut |tensor, bytes| loading.write(tensor, bytes))?;
            return Ok(false);
        }
        let part = parts.get(*n_ended);
        if part.is_none() && *n_ended > 0 {
            return Err(Error::internal("all files have ended"));
        }
        let first_tensor = part.map_or(0, |part| part.first_tensor);
        let mut decided = false;
        let fed = parser.feed(bytes, &mut |event| match (event, part) {
            (Event::Header(header), Some(part)) => part.check_again(&header),
            (Event::Header(header), None) => {
                gguf::refuse_part(&header)?;
                *loading = Some(Loading::decide(&header, options)?);
                decided = true;
                Ok(())
            }
            (Event::Data { tensor, bytes }, _) => match loading {
                Some(loading) => loading.write(first_tensor + tensor, bytes),
                None => Err(Error::internal("tensor data before the header")),
            },
        });
        fed.map_err(|e| named(part, e))?;
        Ok(decided)
    }

    /// Uses a moment in which nothing arrives ([`Executor::warm`](crate::plan::Executor::warm)); `false` where there is nothing to do
    /// until more has come.
    pub fn warm(&mut self) -> Result<bool> {
        self.loading.as_mut().map_or(Ok(false), |loading| loading.engine.session.executor().warm())
    }

    /// Shows that the device computes what it is told, and that it had room for everything: to be awaited once, after the
    /// header and before [`Self::finish`]. The future holds nothing of the loader. After a failure the loader stays failed.
    pub fn check(&mut self) -> Pin<Box<dyn Future<Output = Result<()>>>> {
        let Some(Loading { engine, .. }) = &mut self.loading else {
            return Box::pin(std::future::ready(Err(Error::internal("the device is checked after the header"))));
        };
        let (check, verdict) = (engine.session.executor().check(), self.verdict.clone());
        Box::pin(async move { verdict.set(check.await) })
    }

    /// Facts about the model, once the header is complete.
    pub fn info(&self) -> Option<&Info> {
        self.loading.as_ref().map(|l| &l.engine.info)
    }

    /// Ends the file: every byte that the header promised must have come, and a GPU must have been checked.
    pub fn finish(mut self) -> Result<Engine> {
        self.verdict.trusted()?;
        if let Some(converter) = &self.checkpoint {
            self.file_bytes = converter.finish()?;
        } else if self.parts.is_empty() {
            self.end_file()?;
        } else if self.n_ended < self.parts.len() {
            return Err(Error::internal(format!("{} of {} files have ended", self.n_ended, self.parts.len())));
        }
        let Some(Loading { mut engine, identity, .. }) = self.loading else {
            return Err(Error::internal("the parser ended without a header"));
        };
        engine.info.file_bytes = self.file_bytes;
        engine.binding.model = identity.finish();
        // The cache as it will be when the context is full; it grows with use.
        engine.info.memory = MemoryReport { kv_bytes: engine.info.memory.kv_bytes, ..engine.session.memory() };
        if self.trailing_bytes > 0 {
            let n = self.trailing_bytes;
            engine.info.notices.push(format!("{n} bytes behind the last tensor are no part of the model"));
        }
        Ok(engine)
    }
}

impl Loading {
    /// Decides everything and makes room for the weights.
    fn decide(header: &Header, options: &Options) -> Result<Self> {
        refuse_others(header)?;
        let model = Model::from_header(header)?;
        let context_tokens = context_tokens(options, &model)?;
        let metadata = match &options.vocabulary {
            Some(other) => Cow::Owned(vocabulary::with_vocabulary(&header.metadata, other, model.hyper.n_vocab)?),
            None => Cow::Borrowed(&header.metadata),
        };
        let tokenizer = Arc::new(Tokenizer::from_metadata(&metadata)?);
        let is_encoder = model.head().is_some();
        let plans = if is_encoder { None } else { Some(Plans::of(&model, context_tokens, options.device.is_gpu())?) };
        let (all_plans, n_positions) = match &plans {
            // What an encoder-decoder reads and what it says have a context each.
            Some(plans) if plans.remember.is_some() => {
                (plans.iter().cloned().collect(), context_tokens.saturating_mul(2))
            }
            Some(plans) => (plans.iter().cloned().collect(), context_tokens),
            None => (encoder_plans(&model, context_tokens)?, encoder_positions(context_tokens)),
        };
        let geometry = model.kv_geometry(options.kv_format);
        let estimate = estimate(&all_plans, &model, &geometry, n_positions, &options.device);
        check_memory(&estimate, context_tokens, options.memory_limit_bytes)?;
        if let Some(limit_bytes) = options.device.buffer_limit_bytes() {
            check_cache(options.device.layer_page_bytes(&geometry), n_positions, limit_bytes)?;
        }

        let mut executor = options.device.executor(geometry)?;
        let mut used = vec![false; model.weights.len()];
        for id in model.used_weights()? {
            executor.create_weight(id, model.weights.spec(id))?;
            if let Some(used) = used.get_mut(id.0 as usize) {
                *used = true;
            }
        }
        let engine = Engine {
            info: Info::new(header, &model, &tokenizer, context_tokens, estimate)?,
            template: Template::new(&metadata, &tokenizer)?,
            session: match plans {
                Some(plans) => Session::new(executor, &plans, tokenizer.clone(), context_tokens)?,
                None => Session::encoder(executor, &model, tokenizer.clone(), context_tokens)?,
            },
            tokenizer,
            binding: Binding { model: 0, geometry },
        };
        let identity = Identity::new(header);
        Ok(Self { engine, weights: model.weights, used, arrivals: Arrivals::default(), identity })
    }

    /// Takes the next bytes of a tensor. Weights that no plan reads are not kept.
    fn write(&mut self, tensor: usize, bytes: &[u8]) -> Result<()> {
        let Self { engine, weights, used, arrivals, identity } = self;
        identity.note(tensor, bytes);
        arrivals.take(weights, tensor, bytes, &mut |id, bytes| match used.get(id.0 as usize) {
            Some(true) => engine.session.executor().write_weight(id, bytes),
            _ => Ok(()),
        })
    }
}

/// An error of one of several files, with its name.
fn named(part: Option<&Part>, error: Error) -> Error {
    part.map_or_else(|| error.clone(), |part| part.error(error.clone()))
}

/// Refuses files that are something beside a model.
fn refuse_others(header: &Header) -> Result<()> {
    match header.metadata.str("general.type")? {
        None | Some("model") => Ok(()),
        Some(other) => {
            Err(Error::UnsupportedTask { what: format!("this file is no model, but of the type {other:?}") })
        }
    }
}

fn context_tokens(options: &Options, model: &Model) -> Result<usize> {
    let longest = model.longest_context();
    match options.context_length {
        None => Ok(model.hyper.n_ctx_train.min(DEFAULT_CONTEXT_TOKENS)),
        Some(n) if (1..=longest).contains(&n) => Ok(n),
        Some(n) => Err(Error::InvalidArgument {
            what: format!("contextLength is {n}, not in 1..={longest}, the longest context of this model"),
        }),
    }
}

fn estimate(plans: &[Arc<Plan>], model: &Model, geometry: &KvGeometry, n_ctx: usize, device: &Device) -> MemoryReport {
    let plans: Vec<_> = plans.iter().map(AsRef::as_ref).collect();
    let page_bytes = device.layer_page_bytes(geometry).saturating_mul(geometry.layers as u64);
    memory::estimate(&plans, &model.weights, |spec| device.weight_bytes(spec), page_bytes, n_ctx)
}

fn check_memory(estimate: &MemoryReport, context_tokens: usize, limit_bytes: u64) -> Result<()> {
    let MemoryReport { weights_bytes, kv_bytes, buffers_bytes } = *estimate;
    let needed_bytes = weights_bytes.saturating_add(kv_bytes).saturating_add(buffers_bytes);
    if needed_bytes <= limit_bytes {
        return Ok(());
    }
    let what = format!(
        "this model with a context of {context_tokens} tokens (weights {weights_bytes}, cache {kv_bytes}, buffers \
         {buffers_bytes}; there are {limit_bytes})"
    );
    Err(Error::Memory { what, needed_bytes })
}

/// The keys and values of a layer lie in one buffer.
fn check_cache(page_bytes: u64, context_tokens: usize, limit_bytes: u64) -> Result<()> {
    let n_pages = KvGeometry::pages_for(context_tokens) as u64;
    let needed_bytes = n_pages.saturating_mul(page_bytes);
    if needed_bytes <= limit_bytes {
        return Ok(());
    }
    let what = format!(
        "the cache of one layer with a context of {context_tokens} tokens (a buffer of this GPU holds {limit_bytes})"
    );
    Err(Error::Memory { what, needed_bytes })
}
