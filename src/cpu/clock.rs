//! The time that the CPU executor measures itself by. On wasm the layer above brings it along: it is JavaScript's.

/// Milliseconds since some moment, on any thread; never a NaN. It may be coarse (0.1 ms in some browsers).
pub type Clock = fn() -> f64;

/// That of the machine; `None` on wasm, where the standard library has none.
pub(crate) fn native() -> Option<Clock> {
    #[cfg(not(target_arch = "wasm32"))]
    return Some(|| {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed().as_secs_f64() * 1e3
    });
    #[cfg(target_arch = "wasm32")]
    None
}
