//! Runs each kind of operation for a moment before anybody waits for it: a browser compiles a function well only once it has run for
//! a while. Done while a model's file is still on its way, by what has come of it; nothing of what it computes is kept.

use std::sync::Arc;

use super::{Cpu, Running, cache::of_format, clock::Clock, prepared::Prepared, weight::Weight};
use crate::{
    error::Result,
    kv::{PAGE_POSITIONS, PageId},
    plan::{MatMul, Op, Plan, PlanSlot, Row, Rows},
    weights::WeightId,
};

/// How long one kind of operation is run, milliseconds: V8 and SpiderMonkey have compiled it again by then.
const KIND_MS: f64 = 4.0;
/// More often than this nothing is run, however coarse the clock.
const MOST_RUNS: usize = 1000;
/// Rows of a step, where its plan has more: enough for every kernel.
const MOST_ROWS: usize = 16;
/// Products of weights and activations that are run at once, at most: badly compiled and on a slow machine, these take long enough. What a
/// larger operation runs, smaller ones do too.
const MOST_PRODUCTS: usize = 1 << 27;

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
            for (i, op) in prepared.plan.ops.iter().enumerate().filter(|(_, op)| self.can_warm(prepared, op)) {
                let kind = op.kind(|id| self.specs.get(id.0 as usize)?.as_ref());
                if !self.warmed.kinds.iter().any(|(s, k)| (*s, k) == (slot, &kind)) {
                    self.warmed.kinds.push((slot, kind));
                    return self.warm(slot, i, clock).map(|()| true);
                }
            }
        }
        Ok(false)
    }

    /// Whether all that the operation reads is there, and it does not take too long.
    fn can_warm(&self, prepared: &Prepared, op: &Op) -> bool {
        let is_there = |id: WeightId| self.weights[id.0 as usize].as_ref().is_some_and(Weight::is_complete);
        let fits = match op {
            // Tables that a step makes of weights are not made, and the rows of a table of positions may be fewer than a page's.
            Op::AddRow { .. } | Op::ShortConv { .. } => false,
            // It rotates keys, too.
            Op::Attention(a) => {
                a.bias.is_none() && prepared.ropes.iter().all(|table| table.rope.factors.is_none_or(is_there))
            }
            Op::MatMul(m) => self.n_products(&prepared.plan, m) <= MOST_PRODUCTS,
            _ => true,
        };
        fits && op.weights().into_iter().all(is_there)
    }

    /// Products of weights and activations of one run.
    fn n_products(&self, plan: &Plan, m: &MatMul) -> usize {
        let n_rows = match plan.buffers[m.x.0 as usize].rows {
            Rows::New => warm_rows(plan),
            Rows::Out => warm_rows(plan).min(plan.max_outputs),
        };
        let specs = m.parts.iter().filter_map(|part| self.specs[part.weight.0 as usize].as_ref());
        specs.fold(0, |n: usize, spec| n.saturating_add(n_rows * spec.n_rows().saturating_mul(spec.row_len())))
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

    /// A step of one page, whose positions end with it.
    fn begin_warm(&mut self, slot: PlanSlot) -> Result<()> {
        let Self { plans, weights, .. } = self;
        let prepared = &mut plans[slot.0];
        let n_rows = warm_rows(&prepared.plan);
        let rows: Vec<_> = (PAGE_POSITIONS - n_rows..PAGE_POSITIONS).map(|i| Row::token(0, i as u32, 0)).collect();
        prepared.fill_ropes(weights, &rows);
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

/// Rows of a step of this plan.
fn warm_rows(plan: &Plan) -> usize {
    plan.rows.max().min(MOST_ROWS)
}
