//! Pages of keys and values as the attention kernels ([`super::attention`]) read them.
//!
//! A page holds 64 positions of all layers; for each (layer, kv head) one region of cells, the keys and then the values, laid out and read
//! as the format wants: [`floats`], [`q8`].

mod floats;
mod q8;

use std::ops::Range;

use self::{floats::Halves, q8::Bytes};
use super::{activations::Act16, matmul::Lanes8, shared::Shared};
use crate::{
    error::{Error, Result},
    kv::{KvFormat, KvGeometry, PAGE_POSITIONS, PageId},
    quant::repack::Single8,
};

/// Octets of positions of a page.
const OCTETS: usize = PAGE_POSITIONS / 8;

/// Which of the two rows of a position.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Key,
    Value,
}

/// Queries [K] as the kernels want them: times the scale and [`Cell::QUERY_FACTOR`], or that in blocks of whole numbers.
pub(crate) struct Queries<'a, const Q: usize> {
    pub(crate) float: [&'a [f32]; Q],
    pub(crate) codes: [&'a [Act16]; Q],
}

/// A format of keys and values: what regions are made of, and how attention reads them.
pub(crate) trait Cell: Copy + Send + Sync {
    const ZERO: Self;
    /// What queries and the weights of values are multiplied with.
    const QUERY_FACTOR: f32;
    const WEIGHT_FACTOR: f32;
    /// Whether scores are made of [`Queries::codes`].
    const READS_CODES: bool;
    /// Cells of the keys, and of the values, of a region.
    fn keys_len(head_size: usize) -> usize;
    fn values_len(head_size: usize) -> usize;
    /// Copies the first positions of a region, and perhaps some that lie past them.
    fn copy(head_size: usize, n_positions: usize, source: &[Self], target: &mut [Self]);
    /// Writes, reads the key or value [K] of a position.
    fn put(region: &mut [Self], side: Side, slot: usize, row: &[f32]);
    fn get(region: &[Self], side: Side, slot: usize, row: &mut [f32]);
    /// The same in canonical bytes.
    fn push_bytes(head_size: usize, region: &[Self], side: Side, slot: usize, bytes: &mut Vec<u8>);
    fn set_bytes(head_size: usize, region: &mut [Self], side: Side, slot: usize, bytes: &[u8]);
    /// `scores[q][p] = q · k_p` for octets of positions.
    fn scores<const Q: usize>(
        keys: &[Self],
        head_size: usize,
        octets: Range<usize>,
        queries: Queries<'_, Q>,
        scores: &mut [[f32; PAGE_POSITIONS]],
    );
    /// `acc[q] += Σ_p weights[q][p] · v_p`; the weights beside these positions are 0.
    fn values<const Q: usize>(
        values: &[Self],
        head_size: usize,
        positions: Range<usize>,
        weights: &[[f32; PAGE_POSITIONS]],
        acc: &mut [Lanes8],
    );
}

/// The pages in the format of the cache.
pub(crate) enum AnyPages {
    F16(Pages<Halves>),
    F32(Pages<Single8>),
    Q8_0(Pages<Bytes>),
}

/// An expression of the pages, whatever their format.
macro_rules! of_format {
    ($any:expr, $pages:ident => $value:expr) => {
        match $any {
            $crate::cpu::cache::AnyPages::F16($pages) => $value,
            $crate::cpu::cache::AnyPages::F32($pages) => $value,
            $crate::cpu::cache::AnyPages::Q8_0($pages) => $value,
        }
    };
}
pub(crate) use of_format;

impl AnyPages {
    pub(crate) fn new(geometry: KvGeometry) -> Self {
        match geometry.format {
            KvFormat::F16 => Self::F16(Pages::new(geometry)),
            KvFormat::F32 => Self::F32(Pages::new(geometry)),
            KvFormat::Q8_0 => Self::Q8_0(Pages::new(geometry)),
        }
    }

    pub(crate) fn kv_heads(&self) -> usize {
        of_format!(self, pages => pages.geometry.kv_heads)
    }

    pub(crate) fn head_size(&self) -> usize {
        of_format!(self, pages => pages.geometry.head_size)
    }
}

/// The pages, each its own allocation.
pub(crate) struct Pages<C> {
    geometry: KvGeometry,
    pages: Vec<Shared<C>>,
}

impl<C: Cell> Pages<C> {
    fn new(geometry: KvGeometry) -> Self {
        Self { geometry, pages: vec![] }
    }

    fn region_len(&self) -> usize {
        let head_size = self.geometry.head_size;
        C::keys_len(head_size) + C::values_len(head_size)
    }

    /// Where the region of (layer, kv head) lies in a page.
    pub(crate) fn region(&self, layer: usize, kv_head: usize) -> Range<usize> {
        let start = (layer * self.geometry.kv_heads + kv_head) * self.region_len();
        start..start + self.region_len()
    }

    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    pub(crate) fn page(&self, id: PageId) -> &Shared<C> {
        &self.pages[id.0 as usize]
    }

    pub(crate) fn reserve(&mut self, n_pages: usize) -> Result<()> {
        let len = self.geometry.layers * self.geometry.kv_heads * self.region_len();
        while self.pages.len() < n_pages {
            let page = Shared::new(len, C::ZERO, "a page of the key-value cache")?;
            self.pages.try_reserve(1).map_err(|_| Error::internal("page table"))?;
            self.pages.push(page);
        }
        Ok(())
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.pages.iter().map(Shared::bytes).sum()
    }

    fn page_mut(&mut self, id: PageId) -> Result<&mut [C]> {
        let n = self.pages.len();
        match self.pages.get_mut(id.0 as usize) {
            Some(page) => Ok(page.get_mut()),
            None => Err(Error::internal(format!("page {} of {n}", id.0))),
        }
    }

    pub(crate) fn copy(&mut self, from: PageId, to: PageId, n_positions: usize) -> Result<()> {
        let source = self.page_mut(from)?.to_vec();
        let (region_len, head_size) = (self.region_len(), self.geometry.head_size);
        let target = self.page_mut(to)?;
        for (source, target) in source.chunks_exact(region_len).zip(target.chunks_exact_mut(region_len)) {
            C::copy(head_size, n_positions.min(PAGE_POSITIONS), source, target);
        }
        Ok(())
    }

    /// In canonical order: per layer k then v, each [position, G, K].
    pub(crate) fn read(&mut self, page: PageId, n_positions: usize, bytes: &mut Vec<u8>) -> Result<()> {
        let n_bytes = self.canonical_bytes(n_positions)?;
        bytes
            .try_reserve(n_bytes)
            .map_err(|_| Error::Memory { what: "a snapshot".into(), needed_bytes: n_bytes as u64 })?;
        let (head_size, rows) = (self.geometry.head_size, self.rows(n_positions));
        let cells = self.page_mut(page)?;
        rows.for_each(|(region, side, slot)| C::push_bytes(head_size, &cells[region], side, slot, bytes));
        Ok(())
    }

    pub(crate) fn write(&mut self, page: PageId, n_positions: usize, bytes: &[u8]) -> Result<()> {
        let n_bytes = self.canonical_bytes(n_positions)?;
        if bytes.len() != n_bytes {
            return Err(Error::internal(format!("{} bytes for a page of {n_bytes}", bytes.len())));
        }
        let (head_size, rows) = (self.geometry.head_size, self.rows(n_positions));
        let row_bytes = self.geometry.format.row_bytes(head_size);
        let cells = self.page_mut(page)?;
        for (bytes, (region, side, slot)) in bytes.chunks_exact(row_bytes).zip(rows) {
            C::set_bytes(head_size, &mut cells[region], side, slot, bytes);
        }
        Ok(())
    }

    fn canonical_bytes(&self, n_positions: usize) -> Result<usize> {
        if n_positions > PAGE_POSITIONS {
            return Err(Error::internal(format!("{n_positions} positions of a page")));
        }
        let KvGeometry { layers, kv_heads, head_size, format } = self.geometry;
        Ok(2 * layers * kv_heads * n_positions * format.row_bytes(head_size))
    }

    /// Region, side and slot of the rows of all heads, in canonical order.
    fn rows(&self, n_positions: usize) -> impl Iterator<Item = (Range<usize>, Side, usize)> + use<C> {
        let (KvGeometry { layers, kv_heads, .. }, region_len) = (self.geometry, self.region_len());
        (0..layers).flat_map(move |layer| {
            [Side::Key, Side::Value].into_iter().flat_map(move |side| {
                (0..n_positions).flat_map(move |slot| {
                    (0..kv_heads).map(move |g| {
                        let start = (layer * kv_heads + g) * region_len;
                        (start..start + region_len, side, slot)
                    })
                })
            })
        })
    }

    /// Writes the key and value [K] of a position of a page into its region.
    pub(crate) fn put(&self, region: &mut [C], position: usize, key: &[f32], value: &[f32]) {
        C::put(region, Side::Key, position % PAGE_POSITIONS, key);
        C::put(region, Side::Value, position % PAGE_POSITIONS, value);
    }

    /// Reads what [`Self::put`] wrote.
    pub(crate) fn get(&self, region: &[C], position: usize, key: &mut [f32], value: &mut [f32]) {
        C::get(region, Side::Key, position % PAGE_POSITIONS, key);
        C::get(region, Side::Value, position % PAGE_POSITIONS, value);
    }
}
