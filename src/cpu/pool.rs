//! A team of threads that run one job together, with cheap barriers inside it. Thread 0 is the caller; the others are
//! native threads, or JavaScript workers that call [`worker_main_at`] on a wasm build with shared memory; a build without
//! atomics has the caller alone. The code path is the same with one thread.
//!
//! ```text
//! caller   ── post job ── f(0) ─┬─ barrier ─┬─ … ── wait until all have left ──
//! worker 1    (spin, sleep) f(1) ┴──────────┴─ …
//! ```
//!
//! Waiting polls for some 10 to 100 µs and then sleeps ([`super::gate`]), so that the barriers of a token are met awake, and an idle
//! engine costs nothing.
//! Workers may join at any time; a job runs on those that had joined when it was posted, or on the first of them: the others sleep on.
//! How many take part in a step, the [`super::tuner`] says, once [`Pool::tune`] was called; before that, all.

#![expect(
    unsafe_code,
    reason = "a job borrows from the caller's stack and is lent to the workers until they have left it"
)]

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use super::{
    clock::{self, Clock},
    gate::{FEW_POLLS, Gate, SPIN_POLLS, Waited},
    tuner::{Crew, Measured, Spin, Tuner},
};

/// Rows of a step from which on it counts as one of several rows: fewer are neither, and run as a single one does.
const SEVERAL_ROWS: usize = 16;

/// The threads of an executor.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    clock: Option<Clock>,
    /// Of steps with one row and with several.
    tuners: Mutex<Option<[Tuner; 2]>>,
    #[cfg(not(target_arch = "wasm32"))]
    workers: Vec<std::thread::JoinHandle<()>>,
    /// Whether [`Pool::address`] has given one reference away for good.
    #[cfg(target_arch = "wasm32")]
    leaked: AtomicBool,
}

/// What the threads share.
#[derive(Debug)]
pub struct Shared {
    max_threads: u32,
    /// Held by the caller whose job runs: jobs of several callers follow each other.
    running: Mutex<()>,
    team: Mutex<TeamState>,
    /// One per worker: changes when a job is posted to it or the pool shuts down.
    posted: Box<[Gate]>,
    shut_down: AtomicBool,
    /// Workers that have not left the job yet; `left` changes when it comes to 0.
    remaining: AtomicU32,
    left: Gate,
    /// Threads at the barrier; `passed` changes when all have come.
    arrived: AtomicU32,
    passed: Gate,
    /// A thread of the job panicked: the others leave at their next barrier.
    panicked: AtomicBool,
    barriers: AtomicU64,
    /// Waits at barriers that went on until the thread slept.
    sleeps: AtomicU64,
}

#[derive(Debug, Default)]
struct TeamState {
    /// Workers that have joined.
    n_workers: u32,
    /// Workers that take part in the posted job: those with a smaller number.
    n_posted: u32,
    job: Option<(Job, Manner)>,
}

