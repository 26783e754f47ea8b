//! A complete Llama with random weights and a vocabulary that works (byte-level BPE as SmolLM2's, with ChatML), small enough
//! to be made in a test and served to a browser. The same config and seed give the same bytes everywhere.

use super::{
    formats::random_weights,
    gguf_builder::{GgufBuilder, string, strings},
    rng::Rng,
};
use kinglet::{
    gguf::{Array, Value},
    quant::Format,
};

/// Ids of the special tokens.
pub const END_OF_TEXT: u32 = 0;
pub const IM_START: u32 = 1;
pub const IM_END: u32 = 2;
/// The strings of the special tokens, by id.
pub const SPECIAL_TOKENS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// Plain ChatML.
pub const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] \
     + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Pairs that merge, most frequent first; Ġ is the byte-level form of a space.
const MERGES: [&str; 40] = [
    "Ġ t", "Ġ a", "h e", "i n", "r e", "o n", "Ġt he", "e r", "Ġ s", "a t", "Ġ w", "Ġ o", "e n", "Ġ c", "i t", "i s",
    "a n", "o r", "e s", "Ġ b", "e d", "Ġ f", "in g", "Ġ p", "o u", "Ġa n", "a l", "a r", "Ġt o", "Ġ m", "Ġo f",
    "Ġ in", "Ġ d", "Ġ h", "Ġan d", "l l", "Ġh e", "Ġ l", "l e", "o m",
];

/// What the model is made of. [`TinyConfig::default`] is 2 layers, width 64, grouped queries, everything Q8_0.
#[derive(Debug, Clone)]
pub struct TinyConfig {
    /// L
    pub n_layer: usize,
    /// D
    pub n_embd: usize,
    /// F
    pub n_ff: usize,
    /// H
    pub n_head: usize,
    /// G
    pub n_head_kv: usize,
    /// K; written to the file (`attention.key_length`) where it is not D / H.
    pub head_size: usize,
    /// V: filled up with plain words; at least [`base_vocabulary`]'s length.
    pub n_vocab: usize,
    /// Trained context.
    pub n_ctx: usize,
    /// Format of the matrices in the blocks.
    pub format: Format,
    /// Format of the embedding table.
    pub embd_format: Format,
    /// Format of `output.weight`, or `None`: the head is the embedding table.
    pub head_format: Option<Format>,
    /// Formats of matrices in the blocks that have another one, by the parts of their names.
    pub mixed: &'static [(&'static str, Format)],
    /// Whether the attention projections have biases.
    pub biases: bool,
    /// Whether there is a `rope_freqs.weight`, as in Llama 3.x.
    pub rope_freqs: bool,
}

impl Default for TinyConfig {
    fn default() -> Self {
        Self {
            n_layer: 2,
            n_embd: 64,
            n_ff: 96,
            n_head: 4,
            n_head_kv: 2,
            head_size: 16,
            n_vocab: 320,
            n_ctx: 256,
            format: Format::Q8_0,
            embd_format: Format::Q8_0,
            head_format: None,
            mixed: &[],
            biases: false,
            rope_freqs: false,
        }
    }
}

impl TinyConfig {
    /// Everything of one format, and as wide as it needs.
    pub fn of(format: Format) -> Self {
        let config = Self { format, embd_format: format, ..Self::default() };
        match format.block_len() {
            256 => Self { n_embd: 256, n_ff: 256, head_size: 64, ..config },
            _ => config,
        }
    }

    fn format_of(&self, part: &str) -> Format {
        self.mixed.iter().find(|(name, _)| *name == part).map_or(self.format, |(_, format)| *format)
    }
}

/// The model as a file in the making.
pub fn tiny_llama(config: &TinyConfig, seed: u64) -> GgufBuilder {
    let c = config;
    let mut rng = Rng(seed);
    let mut file = vocabulary(hyper_parameters(GgufBuilder::new(), c), c.n_vocab);
    file = matrix(file, &mut rng, "token_embd", [c.n_vocab, c.n_embd], c.embd_format);
    if c.rope_freqs {
        let factors = (0..c.head_size / 2).map(|i| 1.0 + i as f32 * 0.25);
        file = file.tensor("rope_freqs.weight", &[c.head_size / 2], Format::F32, f32_bytes(factors));
    }
    let (q_width, kv_width) = (c.n_head * c.head_size, c.n_head_kv * c.head_size);
    for layer in 0..c.n_layer {
        let name = |part: &str| format!("blk.{layer}.{part}");
        file = vector(file, &mut rng, &name("attn_norm.weight"), c.n_embd, 1.0);
        for (part, n, k) in [
            ("attn_q", q_width, c.n_embd),
            ("attn_k", kv_width, c.n_embd),
            ("attn_v", kv_width, c.n_embd),
            ("attn_output", c.n_embd, q_width),
        ] {
            file = matrix(file, &mut rng, &name(part), [n, k], c.format_of(part));
            if c.biases {
                file = vector(file, &mut rng, &name(&format!("{part}.bias")), n, 0.0);
            }
        }
        file = vector(file, &mut rng, &name("ffn_norm.weight"), c.n_embd, 1.0);
        for (part, n, k) in
            [("ffn_gate", c.n_ff, c.n_embd), ("ffn_up", c.n_ff, c.n_embd), ("ffn_down", c.n_embd, c.n_ff)]
        {
            file = matrix(file, &mut rng, &name(part), [n, k], c.format_of(part));
        }
    }
    file = vector(file, &mut rng, "output_norm.weight", c.n_embd, 1.0);
    match c.head_format {
        Some(format) => matrix(file, &mut rng, "output", [c.n_vocab, c.n_embd], format),
        None => file,
    }
}

