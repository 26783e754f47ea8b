//! The reference executor: the specification of every operation as plain f32 loops over dequantized weights. It is slow
//! and has no special case; the other executors are compared with it, operation by operation.
//!
//! [`ops`] has the formulas; [`machine`] only fetches what an operation reads and keeps what it writes. A fused operation
//! is the composition of the same functions as the unfused ones, so both give the same bits.

mod machine;
pub mod ops;
mod pages;
mod tensor;

use std::sync::Arc;

use self::{machine::Machine, pages::Pages, tensor::Tensor};
use crate::{
    error::{Error, Result},
    kv::{KvGeometry, PageId},
    plan::{BufferId, Executor, MemoryReport, Op, Plan, PlanSlot, Progress, Row, Step},
    sorted::SortedMap,
    weights::{WeightId, WeightSpec},
};

/// Runs plans one operation after the other, each as its formula says.
#[derive(Debug)]
pub struct Reference {
    weights: SortedMap<WeightId, Tensor>,
    pages: Pages,
    plans: Vec<Prepared>,
    run: Option<Run>,
}

#[derive(Debug)]
struct Prepared {
    plan: Arc<Plan>,
    /// For each operation the buffers that nothing reads after it.
    dead_after: Vec<Vec<BufferId>>,
    weights_checked: bool,
}

/// A step under way, or the last complete one.
#[derive(Debug)]
struct Run {
    slot: PlanSlot,
    next_op: usize,
    rows: Vec<Row>,
    outputs: Vec<u32>,
    sequences: Vec<Vec<PageId>>,
    memories: Vec<(Vec<PageId>, usize)>,
    embeddings: Vec<f32>,
    /// By [`BufferId`]: [rows, width], `None` before it is written and after it was last read.
    buffers: Vec<Option<Vec<f32>>>,
}

impl Reference {
    /// An executor without weights, pages or plans.
    pub fn new(geometry: KvGeometry) -> Self {
        Self { weights: SortedMap::default(), pages: Pages::new(geometry), plans: vec![], run: None }
    }

    fn prepared(&self, slot: PlanSlot) -> Result<&Prepared> {
        self.plans.get(slot.0).ok_or_else(|| Error::internal(format!("plan {} was not prepared", slot.0)))
    }

    /// The weights of a plan, all there, complete and of the shapes that the plan's operations want.
    fn check_weights(&self, plan: &Plan) -> Result<()> {
        plan.check_weights(|id| self.weights.get(&id).map(Tensor::spec))?;
        for id in plan.ops.iter().flat_map(Op::weights) {
            if let Some(tensor) = self.weights.get(&id).filter(|t| !t.is_complete()) {
                return Err(Error::internal(format!("tensor {} is not complete", tensor.spec().name)));
            }
        }
        Ok(())
    }

    /// A buffer after a complete step.
    fn result(&self, id: impl FnOnce(&Plan) -> BufferId) -> Result<&[f32]> {
        let run = self.run.as_ref().ok_or_else(|| Error::internal("no step was begun"))?;
        let plan = &self.prepared(run.slot)?.plan;
        if run.next_op < plan.ops.len() {
            return Err(Error::internal("the step is not complete"));
        }
        run.buffer(id(plan))
    }
}

impl Executor for Reference {
    fn create_weight(&mut self, id: WeightId, spec: &WeightSpec) -> Result<()> {
        self.weights.insert(id, Tensor::new(spec)?);
        Ok(())
    }

    fn write_weight(&mut self, id: WeightId, bytes: &[u8]) -> Result<()> {
        let tensor = self.weights.get_mut(&id);
        tensor.ok_or_else(|| Error::internal(format!("weight {} was not created", id.0)))?.write(bytes)
    }

    fn prepare(&mut self, plan: Arc<Plan>) -> Result<PlanSlot> {
        plan.check()?;
        plan.check_geometry(self.pages.geometry())?;
        let dead_after = dead_after(&plan);
        self.plans.push(Prepared { plan, dead_after, weights_checked: false });
        Ok(PlanSlot(self.plans.len() - 1))
    }

    fn kv_reserve(&mut self, n_pages: usize) -> Result<()> {
        self.pages.reserve(n_pages)
    }

