//! Model families: from a file's header to hyper-parameters and plans. One short file per family says only what is special
//! about it. Layer 1: nothing here knows an executor.

mod hyper;
mod llama;
mod vocabulary;

pub use hyper::{Hyper, RopeScaling};

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
}

impl Model {
    /// Reads and checks a header. Every tensor that the model needs is there with its shape, and every block tensor that is
    /// there is used: a file with parts that this engine would leave out is refused, not run wrongly.
    pub fn from_header(header: &Header) -> Result<Self> {
        let hyper = Hyper::from_metadata(&header.metadata)?;
        let model = Self { hyper, weights: Weights::from_header(header) };
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

    /// The plan for steps of `rows` rows of which at most `max_outputs` ask for logits, fused.
    pub fn plan(&self, rows: RowBound, max_outputs: usize) -> Result<Plan> {
        let plan = fuse::fuse(self.unfused_plan(rows, max_outputs)?, &Rule::ALL);
        self.check(&plan)?;
        Ok(plan)
    }

    /// The plan as the architecture records it, before fusion.
    pub fn unfused_plan(&self, rows: RowBound, max_outputs: usize) -> Result<Plan> {
        let name = match rows {
            RowBound::One => format!("{} decode", self.hyper.architecture),
            RowBound::UpTo(n) => format!("{} up to {n} rows", self.hyper.architecture),
        };
        let mut b = Builder::new(name, &self.weights, rows, max_outputs);
        let logits = llama::forward(&mut b, &self.hyper)?;
        let plan = b.finish(logits);
        self.check(&plan)?;
        Ok(plan)
    }

    /// What must hold of every plan for this model; a fault is a defect of the engine.
    fn check(&self, plan: &Plan) -> Result<()> {
        plan.check()?;
        plan.check_weights(|id| Some(self.weights.spec(id)))?;
        plan.check_geometry(&self.kv_geometry(KvFormat::F32))
    }

    /// The weights that the plans read, ascending: what an executor must be given.
    pub fn used_weights(&self) -> Result<Vec<WeightId>> {
        let plan = self.unfused_plan(RowBound::One, 1)?;
        let mut ids: Vec<WeightId> = plan.ops.iter().flat_map(|op| op.weights()).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Shape of the key-value cache.
    pub fn kv_geometry(&self, format: KvFormat) -> KvGeometry {
        let Hyper { n_layer, n_head_kv, head_size, .. } = self.hyper;
        KvGeometry { layers: n_layer, kv_heads: n_head_kv, head_size, format }
    }
}

/// Tensors that carry nothing to compute: old files store in each block the rotary frequencies that follow from the metadata.
fn is_ignorable(name: &str) -> bool {
    name.ends_with(".attn_rot_embd.weight")
}
