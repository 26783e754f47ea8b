//! Attention over pages of keys and values: scores, softmax, weighted values. Works on slices, one thread at a time; who does what is
//! said in [`super::attend`].
//!
//! A fixed split makes the bits of a (row, head) depend on nothing but its query and its positions: the positions of a page are a
//! split. Each has a softmax of its own, and what comes out is joined in ascending order (online, with a running maximum). So it does
//! not matter whether one thread does all splits or each another.

use std::ops::Range;

use super::{
    activations::{self, Act16},
    bias::BiasTable,
    cache::{Cell, Queries},
    math::{exp, soft_cap},
    matmul::Lanes8,
    simd::F32x4,
};
use crate::{
    error::{Error, Result},
    kv::{PAGE_POSITIONS, PageId},
    quant::repack::BLOCK,
};

/// What one thread needs to attend for a group of queries.
#[derive(Default)]
pub(crate) struct AttentionScratch {
    queries: Vec<Query>,
    /// [queries, K] scaled queries.
    scaled: Vec<f32>,
    /// [queries, K / 32]: the same as whole numbers, for formats that read them.
    codes: Vec<Act16>,
    /// [queries, K / 8 rounded up]: weighted values of the split.
    acc: Vec<Lanes8>,
    /// [queries, 64]: scores, then weights, of the page.
    scores: Vec<[f32; PAGE_POSITIONS]>,
    /// [queries]: of the splits that were joined.
    totals: Vec<Softmax>,
    /// [queries, K / 8 rounded up]: the same, weighted values.
    total_acc: Vec<Lanes8>,
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
    softmax: Softmax,
}

/// The largest score, and the sum of e^(score − largest).
#[derive(Clone, Copy)]
pub(crate) struct Softmax {
    pub(crate) max: f32,
    pub(crate) sum: f32,
}

impl Softmax {
    const NOTHING: Self = Self { max: f32::NEG_INFINITY, sum: 0.0 };

    /// The largest of some scores adds e⁰ to the sum, and a NaN is not 0.
    fn is_nothing(self) -> bool {
        self.sum == 0.0
    }
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
    pub(crate) positions: Range<usize>,
}

/// The splits that have some of these positions.
pub(crate) fn splits(positions: Range<usize>) -> Range<usize> {
    positions.start / PAGE_POSITIONS..positions.end.div_ceil(PAGE_POSITIONS)
}

impl AttentionScratch {
    /// Room for `n` queries of `head_size`.
    pub(crate) fn reserve(&mut self, n: usize, head_size: usize) -> Result<()> {
        let no_room = |_| Error::Memory { what: "attention".into(), needed_bytes: (n * (head_size * 12 + 256)) as u64 };
        self.queries.try_reserve(n).map_err(no_room)?;
        self.scaled.try_reserve(n * head_size).map_err(no_room)?;
        self.codes.try_reserve(n * head_size / BLOCK).map_err(no_room)?;
        self.acc.try_reserve(n * head_size.div_ceil(8)).map_err(no_room)?;
        self.scores.try_reserve(n).map_err(no_room)?;
        self.totals.try_reserve(n).map_err(no_room)?;
        self.total_acc.try_reserve(n * head_size.div_ceil(8)).map_err(no_room)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.scaled.capacity() * 4
            + self.codes.capacity() * size_of::<Act16>()
            + (self.acc.capacity() + self.total_acc.capacity()) * size_of::<Lanes8>()
            + self.scores.capacity() * 256
    }

    /// Forgets the queries of the group before.
    pub(crate) fn clear(&mut self) {
        self.queries.clear();
        self.scaled.clear();
        self.codes.clear();
        self.acc.clear();
        self.scores.clear();
        self.totals.clear();
        self.total_acc.clear();
    }

    /// Adds the query [K] of a row and a head.
    pub(crate) fn push<C: Cell>(&mut self, group: &Group<'_>, q: &[f32], sight: Sight) {
        let Sight { position, head, positions } = sight;
        let (first, end) = (positions.start, positions.end);
        self.queries.push(Query { first, end, position, head, softmax: Softmax::NOTHING });
        self.scaled.extend(q.iter().map(|x| x * group.scale * C::QUERY_FACTOR));
        if C::READS_CODES {
            let n = self.codes.len();
            self.codes.resize(n + q.len() / BLOCK, Act16::ZERO);
            activations::quantize_fine(&self.scaled[self.scaled.len() - q.len()..], &mut self.codes[n..]);
        }
        self.acc.resize(self.acc.len() + group.head_size.div_ceil(8), [F32x4::splat(0.0); 2]);
        self.scores.push([0.0; PAGE_POSITIONS]);
        self.totals.push(Softmax::NOTHING);
        self.total_acc.resize(self.acc.len(), [F32x4::splat(0.0); 2]);
    }

    /// Attends over all that the queries see; `region(page)` is the region of the layer and kv head in a page.
    pub(crate) fn run<'p, C: Cell + 'p>(&mut self, group: &Group<'_>, region: &impl Fn(PageId) -> &'p [C]) {
        let first = self.queries.iter().map(|q| q.first).min().unwrap_or(0);
        let end = self.queries.iter().map(|q| q.end).max().unwrap_or(0);
        for split in splits(first..end) {
            self.run_split(group, split, region);
            self.join_own(group);
        }
    }

    /// Takes in what [`Self::run_split`] gave, for the queries that see something of the split.
    pub(crate) fn join_own(&mut self, group: &Group<'_>) {
        let octets = group.head_size.div_ceil(8);
        let totals = self.totals.iter_mut().zip(self.total_acc.chunks_exact_mut(octets));
        for ((query, (total, total_acc)), acc) in self.queries.iter().zip(totals).zip(self.acc.chunks_exact(octets)) {
            if !query.softmax.is_nothing() {
                join(total, total_acc, query.softmax, acc);
            }
        }
    }

