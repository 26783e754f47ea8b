//! Text to token ids and back, built from GGUF metadata. Layer 0: no I/O.
