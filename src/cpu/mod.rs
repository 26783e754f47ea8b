//! The CPU executor: SIMD kernels on repacked weights, a thread pool. Layer 2, called by the engine.
//!
//! * [`matmul`], [`codes`], [`tiles`], [`activations`], [`cache`], [`math`], [`rope`]: kernels on slices, written on the vector types of [`simd`].
//! * [`run`], [`products`]: a plan's operations, split among the threads of a [`pool::Pool`].
//! * this file: the [`Executor`], which owns weights, cache, buffers and the step.
//!
//! The same bits for any number of threads, any split of a prompt into steps, either kernel flavour, native or wasm.

mod activations;
mod bias;
mod cache;
mod codes;
mod conv;
mod math;
mod matmul;
pub mod pool;
mod products;
mod rope;
mod run;
mod scratch;
mod shared;
mod simd;
mod tiles;
mod weight;

use std::sync::{Arc, Mutex, PoisonError, atomic::AtomicU32};

pub use matmul::Flavour;

use self::{
    bias::BiasTable,
    cache::{Octet, Pages},
    conv::Taps,
    pool::Pool,
    rope::RopeTable,
    run::{Context, SharedActs},
    scratch::{Scratch, Sizes},
    shared::Shared,
    weight::{Vector, Weight},
};
use crate::{
    error::{Error, Result, try_vec},
    kv::{KvFormat, KvGeometry, PageId},
    plan::{
        Attention, BufferId, Executor, MemoryReport, Op, Plan, PlanSlot, Progress, Rope, Row, Rows, Step,
        memory::Layout,
    },
    quant::repack::{Half8, Matrix, Single8},
    weights::{WeightId, WeightSpec},
};

/// Runs plans on the CPU.
pub struct Cpu {
    pool: Arc<Pool>,
    flavour: Flavour,
    geometry: KvGeometry,
    weights: Vec<Option<Weight>>,
    specs: Vec<Option<WeightSpec>>,
    pages: AnyPages,
    plans: Vec<Prepared>,
    step: Option<Running>,
    /// One arena for all plans: only one step lives at a time.
    arena: Shared<f32>,
    acts: SharedActs,
    /// One per thread.
    scratch: Vec<Mutex<Scratch>>,
    sizes: Sizes,
}

enum AnyPages {
    F16(Pages<Half8>),
    F32(Pages<Single8>),
}

struct Prepared {
    plan: Arc<Plan>,
    layout: Layout,
    ropes: Vec<RopeTable>,
    biases: Vec<BiasTable>,
    taps: Vec<Taps>,
    counters: Vec<AtomicU32>,
    weights_checked: bool,
}

/// A step under way, or the last complete one.
struct Running {
    slot: PlanSlot,
    next_op: usize,
    rows: Vec<Row>,
    outputs: Vec<u32>,
    sequences: Vec<Vec<PageId>>,
    memories: Vec<(Vec<PageId>, usize)>,
    embeddings: Vec<f32>,
}

impl Cpu {
    /// An executor without weights, pages or plans, with the kernels that this build is made for.
    pub fn new(geometry: KvGeometry, pool: impl Into<Arc<Pool>>) -> Result<Self> {
        Self::with_flavour(geometry, pool, Flavour::BUILD)
    }

