//! What an engine computes with: the threads of a pool, or a GPU of its own. A build has one of the two, or both.

#[cfg(feature = "gpu")]
use std::rc::Rc;

#[cfg(feature = "cpu")]
use super::threads::Threads;
use super::types::{DeviceKind, EngineOptions};
#[cfg(feature = "gpu")]
use crate::gpu::Context;
use crate::{engine::Device, error::Result};

/// It belongs to one engine and goes with it.
pub(super) enum Processor {
    #[cfg(feature = "cpu")]
    Cpu(Threads),
    #[cfg(feature = "gpu")]
    Gpu(Rc<Context>),
}

impl Processor {
    /// What the options ask for; never another.
    pub(super) async fn get(options: &EngineOptions) -> Result<Self> {
        match options.device() {
            #[cfg(feature = "cpu")]
            DeviceKind::Cpu => Ok(Self::Cpu(Threads::new(options.threads()?))),
            #[cfg(feature = "gpu")]
            DeviceKind::WebGpu => {
                let context = Context::request(&options.gpu_request()).await?;
                if let Some((name, known)) = options.tuned() {
                    context.tune(super::clock::now_ms, name, known);
                }
                Ok(Self::Gpu(context))
            }
            #[cfg(not(all(feature = "cpu", feature = "gpu")))]
            _ => Err(crate::error::Error::internal("this binary is made for another device")),
        }
    }

    pub(super) fn device(&self) -> Device {
        match self {
            #[cfg(feature = "cpu")]
            Self::Cpu(threads) => threads.device(),
            #[cfg(feature = "gpu")]
            Self::Gpu(context) => Device::Gpu(context.clone()),
        }
    }

    pub(super) fn kind(&self) -> DeviceKind {
        match self {
            #[cfg(feature = "cpu")]
            Self::Cpu(_) => DeviceKind::Cpu,
            #[cfg(feature = "gpu")]
            Self::Gpu(_) => DeviceKind::WebGpu,
        }
    }

    /// Threads that compute now.
    pub(super) fn threads(&self) -> usize {
        match self {
            #[cfg(feature = "cpu")]
            Self::Cpu(threads) => threads.count(),
            #[cfg(feature = "gpu")]
            Self::Gpu(_) => 1,
        }
    }

    /// Finds out how many threads are best, where there are any.
    pub(super) fn tune(&self, guesses: [usize; 2]) {
        match self {
            #[cfg(feature = "cpu")]
            Self::Cpu(threads) => threads.tune(guesses),
            #[cfg(feature = "gpu")]
            Self::Gpu(_) => {
                let _ = guesses;
            }
        }
    }

    /// What was found out by [`Self::tune`].
    pub(super) fn found_threads(&self) -> [usize; 2] {
        match self {
            #[cfg(feature = "cpu")]
            Self::Cpu(threads) => threads.found(),
            #[cfg(feature = "gpu")]
            Self::Gpu(_) => [0; 2],
        }
    }

    /// What the GPU calls itself, where it does.
    pub(super) fn adapter(&self) -> Option<&str> {
        match self {
            #[cfg(feature = "cpu")]
            Self::Cpu(_) => None,
            #[cfg(feature = "gpu")]
            Self::Gpu(context) => Some(context.facts().name.as_str()).filter(|name| !name.is_empty()),
        }
    }

    /// What is used of the GPU.
    pub(super) fn features(&self) -> Option<Vec<String>> {
        match self {
            #[cfg(feature = "cpu")]
            Self::Cpu(_) => None,
            #[cfg(feature = "gpu")]
            Self::Gpu(context) => Some(context.features()),
        }
    }

    /// What has been found out of the GPU, where it is tuned.
    #[cfg(feature = "gpu")]
    pub(super) fn tuned(&self) -> Option<String> {
        match self {
            #[cfg(feature = "cpu")]
            Self::Cpu(_) => None,
            Self::Gpu(context) => context.tuned(),
        }
    }

    /// Makes a browser look whether the GPU is done.
    pub(super) fn nudge(&self) {
        match self {
            #[cfg(feature = "cpu")]
            Self::Cpu(_) => {}
            #[cfg(feature = "gpu")]
            Self::Gpu(context) => context.nudge(),
        }
    }

    /// What [`super::pool_worker`] wants, 0 where there are no threads.
    pub(super) fn pool_address(&self) -> usize {
        match self {
            #[cfg(feature = "cpu")]
            Self::Cpu(threads) => threads.address(),
            #[cfg(feature = "gpu")]
            Self::Gpu(_) => 0,
        }
    }
}

#[cfg(feature = "gpu")]
impl Drop for Processor {
    /// A browser would keep the device, with all its memory, until its garbage is collected.
    fn drop(&mut self) {
        match self {
            #[cfg(feature = "cpu")]
            Self::Cpu(_) => {}
            Self::Gpu(context) => context.destroy(),
        }
    }
}
