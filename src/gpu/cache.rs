//! Keys and values on the GPU: one buffer per layer.

use std::rc::Rc;

use super::context::{Buffer, Context};
use crate::{
    error::{Error, Result},
    kv::{KvGeometry, PageId},
    plan::Progress,
};

/// The pages of all layers.
pub(super) struct Cache {
    context: Rc<Context>,
    geometry: KvGeometry,
    layers: Vec<Buffer>,
    n_pages: usize,
    /// Changes when the buffers are others than before.
    generation: u64,
}

impl Cache {
    pub(super) fn new(context: Rc<Context>, geometry: KvGeometry) -> Self {
        Self { context, geometry, layers: vec![], n_pages: 0, generation: 0 }
    }

    pub(super) fn geometry(&self) -> &KvGeometry {
        &self.geometry
    }

    pub(super) fn n_pages(&self) -> usize {
        self.n_pages
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn buffer(&self, layer: usize) -> Option<&wgpu::Buffer> {
        self.layers.get(layer).map(|b| &**b)
    }

    pub(super) fn n_bytes(&self) -> u64 {
        self.layers.iter().map(|b| b.size()).sum()
    }

    pub(super) fn reserve(&mut self, n_pages: usize) -> Result<()> {
        let _ = &self.context;
        self.n_pages = self.n_pages.max(n_pages);
        Ok(())
    }

    pub(super) fn copy(&mut self, from: PageId, to: PageId, n_positions: usize) -> Result<()> {
        Err(Error::internal(format!("{n_positions} positions from {from:?} to {to:?}: no cache")))
    }

    pub(super) fn read(&mut self, pages: &[(PageId, usize)], bytes: &mut [u8]) -> Result<Progress> {
        Err(Error::internal(format!("{} pages, {} bytes: no cache", pages.len(), bytes.len())))
    }

    pub(super) fn write(&mut self, page: PageId, n_positions: usize, bytes: &[u8]) -> Result<()> {
        Err(Error::internal(format!("{page:?} {n_positions} {}: no cache", bytes.len())))
    }
}
