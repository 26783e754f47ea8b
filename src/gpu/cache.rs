//! Keys and values on the GPU: one buffer per layer, with the same pages in each. Grows by doubling; what is in it is copied
//! on the GPU.
//!
//! ```text
//! page   [keys, then values][kv head] of
//!   keys     [quad of the head][position]     64 invocations with a position each read on end
//!   values   [position][quad of the head]     invocations with a quad each read on end
//! quad   four elements of a head: f16, f32, or of Q8_0 bytes
//! ```
//! Of Q8_0 the scales of a head's blocks of 32 lie behind its quads, in the same order, each an f32 that is an f16's value: a word by
//! itself, since another invocation may write the next one.
//!
//! shaders/kv/ has the same in WGSL. A copied or written page is copied or written whole: what lies past the positions that
//! count is never read.

use std::rc::Rc;

use super::{
    context::{Buffer, Context},
    readback::{Readback, Ticket},
};
use crate::{
    error::{Error, Result, try_vec},
    kv::{KvFormat, KvGeometry, PAGE_POSITIONS, PageId},
    plan::{Progress, Signal},
    quant::{f16_to_f32, f32_to_f16, q8_0::BLOCK},
};

/// Elements of a quad.
const QUAD: usize = 4;
/// Most bytes that are read back at once.
const READ_BYTES: u64 = 32 << 20;

/// The pages of all layers.
pub(super) struct Cache {
    context: Rc<Context>,
    geometry: KvGeometry,
    layers: Vec<Buffer>,
    /// Room for one page of one layer: WebGPU copies between different buffers only.
    between: Option<Buffer>,
    /// Pages that may be used; there may be room for more.
    n_pages: usize,
    room_pages: usize,
    /// Changes when the buffers are others than before.
    generation: u64,
    reading: Option<Reading>,
}

/// Pages that are being read.
struct Reading {
    pages: Vec<(PageId, usize)>,
    /// The first of them that has not come.
    next: usize,
    /// How many are on their way, and where.
    under_way: usize,
    ticket: Ticket,
    stages: Readback,
    signal: Signal,
    bytes: Vec<u8>,
}

impl Cache {
    /// A cache without pages, but with buffers: commands are made before pages are reserved.
    pub(super) fn new(context: Rc<Context>, geometry: KvGeometry) -> Self {
        let mut cache = Self {
            context,
            geometry,
            layers: vec![],
            between: None,
            n_pages: 0,
            room_pages: 0,
            generation: 0,
            reading: None,
        };
        cache.grow(1);
        cache
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
        self.layers.iter().chain(&self.between).map(|b| b.size()).sum()
    }

    /// Nobody waits for pages any more.
    pub(super) fn stop_reading(&mut self) {
        self.reading = None;
    }

    /// Raised when pages that are being read have come.
    pub(super) fn reading(&self) -> Option<Signal> {
        self.reading.as_ref().map(|r| r.signal.clone())
    }

    /// Makes sure that pages 0..n exist.
    pub(super) fn reserve(&mut self, n_pages: usize) -> Result<()> {
        if n_pages > self.room_pages {
            let facts = self.context.facts();
            let limit_bytes = facts.binding_limit_bytes.min(facts.buffer_limit_bytes);
            let most = usize::try_from(limit_bytes / self.page_bytes().max(1)).unwrap_or(usize::MAX);
            if n_pages > most {
                let what = format!("a layer's keys and values on the GPU (at most {limit_bytes} bytes)");
                let needed_bytes = (n_pages as u64).saturating_mul(self.page_bytes());
                return Err(Error::Memory { what, needed_bytes });
            }
            self.grow(n_pages.max(2 * self.room_pages).min(most));
        }
        self.n_pages = self.n_pages.max(n_pages);
        Ok(())
    }

    /// Larger buffers with what is in those that there are.
    fn grow(&mut self, room_pages: usize) {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let n_bytes = room_pages as u64 * self.page_bytes();
        let n_layers = self.geometry.layers;
        let layers: Vec<Buffer> = self.context.guarded("the key-value cache", n_bytes * n_layers as u64, || {
            let layers: Vec<Buffer> =
                (0..n_layers).map(|i| self.context.buffer(&format!("cache {i}"), n_bytes, usage)).collect();
            let used_bytes = self.n_pages as u64 * self.page_bytes();
            if used_bytes > 0 {
                self.submit(|encoder| {
                    for (from, to) in self.layers.iter().zip(&layers) {
                        encoder.copy_buffer_to_buffer(from, 0, to, 0, used_bytes);
                    }
                });
            }
            layers
        });
        self.layers = layers;
        self.room_pages = room_pages;
        self.generation += 1;
    }

