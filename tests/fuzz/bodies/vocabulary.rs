//! Vocabularies of every tokenizer model: small ones that keep a file short, and full ones that cover every text.

use kinglet::gguf::{Array, Metadata, Value};

use crate::common::{
    gguf_builder::{GgufBuilder, string, strings},
    tiny_llama::byte_char,
};

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

/// Tokenizer models as `tokenizer.ggml.model` names them.
pub const MODELS: [&str; 4] = ["gpt2", "llama", "t5", "bert"];

/// Pre-tokenizers as `tokenizer.ggml.pre` names them, one of each kind that llama.cpp knows.
pub const PRE_TOKENIZERS: [&str; 46] = [
    "gpt-2",
    "default",
    "mpt",
    "smollm",
    "command-r",
    "llama-bpe",
    "dbrx",
    "glm4",
    "qwen2",
    "hunyuan",
    "qwen35",
    "laguna",
    "minicpm5",
    "jais-2",
    "seed-coder",
    "ufakzeka",
    "bailingmoe",
    "exaone-moe",
    "tekken",
    "gpt-4o",
    "granite-embed-multi-97m",
    "tiny_aya",
    "kimi-k2",
    "youtu",
    "deepseek-llm",
    "deepseek-coder",
    "deepseek-v3",
    "spark2_5",
    "afmoe",
    "falcon",
    "bloom",
    "viking",
    "superbpe",
    "chameleon",
    "gemma4",
    "sarvam-moe",
    "phi-2",
    "olmo",
    "starcoder",
    "refact",
    "stablelm2",
    "poro-chat",
    "smaug-bpe",
    "chatglm-bpe",
    "exaone",
    "",
];

/// What a file says about its tokens.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    pub model: &'static str,
    pub tokens: Vec<Vec<u8>>,
    pub types: Vec<i32>,
    /// Other keys, without `tokenizer.ggml.`.
    pub more: Vec<(&'static str, Value)>,
}

impl Vocabulary {
    fn new(model: &'static str, tokens: &[(&str, i32)], more: Vec<(&'static str, Value)>) -> Self {
        let types = tokens.iter().map(|(_, kind)| *kind).collect();
        Self { model, tokens: tokens.iter().map(|(token, _)| token.as_bytes().into()).collect(), types, more }
    }

    /// Eight tokens or so.
    pub fn small(model: &'static str) -> Self {
        const BYTE_LEVEL: [(&str, i32); 8] = [
            ("<|end|>", CONTROL),
            ("<|start|>", CONTROL),
            ("Ġ", NORMAL),
            ("a", NORMAL),
            ("b", NORMAL),
            ("ab", NORMAL),
            ("Ġab", NORMAL),
            ("<tool>", 4),
        ];
        const PIECES: [(&str, i32); 8] = [
            ("<unk>", UNKNOWN),
            ("<s>", CONTROL),
            ("</s>", CONTROL),
            ("▁", NORMAL),
            ("a", NORMAL),
            ("b", NORMAL),
            ("ab", NORMAL),
            ("▁ab", NORMAL),
        ];
        const WORDS: [(&str, i32); 8] = [
            ("[UNK]", UNKNOWN),
            ("[CLS]", CONTROL),
            ("[SEP]", CONTROL),
            ("▁a", NORMAL),
            ("▁ab", NORMAL),
            ("a", NORMAL),
            ("b", NORMAL),
            ("▁,", NORMAL),
        ];
        match model {
            "gpt2" => Self::new(
                model,
                &BYTE_LEVEL,
                vec![
                    ("pre", string("gpt-2")),
                    ("merges", strings(["a b", "Ġ ab"])),
                    ("bos_token_id", Value::U32(1)),
                    ("eos_token_id", Value::U32(0)),
                ],
            ),
            "bert" => Self::new(model, &WORDS, vec![("unknown_token_id", Value::U32(0))]),
            _ => Self::new(model, &PIECES, vec![("scores", scores(PIECES.len()))]),
        }
    }

    /// The small one, and whatever it takes to cover every text: bytes, or for words the letters.
    pub fn full(model: &'static str) -> Self {
        let mut vocabulary = Self::small(model);
        for byte in 0..=u8::MAX {
            let (piece, kind) = match model {
                "gpt2" => (byte_char(byte).to_string(), NORMAL),
                "bert" => (char::from(byte).to_string(), NORMAL),
                _ => (format!("<0x{byte:02X}>"), BYTE),
            };
            if !vocabulary.tokens.iter().take(8).any(|token| *token == piece.as_bytes()) {
                vocabulary.tokens.push(piece.into_bytes());
                vocabulary.types.push(kind);
            }
        }
        if vocabulary.has_scores() {
            let n = vocabulary.tokens.len();
            vocabulary.set("scores", scores(n));
        }
        vocabulary
    }

    fn has_scores(&self) -> bool {
        self.more.iter().any(|(key, _)| *key == "scores")
    }

    /// Sets a key to another value, or adds it.
    pub fn set(&mut self, key: &'static str, value: Value) {
        self.more.retain(|(other, _)| *other != key);
        self.more.push((key, value));
    }

    fn pairs(&self) -> impl Iterator<Item = (String, Value)> {
        let own = [
            ("model", string(self.model)),
            ("tokens", strings(&self.tokens)),
            ("token_type", Value::Array(Array::I32(self.types.clone()))),
        ];
        own.into_iter().chain(self.more.iter().cloned()).map(|(key, value)| (format!("tokenizer.ggml.{key}"), value))
    }

    /// Puts it into a file.
    pub fn write(&self, file: GgufBuilder) -> GgufBuilder {
        self.pairs().fold(file, |file, (key, value)| file.set(&key, value))
    }

    /// The metadata of a file that has nothing else.
    pub fn metadata(&self) -> Metadata {
        let mut metadata = Metadata::default();
        for (key, value) in self.pairs() {
            metadata.insert(key, value).expect("each key once");
        }
        metadata
    }
}

/// Falling, so that every merge has a place.
fn scores(n: usize) -> Value {
    Value::Array(Array::F32((0..n).map(|id| -(id as f32)).collect()))
}
