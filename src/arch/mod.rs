//! Model families: from a file's header to hyper-parameters and plans. One short file per family says only what is special
//! about it. Layer 1: nothing here knows an executor.

mod bert;
mod blocks;
mod family;
mod gemma;
mod gpt2;
mod gptneox;
mod granite;
mod head;
mod hyper;
mod lfm2;
mod llama;
mod modern_bert;
mod olmo2;
mod phi2;
mod phi3;
mod qwen;
mod smollm3;
mod stablelm;
mod starcoder2;
mod t5;
mod vocabulary;

pub use family::Task;
pub use head::{Head, Pooling};
pub use hyper::{Hyper, RopeScaling};

use std::sync::Arc;

use self::{family::Family, hyper::Keys};

use crate::{
    error::{Error, Result},
    gguf::Header,
    kv::{KvFormat, KvGeometry},
    plan::{
        Builder, Plan, RowBound,
        fuse::{self, Rule},
    },
    weights::{WeightId, Weights},
};

/// A model as far as its header tells: what it is, what weights it has, what to compute.
#[derive(Debug, Clone)]
pub struct Model {
    /// Hyper-parameters, range-checked.
    pub hyper: Hyper,
    /// Every tensor of the file.
    pub weights: Weights,
    family: Arc<dyn Family>,
}

impl Model {
    /// Reads and checks a header. Every tensor that the model needs is there with its shape, and every block tensor that is
    /// there is used: a file with parts that this engine would leave out is refused, not run wrongly.
    pub fn from_header(header: &Header) -> Result<Self> {
        let keys = Keys::of(header)?;
        let read = family::find(keys.architecture())?;
        let hyper = Hyper::read(&keys)?;
        let family: Arc<dyn Family> = Arc::from(read(&keys, &hyper)?);
        if family.head().is_none() && keys.bool("attention.causal")? == Some(false) {
            return Err(keys.unsupported("attention.causal", "attention that is not causal"));
        }
        let mut model = Self { hyper, weights: Weights::from_header(header), family };
        model.family.split(&mut model.weights, &model.hyper)?;
        let used = model.used_weights()?;
        for (id, spec) in model.weights.iter() {
            if used.binary_search(&id).is_err() && !is_ignorable(&spec.name) {
                return Err(Error::UnsupportedArch {
                    what: format!("{}: this engine does not know tensor {}", model.hyper.architecture, spec.name),
                });
            }
        }
        Ok(model)
    }

    /// What this model can do; the first is what it is for.
    pub fn tasks(&self) -> &[Task] {
        self.family.tasks()
    }

    /// Pooling and heads of an encoder; `None` where the model is none.
    pub fn head(&self) -> Option<&Head> {
        self.family.head()
    }

    /// [`Error::UnsupportedTask`] where the model is not made for a task.
    pub fn supports(&self, task: Task) -> Result<()> {
        if self.tasks().contains(&task) {
            return Ok(());
        }
        let tasks: Vec<&str> = self.tasks().iter().map(|task| task.name()).collect();
        let what =
            format!("a model of {} cannot {}: it can {}", self.hyper.architecture, task.name(), tasks.join(", "));
        Err(Error::UnsupportedTask { what })
    }

    /// The plan of a task for steps of `rows` rows of which at most `max_outputs` ask for output, fused.
    pub fn plan(&self, task: Task, rows: RowBound, max_outputs: usize) -> Result<Plan> {
        let plan = fuse::fuse(self.unfused_plan(task, rows, max_outputs)?, Rule::ALL);
        self.check(&plan)?;
        Ok(plan)
    }

    /// The plan as the architecture records it, before fusion. [`Error::UnsupportedTask`] where the model is not made for it.
    pub fn unfused_plan(&self, task: Task, rows: RowBound, max_outputs: usize) -> Result<Plan> {
        let architecture = &self.hyper.architecture;
        self.supports(task)?;
        let name = match (task, rows) {
            (Task::Generate, RowBound::One) => format!("{architecture} decode"),
            (Task::Generate, RowBound::UpTo(n)) => format!("{architecture} up to {n} rows"),
            (task, rows) => format!("{architecture} {task:?} up to {} rows", rows.max()),
        };
        let mut b = Builder::new(name, &self.weights, rows, max_outputs);
        let output = self.family.record(&mut b, &self.hyper, task)?;
        let plan = b.finish(output);
        self.check(&plan)?;
        Ok(plan)
    }

    /// What must hold of every plan for this model; a fault is a defect of the engine.
    fn check(&self, plan: &Plan) -> Result<()> {
        plan.check()?;
        plan.check_weights(|id| Some(self.weights.spec(id)))?;
        plan.check_geometry(&self.kv_geometry(KvFormat::F32))
    }

    /// The weights that the plans of all tasks read, ascending: what an executor must be given.
    pub fn used_weights(&self) -> Result<Vec<WeightId>> {
        let mut ids: Vec<WeightId> = vec![];
        for task in self.tasks() {
            let plan = self.unfused_plan(*task, RowBound::One, 1)?;
            ids.extend(plan.ops.iter().flat_map(|op| op.weights()));
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Of an encoder-decoder the token with which its decoder begins.
    pub fn decoder_start(&self) -> Option<u32> {
        self.family.decoder_start()
    }

    /// The longest context that its positions allow, tokens: as trained, but for families with relative ones.
    pub fn longest_context(&self) -> usize {
        self.family.longest_context(&self.hyper)
    }

    /// Shape of the key-value cache.
    pub fn kv_geometry(&self, format: KvFormat) -> KvGeometry {
        self.family.kv_geometry(&self.hyper, format)
    }
}

/// Tensors that carry nothing to compute: old files store in each block the rotary frequencies that follow from the metadata, and
/// T5's first checkpoints a bias of the cross-attention that no implementation reads.
fn is_ignorable(name: &str) -> bool {
    name.ends_with(".attn_rot_embd.weight") || name.ends_with(".cross_attn_rel_b.weight")
}
