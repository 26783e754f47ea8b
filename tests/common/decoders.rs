//! Tiny random models of every decoder family with the logits of HF transformers (tests/golden/make_tiny_decoders.py).

use serde::Deserialize;

use super::golden::{difference, float_rows};

#[derive(Deserialize)]
struct GoldenJson {
    vocabulary: usize,
    tokens: Vec<u32>,
    positions: Vec<usize>,
    logits: String,
}

pub struct Decoder {
    pub name: &'static str,
    pub file: &'static [u8],
    pub tokens: Vec<u32>,
    /// Where logits are known.
    pub positions: Vec<usize>,
    /// [positions, V]
    pub logits: Vec<Vec<f32>>,
}

impl Decoder {
    /// The largest difference of these logits, [tokens, V], as a part of the largest golden one.
    pub fn difference(&self, logits: &[Vec<f32>]) -> f32 {
        assert_eq!(logits.len(), self.tokens.len());
        let kept: Vec<Vec<f32>> = self.positions.iter().map(|p| logits[*p].clone()).collect();
        difference(&kept, &self.logits)
    }
}

/// Every family, with grouped and full attention where it has both, and its variants.
pub fn decoders() -> Vec<Decoder> {
    macro_rules! decoders {
        ($($name:literal)*) => {
            vec![$(decoder(
                $name,
                include_bytes!(concat!("../golden/decoders/", $name, ".gguf")),
                include_str!(concat!("../golden/decoders/", $name, ".json")),
            )),*]
        };
    }
    decoders! {
        "gemma" "gemma_full" "gemma2" "gemma3" "gemma3_linear" "gpt2" "gptneox" "gptneox_sequential" "granite" "granite_full"
        "lfm2" "lfm2_wide" "olmo2" "olmo3" "phi2" "phi3" "phi3_window" "qwen2" "qwen2_full" "qwen3" "qwen3_full" "smollm3"
        "stablelm" "stablelm_parallel" "starcoder2"
    }
}

/// The one with this name.
pub fn decoder_named(name: &str) -> Decoder {
    decoders().into_iter().find(|d| d.name == name).expect("a family's model")
}

fn decoder(name: &'static str, file: &'static [u8], json: &str) -> Decoder {
    let golden: GoldenJson = serde_json::from_str(json).expect("a well-formed golden");
    let logits = float_rows(&golden.logits, golden.vocabulary);
    assert_eq!(logits.len(), golden.positions.len());
    Decoder { name, file, tokens: golden.tokens, positions: golden.positions, logits }
}
