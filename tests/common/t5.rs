//! Tiny random encoder-decoders with results of HF transformers (tests/golden/make_tiny_t5.py).

use kinglet::session::{BeamParams, EarlyStopping};
use serde::Deserialize;

#[derive(Deserialize)]
struct GoldenJson {
    vocabulary: usize,
    width: usize,
    max_new_tokens: usize,
    cases: Vec<CaseJson>,
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct CaseJson {
    target: Vec<u32>,
    encoded: String,
    logits: String,
    #[serde(flatten)]
    output: Output,
}

/// What HF's generate gives for a source.
#[derive(Deserialize, Clone)]
pub struct Output {
    pub source: Vec<u32>,
    pub greedy: Vec<u32>,
    pub beams: Vec<BeamOutput>,
}

#[derive(Deserialize, Clone)]
pub struct BeamOutput {
    num_beams: usize,
    length_penalty: Option<f64>,
    early_stopping: Option<serde_json::Value>,
    pub sequences: Vec<Vec<u32>>,
}

impl BeamOutput {
    pub fn params(&self) -> BeamParams {
        let early_stopping = match &self.early_stopping {
            None | Some(serde_json::Value::Bool(false)) => EarlyStopping::Heuristic,
            Some(serde_json::Value::Bool(true)) => EarlyStopping::Yes,
            Some(other) => {
                assert_eq!(other, "never");
                EarlyStopping::Never
            }
        };
        BeamParams { width: self.num_beams, length_penalty: self.length_penalty.unwrap_or(1.0), early_stopping }
    }
}

pub struct T5Case {
    pub target: Vec<u32>,
    /// [source, D]
    pub encoded: Vec<Vec<f32>>,
    /// [target, V]
    pub logits: Vec<Vec<f32>>,
    pub output: Output,
}

pub struct T5Golden {
    pub name: &'static str,
    pub file: &'static [u8],
    pub max_new_tokens: usize,
    pub cases: Vec<T5Case>,
    pub outputs: Vec<Output>,
}

/// T5 (relu, tied, over page borders and the farthest bucket), flan-T5 (gated, a head of its own, a shorter decoder), mT5, umT5 (every
/// layer its own bias), ByT5 (bytes; gated and tied).
pub fn t5_goldens() -> Vec<T5Golden> {
    macro_rules! golden {
        ($name:literal) => {
            golden(
                $name,
                include_bytes!(concat!("../golden/tiny_t5_", $name, ".gguf")),
                include_str!(concat!("../golden/tiny_t5_", $name, ".json")),
            )
        };
    }
    vec![golden!("relu"), golden!("flan"), golden!("mt5"), golden!("umt5"), golden!("byt5")]
}

fn golden(name: &'static str, file: &'static [u8], json: &str) -> T5Golden {
    let golden: GoldenJson = serde_json::from_str(json).expect("a well-formed golden");
    let rows = |hex: &str, width: usize| -> Vec<Vec<f32>> {
        let number = |i: usize| u32::from_str_radix(&hex[i..i + 8], 16).expect("hexadecimal").swap_bytes();
        let flat: Vec<f32> = (0..hex.len()).step_by(8).map(|i| f32::from_bits(number(i))).collect();
        flat.chunks(width).map(<[f32]>::to_vec).collect()
    };
    let case = |c: CaseJson| T5Case {
        target: c.target,
        encoded: rows(&c.encoded, golden.width),
        logits: rows(&c.logits, golden.vocabulary),
        output: c.output,
    };
    T5Golden {
        name,
        file,
        max_new_tokens: golden.max_new_tokens,
        cases: golden.cases.into_iter().map(case).collect(),
        outputs: golden.outputs,
    }
}
