//! The key-value pages of the reference executor: f32 values, each rounded to the cache's format when it is written.

use crate::{
    error::{Error, Result, try_vec},
    kv::{KvFormat, KvGeometry, PAGE_POSITIONS, PageId},
    quant::{
        f16_to_f32, f32_to_f16,
        q8_0::{self, BLOCK, BLOCK_BYTES},
    },
};

/// Keys or values.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    K,
    V,
}

/// All pages; each is [L, 2, P, G · K] with P = [`PAGE_POSITIONS`].
#[derive(Debug)]
pub(super) struct Pages {
    geometry: KvGeometry,
    pages: Vec<Vec<f32>>,
}

impl Pages {
    pub(super) fn new(geometry: KvGeometry) -> Self {
        Self { geometry, pages: vec![] }
    }

    pub(super) fn geometry(&self) -> &KvGeometry {
        &self.geometry
    }

    pub(super) fn len(&self) -> usize {
        self.pages.len()
    }

    pub(super) fn n_bytes(&self) -> u64 {
        (self.pages.len() * self.page_len() * size_of::<f32>()) as u64
    }

    /// Makes sure that pages 0..n exist.
    pub(super) fn reserve(&mut self, n: usize) -> Result<()> {
        while self.pages.len() < n {
            let mut page = try_vec(self.page_len(), "a page of the key-value cache")?;
            page.resize(self.page_len(), 0.0);
            self.pages.push(page);
        }
        Ok(())
    }

    /// Keys or values of all kv heads at one position: [G · K].
    pub(super) fn row(&self, layer: usize, side: Side, pages: &[PageId], position: usize) -> &[f32] {
        let page = &self.pages[pages[position / PAGE_POSITIONS].0 as usize];
        let start = self.offset(layer, side, position % PAGE_POSITIONS);
        &page[start..start + self.row_len()]
    }

    /// Writes one position, rounded to the cache's format. values: [G · K]
    pub(super) fn write(&mut self, layer: usize, side: Side, pages: &[PageId], position: usize, values: &[f32]) {
        let start = self.offset(layer, side, position % PAGE_POSITIONS);
        let format = self.geometry.format;
        let page = &mut self.pages[pages[position / PAGE_POSITIONS].0 as usize];
        let head_size = self.geometry.head_size;
        page[start..start + values.len()].copy_from_slice(values);
        page[start..start + values.len()].chunks_mut(head_size).for_each(|head| round(format, head));
    }

    /// Copies the first n positions of a page, all layers.
    pub(super) fn copy(&mut self, from: PageId, to: PageId, n_positions: usize) -> Result<()> {
        self.check(from, n_positions)?;
        self.check(to, n_positions)?;
        for range in self.row_ranges(n_positions) {
            let values = self.pages[from.0 as usize][range.clone()].to_vec();
            self.pages[to.0 as usize][range].copy_from_slice(&values);
        }
        Ok(())
    }

    /// Appends the first n positions as bytes in the cache's format.
    pub(super) fn read_bytes(&self, page: PageId, n_positions: usize, bytes: &mut Vec<u8>) -> Result<()> {
        self.check(page, n_positions)?;
        for range in self.row_ranges(n_positions) {
            let values = &self.pages[page.0 as usize][range];
            match self.geometry.format {
                KvFormat::F16 => values.iter().for_each(|x| bytes.extend_from_slice(&f32_to_f16(*x).to_le_bytes())),
                KvFormat::F32 => values.iter().for_each(|x| bytes.extend_from_slice(&x.to_le_bytes())),
                // Rounded values become the blocks that they are of.
                KvFormat::Q8_0 => values.as_chunks::<BLOCK>().0.iter().for_each(|block| {
                    let (d, q) = q8_0::encode(block);
                    bytes.extend_from_slice(&d.to_le_bytes());
                    bytes.extend(q.map(i8::cast_unsigned));
                }),
            }
        }
        Ok(())
    }

    /// The inverse of [`Self::read_bytes`].
    pub(super) fn write_bytes(&mut self, page: PageId, n_positions: usize, bytes: &[u8]) -> Result<()> {
        self.check(page, n_positions)?;
        let ranges = self.row_ranges(n_positions);
        let format = self.geometry.format;
        let head_bytes = format.row_bytes(self.geometry.head_size);
        let n_heads = ranges.iter().map(ExactSizeIterator::len).sum::<usize>() / self.geometry.head_size;
        let expected = n_heads * head_bytes;
        if bytes.len() != expected {
            return Err(Error::internal(format!("{} bytes for a page's positions, expected {expected}", bytes.len())));
        }
        let head_size = self.geometry.head_size;
        let page = &mut self.pages[page.0 as usize];
        let heads = ranges.into_iter().flat_map(|range| range.step_by(head_size));
        for (start, bytes) in heads.zip(bytes.chunks_exact(head_bytes)) {
            let values: Vec<f32> = match format {
                KvFormat::F16 => bytes.as_chunks::<2>().0.iter().map(|b| f16_to_f32(u16::from_le_bytes(*b))).collect(),
                KvFormat::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
                KvFormat::Q8_0 => {
                    bytes.as_chunks::<BLOCK_BYTES>().0.iter().flat_map(|b| decoded(q8_0::parts(b))).collect()
                }
            };
            page[start..start + head_size].copy_from_slice(&values);
        }
        Ok(())
    }

    /// Where the first n positions lie in a page, in canonical order: for each layer k, then v.
    fn row_ranges(&self, n_positions: usize) -> Vec<std::ops::Range<usize>> {
        (0..self.geometry.layers)
            .flat_map(|layer| [Side::K, Side::V].map(|side| self.offset(layer, side, 0)))
            .map(|start| start..start + n_positions * self.row_len())
            .collect()
    }

    fn check(&self, page: PageId, n_positions: usize) -> Result<()> {
        if page.0 as usize >= self.pages.len() || n_positions > PAGE_POSITIONS {
            let n = self.pages.len();
            return Err(Error::internal(format!("{n_positions} positions of page {} of {n}", page.0)));
        }
        Ok(())
    }

    fn offset(&self, layer: usize, side: Side, slot: usize) -> usize {
        ((layer * 2 + side as usize) * PAGE_POSITIONS + slot) * self.row_len()
    }

    fn row_len(&self) -> usize {
        self.geometry.kv_heads * self.geometry.head_size
    }

    fn page_len(&self) -> usize {
        2 * self.geometry.layers * PAGE_POSITIONS * self.row_len()
    }
}

/// The values that the cache's format has for those of a head.
fn round(format: KvFormat, head: &mut [f32]) {
    match format {
        KvFormat::F16 => head.iter_mut().for_each(|x| *x = f16_to_f32(f32_to_f16(*x))),
        KvFormat::F32 => {}
        KvFormat::Q8_0 => {
            head.as_chunks_mut::<BLOCK>().0.iter_mut().for_each(|block| *block = decoded(q8_0::encode(block)));
        }
    }
}

fn decoded((d, q): (u16, [i8; BLOCK])) -> [f32; BLOCK] {
    q.map(|q| f32::from(q) * f16_to_f32(d))
}
