//! What JavaScript sees: exported classes, no logic. Layer 4.
