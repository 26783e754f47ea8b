//! What an engine computes with: the threads of a pool, or a GPU of its own.

use std::rc::Rc;

use super::{
    threads::Threads,
    types::{DeviceKind, EngineOptions},
};
use crate::{engine::Device, error::Result, gpu::Context};

/// It belongs to one engine and goes with it.
pub(super) enum Processor {
    Cpu(Threads),
    Gpu(Rc<Context>),
}

impl Processor {
    /// What the options ask for; never another.
    pub(super) async fn get(options: &EngineOptions) -> Result<Self> {
        let n_threads = options.threads()?;
        match options.device() {
            DeviceKind::Cpu => Ok(Self::Cpu(Threads::new(n_threads))),
            DeviceKind::WebGpu => Context::request(&options.gpu_request()).await.map(Self::Gpu),
        }
    }

    pub(super) fn device(&self) -> Device {
        match self {
            Self::Cpu(threads) => threads.device(),
            Self::Gpu(context) => Device::Gpu(context.clone()),
        }
    }

    /// What [`super::pool_worker`] wants, 0 where there are no threads.
    pub(super) fn pool_address(&self) -> usize {
        match self {
            Self::Cpu(threads) => threads.address(),
            Self::Gpu(_) => 0,
        }
    }
}

impl Drop for Processor {
    /// A browser would keep the device, with all its memory, until its garbage is collected.
    fn drop(&mut self) {
        if let Self::Gpu(context) = self {
            context.destroy();
        }
    }
}
