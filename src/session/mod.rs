//! One request after the other on a prepared model: generations (prefill, decode, stop rules, events), or an encoder's texts
//! ([`encoding`]). Layer 3: no clock, no I/O.
//!
//! A session is a state machine: [`Session::start`] takes a [`Request`], [`Session::advance`] runs some operations and says
//! what happened, [`Session::cancel`] gives up at any time. The request is the whole truth of a generation; what the session
//! keeps from call to call (the longest common prefix of keys and values) only saves work, and never changes a bit.

mod beams;
mod branches;
mod choice;
mod encoding;
mod event;
mod generation;
mod request;
mod runner;
mod stop;

pub use beams::{BeamParams, EarlyStopping, MAX_BEAMS};
pub use encoding::{EncodeRequest, Input, MAX_CANDIDATES, MAX_INPUTS, Output, Token, encoder_plans, encoder_positions};
pub use event::{Echo, Event, FinishReason, TokenLogprobs, TopLogprob, Usage};
pub use request::{MAX_CHOICES, MAX_TOP_LOGPROBS, Request};
pub use runner::{CHUNK_ROWS, FEW_ROWS, Plans, RememberPlans};

use std::sync::Arc;

use self::{
    encoding::{Encoder, Encoding},
    generation::Generation,
    runner::Runner,
};
use crate::{
    arch::{Model, Task},
    error::{Error, Result},
    kv::{Kv, KvGeometry, SequenceId},
    plan::{Executor, MemoryReport, Progress, Signal},
    sample::Scratch,
    tokenizer::Tokenizer,
};

/// Most sequences at a time: the choices, and a memory or the beams of a search.
const MAX_SEQUENCES: usize = MAX_CHOICES + MAX_BEAMS;

/// A model that is ready, and what it is doing.
pub struct Session {
    runner: Runner,
    tokenizer: Arc<Tokenizer>,
    generation: Option<Generation>,
    /// Of an encoder, which does not generate.
    encoder: Option<Encoder>,
    encoding: Option<Encoding>,
    cached: Option<Cached>,
    scratch: Scratch,
    /// Of an encoder-decoder the token with which its decoder begins.
    decoder_start: Option<u32>,
}

/// What the last call left in the cache: its prompt and the first answer, or of an encoder-decoder its prompt as encoded.
struct Cached {
    sequence: SequenceId,
    tokens: Vec<u32>,
}

impl Session {
    /// Prepares the plans on an executor; its weights may be written later, but before the first request.
    pub fn new(
        executor: Box<dyn Executor>,
        plans: &Plans,
        tokenizer: Arc<Tokenizer>,
        context_tokens: usize,
    ) -> Result<Self> {
        let runner = Runner::new(executor, plans, context_tokens, MAX_SEQUENCES)?;
        let decoder_start = plans.remember.as_ref().map(|remember| remember.decoder_start);
        Ok(Self { decoder_start, ..Self::idle(runner, tokenizer, None) })
    }

    /// The same for an encoder: it makes its plans as it needs them ([`encoder_plans`]).
    pub fn encoder(
        executor: Box<dyn Executor>,
        model: &Model,
        tokenizer: Arc<Tokenizer>,
        context_tokens: usize,
    ) -> Result<Self> {
        let max_pages = KvGeometry::pages_for(encoder_positions(context_tokens));
        let mut runner = Runner::without_plans(executor, Kv::new(context_tokens, max_pages));
        let encoder = Encoder::new(model.clone(), context_tokens, &mut runner)?;
        Ok(Self::idle(runner, tokenizer, Some(encoder)))
    }

    fn idle(runner: Runner, tokenizer: Arc<Tokenizer>, encoder: Option<Encoder>) -> Self {
        let (generation, encoding, cached, decoder_start) = (None, None, None, None);
        let scratch = Scratch::default();
        Self { runner, tokenizer, generation, encoder, encoding, cached, scratch, decoder_start }
    }

    /// The executor, for writing weights.
    pub fn executor(&mut self) -> &mut dyn Executor {
        self.runner.executor()
    }

    /// What the executor holds.
    pub fn memory(&self) -> MemoryReport {
        self.runner.memory()
    }

    /// Longest prompt and answer together, tokens.
    pub fn context_tokens(&self) -> usize {
        self.runner.kv.capacity()
    }

    /// Whether a request is in progress.
    pub fn is_busy(&self) -> bool {
        self.generation.is_some() || self.encoding.is_some()
    }

    /// Raised when [`Self::advance`] can go on, where it has nothing to do before that: the step runs on a device.
    pub fn waiting(&self) -> Option<Signal> {
        self.runner.waiting()
    }

    /// Rows of the step in flight: how much work an operation is. `None` between steps.
    pub fn step_rows(&self) -> Option<usize> {
        self.runner.rows_in_flight()
    }

    /// Tokens that the next call could find in the cache.
    pub fn cached_tokens(&self) -> &[u32] {
        self.cached.as_ref().map_or(&[], |c| &c.tokens)
    }

