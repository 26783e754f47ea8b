//! The GPU executor: the same plans as WGSL compute shaders through wgpu, in a browser and natively.
//!
//! ```text
//! plan ──lower──► dispatches ──prepare──► pipelines, buffers, bind groups          made once
//! step ──write──► one small buffer ──► one compute pass ──► copy to a stage ──► results
//! ```
//! A step is handed over whole at the first [`Executor::advance`]; then it is pending until its results have come back.
//! Everything that goes wrong on a GPU late is found by [`Context::health`], which every call asks.

mod best;
mod buffers;
mod cache;
mod check;
pub mod context;
pub mod dispatch;
#[cfg(not(target_arch = "wasm32"))]
pub mod fault;
mod forms;
mod ledger;
mod lower;
mod pipelines;
mod prepared;
mod readback;
mod results;
pub mod shader;
pub mod step;
mod tables;
mod vector;
mod weights;
#[cfg(not(target_arch = "wasm32"))]
pub mod zones;

pub use context::{Context, Facts, Made, Request, Subgroups};
pub use forms::Forms;

use std::{future::Future, pin::Pin, rc::Rc, sync::Arc};

use self::{
    cache::Cache,
    dispatch::Lowered,
    forms::Thresholds,
    prepared::{Prepared, Shared},
    readback::{Readback, Ticket},
    results::{Results, Sources},
    tables::Tables,
    weights::Weights,
};
use crate::{
    error::{Error, Result},
    kv::{KvGeometry, PageId},
    plan::{BufferId, Executor, MemoryReport, Plan, PlanSlot, Progress, Signal, Step, Want},
    sample::Best,
    weights::{WeightId, WeightSpec},
};

/// Runs plans on a GPU.
pub struct Gpu {
    context: Rc<Context>,
    thresholds: Thresholds,
    weights: Weights,
    cache: Cache,
    tables: Tables,
    plans: Vec<Prepared>,
    readback: Readback,
    flight: Option<Flight>,
    results: Results,
    /// Room for a step's parameters.
    upload: Vec<u8>,
}

/// A step under way, or the last complete one.
struct Flight {
    slot: PlanSlot,
    n_rows: usize,
    n_outputs: usize,
    want: Want,
    phase: Phase,
    /// Raised when there is something to do.
    signal: Signal,
}

#[derive(Clone, Copy)]
enum Phase {
    Begun,
    /// The results of `sources` are on their way.
    Submitted {
        ticket: Ticket,
        n_bytes: u64,
        want: Want,
    },
    Complete,
}

impl Gpu {
    /// An executor without weights, pages or plans.
    pub fn new(context: Rc<Context>, geometry: KvGeometry) -> Self {
        Self::with_thresholds(context, geometry, Thresholds::default())
    }

    fn with_thresholds(context: Rc<Context>, geometry: KvGeometry, thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            weights: Weights::new(context.clone(), thresholds.shard_bytes),
            cache: Cache::new(context.clone(), geometry),
            tables: Tables::default(),
            plans: vec![],
            readback: Readback::new(context.clone()),
            flight: None,
            results: Results::default(),
            upload: vec![],
            context,
        }
    }

    /// What a prepared plan became, with the dispatches that find the best logits.
    pub fn lowered(&self, slot: PlanSlot) -> Result<&Lowered> {
        self.prepared(slot).map(Prepared::lowered)
    }

    /// Bytes that a weight will take on the GPU, known before it comes.
    pub fn weight_bytes(spec: &WeightSpec) -> u64 {
        Weights::weight_bytes(spec)
    }

    fn forms(&self) -> Forms {
        let Thresholds { wide_from_invocations, .. } = self.thresholds;
        Forms { wide_from_invocations, ..self.context.forms() }
    }

    fn shared(&self) -> Shared<'_> {
        let Self { context, weights, cache, tables, .. } = self;
        Shared { context, weights, cache, tables, forms: self.forms() }
    }

    /// Records the step and hands it over.
    fn submit(&mut self) -> Result<()> {
        let Some(Flight { slot, n_rows, n_outputs, want, .. }) = self.flight else { return Err(not_begun()) };
        let mut encoder = self.encoder();
        self.prepared(slot)?.record(&mut encoder, n_rows, n_outputs, want);
        self.read_back(encoder, want)
    }

    /// Copies what is wanted of the step to a stage, and submits everything.
    fn read_back(&mut self, mut encoder: wgpu::CommandEncoder, want: Want) -> Result<()> {
        let Some(flight) = &mut self.flight else { return Err(not_begun()) };
        let prepared = self.plans.get(flight.slot.0).ok_or_else(not_begun)?;
        let sources = Sources::of(prepared, flight.n_rows, flight.n_outputs, want);
        let ticket = self.readback.take(sources.n_bytes());
        sources.copy(prepared, &mut encoder, self.readback.buffer(ticket)?)?;
        self.context.queue().submit([encoder.finish()]);
        flight.signal = Signal::default();
        self.readback.map(ticket, sources.n_bytes(), &flight.signal)?;
        flight.phase = Phase::Submitted { ticket, n_bytes: sources.n_bytes(), want };
        Ok(())
    }

    /// Takes the results that have come; `false` where the candidates were too many and all logits have to be read.
    fn collect(&mut self, ticket: Ticket, n_bytes: u64, want: Want) -> Result<Option<bool>> {
        let Some(flight) = &self.flight else { return Err(not_begun()) };
        let prepared = self.plans.get(flight.slot.0).ok_or_else(not_begun)?;
        let sources = Sources::of(prepared, flight.n_rows, flight.n_outputs, want);
        let results = &mut self.results;
        self.readback.read(ticket, n_bytes, |bytes| results.take(&sources, bytes))
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.context.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    fn prepared(&self, slot: PlanSlot) -> Result<&Prepared> {
        self.plans.get(slot.0).ok_or_else(|| Error::internal(format!("plan {} was not prepared", slot.0)))
    }

    fn complete(&self) -> Result<&Flight> {
        match &self.flight {
            Some(flight) if matches!(flight.phase, Phase::Complete) => Ok(flight),
            Some(_) => Err(Error::internal("the step is not complete")),
            None => Err(not_begun()),
        }
    }
}

