//! Tuning while a model arrives: what is found holds at the next load, nothing that cannot be had does harm, and whatever was tried, the
//! results are right.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::{
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
};

use common::{
    checked::{check, prepared, shaders},
    golden::difference,
    gpu::context,
    runner::{MAX_ROWS, Runner},
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    gpu::{
        Context, Forms, Gpu, Numbers, Request,
        fault::{Fault, FaultKind},
    },
    kv::KvFormat,
    plan::Executor,
    quant::Format,
    reference::Reference,
};

/// A clock that goes on by a little whenever it is looked at: so the budget is never used up.
fn slow_clock() -> f64 {
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    LOOKS.fetch_add(1, Ordering::Relaxed) as f64 / 1e3
}

/// One by which everything takes long.
fn fast_clock() -> f64 {
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    LOOKS.fetch_add(1, Ordering::Relaxed) as f64 * 300.0
}

fn file() -> Vec<u8> {
    tiny_llama(&TinyConfig { n_layer: 1, ..TinyConfig::of(Format::Q4_1) }, 3).build()
}

fn tuned_device(clock: fn() -> f64, record: &str) -> Rc<Context> {
    let context = context(&Request::default());
    context.tune(clock, "a device", record);
    context
}

fn load(context: &Rc<Context>) -> Gpu {
    prepared(context, &file(), KvFormat::F16).expect("it prepares")
}

/// Goes on until there is nothing more to do; how often it was asked to.
fn tune(gpu: &mut Gpu) -> usize {
    (1..).find(|_| !gpu.warm().expect("no harm is done")).expect("it ends")
}

fn record(context: &Context) -> String {
    context.tuned().expect("it is tuned")
}

fn code(gpu: &Gpu) -> Vec<String> {
    gpu.tuned_code().expect("it is tuned").split(',').map(str::to_owned).collect()
}

#[test]
fn what_was_found_holds_from_the_next_load_on() {
    let first = tuned_device(slow_clock, "");
    let mut gpu = load(&first);
    assert_eq!(code(&gpu), ["-"; 4]);
    let (forms, n_pipelines) = (first.forms(), first.made().pipelines);
    let n_calls = tune(&mut gpu);
    println!("{n_calls} calls, {} pipelines: {}", first.made().pipelines - n_pipelines, record(&first));
    assert!(n_calls > 30, "{n_calls}");
    assert_eq!(first.forms(), forms, "not at this load");
    assert!(code(&gpu).iter().all(|i| i != "-"), "{:?}", code(&gpu));
    assert_eq!(check(&first, &mut gpu), Ok(()));
    assert!(!gpu.warm().expect("it is over"), "only once");

    // What a browser on another machine might have found.
    let record = record(&first).rsplit_once(':').map(|(class, _)| format!("{class}:5,1,2,1")).expect("a class");
    let next = tuned_device(slow_clock, &record);
    let mut gpu = load(&next);
    let expected = Forms {
        tile_t: 64,
        numbers: Numbers::Bytes,
        lanes_part: 2,
        wide_from_invocations: 4 << 11,
        part_positions: 128,
        ..forms
    };
    assert_eq!(next.forms(), expected);
    assert!(shaders(&gpu).iter().any(|s| s.has("AS_BYTES") && s.has("T_64")), "{:?}", shaders(&gpu));
    assert_eq!(check(&next, &mut gpu), Ok(()));
    assert_eq!(next.forms(), expected, "they pass the self-check");
    assert_eq!(tune(&mut gpu), 4, "nothing is left to measure");
    assert_eq!(self::record(&next), record);
    assert!(next.features().contains(&"matmul tiles of 64 in packed bytes".to_owned()));
    // Another device knows nothing of it.
    let other = context(&Request::default());
    other.tune(slow_clock, "another device", &record);
    drop(load(&other));
    assert_eq!(other.forms(), forms);
}

/// What was not measured in time is at the next load.
#[test]
fn the_time_is_bounded() {
    let mut record = String::new();
    let mut known = vec![];
    for _ in 0..12 {
        let context = tuned_device(fast_clock, &record);
        let mut gpu = load(&context);
        tune(&mut gpu);
        assert_eq!(check(&context, &mut gpu), Ok(()));
        record = self::record(&context);
        known.push(code(&gpu).iter().filter(|i| *i != "-").count());
    }
    println!("{known:?}");
    assert!(known[0] < 4 && known.is_sorted(), "{known:?}");
}

/// A shader that does not compile is no fault of the device while it is only tried.
#[test]
fn what_cannot_be_had_is_done_without() {
    let context = tuned_device(slow_clock, "");
    let befalls = |s: &kinglet::gpu::shader::Shader| s.has("T_64") || s.kernel.name() == "matmul_narrow";
    context.inject(Fault { shaders: Box::new(befalls), kind: FaultKind::Refused });
    let mut gpu = load(&context);
    tune(&mut gpu);
    assert_eq!(code(&gpu)[0], "0", "{:?}", code(&gpu));
    assert_eq!(check(&context, &mut gpu), Ok(()));
    // Wrong at the next load, it is given up for good.
    let record = record(&context).rsplit_once(':').map(|(class, _)| format!("{class}:1,0,0,0")).expect("a class");
    context.tune(slow_clock, "a device", &record);
    let mut gpu = load(&context);
    assert_eq!(context.forms().tile_t, 64);
    assert_eq!(check(&context, &mut gpu), Ok(()));
    assert_eq!(context.forms().tile_t, 32);
    tune(&mut gpu);
    assert_eq!(code(&gpu)[0], "0");
}

/// Wherever it is when the first step comes.
#[test]
fn results_are_right_whenever_tuning_ends() {
    let file = file();
    let tokens: Vec<u32> = (0..40).map(|i| 3 + i * 7 % 300).collect();
    let new = |geometry| Ok(Reference::new(geometry));
    let run = |mut runner: Runner<Reference>| runner.append(&tokens, MAX_ROWS);
    let expected = Runner::load(&file[..], KvFormat::F16, 64, new).and_then(run).expect("the reference runs");
    for n_calls in [0, 1, 2, 7, 40, usize::MAX] {
        let context = tuned_device(slow_clock, "");
        let new = |geometry| Ok(Gpu::new(context.clone(), geometry));
        let mut runner = Runner::load(&file[..], KvFormat::F16, 64, new).expect("it loads");
        let mut left = n_calls;
        while left > 0 && runner.executor.warm().expect("no harm is done") {
            left -= 1;
        }
        let d = difference(&runner.append(&tokens, MAX_ROWS).expect("it runs"), &expected);
        assert!(d < 2e-3, "after {n_calls} calls: {d} of the largest logit");
        assert!(!runner.executor.warm().expect("it is over"), "not while there are steps");
    }
}

#[test]
fn nothing_is_measured_where_nobody_asks() {
    let context = context(&Request::default());
    let mut gpu = load(&context);
    let made = context.made();
    assert!(!gpu.warm().expect("nothing happens"));
    assert_eq!((context.made(), context.tuned()), (made, None));
}
