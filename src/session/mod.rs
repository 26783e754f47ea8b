//! One request after the other on a prepared model: generations (prefill, decode, stop rules, events), the scoring of texts
//! ([`scoring`]), or an encoder's texts ([`encoding`]). Layer 3: no clock, no I/O.
//!
//! A session is a state machine: [`Session::start`] takes a [`Request`], [`Session::advance`] runs some operations and says
//! what happened, [`Session::cancel`] gives up at any time. The request is the whole truth of a generation; what the session
//! keeps from call to call (keys and values, [`kept`]) only saves work, and never changes a bit.

mod beams;
mod branches;
mod choice;
mod encoding;
mod event;
mod generation;
mod horizon;
mod kept;
mod request;
mod runner;
mod scoring;
mod speculation;
mod stop;

pub use beams::{BeamParams, EarlyStopping, MAX_BEAMS};
pub use encoding::{EncodeRequest, Input, MAX_CANDIDATES, MAX_INPUTS, Output, Token, encoder_plans, encoder_positions};
pub use event::{Echo, Event, FinishReason, TokenLogprobs, TopLogprob, Usage};
pub use request::{MAX_CHOICES, MAX_TOP_LOGPROBS, Request};
pub use runner::{CHUNK_ROWS, FEW_ROWS, Plans, RememberPlans};
pub use scoring::{MAX_GROUPS, MAX_SPANS, ScoreGroup, ScoreRequest, Scored, Span};
pub use speculation::Speculation;

use std::sync::Arc;

use self::{
    encoding::{Encoder, Encoding},
    generation::Generation,
    horizon::Horizon,
    runner::Runner,
    scoring::Scoring,
    speculation::Speculator,
};
use crate::{
    arch::{Model, Task},
    error::{Error, Result},
    kv::{Binding, Contents, Kv, KvGeometry, SequenceId},
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
    /// The request in progress.
    work: Option<Work>,
    /// Of an encoder, which does not generate.
    encoder: Option<Encoder>,
    /// What a snapshot is being made of.
    reading: Option<SequenceId>,
    scratch: Scratch,
    speculator: Speculator,
    horizon: Horizon,
    /// Of an encoder-decoder the token with which its decoder begins.
    decoder_start: Option<u32>,
}

