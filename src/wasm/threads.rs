//! The pool's threads: JavaScript workers that enter the shared module. A build without shared memory has one thread.

#![cfg_attr(target_feature = "atomics", expect(unsafe_code, reason = "a pool thread is given the address of its pool"))]

use std::sync::Arc;

use wasm_bindgen::prelude::*;

use crate::{cpu::pool::Pool, engine::Device};

/// The threads of an engine.
pub(super) struct Threads {
    pool: Arc<Pool>,
}

impl Threads {
    /// At most `wanted` threads, this one among them; the others come by [`pool_worker`].
    pub(super) fn new(wanted: usize) -> Self {
        let possible = if cfg!(target_feature = "atomics") { wanted } else { 1 };
        Self { pool: Arc::new(Pool::with_clock(possible, Some(super::clock::now_ms))) }
    }

    pub(super) fn device(&self) -> Device {
        Device::Cpu(self.pool.clone())
    }

    /// Threads that compute now.
    pub(super) fn count(&self) -> usize {
        self.pool.threads()
    }

    /// From now on finds out how many of them steps of one row and of several rows are best served by.
    pub(super) fn tune(&self, guesses: [usize; 2]) {
        self.pool.tune(guesses);
    }

    /// What has been found, 0 where that is not known.
    pub(super) fn found(&self) -> [usize; 2] {
        self.pool.found().map(|found| found.unwrap_or(0))
    }

    /// What [`pool_worker`] wants, 0 where there are no threads.
    pub(super) fn address(&self) -> usize {
        if cfg!(target_feature = "atomics") { self.pool.address() } else { 0 }
    }
}

/// The entry of a pool thread (threads build): `address` is `Engine.poolAddress()`; `index`, from 1, is for the caller's own
/// bookkeeping. Returns when the pool shuts down or is full.
#[cfg(target_feature = "atomics")]
#[wasm_bindgen(js_name = poolWorker)]
pub fn pool_worker(address: usize, _index: usize) {
    console_error_panic_hook::set_once();
    if address != 0 {
        // SAFETY: the worker's script passes on what `Engine.poolAddress()` gave, in the same memory.
        unsafe { crate::cpu::pool::worker_main_at(address) };
    }
}

/// The same without shared memory: there is nothing to do.
#[cfg(not(target_feature = "atomics"))]
#[wasm_bindgen(js_name = poolWorker)]
pub fn pool_worker(_address: usize, _index: usize) {}
