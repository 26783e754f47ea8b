//! tests/golden/teacher_forced.json: what HF transformers' f32 model says along its own greedy continuations, what llama.cpp
//! says on the same positions, and how to judge a third.

use serde::Deserialize;

/// The mean difference of log-probabilities that is allowed.
pub const MEAN_DIFFERENCE: f64 = 0.05;
/// Where the reference's two best logits are this far apart, the best token must be the same.
pub const CLEAR_GAP: f64 = 0.3;

/// The file.
#[derive(Deserialize)]
pub struct TeacherForced {
    pub model_sha256: String,
    pub summary: serde_json::Value,
    pub prompts: Vec<Prompt>,
}

/// One prompt and its continuation; every list has one item for each token.
#[derive(Deserialize)]
pub struct Prompt {
    pub text: String,
    pub prompt: Vec<u32>,
    pub tokens: Vec<u32>,
    /// The reference's log-probability of the token.
    pub logprob: Vec<f64>,
    /// The reference's two best tokens,
    pub best: Vec<[u32; 2]>,
    /// and their logits.
    pub logits: Vec<[f64; 2]>,
    pub llama_cpp: Other,
}

/// What another engine says.
#[derive(Deserialize, Clone, Default)]
pub struct Other {
    /// Its log-probability of the same token.
    pub logprob: Vec<f64>,
    /// Its best token.
    pub best: Vec<u32>,
}

/// How near another engine is to the reference, over all positions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judgement {
    pub positions: usize,
    /// Positions where the reference's best token is clear.
    pub clear_positions: usize,
    pub mean_difference: f64,
    pub largest_difference: f64,
    pub other_best: usize,
    /// Prompt, position and gap of the clear positions where the best token differs.
    pub wrong: Vec<(usize, usize, f64)>,
}

impl TeacherForced {
    /// The committed goldens.
    pub fn golden() -> Self {
        serde_json::from_str(include_str!("../golden/teacher_forced.json")).expect("a well-formed golden")
    }

    /// Compares; `others` has one item for each prompt.
    pub fn judge<'a>(&self, others: impl IntoIterator<Item = &'a Other>) -> Judgement {
        let mut judgement = Judgement::default();
        for (p, (prompt, other)) in self.prompts.iter().zip(others).enumerate() {
            assert_eq!(other.logprob.len(), prompt.tokens.len());
            for i in 0..prompt.tokens.len() {
                let difference = (prompt.logprob[i] - other.logprob[i]).abs();
                assert!(difference.is_finite());
                let gap = prompt.logits[i][0] - prompt.logits[i][1];
                let (wrong, clear) = (prompt.best[i][0] != other.best[i], gap >= CLEAR_GAP);
                judgement.positions += 1;
                judgement.clear_positions += usize::from(clear);
                judgement.mean_difference += difference;
                judgement.largest_difference = judgement.largest_difference.max(difference);
                judgement.other_best += usize::from(wrong);
                judgement.wrong.extend((wrong && clear).then_some((p, i, gap)));
            }
        }
        judgement.mean_difference /= judgement.positions.max(1) as f64;
        judgement
    }
}

impl Judgement {
    /// Whether the engine is as near to the reference as it must be.
    pub fn passes(&self) -> bool {
        self.positions > 0 && self.mean_difference <= MEAN_DIFFERENCE && self.wrong.is_empty()
    }
}
