//! Checkpoints of Hugging Face as published: tensors of safetensors files become, while they arrive, the tensors of a GGUF file
//! that is nowhere written. Layer 0: no I/O.
//!
//! ```text
//! config.json, tokenizer.json, headers of .safetensors ─► www/pkg/src/checkpoint ─► header of that GGUF file, with the pieces
//! data of .safetensors, in the order of the pieces      ─► Converter::feed        ─► bytes of the tensors of the header
//! ```
//! What JSON says is read in TypeScript, where its parser is free. The header has the keys that the engine reads of any model, and
//! two more:
//!
//! * `kinglet.checkpoint.pieces`, u64: of each piece of the data, in the order of its arrival, six numbers: its length in bytes,
//!   the `ggml_type` of its numbers ([`SKIPPED`]: of no tensor), B, C, D of its axes ([A, B, C, D] becomes [A, C, B, D]; A follows),
//!   and what is added to each number.
//! * `kinglet.checkpoint.made`, f64: the values of tensors that are in no file (rotary factors), one after the other.
//!
//! The tensors of the header are first those that are made, all F32, and then those of the pieces that are not skipped, in their order.

mod converter;
mod pieces;

pub use converter::{Converter, Write};
pub use pieces::SKIPPED;
