//! Runs a slice of a plan's operations on the threads of a job: every thread walks the same operations, claims items of each
//! from a counter (or does all of them by itself), and meets the others at a barrier where [`Phases`] say so.
//!
//! Why the parts of shared memory that threads use at the same time are disjoint ("the rule of the phase" below): between two
//! barriers all threads are in the same phase. A buffer that an operation of the phase reads is not written in it, because the
//! plan writes each buffer once, before a barrier, and the layout keeps all buffers of a phase apart; each item, claimed once,
//! writes rows, columns or cache regions that no other item of the phase touches; and what every thread computes by itself lies in
//! memory of its own.

#![expect(unsafe_code, reason = "slices of shared buffers, disjoint by the rule of the phase")]

use std::{
    ops::Range,
    sync::atomic::{AtomicU32, Ordering},
};

use super::{
    Weight,
    activations::{Act8, Act16},
    attention::Softmax,
    bias::BiasTable,
    cache::{AnyPages, Cell, Pages, of_format},
    conv::Taps,
    flavour::Flavour,
    math,
    matmul::{Acts, Lanes8},
    phases::{Phases, Place},
    pool::Team,
    profile::Timeline,
    rope::RopeTable,
    scratch::{Scratch, Sizes},
    shared::Shared,
    simd::F32x4,
};
use crate::{
    error::{Result, try_vec},
    kv::{PAGE_POSITIONS, PageId},
    plan::{BufferId, Norm, NormKind, Op, Plan, Rope, Row, RowIndex, RowInput, Rows},
    quant::repack::{BLOCK, Matrix},
    weights::WeightId,
};

/// Chunks that each thread should find of an operation's items, so that a slow thread does not hold the others up.
pub(super) const CHUNKS_PER_THREAD: usize = 4;
/// Elements of a row that are an item of an operation on elements.
const STRIP: usize = 4096;
/// Columns of which the mean is taken at a time.
const MEAN_COLUMNS: usize = 64;

/// Everything that a step reads, and the memory that it writes.
pub(super) struct Context<'a> {
    pub(super) plan: &'a Plan,
    pub(super) phases: &'a Phases,
    pub(super) weights: &'a [Option<Weight>],
    /// The buffers that the threads share.
    pub(super) arena: &'a Shared<f32>,
    /// The buffers that the thread has for itself.
    pub(super) private: &'a Shared<f32>,
    pub(super) acts: &'a SharedActs,
    pub(super) partials: &'a Partials,
    /// Two per operation.
    pub(super) counters: &'a [AtomicU32],
    pub(super) pages: &'a AnyPages,
    pub(super) rows: &'a [Row],
    pub(super) outputs: &'a [u32],
    pub(super) sequences: &'a [Vec<PageId>],
    /// Pages and number of positions, of each sequence.
    pub(super) memories: &'a [(Vec<PageId>, usize)],
    pub(super) embeddings: &'a [f32],
    pub(super) ropes: &'a [RopeTable],
    pub(super) biases: &'a [BiasTable],
    pub(super) taps: &'a [Taps],
    pub(super) flavour: Flavour,
}

/// What threads leave of an attention that they share: of each head and split.
pub(super) struct Partials {
    /// [H · splits, octets + 1]: the weighted values, then largest score and sum.
    parts: Shared<Lanes8>,
    /// [G]: the splits of a kv head that are done; 0 between operations.
    done: Vec<AtomicU32>,
    /// Octets of a head.
    octets: usize,
}

impl Partials {
    /// Room for heads of `head_size`, `kv_heads` of them with a cache of their own.
    pub(super) fn new(n_parts: usize, kv_heads: usize, head_size: usize) -> Result<Self> {
        let (what, octets) = ("the parts of attention", head_size.div_ceil(8));
        let mut done = try_vec(kv_heads, what)?;
        done.resize_with(kv_heads, || AtomicU32::new(0));
        Ok(Self { parts: Shared::new(n_parts * (octets + 1), [F32x4::splat(0.0); 2], what)?, done, octets })
    }

    pub(super) fn n_parts(&self) -> usize {
        self.parts.len() / (self.octets + 1)
    }

    /// Forgets a step that was not finished.
    pub(super) fn clear(&mut self) {
        self.done.iter_mut().for_each(|n| *n.get_mut() = 0);
    }

