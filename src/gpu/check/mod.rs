//! Shows at load that this device computes what plans say: every form of every kernel that the prepared plans take is run on
//! small awkward shapes, twice with different inputs, and compared with the reference executor.
//!
//! ```text
//! prepared plans ──sample──► small plans ──► scratch executor on the same device ─┐
//!                                      └───► reference ──────────────────────────┴─► judge
//! ```
//! A form that does not compile or computes wrongly is given up for the one that does without what is special about it
//! ([`Forms::without`](super::Forms)), for every executor of the context; then everything is run again. Where none is left the device is not to be
//! used: [`Error::GpuWrong`].

mod ahead;
mod judge;
mod kind;
mod noise;
mod rename;
mod sample;
mod split;
mod steps;

use std::rc::Rc;

pub(super) use self::sample::{Sample, samples};
use self::{
    judge::{Judge, Wrong},
    steps::N_STEPS,
};
use super::{
    Context, Gpu,
    shader::{BEST, Kernel, Shader},
};
use crate::{
    error::{Error, Result},
    plan::{Executor, PlanSlot, Progress, Step, Want},
    reference::Reference,
    sorted::SortedSet,
};

/// Why a trial failed.
enum Failure {
    /// An operation with these shaders is wrong.
    Form(Vec<Shader>, Error),
    /// It is not the fault of a form.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Runs the samples; the forms in use are those that passed.
pub(super) async fn run(context: Rc<Context>, samples: Vec<Sample>) -> Result<()> {
    let in_use = context.pipelines().borrow().keys();
    let verdict = try_forms(&context, &samples).await;
    // What only the samples needed.
    context.pipelines().borrow_mut().retain(&in_use);
    verdict
}

async fn try_forms(context: &Rc<Context>, samples: &[Sample]) -> Result<()> {
    let first_forms = context.forms();
    loop {
        let (shaders, error) = match try_all(context, samples, context.forms() == first_forms).await {
            Ok(()) => return Ok(()),
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::Form(shaders, error)) => (shaders, error),
        };
        match context.forms().without(&shaders) {
            Some(forms) => context.set_forms(forms),
            None => return Err(error),
        }
    }
}

/// `covers`: whether the samples must take every shader that they were drawn for, which holds for the forms of that time.
async fn try_all(context: &Rc<Context>, samples: &[Sample], covers: bool) -> Result<(), Failure> {
    compiled(context).await?;
    for sample in samples {
        Trial::new(context, sample)?.run(covers).await?;
    }
    Ok(())
}

/// What was compiled so far is sound.
async fn compiled(context: &Rc<Context>) -> Result<(), Failure> {
    let verdict = context.settled().await;
    let broken = context.take_broken();
    let Some((_, error)) = broken.first() else { return verdict.map_err(Failure::Other) };
    // Anything else that is wrong counts first.
    context.health()?;
    let what = format!("{error} ({})", context.facts().name);
    Err(Failure::Form(broken.into_iter().map(|(shader, _)| shader).collect(), Error::GpuWrong { what }))
}

/// A sample on the device and on the reference.
struct Trial<'a> {
    context: &'a Rc<Context>,
    sample: &'a Sample,
    gpu: Gpu,
    reference: Reference,
    slots: (PlanSlot, PlanSlot),
}

impl<'a> Trial<'a> {
    fn new(context: &'a Rc<Context>, sample: &'a Sample) -> Result<Self> {
        let mut gpu = Gpu::with_thresholds(context.clone(), sample.geometry, sample.thresholds);
        let mut reference = Reference::new(sample.geometry);
        let slots = (sample.prepare(&mut gpu)?, sample.prepare(&mut reference)?);
        sample.fill(&mut gpu, &mut reference)?;
        Ok(Self { context, sample, gpu, reference, slots })
    }

    async fn run(mut self, covers: bool) -> Result<(), Failure> {
        compiled(self.context).await?;
        if covers {
            self.check_coverage()?;
        }
        for index in 0..N_STEPS {
            let rows = self.sample.rows(index);
            let sequences: Vec<_> = self.sample.sequences().collect();
            let outputs = self.sample.outputs(index);
            let memories = self.sample.memories();
            let want = Want::Best(self.sample.n_best(index));
            let step = Step {
                rows: &rows,
                outputs: &outputs,
                sequences: &sequences,
                memories: &memories,
                embeddings: &[],
                want,
            };
            self.step(&step).await?;
            self.judge(index, outputs.len()).await?;
        }
        let is_for_runs = self.sample.shaders.keys().any(|shader| shader.kernel == Kernel::Choose);
        if is_for_runs && self.gpu.most_ahead(self.slots.0) > 0 {
            self.run_ahead().await?;
        }
        Ok(())
    }