/// What a session does for a request.
enum Work {
    Generation(Box<Generation>),
    Encoding(Encoding),
    Scoring(Scoring),
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
        let (scratch, speculator, horizon) = (Scratch::default(), Speculator::default(), Horizon::default());
        Self {
            runner,
            tokenizer,
            work: None,
            encoder,
            reading: None,
            scratch,
            speculator,
            horizon,
            decoder_start: None,
        }
    }

    /// Measures by this clock (milliseconds since some moment) what steps cost, so that [`Speculation::Auto`] knows what pays: without
    /// one it guesses nothing. Steps that run elsewhere take no time here: for a device there is [`Self::look_ahead_by`].
    pub fn measure_by(&mut self, now_ms: impl Fn() -> f64 + 'static) {
        self.speculator = Speculator::measuring(Box::new(now_ms));
    }

    /// Measures by this clock how many steps of one answer the device is to take between one look at it and the next, and whether guesses
    /// pay there. Without one, every token is waited for. The answer is the same.
    pub fn look_ahead_by(&mut self, now_ms: impl Fn() -> f64 + 'static) {
        self.speculator = Speculator::elsewhere();
        self.horizon = Horizon::measuring(Box::new(now_ms));
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
        self.work.is_some()
    }

    /// Raised when [`Self::advance`] can go on, where it has nothing to do before that: the step runs on a device.
    pub fn waiting(&self) -> Option<Signal> {
        self.runner.waiting().or_else(|| self.reading.map(|_| self.runner.ready()))
    }

    /// Rows of the step in flight: how much work an operation is. `None` between steps.
    pub fn step_rows(&self) -> Option<usize> {
        self.runner.rows_in_flight()
    }

    /// Tokens that the next call could find in the cache, of what was used last: prompt and first answer of a call, or of an
    /// encoder-decoder its prompt as encoded. There may be more, of calls before.
    pub fn cached_tokens(&self) -> &[u32] {
        self.runner.kept.newest()
    }

    /// Starts a generation. Everything that is wrong with the request is said here, before any work:
    /// [`Error::InvalidArgument`], [`Error::ContextOverflow`], [`Error::UnsupportedTask`].
    pub fn start(&mut self, request: Request) -> Result<()> {
        self.check_idle()?;
        self.check_generates()?;
        let encodes = self.decoder_start.is_some();
        let (mut request, limits) = request.validated(&self.tokenizer, self.context_tokens(), encodes)?;
        let source = self.decoder_start.map(|start| std::mem::replace(&mut request.prompt, vec![start]));
        let place = source.clone();
        let mut generation = Generation::new(request, limits, self.tokenizer.clone(), source)?;
        let (sequence, n_reused) = match place {
            Some(source) => self.beginning_of(&source, source.len(), generation.request().cache_prompt)?,
            None => {
                // Of the last token the logits are wanted; of every one where all are to be scored.
                let request = generation.request();
                let is_useful = request.cache_prompt && !Generation::scores_prompt(request);
                self.beginning_of(&request.prompt, request.prompt.len().saturating_sub(1), is_useful)?
            }
        };
        generation.occupy(sequence, n_reused, &mut self.runner);
        self.work = Some(Work::Generation(Box::new(generation)));
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
        self.work = Some(Work::Encoding(Encoding::new(request, encoder.model(), &self.tokenizer, n_ctx)?));
        Ok(())
    }

    /// Starts the scoring of texts; the same rules. What the cache holds of calls before stays.
    pub fn score(&mut self, request: ScoreRequest) -> Result<()> {
        self.check_idle()?;
        self.check_generates()?;
        let scoring = Scoring::new(request, &self.tokenizer, self.context_tokens(), self.decoder_start)?;
        self.work = Some(Work::Scoring(scoring));
        self.runner.kept.is_held = true;
        Ok(())
    }

    fn check_generates(&self) -> Result<()> {
        self.encoder.as_ref().map_or(Ok(()), |encoder| encoder.model().supports(Task::Generate))
    }

    fn check_idle(&self) -> Result<()> {
        match self.is_busy() || self.reading.is_some() {
            true => Err(Error::InvalidArgument { what: "a request is in progress".into() }),
            false => Ok(()),
        }
    }

    /// Runs up to `max_ops` operations of plans, and returns what happened: nothing where no request is in progress, or where
    /// everything waits for a device ([`Self::waiting`]). After an error the request is over, the cache is empty, and the next call
    /// works.
    pub fn advance(&mut self, max_ops: usize) -> Result<Vec<Event>> {
        let mut events = vec![];
        self.speculator.start();
        let outcome = self.run(max_ops, &mut events);
        self.speculator.stop();
        match outcome {
            Ok(()) => Ok(events),
            Err(error) => {
                self.clear()?;
                Err(error)
            }
        }
    }

    /// Gives up the request or the snapshot in progress, if there is one. What was generated completely stays in the cache.
    pub fn cancel(&mut self) -> Result<()> {
        self.runner.drop_step();
        self.stop_reading()?;
        self.leave()
    }

    /// As bytes what the cache has of the beginning of `tokens`, with a note, by which [`Self::restore`] puts it there again: the
    /// next call with these tokens then computes no more than it would have now. `None` while it
    /// waits for a device: call again with the same once [`Self::waiting`] says so, with nothing else in between but
    /// [`Self::cancel`].
    pub fn snapshot(&mut self, note: &[u8], tokens: &[u32], binding: &Binding) -> Result<Option<Vec<u8>>> {
        let sequence = match self.reading {
            Some(sequence) => sequence,
            None => {
                self.check_idle()?;
                self.check_generates()?;
                let Runner { kv, kept, .. } = &mut self.runner;
                kept.take(tokens, tokens.len(), true, kv)?.0
            }
        };
        self.reading = Some(sequence);
        let outcome = self.runner.snapshot(sequence, note, tokens, binding);
        if !matches!(outcome, Ok(None)) {
            self.stop_reading()?;
        }
        outcome
    }

    /// Puts what a snapshot holds into the cache, and gives its note. [`Error::Integrity`] where the bytes are damaged, or of
    /// another model, version, or format of keys and values; [`Error::ContextOverflow`] where they do not fit.
    pub fn restore(&mut self, bytes: &[u8], binding: &Binding) -> Result<Vec<u8>> {
        self.check_idle()?;
        self.check_generates()?;
        let contents = Contents::of(bytes, binding)?;
        let tokens = contents.tokens();
        if tokens.iter().any(|token| *token as usize >= self.tokenizer.n_vocab()) {
            return Err(Error::Integrity { what: "snapshot: it has tokens that are not in the vocabulary".into() });
        }
        let sequence = self.runner.restore(&contents)?;
        self.runner.kept.keep(sequence, tokens, &mut self.runner.kv)?;
        Ok(contents.note.to_vec())
    }

    fn stop_reading(&mut self) -> Result<()> {
        self.reading.take().map_or(Ok(()), |sequence| self.runner.kv.release(sequence))
    }

    fn run(&mut self, mut ops: usize, events: &mut Vec<Event>) -> Result<()> {
        while self.is_busy() && (ops > 0 || self.runner.waiting().is_some()) {
            if self.runner.is_idle() && !self.begin(events)? {
                return self.leave();
            }
            match self.runner.advance(&mut ops)? {
                Progress::More => {}
                Progress::Pending => return Ok(()),
                Progress::Complete => self.complete(events)?,
            }
        }
        Ok(())
    }

    /// Begins the next step of the request; `false` where none is left.
    fn begin(&mut self, events: &mut Vec<Event>) -> Result<bool> {
        let Self { runner, tokenizer, work, encoder, speculator, horizon, .. } = self;
        match (work, encoder) {
            (None, _) => Ok(false),
            (Some(Work::Generation(generation)), _) => {
                speculator.begin_step();
                generation.begin(runner, speculator, horizon, events)
            }
            (Some(Work::Scoring(scoring)), _) => scoring.begin(runner, events),
            (Some(Work::Encoding(encoding)), Some(encoder)) => encoding.begin(runner, encoder, tokenizer, events),
            (Some(Work::Encoding(_)), None) => Err(Error::internal("an encoding without an encoder")),
        }
    }

    /// What a complete step means for the request.
    fn complete(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let Self { runner, tokenizer, work, encoder, scratch, speculator, horizon, .. } = self;
        match (work, encoder) {
            (None, _) => Err(Error::internal("a step without a request")),
            (Some(Work::Generation(generation)), _) => {
                let decoded = generation.complete(runner, scratch, horizon, events)?;
                speculator.end_step(decoded);
                Ok(())
            }
            (Some(Work::Scoring(scoring)), _) => scoring.complete(runner, events),
            (Some(Work::Encoding(encoding)), Some(encoder)) => encoding.complete(runner, encoder, tokenizer, events),
            (Some(Work::Encoding(_)), None) => Err(Error::internal("an encoding without an encoder")),
        }
    }

    /// A sequence that holds as much of a prompt as the cache has, at most `limit` tokens; nothing where that is of no use.
    fn beginning_of(&mut self, prompt: &[u32], limit: usize, is_useful: bool) -> Result<(SequenceId, usize)> {
        let Runner { kv, kept, .. } = &mut self.runner;
        if is_useful { kept.take(prompt, limit, false, kv) } else { Ok((kv.create(), 0)) }
    }

    /// Ends the request and keeps what the next call may reuse.
    fn leave(&mut self) -> Result<()> {
        self.runner.kept.is_held = false;
        match self.work.take() {
            None => Ok(()),
            Some(Work::Encoding(encoding)) => encoding.close(&mut self.runner),
            Some(Work::Scoring(scoring)) => scoring.close(&mut self.runner),
            Some(Work::Generation(generation)) => {
                let keeps = generation.request().cache_prompt;
                let (sequence, tokens) = generation.close(&mut self.runner)?;
                let Runner { kv, kept, .. } = &mut self.runner;
                if keeps { kept.keep(sequence, tokens, kv) } else { kv.release(sequence) }
            }
        }
    }

    /// After an error: nothing that was computed is trusted.
    fn clear(&mut self) -> Result<()> {
        self.cancel()?;
        self.runner.kept.clear(&mut self.runner.kv)
    }
}