    /// Keeps a part, which belongs to the caller's item.
    pub(super) fn leave(&self, part: usize, softmax: Softmax, acc: &[Lanes8]) {
        let start = part * (self.octets + 1);
        // SAFETY: the rule of the phase: the part belongs to the item, and is read by who was the last to come to `is_last`.
        let place = unsafe { self.parts.slice_mut(start..start + self.octets + 1) };
        place[..self.octets].copy_from_slice(acc);
        place[self.octets] = [softmax.max, softmax.sum].map(F32x4::splat);
    }

    /// Whether the caller's was the last of a kv head's `n` splits: then the parts of its heads are all there.
    pub(super) fn is_last(&self, kv_head: usize, n: usize) -> bool {
        let is_last = self.done[kv_head].fetch_add(1, Ordering::AcqRel) + 1 == n as u32;
        if is_last {
            self.done[kv_head].store(0, Ordering::Relaxed);
        }
        is_last
    }

    /// A part that was left.
    pub(super) fn left(&self, part: usize) -> (Softmax, &[Lanes8]) {
        let start = part * (self.octets + 1);
        // SAFETY: the rule of the phase: only who was the last to come to `is_last` reads, when all have written.
        let place = unsafe { self.parts.slice(start..start + self.octets + 1) };
        let [max, sum] = place[self.octets].map(|x| x.to_array()[0]);
        (Softmax { max, sum }, &place[..self.octets])
    }

    pub(super) fn bytes(&self) -> u64 {
        self.parts.bytes()
    }
}

/// Activations of a step with several rows, made by all threads for all threads.
pub(super) struct SharedActs {
    pub(super) float: Shared<f32>,
    pub(super) act8: Shared<Act8>,
    pub(super) act16: Shared<Act16>,
}

impl SharedActs {
    pub(super) fn new(sizes: Sizes) -> Result<Self> {
        let what = "activations of a step";
        let blocks = sizes.row_values / BLOCK;
        Ok(Self {
            float: Shared::new(sizes.row_values, 0.0, what)?,
            act8: Shared::new(blocks, Act8::ZERO, what)?,
            act16: Shared::new(blocks, Act16::ZERO, what)?,
        })
    }

    /// Row t of f32 activations; it belongs to the caller's item.
    #[expect(clippy::mut_from_ref, reason = "a part of shared memory that belongs to one item")]
    pub(super) fn float_row_mut(&self, t: usize, k: usize) -> &mut [f32] {
        // SAFETY: the rule of the phase: the row belongs to the item.
        unsafe { self.float.slice_mut(t * k..(t + 1) * k) }
    }

    /// Row t of 8-bit activations, n blocks; it belongs to the caller's item.
    #[expect(clippy::mut_from_ref, reason = "a part of shared memory that belongs to one item")]
    pub(super) fn act8_row_mut(&self, t: usize, n: usize) -> &mut [Act8] {
        // SAFETY: the rule of the phase: the row belongs to the item.
        unsafe { self.act8.slice_mut(t * n..(t + 1) * n) }
    }

    /// Row t of 16-bit activations, n blocks; it belongs to the caller's item.
    #[expect(clippy::mut_from_ref, reason = "a part of shared memory that belongs to one item")]
    pub(super) fn act16_row_mut(&self, t: usize, n: usize) -> &mut [Act16] {
        // SAFETY: the rule of the phase: the row belongs to the item.
        unsafe { self.act16.slice_mut(t * n..(t + 1) * n) }
    }

    /// All rows [n_rows, k], in the phase after the one that made them.
    pub(super) fn rows(&self, n_rows: usize, k: usize) -> Acts<'_> {
        let (values, blocks) = (n_rows * k, n_rows * (k / BLOCK));
        // SAFETY: the rule of the phase: they were written before the barrier.
        unsafe {
            Acts {
                float: self.float.slice(0..values),
                raised: &[],
                act8: self.act8.slice(0..blocks),
                act16: self.act16.slice(0..blocks),
            }
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.float.bytes() + self.act8.bytes() + self.act16.bytes()
    }
}

/// Claims the next items of `0..n`.
pub(super) fn claim(counter: &AtomicU32, n: usize, chunk: usize) -> Option<Range<usize>> {
    let start = counter.fetch_add(chunk as u32, Ordering::Relaxed) as usize;
    (start < n).then(|| start..n.min(start + chunk))
}

