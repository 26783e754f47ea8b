//! What this engine accepts of a file, whatever the file says. Far above every real model; low enough that a hostile file is
//! refused before it costs memory. The same numbers natively and in wasm32, where `usize` has 32 bits.

/// Most key-value pairs.
pub const MAX_KEYS: u64 = 100_000;
/// Most tensors.
pub const MAX_TENSORS: u64 = 100_000;
/// Longest key, bytes (the format's own limit).
pub const MAX_KEY_BYTES: u64 = 65_535;
/// Longest string, bytes: a value, or an element of an array.
pub const MAX_STRING_BYTES: u64 = 16 << 20;
/// Longest array, elements.
pub const MAX_ARRAY_LENGTH: u64 = 1 << 24;
/// Deepest array: arrays of arrays are in the format, but in no model.
pub const MAX_ARRAY_DEPTH: u64 = 1;
/// Everything before the tensor data, bytes. A vocabulary of 262,144 with its merges takes about 16 MiB.
pub const MAX_HEADER_BYTES: u64 = 64 << 20;
/// Longest tensor name, bytes (ggml's: 64 with the closing zero).
pub const MAX_NAME_BYTES: u64 = 63;
/// Most dimensions of a tensor (ggml's).
pub const MAX_DIMS: u32 = 4;
/// Most elements and most bytes of one tensor, and its largest dimension: products of dimensions fit 32 bits.
pub const MAX_TENSOR: u64 = u32::MAX as u64;
/// Largest alignment of tensor data, bytes.
pub const MAX_ALIGNMENT: u64 = 1 << 20;
