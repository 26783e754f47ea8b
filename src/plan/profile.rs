//! Where the time of steps goes, as an executor that can measure it says. For people who look for what is slow.

use super::Op;
use crate::weights::{WeightId, WeightSpec};

/// What an executor has measured since it was asked to.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// Complete steps, and their rows.
    pub steps: usize,
    /// Rows of all steps together.
    pub rows: usize,
    /// In the executor, of the thread that calls it: `kinds`, its waits, and little else. On a device: from the first dispatch's begin to the
    /// last one's end.
    pub steps_ms: f64,
    /// By kind of operation.
    pub kinds: Vec<KindTime>,
    /// Barriers, and how long the calling thread waited at them.
    pub barriers: u64,
    /// How long the calling thread waited at barriers.
    pub barrier_wait_ms: f64,
    /// How long each of the other threads did, on average.
    pub others_wait_ms: f64,
    /// Threads of the newest step.
    pub threads: usize,
    /// The kernels in use.
    pub flavour: String,
}

/// What operations of a kind took the calling thread, waits left out; or dispatches of a kind the device.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct KindTime {
    /// Such as `Attention` or `MatMul ffn_gate+ffn_up Q4_1`; of a dispatch with what it runs, `Attention: attention f16 APPEND PARTS`.
    pub kind: String,
    /// How often one was run.
    pub count: u64,
    /// Sums over many: a clock may be as coarse as 0.1 ms.
    pub ms: f64,
}

impl Op {
    /// Its kind, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Embed { .. } => "Embed",
            Self::AddRow { .. } => "AddRow",
            Self::Norm { .. } => "Norm",
            Self::NormAdd { .. } => "NormAdd",
            Self::MatMul(_) => "MatMul",
            Self::Rope { .. } => "Rope",
            Self::KvWrite { .. } => "KvWrite",
            Self::RopeKv { .. } => "RopeKv",
            Self::Attention(_) => "Attention",
            Self::ShortConv { .. } => "ShortConv",
            Self::Activate { .. } => "Activate",
            Self::Glu { .. } => "Glu",
            Self::Add { .. } => "Add",
            Self::SelectRows { .. } => "SelectRows",
            Self::MeanRows { .. } => "MeanRows",
            Self::Scale { .. } => "Scale",
        }
    }

    /// Its kind; of a product also its weights, without the layer's number, and their format.
    pub fn kind<'a>(&self, spec: impl Fn(WeightId) -> Option<&'a WeightSpec>) -> String {
        let Self::MatMul(product) = self else { return self.name().into() };
        let (mut names, mut formats) = (String::new(), "");
        for spec in product.parts.iter().filter_map(|part| spec(part.weight)) {
            names += if names.is_empty() { " " } else { "+" };
            names += short_name(&spec.name);
            formats = if formats.is_empty() || formats == spec.format.name() { spec.format.name() } else { "mixed" };
        }
        [self.name(), &names, " ", formats].concat()
    }
}

/// `ffn_up` of `blk.3.ffn_up.weight`.
fn short_name(name: &str) -> &str {
    let name = name.strip_suffix(".weight").unwrap_or(name);
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}
