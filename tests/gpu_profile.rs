//! Where the time of steps goes on the GPU, by its timestamps: every dispatch is there, and measuring changes no result.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{
    gpu::context,
    runner::Runner,
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    gpu::{Gpu, Request},
    kv::KvFormat,
    plan::{Executor, Profile},
};

fn count(profile: &Profile, kind: &str) -> u64 {
    profile.kinds.iter().filter(|k| k.kind.starts_with(kind)).map(|k| k.count).sum()
}

#[test]
fn a_profile_has_every_dispatch_and_changes_nothing() {
    let config = TinyConfig { n_layer: 3, ..TinyConfig::default() };
    let file = tiny_llama(&config, 5).build();
    let context = context(&Request::default());
    let new = || Runner::load(&file[..], KvFormat::F16, 64, |geometry| Ok(Gpu::new(context.clone(), geometry)));
    let (mut measured, mut plain) = (new().expect("it loads"), new().expect("it loads"));
    assert_eq!(measured.executor.take_profile(), None, "nobody asked");

    measured.executor.set_profiling(true);
    let mut both = |ids: &[u32], rows| {
        let (ours, theirs) = (measured.append(ids, rows).expect("it runs"), plain.append(ids, rows).expect("it runs"));
        assert_eq!(ours, theirs);
    };
    both(&[4; 10], 1);
    both(&[5; 12], 12);
    let profile = measured.executor.take_profile().expect("the adapter has timestamps");
    assert_eq!((profile.steps, profile.rows), (11, 22));
    let n_layer = config.n_layer as u64;
    assert_eq!(count(&profile, "Attention: attention f16 APPEND"), 10 * n_layer, "{profile:?}");
    assert_eq!(count(&profile, "Attention: attention_prefill"), n_layer, "{profile:?}");
    assert_eq!(count(&profile, "Attention: attention_join"), 0, "none for a short text: {profile:?}");
    assert_eq!(count(&profile, "MatMul ffn_gate+ffn_up Q8_0: mat"), 11 * n_layer, "{profile:?}");
    assert_eq!(count(&profile, "MatMul ffn_gate+ffn_up Q8_0: norm"), n_layer, "{profile:?}");
    assert_eq!(count(&profile, "Embed"), 11, "{profile:?}");
    let kinds_ms: f64 = profile.kinds.iter().map(|k| k.ms).sum();
    assert!(kinds_ms > 0.0 && profile.kinds.iter().all(|k| k.ms >= 0.0), "{profile:?}");
    assert!(kinds_ms <= profile.steps_ms, "dispatches follow each other: {profile:?}");

    // It begins anew, and ends.
    let empty = measured.executor.take_profile().expect("a profile");
    assert_eq!((empty.steps, empty.kinds.len()), (0, 0));
    measured.executor.set_profiling(false);
    measured.append(&[6], 1).expect("it runs");
    assert_eq!(measured.executor.take_profile(), None);
}
