//! The GPU executor: the same plans as WGSL compute shaders through wgpu, in a browser and natively.
//!
//! ```text
//! plan ──lower──► dispatches ──prepare──► pipelines, buffers, bind groups          made once
//! step ──write──► one small buffer ──► one compute pass ──► copy to a stage ──► results
//! ```
//! A run is the same with the commands so often ([`ahead`]); several runs may be under way, each with a stage of its own. A step is handed over whole at the first [`Executor::advance`]; then it is pending until its results have come back.
//! Everything that goes wrong on a GPU late is found by [`Context::health`], which every call asks.

pub mod ahead;
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
mod profile;
mod readback;
mod results;
mod sets;
pub mod shader;
pub mod step;
mod tables;
mod tune;
mod vector;
mod weights;
#[cfg(not(target_arch = "wasm32"))]
pub mod zones;

pub use context::{Context, Facts, Made, Request, Subgroups};
pub use forms::{Forms, Numbers};

use std::{collections::VecDeque, future::Future, pin::Pin, rc::Rc, sync::Arc};

use self::{
    ahead::Run,
    cache::Cache,
    dispatch::{Counts, Lowered},
    forms::Thresholds,
    prepared::{Prepared, Shared},
    readback::{Readback, Ticket},
    results::{Results, Sources},
    tables::Tables,
    weights::Weights,
};
use crate::{
    error::{Error, Result},
    kv::{KvGeometry, PAGE_POSITIONS, PageId},
    plan::{
        Ahead, BufferId, Executor, MemoryReport, Op, Plan, PlanSlot, Profile, Progress, Row, Sees, Signal, Step, Want,
        fuse::{Rule, fuse},
    },
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
    /// Runs of steps behind it, in order.
    behind: VecDeque<Flight>,
    results: Results,
    /// While somebody measures.
    recorder: Option<profile::Recorder>,
    /// Room for a step's parameters.
    upload: Vec<u8>,
    /// While it measures; whether it has begun to.
    tuner: Option<Box<tune::Tuner>>,
    is_tuned: bool,
}