    fn kv_copy(&mut self, from: PageId, to: PageId, n_positions: usize) -> Result<()> {
        self.pages.copy(from, to, n_positions)
    }

    fn kv_read(&mut self, pages: &[(PageId, usize)], bytes: &mut Vec<u8>) -> Result<Progress> {
        for &(page, n_positions) in pages {
            self.pages.read_bytes(page, n_positions, bytes)?;
        }
        Ok(Progress::Complete)
    }

    fn kv_write(&mut self, page: PageId, n_positions: usize, bytes: &[u8]) -> Result<()> {
        self.pages.write_bytes(page, n_positions, bytes)
    }

    fn begin(&mut self, slot: PlanSlot, step: &Step) -> Result<()> {
        self.run = None;
        let Prepared { plan, weights_checked, .. } = self.prepared(slot)?;
        let plan = plan.clone();
        if !weights_checked {
            self.check_weights(&plan)?;
            self.plans[slot.0].weights_checked = true;
        }
        step.check(&plan, self.pages.len())?;
        step.check_tables(&plan, |id| self.weights.get(&id).map(Tensor::spec))?;
        self.run = Some(Run {
            slot,
            next_op: 0,
            rows: step.rows.to_vec(),
            outputs: step.outputs.to_vec(),
            sequences: step.sequences.iter().map(|s| s.to_vec()).collect(),
            memories: step.memories.iter().map(|m| (m.pages.to_vec(), m.n_positions)).collect(),
            embeddings: step.embeddings.to_vec(),
            buffers: vec![None; plan.buffers.len()],
        });
        Ok(())
    }

    fn advance(&mut self, max_ops: usize) -> Result<Progress> {
        let Self { weights, pages, plans, run } = self;
        let run = run.as_mut().ok_or_else(|| Error::internal("no step was begun"))?;
        let Prepared { plan, dead_after, .. } = &plans[run.slot.0];
        for _ in 0..max_ops {
            let Some(op) = plan.ops.get(run.next_op) else { break };
            Machine { weights, pages, plan, run }.execute(op)?;
            for id in &dead_after[run.next_op] {
                run.buffers[id.0 as usize] = None;
            }
            run.next_op += 1;
        }
        Ok(if run.next_op == plan.ops.len() { Progress::Complete } else { Progress::More })
    }

    fn output(&self, o: usize) -> Result<&[f32]> {
        let mut width = 0;
        let all = self.result(|plan| {
            width = plan.buffers[plan.output.0 as usize].width;
            plan.output
        })?;
        all.chunks_exact(width).nth(o).ok_or_else(|| Error::internal(format!("the step has no output {o}")))
    }

    fn tap(&self, buffer: BufferId) -> Result<&[f32]> {
        self.result(|_| buffer)
    }

    fn memory(&self) -> MemoryReport {
        let run_len = |r: &Run| r.buffers.iter().flatten().map(Vec::len).sum::<usize>() * size_of::<f32>();
        MemoryReport {
            weights_bytes: self.weights.values().map(Tensor::n_bytes).sum(),
            kv_bytes: self.pages.n_bytes(),
            buffers_bytes: self.run.as_ref().map_or(0, run_len) as u64,
        }
    }
}

impl Run {
    fn buffer(&self, id: BufferId) -> Result<&[f32]> {
        let buffer = self.buffers.get(id.0 as usize).and_then(Option::as_deref);
        buffer.ok_or_else(|| Error::internal(format!("buffer {} is not there", id.0)))
    }
}

/// For each operation the buffers that nothing reads after it, so that the peak stays low. Taps and the output stay.
fn dead_after(plan: &Plan) -> Vec<Vec<BufferId>> {
    let mut dead: Vec<Vec<BufferId>> = vec![vec![]; plan.ops.len()];
    for i in 0..plan.buffers.len() {
        let id = BufferId(i as u32);
        let last_use = plan.ops.iter().rposition(|op| op.reads().contains(&id) || op.writes().contains(&id));
        if let Some(last_use) = last_use.filter(|_| !plan.stays(id)) {
            dead[last_use].push(id);
        }
    }
    dead
}
