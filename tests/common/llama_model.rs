//! A Llama's header of any size without its weights, for tests of plans; and random weights for the small ones, written
//! straight into an executor, without a file in between.

use kinglet::{
    arch::Model,
    gguf::{Header, Metadata, TensorInfo, Value},
    plan::Executor,
    quant::Format,
};

use super::{
    formats::random_weights,
    gguf_builder::{string, strings},
    rng::Rng,
    tiny_llama::TinyConfig,
};

/// SmolLM2-135M-Instruct Q4_1 as it is published.
pub fn smollm2_135m() -> TinyConfig {
    TinyConfig {
        n_layer: 30,
        n_embd: 576,
        n_ff: 1536,
        n_head: 9,
        n_head_kv: 3,
        head_size: 64,
        n_vocab: 49_152,
        n_ctx: 8192,
        format: Format::Q4_1,
        embd_format: Format::Q8_0,
        ..TinyConfig::default()
    }
}

/// Llama-3.2-1B: rope factors, grouped queries, the head tied to the embedding table.
pub fn llama_3_2_1b() -> TinyConfig {
    TinyConfig {
        n_layer: 16,
        n_embd: 2048,
        n_ff: 8192,
        n_head: 32,
        n_head_kv: 8,
        head_size: 64,
        n_vocab: 128_256,
        n_ctx: 131_072,
        format: Format::Q4_0,
        embd_format: Format::Q8_0,
        rope_freqs: true,
        ..TinyConfig::default()
    }
}

/// TinyLlama-1.1B: a head of its own.
pub fn tinyllama_1_1b() -> TinyConfig {
    TinyConfig {
        n_layer: 22,
        n_embd: 2048,
        n_ff: 5632,
        n_head: 32,
        n_head_kv: 4,
        head_size: 64,
        n_vocab: 32_000,
        n_ctx: 2048,
        format: Format::Q8_0,
        embd_format: Format::Q8_0,
        head_format: Some(Format::F16),
        ..TinyConfig::default()
    }
}

/// The header that the file would have.
pub fn llama_header(c: &TinyConfig) -> Header {
    Header {
        version: 3,
        metadata: llama_metadata(c),
        tensors: llama_tensors(c),
        alignment: 32,
        data_offset: 0,
        end_offset: 0,
        fingerprint: 0,
    }
}

fn llama_metadata(c: &TinyConfig) -> Metadata {
    let mut metadata = Metadata::default();
    let mut insert = |key: &str, value| metadata.insert(key.into(), value).expect("each key once");
    insert("general.architecture", string("llama"));
    insert("tokenizer.ggml.tokens", strings((0..c.n_vocab).map(|i| i.to_string())));
    insert("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    insert("llama.rope.freq_base", Value::F32(10_000.0));
    for (key, n) in [
        ("block_count", c.n_layer),
        ("context_length", c.n_ctx),
        ("embedding_length", c.n_embd),
        ("feed_forward_length", c.n_ff),
        ("attention.head_count", c.n_head),
        ("attention.head_count_kv", c.n_head_kv),
        ("attention.key_length", c.head_size),
        ("rope.dimension_count", c.head_size),
    ] {
        insert(&format!("llama.{key}"), Value::U32(n as u32));
    }
    metadata
}

fn llama_tensors(c: &TinyConfig) -> Vec<TensorInfo> {
    let mut tensors = vec![];
    let mut add = |name: String, shape: &[usize], format: Format| {
        let n_bytes = (shape.iter().product::<usize>() / format.block_len() * format.block_bytes()) as u64;
        tensors.push(TensorInfo { name, shape: shape.into(), format, offset: 0, n_bytes });
    };
    let (q_width, kv_width) = (c.n_head * c.head_size, c.n_head_kv * c.head_size);
    add("token_embd.weight".into(), &[c.n_vocab, c.n_embd], c.embd_format);
    add("output_norm.weight".into(), &[c.n_embd], Format::F32);
    if c.rope_freqs {
        add("rope_freqs.weight".into(), &[c.head_size / 2], Format::F32);
    }
    if let Some(format) = c.head_format {
        add("output.weight".into(), &[c.n_vocab, c.n_embd], format);
    }
    for layer in 0..c.n_layer {
        for (part, n, k) in [
            ("attn_q", q_width, c.n_embd),
            ("attn_k", kv_width, c.n_embd),
            ("attn_v", kv_width, c.n_embd),
            ("attn_output", c.n_embd, q_width),
            ("ffn_gate", c.n_ff, c.n_embd),
            ("ffn_up", c.n_ff, c.n_embd),
            ("ffn_down", c.n_embd, c.n_ff),
        ] {
            add(format!("blk.{layer}.{part}.weight"), &[n, k], c.format);
            if c.biases && part.starts_with("attn") {
                add(format!("blk.{layer}.{part}.bias"), &[n], Format::F32);
            }
        }
        for part in ["attn_norm", "ffn_norm"] {
            add(format!("blk.{layer}.{part}.weight"), &[c.n_embd], Format::F32);
        }
    }
    tensors
}

/// The model that the header describes.
pub fn llama_model(c: &TinyConfig) -> Model {
    Model::from_header(&llama_header(c)).expect("a complete llama")
}

/// Gives an executor random weights for every tensor that the model uses. The same seed gives the same weights.
pub fn write_random_weights(model: &Model, executor: &mut dyn Executor, seed: u64) {
    let mut rng = Rng(seed);
    for id in model.used_weights().expect("a model that was checked") {
        let spec = model.weights.spec(id);
        executor.create_weight(id, spec).expect("room for a small weight");
        let bytes = if spec.shape.len() == 1 {
            (0..spec.row_len()).flat_map(|_| (1.0 + 0.25 * rng.signed()).to_le_bytes()).collect()
        } else {
            random_weights(&mut rng, spec.n_rows(), spec.row_len(), spec.format)
        };
        // In awkward chunks, as a network gives them.
        for chunk in bytes.chunks(1 + rng.below(1000)) {
            executor.write_weight(id, chunk).expect("finite weights");
        }
    }
}
