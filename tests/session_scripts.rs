//! Random scripts of requests and cancellations: whatever a session did before, the next request gives what it gives in a
//! fresh one, and the cache does not grow.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{
    generate::{Answer, devices, load, options, run},
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    engine::{Device, Engine},
    sample::SamplingParams,
    session::Request,
};
use proptest::prelude::*;
use std::sync::LazyLock;

const CONTEXT: usize = 160;

static FILE: LazyLock<Vec<u8>> =
    LazyLock::new(|| tiny_llama(&TinyConfig { n_ctx: CONTEXT, ..TinyConfig::default() }, 7).build());

fn engine(device: Device) -> Engine {
    load(&FILE, options(device), 1 << 16).unwrap()
}

fn fresh(device: Device, request: &Request) -> Answer {
    run(&mut engine(device).session, request, 1_000_000).unwrap()
}

/// A prompt of n tokens; those with the same seed share their beginnings.
fn prompt(n: usize, seed: u32) -> Vec<u32> {
    (0..n as u32).map(|i| 3 + (i * 31 + seed * 17 + i * i * 7) % 300).collect()
}

/// A step of a random script.
#[derive(Debug, Clone)]
enum Act {
    Run(Request, usize),
    Cancel(Request, usize),
}

fn any_request() -> impl Strategy<Value = Request> {
    let shape = (1usize..100, 0u32..3, 1usize..8, 1usize..4);
    let flags = (any::<bool>(), any::<bool>(), 0f32..2.0, proptest::option::of(0usize..3));
    (shape, flags).prop_map(|((n_prompt, seed, max_tokens, n), (echo, cache_prompt, temperature, logprobs))| Request {
        prompt: prompt(n_prompt, seed),
        max_tokens: Some(max_tokens),
        n,
        echo,
        cache_prompt,
        logprobs,
        sampling: SamplingParams { seed: 5, temperature, ..SamplingParams::default() },
        ..Request::default()
    })
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (any_request(), 1usize..50).prop_map(|(request, max_ops)| Act::Run(request, max_ops)),
        (any_request(), 0usize..200).prop_map(|(request, n_ops)| Act::Cancel(request, n_ops)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever a session did before, a request gives what it gives in a fresh one; and memory comes back.
    #[test]
    fn a_session_has_no_memory_but_its_cache(script in proptest::collection::vec(any_act(), 1..8)) {
        for device in devices() {
            let mut session = engine(device.clone()).session;
            for act in &script {
                match act {
                    Act::Run(request, max_ops) => {
                        let answer = run(&mut session, request, *max_ops).unwrap();
                        prop_assert_eq!(answer.results(), fresh(device.clone(), request).results());
                    }
                    Act::Cancel(request, n_ops) => {
                        session.start(request.clone()).unwrap();
                        session.advance(*n_ops).unwrap();
                        session.cancel().unwrap();
                    }
                }
                prop_assert!(session.cached_tokens().len() <= CONTEXT);
                // Every sequence but the cached one is gone: the cache never grows beyond what one step needs at once.
                let page_bytes = 2 * 2 * 2 * 16 * 64 * 4;
                let most_pages = (4 * CONTEXT.div_ceil(64)) as u64;
                prop_assert!(session.memory().kv_bytes <= most_pages * page_bytes);
            }
        }
    }
}
