//! Writes a tiny random Llama, for the browser tests: `cargo run --example make_tiny_model -- out.gguf [seed]`.

#[path = "../common/mod.rs"]
mod common;

use common::tiny_llama::{TinyConfig, tiny_llama};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: make_tiny_model <out.gguf> [seed]")?;
    let seed = args.next().map_or(Ok(1), |s| s.parse())?;
    std::fs::write(path, tiny_llama(&TinyConfig::default(), seed).build())?;
    Ok(())
}
