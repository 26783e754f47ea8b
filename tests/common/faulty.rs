//! An executor that goes wrong when it is told to, and a session on it.

use kinglet::{
    arch::Model,
    error::{Error, Result},
    gguf::{Event, Parser},
    kv::{KvFormat, PageId},
    plan::{BufferId, Executor, MemoryReport, Plan, PlanSlot, Progress, Step},
    reference::Reference,
    session::{Plans, Session},
    tokenizer::Tokenizer,
    weights::{WeightId, WeightSpec},
};
use std::{cell::Cell, rc::Rc, sync::Arc};

/// What is to go wrong.
#[derive(Debug, Default)]
pub struct Fault {
    /// After this many more calls each call fails.
    pub calls_left: Cell<Option<usize>>,
    /// Logits are NaN.
    pub nan: Cell<bool>,
    /// Steps that were begun.
    pub n_steps: Cell<usize>,
}

struct Faulty {
    inner: Reference,
    fault: Rc<Fault>,
    bad_logits: Vec<f32>,
}
impl Faulty {
    fn call(&self) -> Result<()> {
        match self.fault.calls_left.get() {
            Some(0) => Err(Error::Memory { what: "a test".into(), needed_bytes: 1 }),
            left => {
                self.fault.calls_left.set(left.map(|n| n - 1));
                Ok(())
            }
        }
    }
}

impl Executor for Faulty {
    fn create_weight(&mut self, id: WeightId, spec: &WeightSpec) -> Result<()> {
        self.inner.create_weight(id, spec)
    }
    fn write_weight(&mut self, id: WeightId, bytes: &[u8]) -> Result<()> {
        self.inner.write_weight(id, bytes)
    }
    fn prepare(&mut self, plan: Arc<Plan>) -> Result<PlanSlot> {
        self.inner.prepare(plan)
    }
    fn kv_reserve(&mut self, n_pages: usize) -> Result<()> {
        self.call()?;
        self.inner.kv_reserve(n_pages)
    }
    fn kv_copy(&mut self, from: PageId, to: PageId, n_positions: usize) -> Result<()> {
        self.call()?;
        self.inner.kv_copy(from, to, n_positions)
    }
    fn kv_read(&mut self, pages: &[(PageId, usize)], bytes: &mut Vec<u8>) -> Result<Progress> {
        self.inner.kv_read(pages, bytes)
    }
    fn kv_write(&mut self, page: PageId, n_positions: usize, bytes: &[u8]) -> Result<()> {
        self.inner.kv_write(page, n_positions, bytes)
    }
    fn begin(&mut self, slot: PlanSlot, step: &Step<'_>) -> Result<()> {
        self.call()?;
        self.fault.n_steps.set(self.fault.n_steps.get() + 1);
        self.inner.begin(slot, step)
    }
    fn advance(&mut self, max_ops: usize) -> Result<Progress> {
        self.call()?;
        self.inner.advance(max_ops)
    }
    fn output(&self, o: usize) -> Result<&[f32]> {
        if self.fault.nan.get() { Ok(&self.bad_logits) } else { self.inner.output(o) }
    }
    fn tap(&self, buffer: BufferId) -> Result<&[f32]> {
        self.inner.tap(buffer)
    }
    fn memory(&self) -> MemoryReport {
        self.inner.memory()
    }
}

/// A session on the reference executor, with the handle that makes it fail.
pub fn faulty_session(file: &[u8], context_tokens: usize) -> Result<(Session, Rc<Fault>)> {
    let fault = Rc::new(Fault::default());
    let session = session_on(file, context_tokens, |inner, n_vocab| {
        Box::new(Faulty { inner, fault: fault.clone(), bad_logits: vec![f32::NAN; n_vocab] })
    })?;
    Ok((session, fault))
}

/// A session on an executor that `wrap` makes of the reference executor and the size of the vocabulary.
pub fn session_on(
    file: &[u8],
    context_tokens: usize,
    wrap: impl FnOnce(Reference, usize) -> Box<dyn Executor>,
) -> Result<Session> {
    let (mut session, mut wrap) = (None, Some(wrap));
    Parser::new().feed(file, &mut |event| match (event, &mut session) {
        (Event::Header(header), _) => {
            let model = Model::from_header(&header)?;
            let wrap = wrap.take().ok_or_else(|| Error::internal("two headers"))?;
            let mut executor = wrap(Reference::new(model.kv_geometry(KvFormat::F32)), model.hyper.n_vocab);
            for id in model.used_weights()? {
                executor.create_weight(id, model.weights.spec(id))?;
            }
            let tokenizer = Arc::new(Tokenizer::from_metadata(&header.metadata)?);
            session =
                Some(Session::new(executor, &Plans::of(&model, context_tokens, false)?, tokenizer, context_tokens)?);
            Ok(())
        }
        (Event::Data { tensor, bytes }, Some(session)) => {
            session.executor().write_weight(WeightId(tensor as u32), bytes)
        }
        (Event::Data { .. }, None) => Err(Error::internal("data before the header")),
    })?;
    session.ok_or_else(|| Error::internal("no header"))
}
