//! The CPU executor: SIMD kernels on repacked weights, a thread pool. Layer 2, called by the engine.
//!
//! * [`matmul`], [`codes`], [`tiles`], [`dots`], [`activations`], [`attention`], [`math`], [`rope`]: kernels on slices, written on the
//!   vector types of [`simd`]; [`cache`]: where keys and values lie.
//! * [`run`], [`products`], [`attend`]: a plan's operations, split among the threads of a [`pool::Pool`], which meet where [`phases`] say.
//! * this file: the [`Executor`], which owns weights, cache, buffers and the step.
//!
//! The same bits for any number of threads, any split of a prompt into steps, either kernel flavour, native or wasm.

mod activations;
mod attend;
mod attention;
mod bias;
mod cache;
pub mod clock;
mod codes;
mod conv;
mod dots;
mod flavour;
mod gate;
mod math;
mod matmul;
mod phases;
#[cfg(all(test, not(target_arch = "wasm32")))]
#[path = "../../tests/unit/phases.rs"]
mod phases_tests;
pub mod pool;
mod prepared;
mod products;
mod profile;
mod rope;
mod run;
mod scratch;
mod shared;
mod simd;
mod tiles;
pub mod tuner;
mod warm;
mod weight;

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

pub use flavour::{Flavour, Kernels};

use self::{
    cache::{AnyPages, of_format},
    phases::{Phases, Place},
    pool::{Pool, RunningStep},
    prepared::Prepared,
    profile::Recorder,
    run::{Context, Partials, SharedActs},
    scratch::{Scratch, Sizes},
    shared::Shared,
    warm::Warmed,
    weight::{Vector, Weight},
};
use crate::{
    error::{Error, Result},
    kv::{KvGeometry, PageId},
    plan::{BufferId, Epilogue, Executor, MemoryReport, Op, Plan, PlanSlot, Profile, Progress, Row, Rows, Step},
    quant::repack::Arrangement,
    quant::repack::Matrix,
    weights::{WeightId, WeightSpec},
};

/// Runs plans on the CPU.
pub struct Cpu {
    pool: Arc<Pool>,
    flavour: Flavour,
    /// Of the bytes of Q8_0.
    arrangement: Arrangement,
    geometry: KvGeometry,
    weights: Vec<Option<Weight>>,
    specs: Vec<Option<WeightSpec>>,
    pages: AnyPages,
    plans: Vec<Prepared>,
    step: Option<Running>,
    /// One arena for all plans: only one step lives at a time.
    arena: Shared<f32>,
    /// One per thread, likewise.
    private: Vec<Shared<f32>>,
    acts: SharedActs,
    partials: Partials,
    /// One per thread.
    scratch: Vec<Mutex<Scratch>>,
    sizes: Sizes,
    warmed: Warmed,
    /// While somebody wants to know.
    recorder: Option<Recorder>,
}

/// A step under way, or the last complete one.
struct Running {
    slot: PlanSlot,
    /// Who runs it.
    step: RunningStep,
    next_op: usize,
    rows: Vec<Row>,
    outputs: Vec<u32>,
    sequences: Vec<Vec<PageId>>,
    memories: Vec<(Vec<PageId>, usize)>,
    embeddings: Vec<f32>,
}

impl Cpu {
    /// An executor without weights, pages or plans, with the kernels that are fastest on this machine: to find out takes about a
    /// millisecond.
    pub fn new(geometry: KvGeometry, pool: impl Into<Arc<Pool>>) -> Result<Self> {
        let pool = pool.into();
        let kernels = Kernels::of_machine(pool.clock());
        Self::with_kernels(geometry, pool, kernels)
    }

    /// [`Cpu::new`] with a choice of kernels, whose instructions must be what they take them for; all give the same bits.
    pub fn with_kernels(geometry: KvGeometry, pool: impl Into<Arc<Pool>>, kernels: impl Into<Kernels>) -> Result<Self> {
        let Kernels { flavour, arrangement } = kernels.into();
        let (pool, sizes) = (pool.into(), Sizes::default());
        Ok(Self {
            flavour,
            arrangement,
            geometry,
            weights: vec![],
            specs: vec![],
            pages: AnyPages::new(geometry),
            plans: vec![],
            step: None,
            arena: Shared::new(0, 0.0, "")?,
            private: private_arenas(&pool, 0)?,
            acts: SharedActs::new(sizes)?,
            partials: Partials::new(0, geometry.kv_heads, geometry.head_size)?,
            scratch: (0..pool.max_threads()).map(|_| Ok(Mutex::new(Scratch::new(sizes)?))).collect::<Result<_>>()?,
            sizes,
            warmed: Warmed::default(),
            recorder: None,
            pool,
        })
    }