/// A borrowed closure with its lifetime taken off.
#[derive(Debug, Clone, Copy)]
struct Job(*const (dyn Fn(&Team<'_>) + Sync));

/// How the threads of a job behave.
#[derive(Debug, Clone, Copy)]
struct Manner {
    spin_polls: u32,
    /// What waits are measured by, where they are.
    clock: Option<Clock>,
}

// SAFETY: the closure is Sync, and `Pool::run` keeps it alive until every worker has left it.
unsafe impl Send for Job {}

/// One thread's place in a running job.
#[derive(Debug)]
pub struct Team<'a> {
    shared: &'a Shared,
    index: u32,
    n_threads: u32,
    manner: Manner,
    waited_ms: Cell<f64>,
}

/// A step on its way: who runs it, and what that has taken so far.
#[derive(Debug, Clone, Copy)]
pub struct RunningStep {
    crew: Crew,
    n_rows: usize,
    step_ms: f64,
    /// Barriers, and waits at them that ended asleep.
    n_barriers: u64,
    n_sleeps: u64,
}

impl RunningStep {
    /// Rows of the step.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Threads that run it.
    pub fn threads(&self) -> usize {
        self.crew.threads
    }

    /// What its parts have taken.
    pub fn step_ms(&self) -> f64 {
        self.step_ms
    }

    /// Barriers that it has passed.
    pub fn n_barriers(&self) -> u64 {
        self.n_barriers
    }
}

impl Pool {
    /// A pool of at most `threads` threads, the caller among them. Natively the others are started here; in wasm they come by
    /// [`worker_main_at`]. A thread that cannot be started is done without.
    pub fn new(threads: usize) -> Self {
        Self::with_clock(threads, clock::native())
    }

    /// [`Pool::new`] with the clock that jobs are measured by; without one nothing is.
    pub fn with_clock(threads: usize, clock: Option<Clock>) -> Self {
        let max_threads = threads.clamp(1, 64) as u32;
        let shared = Arc::new(Shared {
            max_threads,
            running: Mutex::new(()),
            team: Mutex::new(TeamState::default()),
            posted: (1..max_threads).map(|_| Gate::default()).collect(),
            shut_down: AtomicBool::new(false),
            remaining: AtomicU32::new(0),
            left: Gate::default(),
            arrived: AtomicU32::new(0),
            passed: Gate::default(),
            panicked: AtomicBool::new(false),
            barriers: AtomicU64::new(0),
            sleeps: AtomicU64::new(0),
        });
        let tuners = Mutex::default();
        #[cfg(not(target_arch = "wasm32"))]
        {
            let start = |i| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new().name(format!("kinglet {i}")).spawn(move || worker_main(&shared)).ok()
            };
            let workers: Vec<_> = (1..max_threads).map_while(start).collect();
            // Natively the team is complete from the start.
            while (shared.team().n_workers as usize) < workers.len() {
                std::thread::yield_now();
            }
            Self { shared, clock, tuners, workers }
        }
        #[cfg(target_arch = "wasm32")]
        Self { shared, clock, tuners, leaked: AtomicBool::new(false) }
    }

    /// Most threads that may take part, the caller among them.
    pub fn max_threads(&self) -> usize {
        self.shared.max_threads as usize
    }

    /// Threads that would take part in a job posted now.
    pub fn threads(&self) -> usize {
        self.shared.team().n_workers as usize + 1
    }

    /// What jobs are measured by.
    pub fn clock(&self) -> Option<Clock> {
        self.clock
    }

    /// Barriers passed so far, for the budget of barriers per token.
    pub fn barriers(&self) -> u64 {
        self.shared.barriers.load(Ordering::Relaxed)
    }

    /// What [`worker_main_at`] takes: valid for ever (what it names is never freed once this was called).
    #[cfg(target_arch = "wasm32")]
    pub fn address(&self) -> usize {
        if !self.leaked.swap(true, Ordering::Relaxed) {
            std::mem::forget(Arc::clone(&self.shared));
        }
        Arc::as_ptr(&self.shared).expose_provenance()
    }

    /// From now on finds out by itself how many threads steps with one row and with several are given, and begins with these. Without
    /// a clock there is nothing to find out by, and all threads take part.
    pub fn tune(&self, guesses: [usize; 2]) {
        if self.clock.is_some() {
            let [one, several] = guesses;
            // A step of several rows is long, and rarely better off with fewer threads.
            *self.tuners() = Some([Tuner::new(one, true), Tuner::new(several, false)]);
        }
    }

    /// What has been found by [`Self::tune`], to begin with the next time: for steps with one row, and with several.
    pub fn found(&self) -> [Option<usize>; 2] {
        self.tuners().as_ref().map_or([None; 2], |tuners| tuners.each_ref().map(Tuner::found))
    }

    fn tuners(&self) -> MutexGuard<'_, Option<[Tuner; 2]>> {
        self.tuners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides who runs a step of so many rows.
    pub fn begin_step(&self, n_rows: usize) -> RunningStep {
        let available = self.threads();
        let crew = match (self.tuners().as_mut(), n_rows) {
            (None, _) => Crew::of(available),
            (Some([one, _]), 1) => one.crew(available),
            (Some([_, several]), SEVERAL_ROWS..) => several.crew(available),
            (Some([one, _]), _) => one.steady(),
        };
        RunningStep { crew, n_rows, step_ms: 0.0, n_barriers: 0, n_sleeps: 0 }
    }

    /// Runs a part of a step: `f`, as [`Self::run`] does. With `is_timed` the threads know how long they have waited.
    pub fn run_step(&self, step: &mut RunningStep, is_timed: bool, f: &(dyn Fn(&Team<'_>) + Sync)) {
        let counts = || (self.barriers(), self.shared.sleeps.load(Ordering::Relaxed));
        let (start_ms, before) = (self.clock.map(|clock| clock()), counts());
        self.run_as(step.crew, self.clock.filter(|_| is_timed), f);
        let (end_ms, after) = (self.clock.map(|clock| clock()), counts());
        step.step_ms += end_ms.zip(start_ms).map_or(0.0, |(end, start)| end - start);
        step.n_barriers += after.0.wrapping_sub(before.0);
        step.n_sleeps += after.1.wrapping_sub(before.1);
    }

    /// Learns from a complete step.
    pub fn end_step(&self, step: &RunningStep) {
        let RunningStep { crew, n_rows, step_ms, n_barriers, n_sleeps } = *step;
        let mut tuners = self.tuners();
        let (Some([one, several]), Some(clock)) = (tuners.as_mut(), self.clock) else { return };
        let n_waits = n_barriers * (crew.threads as u64 - 1);
        let cost_ms = step_ms / n_rows as f64;
        let measured = Measured { crew, step_ms, cost_ms, stalled: 2 * n_sleeps > n_waits, now_ms: clock() };
        match n_rows {
            1 => one.note(measured),
            SEVERAL_ROWS.. => several.note(measured),
            _ => {}
        }
    }

    /// Runs `f` once on every thread of the team and returns when all have left it. A panic on any thread goes on in the
    /// caller. Jobs of several callers run one after the other; a job must not start another on the same pool.
    pub fn run(&self, f: &(dyn Fn(&Team<'_>) + Sync)) {
        self.run_as(Crew::of(usize::MAX), None, f);
    }

    /// [`Self::run`] on the first threads of the team.
    fn run_as(&self, crew: Crew, clock: Option<Clock>, f: &(dyn Fn(&Team<'_>) + Sync)) {
        let shared = &*self.shared;
        let _running = shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: only the lifetime changes; the job is taken back below before `f` can go away.
        let job =
            Job(unsafe { std::mem::transmute::<&(dyn Fn(&Team<'_>) + Sync), &'static (dyn Fn(&Team<'_>) + Sync)>(f) });
        let spin_polls = match crew.spin {
            Spin::Long => SPIN_POLLS,
            Spin::Short => FEW_POLLS,
        };
        let manner = Manner { spin_polls, clock };
        let n_workers = {
            let mut team = shared.team();
            team.n_posted = team.n_workers.min(crew.threads.saturating_sub(1).try_into().unwrap_or(u32::MAX));
            team.job = Some((job, manner));
            team.n_posted
        };
        shared.panicked.store(false, Ordering::Relaxed);
        shared.arrived.store(0, Ordering::Relaxed);
        if n_workers > 0 {
            shared.remaining.store(n_workers, Ordering::Relaxed);
            shared.posted.iter().take(n_workers as usize).for_each(Gate::change);
            let result = catch_unwind(AssertUnwindSafe(|| f(&Team::new(shared, 0, n_workers + 1, manner))));
            if result.is_err() {
                shared.poison();
            }
            // In a loop: the last worker of the job before may change `left` as late as now.
            loop {
                let left = shared.left.value();
                if shared.remaining.load(Ordering::Acquire) == 0 {
                    break;
                }
                shared.left.wait(left, spin_polls);
            }
            shared.team().job = None;
            if let Err(panic) = result {
                resume_unwind(panic);
            }
            assert!(!shared.panicked.load(Ordering::Relaxed), "a thread of the pool panicked");
        } else {
            f(&Team::new(shared, 0, 1, manner));
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.shut_down.store(true, Ordering::Release);
        self.shared.posted.iter().for_each(Gate::change);
        #[cfg(not(target_arch = "wasm32"))]
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn team(&self) -> MutexGuard<'_, TeamState> {
        self.team.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poison(&self) {
        self.panicked.store(true, Ordering::Release);
        self.passed.change();
    }
}

/// What a worker does: joins, takes part in every job that is posted to it, returns when the pool shuts down (or is full).
pub fn worker_main(shared: &Shared) {
    let (number, posted, mut seen) = {
        let mut team = shared.team();
        let Some(posted) = shared.posted.get(team.n_workers as usize) else { return };
        team.n_workers += 1;
        (team.n_workers - 1, posted, posted.value())
    };
    loop {
        if shared.shut_down.load(Ordering::Acquire) {
            return;
        }
        posted.wait(seen, SPIN_POLLS);
        seen = posted.value();
        let (job, n_threads) = {
            let team = shared.team();
            (team.job.filter(|_| number < team.n_posted), team.n_posted + 1)
        };
        let Some((job, manner)) = job else { continue };
        let team = Team::new(shared, number + 1, n_threads, manner);
        // SAFETY: `Pool::run` keeps the closure alive until `remaining` has come to 0, to which this worker belongs.
        let result = catch_unwind(AssertUnwindSafe(|| unsafe { (*job.0)(&team) }));
        if result.is_err() {
            shared.poison();
        }
        if shared.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            shared.left.change();
        }
    }
}

/// [`worker_main`] for a thread that was given an address: the entry of a JavaScript worker.
///
/// # Safety
/// `address` comes from [`Pool::address`] of a pool in the same memory.
#[cfg(target_arch = "wasm32")]
pub unsafe fn worker_main_at(address: usize) {
    // SAFETY: `Pool::address` gave one reference away for good, so that the pointee lives for ever.
    worker_main(unsafe { &*std::ptr::with_exposed_provenance::<Shared>(address) });
}

impl<'a> Team<'a> {
    fn new(shared: &'a Shared, index: u32, n_threads: u32, manner: Manner) -> Self {
        Self { shared, index, n_threads, manner, waited_ms: Cell::new(0.0) }
    }

    /// This thread's number; 0 is the caller.
    pub fn index(&self) -> usize {
        self.index as usize
    }

    /// Threads of the job.
    pub fn n_threads(&self) -> usize {
        self.n_threads as usize
    }

    /// How long this thread has waited at the job's barriers, where that is measured.
    pub fn waited_ms(&self) -> f64 {
        self.waited_ms.get()
    }

    /// Returns when every thread of the job has come here; what they wrote before is visible after.
    pub fn barrier(&self) {
        let shared = self.shared;
        if self.index == 0 {
            shared.barriers.fetch_add(1, Ordering::Relaxed);
        }
        if self.n_threads == 1 {
            return;
        }
        let passed = shared.passed.value();
        self.leave_if_panicked();
        if shared.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.n_threads {
            shared.arrived.store(0, Ordering::Relaxed);
            shared.passed.change();
        } else {
            let start_ms = self.manner.clock.map(|clock| clock());
            if shared.passed.wait(passed, self.manner.spin_polls) == Waited::Asleep {
                shared.sleeps.fetch_add(1, Ordering::Relaxed);
            }
            if let (Some(clock), Some(start_ms)) = (self.manner.clock, start_ms) {
                self.waited_ms.set(self.waited_ms.get() + clock() - start_ms);
            }
        }
        self.leave_if_panicked();
    }

    fn leave_if_panicked(&self) {
        assert!(!self.shared.panicked.load(Ordering::Acquire), "another thread of the pool panicked");
    }
}