    /// Copies a page, all layers.
    pub(super) fn copy(&mut self, from: PageId, to: PageId, n_positions: usize) -> Result<()> {
        self.check(from, n_positions)?;
        self.check(to, n_positions)?;
        let n_bytes = self.page_bytes();
        let between = match self.between.take() {
            Some(buffer) => buffer,
            None => self.context.guarded("copying a page", n_bytes, || {
                let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
                self.context.buffer("page", n_bytes, usage)
            }),
        };
        self.submit(|encoder| {
            for layer in &self.layers {
                encoder.copy_buffer_to_buffer(layer, self.offset(from), &between, 0, n_bytes);
                encoder.copy_buffer_to_buffer(&between, 0, layer, self.offset(to), n_bytes);
            }
        });
        self.between = Some(between);
        Ok(())
    }

    /// See [`crate::plan::Executor::kv_read`].
    pub(super) fn read(&mut self, pages: &[(PageId, usize)], bytes: &mut Vec<u8>) -> Result<Progress> {
        pages.iter().try_for_each(|(page, n_positions)| self.check(*page, *n_positions))?;
        if pages.is_empty() {
            return Ok(Progress::Complete);
        }
        let mut reading = match self.reading.take() {
            Some(reading) if reading.pages == pages => reading,
            _ => self.start_reading(pages)?,
        };
        let Reading { next, under_way, ticket, .. } = reading;
        let n_bytes = under_way as u64 * self.all_layers_bytes();
        let coming = pages.get(next..next + under_way).unwrap_or_default();
        let canonical = &mut reading.bytes;
        let come = reading.stages.read(ticket, n_bytes, |stage| {
            for ((_, n_positions), page) in coming.iter().zip(stage.chunks_exact(self.all_layers_bytes() as usize)) {
                self.to_canonical(page, *n_positions, canonical);
            }
        })?;
        if come.is_some() {
            reading.next += under_way;
            if reading.next == pages.len() {
                bytes.append(&mut reading.bytes);
                return Ok(Progress::Complete);
            }
            self.read_on(&mut reading)?;
        }
        self.reading = Some(reading);
        Ok(Progress::Pending)
    }

    fn start_reading(&self, pages: &[(PageId, usize)]) -> Result<Reading> {
        let n_bytes = pages.iter().map(|(_, n)| self.canonical_bytes(*n)).sum();
        let mut stages = Readback::new(self.context.clone());
        let most = pages.len().min(self.pages_at_once());
        let ticket = stages.take(most as u64 * self.all_layers_bytes());
        let mut reading = Reading {
            pages: pages.to_vec(),
            next: 0,
            under_way: 0,
            ticket,
            stages,
            signal: Signal::default(),
            bytes: try_vec(n_bytes, "a snapshot of the key-value cache")?,
        };
        self.request(&mut reading)?;
        Ok(reading)
    }

    /// Asks for the next pages, in the stage that has just been read.
    fn read_on(&self, reading: &mut Reading) -> Result<()> {
        let most = (reading.pages.len() - reading.next).min(self.pages_at_once());
        reading.ticket = reading.stages.take(most as u64 * self.all_layers_bytes());
        self.request(reading)
    }

    fn request(&self, reading: &mut Reading) -> Result<()> {
        let rest = reading.pages.get(reading.next..).unwrap_or_default();
        let pages = rest.get(..rest.len().min(self.pages_at_once())).unwrap_or_default();
        let stage = reading.stages.buffer(reading.ticket)?;
        self.submit(|encoder| {
            let mut at = 0;
            for (page, _) in pages {
                for layer in &self.layers {
                    encoder.copy_buffer_to_buffer(layer, self.offset(*page), stage, at, self.page_bytes());
                    at += self.page_bytes();
                }
            }
        });
        reading.under_way = pages.len();
        reading.signal = Signal::default();
        reading.stages.map(reading.ticket, pages.len() as u64 * self.all_layers_bytes(), &reading.signal)
    }

    /// See [`crate::plan::Executor::kv_write`].
    pub(super) fn write(&mut self, page: PageId, n_positions: usize, bytes: &[u8]) -> Result<()> {
        // What has been read of these pages is what was there before.
        self.stop_reading();
        self.check(page, n_positions)?;
        let expected = self.canonical_bytes(n_positions);
        if bytes.len() != expected {
            let n = bytes.len();
            return Err(Error::internal(format!("{n} bytes for a page's positions, expected {expected}")));
        }
        let n_bytes = self.page_bytes() as usize;
        let mut own = try_vec(n_bytes, "a page of the key-value cache")?;
        for (layer, canonical) in self.layers.iter().zip(bytes.chunks_exact((expected / self.layers.len()).max(1))) {
            own.clear();
            own.resize(n_bytes, 0);
            let mut rest = canonical;
            let mut next = |n: usize| {
                let (bytes, later) = rest.split_at(n.min(rest.len()));
                rest = later;
                bytes
            };
            let mut put = |at: usize, bytes: &[u8]| {
                if let Some(own) = own.get_mut(at..at + bytes.len()) {
                    own.copy_from_slice(bytes);
                }
            };
            for (place, scale) in self.places(n_positions) {
                if let Some((scale, half)) = scale.zip(next(scale.map_or(0, |_| 2)).first_chunk()) {
                    put(scale, &f16_to_f32(u16::from_le_bytes(*half)).to_le_bytes());
                }
                put(place, next(element_bytes(self.geometry.format)));
            }
            self.context.queue().write_buffer(layer, self.offset(page), &own);
        }
        Ok(())
    }

