//! What goes wrong on a GPU is said as a typed error, at once and every time, and nothing is left over: memory that cannot be
//! had, a device that goes away at any moment, a shader that does not compile, steps that nobody waits for.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::{
    future::Future,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{self, Poll, Waker},
    time::{Duration, Instant},
};

use common::gpu::context;
use kinglet::{
    error::{Error, Result},
    gguf::{Header, Metadata, TensorInfo},
    gpu::{
        Context, Gpu, Request,
        context::block_on,
        fault::{Fault, FaultKind},
    },
    kv::{KvFormat, KvGeometry, PageId},
    plan::{Builder, Executor, Plan, PlanSlot, Progress, Row, RowBound, Step, Want},
    quant::Format,
    weights::{WeightId, Weights},
};

const WIDTH: usize = 40;
const N_TOKENS: usize = 50;
const MAX_ROWS: usize = 8;
const GEOMETRY: KvGeometry = KvGeometry { layers: 1, kv_heads: 1, head_size: 8, format: KvFormat::F16 };
/// No wait in these tests may take as long as this.
const SOON: Duration = Duration::from_secs(20);

/// A table of `n_tokens` rows, which count up from 0, and a plan that looks rows up and doubles them.
fn doubling(n_tokens: usize, width: usize, max_rows: usize) -> (Weights, Arc<Plan>) {
    let n_bytes = 4 * (n_tokens * width) as u64;
    let info =
        TensorInfo { name: "table".into(), shape: vec![n_tokens, width], format: Format::F32, offset: 0, n_bytes };
    let header = Header {
        version: 3,
        metadata: Metadata::default(),
        tensors: vec![info],
        alignment: 32,
        data_offset: 0,
        end_offset: 0,
        fingerprint: 0,
    };
    let weights = Weights::from_header(&header);
    let mut b = Builder::new("doubling", &weights, RowBound::UpTo(max_rows), 2);
    let table = b.weight("table", &[n_tokens, width]).expect("it is there");
    let x = b.embed(table, 1.0);
    let sum = b.add("sum", x, x);
    let output = b.select_rows("selected", sum);
    (weights.clone(), Arc::new(b.finish(output)))
}

/// An executor with the plan, ready to run.
fn ready(context: &Rc<Context>) -> Result<(Gpu, PlanSlot)> {
    let (weights, plan) = doubling(N_TOKENS, WIDTH, MAX_ROWS);
    let mut gpu = Gpu::new(context.clone(), GEOMETRY);
    weights.iter().try_for_each(|(id, spec)| gpu.create_weight(id, spec))?;
    let slot = gpu.prepare(plan)?;
    let bytes: Vec<u8> = (0..N_TOKENS * WIDTH).flat_map(|i| (i as f32).to_le_bytes()).collect();
    gpu.write_weight(WeightId(0), &bytes)?;
    gpu.kv_reserve(1)?;
    Ok((gpu, slot))
}

/// Begins a step with these tokens; the last one asks for its output.
fn begin(gpu: &mut Gpu, slot: PlanSlot, tokens: &[u32]) -> Result<()> {
    let row = |(i, t): (usize, &u32)| Row::token(*t, i as u32, 0);
    let rows: Vec<Row> = tokens.iter().enumerate().map(row).collect();
    let outputs = [tokens.len() as u32 - 1];
    gpu.begin(
        slot,
        &Step {
            rows: &rows,
            outputs: &outputs,
            sequences: &[&[PageId(0)]],
            memories: &[],
            embeddings: &[],
            want: Want::All,
        },
    )
}

/// Runs the step to its end, as a worker does: it waits for the signal.
fn finish(context: &Context, gpu: &mut Gpu) -> Result<()> {
    let start = Instant::now();
    while gpu.advance(1)? != Progress::Complete {
        assert!(start.elapsed() < SOON, "the step does not come to an end");
        block_on(Some(context), gpu.ready());
    }
    Ok(())
}

fn assert_doubled(gpu: &Gpu, token: u32) {
    let expected: Vec<f32> = (0..WIDTH).map(|k| 2.0 * (token as usize * WIDTH + k) as f32).collect();
    assert_eq!(gpu.output(0).expect("an output"), expected);
}

/// One whole step.
fn step(context: &Context, gpu: &mut Gpu, slot: PlanSlot, tokens: &[u32]) -> Result<()> {
    begin(gpu, slot, tokens)?;
    finish(context, gpu)?;
    assert_doubled(gpu, tokens[tokens.len() - 1]);
    Ok(())
}

