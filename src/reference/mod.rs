//! The specification: plain f32 loops over dequantized weights, as readable as a textbook. Layer 2.
