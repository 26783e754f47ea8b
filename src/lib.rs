//! kinglet: small language models inside a web page.
//!
//! The way of the data, one direction, one hand-over at each border:
//!
//! fetch (TypeScript) → [`gguf`] (push parser) → [`arch`] (hyper-parameters, [`plan`]) → [`quant`]`::repack` → an executor
//! ([`gpu`], [`cpu`], [`reference`]) → [`session`] (prefill, decode, [`sample`], stop) → [`tokenizer`] (detokenize) → stream.
//!
//! Layers; dependencies point down only (`tests/layering.rs` holds that):
//!
//! ```text
//! 4  wasm                                  the only place with wasm_bindgen, js_sys, web_sys; no logic
//! 3  engine  session                       policy: load order, turns, stopping
//! 2  gpu  cpu  reference                   executors: run plans
//! 1  plan  arch  weights  kv               what to compute, where bytes go
//! 0  gguf  checkpoint  quant  tokenizer    pure: no I/O, no clock, no globals
//! 0  sample  error  hash  sorted  table
//! ```
//!
//! Shapes are written in brackets, outermost first: T new rows, P past rows, D width, H heads, G kv heads, K head size,
//! F feed-forward width, V vocabulary, L layers, B blocks. A matrix weight is [N, K]: N rows of K weights.

#![deny(unsafe_code)]

pub mod arch;
pub mod checkpoint;
#[cfg(feature = "cpu")]
pub mod cpu;
pub mod engine;
pub mod error;
pub mod gguf;
#[cfg(feature = "gpu")]
pub mod gpu;
mod hash;
pub mod kv;
pub mod plan;
pub mod quant;
#[cfg(feature = "reference")]
pub mod reference;
pub mod sample;
pub mod session;
mod sorted;
mod table;
pub mod tokenizer;
#[cfg(target_arch = "wasm32")]
pub mod wasm;
pub mod weights;
