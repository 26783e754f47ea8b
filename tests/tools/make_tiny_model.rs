//! Writes a tiny random Llama, for the browser tests: `cargo run --example make_tiny_model -- out.gguf [seed] [small]`; small is
//! one layer of width 32 instead of two of 64.

#[path = "../common/mod.rs"]
mod common;

use common::tiny_llama::{TinyConfig, tiny_llama};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: make_tiny_model <out.gguf> [seed]")?;
    let seed = args.next().map_or(Ok(1), |s| s.parse())?;
    let config = match args.next().as_deref() {
        None => TinyConfig::default(),
        Some("small") => TinyConfig {
            n_layer: 1,
            n_embd: 32,
            n_ff: 32,
            n_head: 2,
            n_head_kv: 1,
            n_vocab: 299,
            ..TinyConfig::default()
        },
        Some(other) => return Err(format!("{other} is not \"small\"").into()),
    };
    std::fs::write(path, tiny_llama(&config, seed).build())?;
    Ok(())
}
