//! The vocabulary as far as the model depends on it: how many tokens, and that everything that speaks of them agrees. What
//! the tokens mean is the tokenizer's business.

use crate::{
    error::{Error, Result},
    gguf::{Array, Metadata, StringArray, Value},
};

/// Tokens that the engine feeds or waits for. (The roles that it never uses may be out of range, as they are in real files
/// whose padding token is one past the end.)
const SPECIAL_IDS: [&str; 5] = ["bos", "eos", "eot", "eom", "unknown"];

/// V: the number of tokens, > 0. Scores and types are as many, where there are any, and the special tokens are among them.
pub(super) fn n_vocab(metadata: &Metadata) -> Result<usize> {
    let n_vocab = metadata.strings("tokenizer.ggml.tokens")?.map_or(0, StringArray::len);
    if n_vocab == 0 {
        return Err(Error::file("metadata key tokenizer.ggml.tokens is missing or empty"));
    }
    // Those of a tokenizer.json are f64.
    let n_scores = match metadata.get("tokenizer.ggml.scores") {
        Some(Value::Array(Array::F64(scores))) => Some(scores.len()),
        _ => metadata.f32s("tokenizer.ggml.scores")?.map(<[f32]>::len),
    };
    let lengths = [
        ("tokenizer.ggml.scores", n_scores),
        ("tokenizer.ggml.token_type", metadata.i32s("tokenizer.ggml.token_type")?.map(<[i32]>::len)),
    ];
    for (key, n) in lengths {
        if let Some(n) = n.filter(|&n| n != n_vocab) {
            return Err(Error::file(format!(
                "metadata key {key} has {n} elements, expected one for each of {n_vocab} tokens"
            )));
        }
    }
    for role in SPECIAL_IDS {
        let key = format!("tokenizer.ggml.{role}_token_id");
        if let Some(id) = metadata.u64(&key)?.filter(|&id| id >= n_vocab as u64) {
            return Err(Error::file(format!("metadata key {key}: {id} is not in 0..{n_vocab}")));
        }
    }
    Ok(n_vocab)
}
