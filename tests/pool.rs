//! The thread pool: every thread runs a job once, barriers hold, jobs follow each other without a gap, workers that come late
//! or fall asleep take part, a panic reaches the caller.
#![cfg(not(target_arch = "wasm32"))]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
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

/// A step that ten barriers divide, of a job that takes 2 ms of one thread.
fn run_step(pool: &Pool, n_rows: usize, stalls: impl Fn(usize) -> bool + Sync) -> usize {
    let mut step = pool.begin_step(n_rows);
    let n = AtomicUsize::new(0);
    pool.run_step(&mut step, false, &|team| {
        n.fetch_add(1, Ordering::Relaxed);
        for _ in 0..10 {
            let end = Instant::now() + Duration::from_micros(200) / team.n_threads() as u32;
            while Instant::now() < end {
                std::hint::spin_loop();
            }
            if stalls(team.index()) {
                std::thread::sleep(Duration::from_millis(2));
            }
            team.barrier();
        }
    });
    pool.end_step(&step);
    assert_eq!(n.into_inner(), step.threads());
    step.threads()
}

#[test]
fn without_tuning_every_thread_takes_part() {
    let pool = Pool::new(3);
    for n_rows in [1, 2, 64] {
        assert_eq!(run_step(&pool, n_rows, |_| false), 3);
    }
    assert_eq!(pool.found(), [None, None]);
}

#[test]
fn a_worker_that_stalls_is_left_out_and_comes_back() {
    let pool = Pool::new(2);
    pool.tune([2, 2]);
    let is_stalled = AtomicBool::new(true);
    let step = || run_step(&pool, 1, |index| index == 1 && is_stalled.load(Ordering::Relaxed));
    // Twice as fast without the worker: the climb finds it out, or the watch.
    let alone = (0..100).position(|_| step() == 1 && (0..5).all(|_| step() == 1));
    assert!(alone.is_some(), "the stalled worker is still in the team");
    is_stalled.store(false, Ordering::Relaxed);
    // Steps of several rows have a crew of their own, as of yet the guess.
    assert_eq!(run_step(&pool, 64, |_| false), 2);
}

#[test]
fn a_small_team_leaves_the_others_asleep() {
    let pool = Pool::new(4);
    pool.tune([2, 4]);
    // Cold: the guess, and nothing is tried yet.
    assert_eq!(run_step(&pool, 1, |index| index > 1), 2);
    assert_eq!(run_step(&pool, 8, |index| index > 1), 2);
    assert_eq!(run_step(&pool, 64, |_| false), 4);
    assert_eq!(run_step(&pool, 1, |index| index > 1), 2);
    // All are there for a job of all.
    let n = AtomicUsize::new(0);
    pool.run(&|team| {
        team.barrier();
        n.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(n.into_inner(), 4);
}
