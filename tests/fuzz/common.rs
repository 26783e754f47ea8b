//! Modules of `tests/common/` that the bodies use; `tests/fuzz_bodies.rs` has them as `crate::common` too.
#![allow(dead_code, reason = "the bodies use a part of each")]

#[path = "../common/counting.rs"]
pub mod counting;
#[path = "../common/formats.rs"]
pub mod formats;
#[path = "../common/gguf_builder.rs"]
pub mod gguf_builder;
#[path = "../common/planes.rs"]
pub mod planes;
#[path = "../common/rng.rs"]
pub mod rng;
#[path = "../common/tiny_llama.rs"]
pub mod tiny_llama;