    /// Bytes that a weight will take, known before it comes; `u64::MAX` for a row of broken blocks, which is refused later.
    pub fn weight_bytes(spec: &WeightSpec) -> u64 {
        match spec.shape.len() {
            2 => Matrix::n_bytes(spec.format, spec.n_rows(), spec.row_len()),
            _ => spec.format.row_bytes(spec.row_len()).map_or(u64::MAX, |n| n as u64 + 4 * spec.row_len() as u64),
        }
    }

    /// The kernels for codes.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// The threads.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    fn running(&self) -> Result<&Running> {
        self.step.as_ref().ok_or_else(|| Error::internal("no step was begun"))
    }

    fn prepared(&self, slot: PlanSlot) -> Result<&Prepared> {
        self.plans.get(slot.0).ok_or_else(|| Error::internal(format!("plan {} was not prepared", slot.0)))
    }

    /// The weights of a plan: all there, of the right shapes, complete.
    fn check_weights(&self, plan: &Plan) -> Result<()> {
        plan.check_weights(|id| self.specs.get(id.0 as usize)?.as_ref())?;
        for id in plan.ops.iter().flat_map(Op::weights) {
            if !self.weights[id.0 as usize].as_ref().is_some_and(Weight::is_complete) {
                return Err(Error::internal(format!("weight {} is not complete", id.0)));
            }
        }
        Ok(())
    }

    /// Makes the buffers large enough for one more plan.
    fn grow(&mut self, phases: &Phases, sizes: Sizes) -> Result<()> {
        if phases.shared.arena_len > self.arena.len() {
            self.arena = Shared::new(phases.shared.arena_len, 0.0, "the buffers of a plan")?;
        }
        if self.private.iter().any(|arena| arena.len() < phases.private.arena_len) {
            self.private = private_arenas(&self.pool, phases.private.arena_len)?;
        }
        let sizes = self.sizes.max(sizes);
        if sizes != self.sizes {
            self.acts = SharedActs::new(sizes)?;
            self.scratch =
                (0..self.pool.max_threads()).map(|_| Ok(Mutex::new(Scratch::new(sizes)?))).collect::<Result<_>>()?;
            self.sizes = sizes;
        }
        Ok(())
    }

    /// Rows 0.. of a buffer after a complete step.
    fn result(&self, id: BufferId, range: Range<usize>) -> Result<&[f32]> {
        let Prepared { plan, phases, .. } = self.prepared(self.running()?.slot)?;
        let width = plan.buffers[id.0 as usize].width;
        let Some(Place::Shared(start)) = phases.place(id) else {
            return Err(Error::internal(format!("buffer {} was not kept", id.0)));
        };
        Ok(self.arena.read(start + range.start * width..start + range.end * width))
    }

    /// Room for the parts of attention over so many positions, for some that are to come too.
    fn grow_partials(&mut self, plan: &Plan, n_positions: usize) -> Result<()> {
        let heads = plan.ops.iter().map(|op| if let Op::Attention(a) = op { a.heads } else { 0 }).max().unwrap_or(0);
        let n_splits = attention::splits(0..n_positions).len();
        if heads * n_splits > self.partials.n_parts() {
            let n_parts = heads * n_splits.next_multiple_of(16);
            self.partials = Partials::new(n_parts, self.geometry.kv_heads, self.geometry.head_size)?;
        }
        self.partials.clear();
        Ok(())
    }

    /// The operations of a plan between which the threads do not meet, for the budget of barriers.
    pub fn phases(&self, slot: PlanSlot) -> Result<Vec<Range<usize>>> {
        Ok(self.prepared(slot)?.phases.ranges())
    }

    fn complete(&self) -> Result<&Running> {
        let step = self.running()?;
        if step.next_op < self.prepared(step.slot)?.plan.ops.len() {
            return Err(Error::internal("the step is not complete"));
        }
        Ok(step)
    }
}

impl Executor for Cpu {
    fn create_weight(&mut self, id: WeightId, spec: &WeightSpec) -> Result<()> {
        let weight = match spec.shape.len() {
            2 => {
                let matrix = Matrix::new(&spec.name, spec.format, spec.n_rows(), spec.row_len())?;
                Weight::Matrix(matrix.arranged(self.arrangement))
            }
            1 => Weight::Vector(Vector::new(spec)?),
            n => return Err(Error::file(format!("tensor {} has {n} dimensions, expected 1 or 2", spec.name))),
        };
        let i = id.0 as usize;
        if self.weights.len() <= i {
            self.weights.resize_with(i + 1, || None);
            self.specs.resize_with(i + 1, || None);
        }
        self.weights[i] = Some(weight);
        self.specs[i] = Some(spec.clone());
        self.plans.iter_mut().for_each(|plan| plan.weights_checked = false);
        Ok(())
    }

