//! Encoders on the GPU, through the engine: what HF transformers gives, in every form of the kernels that the device has, alone and
//! in batches; what was checked at load is all that runs later.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use common::{
    encoders::{difference, encode_elsewhere, encode_request, encoder_golden, encoder_goldens, inputs, largest},
    generate::load,
    gpu,
    parse::parse,
};
use kinglet::{
    arch::{Model, Task},
    engine::{Device, Engine, Options},
    error::Result,
    gpu::{Context, Gpu, Request, context::block_on},
    kv::KvFormat,
    plan::Executor,
    session::{EncodeRequest, Input, Output, encoder_plans},
};

/// Against transformers, both f32: the largest difference over the largest number.
const GPU_TOLERANCE: f32 = 1e-4;
/// The same with keys and values rounded to f16.
const F16_CACHE_TOLERANCE: f32 = 5e-3;
/// The GPU against itself in batches of other lengths: other orders of summation.
const BATCH_TOLERANCE: f32 = 1e-4;

fn engine(context: &Rc<Context>, file: &[u8], kv_format: KvFormat) -> Engine {
    let options = Options { kv_format, ..Options::new(Device::Gpu(context.clone())) };
    load(file, options, 1 << 16).unwrap()
}

fn run(context: &Context, engine: &mut Engine, request: &EncodeRequest) -> Result<Vec<Output>> {
    let waits = |signal| block_on(Some(context), signal);
    Ok(encode_elsewhere(&mut engine.session, request, usize::MAX, waits)?.0)
}

/// On a context that is watched, nothing may be written behind a buffer.
fn gives_what_transformers_gives(context: &Rc<Context>, kv_format: KvFormat, tolerance: f32) -> Result<()> {
    let mut n_zones = vec![];
    for golden in encoder_goldens() {
        let mut engine = engine(context, golden.file, kv_format);
        for (task, cases) in &golden.tasks {
            let outputs = run(context, &mut engine, &encode_request(*task, inputs(cases)))?;
            for (output, case) in outputs.iter().zip(cases) {
                let d = difference(*task, output, case, largest(*task, cases));
                println!("{} {}: {d:.1e} of the largest", golden.name, task.name());
                assert!(d <= tolerance, "{} {task:?} {:?}: {d}", golden.name, case.input);
            }
        }
        n_zones.push(context.check_zones()?);
    }
    println!("zones behind buffers: {n_zones:?}");
    assert!(n_zones.iter().all(|n| (*n > 0) == (kv_format == KvFormat::F16)), "{n_zones:?}");
    Ok(())
}

#[test]
fn every_head_of_every_family_gives_what_transformers_gives() -> Result<()> {
    let context = gpu::context(&Request::default());
    gives_what_transformers_gives(&context, KvFormat::F32, GPU_TOLERANCE)
}

#[test]
fn keys_and_values_in_f16_stay_near_and_no_shader_writes_behind_its_buffer() -> Result<()> {
    let context = gpu::watched(&Request { without_subgroups: true, ..Request::default() });
    gives_what_transformers_gives(&context, KvFormat::F16, F16_CACHE_TOLERANCE)
}

#[test]
fn a_text_gives_the_same_alone_and_in_a_batch_and_in_longer_plans() -> Result<()> {
    let context = gpu::context(&Request::default());
    let golden = encoder_golden("modern-bert");
    let mut engine = engine(&context, golden.file, KvFormat::F32);
    let (task, cases) = &golden.tasks[0];
    assert_eq!(*task, Task::Embed);
    let many: Vec<Input> = (0..30).map(|i| cases[i * 3 % cases.len()].input.clone()).collect();
    let together = run(&context, &mut engine, &encode_request(*task, many))?;
    for (i, output) in together.iter().enumerate() {
        let case = &cases[i * 3 % cases.len()];
        let alone = run(&context, &mut engine, &encode_request(*task, vec![case.input.clone()]))?;
        let worst = output.values.iter().zip(&alone[0].values).fold(0.0_f32, |a, (x, y)| a.max((x - y).abs()));
        assert!(worst <= BATCH_TOLERANCE, "{worst}");
        assert!(difference(*task, output, case, largest(*task, cases)) <= GPU_TOLERANCE);
    }
    Ok(())
}

#[test]
fn larger_plans_take_no_kernel_that_was_not_checked() -> Result<()> {
    let context = gpu::context(&Request::default());
    for golden in encoder_goldens() {
        let model = Model::from_header(&parse(golden.file)?.header)?;
        let mut gpu = Gpu::new(context.clone(), model.kv_geometry(KvFormat::F16));
        for id in model.used_weights()? {
            gpu.create_weight(id, model.weights.spec(id))?;
        }
        let mut of_task: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for plan in encoder_plans(&model, 600)? {
            let task = plan.name.split(" up to").next().unwrap_or_default().to_owned();
            let slot = gpu.prepare(plan)?;
            let shaders = gpu.lowered(slot)?.dispatches.iter().map(|d| d.shader.label()).collect();
            // The first of a task is the smallest, which is prepared at load.
            let checked = of_task.entry(task).or_insert_with(|| BTreeSet::clone(&shaders));
            assert!(shaders.is_subset(checked), "{}: {shaders:?} of {checked:?}", golden.name);
        }
        assert_eq!(of_task.len(), model.tasks().len());
    }
    Ok(())
}
