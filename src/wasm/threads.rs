//! The pool's threads: JavaScript workers that enter the shared module. A build without shared memory has one thread.

use wasm_bindgen::prelude::*;

use crate::engine::Device;

/// The threads of an engine.
pub(super) struct Threads {
    wanted: usize,
}

impl Threads {
    pub(super) fn new(wanted: usize) -> Self {
        Self { wanted }
    }

    pub(super) fn device(&self) -> Device {
        Device::Reference
    }

    /// Threads that compute.
    pub(super) fn count(&self) -> usize {
        self.wanted
    }

    /// What [`pool_worker`] wants, 0 where there are no threads.
    pub(super) fn address(&self) -> usize {
        0
    }
}

/// The entry of a pool thread (threads build): `address` is `Engine.poolAddress()`, `index` counts from 1. Returns only when the
/// pool shuts down.
#[wasm_bindgen(js_name = poolWorker)]
pub fn pool_worker(_address: usize, _index: usize) {
    console_error_panic_hook::set_once();
}