    fn write_weight(&mut self, id: WeightId, bytes: &[u8]) -> Result<()> {
        match self.weights.get_mut(id.0 as usize) {
            Some(Some(Weight::Matrix(m))) => m.write(bytes),
            Some(Some(Weight::Vector(v))) => v.write(bytes),
            _ => Err(Error::internal(format!("weight {} was not created", id.0))),
        }
    }

    fn prepare(&mut self, plan: Arc<Plan>) -> Result<PlanSlot> {
        plan.check()?;
        plan.check_geometry(&self.geometry)?;
        let is_for_devices = |op: &&Op| match op {
            Op::Attention(a) => a.append.is_some(),
            Op::MatMul(m) => matches!(m.epilogue, Epilogue::Scale { .. }),
            op => matches!(op, Op::NormAdd { .. }),
        };
        if let Some(op) = plan.ops.iter().find(is_for_devices) {
            return Err(Error::internal(format!("plan {}: {} is for devices", plan.name, op.name())));
        }
        let phases = Phases::of(&plan);
        self.grow(&phases, Sizes::of(&plan, &self.geometry))?;
        self.step = None;
        let prepared = Prepared::new(plan, phases)?;
        if let Some(recorder) = &mut self.recorder {
            recorder.add_plan(self.plans.len(), &prepared.plan, &self.specs);
        }
        self.plans.push(prepared);
        Ok(PlanSlot(self.plans.len() - 1))
    }

    fn kv_reserve(&mut self, n_pages: usize) -> Result<()> {
        of_format!(&mut self.pages, pages => pages.reserve(n_pages))
    }

    fn kv_copy(&mut self, from: PageId, to: PageId, n_positions: usize) -> Result<()> {
        of_format!(&mut self.pages, pages => pages.copy(from, to, n_positions))
    }

    fn kv_read(&mut self, pages: &[(PageId, usize)], bytes: &mut Vec<u8>) -> Result<Progress> {
        for &(page, n_positions) in pages {
            of_format!(&mut self.pages, pages => pages.read(page, n_positions, bytes)?)
        }
        Ok(Progress::Complete)
    }

    fn kv_write(&mut self, page: PageId, n_positions: usize, bytes: &[u8]) -> Result<()> {
        of_format!(&mut self.pages, pages => pages.write(page, n_positions, bytes))
    }

    fn begin(&mut self, slot: PlanSlot, step: &Step) -> Result<()> {
        self.step = None;
        let plan = Arc::clone(&self.prepared(slot)?.plan);
        if !self.prepared(slot)?.weights_checked {
            self.check_weights(&plan)?;
        }
        let n_pages = of_format!(&self.pages, pages => pages.len());
        step.check(&plan, n_pages)?;
        step.check_tables(&plan, |id| self.specs.get(id.0 as usize)?.as_ref())?;
        if let [row] = step.rows {
            let remembered = step.memories.iter().map(|memory| memory.n_positions).max().unwrap_or(0);
            self.grow_partials(&plan, remembered.max(row.position as usize + 1))?;
        }
        let Self { weights, plans, .. } = self;
        let prepared = &mut plans[slot.0];
        prepared.read_tables(weights, step.rows)?;
        prepared.fill_ropes(weights, step.rows);
        prepared.counters.iter_mut().for_each(|c| *c.get_mut() = 0);
        self.step = Some(Running {
            slot,
            step: self.pool.begin_step(step.rows.len()),
            next_op: 0,
            rows: step.rows.to_vec(),
            outputs: step.outputs.to_vec(),
            sequences: step.sequences.iter().map(|s| s.to_vec()).collect(),
            memories: step.memories.iter().map(|m| (m.pages.to_vec(), m.n_positions)).collect(),
            embeddings: step.embeddings.to_vec(),
        });
        Ok(())
    }

