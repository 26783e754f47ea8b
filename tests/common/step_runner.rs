//! Runs plans on any executor as a session would: append to the cache, carry out the copies, one step, all logits.

use std::sync::Arc;

use kinglet::{
    error::Result,
    kv::{Kv, KvGeometry, PageId, SequenceId},
    plan::{Executor, Plan, PlanSlot, Progress, Row, Step, Want},
};

/// An executor with its cache's book and one plan.
pub struct StepRunner<E> {
    pub executor: E,
    pub kv: Kv,
    pub slot: PlanSlot,
    pub width: usize,
}

impl<E: Executor> StepRunner<E> {
    /// A runner for sequences of up to `context_tokens`, with pages for `n_sequences` of them.
    pub fn new(mut executor: E, plan: Plan, context_tokens: usize, n_sequences: usize) -> Self {
        let width = plan.buffers[plan.output.0 as usize].width;
        let slot = executor.prepare(Arc::new(plan)).expect("a plan that the executor can run");
        let kv = Kv::new(context_tokens, n_sequences * KvGeometry::pages_for(context_tokens));
        Self { executor, kv, slot, width }
    }

    /// One step with the next tokens of each sequence; logits [V] of every row, in order.
    pub fn step(&mut self, work: &[(SequenceId, &[u32])]) -> Vec<Vec<f32>> {
        self.begin(work).expect("a step that fits");
        assert_eq!(self.executor.advance(usize::MAX), Ok(Progress::Complete), "a step without a limit completes");
        let n_rows = work.iter().map(|(_, tokens)| tokens.len()).sum();
        (0..n_rows).map(|o| self.executor.output(o).expect("an output for every row").to_vec()).collect()
    }

    /// Begins such a step.
    pub fn begin(&mut self, work: &[(SequenceId, &[u32])]) -> Result<()> {
        let mut rows = vec![];
        for (sequence, (id, tokens)) in work.iter().enumerate() {
            let start = self.kv.len(*id)?;
            for (i, token) in tokens.iter().enumerate() {
                let (position, sequence) = ((start + i) as u32, sequence as u32);
                rows.push(Row::token(*token, position, sequence));
            }
            let copies = self.kv.append(*id, tokens.len())?;
            self.executor.kv_reserve(self.kv.n_pages())?;
            for copy in copies {
                self.executor.kv_copy(copy.from, copy.to, copy.n_positions)?;
            }
        }
        let pages = work.iter().map(|(id, _)| self.kv.pages(*id)).collect::<Result<Vec<&[PageId]>>>()?;
        let outputs: Vec<u32> = (0..rows.len() as u32).collect();
        self.executor.begin(
            self.slot,
            &Step {
                rows: &rows,
                outputs: &outputs,
                sequences: &pages,
                memories: &[],
                embeddings: &[],
                want: Want::All,
            },
        )
    }

    /// Gives a sequence its tokens in steps of at most `chunk`; logits of every row.
    pub fn feed(&mut self, id: SequenceId, tokens: &[u32], chunk: usize) -> Vec<Vec<f32>> {
        tokens.chunks(chunk).flat_map(|tokens| self.step(&[(id, tokens)])).collect()
    }

    /// The same for a new sequence.
    pub fn feed_new(&mut self, tokens: &[u32], chunk: usize) -> Vec<Vec<f32>> {
        let id = self.kv.create();
        let logits = self.feed(id, tokens, chunk);
        self.kv.release(id).expect("the sequence that was created");
        logits
    }
}

/// The bits of every logit: what "the same" means here.
pub fn bits(logits: &[Vec<f32>]) -> Vec<Vec<u32>> {
    logits.iter().map(|row| row.iter().map(|x| x.to_bits()).collect()).collect()
}
