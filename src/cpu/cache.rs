//! Pages of keys and values as the attention kernels read them, and attention over them.
//!
//! A page holds 64 positions of all layers; for each (layer, kv head) one region of octets (8 elements, f16 or f32):
//!
//! ```text
//! keys    [position / 8][K] octets of 8 positions     scores of 8 positions come out in lanes
//! values  [position][K / 8, rounded up] octets of 8 elements
//! ```
//!
//! Softmax runs page by page in ascending order (online, with a running maximum), so a page is the fixed split and the bits of a
//! (row, head) depend on nothing but its query and its positions.

use super::{
    bias::BiasTable,
    math::{exp, soft_cap},
    matmul::Lanes8,
    shared::Shared,
    simd::F32x4,
};
use crate::{
    error::{Error, Result},
    kv::{KvGeometry, PAGE_POSITIONS, PageId},
    quant::repack::{Half8, Single8},
};

/// Octets of positions of a page.
const OCTETS: usize = PAGE_POSITIONS / 8;

/// Eight elements of the cache.
pub(crate) trait Octet: Copy + Send + Sync {
    /// Bytes of an element in canonical order.
    const ELEMENT_BYTES: usize;
    const ZERO: Self;
    fn widen(&self) -> Lanes8;
    fn set(&mut self, i: usize, x: f32);
    fn get(&self, i: usize) -> f32;
    fn push_bytes(&self, i: usize, bytes: &mut Vec<u8>);
    fn set_bytes(&mut self, i: usize, bytes: &[u8]);
}

impl Octet for Half8 {
    const ELEMENT_BYTES: usize = 2;
    const ZERO: Self = Self([0; 8]);
    #[inline(always)]
    fn widen(&self) -> Lanes8 {
        F32x4::from_f16(&self.0)
    }
    #[inline(always)]
    fn set(&mut self, i: usize, x: f32) {
        self.0[i] = half::f16::from_f32_const(x).to_bits();
    }
    #[inline(always)]
    fn get(&self, i: usize) -> f32 {
        crate::quant::f16_to_f32(self.0[i])
    }
    fn push_bytes(&self, i: usize, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.0[i].to_le_bytes());
    }
    fn set_bytes(&mut self, i: usize, bytes: &[u8]) {
        self.0[i] = u16::from_le_bytes([bytes[0], bytes[1]]);
    }
}

impl Octet for Single8 {
    const ELEMENT_BYTES: usize = 4;
    const ZERO: Self = Self([0.0; 8]);
    #[inline(always)]
    fn widen(&self) -> Lanes8 {
        let (quads, _) = self.0.as_chunks::<4>();
        [F32x4::load(&quads[0]), F32x4::load(&quads[1])]
    }
    #[inline(always)]
    fn set(&mut self, i: usize, x: f32) {
        self.0[i] = x;
    }
    #[inline(always)]
    fn get(&self, i: usize) -> f32 {
        self.0[i]
    }
    fn push_bytes(&self, i: usize, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.0[i].to_le_bytes());
    }
    fn set_bytes(&mut self, i: usize, bytes: &[u8]) {
        self.0[i] = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
}

/// The pages, each its own allocation.
pub(crate) struct Pages<O> {
    geometry: KvGeometry,
    pages: Vec<Shared<O>>,
}

impl<O: Octet> Pages<O> {
    pub(crate) fn new(geometry: KvGeometry) -> Self {
        Self { geometry, pages: vec![] }
    }

    pub(crate) fn kv_heads(&self) -> usize {
        self.geometry.kv_heads
    }

    pub(crate) fn head_size(&self) -> usize {
        self.geometry.head_size
    }

    /// Octets of a value row.
    fn value_octets(&self) -> usize {
        self.geometry.head_size.div_ceil(8)
    }

    /// Octets of the keys of a region.
    fn keys_len(&self) -> usize {
        OCTETS * self.geometry.head_size
    }

    fn region_len(&self) -> usize {
        self.keys_len() + PAGE_POSITIONS * self.value_octets()
    }