    fn advance(&mut self, max_ops: usize) -> Result<Progress> {
        let step = self.running()?;
        let n_ops = self.prepared(step.slot)?.plan.ops.len();
        let range = step.next_op..n_ops.min(step.next_op.saturating_add(max_ops));
        if range.start > 0 {
            // A thread that was not there for the operations before lacks what each computed by itself.
            if let Some((first, others)) = self.private.split_first_mut() {
                others.iter_mut().for_each(|arena| arena.get_mut().copy_from_slice(first.get_mut()));
            }
        }
        let step = self.running()?;
        let mut running = step.step;
        self.run_ops(step, &mut running, range.clone())?;
        if let Some(step) = &mut self.step {
            (step.next_op, step.step) = (range.end, running);
        }
        if range.end == n_ops {
            self.pool.end_step(&running);
            if let Some(recorder) = &mut self.recorder {
                recorder.end_step(&running);
            }
        }
        Ok(if range.end == n_ops { Progress::Complete } else { Progress::More })
    }

    fn output(&self, o: usize) -> Result<&[f32]> {
        let step = self.complete()?;
        if o >= step.outputs.len() {
            return Err(Error::internal(format!("output {o} of {}", step.outputs.len())));
        }
        self.result(self.prepared(step.slot)?.plan.output, o..o + 1)
    }

    fn tap(&self, buffer: BufferId) -> Result<&[f32]> {
        let step = self.complete()?;
        let plan = &self.prepared(step.slot)?.plan;
        if !plan.taps.contains(&buffer) && plan.output != buffer {
            return Err(Error::internal(format!("buffer {} is not tapped", buffer.0)));
        }
        let n_rows = match plan.buffers[buffer.0 as usize].rows {
            Rows::New => step.rows.len(),
            Rows::Out => step.outputs.len(),
        };
        self.result(buffer, 0..n_rows)
    }

    fn memory(&self) -> MemoryReport {
        let scratch = |s: &Mutex<Scratch>| s.lock().unwrap_or_else(PoisonError::into_inner).bytes();
        let tables = self.plans.iter().map(|p| p.tables_bytes() as u64);
        MemoryReport {
            weights_bytes: self.weights.iter().flatten().map(Weight::memory_bytes).sum(),
            kv_bytes: of_format!(&self.pages, pages => pages.bytes()),
            buffers_bytes: self.arena.bytes()
                + self.private.iter().map(Shared::bytes).sum::<u64>()
                + self.acts.bytes()
                + self.partials.bytes()
                + self.scratch.iter().map(scratch).sum::<u64>()
                + tables.sum::<u64>(),
        }
    }

    fn warm(&mut self) -> Result<bool> {
        self.warm_next()
    }

    fn set_profiling(&mut self, on: bool) {
        let clock = self.pool.clock().filter(|_| on);
        self.recorder = clock.map(|clock| {
            let mut recorder = Recorder::new(clock, self.pool.max_threads());
            self.plans.iter().enumerate().for_each(|(i, p)| recorder.add_plan(i, &p.plan, &self.specs));
            recorder
        });
    }

    fn take_profile(&mut self) -> Option<Profile> {
        let flavour = self.flavour;
        self.recorder.as_mut().map(|recorder| recorder.take(flavour))
    }
}

impl Cpu {
    fn run_ops(&self, step: &Running, running: &mut RunningStep, range: Range<usize>) -> Result<()> {
        let Prepared { plan, phases, ropes, biases, taps, counters, .. } = self.prepared(step.slot)?;
        let recorder = self.recorder.as_ref();
        self.pool.run_step(running, recorder.is_some(), &|team| {
            let context = Context {
                plan,
                phases,
                weights: &self.weights,
                arena: &self.arena,
                private: &self.private[team.index()],
                acts: &self.acts,
                partials: &self.partials,
                counters,
                pages: &self.pages,
                rows: &step.rows,
                outputs: &step.outputs,
                sequences: &step.sequences,
                memories: &step.memories,
                embeddings: &step.embeddings,
                ropes,
                biases,
                taps,
                flavour: if plan.is_precise { Flavour::Fine } else { self.flavour },
            };
            let mut scratch = self.scratch[team.index()].lock().unwrap_or_else(PoisonError::into_inner);
            let timeline = recorder.map(|recorder| recorder.thread(step.slot.0, team));
            context.run(team, range.clone(), &mut scratch, timeline);
        });
        Ok(())
    }
}

fn private_arenas(pool: &Pool, len: usize) -> Result<Vec<Shared<f32>>> {
    (0..pool.max_threads()).map(|_| Shared::new(len, 0.0, "the buffers of a thread")).collect()
}

impl std::fmt::Debug for Cpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cpu").field("flavour", &self.flavour).field("memory", &self.memory()).finish_non_exhaustive()
    }
}
