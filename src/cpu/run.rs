//! Runs a slice of a plan's operations on the threads of a job: every thread walks the same operations, claims items of each
//! from a counter, and meets the others at a barrier after it.
//!
//! Why the parts of shared memory that threads use at the same time are disjoint ("the rule of the phase" below): between two
//! barriers all threads are in the same phase of the same operation. A buffer that the operation reads is not written in it,
//! because the plan writes each buffer once and [`Layout`] keeps an operation's inputs and outputs apart; and each item,
//! claimed once, writes rows, columns or cache regions that no other item touches.

#![expect(unsafe_code, reason = "slices of shared buffers, disjoint by the rule of the phase")]

use std::{
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use super::{
    Weight,
    activations::{Act8, Act16},
    bias::BiasTable,
    cache::{Group, Octet, Pages, Sight},
    conv::Taps,
    math,
    matmul::{Acts, Flavour},
    pool::Team,
    rope::RopeTable,
    scratch::{Scratch, Sizes, group_rows},
    shared::Shared,
};
use crate::{
    error::Result,
    kv::{PAGE_POSITIONS, PageId},
    plan::{Attention, BufferId, Norm, NormKind, Op, Plan, Row, RowIndex, RowInput, Rows, Sees, memory::Layout},
    quant::repack::{BLOCK, Matrix},
    weights::WeightId,
};

/// Chunks that each thread should find of an operation's items, so that a slow thread does not hold the others up.
pub(super) const CHUNKS_PER_THREAD: usize = 4;
/// Elements of a row that are an item of an operation on elements.
const STRIP: usize = 4096;
/// Columns of which the mean is taken at a time.
const MEAN_COLUMNS: usize = 64;

/// Everything that a step reads, and the shared memory that it writes.
pub(super) struct Context<'a, O> {
    pub(super) plan: &'a Plan,
    pub(super) layout: &'a Layout,
    pub(super) weights: &'a [Option<Weight>],
    pub(super) arena: &'a Shared<f32>,
    pub(super) acts: &'a SharedActs,
    /// Two per operation.
    pub(super) counters: &'a [AtomicU32],
    pub(super) pages: &'a Pages<O>,
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
    pub(super) scratch: &'a [Mutex<Scratch>],
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

impl<O: Octet> Context<'_, O> {
    /// What every thread of a job does: the operations of `range`.
    pub(super) fn run(&self, team: &Team<'_>, range: Range<usize>) {
        let mut scratch = self.scratch[team.index()].lock().unwrap_or_else(PoisonError::into_inner);
        let last = range.end;
        for i in range {
            self.op(i, team, &mut scratch);
            if i + 1 < last {
                team.barrier();
            }
        }
    }

    fn op(&self, i: usize, team: &Team<'_>, scratch: &mut Scratch) {
        let counters = [&self.counters[2 * i], &self.counters[2 * i + 1]];
        let items = |n: usize| {
            let chunk = (n / (CHUNKS_PER_THREAD * team.n_threads())).max(1);
            std::iter::from_fn(move || claim(counters[0], n, chunk)).flatten()
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
            Op::MatMul(m) => self.mat_mul(m, counters, team, scratch),
            Op::Rope { x, rope, out, .. } => {
                let Some(table) = self.ropes.iter().find(|r| r.rope == *rope) else { return };
                items(self.n_rows(*x)).for_each(|t| table.rotate(t, self.row(*x, t), self.row_mut(*out, t)));
            }
            Op::KvWrite { layer, k, v } => {
                items(self.width(*k) / self.pages.head_size()).for_each(|g| {
                    (0..self.rows.len())
                        .for_each(|t| self.kv_write(*layer, g, t, self.head(*k, t, g), self.head(*v, t, g)));
                });
            }
            Op::RopeKv { layer, heads, kv_heads, rope, q, k, v, out } => {
                let Some(table) = self.ropes.iter().find(|r| r.rope == *rope) else { return };
                let (size, per_group) = (rope.head_size, heads / kv_heads);
                for g in items(*kv_heads) {
                    let columns = g * per_group * size..(g + 1) * per_group * size;
                    let rotated = &mut scratch.head[..size];
                    for t in 0..self.rows.len() {
                        table.rotate(t, &self.row(*q, t)[columns.clone()], self.columns_mut(*out, t, columns.clone()));
                        table.rotate(t, self.head(*k, t, g), rotated);
                        self.kv_write(*layer, g, t, rotated, self.head(*v, t, g));
                    }
                }
            }
            Op::Attention(a) => {
                let blocks = self.rows.len().div_ceil(group_rows(a));
                items(blocks * a.kv_heads).for_each(|i| self.attend(a, i / a.kv_heads, i % a.kv_heads, scratch));
            }
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

    pub(super) fn n_rows(&self, id: BufferId) -> usize {
        match self.plan.buffers[id.0 as usize].rows {
            Rows::New => self.rows.len(),
            Rows::Out => self.outputs.len(),
        }
    }

    /// Where columns of a row of a buffer lie in the arena.
    fn place(&self, id: BufferId, t: usize, columns: Range<usize>) -> Range<usize> {
        let width = self.plan.buffers[id.0 as usize].width;
        assert!(columns.end <= width && t < self.plan.max_rows(id), "outside a buffer");
        let start = self.layout.offsets[id.0 as usize].unwrap_or(usize::MAX) + t * width;
        start + columns.start..start + columns.end
    }

    pub(super) fn width(&self, id: BufferId) -> usize {
        self.plan.buffers[id.0 as usize].width
    }

    /// Row t of a buffer that the operation reads.
    pub(super) fn row(&self, id: BufferId, t: usize) -> &[f32] {
        // SAFETY: the rule of the phase: nobody writes to what the operation reads.
        unsafe { self.arena.slice(self.place(id, t, 0..self.width(id))) }
    }

    /// Rows 0..n of a buffer that the operation reads.
    pub(super) fn all_rows(&self, id: BufferId, n: usize) -> &[f32] {
        let first = self.place(id, n - 1, 0..self.width(id));
        let start = first.end - n * self.width(id);
        // SAFETY: the rule of the phase: nobody writes to what the operation reads.
        unsafe { self.arena.slice(start..first.end) }
    }

    /// Head g of row t of a buffer [T, G · K] that the operation reads.
    fn head(&self, id: BufferId, t: usize, g: usize) -> &[f32] {
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
        // SAFETY: the rule of the phase: the part belongs to the item, and an item is claimed by one thread.
        unsafe { self.arena.slice_mut(self.place(id, t, columns)) }
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
        // SAFETY: the rule of the phase: the region of (layer, g) belongs to the item, in every page.
        let region = unsafe { self.pages.page(page).slice_mut(self.pages.region(layer, g)) };
        self.pages.put(region, position, key, value);
    }

    /// Key and value of a position of the sequence of row t, whose region belongs to the caller's item.
    pub(super) fn kv_get(&self, layer: usize, g: usize, t: usize, position: usize, [key, value]: [&mut [f32]; 2]) {
        let page = self.sequences[self.rows[t].sequence as usize][position / PAGE_POSITIONS];
        // SAFETY: the rule of the phase: the region of (layer, g) belongs to the item, which is done writing to it.
        let region = unsafe { self.pages.page(page).slice(self.pages.region(layer, g)) };
        self.pages.get(region, position, key, value);
    }

    /// The positions that row t sees, `n` being those of its memory or its sequence in the step.
    fn positions(&self, a: &Attention, t: usize, n: usize) -> Range<usize> {
        let position = self.rows[t].position as usize;
        let first = a.window.map_or(0, |window| (position + 1).saturating_sub(window));
        match a.sees {
            Sees::Past => first..position + 1,
            Sees::Whole => first..a.window.map_or(n, |window| n.min(position.saturating_add(window))),
            Sees::Memory => 0..n,
        }
    }

    /// Block `block` of rows, all heads of kv head g.
    fn attend(&self, a: &Attention, block: usize, g: usize, scratch: &mut Scratch) {
        let size = group_rows(a);
        let mut start = block * size;
        let end = self.rows.len().min(start + size);
        let per_group = a.heads / a.kv_heads;
        let head = |h: usize| (g * per_group + h) * a.head_size..(g * per_group + h + 1) * a.head_size;
        while start < end {
            // Rows of one sequence attend together.
            let sequence = self.rows[start].sequence;
            let n = self.rows[start..end].iter().take_while(|r| r.sequence == sequence).count();
            let (pages, n_positions) = match a.sees {
                Sees::Past => (&self.sequences[sequence as usize], 0),
                Sees::Whole => {
                    let len = self.rows.iter().filter(|r| r.sequence == sequence).count();
                    (&self.sequences[sequence as usize], len)
                }
                Sees::Memory => {
                    let (pages, n_positions) = &self.memories[sequence as usize];
                    (pages, *n_positions)
                }
            };
            let bias = a.bias.and_then(|bias| self.biases.iter().find(|b| b.bias == bias));
            let group = Group { head_size: a.head_size, scale: a.scale, soft_cap: a.soft_cap, bias, pages };
            let scratch = &mut scratch.attention;
            scratch.clear();
            for t in start..start + n {
                let q = self.row(a.q, t);
                let (position, positions) = (self.rows[t].position as usize, self.positions(a, t, n_positions));
                for h in 0..per_group {
                    let sight = Sight { position, head: g * per_group + h, positions: positions.clone() };
                    scratch.push(&group, &q[head(h)], sight);
                }
            }
            // SAFETY: the rule of the phase: attention only reads the cache.
            scratch.run(&group, |page| unsafe { self.pages.page(page).slice(self.pages.region(a.layer, g)) });
            for (i, t) in (start..start + n).enumerate() {
                (0..per_group)
                    .for_each(|h| scratch.finish(&group, i * per_group + h, self.columns_mut(a.out, t, head(h))));
            }
            start += n;
        }
    }
}