    /// Attends over a split, from the beginning.
    pub(crate) fn run_split<'p, C: Cell + 'p>(
        &mut self,
        group: &Group<'_>,
        split: usize,
        region: &impl Fn(PageId) -> &'p [C],
    ) {
        self.queries.iter_mut().for_each(|q| q.softmax = Softmax::NOTHING);
        self.acc.fill([F32x4::splat(0.0); 2]);
        let Some(page) = group.pages.get(split) else { return };
        let (keys, values) = region(*page).split_at(C::keys_len(group.head_size));
        let (n, start) = (self.queries.len(), split * PAGE_POSITIONS);
        let mut q = 0;
        while q < n {
            q += match n - q {
                4.. => self.tile::<C, 4>(group, keys, values, start, q),
                3 => self.tile::<C, 3>(group, keys, values, start, q),
                2 => self.tile::<C, 2>(group, keys, values, start, q),
                _ => self.tile::<C, 1>(group, keys, values, start, q),
            };
        }
    }

    /// What [`Self::run_split`] gave for query i.
    pub(crate) fn part(&self, group: &Group<'_>, i: usize) -> (Softmax, &[Lanes8]) {
        let octets = group.head_size.div_ceil(8);
        (self.queries[i].softmax, &self.acc[i * octets..(i + 1) * octets])
    }

    /// Takes in what somebody's [`Self::run_split`] gave for query i, in ascending order of splits.
    pub(crate) fn join(&mut self, group: &Group<'_>, i: usize, (softmax, acc): (Softmax, &[Lanes8])) {
        let octets = group.head_size.div_ceil(8);
        join(&mut self.totals[i], &mut self.total_acc[i * octets..(i + 1) * octets], softmax, acc);
    }

    /// The result [K] of query i, of all splits that were joined.
    pub(crate) fn finish(&self, group: &Group<'_>, i: usize, out: &mut [f32]) {
        let octets = group.head_size.div_ceil(8);
        let sum = F32x4::splat(self.totals[i].sum);
        for (acc, out) in self.total_acc[i * octets..(i + 1) * octets].iter().zip(out.chunks_mut(8)) {
            let [lo, hi] = [acc[0].div(sum).to_array(), acc[1].div(sum).to_array()];
            lo.iter().chain(&hi).zip(out).for_each(|(x, o)| *o = *x);
        }
    }

    /// Queries first..first + Q over the page that begins at `start`.
    fn tile<C: Cell, const Q: usize>(
        &mut self,
        group: &Group<'_>,
        keys: &[C],
        values: &[C],
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
        let blocks = if C::READS_CODES { size / BLOCK } else { 0 };
        let codes: [&[Act16]; Q] =
            core::array::from_fn(|i| &self.codes[(first + i) * blocks..(first + i + 1) * blocks]);
        C::scores::<Q>(keys, size, lo / 8..hi.div_ceil(8), Queries { float: scaled, codes }, scores);
        if group.soft_cap.is_some() || group.bias.is_some() {
            queries.iter().zip(scores.iter_mut()).for_each(|(query, scores)| query.adjust(group, scores, start));
        }
        let octets = size.div_ceil(8);
        let acc = &mut self.acc[first * octets..(first + Q) * octets];
        for (query, scores) in queries.iter_mut().zip(scores.iter_mut()) {
            query.soften(scores, start, C::WEIGHT_FACTOR);
        }
        C::values::<Q>(values, size, lo..hi, scores, acc);
        Q
    }
}

/// Brings what was gathered and what a further split gave to the larger of their maxima, and adds them.
fn join(total: &mut Softmax, total_acc: &mut [Lanes8], next: Softmax, next_acc: &[Lanes8]) {
    if total.is_nothing() {
        *total = next;
        total_acc.copy_from_slice(next_acc);
        return;
    }
    let max = if total.max < next.max { next.max } else { total.max };
    let [before, after] = [total.max, next.max].map(|m| exp(F32x4::splat(m - max)));
    let [b, a] = [before, after].map(|factor| factor.to_array()[0]);
    *total = Softmax { max, sum: total.sum * b + next.sum * a };
    for (t, n) in total_acc.iter_mut().zip(next_acc) {
        *t = core::array::from_fn(|half| t[half].mul(before).add(n[half].mul(after)));
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

    /// Scores of the page to weights e^(score − maximum), times `weight_factor`.
    fn soften(&mut self, scores: &mut [f32; PAGE_POSITIONS], start: usize, weight_factor: f32) {
        let lo = self.first.saturating_sub(start).min(PAGE_POSITIONS);
        let hi = self.end.saturating_sub(start).min(PAGE_POSITIONS);
        if lo >= hi {
            scores.fill(0.0);
            return;
        }
        scores[..lo].fill(f32::NEG_INFINITY);
        scores[hi..].fill(f32::NEG_INFINITY);
        let (quads, _) = scores.as_chunks_mut::<4>();
        let max = quads.iter().fold(F32x4::splat(f32::NEG_INFINITY), |max, q| max.max(F32x4::load(q))).reduce_max();
        let mut sum = F32x4::splat(0.0);
        for q in quads {
            let e = exp(F32x4::load(q).sub(F32x4::splat(max)));
            sum = sum.add(e);
            e.mul(F32x4::splat(weight_factor)).store(q);
        }
        self.softmax = Softmax { max, sum: sum.sum() };
    }
}