/// A step under way, or the last complete one.
struct Flight {
    slot: PlanSlot,
    counts: Counts,
    want: Want,
    /// It is a run of steps.
    run: Option<Run>,
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
            behind: VecDeque::default(),
            results: Results::default(),
            recorder: None,
            upload: vec![],
            tuner: None,
            is_tuned: false,
            context,
        }
    }

    /// What a prepared plan became, with the dispatches that find the best logits.
    pub fn lowered(&self, slot: PlanSlot) -> Result<&Lowered> {
        self.prepared(slot).map(Prepared::lowered)
    }

    /// A prepared plan as it is run: with fewer operations, perhaps, than it was given with.
    pub fn plan(&self, slot: PlanSlot) -> Result<&Plan> {
        self.prepared(slot).map(|prepared| &*prepared.plan)
    }

    /// Bytes of a page of the cache in one layer.
    pub fn layer_page_bytes(geometry: &KvGeometry) -> u64 {
        cache::layer_page_bytes(geometry)
    }

    /// Bytes that a weight will take on the GPU, known before it comes.
    pub fn weight_bytes(spec: &WeightSpec) -> u64 {
        Weights::weight_bytes(spec)
    }

    fn forms(&self) -> Forms {
        let Thresholds { wide_from_invocations, part_positions, most_blocks, runs, embeds, .. } = self.thresholds;
        let forms = self.context.forms();
        Forms {
            wide_from_invocations: wide_from_invocations.unwrap_or(forms.wide_from_invocations),
            part_positions: part_positions.unwrap_or(forms.part_positions),
            most_blocks,
            runs: runs && forms.runs,
            embeds: embeds && forms.embeds,
            ..forms
        }
    }

    fn shared(&self) -> Shared<'_> {
        self.shared_with(self.forms())
    }

    fn shared_with(&self, forms: Forms) -> Shared<'_> {
        let Self { context, weights, cache, tables, .. } = self;
        Shared { context, weights, cache, tables, forms }
    }

    /// Records a step or a run and hands it over.
    fn submit(&mut self, flight: Flight) -> Result<Flight> {
        let mut encoder = self.encoder();
        let prepared = self.plans.get(flight.slot.0).ok_or_else(not_begun)?;
        match (&flight.run, &mut self.recorder) {
            (Some(run), _) => prepared.record_run(&mut encoder, run),
            (None, None) => prepared.record(&mut encoder, flight.counts, flight.want),
            (None, Some(recorder)) => {
                let (counts, queries) = (flight.counts, recorder.queries());
                let kinds = prepared.record_timed(&mut encoder, counts, flight.want, queries, &self.weights);
                recorder.resolve(&mut encoder, counts.rows, kinds)?;
            }
        }
        let want = flight.want;
        self.read_back(encoder, flight, want)
    }

    /// Copies what is wanted to a stage, and submits everything.
    fn read_back(&mut self, mut encoder: wgpu::CommandEncoder, flight: Flight, want: Want) -> Result<Flight> {
        let prepared = self.plans.get(flight.slot.0).ok_or_else(not_begun)?;
        let sources = flight.sources(prepared, want);
        let ticket = self.readback.take(sources.n_bytes());
        sources.copy(prepared, &mut encoder, self.readback.buffer(ticket)?)?;
        self.context.queue().submit([encoder.finish()]);
        self.recorder.iter_mut().try_for_each(profile::Recorder::submitted)?;
        let signal = Signal::default();
        self.readback.map(ticket, sources.n_bytes(), &signal)?;
        let phase = Phase::Submitted { ticket, n_bytes: sources.n_bytes(), want };
        Ok(Flight { signal, phase, ..flight })
    }

    /// Takes the results that have come; `false` where the candidates were too many and all logits have to be read.
    fn collect(&mut self, flight: &Flight, ticket: Ticket, n_bytes: u64, want: Want) -> Result<Option<bool>> {
        let prepared = self.plans.get(flight.slot.0).ok_or_else(not_begun)?;
        let sources = flight.sources(prepared, want);
        let results = &mut self.results;
        self.readback.read(ticket, n_bytes, |bytes| results.take(&sources, bytes))
    }

    /// Forgets what is under way.
    fn drop_flights(&mut self) {
        for flight in self.flight.take().into_iter().chain(std::mem::take(&mut self.behind)) {
            if let Phase::Submitted { ticket, .. } = flight.phase {
                self.readback.abandon(ticket);
            }
        }
    }

    /// Checks that the step may be the first of a run, and says of which.
    fn run_of(&self, slot: PlanSlot, step: &Step<'_>, ahead: &Ahead<'_>) -> Result<Run> {
        let fault = |what: &str| Error::internal(format!("a run of steps: {what}"));
        let prepared = self.prepared(slot)?;
        let (n_steps, [row], [pages]) = (ahead.draws.len(), step.rows, step.sequences) else {
            return Err(fault("not one row of one sequence"));
        };
        let Want::Best(n_best @ 1..=best::MOST) = step.want else { return Err(fault("too many candidates")) };
        if n_steps == 0 || n_steps > self.most_ahead(slot) || step.outputs != [0] {
            return Err(fault("too many steps, or none"));
        }
        let last = [Row { position: row.position.saturating_add(n_steps as u32 - 1), ..*row }];
        if last[0].position as usize / PAGE_POSITIONS >= pages.len() {
            return Err(fault("it goes past the pages"));
        }
        Step { rows: &last, ..*step }.check_tables(&prepared.plan, |id| self.weights.spec(id))?;
        Ok(Run { position: row.position, n_steps, n_best, n_pages: pages.len(), is_behind: false })
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.context.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    fn prepared(&self, slot: PlanSlot) -> Result<&Prepared> {
        self.plans.get(slot.0).ok_or_else(|| Error::internal(format!("plan {} was not prepared", slot.0)))
    }

    /// The newest run, where another can be put behind it that has so many pages.
    fn extended(&self, n_pages: usize, n_steps: usize) -> Result<Option<(PlanSlot, Run)>> {
        let newest = self.behind.back().or(self.flight.as_ref());
        let Some((slot, run)) = newest.and_then(|flight| Some((flight.slot, flight.run?))) else { return Ok(None) };
        let prepared = self.prepared(slot)?;
        let sees_memory = prepared.plan.ops.iter().any(|op| matches!(op, Op::Attention(a) if a.sees == Sees::Memory));
        let next = Run { n_pages, ..run.next(n_steps) };
        let last_position = next.position as usize + n_steps.max(1) - 1;
        let can = (1..=self.most_ahead(slot)).contains(&n_steps)
            && last_position / PAGE_POSITIONS < n_pages
            // The pages of the memory come behind those of the sequence.
            && (n_pages == run.n_pages || !sees_memory)
            && prepared.keeps_state(self.forms(), n_pages);
        Ok(can.then_some((slot, next)))
    }

    fn complete(&self) -> Result<&Flight> {
        match &self.flight {
            Some(flight) if matches!(flight.phase, Phase::Complete) => Ok(flight),
            Some(_) => Err(Error::internal("the step is not complete")),
            None => Err(not_begun()),
        }
    }
}

