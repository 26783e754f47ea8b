//! Buffers that are counted, so that it can be said what is allocated and that nothing is made per token.

use std::{cell::Cell, rc::Rc};

#[cfg(not(target_arch = "wasm32"))]
use super::zones::Zones;

/// Bytes and buffers that are allocated now, and what was ever made.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) bytes: Cell<u64>,
    pub(super) buffers: Cell<usize>,
    pub(super) made: Cell<Made>,
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) zones: Zones,
}

/// How many objects were made so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Made {
    /// Buffers of any kind.
    pub buffers: usize,
    /// Bind groups.
    pub bind_groups: usize,
    /// Pipelines.
    pub pipelines: usize,
}

/// A GPU buffer that is counted, and destroyed when it is dropped (a browser would keep it until its garbage is collected).
#[derive(Debug)]
pub struct Buffer {
    buffer: wgpu::Buffer,
    ledger: Rc<Ledger>,
}

impl Ledger {
    pub(super) fn count(&self, count: impl FnOnce(&mut Made)) {
        let mut made = self.made.get();
        count(&mut made);
        self.made.set(made);
    }

    /// A buffer of zeros.
    pub(super) fn buffer(
        self: &Rc<Self>,
        (device, _queue): (&wgpu::Device, &wgpu::Queue),
        label: &str,
        n_bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Buffer {
        let size = n_bytes.next_multiple_of(4).max(16);
        let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
        #[cfg(not(target_arch = "wasm32"))]
        let descriptor = self.zones.extended(descriptor);
        let buffer = device.create_buffer(&descriptor);
        #[cfg(not(target_arch = "wasm32"))]
        self.zones.watch(_queue, label, &buffer, n_bytes);
        self.bytes.set(self.bytes.get() + buffer.size());
        self.buffers.set(self.buffers.get() + 1);
        self.count(|made| made.buffers += 1);
        Buffer { buffer, ledger: self.clone() }
    }
}

impl std::ops::Deref for Buffer {
    type Target = wgpu::Buffer;

    fn deref(&self) -> &wgpu::Buffer {
        &self.buffer
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        #[cfg(not(target_arch = "wasm32"))]
        self.ledger.zones.forget(&self.buffer);
        self.buffer.destroy();
        self.ledger.bytes.set(self.ledger.bytes.get() - self.buffer.size());
        self.ledger.buffers.set(self.ledger.buffers.get() - 1);
    }
}