    /// Where the region of (layer, kv head) lies in a page.
    pub(crate) fn region(&self, layer: usize, kv_head: usize) -> std::ops::Range<usize> {
        let start = (layer * self.geometry.kv_heads + kv_head) * self.region_len();
        start..start + self.region_len()
    }

    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    pub(crate) fn page(&self, id: PageId) -> &Shared<O> {
        &self.pages[id.0 as usize]
    }

    pub(crate) fn reserve(&mut self, n_pages: usize) -> Result<()> {
        let len = self.geometry.layers * self.geometry.kv_heads * self.region_len();
        while self.pages.len() < n_pages {
            let page = Shared::new(len, O::ZERO, "a page of the key-value cache")?;
            self.pages.try_reserve(1).map_err(|_| Error::internal("page table"))?;
            self.pages.push(page);
        }
        Ok(())
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.pages.iter().map(Shared::bytes).sum()
    }

    fn page_mut(&mut self, id: PageId) -> Result<&mut [O]> {
        let n = self.pages.len();
        match self.pages.get_mut(id.0 as usize) {
            Some(page) => Ok(page.get_mut()),
            None => Err(Error::internal(format!("page {} of {n}", id.0))),
        }
    }

    /// Copies whole octets of positions: what lies past `n_positions` counts for nothing.
    pub(crate) fn copy(&mut self, from: PageId, to: PageId, n_positions: usize) -> Result<()> {
        let source = self.page_mut(from)?.to_vec();
        let (octets, values) = (n_positions.min(PAGE_POSITIONS).div_ceil(8), self.value_octets());
        let (keys_len, region_len, head_size) = (self.keys_len(), self.region_len(), self.geometry.head_size);
        let target = self.page_mut(to)?;
        for (s, t) in source.chunks_exact(region_len).zip(target.chunks_exact_mut(region_len)) {
            t[..octets * head_size].copy_from_slice(&s[..octets * head_size]);
            let value_range = keys_len..keys_len + octets * 8 * values;
            t[value_range.clone()].copy_from_slice(&s[value_range]);
        }
        Ok(())
    }

    /// In canonical order: per layer k then v, each [position, G, K].
    pub(crate) fn read(&mut self, page: PageId, n_positions: usize, bytes: &mut Vec<u8>) -> Result<()> {
        let n_bytes = self.canonical_bytes(n_positions)?;
        bytes
            .try_reserve(n_bytes)
            .map_err(|_| Error::Memory { what: "a snapshot".into(), needed_bytes: n_bytes as u64 })?;
        let places = self.places(n_positions);
        let octets = self.page_mut(page)?;
        places.for_each(|(octet, i)| octets[octet].push_bytes(i, bytes));
        Ok(())
    }

    pub(crate) fn write(&mut self, page: PageId, n_positions: usize, bytes: &[u8]) -> Result<()> {
        let n_bytes = self.canonical_bytes(n_positions)?;
        if bytes.len() != n_bytes {
            return Err(Error::internal(format!("{} bytes for a page of {n_bytes}", bytes.len())));
        }
        let places = self.places(n_positions);
        let octets = self.page_mut(page)?;
        bytes.chunks_exact(O::ELEMENT_BYTES).zip(places).for_each(|(b, (octet, i))| octets[octet].set_bytes(i, b));
        Ok(())
    }

    fn canonical_bytes(&self, n_positions: usize) -> Result<usize> {
        if n_positions > PAGE_POSITIONS {
            return Err(Error::internal(format!("{n_positions} positions of a page")));
        }
        let KvGeometry { layers, kv_heads, head_size, .. } = self.geometry;
        Ok(2 * layers * kv_heads * head_size * n_positions * O::ELEMENT_BYTES)
    }

    /// Where the elements lie (octet, lane), in canonical order.
    fn places(&self, n_positions: usize) -> impl Iterator<Item = (usize, usize)> + use<O> {
        let KvGeometry { layers, kv_heads, head_size, .. } = self.geometry;
        let (region_len, keys_len, values) = (self.region_len(), self.keys_len(), self.value_octets());
        (0..layers).flat_map(move |layer| {
            (0..2).flat_map(move |kind| {
                (0..n_positions).flat_map(move |p| {
                    (0..kv_heads).flat_map(move |g| {
                        let region = (layer * kv_heads + g) * region_len;
                        (0..head_size).map(move |k| match kind {
                            0 => (region + p / 8 * head_size + k, p % 8),
                            _ => (region + keys_len + p * values + k / 8, k % 8),
                        })
                    })
                })
            })
        })
    }