fn is_lost<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::GpuLost { .. }))
}

/// Every call says that the device is lost, and says it again.
fn assert_lost(context: &Rc<Context>, gpu: &mut Gpu, slot: PlanSlot) {
    let start = Instant::now();
    for _ in 0..2 {
        assert!(is_lost(context.health()));
        assert!(is_lost(begin(gpu, slot, &[1])));
        assert!(is_lost(gpu.advance(1)));
        assert!(is_lost(gpu.prepare(doubling(N_TOKENS, WIDTH, 4).1)));
        assert!(is_lost(gpu.write_weight(WeightId(0), &[0; 4])));
        assert!(is_lost(gpu.kv_reserve(1000)));
        assert!(is_lost(gpu.kv_read(&[(PageId(0), 1)], &mut vec![])));
        assert!(is_lost(block_on(Some(context), gpu.check())));
        assert!(is_lost(block_on(Some(context), context.settled())));
        assert!(is_lost(ready(context).map(|_| ())));
        block_on(Some(context), gpu.ready());
    }
    assert!(start.elapsed() < SOON);
}

#[test]
fn a_device_that_is_lost_before_a_step() {
    let context = context(&Request::default());
    let (mut gpu, slot) = ready(&context).expect("it loads");
    context.destroy();
    assert_lost(&context, &mut gpu, slot);
}

#[test]
fn a_device_that_is_lost_during_a_step() {
    let context = context(&Request::default());
    let (mut gpu, slot) = ready(&context).expect("it loads");
    begin(&mut gpu, slot, &[1, 2, 3]).expect("it begins");
    assert_eq!(gpu.advance(1), Ok(Progress::Pending));
    let waiting = gpu.ready();
    context.destroy();
    block_on(Some(&context), waiting);
    assert!(is_lost(gpu.advance(1)));
    assert_lost(&context, &mut gpu, slot);
}

#[test]
fn a_device_that_is_lost_after_a_step() {
    let context = context(&Request::default());
    let (mut gpu, slot) = ready(&context).expect("it loads");
    step(&context, &mut gpu, slot, &[7]).expect("it runs");
    context.destroy();
    assert!(is_lost(context.health()));
    assert_lost(&context, &mut gpu, slot);
}

#[test]
fn a_device_that_is_lost_while_a_model_loads() {
    let context = context(&Request::default());
    let (weights, plan) = doubling(N_TOKENS, WIDTH, MAX_ROWS);
    let mut gpu = Gpu::new(context.clone(), GEOMETRY);
    weights.iter().try_for_each(|(id, spec)| gpu.create_weight(id, spec)).expect("room");
    let slot = gpu.prepare(plan).expect("a plan that it can run");
    gpu.write_weight(WeightId(0), &[0; 400]).expect("the beginning");
    context.destroy();
    assert!(is_lost(gpu.write_weight(WeightId(0), &[0; 400])));
    assert_lost(&context, &mut gpu, slot);
}

/// Lost after the self-check was polled so many times.
#[test]
fn a_device_that_is_lost_during_the_self_check() {
    for n_polls in [0, 1, 2, 5] {
        let context = context(&Request::default());
        let (mut gpu, slot) = ready(&context).expect("it loads");
        let mut task = task::Context::from_waker(Waker::noop());
        let mut check = pin!(gpu.check());
        for _ in 0..n_polls {
            assert_eq!(check.as_mut().poll(&mut task), Poll::Pending);
        }
        context.destroy();
        assert!(is_lost(block_on(Some(&context), check)), "lost after {n_polls} polls");
        assert_lost(&context, &mut gpu, slot);
    }
}

#[test]
fn what_does_not_compile_is_named() {
    let context = context(&Request::default());
    context.inject(Fault::of("add", FaultKind::Refused));
    let (mut gpu, slot) = ready(&context).expect("until the first step another form may be found");
    let error = begin(&mut gpu, slot, &[1]).expect_err("the sum does not compile");
    assert!(error.code() == "E_INTERNAL" && error.to_string().contains("add"), "{error}");
    let error = block_on(Some(&context), gpu.check()).expect_err("there is no other form");
    assert!(error.code() == "E_GPU_WRONG" && error.to_string().contains("add"), "{error}");
}

