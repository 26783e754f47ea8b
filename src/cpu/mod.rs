//! The CPU executor: SIMD kernels on repacked weights, a thread pool. Layer 2.