impl Executor for Gpu {
    fn create_weight(&mut self, id: WeightId, spec: &WeightSpec) -> Result<()> {
        self.context.usable()?;
        self.tables.create(id, spec);
        self.weights.create(id, spec)
    }

    fn write_weight(&mut self, id: WeightId, bytes: &[u8]) -> Result<()> {
        self.context.usable()?;
        self.tables.write(id, bytes);
        self.weights.write(id, bytes)
    }

    fn prepare(&mut self, plan: Arc<Plan>) -> Result<PlanSlot> {
        self.context.usable()?;
        plan.check()?;
        plan.check_geometry(self.cache.geometry())?;
        self.weights.place(&plan)?;
        let prepared = Prepared::new(self.shared(), plan)?;
        let sources = Sources::of(&prepared, prepared.plan.rows.max(), 1, Want::Best(best::MOST));
        self.readback.reserve(2, sources.n_bytes());
        self.plans.push(prepared);
        Ok(PlanSlot(self.plans.len() - 1))
    }

    fn kv_reserve(&mut self, n_pages: usize) -> Result<()> {
        self.context.usable()?;
        self.cache.reserve(n_pages)
    }

    fn kv_copy(&mut self, from: PageId, to: PageId, n_positions: usize) -> Result<()> {
        self.context.usable()?;
        self.cache.copy(from, to, n_positions)
    }

    fn kv_read(&mut self, pages: &[(PageId, usize)], bytes: &mut Vec<u8>) -> Result<Progress> {
        self.context.usable()?;
        self.cache.read(pages, bytes)
    }

    fn kv_write(&mut self, page: PageId, n_positions: usize, bytes: &[u8]) -> Result<()> {
        self.context.usable()?;
        self.cache.write(page, n_positions, bytes)
    }

    fn begin(&mut self, slot: PlanSlot, step: &Step) -> Result<()> {
        if let Some(Flight { phase: Phase::Submitted { ticket, .. }, .. }) = self.flight.take() {
            self.readback.abandon(ticket);
        }
        self.cache.stop_reading();
        self.context.health()?;
        step.check(&self.prepared(slot)?.plan, self.cache.n_pages())?;
        step.check_tables(&self.prepared(slot)?.plan, |id| self.weights.spec(id))?;
        self.weights.check_complete(&self.prepared(slot)?.plan)?;
        let forms = self.forms();
        let Self { context, weights, cache, tables, .. } = self;
        let prepared = self.plans.get_mut(slot.0).ok_or_else(not_begun)?;
        prepared.refresh(Shared { context, weights, cache, tables, forms }, step)?;
        let want = match step.want {
            Want::Best(n) if n > best::MOST => Want::All,
            want => want,
        };
        prepared.upload(context, &Step { want, ..*step }, &mut self.upload);
        let (n_rows, n_outputs) = (step.rows.len(), step.outputs.len());
        self.flight = Some(Flight { slot, n_rows, n_outputs, want, phase: Phase::Begun, signal: Signal::raised() });
        Ok(())
    }

    fn advance(&mut self, _max_ops: usize) -> Result<Progress> {
        self.context.health()?;
        let phase = self.flight.as_ref().map(|f| f.phase).ok_or_else(not_begun)?;
        match phase {
            Phase::Complete => return Ok(Progress::Complete),
            Phase::Begun => self.submit()?,
            Phase::Submitted { ticket, n_bytes, want } => match self.collect(ticket, n_bytes, want)? {
                None => {}
                Some(false) => self.read_back(self.encoder(), Want::All)?,
                Some(true) => {
                    if let Some(flight) = &mut self.flight {
                        flight.phase = Phase::Complete;
                    }
                    return Ok(Progress::Complete);
                }
            },
        }
        Ok(Progress::Pending)
    }

    fn ready(&self) -> Signal {
        if let Some(reading) = self.cache.reading() {
            return reading;
        }
        self.flight.as_ref().map_or_else(Signal::raised, |f| f.signal.clone())
    }

    fn check(&mut self) -> Pin<Box<dyn Future<Output = Result<()>>>> {
        let samples = check::samples(&self.plans, &self.weights, self.cache.geometry());
        let context = self.context.clone();
        Box::pin(async move { check::run(context, samples?).await })
    }

    fn output(&self, o: usize) -> Result<&[f32]> {
        let flight = self.complete()?;
        self.results.output(o, flight.n_outputs)
    }

    fn best(&self, o: usize) -> Result<Option<Best<'_>>> {
        self.complete()?;
        self.results.best(o)
    }

    fn tap(&self, buffer: BufferId) -> Result<&[f32]> {
        self.complete()?;
        self.results.tap(buffer)
    }

    fn memory(&self) -> MemoryReport {
        MemoryReport {
            weights_bytes: self.weights.n_bytes(),
            kv_bytes: self.cache.n_bytes(),
            buffers_bytes: self.plans.iter().map(Prepared::n_bytes).sum(),
        }
    }
}

fn not_begun() -> Error {
    Error::internal("no step was begun")
}
