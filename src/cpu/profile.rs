//! Measures, for who asks, what each kind of operation takes on each thread, and how long threads wait for each other. Off, it is not
//! there at all. A clock may be coarse: what a single operation takes it cannot say, sums over many it can, because a tick falls into
//! an operation as often as the operation is long. Called by [`super::Cpu`] and, once per operation, by [`super::run`].

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{
    Flavour,
    clock::Clock,
    pool::{RunningStep, Team},
};
use crate::{
    plan::{KindTime, Plan, Profile},
    weights::WeightSpec,
};

/// What was measured so far.
#[derive(Debug)]
pub(super) struct Recorder {
    clock: Clock,
    /// By kind; filled as plans come.
    names: Vec<String>,
    /// For each plan, by its slot, the kinds of its operations.
    plans: Vec<Vec<usize>>,
    /// One per thread.
    threads: Vec<Mutex<Times>>,
    steps: usize,
    rows: usize,
    steps_ms: f64,
    barriers: u64,
    n_threads: usize,
}

/// Of one thread.
#[derive(Debug, Default)]
struct Times {
    /// By kind: how often, and how long.
    kinds: Vec<(u64, f64)>,
    waited_ms: f64,
}

impl Recorder {
    pub(super) fn new(clock: Clock, n_threads: usize) -> Self {
        Self {
            clock,
            names: vec![],
            plans: vec![],
            threads: (0..n_threads).map(|_| Mutex::default()).collect(),
            steps: 0,
            rows: 0,
            steps_ms: 0.0,
            barriers: 0,
            n_threads: 0,
        }
    }

    /// Makes the kinds of a plan known.
    pub(super) fn add_plan(&mut self, slot: usize, plan: &Plan, specs: &[Option<WeightSpec>]) {
        if self.plans.len() <= slot {
            self.plans.resize_with(slot + 1, Vec::new);
        }
        if self.plans[slot].is_empty() {
            self.plans[slot] = plan
                .ops
                .iter()
                .map(|op| self.kind(op.kind(|id| specs.get(id.0 as usize).and_then(Option::as_ref))))
                .collect();
        }
        for thread in &mut self.threads {
            let times = thread.get_mut().unwrap_or_else(PoisonError::into_inner);
            times.kinds.resize(self.names.len(), (0, 0.0));
        }
    }

    fn kind(&mut self, name: String) -> usize {
        self.names.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        })
    }

    /// Begins to measure a thread's part of a job.
    pub(super) fn thread<'a>(&'a self, slot: usize, team: &Team<'_>) -> Timeline<'a> {
        let times = self.threads[team.index()].lock().unwrap_or_else(PoisonError::into_inner);
        Timeline { clock: self.clock, kinds: &self.plans[slot], times, last_ms: (self.clock)(), last_waited_ms: 0.0 }
    }

    /// A step is complete.
    pub(super) fn end_step(&mut self, step: &RunningStep) {
        self.steps += 1;
        self.rows += step.n_rows();
        self.steps_ms += step.step_ms();
        self.barriers += step.n_barriers();
        self.n_threads = step.threads();
    }

    /// What there is; it begins anew.
    pub(super) fn take(&mut self, flavour: Flavour) -> Profile {
        let new = Self::new(self.clock, self.threads.len());
        let old = std::mem::replace(self, new);
        (self.names, self.plans) = (old.names, old.plans);
        for thread in &mut self.threads {
            thread.get_mut().unwrap_or_else(PoisonError::into_inner).kinds.resize(self.names.len(), (0, 0.0));
        }
        let mut threads = old.threads.into_iter().map(|t| t.into_inner().unwrap_or_else(PoisonError::into_inner));
        let first = threads.next().unwrap_or_default();
        let others: Vec<f64> = threads.map(|t| t.waited_ms).filter(|ms| *ms > 0.0).collect();
        let kinds = self.names.iter().zip(first.kinds).filter(|(_, (count, _))| *count > 0);
        let kinds = kinds.map(|(kind, (count, ms))| KindTime { kind: kind.clone(), count, ms }).collect();
        Profile {
            steps: old.steps,
            rows: old.rows,
            steps_ms: old.steps_ms,
            kinds,
            barriers: old.barriers,
            barrier_wait_ms: first.waited_ms,
            others_wait_ms: others.iter().sum::<f64>() / others.len().max(1) as f64,
            threads: old.n_threads,
            flavour: format!("{flavour:?}"),
        }
    }
}

/// A thread on its way through the operations of a job.
pub(super) struct Timeline<'a> {
    clock: Clock,
    kinds: &'a [usize],
    times: MutexGuard<'a, Times>,
    last_ms: f64,
    last_waited_ms: f64,
}

impl Timeline<'_> {
    /// Operation i is done: what has passed since the last one and was not spent waiting belongs to it.
    pub(super) fn note(&mut self, i: usize, team: &Team<'_>) {
        let (now_ms, waited_ms) = ((self.clock)(), team.waited_ms());
        let newly_waited_ms = waited_ms - self.last_waited_ms;
        if let Some(kind) = self.times.kinds.get_mut(self.kinds[i]) {
            kind.0 += 1;
            kind.1 += now_ms - self.last_ms - newly_waited_ms;
        }
        self.times.waited_ms += newly_waited_ms;
        (self.last_ms, self.last_waited_ms) = (now_ms, waited_ms);
    }
}
