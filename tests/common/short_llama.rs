//! A tiny Llama with a short context, and prompts for it.

use super::{
    generate::{load, options},
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::engine::{Device, Engine};
use std::sync::LazyLock;

pub const CONTEXT: usize = 160;

pub static FILE: LazyLock<Vec<u8>> =
    LazyLock::new(|| tiny_llama(&TinyConfig { n_ctx: CONTEXT, ..TinyConfig::default() }, 7).build());

pub fn engine(device: Device) -> Engine {
    load(&FILE, options(device), 1 << 16).unwrap()
}

pub fn reference() -> Engine {
    engine(Device::Reference)
}

/// n tokens; those with the same seed share their beginnings.
pub fn tokens(n: usize, seed: u32) -> Vec<u32> {
    (0..n as u32).map(|i| 3 + (i * 31 + seed * 17 + i * i * 7) % 300).collect()
}

/// Operations of a request, and more.
pub const ALL_AT_ONCE: usize = 1_000_000;
