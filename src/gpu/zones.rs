//! Zones behind everything that shaders write, for tests: they hold a pattern that must stay, and who reads it computes NaN.
//! Natively only: no build for a browser has any of this.
//!
//! ```text
//! | what the plan needs | zone: the pattern, word by word |      both are bound, so that a driver lets a wrong index through
//! ```

use std::cell::RefCell;

use super::Context;
use crate::error::{Error, Result};

/// Length of a zone, bytes.
pub const ZONE_BYTES: u64 = 1 << 13;
/// A NaN as an f32 and as two f16.
const PATTERN: u32 = 0x7fc1_7e03;

/// The zones of a context; `None` where nobody watches.
#[derive(Debug, Default)]
pub(super) struct Zones(RefCell<Option<Vec<Zone>>>);

#[derive(Debug)]
struct Zone {
    label: String,
    buffer: wgpu::Buffer,
    /// Where it begins, bytes.
    begin: u64,
}

impl Zones {
    pub(super) fn are_watched(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// The buffer with a zone behind it, if shaders may write it: those that are read back are.
    pub(super) fn extended<'a>(&self, buffer: wgpu::BufferDescriptor<'a>) -> wgpu::BufferDescriptor<'a> {
        let is_written = buffer.usage.contains(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
        if !is_written || !self.are_watched() {
            return buffer;
        }
        let usage = buffer.usage | wgpu::BufferUsages::COPY_DST;
        wgpu::BufferDescriptor { size: buffer.size + ZONE_BYTES, usage, ..buffer }
    }

    /// Fills what is behind the first `n_bytes` of a buffer that was extended.
    pub(super) fn watch(&self, queue: &wgpu::Queue, label: &str, buffer: &wgpu::Buffer, n_bytes: u64) {
        let begin = n_bytes.next_multiple_of(4);
        let mut zones = self.0.borrow_mut();
        if let Some(zones) = zones.as_mut().filter(|_| buffer.size() >= begin + ZONE_BYTES) {
            let n_words = (buffer.size() - begin) / 4;
            let pattern = vec![PATTERN; n_words as usize];
            queue.write_buffer(buffer, begin, bytemuck::cast_slice(&pattern));
            zones.push(Zone { label: label.into(), buffer: buffer.clone(), begin });
        }
    }

    pub(super) fn forget(&self, buffer: &wgpu::Buffer) {
        if let Some(zones) = self.0.borrow_mut().as_mut() {
            zones.retain(|zone| zone.buffer != *buffer);
        }
    }
}

impl Context {
    /// From now on there is a zone behind every buffer that is made for shaders to write, and the buffers of a plan share none.
    pub fn watch_zones(&self) {
        self.zones().0.replace(Some(vec![]));
    }

    /// Checks the zones of all buffers that there are, and gives their number; where a pattern has changed, the error says behind
    /// what.
    pub fn check_zones(&self) -> Result<usize> {
        let zones = self.zones().0.borrow();
        let zones = zones.as_deref().unwrap_or_default();
        for zone in zones {
            let n_bytes = zone.buffer.size() - zone.begin;
            let words = self.read_now(&zone.buffer, zone.begin, n_bytes)?;
            if let Some(at) = words.iter().position(|word| *word != PATTERN) {
                let (label, word) = (&zone.label, words.get(at).copied().unwrap_or_default());
                return Err(Error::internal(format!("word {at} behind {label} was overwritten with {word:#x}")));
            }
        }
        Ok(zones.len())
    }

    /// Words of a buffer, once everything that was submitted is done.
    fn read_now(&self, buffer: &wgpu::Buffer, offset: u64, n_bytes: u64) -> Result<Vec<u32>> {
        let failed = |what: &dyn std::fmt::Debug| Error::internal(format!("a zone cannot be read: {what:?}"));
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let descriptor =
            wgpu::BufferDescriptor { label: Some("zone"), size: n_bytes, usage, mapped_at_creation: false };
        let stage = self.device().create_buffer(&descriptor);
        let mut encoder = self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(buffer, offset, &stage, 0, n_bytes);
        self.queue().submit([encoder.finish()]);
        stage.map_async(wgpu::MapMode::Read, .., |_| {});
        self.device().poll(wgpu::PollType::wait_indefinitely()).map_err(|e| failed(&e))?;
        let view = stage.get_mapped_range(..).map_err(|e| failed(&e))?;
        Ok(bytemuck::pod_collect_to_vec(&view))
    }
}