    /// [`Cpu::new`] with a choice of kernels; either gives the same bits.
    pub fn with_flavour(geometry: KvGeometry, pool: impl Into<Arc<Pool>>, flavour: Flavour) -> Result<Self> {
        let (pool, sizes) = (pool.into(), Sizes::default());
        Ok(Self {
            flavour,
            geometry,
            weights: vec![],
            specs: vec![],
            pages: match geometry.format {
                KvFormat::F16 => AnyPages::F16(Pages::new(geometry)),
                KvFormat::F32 => AnyPages::F32(Pages::new(geometry)),
            },
            plans: vec![],
            step: None,
            arena: Shared::new(0, 0.0, "")?,
            acts: SharedActs::new(sizes)?,
            scratch: (0..pool.max_threads()).map(|_| Ok(Mutex::new(Scratch::new(sizes)?))).collect::<Result<_>>()?,
            sizes,
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
    fn grow(&mut self, layout: &Layout, sizes: Sizes) -> Result<()> {
        if layout.arena_len > self.arena.len() {
            self.arena = Shared::new(layout.arena_len, 0.0, "the buffers of a plan")?;
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
    fn result(&self, id: BufferId, range: std::ops::Range<usize>) -> Result<&[f32]> {
        let Prepared { plan, layout, .. } = self.prepared(self.running()?.slot)?;
        let width = plan.buffers[id.0 as usize].width;
        let start =
            layout.offsets[id.0 as usize].ok_or_else(|| Error::internal(format!("buffer {} is not written", id.0)))?;
        Ok(self.arena.read(start + range.start * width..start + range.end * width))
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
            2 => Weight::Matrix(Matrix::new(&spec.name, spec.format, spec.n_rows(), spec.row_len())?),
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
        let layout = Layout::of(&plan);
        self.grow(&layout, Sizes::of(&plan, &self.geometry))?;
        self.step = None;
        let mut ropes: Vec<RopeTable> = vec![];
        for rope in plan.ops.iter().filter_map(rope_of) {
            if !ropes.iter().any(|r| r.rope == *rope) {
                ropes.push(RopeTable::new(*rope, plan.rows.max())?);
            }
        }
        let mut counters = try_vec(2 * plan.ops.len(), "a plan")?;
        counters.resize_with(2 * plan.ops.len(), || AtomicU32::new(0));
        let (biases, taps) = (biases_of(&plan), taps_of(&plan));
        self.plans.push(Prepared { plan, layout, ropes, biases, taps, counters, weights_checked: false });
        Ok(PlanSlot(self.plans.len() - 1))
    }

    fn kv_reserve(&mut self, n_pages: usize) -> Result<()> {
        match &mut self.pages {
            AnyPages::F16(p) => p.reserve(n_pages),
            AnyPages::F32(p) => p.reserve(n_pages),
        }
    }

    fn kv_copy(&mut self, from: PageId, to: PageId, n_positions: usize) -> Result<()> {
        match &mut self.pages {
            AnyPages::F16(p) => p.copy(from, to, n_positions),
            AnyPages::F32(p) => p.copy(from, to, n_positions),
        }
    }

    fn kv_read(&mut self, pages: &[(PageId, usize)], bytes: &mut Vec<u8>) -> Result<Progress> {
        for &(page, n_positions) in pages {
            match &mut self.pages {
                AnyPages::F16(p) => p.read(page, n_positions, bytes)?,
                AnyPages::F32(p) => p.read(page, n_positions, bytes)?,
            }
        }
        Ok(Progress::Complete)
    }

    fn kv_write(&mut self, page: PageId, n_positions: usize, bytes: &[u8]) -> Result<()> {
        match &mut self.pages {
            AnyPages::F16(p) => p.write(page, n_positions, bytes),
            AnyPages::F32(p) => p.write(page, n_positions, bytes),
        }
    }

    fn begin(&mut self, slot: PlanSlot, step: &Step) -> Result<()> {
        self.step = None;
        let plan = Arc::clone(&self.prepared(slot)?.plan);
        if !self.prepared(slot)?.weights_checked {
            self.check_weights(&plan)?;
        }
        let n_pages = match &self.pages {
            AnyPages::F16(p) => p.len(),
            AnyPages::F32(p) => p.len(),
        };
        step.check(&plan, n_pages)?;
        step.check_tables(&plan, |id| self.specs.get(id.0 as usize)?.as_ref())?;
        let Self { weights, plans, .. } = self;
        let prepared = &mut plans[slot.0];
        prepared.read_tables(weights, step.rows)?;
        for table in &mut prepared.ropes {
            let factors = table.rope.factors.and_then(|id| match &weights[id.0 as usize] {
                Some(Weight::Vector(v)) => Some(v.values()),
                _ => None,
            });
            table.fill(step.rows, factors);
        }
        prepared.counters.iter_mut().for_each(|c| *c.get_mut() = 0);
        self.step = Some(Running {
            slot,
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
        match &self.pages {
            AnyPages::F16(pages) => self.run_ops(pages, step, range.clone())?,
            AnyPages::F32(pages) => self.run_ops(pages, step, range.clone())?,
        }
        if let Some(step) = &mut self.step {
            step.next_op = range.end;
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
            kv_bytes: match &self.pages {
                AnyPages::F16(p) => p.bytes(),
                AnyPages::F32(p) => p.bytes(),
            },
            buffers_bytes: self.arena.bytes()
                + self.acts.bytes()
                + self.scratch.iter().map(scratch).sum::<u64>()
                + tables.sum::<u64>(),
        }
    }
}

impl Cpu {
    fn run_ops<O: Octet>(&self, pages: &Pages<O>, step: &Running, range: std::ops::Range<usize>) -> Result<()> {
        let Prepared { plan, layout, ropes, biases, taps, counters, .. } = self.prepared(step.slot)?;
        let context = Context {
            plan,
            layout,
            weights: &self.weights,
            arena: &self.arena,
            acts: &self.acts,
            counters,
            pages,
            rows: &step.rows,
            outputs: &step.outputs,
            sequences: &step.sequences,
            memories: &step.memories,
            embeddings: &step.embeddings,
            ropes,
            biases,
            taps,
            flavour: if plan.is_precise { Flavour::Fine } else { self.flavour },
            scratch: &self.scratch,
        };
        self.pool.run(&|team| context.run(team, range.clone()));
        Ok(())
    }
}

impl std::fmt::Debug for Cpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cpu").field("flavour", &self.flavour).field("memory", &self.memory()).finish_non_exhaustive()
    }
}

fn rope_of(op: &Op) -> Option<&Rope> {
    match op {
        Op::Rope { rope, .. } | Op::RopeKv { rope, .. } => Some(rope),
        _ => None,
    }
}

/// The biases by distance, each once.
fn biases_of(plan: &Plan) -> Vec<BiasTable> {
    let mut biases: Vec<BiasTable> = vec![];
    for op in &plan.ops {
        if let Op::Attention(Attention { bias: Some(bias), heads, .. }) = op
            && !biases.iter().any(|b| b.bias == *bias)
        {
            biases.push(BiasTable::new(*bias, *heads));
        }
    }
    biases
}

/// The taps of each convolution.
fn taps_of(plan: &Plan) -> Vec<Taps> {
    let weights = plan.ops.iter().filter_map(|op| match op {
        Op::ShortConv { weight, .. } => Some(*weight),
        _ => None,
    });
    weights.map(Taps::new).collect()
}

impl Prepared {
    /// Reads the weights that kernels want in another order: taps once, biases whenever a step goes farther than those before.
    fn read_tables(&mut self, weights: &[Option<Weight>], rows: &[Row]) -> Result<()> {
        let matrix = |id: WeightId| match &weights[id.0 as usize] {
            Some(Weight::Matrix(matrix)) => Ok(matrix),
            _ => Err(Error::internal(format!("weight {} is no matrix", id.0))),
        };
        if !self.weights_checked {
            self.taps.iter_mut().try_for_each(|taps| taps.fill(matrix(taps.weight)?))?;
            self.biases.iter_mut().for_each(BiasTable::clear);
            self.weights_checked = true;
        }
        let last = rows.iter().map(|row| row.position as usize).max().unwrap_or(0);
        self.biases.iter_mut().try_for_each(|bias| {
            let table = matrix(bias.bias.table)?;
            bias.fill(last, table.n_rows(), |row, out| table.read_row(row, out))
        })
    }

    fn tables_bytes(&self) -> usize {
        let ropes = self.ropes.iter().map(RopeTable::bytes);
        let biases = self.biases.iter().map(BiasTable::bytes);
        ropes.chain(biases).chain(self.taps.iter().map(Taps::bytes)).sum()
    }
}
