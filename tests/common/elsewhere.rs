//! An executor that behaves as one on a device does, on top of the reference: a step is handed over whole, is pending until
//! signals have been raised, goes on when the session has long forgotten it, and gives the best logits instead of all.

use super::faulty::session_on;
use kinglet::{
    error::{Error, Result},
    kv::PageId,
    plan::{BufferId, Executor, MemoryReport, Plan, PlanSlot, Progress, Signal, Step, Want},
    reference::Reference,
    sample::{Best, Candidate, LogProbs, Scores},
    session::Session,
    weights::{WeightId, WeightSpec},
};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

/// How the executor behaves, and what it saw.
#[derive(Debug, Default)]
pub struct Control {
    /// How often a step is pending before it is complete.
    pub n_pending: Cell<usize>,
    /// How often pages that are read are still on their way.
    pub n_reads_pending: Cell<usize>,
    /// Before it is complete, there is more to run.
    pub more: Cell<bool>,
    /// More best logits than this are not given: then all are. `None`: the best are always given.
    pub most_best: Cell<Option<usize>>,
    /// One of the best is kept back.
    pub one_too_few: Cell<bool>,
    /// What each step with outputs wanted.
    pub wants: RefCell<Vec<Want>>,
    /// Calls of `advance` before the signal was raised.
    pub n_early: Cell<usize>,
    /// Steps that were dropped and ran all the same.
    pub n_dropped: Cell<usize>,
    /// Of the step that is pending.
    signal: RefCell<Option<Signal>>,
}

impl Control {
    /// The device has come one step further.
    pub fn raise(&self) {
        if let Some(signal) = self.signal.borrow().as_ref() {
            signal.raise();
        }
    }
}

/// The best logits of one row, with ln Σ e^logit.
type Found = (Vec<Candidate>, f64);

struct Elsewhere {
    inner: Reference,
    control: Rc<Control>,
    /// The step in flight: how often it is pending yet.
    flight: Option<usize>,
    want: Want,
    n_outputs: usize,
    /// By output, after a step that wanted the best.
    found: Vec<Option<Found>>,
}

impl Elsewhere {
    /// A device does one thing after the other: a step that was dropped ends before anything else happens.
    fn catch_up(&mut self) -> Result<()> {
        if self.flight.take().is_some() {
            self.control.n_dropped.set(self.control.n_dropped.get() + 1);
            self.run_all()?;
        }
        Ok(())
    }

    fn run_all(&mut self) -> Result<()> {
        assert_eq!(self.inner.advance(usize::MAX)?, Progress::Complete);
        Ok(())
    }

    fn find(&self, o: usize) -> Result<Option<Found>> {
        let Want::Best(n) = self.want else { return Ok(None) };
        let logits = self.inner.output(o)?;
        let mut best = best_of(logits, n);
        if self.control.most_best.get().is_some_and(|most| best.0.len() > most) {
            return Ok(None);
        }
        if self.control.one_too_few.get() {
            best.0.truncate(n - 1);
        }
        Ok(Some(best))
    }
}

/// The `n` best of a row with all that equal the last of them, in an order that says nothing; and ln Σ e^logit as
/// [`LogProbs`] has it.
pub fn best_of(logits: &[f32], n: usize) -> Found {
    let mut sorted = logits.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let lowest = sorted[n.min(sorted.len()) - 1];
    let all = logits.iter().zip(0..).map(|(&logit, id)| Candidate { id, logit });
    let mut candidates: Vec<Candidate> = all.filter(|c| c.logit >= lowest).collect();
    candidates.sort_by_key(|c| c.id.wrapping_mul(0x9e37_79b1));
    let log_sum_exp = LogProbs::of(Scores::All(logits)).map_or(f64::NAN, |l| f64::from(logits[0]) - l.get(0).unwrap());
    (candidates, log_sum_exp)
}

impl Executor for Elsewhere {
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
        self.inner.kv_reserve(n_pages)
    }
    fn kv_copy(&mut self, from: PageId, to: PageId, n_positions: usize) -> Result<()> {
        self.catch_up()?;
        self.inner.kv_copy(from, to, n_positions)
    }
    fn kv_read(&mut self, pages: &[(PageId, usize)], bytes: &mut Vec<u8>) -> Result<Progress> {
        self.catch_up()?;
        if let Some(left) = self.control.n_reads_pending.get().checked_sub(1) {
            self.control.n_reads_pending.set(left);
            *self.control.signal.borrow_mut() = Some(Signal::default());
            return Ok(Progress::Pending);
        }
        self.inner.kv_read(pages, bytes)
    }
    fn kv_write(&mut self, page: PageId, n_positions: usize, bytes: &[u8]) -> Result<()> {
        self.catch_up()?;
        self.inner.kv_write(page, n_positions, bytes)
    }
    fn begin(&mut self, slot: PlanSlot, step: &Step<'_>) -> Result<()> {
        self.catch_up()?;
        self.inner.begin(slot, step)?;
        (self.want, self.n_outputs) = (step.want, step.outputs.len());
        self.found.clear();
        if self.n_outputs > 0 {
            self.control.wants.borrow_mut().push(step.want);
        }
        self.flight = Some(self.control.n_pending.get());
        *self.control.signal.borrow_mut() = None;
        Ok(())
    }
    fn advance(&mut self, _max_ops: usize) -> Result<Progress> {
        let left = self.flight.as_mut().ok_or_else(|| Error::internal("no step is in flight"))?;
        let mut signal = self.control.signal.borrow_mut();
        if signal.as_ref().is_some_and(|s| !s.is_raised()) {
            self.control.n_early.set(self.control.n_early.get() + 1);
            return Ok(Progress::Pending);
        }
        if *left > 0 {
            *left -= 1;
            *signal = Some(Signal::default());
            return Ok(Progress::Pending);
        }
        *signal = None;
        drop(signal);
        if self.control.more.take() {
            return Ok(Progress::More);
        }
        self.flight = None;
        self.run_all()?;
        self.found = (0..self.n_outputs).map(|o| self.find(o)).collect::<Result<_>>()?;
        Ok(Progress::Complete)
    }
    fn ready(&self) -> Signal {
        self.control.signal.borrow().clone().unwrap_or_else(Signal::raised)
    }
    fn output(&self, o: usize) -> Result<&[f32]> {
        match self.found.get(o) {
            Some(None) => self.inner.output(o),
            _ => Err(Error::internal("only the best logits are here")),
        }
    }
    fn best(&self, o: usize) -> Result<Option<Best<'_>>> {
        match self.found.get(o) {
            Some(found) => Ok(found.as_ref().map(|(candidates, sum)| Best { candidates, log_sum_exp: *sum })),
            None => Err(Error::internal(format!("the step has no output {o}"))),
        }
    }
    fn tap(&self, buffer: BufferId) -> Result<&[f32]> {
        self.inner.tap(buffer)
    }
    fn memory(&self) -> MemoryReport {
        self.inner.memory()
    }
}

/// A session on such an executor, with the handle that says how it behaves.
pub fn session_elsewhere(file: &[u8], context_tokens: usize) -> Result<(Session, Rc<Control>)> {
    let control = Rc::new(Control::default());
    let session = session_on(file, context_tokens, |inner, _| {
        let control = control.clone();
        Box::new(Elsewhere { inner, control, flight: None, want: Want::All, n_outputs: 0, found: vec![] })
    })?;
    Ok((session, control))
}
