//! What the fuzz targets run: each body takes any bytes and panics where the engine breaks a promise. They are run by libFuzzer
//! (`./build.sh fuzz`) and, on the corpus and on seeded random bytes, by `tests/fuzz_bodies.rs`.
#![allow(dead_code, unreachable_pub, reason = "a library for the fuzz targets, a module for the test")]

pub mod checkpoint;
pub mod dequantize;
pub mod detokenize;
pub mod gguf;
pub mod gguf_struct;
pub mod input;
pub mod models;
pub mod sampler;
pub mod snapshot;
pub mod tokenizer;
pub mod vocabulary;

/// A fuzz target.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// The longest input that is worth trying, bytes; build.sh tells libFuzzer the same.
    pub max_bytes: usize,
}

/// All targets, as their binaries and folders of the corpus are named.
pub const TARGETS: [Target; 8] = [
    Target { name: "gguf", run: gguf::run, max_bytes: 4096 },
    Target { name: "gguf_struct", run: gguf_struct::run, max_bytes: 48 },
    Target { name: "checkpoint", run: checkpoint::run, max_bytes: 96 },
    Target { name: "dequantize", run: dequantize::run, max_bytes: 1024 },
    Target { name: "tokenizer", run: tokenizer::run, max_bytes: 400 },
    Target { name: "detokenize", run: detokenize::run, max_bytes: 200 },
    Target { name: "sampler", run: sampler::run, max_bytes: 400 },
    Target { name: "snapshot", run: snapshot::run, max_bytes: 64 },
];
