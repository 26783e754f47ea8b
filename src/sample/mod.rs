//! From logits to a token, in a fixed order. Layer 0: pure.