    /// Writes the key and value [K] of a position of a page into its region.
    pub(crate) fn put(&self, region: &mut [O], position: usize, key: &[f32], value: &[f32]) {
        let slot = position % PAGE_POSITIONS;
        let (keys, values) = region.split_at_mut(self.keys_len());
        let keys = &mut keys[slot / 8 * key.len()..][..key.len()];
        keys.iter_mut().zip(key).for_each(|(o, x)| o.set(slot % 8, *x));
        let values = &mut values[slot * self.value_octets()..][..self.value_octets()];
        for (o, x) in values.iter_mut().zip(value.chunks(8)) {
            x.iter().enumerate().for_each(|(i, x)| o.set(i, *x));
        }
    }

    /// Reads what [`Self::put`] wrote.
    pub(crate) fn get(&self, region: &[O], position: usize, key: &mut [f32], value: &mut [f32]) {
        let slot = position % PAGE_POSITIONS;
        let (keys, values) = region.split_at(self.keys_len());
        let keys = &keys[slot / 8 * key.len()..][..key.len()];
        key.iter_mut().zip(keys).for_each(|(x, o)| *x = o.get(slot % 8));
        let values = &values[slot * self.value_octets()..][..self.value_octets()];
        for (x, o) in value.chunks_mut(8).zip(values) {
            x.iter_mut().enumerate().for_each(|(i, x)| *x = o.get(i));
        }
    }
}

/// What one thread needs to attend for a group of queries.
#[derive(Default)]
pub(crate) struct AttentionScratch {
    queries: Vec<Query>,
    /// [queries, K] scaled queries.
    scaled: Vec<f32>,
    /// [queries, K / 8 rounded up]: weighted values so far.
    acc: Vec<Lanes8>,
    /// [queries, 64]: scores, then weights, of the page.
    scores: Vec<[f32; PAGE_POSITIONS]>,
}

/// A (row, head) of the group.
#[derive(Clone, Copy)]
struct Query {
    /// The positions that it may see.
    first: usize,
    end: usize,
    /// Its own.
    position: usize,
    head: usize,
    max: f32,
    sum: f32,
}

/// Attention of queries that share a kv head and a sequence.
pub(crate) struct Group<'a> {
    pub(crate) head_size: usize,
    pub(crate) scale: f32,
    pub(crate) soft_cap: Option<f32>,
    pub(crate) bias: Option<&'a BiasTable>,
    /// The pages in which the positions are.
    pub(crate) pages: &'a [PageId],
}

/// What a query of a [`Group`] sees.
#[derive(Clone)]
pub(crate) struct Sight {
    pub(crate) position: usize,
    pub(crate) head: usize,
    pub(crate) positions: std::ops::Range<usize>,
}

impl AttentionScratch {
    /// Room for `n` queries of `head_size`.
    pub(crate) fn reserve(&mut self, n: usize, head_size: usize) -> Result<()> {
        let no_room = |_| Error::Memory { what: "attention".into(), needed_bytes: (n * (head_size * 8 + 256)) as u64 };
        self.queries.try_reserve(n).map_err(no_room)?;
        self.scaled.try_reserve(n * head_size).map_err(no_room)?;
        self.acc.try_reserve(n * head_size.div_ceil(8)).map_err(no_room)?;
        self.scores.try_reserve(n).map_err(no_room)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.scaled.capacity() * 4 + self.acc.capacity() * size_of::<Lanes8>() + self.scores.capacity() * 256
    }

    /// Forgets the queries of the group before.
    pub(crate) fn clear(&mut self) {
        self.queries.clear();
        self.scaled.clear();
        self.acc.clear();
        self.scores.clear();
    }