    /// Appends a page's positions, all layers, in canonical order.
    fn to_canonical(&self, page: &[u8], n_positions: usize, bytes: &mut Vec<u8>) {
        for layer in page.chunks_exact(self.page_bytes() as usize) {
            let at = |place: usize, n: usize| layer.get(place..place + n).unwrap_or_default();
            for (place, scale) in self.places(n_positions) {
                if let Some(scale) = scale.and_then(|scale| at(scale, 4).first_chunk()) {
                    bytes.extend_from_slice(&f32_to_f16(f32::from_le_bytes(*scale)).to_le_bytes());
                }
                bytes.extend_from_slice(at(place, element_bytes(self.geometry.format)));
            }
        }
    }

    /// Where the elements of a layer's page lie, bytes, in canonical order: keys then values, each [position, G, K]; with the first of a
    /// block the place of its scale.
    fn places(&self, n_positions: usize) -> impl Iterator<Item = (usize, Option<usize>)> + use<> {
        let KvGeometry { kv_heads, head_size, format, .. } = self.geometry;
        let (head_bytes, element_bytes) = (head_bytes(&self.geometry), element_bytes(self.geometry.format));
        let place = move |side: usize, position: usize, head: usize, k: usize| {
            let first = (side * kv_heads + head) * head_bytes;
            let (at, block) = match side {
                0 => ((k / QUAD * PAGE_POSITIONS + position) * QUAD + k % QUAD, k / BLOCK * PAGE_POSITIONS + position),
                _ => (position * head_size + k, position * (head_size / BLOCK) + k / BLOCK),
            };
            let scales = first + PAGE_POSITIONS * head_size;
            let scale = (format == KvFormat::Q8_0 && k.is_multiple_of(BLOCK)).then_some(scales + 4 * block);
            (first + at * element_bytes, scale)
        };
        (0..2).flat_map(move |side| {
            (0..n_positions).flat_map(move |position| {
                (0..kv_heads).flat_map(move |head| (0..head_size).map(move |k| place(side, position, head, k)))
            })
        })
    }

    fn submit(&self, record: impl FnOnce(&mut wgpu::CommandEncoder)) {
        let mut encoder = self.context.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        record(&mut encoder);
        self.context.queue().submit([encoder.finish()]);
    }

    fn check(&self, page: PageId, n_positions: usize) -> Result<()> {
        if page.0 as usize >= self.n_pages || n_positions > PAGE_POSITIONS {
            let n = self.n_pages;
            return Err(Error::internal(format!("{n_positions} positions of page {} of {n}", page.0)));
        }
        Ok(())
    }

    /// One page of one layer.
    fn page_bytes(&self) -> u64 {
        layer_page_bytes(&self.geometry)
    }

    fn all_layers_bytes(&self) -> u64 {
        self.page_bytes() * self.layers.len() as u64
    }

    fn pages_at_once(&self) -> usize {
        (READ_BYTES / self.all_layers_bytes().max(1)).max(1) as usize
    }

    /// Bytes of so many positions, all layers.
    fn canonical_bytes(&self, n_positions: usize) -> usize {
        self.geometry.page_bytes() / PAGE_POSITIONS * n_positions
    }

    /// Where a page begins in each layer.
    fn offset(&self, page: PageId) -> u64 {
        u64::from(page.0) * self.page_bytes()
    }
}

/// Bytes of an element, its block's scale left out.
fn element_bytes(format: KvFormat) -> usize {
    match format {
        KvFormat::F16 => 2,
        KvFormat::F32 => 4,
        KvFormat::Q8_0 => 1,
    }
}

/// A page's keys, or values, of one head. Of Q8_0 a scale is a word by itself.
fn head_bytes(geometry: &KvGeometry) -> usize {
    let n_scales = if geometry.format == KvFormat::Q8_0 { geometry.head_size / BLOCK } else { 0 };
    let row = geometry.head_size.saturating_mul(element_bytes(geometry.format)).saturating_add(4 * n_scales);
    row.saturating_mul(PAGE_POSITIONS)
}

/// One page of one layer, saturating.
pub(super) fn layer_page_bytes(geometry: &KvGeometry) -> u64 {
    (head_bytes(geometry) as u64).saturating_mul(geometry.kv_heads as u64).saturating_mul(2)
}
