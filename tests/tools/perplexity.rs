//! Perplexity as llama.cpp's tool of that name computes it:
//! `cargo run --release --example perplexity -- <model.gguf> <text file> [n_chunks] [cpu | gpu | reference] [f16 | q8_0 | f32]`. The whole text is encoded and cut
//! into chunks of 512 tokens; the first of each is the beginning of sequence where the model wants one; the tokens behind
//! positions 256…510 are scored. A measurement.

#[path = "../common/mod.rs"]
mod common;

use std::fs::{self, File};

use common::runner::{MAX_ROWS, Runner, log_sum_exp};
use kinglet::{
    cpu::{Cpu, pool::Pool},
    error::Result,
    gpu::{Gpu, Request},
    kv::KvFormat,
    plan::Executor,
    reference::Reference,
    tokenizer::{EncodeOptions, Tokenizer},
};

const CHUNK_TOKENS: usize = 512;
/// Tokens of a chunk that are only context.
const CONTEXT_TOKENS: usize = CHUNK_TOKENS / 2;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let usage = "usage: perplexity <model.gguf> <text file> [n_chunks] [cpu | gpu | reference] [f16 | q8_0 | f32]";
    let mut args = std::env::args().skip(1);
    let (path, text) = (args.next().ok_or(usage)?, fs::read_to_string(args.next().ok_or(usage)?)?);
    let n_chunks = args.next().map_or(Ok(20), |s| s.parse())?;
    let file = File::open(path)?;
    let executor = args.next().unwrap_or("cpu".into());
    let kv = match args.next().as_deref().unwrap_or("f16") {
        "f16" => KvFormat::F16,
        "q8_0" => KvFormat::Q8_0,
        "f32" => KvFormat::F32,
        other => return Err(format!("no format {other}").into()),
    };
    match executor.as_str() {
        "cpu" => {
            let runner = Runner::load(file, kv, CHUNK_TOKENS, |g| Cpu::new(g, Pool::new(2)))?;
            measure(runner, &text, n_chunks)
        }
        "gpu" => {
            let context = common::task::block_on(common::gpu::open(&Request::default()));
            let new = |g| Ok(Gpu::new(context.clone(), g));
            measure(Runner::load(file, kv, CHUNK_TOKENS, new)?, &text, n_chunks)
        }
        "reference" => measure(Runner::load(file, kv, CHUNK_TOKENS, |g| Ok(Reference::new(g)))?, &text, n_chunks),
        other => return Err(format!("no executor {other}").into()),
    }?;
    Ok(())
}

fn measure<E: Executor>(mut runner: Runner<E>, text: &str, n_chunks: usize) -> Result<()> {
    let tokenizer = Tokenizer::from_metadata(&runner.header.metadata)?;
    let mut ids = tokenizer.encode(text, &EncodeOptions { add_special: true, ..EncodeOptions::default() });
    let (mut sum, mut n) = (0.0, 0);
    for (i, chunk) in ids.chunks_exact_mut(CHUNK_TOKENS).take(n_chunks).enumerate() {
        if let (true, Some(bos)) = (tokenizer.adds_bos(), tokenizer.bos()) {
            chunk[0] = bos;
        }
        runner.truncate(0);
        let rows = runner.append_tail(&chunk[..CHUNK_TOKENS - 1], MAX_ROWS, CHUNK_TOKENS - CONTEXT_TOKENS - 1)?;
        for (row, token) in rows.iter().zip(&chunk[CONTEXT_TOKENS + 1..]) {
            sum += log_sum_exp(row) - f64::from(row[*token as usize]);
            n += 1;
        }
        println!("[{}] {:.4}", i + 1, (sum / f64::from(n)).exp());
    }
    Ok(())
}
