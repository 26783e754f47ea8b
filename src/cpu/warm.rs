//! Runs each kind of operation for a moment before anybody waits for it: a browser compiles a function well only once it has run for
//! a while. Done while a model's file is still on its way, by what has come of it; nothing of what it computes is kept.

use std::sync::Arc;

use super::{Cpu, Running, cache::of_format, clock::Clock, weight::Weight};
use crate::{
    error::Result,
    kv::{PAGE_POSITIONS, PageId},
    plan::{Op, PlanSlot, Row},
};

/// How long one kind of operation is run, milliseconds: V8 and SpiderMonkey have compiled it again by then.
const KIND_MS: f64 = 4.0;
/// More often than this nothing is run, however coarse the clock.
const MOST_RUNS: usize = 1000;

/// What has been warmed.
#[derive(Debug, Default)]
pub(super) struct Warmed {
    /// Plans and kinds of operations ([`Op::kind`]).
    kinds: Vec<(PlanSlot, String)>,
}

impl Cpu {
    /// Warms the next kind of operation whose weights are there; `false` where there is none, or no clock.
    pub(super) fn warm_next(&mut self) -> Result<bool> {
        let Some(clock) = self.pool.clock() else { return Ok(false) };
        for slot in (0..self.plans.len()).map(PlanSlot) {
            let prepared = self.prepared(slot)?;
            let plan = &prepared.plan;
            // Attention rotates keys, by a table that factors may belong to.
            let has_factors = prepared.ropes.iter().any(|table| table.rope.factors.is_some());
            for (i, op) in plan.ops.iter().enumerate() {
                let kind = op.kind(|id| self.specs.get(id.0 as usize)?.as_ref());
                if self.can_warm(op, has_factors) && !self.warmed.kinds.iter().any(|(s, k)| (*s, k) == (slot, &kind)) {
                    self.warmed.kinds.push((slot, kind));
                    return self.warm(slot, i, clock).map(|()| true);
                }
            }
        }
        Ok(false)
    }

    /// Whether all that the operation reads is there. Tables that a step makes of weights are not.
    fn can_warm(&self, op: &Op, has_factors: bool) -> bool {
        let has_table = match op {
            // Its rows may be fewer than a page's positions.
            Op::AddRow { .. } | Op::ShortConv { .. } => true,
            Op::Attention(a) => a.bias.is_some() || has_factors,
            Op::Rope { .. } | Op::RopeKv { .. } => has_factors,
            _ => false,
        };
        let is_there = |i: usize| self.weights[i].as_ref().is_some_and(Weight::is_complete);
        !has_table && op.weights().into_iter().all(|id| is_there(id.0 as usize))
    }

    fn warm(&mut self, slot: PlanSlot, op: usize, clock: Clock) -> Result<()> {
        self.begin_warm(slot)?;
        let end_ms = clock() + KIND_MS;
        for _ in 0..MOST_RUNS {
            if let Some(counters) = self.plans[slot.0].counters.chunks_mut(2).nth(op) {
                counters.iter_mut().for_each(|counter| *counter.get_mut() = 0);
            }
            let step = self.running()?;
            self.run_ops(step, &mut step.step.clone(), op..op + 1)?;
            if clock() >= end_ms {
                break;
            }
        }
        self.step = None;
        Ok(())
    }

    /// A step as full as a plan's are, of one page, whose positions end with it.
    fn begin_warm(&mut self, slot: PlanSlot) -> Result<()> {
        let prepared = &mut self.plans[slot.0];
        let n_rows = prepared.plan.rows.max().min(PAGE_POSITIONS);
        let rows: Vec<_> = (PAGE_POSITIONS - n_rows..PAGE_POSITIONS).map(|i| Row::token(0, i as u32, 0)).collect();
        for table in prepared.ropes.iter_mut().filter(|table| table.rope.factors.is_none()) {
            table.fill(&rows, None);
        }
        let plan = Arc::clone(&prepared.plan);
        self.grow_partials(&plan, PAGE_POSITIONS)?;
        of_format!(&mut self.pages, pages => pages.reserve(1))?;
        self.step = Some(Running {
            slot,
            step: self.pool.begin_step(n_rows),
            next_op: 0,
            outputs: (0..n_rows.min(plan.max_outputs) as u32).collect(),
            rows,
            sequences: vec![vec![PageId(0)]],
            memories: vec![(vec![PageId(0)], PAGE_POSITIONS)],
            embeddings: vec![],
        });
        Ok(())
    }
}