impl Flight {
    fn sources(&self, prepared: &Prepared, want: Want) -> Sources {
        match &self.run {
            Some(run) => Sources::of_run(prepared, run),
            None => Sources::of(prepared, self.counts.rows, self.counts.outputs, want),
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
        // A step of few rows is a chain of dispatches that wait for each other: fewer of them are what makes it fast.
        let is_few = plan.rows.max() < lower::MIN_TILED_ROWS;
        let rules = if is_few { Rule::ON_DEVICES } else { &[Rule::NormIntoAdd, Rule::ScaleIntoMatMul] };
        let plan = Arc::new(fuse((*plan).clone(), rules));
        self.weights.place(&plan)?;
        if self.plans.is_empty() && self.thresholds == Thresholds::default() {
            tune::adopt(self, &plan);
        }
        let prepared = Prepared::new(self.shared(), plan)?;
        let sources = Sources::of(&prepared, prepared.plan.rows.max(), 1, Want::Best(best::MOST));
        self.readback.reserve(2, sources.n_bytes());
        if prepared.run_results().is_some() {
            self.readback.reserve(3, ahead::RESULT_BYTES);
        }
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

    fn warm(&mut self) -> Result<bool> {
        tune::go_on(self)
    }

    fn begin(&mut self, slot: PlanSlot, step: &Step) -> Result<()> {
        tune::end(self);
        self.drop_flights();
        self.cache.stop_reading();
        self.context.health()?;
        step.check(&self.prepared(slot)?.plan, self.cache.n_pages())?;
        step.check_tables(&self.prepared(slot)?.plan, |id| self.weights.spec(id))?;
        self.weights.check_complete(&self.prepared(slot)?.plan)?;
        let forms = self.forms();
        let Self { context, weights, cache, tables, .. } = self;
        let prepared = self.plans.get_mut(slot.0).ok_or_else(not_begun)?;
        prepared.refresh(Shared { context, weights, cache, tables, forms }, step::n_pages(step))?;
        let want = match step.want {
            Want::Best(n) if n > best::MOST => Want::All,
            want => want,
        };
        prepared.upload(context, &Step { want, ..*step }, &mut self.upload);
        let positions = step.rows.iter().map(|row| row.position as usize + 1).max().unwrap_or(0);
        let counts = Counts { rows: step.rows.len(), outputs: step.outputs.len(), positions };
        let (run, phase, signal) = (None, Phase::Begun, Signal::raised());
        self.flight = Some(Flight { slot, counts, want, run, phase, signal });
        Ok(())
    }

    fn most_ahead(&self, slot: PlanSlot) -> usize {
        // What is measured goes step by step.
        let can_run = self.recorder.is_none() && self.plans.get(slot.0).is_some_and(|p| p.lowered().choose.is_some());
        if can_run { ahead::MOST } else { 0 }
    }

    fn begin_ahead(&mut self, slot: PlanSlot, step: &Step, ahead: &Ahead) -> Result<()> {
        let run = self.run_of(slot, step, ahead)?;
        self.begin(slot, step)?;
        let prepared = self.plans.get(slot.0).ok_or_else(not_begun)?;
        prepared.upload_run(&self.context, &run, ahead, &mut self.upload);
        self.flight.iter_mut().for_each(|flight| flight.run = Some(run));
        Ok(())
    }

    fn extend_ahead(&mut self, pages: &[PageId], ahead: &Ahead) -> Result<bool> {
        self.context.health()?;
        let Some((slot, run)) = self.extended(pages.len(), ahead.draws.len())? else { return Ok(false) };
        let forms = self.forms();
        let Self { context, weights, cache, tables, .. } = self;
        // The cache may have grown since the run before was begun, which may not have been handed over yet.
        let prepared = self.plans.get_mut(slot.0).ok_or_else(not_begun)?;
        prepared.refresh(Shared { context, weights, cache, tables, forms }, pages.len())?;
        if let Some(flight) = self.flight.take_if(|flight| matches!(flight.phase, Phase::Begun)) {
            self.flight = Some(self.submit(flight)?);
        }
        let Self { context, .. } = self;
        let prepared = self.plans.get(slot.0).ok_or_else(not_begun)?;
        prepared.upload_pages(context, pages, &mut self.upload);
        prepared.upload_run(context, &run, ahead, &mut self.upload);
        let counts = Counts { rows: 1, outputs: 1, positions: run.position as usize + 1 };
        let (run, phase, signal) = (Some(run), Phase::Begun, Signal::raised());
        let want = Want::Best(run.map_or(0, |run| run.n_best));
        let flight = self.submit(Flight { slot, counts, want, run, phase, signal })?;
        self.behind.push_back(flight);
        Ok(true)
    }

    fn follow_ahead(&mut self) -> Result<bool> {
        self.complete()?;
        let Some(next) = self.behind.pop_front() else { return Ok(false) };
        self.flight = Some(next);
        Ok(true)
    }

    fn n_ahead(&self) -> usize {
        self.results.n_ahead()
    }

    fn chosen(&self, i: usize) -> Result<u32> {
        self.complete()?;
        self.results.chosen(i)
    }

    fn advance(&mut self, _max_ops: usize) -> Result<Progress> {
        self.context.health()?;
        let flight = self.flight.take().ok_or_else(not_begun)?;
        let (flight, progress) = match flight.phase {
            Phase::Complete => (flight, Progress::Complete),
            Phase::Begun => (self.submit(flight)?, Progress::Pending),
            Phase::Submitted { ticket, n_bytes, want } => match self.collect(&flight, ticket, n_bytes, want)? {
                None => (flight, Progress::Pending),
                Some(false) => (self.read_back(self.encoder(), flight, Want::All)?, Progress::Pending),
                Some(true) => {
                    self.recorder.iter_mut().try_for_each(profile::Recorder::collect)?;
                    (Flight { phase: Phase::Complete, ..flight }, Progress::Complete)
                }
            },
        };
        self.flight = Some(flight);
        Ok(progress)
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
        self.results.output(o, flight.counts.outputs)
    }

    fn best(&self, o: usize) -> Result<Option<Best<'_>>> {
        self.complete()?;
        self.results.best(o)
    }

    fn tap(&self, buffer: BufferId) -> Result<&[f32]> {
        self.complete()?;
        self.results.tap(buffer)
    }

    fn set_profiling(&mut self, on: bool) {
        self.recorder = on.then(|| profile::Recorder::new(self.context.clone())).flatten();
    }

    fn take_profile(&mut self) -> Option<Profile> {
        self.recorder.as_mut().map(profile::Recorder::take)
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
