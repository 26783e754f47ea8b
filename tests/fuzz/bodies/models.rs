//! The smallest models that there can be: one layer, weights in any format, any tokenizer.

use kinglet::{gguf::Value, quant::Format};

use super::vocabulary::Vocabulary;
use crate::common::{
    formats::random_weights,
    gguf_builder::{GgufBuilder, string},
    rng::Rng,
};

const HEAD_SIZE: usize = 2;
const N_HEAD: usize = 2;
const N_FF: usize = 4;

/// A Llama whose matrices are in `format` where their rows are whole blocks of it, and in F32 where they are not.
pub fn tiny(format: Format, vocabulary: &Vocabulary) -> GgufBuilder {
    let (n_embd, n_vocab) = (format.block_len().max(4), vocabulary.tokens.len());
    let mut rng = Rng(1);
    let mut file = vocabulary.write(hyper_parameters(n_embd));
    let mut matrix = |file: GgufBuilder, name: &str, [n, k]: [usize; 2]| {
        let format = if k.is_multiple_of(format.block_len()) { format } else { Format::F32 };
        file.tensor(&format!("{name}.weight"), &[n, k], format, random_weights(&mut rng, n, k, format))
    };
    file = matrix(file, "token_embd", [n_vocab, n_embd]);
    for (part, n, k) in [
        ("attn_q", N_HEAD * HEAD_SIZE, n_embd),
        ("attn_k", HEAD_SIZE, n_embd),
        ("attn_v", HEAD_SIZE, n_embd),
        ("attn_output", n_embd, N_HEAD * HEAD_SIZE),
        ("ffn_gate", N_FF, n_embd),
        ("ffn_up", N_FF, n_embd),
        ("ffn_down", n_embd, N_FF),
    ] {
        file = matrix(file, &format!("blk.0.{part}"), [n, k]);
    }
    for name in ["blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"] {
        let ones = (0..n_embd).flat_map(|_| 1.0_f32.to_le_bytes()).collect();
        file = file.tensor(&format!("{name}.weight"), &[n_embd], Format::F32, ones);
    }
    file
}

fn hyper_parameters(n_embd: usize) -> GgufBuilder {
    let mut file = GgufBuilder::new()
        .kv("general.architecture", string("llama"))
        .kv("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    for (key, n) in [
        ("block_count", 1),
        ("context_length", 64),
        ("embedding_length", n_embd),
        ("feed_forward_length", N_FF),
        ("attention.head_count", N_HEAD),
        ("attention.head_count_kv", 1),
        ("attention.key_length", HEAD_SIZE),
    ] {
        file = file.kv(&format!("llama.{key}"), Value::U32(n as u32));
    }
    file.kv("tokenizer.chat_template", string("{{ messages }}"))
}
