//! JavaScript's clock, for every thread that has entered the module.

use wasm_bindgen::JsCast;

thread_local! {
    /// `performance` of the page or the worker that this thread is.
    static PERFORMANCE: Option<web_sys::Performance> = js_sys::Reflect::get(&js_sys::global(), &"performance".into())
        .ok()
        .and_then(|performance| performance.dyn_into().ok());
}

/// Milliseconds since the thread's own beginning of time: only differences on one thread mean something. 0 where there is no
/// clock, which no browser is without.
pub(super) fn now_ms() -> f64 {
    PERFORMANCE.with(|performance| performance.as_ref().map_or(0.0, web_sys::Performance::now))
}