    /// Starts a generation. Everything that is wrong with the request is said here, before any work:
    /// [`Error::InvalidArgument`], [`Error::ContextOverflow`], [`Error::UnsupportedTask`].
    pub fn start(&mut self, request: Request) -> Result<()> {
        self.check_idle()?;
        if let Some(encoder) = &self.encoder {
            encoder.model().supports(Task::Generate)?;
        }
        let encodes = self.decoder_start.is_some();
        let (mut request, limits) = request.validated(&self.tokenizer, self.context_tokens(), encodes)?;
        let source = self.decoder_start.map(|start| std::mem::replace(&mut request.prompt, vec![start]));
        let place = source.clone();
        let mut generation = Generation::new(request, limits, self.tokenizer.clone(), source)?;
        let (sequence, n_reused) = match place {
            Some(source) => self.memory_of(&source, generation.request().cache_prompt)?,
            None => self.common_prefix(generation.request())?,
        };
        generation.occupy(sequence, n_reused, &mut self.runner);
        self.generation = Some(generation);
        Ok(())
    }

    /// Starts the encoding of texts; the same rules.
    pub fn encode(&mut self, request: EncodeRequest) -> Result<()> {
        self.check_idle()?;
        let Some(encoder) = &self.encoder else {
            let what = format!("this model is no encoder: it cannot {}", request.task.name());
            return Err(Error::UnsupportedTask { what });
        };
        let n_ctx = self.context_tokens();
        self.encoding = Some(Encoding::new(request, encoder.model(), &self.tokenizer, n_ctx)?);
        Ok(())
    }

    fn check_idle(&self) -> Result<()> {
        match self.is_busy() {
            true => Err(Error::InvalidArgument { what: "a request is in progress".into() }),
            false => Ok(()),
        }
    }

    /// Runs up to `max_ops` operations of plans, and returns what happened: nothing where no request is in progress, or where
    /// everything waits for a device ([`Self::waiting`]). After an error the request is over, the cache is empty, and the next call
    /// works.
    pub fn advance(&mut self, max_ops: usize) -> Result<Vec<Event>> {
        let mut events = vec![];
        match self.run(max_ops, &mut events) {
            Ok(()) => Ok(events),
            Err(error) => {
                self.clear()?;
                Err(error)
            }
        }
    }

    /// Gives up the request in progress, if there is one. What was generated completely stays in the cache.
    pub fn cancel(&mut self) -> Result<()> {
        self.runner.drop_step();
        if let Some(encoding) = self.encoding.take() {
            encoding.close(&mut self.runner)?;
        }
        self.leave()
    }

    fn run(&mut self, mut ops: usize, events: &mut Vec<Event>) -> Result<()> {
        if self.encoding.is_some() {
            return self.run_encoding(ops, events);
        }
        while ops > 0 || self.runner.waiting().is_some() {
            let Some(generation) = &mut self.generation else { return Ok(()) };
            if self.runner.is_idle() && !generation.begin(&mut self.runner, events)? {
                return self.leave();
            }
            match self.runner.advance(&mut ops)? {
                Progress::More => {}
                Progress::Pending => return Ok(()),
                Progress::Complete => generation.complete(&mut self.runner, &mut self.scratch, events)?,
            }
        }
        Ok(())
    }

    fn run_encoding(&mut self, mut ops: usize, events: &mut Vec<Event>) -> Result<()> {
        let Self { runner, tokenizer, encoder: Some(encoder), encoding, .. } = self else {
            return Err(Error::internal("an encoding without an encoder"));
        };
        while ops > 0 || runner.waiting().is_some() {
            let Some(work) = encoding else { return Ok(()) };
            if runner.is_idle() && !work.begin(runner, encoder, tokenizer, events)? {
                *encoding = None;
                return Ok(());
            }
            match runner.advance(&mut ops)? {
                Progress::More => {}
                Progress::Pending => return Ok(()),
                Progress::Complete => work.complete(runner, encoder, tokenizer, events)?,
            }
        }
        Ok(())
    }

    /// A sequence that holds as much of the prompt as the cache has, at most all but the last token (whose logits are
    /// wanted); none of it where every token is to be scored.
    fn common_prefix(&mut self, request: &Request) -> Result<(SequenceId, usize)> {
        let Some(Cached { sequence, tokens }) = self.cached.take() else { return Ok((self.runner.kv.create(), 0)) };
        let common = tokens.iter().zip(&request.prompt).take_while(|(a, b)| a == b).count();
        let useful = if request.cache_prompt && !Generation::scores_prompt(request) { common } else { 0 };
        let n_reused = useful.min(request.prompt.len().saturating_sub(1));
        self.runner.kv.truncate(sequence, n_reused)?;
        Ok((sequence, n_reused))
    }

    /// A sequence in which the whole source is encoded, or nothing.
    fn memory_of(&mut self, source: &[u32], cache_prompt: bool) -> Result<(SequenceId, usize)> {
        let Some(Cached { sequence, tokens }) = self.cached.take() else { return Ok((self.runner.kv.create(), 0)) };
        let n_reused = if cache_prompt && tokens == source { source.len() } else { 0 };
        self.runner.kv.truncate(sequence, n_reused)?;
        Ok((sequence, n_reused))
    }

    /// Ends the generation and keeps what the next call may reuse.
    fn leave(&mut self) -> Result<()> {
        let Some(generation) = self.generation.take() else { return Ok(()) };
        let keeps = generation.request().cache_prompt;
        let (sequence, tokens) = generation.close(&mut self.runner)?;
        if keeps {
            self.cached = Some(Cached { sequence, tokens });
        } else {
            self.runner.kv.release(sequence)?;
        }
        Ok(())
    }

    /// After an error: nothing that was computed is trusted.
    fn clear(&mut self) -> Result<()> {
        self.cancel()?;
        if let Some(Cached { sequence, .. }) = self.cached.take() {
            self.runner.kv.release(sequence)?;
        }
        Ok(())
    }
}