/// Memory that no device has: numbers are said, and the memory that was had is given back.
#[test]
fn memory_that_cannot_be_had() {
    let context = context(&Request::default());
    let facts = context.facts().clone();
    // Activations that are longer than a buffer may be.
    let max_rows = (facts.buffer_limit_bytes / (4 * WIDTH as u64) + 1) as usize;
    let (weights, plan) = doubling(N_TOKENS, WIDTH, max_rows);
    let mut gpu = Gpu::new(context.clone(), GEOMETRY);
    weights.iter().try_for_each(|(id, spec)| gpu.create_weight(id, spec)).expect("room");
    let prepared = gpu.prepare(plan).map(|_| ());
    match prepared.and_then(|()| block_on(Some(&context), context.settled())) {
        Err(Error::Memory { what, needed_bytes }) => {
            assert!(needed_bytes > facts.buffer_limit_bytes && what.contains("doubling"), "{what}: {needed_bytes}");
        }
        other => panic!("{other:?}"),
    }
    drop(gpu);
    assert_eq!((context.n_buffers(), context.allocated_bytes()), (0, 0));
    drop(context);

    let context = self::context(&Request::default());
    let (mut gpu, slot) = ready(&context).expect("a fresh device works");
    step(&context, &mut gpu, slot, &[3]).expect("it runs");
    // More pages than a binding can hold: nothing was allocated, and everything goes on.
    let before = context.allocated_bytes();
    assert!(matches!(gpu.kv_reserve(1 << 40), Err(Error::Memory { needed_bytes, .. }) if needed_bytes >= 1 << 40));
    assert_eq!(context.allocated_bytes(), before);
    step(&context, &mut gpu, slot, &[4]).expect("it runs");
}

#[test]
fn buffers_are_given_back() {
    let context = context(&Request::default());
    let (mut gpu, slot) = ready(&context).expect("it loads");
    let loaded = (context.n_buffers(), context.allocated_bytes());
    assert!(loaded.0 > 3 && loaded.1 > 4 * (N_TOKENS * WIDTH) as u64);
    assert_eq!(block_on(Some(&context), gpu.check()), Ok(()));
    assert_eq!((context.n_buffers(), context.allocated_bytes()), loaded, "the self-check left something");
    step(&context, &mut gpu, slot, &[1, 2]).expect("it runs");
    let (other, _) = ready(&context).expect("two share a device");
    drop(other);
    begin(&mut gpu, slot, &[5]).expect("it begins");
    assert_eq!(gpu.advance(1), Ok(Progress::Pending));
    drop(gpu);
    assert_eq!((context.n_buffers(), context.allocated_bytes()), (0, 0));
    assert_eq!(context.health(), Ok(()), "dropping in the middle of a step is no fault");
}

#[test]
fn nothing_is_made_per_step() {
    let context = context(&Request::default());
    let (mut gpu, slot) = ready(&context).expect("it loads");
    step(&context, &mut gpu, slot, &[1]).expect("it runs");
    let made = context.made();
    assert!(made.buffers > 0 && made.bind_groups >= 3 && made.pipelines >= 3, "{made:?} does not count");
    for i in 0..1000 {
        let n = 1 + i % MAX_ROWS as u32;
        let tokens: Vec<u32> = (0..n).map(|j| (i + j) % N_TOKENS as u32).collect();
        step(&context, &mut gpu, slot, &tokens).expect("it runs");
    }
    assert_eq!(context.made(), made);
}

/// Steps that are begun while another is pending: the last one counts, and the stages of the others come back.
#[test]
fn steps_that_nobody_waits_for() {
    let context = context(&Request::default());
    let (mut gpu, slot) = ready(&context).expect("it loads");
    step(&context, &mut gpu, slot, &[1]).expect("it runs");
    let made = context.made();
    for i in 0..300 {
        let tokens = [i % N_TOKENS as u32, (i + 1) % N_TOKENS as u32];
        begin(&mut gpu, slot, &tokens[..1]).expect("it begins");
        if i % 3 > 0 {
            assert_eq!(gpu.advance(1), Ok(Progress::Pending));
        }
        if i % 3 > 1 {
            block_on(Some(&context), gpu.ready());
        }
        step(&context, &mut gpu, slot, &tokens).expect("it runs");
    }
    let now = context.made();
    assert!(now.buffers <= made.buffers + 2, "{} buffers became {}", made.buffers, now.buffers);
    assert_eq!((now.bind_groups, now.pipelines), (made.bind_groups, made.pipelines));
}
