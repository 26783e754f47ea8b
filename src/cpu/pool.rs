//! A team of threads that run one job together, with cheap barriers inside it. Thread 0 is the caller; the others are
//! native threads, or JavaScript workers that call [`worker_main_at`] on a wasm build with shared memory; a build without
//! atomics has the caller alone. The code path is the same with one thread.
//!
//! ```text
//! caller   ── post job ── f(0) ─┬─ barrier ─┬─ … ── wait until all have left ──
//! worker 1    (spin, sleep) f(1) ┴──────────┴─ …
//! ```
//!
//! Waiting polls for some 10 to 100 µs and then sleeps on a condition variable (a futex on both targets), so that the barriers of a
//! token are met awake, and an idle engine costs nothing.
//! Workers may join at any time; a job runs on those that had joined when it was posted.

#![expect(
    unsafe_code,
    reason = "a job borrows from the caller's stack and is lent to the workers until they have left it"
)]

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

/// Polls before a waiting thread sleeps. Wasm has no pause instruction: a poll there is one load, about 1 ns.
const SPIN_POLLS: u32 = if cfg!(target_arch = "wasm32") { 16_000 } else { 2_000 };

/// The threads of an executor.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
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
    /// Changes when a job is posted or the pool shuts down.
    posted: Gate,
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
}

#[derive(Debug, Default)]
struct TeamState {
    /// Workers that have joined.
    n_workers: u32,
    /// Workers that take part in the posted job: those with a smaller number.
    n_posted: u32,
    job: Option<Job>,
}

/// A borrowed closure with its lifetime taken off.
#[derive(Debug, Clone, Copy)]
struct Job(*const (dyn Fn(&Team<'_>) + Sync));

// SAFETY: the closure is Sync, and `Pool::run` keeps it alive until every worker has left it.
unsafe impl Send for Job {}

/// One thread's place in a running job.
#[derive(Debug)]
pub struct Team<'a> {
    shared: &'a Shared,
    index: u32,
    n_threads: u32,
}

impl Pool {
    /// A pool of at most `threads` threads, the caller among them. Natively the others are started here; in wasm they come by
    /// [`worker_main_at`]. A thread that cannot be started is done without.
    pub fn new(threads: usize) -> Self {
        let max_threads = threads.clamp(1, 64) as u32;
        let shared = Arc::new(Shared {
            max_threads,
            running: Mutex::new(()),
            team: Mutex::new(TeamState::default()),
            posted: Gate::default(),
            shut_down: AtomicBool::new(false),
            remaining: AtomicU32::new(0),
            left: Gate::default(),
            arrived: AtomicU32::new(0),
            passed: Gate::default(),
            panicked: AtomicBool::new(false),
            barriers: AtomicU64::new(0),
        });
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
            Self { shared, workers }
        }
        #[cfg(target_arch = "wasm32")]
        Self { shared, leaked: AtomicBool::new(false) }
    }

    /// Most threads that may take part, the caller among them.
    pub fn max_threads(&self) -> usize {
        self.shared.max_threads as usize
    }

    /// Threads that would take part in a job posted now.
    pub fn threads(&self) -> usize {
        self.shared.team().n_workers as usize + 1
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

    /// Runs `f` once on every thread of the team and returns when all have left it. A panic on any thread goes on in the
    /// caller. Jobs of several callers run one after the other; a job must not start another on the same pool.
    pub fn run(&self, f: &(dyn Fn(&Team<'_>) + Sync)) {
        let shared = &*self.shared;
        let _running = shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: only the lifetime changes; the job is taken back below before `f` can go away.
        let job =
            Job(unsafe { std::mem::transmute::<&(dyn Fn(&Team<'_>) + Sync), &'static (dyn Fn(&Team<'_>) + Sync)>(f) });
        let n_workers = {
            let mut team = shared.team();
            team.n_posted = team.n_workers;
            team.job = Some(job);
            team.n_workers
        };
        shared.panicked.store(false, Ordering::Relaxed);
        shared.arrived.store(0, Ordering::Relaxed);
        if n_workers > 0 {
            shared.remaining.store(n_workers, Ordering::Relaxed);
            shared.posted.change();
            let result = catch_unwind(AssertUnwindSafe(|| f(&Team { shared, index: 0, n_threads: n_workers + 1 })));
            if result.is_err() {
                shared.poison();
            }
            // In a loop: the last worker of the job before may change `left` as late as now.
            loop {
                let left = shared.left.value();
                if shared.remaining.load(Ordering::Acquire) == 0 {
                    break;
                }
                shared.left.wait(left);
            }
            shared.team().job = None;
            if let Err(panic) = result {
                resume_unwind(panic);
            }
            assert!(!shared.panicked.load(Ordering::Relaxed), "a thread of the pool panicked");
        } else {
            f(&Team { shared, index: 0, n_threads: 1 });
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.shut_down.store(true, Ordering::Release);
        self.shared.posted.change();
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

/// What a worker does: joins, takes part in every job from then on, returns when the pool shuts down (or is full).
pub fn worker_main(shared: &Shared) {
    let (number, mut seen) = {
        let mut team = shared.team();
        if team.n_workers + 1 >= shared.max_threads {
            return;
        }
        team.n_workers += 1;
        (team.n_workers - 1, shared.posted.value())
    };
    loop {
        if shared.shut_down.load(Ordering::Acquire) {
            return;
        }
        seen = shared.posted.wait(seen);
        let (job, n_threads) = {
            let team = shared.team();
            (team.job.filter(|_| number < team.n_posted), team.n_posted + 1)
        };
        let Some(job) = job else { continue };
        let team = Team { shared, index: number + 1, n_threads };
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

impl Team<'_> {
    /// This thread's number; 0 is the caller.
    pub fn index(&self) -> usize {
        self.index as usize
    }

    /// Threads of the job.
    pub fn n_threads(&self) -> usize {
        self.n_threads as usize
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
            shared.passed.wait(passed);
        }
        self.leave_if_panicked();
    }

    fn leave_if_panicked(&self) {
        assert!(!self.shared.panicked.load(Ordering::Acquire), "another thread of the pool panicked");
    }
}

/// A number that threads wait to see changed.
#[derive(Debug, Default)]
struct Gate {
    value: AtomicU32,
    sleepers: AtomicU32,
    lock: Mutex<()>,
    woken: Condvar,
}

impl Gate {
    fn value(&self) -> u32 {
        self.value.load(Ordering::Acquire)
    }

    /// Changes the number and wakes those who wait. SeqCst orders the change against a waiter's "I sleep".
    fn change(&self) {
        self.value.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.woken.notify_all();
        }
    }

    /// Returns the number once it is not `seen`: polls for a while, then sleeps.
    fn wait(&self, seen: u32) -> u32 {
        let mut gap = 1;
        for poll in 0..SPIN_POLLS {
            let value = self.value();
            if value != seen {
                return value;
            }
            for _ in 0..gap {
                std::hint::spin_loop();
            }
            if poll % 64 == 63 && gap < 16 {
                gap *= 2;
            }
        }
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while self.value.load(Ordering::SeqCst) == seen {
            guard = self.woken.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        self.value()
    }
}