fn hyper_parameters(file: GgufBuilder, c: &TinyConfig) -> GgufBuilder {
    let n = |x: usize| Value::U32(x as u32);
    let file = file
        .kv("general.architecture", string("llama"))
        .kv("general.name", string("tiny random llama"))
        .kv("llama.block_count", n(c.n_layer))
        .kv("llama.context_length", n(c.n_ctx))
        .kv("llama.embedding_length", n(c.n_embd))
        .kv("llama.feed_forward_length", n(c.n_ff))
        .kv("llama.attention.head_count", n(c.n_head))
        .kv("llama.attention.head_count_kv", n(c.n_head_kv))
        .kv("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5))
        .kv("llama.rope.dimension_count", n(c.head_size))
        .kv("llama.rope.freq_base", Value::F32(10_000.0));
    if c.head_size * c.n_head == c.n_embd {
        return file;
    }
    file.kv("llama.attention.key_length", n(c.head_size)).kv("llama.attention.value_length", n(c.head_size))
}

fn vocabulary(file: GgufBuilder, n_vocab: usize) -> GgufBuilder {
    let mut tokens = base_vocabulary();
    assert!(n_vocab >= tokens.len(), "a vocabulary has at least {} tokens", tokens.len());
    let n_base = tokens.len();
    tokens.extend((n_base..n_vocab).map(|i| format!("Ġword{i}")));
    let types = (0..n_vocab).map(|i| if i < SPECIAL_TOKENS.len() { 3 } else { 1 }).collect();
    file.kv("tokenizer.ggml.model", string("gpt2"))
        .kv("tokenizer.ggml.pre", string("smollm"))
        .kv("tokenizer.ggml.tokens", strings(tokens))
        .kv("tokenizer.ggml.token_type", Value::Array(Array::I32(types)))
        .kv("tokenizer.ggml.merges", strings(MERGES))
        .kv("tokenizer.ggml.bos_token_id", Value::U32(IM_START))
        .kv("tokenizer.ggml.eos_token_id", Value::U32(IM_END))
        .kv("tokenizer.ggml.unknown_token_id", Value::U32(END_OF_TEXT))
        .kv("tokenizer.ggml.padding_token_id", Value::U32(IM_END))
        .kv("tokenizer.ggml.add_bos_token", Value::Bool(false))
        .kv("tokenizer.ggml.add_space_prefix", Value::Bool(false))
        .kv("tokenizer.chat_template", string(CHAT_TEMPLATE))
}

/// Special tokens, the 256 bytes, what the merges give: in this order, by id.
pub fn base_vocabulary() -> Vec<String> {
    let specials = SPECIAL_TOKENS.iter().map(|s| String::from(*s));
    let bytes = (0..=255).map(|b| byte_char(b).to_string());
    let merged = MERGES.iter().map(|m| m.replace(' ', ""));
    specials.chain(bytes).chain(merged).collect()
}

/// GPT-2's character for a byte: itself where it is printable, else one from U+0100 on.
pub fn byte_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(0x100 + rank).expect("a character of Latin Extended-A")
}

/// Adds `<name>.weight` [N, K].
fn matrix(file: GgufBuilder, rng: &mut Rng, name: &str, [n, k]: [usize; 2], format: Format) -> GgufBuilder {
    file.tensor(&format!("{name}.weight"), &[n, k], format, random_weights(rng, n, k, format))
}

/// Adds a vector of numbers round `centre`.
fn vector(file: GgufBuilder, rng: &mut Rng, name: &str, n: usize, centre: f32) -> GgufBuilder {
    let values = (0..n).map(|_| centre + 0.1 * rng.signed());
    file.tensor(name, &[n], Format::F32, f32_bytes(values))
}

fn f32_bytes(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}