    /// Adds the query [K] of a row and a head.
    pub(crate) fn push(&mut self, group: &Group<'_>, q: &[f32], sight: Sight) {
        let Sight { position, head, positions } = sight;
        let (first, end) = (positions.start, positions.end);
        self.queries.push(Query { first, end, position, head, max: f32::NEG_INFINITY, sum: 0.0 });
        self.scaled.extend(q.iter().map(|x| x * group.scale));
        self.acc.resize(self.acc.len() + group.head_size.div_ceil(8), [F32x4::splat(0.0); 2]);
        self.scores.push([0.0; PAGE_POSITIONS]);
    }

    /// Attends; `region(page)` is the region of the layer and kv head in a page.
    pub(crate) fn run<'p, O: Octet + 'p>(&mut self, group: &Group<'_>, region: impl Fn(PageId) -> &'p [O]) {
        let first = self.queries.iter().map(|q| q.first).min().unwrap_or(0);
        let end = self.queries.iter().map(|q| q.end).max().unwrap_or(0);
        for (i, page) in group.pages.iter().enumerate().take(end.div_ceil(PAGE_POSITIONS)).skip(first / PAGE_POSITIONS)
        {
            let start = i * PAGE_POSITIONS;
            let (keys, values) = region(*page).split_at(OCTETS * group.head_size);
            let n = self.queries.len();
            let mut q = 0;
            while q < n {
                let size = match n - q {
                    4.. => self.tile::<O, 4>(group, keys, values, start, q),
                    3 => self.tile::<O, 3>(group, keys, values, start, q),
                    2 => self.tile::<O, 2>(group, keys, values, start, q),
                    _ => self.tile::<O, 1>(group, keys, values, start, q),
                };
                q += size;
            }
        }
    }

    /// The result [K] of query i.
    pub(crate) fn finish(&self, group: &Group<'_>, i: usize, out: &mut [f32]) {
        let octets = group.head_size.div_ceil(8);
        let sum = F32x4::splat(self.queries[i].sum);
        for (acc, out) in self.acc[i * octets..(i + 1) * octets].iter().zip(out.chunks_mut(8)) {
            let [lo, hi] = [acc[0].div(sum).to_array(), acc[1].div(sum).to_array()];
            lo.iter().chain(&hi).zip(out).for_each(|(x, o)| *o = *x);
        }
    }

    /// Queries first..first + Q over one page.
    fn tile<O: Octet, const Q: usize>(
        &mut self,
        group: &Group<'_>,
        keys: &[O],
        values: &[O],
        start: usize,
        first: usize,
    ) -> usize {
        let size = group.head_size;
        let queries = &mut self.queries[first..first + Q];
        // The positions of the page that some query of the tile sees.
        let lo = queries.iter().map(|q| q.first.saturating_sub(start)).min().unwrap_or(0);
        let hi = queries.iter().map(|q| q.end.saturating_sub(start).min(PAGE_POSITIONS)).max().unwrap_or(0);
        if lo >= hi {
            return Q;
        }
        let scaled: [&[f32]; Q] = core::array::from_fn(|i| &self.scaled[(first + i) * size..(first + i + 1) * size]);
        let scores = &mut self.scores[first..first + Q];
        page_scores::<O, Q>(keys, size, lo / 8..hi.div_ceil(8), scaled, scores);
        if group.soft_cap.is_some() || group.bias.is_some() {
            queries.iter().zip(scores.iter_mut()).for_each(|(query, scores)| query.adjust(group, scores, start));
        }
        let octets = size.div_ceil(8);
        let acc = &mut self.acc[first * octets..(first + Q) * octets];
        for ((query, scores), acc) in queries.iter_mut().zip(scores.iter_mut()).zip(acc.chunks_exact_mut(octets)) {
            query.soften(scores, acc, start);
        }
        page_values::<O, Q>(values, octets, lo..hi, scores, acc);
        Q
    }
}

