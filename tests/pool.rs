//! The thread pool: every thread runs a job once, barriers hold, jobs follow each other without a gap, workers that come late
//! or fall asleep take part, a panic reaches the caller.
#![cfg(not(target_arch = "wasm32"))]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use kinglet::cpu::pool::Pool;

#[test]
fn every_thread_runs_a_job_once() {
    for threads in [1, 2, 3, 5] {
        let pool = Pool::new(threads);
        assert_eq!((pool.threads(), pool.max_threads()), (threads, threads));
        for _ in 0..2_000 {
            let runs: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
            pool.run(&|team| {
                assert_eq!(team.n_threads(), threads);
                runs[team.index()].fetch_add(1, Ordering::Relaxed);
            });
            // A job that is left before all have run it shows here.
            assert!(runs.iter().all(|r| r.load(Ordering::Relaxed) == 1));
        }
    }
}

#[test]
fn nobody_passes_a_barrier_before_all_have_come() {
    const PHASES: usize = 300;
    for threads in [2, 4] {
        let pool = Pool::new(threads);
        let before = pool.barriers();
        for _ in 0..5 {
            let phases: Vec<AtomicUsize> = (0..PHASES).map(|_| AtomicUsize::new(0)).collect();
            pool.run(&|team| {
                for (i, phase) in phases.iter().enumerate() {
                    if (i + team.index()).is_multiple_of(97) {
                        // Long enough for the others to fall asleep.
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    phase.fetch_add(1, Ordering::Relaxed);
                    team.barrier();
                    assert_eq!(phase.load(Ordering::Relaxed), threads, "phase {i}");
                }
            });
        }
        assert_eq!(pool.barriers() - before, 5 * PHASES as u64);
    }
}

#[test]
fn sleeping_workers_wake_up() {
    let pool = Pool::new(3);
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(20));
        let n = AtomicUsize::new(0);
        pool.run(&|_| {
            n.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(n.into_inner(), 3);
    }
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_stays_usable() {
    let pool = Pool::new(3);
    for guilty in [0, 1, 2] {
        let result = catch_unwind(AssertUnwindSafe(|| {
            pool.run(&|team| {
                team.barrier();
                assert_ne!(team.index(), guilty, "on purpose");
                team.barrier();
                team.barrier();
            });
        }));
        assert!(result.is_err(), "the panic of thread {guilty} is lost");
        let n = AtomicUsize::new(0);
        pool.run(&|team| {
            team.barrier();
            n.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(n.into_inner(), 3);
    }
}

#[test]
fn a_pool_that_was_never_used_goes_away() {
    for threads in [1, 2, 8] {
        drop(Pool::new(threads));
    }
}

#[test]
fn jobs_of_several_callers_follow_each_other() {
    let pool = Pool::new(2);
    let inside = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..200 {
                    pool.run(&|team| {
                        if team.index() == 0 {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two jobs at a time");
                        }
                        team.barrier();
                        if team.index() == 0 {
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                    });
                }
            });
        }
    });
}
