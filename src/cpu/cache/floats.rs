//! Keys and values in f16 or f32. For each (layer, kv head) octets (8 elements):
//!
//! ```text
//! keys    [position / 8][K] octets of 8 positions     scores of 8 positions come out in lanes
//! values  [position][K / 8, rounded up] octets of 8 elements
//! ```

use std::ops::Range;

use super::{Cell, OCTETS, Queries, Side};
use crate::{
    cpu::{
        matmul::Lanes8,
        simd::{F32x4, TWO_112},
    },
    kv::PAGE_POSITIONS,
    quant::repack::Single8,
};

/// Eight elements of the cache.
pub(crate) trait Octet: Copy + Send + Sync {
    /// Bytes of an element in canonical order.
    const ELEMENT_BYTES: usize;
    const NOTHING: Self;
    /// [`Self::widen`] gives the elements times a power of two. To make up for it: what queries are multiplied with before they meet
    /// keys and their product after, and what the weights of values are multiplied with.
    const BEFORE: f32;
    const AFTER: f32;
    const WEIGHT: f32;
    fn widen(&self) -> Lanes8;
    fn set(&mut self, i: usize, x: f32);
    fn get(&self, i: usize) -> f32;
    fn push_bytes(&self, i: usize, bytes: &mut Vec<u8>);
    fn set_bytes(&mut self, i: usize, bytes: &[u8]);
}

/// Eight f16 in the order in which they widen fastest: 0 4 1 5 2 6 3 7.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct Halves([u16; 8]);

impl Halves {
    #[inline(always)]
    fn place(i: usize) -> usize {
        i % 4 * 2 + i / 4
    }
}

impl Octet for Halves {
    const ELEMENT_BYTES: usize = 2;
    const NOTHING: Self = Self([0; 8]);
    // Together 2¹¹². Neither a query below 2³¹ nor its products leave the range of f32.
    const BEFORE: f32 = f32::from_bits((127 + 96) << 23);
    const AFTER: f32 = 65_536.0;
    // Weights are at most 1.
    const WEIGHT: f32 = TWO_112;
    #[inline(always)]
    fn widen(&self) -> Lanes8 {
        F32x4::from_f16_pairs_scaled(&self.0)
    }
    #[inline(always)]
    fn set(&mut self, i: usize, x: f32) {
        self.0[Self::place(i)] = half::f16::from_f32_const(x).to_bits();
    }
    #[inline(always)]
    fn get(&self, i: usize) -> f32 {
        crate::quant::f16_to_f32(self.0[Self::place(i)])
    }
    fn push_bytes(&self, i: usize, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.0[Self::place(i)].to_le_bytes());
    }
    fn set_bytes(&mut self, i: usize, bytes: &[u8]) {
        self.0[Self::place(i)] = u16::from_le_bytes([bytes[0], bytes[1]]);
    }
}

impl Octet for Single8 {
    const ELEMENT_BYTES: usize = 4;
    const NOTHING: Self = Self([0.0; 8]);
    const BEFORE: f32 = 1.0;
    const AFTER: f32 = 1.0;
    const WEIGHT: f32 = 1.0;
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

impl<O: Octet> Cell for O {
    const ZERO: Self = O::NOTHING;
    const QUERY_FACTOR: f32 = O::BEFORE;
    const WEIGHT_FACTOR: f32 = O::WEIGHT;
    const READS_CODES: bool = false;

    fn keys_len(head_size: usize) -> usize {
        OCTETS * head_size
    }

    fn values_len(head_size: usize) -> usize {
        PAGE_POSITIONS * head_size.div_ceil(8)
    }

    fn copy(head_size: usize, n_positions: usize, source: &[Self], target: &mut [Self]) {
        let octets = n_positions.div_ceil(8);
        target[..octets * head_size].copy_from_slice(&source[..octets * head_size]);
        let start = Self::keys_len(head_size);
        let values = start..start + octets * 8 * head_size.div_ceil(8);
        target[values.clone()].copy_from_slice(&source[values]);
    }

    fn put(region: &mut [Self], side: Side, slot: usize, row: &[f32]) {
        row.iter().enumerate().for_each(|(k, x)| {
            let (octet, i) = place::<O>(row.len(), side, slot, k);
            region[octet].set(i, *x);
        });
    }

    fn get(region: &[Self], side: Side, slot: usize, row: &mut [f32]) {
        let head_size = row.len();
        row.iter_mut().enumerate().for_each(|(k, x)| {
            let (octet, i) = place::<O>(head_size, side, slot, k);
            *x = region[octet].get(i);
        });
    }

    fn push_bytes(head_size: usize, region: &[Self], side: Side, slot: usize, bytes: &mut Vec<u8>) {
        for k in 0..head_size {
            let (octet, i) = place::<O>(head_size, side, slot, k);
            region[octet].push_bytes(i, bytes);
        }
    }

    fn set_bytes(head_size: usize, region: &mut [Self], side: Side, slot: usize, bytes: &[u8]) {
        for (k, bytes) in bytes.chunks_exact(O::ELEMENT_BYTES).enumerate() {
            let (octet, i) = place::<O>(head_size, side, slot, k);
            region[octet].set_bytes(i, bytes);
        }
    }

    fn scores<const Q: usize>(
        keys: &[Self],
        head_size: usize,
        octets: Range<usize>,
        queries: Queries<'_, Q>,
        scores: &mut [[f32; PAGE_POSITIONS]],
    ) {
        let queries = queries.float.map(|q| &q[..head_size]);
        let factor = F32x4::splat(O::AFTER);
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
                acc[0].mul(factor).store(&mut quads[2 * octet]);
                acc[1].mul(factor).store(&mut quads[2 * octet + 1]);
            }
        }
    }

    fn values<const Q: usize>(
        values: &[Self],
        head_size: usize,
        positions: Range<usize>,
        weights: &[[f32; PAGE_POSITIONS]],
        acc: &mut [Lanes8],
    ) {
        let octets = head_size.div_ceil(8);
        // Side by side those of a position: one pointer goes through them.
        let mut by_position = [[0.0; Q]; PAGE_POSITIONS];
        for (q, weights) in weights.iter().take(Q).enumerate() {
            by_position.iter_mut().zip(weights).for_each(|(p, w)| p[q] = *w);
        }
        let (Some(weights), Some(values)) =
            (by_position.get(positions.clone()), values.get(positions.start * octets..positions.end * octets))
        else {
            return;
        };
        for c in 0..octets {
            let mut sums: [Lanes8; Q] = core::array::from_fn(|q| acc[q * octets + c]);
            for (value, weights) in values.chunks_exact(octets).zip(weights) {
                let v = value[c].widen();
                for (sum, w) in sums.iter_mut().zip(weights) {
                    let w = F32x4::splat(*w);
                    *sum = [sum[0].add(v[0].mul(w)), sum[1].add(v[1].mul(w))];
                }
            }
            for (q, sum) in sums.into_iter().enumerate() {
                acc[q * octets + c] = sum;
            }
        }
    }
}

/// Octet and lane of element k of a key or a value.
#[inline(always)]
fn place<O: Octet>(head_size: usize, side: Side, slot: usize, k: usize) -> (usize, usize) {
    match side {
        Side::Key => (slot / 8 * head_size + k, slot % 8),
        Side::Value => (O::keys_len(head_size) + slot * head_size.div_ceil(8) + k / 8, k % 8),
    }
}
