//! From bytes to a model that is ready: load order, device choice, information. Layer 3.
