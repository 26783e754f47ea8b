//! What the CPU executor says about itself: the profile of its steps adds up, and a pool that is being tuned changes no bit.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::sync::Arc;

use common::{
    runner::Runner,
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    cpu::{Cpu, pool::Pool},
    kv::KvFormat,
    plan::{Executor, Profile},
};

const N_TOKENS: usize = 60;

fn runner(file: &[u8], pool: Pool) -> Runner<Cpu> {
    let pool = Arc::new(pool);
    Runner::load(file, KvFormat::F16, N_TOKENS, |geometry| Cpu::new(geometry, pool.clone())).expect("it loads")
}

fn count(profile: &Profile, kind: &str) -> u64 {
    profile.kinds.iter().filter(|k| k.kind.starts_with(kind)).map(|k| k.count).sum()
}

#[test]
fn a_profile_adds_up() {
    let config = TinyConfig { n_layer: 3, ..TinyConfig::default() };
    let file = tiny_llama(&config, 5).build();
    for threads in [1, 3] {
        let mut runner = runner(&file, Pool::new(threads));
        runner.append(&[1, 2, 3], 1).expect("it runs");
        assert_eq!(runner.executor.take_profile(), None, "nobody asked");

        runner.executor.set_profiling(true);
        let barriers = runner.executor.pool().barriers();
        runner.append(&[4; 10], 1).expect("it runs");
        runner.append(&[5; 12], 12).expect("it runs");
        let barriers = runner.executor.pool().barriers() - barriers;
        let profile = runner.executor.take_profile().expect("a profile");
        assert_eq!((profile.steps, profile.rows, profile.threads), (11, 22, threads));
        assert_eq!(profile.barriers, barriers);
        assert_eq!(count(&profile, "Attention"), 11 * config.n_layer as u64, "{profile:?}");
        assert_eq!(count(&profile, "MatMul ffn_gate+ffn_up "), 11 * config.n_layer as u64, "{profile:?}");
        assert_eq!(count(&profile, "Embed"), 11, "{profile:?}");
        assert!(profile.kinds.iter().all(|k| k.ms >= 0.0), "{profile:?}");
        // The calling thread's time is its operations, its waits, and what is between jobs.
        let kinds_ms: f64 = profile.kinds.iter().map(|k| k.ms).sum();
        let accounted_ms = kinds_ms + profile.barrier_wait_ms;
        assert!(kinds_ms > 0.0 && accounted_ms <= profile.steps_ms, "{profile:?}");
        assert_eq!(profile.barrier_wait_ms + profile.others_wait_ms > 0.0, threads > 1, "{profile:?}");

        // It begins anew, and ends.
        let empty = runner.executor.take_profile().expect("a profile");
        assert_eq!((empty.steps, empty.kinds.len(), empty.barriers), (0, 0, 0));
        runner.append(&[6], 1).expect("it runs");
        assert_eq!(runner.executor.take_profile().expect("a profile").steps, 1);
        runner.executor.set_profiling(false);
        assert_eq!(runner.executor.take_profile(), None);
    }
}

#[test]
fn a_tuned_pool_gives_the_same_bits() {
    let config = TinyConfig::default();
    let file = tiny_llama(&config, 9).build();
    let tokens: Vec<u32> = (0..N_TOKENS as u32).collect();
    let bits = |pool: Pool, guesses: Option<[usize; 2]>| {
        let mut runner = runner(&file, pool);
        guesses.inspect(|guesses| runner.executor.pool().tune(*guesses));
        let logits = runner.append(&tokens, 1).expect("it runs");
        let found = runner.executor.pool().found();
        (logits.into_iter().flatten().map(f32::to_bits).collect::<Vec<_>>(), found)
    };
    let (expected, found) = bits(Pool::new(1), None);
    assert_eq!(found, [None, None]);
    for guesses in [[1, 1], [2, 4], [4, 4], [8, 1]] {
        let (actual, [one, several]) = bits(Pool::new(4), Some(guesses));
        assert!(actual == expected, "guesses {guesses:?}");
        assert!(one.is_some_and(|n| (1..=4).contains(&n)), "{one:?} of guesses {guesses:?}");
        assert_eq!(several, None, "there was no step of several rows");
    }
}
