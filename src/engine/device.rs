//! What runs the plans, and what depends on it when a model is loaded. The only file of the engine that knows the executors by
//! name: a build may be without some of them (Cargo.toml, features).

#[cfg(feature = "gpu")]
use std::rc::Rc;
#[cfg(feature = "cpu")]
use std::sync::Arc;

#[cfg(feature = "cpu")]
use crate::cpu::{Cpu, pool::Pool};
#[cfg(feature = "gpu")]
use crate::gpu::{self, Gpu};
#[cfg(feature = "reference")]
use crate::reference::Reference;
use crate::{error::Result, kv::KvGeometry, plan::Executor, weights::WeightSpec};

/// What the engine needs beside weights, cache and buffers: code, stack, tokenizer, the chunk that arrives.
const OVERHEAD_BYTES: u64 = 64 << 20;

/// What runs the plans.
#[derive(Debug, Clone)]
pub enum Device {
    /// SIMD kernels on the threads of this pool.
    #[cfg(feature = "cpu")]
    Cpu(Arc<Pool>),
    /// Compute shaders.
    #[cfg(feature = "gpu")]
    Gpu(Rc<gpu::Context>),
    /// The specification in plain loops: for tests.
    #[cfg(feature = "reference")]
    Reference,
}

impl Device {
    /// The most that weights, cache and buffers may take, bytes, where the caller does not say. How much memory a GPU has,
    /// nothing says: there what cannot be had is said by the check, which comes before the weights too.
    pub(super) fn memory_limit_bytes(&self) -> u64 {
        let address_space_bytes = if usize::BITS == 32 { 1 << 32 } else { u64::MAX };
        if self.is_gpu() { u64::MAX } else { address_space_bytes - OVERHEAD_BYTES }
    }

    /// Whether it has to show on this machine that it computes right. The others are the same everywhere.
    pub(super) fn is_gpu(&self) -> bool {
        match self {
            #[cfg(feature = "gpu")]
            Self::Gpu(_) => true,
            _ => false,
        }
    }

    /// An executor without weights.
    pub(super) fn executor(&self, geometry: KvGeometry) -> Result<Box<dyn Executor>> {
        match self {
            #[cfg(feature = "cpu")]
            Self::Cpu(pool) => Ok(Box::new(Cpu::new(geometry, pool.clone())?)),
            #[cfg(feature = "gpu")]
            Self::Gpu(context) => Ok(Box::new(Gpu::new(context.clone(), geometry))),
            #[cfg(feature = "reference")]
            Self::Reference => Ok(Box::new(Reference::new(geometry))),
        }
    }

    /// Bytes of a page of the cache in one layer.
    pub(super) fn layer_page_bytes(&self, geometry: &KvGeometry) -> u64 {
        match self {
            #[cfg(feature = "gpu")]
            Self::Gpu(_) => Gpu::layer_page_bytes(geometry),
            _ => KvGeometry { layers: 1, ..*geometry }.page_bytes() as u64,
        }
    }

    /// Bytes that a weight will take.
    pub(super) fn weight_bytes(&self, spec: &WeightSpec) -> u64 {
        match self {
            #[cfg(feature = "cpu")]
            Self::Cpu(_) => Cpu::weight_bytes(spec),
            #[cfg(feature = "gpu")]
            Self::Gpu(_) => Gpu::weight_bytes(spec),
            #[cfg(feature = "reference")]
            Self::Reference => spec.shape.iter().fold(4, |n: u64, d| n.saturating_mul(*d as u64)),
        }
    }

    /// The longest piece of memory, bytes, where there is a limit: weights are split there, the keys and values of a layer are not.
    pub(super) fn buffer_limit_bytes(&self) -> Option<u64> {
        match self {
            #[cfg(feature = "gpu")]
            Self::Gpu(context) => Some(context.facts().binding_limit_bytes.min(context.facts().buffer_limit_bytes)),
            _ => None,
        }
    }
}