impl Query {
    /// Caps the scores of the positions that it sees, and adds the bias.
    fn adjust(&self, group: &Group<'_>, scores: &mut [f32; PAGE_POSITIONS], start: usize) {
        let seen = [self.first, self.end].map(|p| p.saturating_sub(start).min(PAGE_POSITIONS));
        // Whole vectors: what lies beside them is masked later.
        let (quads, _) = scores.as_chunks_mut::<4>();
        if let Some(cap) = group.soft_cap {
            let quads = quads.get_mut(seen[0] / 4..seen[1].div_ceil(4)).unwrap_or_default();
            quads.iter_mut().for_each(|q| soft_cap(cap, F32x4::load(q)).store(q));
        }
        if let Some(bias) = group.bias {
            let scores = scores.get_mut(seen[0]..seen[1]).unwrap_or_default();
            let first = (start + seen[0]) as i64 - self.position as i64;
            scores.iter_mut().zip(first..).for_each(|(s, distance)| *s += bias.at(self.head, distance));
        }
    }

    /// Scores of the page to weights e^(score − maximum); what was gathered before is brought to the new maximum.
    fn soften(&mut self, scores: &mut [f32; PAGE_POSITIONS], acc: &mut [Lanes8], start: usize) {
        let lo = self.first.saturating_sub(start).min(PAGE_POSITIONS);
        let hi = self.end.saturating_sub(start).min(PAGE_POSITIONS);
        if lo >= hi {
            scores.fill(0.0);
            return;
        }
        scores[..lo].fill(f32::NEG_INFINITY);
        scores[hi..].fill(f32::NEG_INFINITY);
        let (quads, _) = scores.as_chunks_mut::<4>();
        let mut max = F32x4::splat(self.max);
        for q in quads.iter() {
            max = max.max(F32x4::load(q));
        }
        let max = max.reduce_max();
        let factor = exp(F32x4::splat(self.max - max));
        let mut sum = F32x4::splat(0.0);
        for q in quads {
            let e = exp(F32x4::load(q).sub(F32x4::splat(max)));
            sum = sum.add(e);
            e.store(q);
        }
        self.max = max;
        self.sum = self.sum * factor.to_array()[0] + sum.sum();
        acc.iter_mut().for_each(|a| *a = [a[0].mul(factor), a[1].mul(factor)]);
    }
}

/// `scores[q][p] = q · k_p` for octets of positions.
fn page_scores<O: Octet, const Q: usize>(
    keys: &[O],
    head_size: usize,
    octets: std::ops::Range<usize>,
    queries: [&[f32]; Q],
    scores: &mut [[f32; PAGE_POSITIONS]],
) {
    let queries = queries.map(|q| &q[..head_size]);
    for octet in octets {
        let keys = &keys[octet * head_size..][..head_size];
        let mut acc = [[F32x4::splat(0.0); 2]; Q];
        for (k, key) in keys.iter().enumerate() {
            let w = key.widen();
            for (acc, q) in acc.iter_mut().zip(&queries) {
                let q = F32x4::splat(q[k]);
                *acc = [acc[0].add(w[0].mul(q)), acc[1].add(w[1].mul(q))];
            }
        }
        for (scores, acc) in scores.iter_mut().zip(acc) {
            let (quads, _) = scores.as_chunks_mut::<4>();
            acc[0].store(&mut quads[2 * octet]);
            acc[1].store(&mut quads[2 * octet + 1]);
        }
    }
}

/// `acc[q] += Σ_p weights[q][p] · v_p`
fn page_values<O: Octet, const Q: usize>(
    values: &[O],
    octets: usize,
    positions: std::ops::Range<usize>,
    weights: &[[f32; PAGE_POSITIONS]],
    acc: &mut [Lanes8],
) {
    for c in 0..octets {
        let mut sums: [Lanes8; Q] = core::array::from_fn(|q| acc[q * octets + c]);
        for p in positions.clone() {
            let v = values[p * octets + c].widen();
            for (sum, weights) in sums.iter_mut().zip(weights) {
                let w = F32x4::splat(weights[p]);
                *sum = [sum[0].add(v[0].mul(w)), sum[1].add(v[1].mul(w))];
            }
        }
        for (q, sum) in sums.into_iter().enumerate() {
            acc[q * octets + c] = sum;
        }
    }
}