    /// Every shader that the sample was drawn for is really in it.
    fn check_coverage(&self) -> Result<()> {
        let lowered = self.gpu.prepared(self.slots.0)?.lowered();
        let there: SortedSet<&Shader> = lowered.all().map(|d| (&d.shader, ())).collect();
        match self.sample.shaders.keys().find(|shader| !there.contains(shader)) {
            None => Ok(()),
            Some(shader) => Err(Error::internal(format!("the self-check has no case for {}", shader.label()))),
        }
    }

    /// Runs a step on both; the reference while the device works.
    async fn step(&mut self, step: &Step<'_>) -> Result<()> {
        self.gpu.begin(self.slots.0, step)?;
        let mut progress = self.gpu.advance(usize::MAX)?;
        self.reference.begin(self.slots.1, step)?;
        while self.reference.advance(usize::MAX)? != Progress::Complete {}
        while progress != Progress::Complete {
            self.gpu.ready().await;
            progress = self.gpu.advance(usize::MAX)?;
        }
        Ok(())
    }

    /// Compares in the order of the operations, so that the first that is wrong is named and not one that reads its results.
    async fn judge(&mut self, index: usize, n_outputs: usize) -> Result<(), Failure> {
        let plan = &self.sample.plan;
        for (i, op) in plan.ops.iter().enumerate() {
            let lowered = self.gpu.prepared(self.slots.0)?.lowered();
            let of_op = lowered.dispatches.iter().filter(|d| d.op == i);
            let judge = Judge::of(op, self.sample.geometry.format, of_op.map(|d| &d.shader));
            for id in op.writes() {
                let found = judge.compare(self.gpu.tap(id)?, self.reference.tap(id)?);
                let name = plan.buffers.get(id.0 as usize).map_or("", |b| &b.name);
                found.map_err(|wrong| self.wrong(Some(i), index, name, &wrong))?;
            }
            if let Some(layer) = judge::written_layer(op) {
                let (actual, expected) = self.cached().await?;
                let found = judge::compare_cache(&self.sample.geometry, layer, &actual, &expected);
                found.map_err(|wrong| self.wrong(Some(i), index, "the cache", &wrong))?;
            }
        }
        if self.gpu.prepared(self.slots.0)?.lowered().best.is_empty() {
            return Ok(());
        }
        // Among the device's own, which were seen to be right: those of a product may be in another order where two are near.
        let all = self.gpu.tap(plan.output)?;
        for (o, logits) in all.chunks_exact((all.len() / n_outputs.max(1)).max(1)).enumerate() {
            let best = self.gpu.best(o)?;
            let found = judge::compare_best(best, logits, self.sample.n_best(index));
            found.map_err(|wrong| self.wrong(None, index, "the best logits", &wrong))?;
        }
        Ok(())
    }

    /// Every page of the cache, on the device and on the reference.
    async fn cached(&mut self) -> Result<(Vec<u8>, Vec<u8>)> {
        let pages = self.sample.pages();
        let (mut actual, mut expected) = (vec![], vec![]);
        while self.gpu.kv_read(&pages, &mut actual)? != Progress::Complete {
            self.gpu.ready().await;
        }
        while self.reference.kv_read(&pages, &mut expected)? != Progress::Complete {}
        Ok((actual, expected))
    }

    /// Operation `op`, or the search for the best logits, is wrong.
    fn wrong(&self, op: Option<usize>, step: usize, what: &str, wrong: &Wrong) -> Failure {
        let lowered = match self.gpu.prepared(self.slots.0) {
            Ok(prepared) => prepared.lowered(),
            Err(error) => return Failure::Other(error),
        };
        let shaders: Vec<Shader> = match op {
            Some(op) => lowered.dispatches.iter().filter(|d| d.op == op).map(|d| d.shader.clone()).collect(),
            None => {
                let finds = lowered.dispatches.iter().filter(|d| d.shader.has(BEST));
                finds.chain(&lowered.best).map(|d| d.shader.clone()).collect()
            }
        };
        self.wrong_shaders(shaders, step, what, wrong)
    }

    fn wrong_shaders(&self, shaders: Vec<Shader>, step: usize, what: &str, wrong: &Wrong) -> Failure {
        let labels: Vec<String> = shaders.iter().map(Shader::label).collect();
        let (labels, adapter) = (labels.join(", "), &self.context.facts().name);
        let what = format!("{labels}: {what}{wrong} in run {} of {} ({adapter})", step + 1, self.sample.plan.name);
        Failure::Form(shaders, Error::GpuWrong { what })
    }
}