/// The items of an operation that a thread does.
struct Items<'a> {
    /// Where they are claimed, so many at a time; `None` for a thread that does all of them.
    claimed: Option<(&'a AtomicU32, usize)>,
    n: usize,
    now: Range<usize>,
}

impl Iterator for Items<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.now.is_empty()
            && let Some((counter, chunk)) = self.claimed
        {
            self.now = claim(counter, self.n, chunk)?;
        }
        self.now.next()
    }
}

impl Context<'_> {
    /// What every thread of a job does: the operations of `range`.
    pub(super) fn run(
        &self,
        team: &Team<'_>,
        range: Range<usize>,
        scratch: &mut Scratch,
        mut timeline: Option<Timeline<'_>>,
    ) {
        let first = range.start;
        for i in range {
            if i > first && self.phases.meets_before(i) {
                team.barrier();
            }
            self.op(i, team, scratch);
            if let Some(timeline) = &mut timeline {
                timeline.note(i, team);
            }
        }
    }

    fn op(&self, i: usize, team: &Team<'_>, scratch: &mut Scratch) {
        let counters = [&self.counters[2 * i], &self.counters[2 * i + 1]];
        let items = |n: usize| match self.phases.is_alone(i) {
            true => Items { claimed: None, n, now: 0..n },
            false => {
                let chunk = (n / (CHUNKS_PER_THREAD * team.n_threads())).max(1);
                Items { claimed: Some((counters[0], chunk)), n, now: 0..0 }
            }
        };
        match &self.plan.ops[i] {
            Op::Embed { table, scale, out } => items(self.rows.len()).for_each(|t| self.embed(*table, *scale, *out, t)),
            Op::AddRow { x, table, index, out } => {
                items(self.rows.len()).for_each(|t| self.add_row([*x, *out], *table, *index, t, scratch));
            }
            Op::Norm { x, norm, size, out } => items(self.n_rows(*x)).for_each(|t| {
                let runs = self.row(*x, t).chunks_exact(*size).zip(self.row_mut(*out, t).chunks_exact_mut(*size));
                runs.for_each(|(x, out)| self.norm(norm, x, out));
            }),
            // `prepare` refuses it.
            Op::NormAdd { .. } => {}
            Op::MatMul(m) => self.mat_mul(m, counters, team, scratch),
            Op::Rope { x, rope, out, .. } => {
                let Some(table) = self.rope(rope) else { return };
                items(self.n_rows(*x)).for_each(|t| table.rotate(t, self.row(*x, t), self.row_mut(*out, t)));
            }
            Op::KvWrite { k, .. } => {
                if !self.phases.is_put_off(i) {
                    items(self.width(*k) / self.pages.head_size()).for_each(|g| self.append(i, g, scratch));
                }
            }
            Op::RopeKv { heads, kv_heads, rope, q, out, .. } => {
                let Some(table) = self.rope(rope) else { return };
                let width = heads / kv_heads * rope.head_size;
                for g in items(*kv_heads) {
                    let columns = g * width..(g + 1) * width;
                    for t in 0..self.rows.len() {
                        table.rotate(t, &self.row(*q, t)[columns.clone()], self.columns_mut(*out, t, columns.clone()));
                    }
                    if !self.phases.is_put_off(i) {
                        self.append(i, g, scratch);
                    }
                }
            }
            Op::Attention(a) => items(self.n_attention_items(a)).for_each(|item| self.attend(i, a, item, scratch)),
            Op::Glu { gate, up, activation, out } => items(self.n_rows(*gate)).for_each(|t| {
                math::glu(*activation, self.row(*gate, t), self.row(*up, t), self.row_mut(*out, t));
            }),
            Op::ShortConv { layer, x, weight, out } => {
                let Some(taps) = self.taps.iter().find(|t| t.weight == *weight) else { return };
                items(self.pages.kv_heads()).for_each(|g| self.short_conv(*layer, [*x, *out], taps, g, scratch));
            }
            Op::Activate { x, activation, out } => items(self.n_strips(*x)).for_each(|i| {
                let (x, out) = self.strip(*x, *out, i);
                math::map(x, out, |x| math::activate(*activation, x));
            }),
            Op::Scale { x, scale, soft_cap, out } => items(self.n_strips(*x)).for_each(|i| {
                let (x, out) = self.strip(*x, *out, i);
                math::scale(*scale, *soft_cap, x, out);
            }),
            Op::Add { a, b, scale, out } => items(self.n_rows(*a)).for_each(|t| {
                let sums = self.row(*a, t).iter().zip(self.row(*b, t));
                self.row_mut(*out, t).iter_mut().zip(sums).for_each(|(o, (a, b))| *o = a + scale * b);
            }),
            Op::MeanRows { x, out } => items(self.outputs.len()).for_each(|o| self.mean_rows(*x, *out, o)),
            Op::SelectRows { x, out } => items(self.outputs.len()).for_each(|o| {
                self.row_mut(*out, o).copy_from_slice(self.row(*x, self.outputs[o] as usize));
            }),
        }
    }

    pub(super) fn rope(&self, rope: &Rope) -> Option<&RopeTable> {
        self.ropes.iter().find(|table| table.rope == *rope)
    }

    pub(super) fn n_rows(&self, id: BufferId) -> usize {
        match self.plan.buffers[id.0 as usize].rows {
            Rows::New => self.rows.len(),
            Rows::Out => self.outputs.len(),
        }
    }

    /// Where columns of rows t.. of a buffer lie, and in which arena.
    fn place(&self, id: BufferId, t: usize, columns: Range<usize>) -> (&Shared<f32>, Range<usize>) {
        let width = self.plan.buffers[id.0 as usize].width;
        assert!(columns.end <= width && t < self.plan.max_rows(id), "outside a buffer");
        let (arena, start) = match self.phases.place(id) {
            Some(Place::Shared(start)) => (self.arena, start),
            Some(Place::Private(start)) => (self.private, start),
            None => unreachable!("buffer {} is not written", id.0),
        };
        let start = start + t * width;
        (arena, start + columns.start..start + columns.end)
    }

    pub(super) fn width(&self, id: BufferId) -> usize {
        self.plan.buffers[id.0 as usize].width
    }

    /// Row t of a buffer that the operation reads.
    pub(super) fn row(&self, id: BufferId, t: usize) -> &[f32] {
        let (arena, range) = self.place(id, t, 0..self.width(id));
        // SAFETY: the rule of the phase: nobody writes to what the operation reads.
        unsafe { arena.slice(range) }
    }

    /// Rows 0..n of a buffer that the operation reads.
    pub(super) fn all_rows(&self, id: BufferId, n: usize) -> &[f32] {
        let (arena, last) = self.place(id, n - 1, 0..self.width(id));
        // SAFETY: the rule of the phase: nobody writes to what the operation reads.
        unsafe { arena.slice(last.end - n * self.width(id)..last.end) }
    }

    /// Head g of row t of a buffer [T, G · K] that the operation reads.
    pub(super) fn head(&self, id: BufferId, t: usize, g: usize) -> &[f32] {
        let size = self.pages.head_size();
        &self.row(id, t)[g * size..(g + 1) * size]
    }

    /// Row t of a buffer that the operation writes; the row belongs to the caller's item.
    fn row_mut(&self, id: BufferId, t: usize) -> &mut [f32] {
        self.columns_mut(id, t, 0..self.width(id))
    }

    /// Columns of row t of a buffer that the operation writes; they belong to the caller's item.
    #[expect(clippy::mut_from_ref, reason = "a part of shared memory that belongs to one item")]
    pub(super) fn columns_mut(&self, id: BufferId, t: usize, columns: Range<usize>) -> &mut [f32] {
        let (arena, range) = self.place(id, t, columns);
        // SAFETY: the rule of the phase: the part belongs to the item, and an item is claimed by one thread, or the arena is its own.
        unsafe { arena.slice_mut(range) }
    }

    /// How many strips a buffer [rows, width] has, for operations on elements by themselves: a row may be as long as a
    /// vocabulary.
    fn n_strips(&self, id: BufferId) -> usize {
        self.n_rows(id) * self.width(id).div_ceil(STRIP)
    }

    /// Strip i of a buffer that the operation reads, and of one like it that it writes; it belongs to the caller's item.
    fn strip(&self, x: BufferId, out: BufferId, i: usize) -> (&[f32], &mut [f32]) {
        let (width, per_row) = (self.width(x), self.width(x).div_ceil(STRIP));
        let (t, first) = (i / per_row, i % per_row * STRIP);
        let columns = first..width.min(first + STRIP);
        (&self.row(x, t)[columns.clone()], self.columns_mut(out, t, columns))
    }

    pub(super) fn vector(&self, id: WeightId) -> &[f32] {
        match &self.weights[id.0 as usize] {
            Some(Weight::Vector(v)) => v.values(),
            _ => unreachable!("weight {} is no vector", id.0),
        }
    }

    /// A matrix of the plan; `begin` has checked that it is there and complete.
    pub(super) fn matrix(&self, id: WeightId) -> &Matrix {
        match &self.weights[id.0 as usize] {
            Some(Weight::Matrix(m)) => m,
            _ => unreachable!("weight {} is no matrix", id.0),
        }
    }

    fn embed(&self, table: WeightId, scale: f32, out: BufferId, t: usize) {
        let out = self.row_mut(out, t);
        match self.rows[t].input {
            RowInput::Token(token) => self.matrix(table).read_row(token as usize, out),
            RowInput::Embedding(row) => {
                let width = out.len();
                out.copy_from_slice(&self.embeddings[row as usize * width..][..width]);
            }
        }
        out.iter_mut().for_each(|x| *x *= scale);
    }

    fn add_row(&self, [x, out]: [BufferId; 2], table: WeightId, index: RowIndex, t: usize, scratch: &mut Scratch) {
        let (x, out) = (self.row(x, t), self.row_mut(out, t));
        let row = &mut scratch.normed[..x.len()];
        self.matrix(table).read_row(index.of(&self.rows[t]), row);
        out.iter_mut().zip(x).zip(row).for_each(|((o, x), r)| *o = x + *r);
    }

    /// Output o: sums in f64, in the order of the rows.
    fn mean_rows(&self, x: BufferId, out: BufferId, o: usize) {
        let sequence = self.rows[self.outputs[o] as usize].sequence;
        let of_sequence = |t: &usize| self.rows[*t].sequence == sequence;
        let n = (0..self.rows.len()).filter(of_sequence).count() as f64;
        for (i, out) in self.row_mut(out, o).chunks_mut(MEAN_COLUMNS).enumerate() {
            let mut sums = [0.0_f64; MEAN_COLUMNS];
            for t in (0..self.rows.len()).filter(of_sequence) {
                let x = &self.row(x, t)[i * MEAN_COLUMNS..][..out.len()];
                sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += f64::from(*x));
            }
            out.iter_mut().zip(sums).for_each(|(y, sum)| *y = (sum / n) as f32);
        }
    }

    pub(super) fn norm(&self, norm: &Norm, x: &[f32], out: &mut [f32]) {
        let weight = self.vector(norm.weight);
        match norm.kind {
            NormKind::Rms => math::rms_norm(x, weight, norm.eps, out),
            NormKind::Layer => math::layer_norm(x, weight, norm.bias.map(|b| self.vector(b)), norm.eps, out),
        }
    }

    pub(super) fn kv_write(&self, layer: usize, g: usize, t: usize, key: &[f32], value: &[f32]) {
        let Row { position, sequence, .. } = self.rows[t];
        let position = position as usize;
        let page = self.sequences[sequence as usize][position / PAGE_POSITIONS];
        of_format!(self.pages, pages => {
            // SAFETY: the rule of the phase: the region of (layer, g) belongs to the item, in every page.
            let region = unsafe { pages.page(page).slice_mut(pages.region(layer, g)) };
            pages.put(region, position, key, value);
        });
    }

    /// Key and value of a position of the sequence of row t, whose region belongs to the caller's item.
    pub(super) fn kv_get(&self, layer: usize, g: usize, t: usize, position: usize, [key, value]: [&mut [f32]; 2]) {
        let page = self.sequences[self.rows[t].sequence as usize][position / PAGE_POSITIONS];
        of_format!(self.pages, pages => {
            // SAFETY: the rule of the phase: the region of (layer, g) belongs to the item, which is done writing to it.
            let region = unsafe { pages.page(page).slice(pages.region(layer, g)) };
            pages.get(region, position, key, value);
        });
    }

    /// The keys and values of (layer, g) in a page, to read.
    pub(super) fn region<'p, C: Cell>(&self, pages: &'p Pages<C>, layer: usize, g: usize, page: PageId) -> &'p [C] {
        // SAFETY: the rule of the phase: attention only reads the cache, save for the region that its item has appended to before.
        unsafe { pages.page(page).slice(pages.region(layer, g)) }
    }
}
