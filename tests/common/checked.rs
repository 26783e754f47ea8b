//! Executors whose plans are prepared and whose weights are not there: what the GPU's self-check needs.

use std::{collections::BTreeSet, ops::Range, rc::Rc};

use kinglet::{
    arch::Model,
    error::Result,
    gguf::{Event, Header, Parser},
    gpu::{Context, Gpu, context::block_on, shader::Shader},
    kv::KvFormat,
    plan::{Executor, PlanSlot},
    session::Plans,
};

/// The header of a file.
pub fn header(file: &[u8]) -> Header {
    let mut header = None;
    let mut parser = Parser::new();
    let fed = parser.feed(file, &mut |event| {
        if let Event::Header(h) = event {
            header = Some(*h);
        }
        Ok(())
    });
    fed.expect("a well-formed file");
    header.expect("a header")
}

/// An executor with the plans of a session for this model.
pub fn prepared(context: &Rc<Context>, file: &[u8], format: KvFormat) -> Result<Gpu> {
    with_plans(context, file, format, 0..3)
}

/// The same with one of the plans.
pub fn prepared_plan(context: &Rc<Context>, file: &[u8], format: KvFormat, plan: usize) -> Result<Gpu> {
    with_plans(context, file, format, plan..plan + 1)
}

fn with_plans(context: &Rc<Context>, file: &[u8], format: KvFormat, plans: Range<usize>) -> Result<Gpu> {
    let model = Model::from_header(&header(file))?;
    let mut gpu = Gpu::new(context.clone(), model.kv_geometry(format));
    for id in model.used_weights()? {
        gpu.create_weight(id, model.weights.spec(id))?;
    }
    for plan in Plans::of(&model, model.hyper.n_ctx_train, true)?.iter().skip(plans.start).take(plans.len()) {
        gpu.prepare(plan.clone())?;
    }
    Ok(gpu)
}

/// The shaders that its plans take.
pub fn shaders(gpu: &Gpu) -> BTreeSet<Shader> {
    let lowered = (0..).map_while(|i| gpu.lowered(PlanSlot(i)).ok());
    lowered.flat_map(kinglet::gpu::dispatch::Lowered::all).map(|d| d.shader.clone()).collect()
}

/// Runs the self-check.
pub fn check(context: &Rc<Context>, gpu: &mut Gpu) -> Result<()> {
    block_on(Some(context), gpu.check())
}
