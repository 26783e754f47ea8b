//! What one thread works with, and how large that must be for the prepared plans.

use super::{
    activations::{Act8, Act16},
    attention::AttentionScratch,
    matmul::Lanes8,
    simd::F32x4,
    tiles::Unpacked,
};
use crate::{
    error::{Result, try_vec},
    kv::KvGeometry,
    plan::{Attention, Op, Plan},
    quant::repack::BLOCK,
};

/// Queries that share the keys and values of a page while they are read.
const GROUP_QUERIES: usize = 12;

/// What one thread works with.
pub(super) struct Scratch {
    pub(super) unpacked: Unpacked,
    pub(super) attention: AttentionScratch,
    /// Products of a panel, [T], of the first and the second part.
    pub(super) acc: Vec<Lanes8>,
    pub(super) acc_2: Vec<Lanes8>,
    /// A rotated head.
    pub(super) head: Vec<f32>,
    /// A normed row, [K]; a row of a table; the channels of a head.
    pub(super) normed: Vec<f32>,
    /// The activations of one row.
    pub(super) raised: Vec<f32>,
    pub(super) act8: Vec<Act8>,
    pub(super) act16: Vec<Act16>,
}

/// How large the scratch of the prepared plans must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    /// T
    pub(super) rows: usize,
    /// Largest K of a product; no smaller than a row of a table, or the channels of a head.
    pub(super) k: usize,
    /// Queries that attend together, and their head size.
    pub(super) queries: usize,
    pub(super) head_size: usize,
    /// T · K of products of steps with several rows.
    pub(super) row_values: usize,
}

impl Sizes {
    /// What a plan needs.
    pub(super) fn of(plan: &Plan, geometry: &KvGeometry) -> Self {
        let mut sizes = Self { rows: plan.rows.max().max(plan.max_outputs), ..Self::default() };
        for op in &plan.ops {
            match op {
                Op::MatMul(m) => {
                    let (rows, k) = (plan.max_rows(m.x), plan.buffers[m.x.0 as usize].width);
                    sizes.k = sizes.k.max(k);
                    if rows > 1 {
                        sizes.row_values = sizes.row_values.max(rows * k);
                    }
                }
                Op::AddRow { x, .. } => sizes.k = sizes.k.max(plan.buffers[x.0 as usize].width),
                Op::ShortConv { .. } => sizes.k = sizes.k.max(2 * geometry.head_size),
                Op::RopeKv { rope, .. } => sizes.head_size = sizes.head_size.max(rope.head_size),
                Op::Attention(a) => {
                    sizes.queries = sizes.queries.max(group_rows(a) * (a.heads / a.kv_heads));
                    sizes.head_size = sizes.head_size.max(a.head_size);
                }
                _ => {}
            }
        }
        sizes
    }

    pub(super) fn max(self, o: Self) -> Self {
        Self {
            rows: self.rows.max(o.rows),
            k: self.k.max(o.k),
            queries: self.queries.max(o.queries),
            head_size: self.head_size.max(o.head_size),
            row_values: self.row_values.max(o.row_values),
        }
    }
}

impl Scratch {
    pub(super) fn new(sizes: Sizes) -> Result<Self> {
        fn filled<T: Copy>(n: usize, value: T) -> Result<Vec<T>> {
            let mut v = try_vec(n, "scratch of a thread")?;
            v.resize(n, value);
            Ok(v)
        }
        let mut attention = AttentionScratch::default();
        attention.reserve(sizes.queries, sizes.head_size)?;
        Ok(Self {
            unpacked: Unpacked::new()?,
            attention,
            acc: filled(sizes.rows, [F32x4::splat(0.0); 2])?,
            acc_2: filled(sizes.rows, [F32x4::splat(0.0); 2])?,
            head: filled(sizes.head_size, 0.0)?,
            normed: filled(sizes.k, 0.0)?,
            raised: filled(sizes.k, 0.0)?,
            act8: filled(sizes.k / BLOCK, Act8::ZERO)?,
            act16: filled(sizes.k / BLOCK, Act16::ZERO)?,
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        let n = Unpacked::memory_bytes()
            + self.attention.bytes()
            + size_of_val(self.acc.as_slice())
            + size_of_val(self.acc_2.as_slice())
            + size_of_val(self.normed.as_slice())
            + size_of_val(self.raised.as_slice())
            + size_of_val(self.act8.as_slice())
            + size_of_val(self.act16.as_slice());
        n as u64
    }
}

/// Rows of a block of attention.
pub(super) fn group_rows(a: &Attention) -> usize {
    (GROUP_QUERIES / (a.heads / a.kv_heads)).max(1)
}
