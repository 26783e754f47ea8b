//! Keys and values in Q8_0: 32 elements share a scale d, an f16, as in ggml's `block_q8_0`. For each (layer, kv head) cells of 16 bytes,
//! with K / 32 blocks:
//!
//! ```text
//! keys    [position / 8][block]: d of 8 positions; 16 cells, each two elements of 8 positions
//! values  [block]: d of 64 positions (8 cells); [position / 2][4] cells, each 8 elements of two positions
//! ```
//!
//! The two elements of a key's cell are those that meet in [`Act16`]. All sums within a block are of whole numbers and exact: queries are
//! quantized to 12 bits, and what the values of a page are weighted with to 16.

use std::ops::Range;

use super::{Cell, OCTETS, Queries, Side};
use crate::{
    cpu::{
        activations::Act16,
        matmul::Lanes8,
        simd::{F32x4, I16x8, I32x4},
    },
    kv::PAGE_POSITIONS,
    quant::{
        f16_to_f32,
        q8_0::{self, BLOCK},
    },
};

/// Cells of a block of keys.
const KEY_CELLS: usize = 17;
/// Cells of the scales of a block of values, and of all of it.
const VALUE_SCALES: usize = PAGE_POSITIONS / 8;
const VALUE_CELLS: usize = VALUE_SCALES + PAGE_POSITIONS / 2 * 4;
/// The largest weight of a page becomes this.
const MAX_WEIGHT: f32 = 32_767.0;

/// Sixteen elements, or eight scales.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct Bytes([i8; 16]);

impl Bytes {
    #[inline(always)]
    fn halves(&self) -> [I16x8; 2] {
        let (halves, _) = self.0.as_chunks::<8>();
        [I16x8::load_i8(&halves[0]), I16x8::load_i8(&halves[1])]
    }

    /// As scales, f16.
    #[inline(always)]
    fn scales(&self) -> [u16; 8] {
        bytemuck::cast(self.0)
    }

    fn set_scale(&mut self, i: usize, d: u16) {
        let mut scales = self.scales();
        scales[i] = d;
        self.0 = bytemuck::cast(scales);
    }
}

/// Where a block of a key or value lies: its scale (cell, index), and element k of it (cell, byte).
struct Place {
    side: Side,
    slot: usize,
    start: usize,
}

impl Place {
    fn new(head_size: usize, side: Side, slot: usize, block: usize) -> Self {
        let start = match side {
            Side::Key => (slot / 8 * (head_size / BLOCK) + block) * KEY_CELLS,
            Side::Value => Bytes::keys_len(head_size) + block * VALUE_CELLS,
        };
        Self { side, slot, start }
    }

    fn scale(&self) -> (usize, usize) {
        match self.side {
            Side::Key => (self.start, self.slot % 8),
            Side::Value => (self.start + self.slot / 8, self.slot % 8),
        }
    }

    fn element(&self, k: usize) -> (usize, usize) {
        match self.side {
            // Pair p has the elements k and k + 2 with k = 4 · (p / 2) + p % 2.
            Side::Key => (self.start + 1 + k / 4 * 2 + k % 2, self.slot % 8 * 2 + k % 4 / 2),
            Side::Value => (self.start + VALUE_SCALES + self.slot / 2 * 4 + k / 8, k % 8 * 2 + self.slot % 2),
        }
    }
}

impl Cell for Bytes {
    const ZERO: Self = Self([0; 16]);
    const QUERY_FACTOR: f32 = 1.0;
    const WEIGHT_FACTOR: f32 = 1.0;
    const READS_CODES: bool = true;

    fn keys_len(head_size: usize) -> usize {
        OCTETS * head_size / BLOCK * KEY_CELLS
    }

    fn values_len(head_size: usize) -> usize {
        head_size / BLOCK * VALUE_CELLS
    }

    fn copy(head_size: usize, n_positions: usize, source: &[Self], target: &mut [Self]) {
        let octets = n_positions.div_ceil(8);
        let keys = octets * head_size / BLOCK * KEY_CELLS;
        target[..keys].copy_from_slice(&source[..keys]);
        let values = Self::keys_len(head_size)..;
        let blocks = source[values.clone()].chunks_exact(VALUE_CELLS).zip(target[values].chunks_exact_mut(VALUE_CELLS));
        for (source, target) in blocks {
            target[..octets].copy_from_slice(&source[..octets]);
            let elements = VALUE_SCALES..VALUE_SCALES + octets * 16;
            target[elements.clone()].copy_from_slice(&source[elements]);
        }
    }

    fn put(region: &mut [Self], side: Side, slot: usize, row: &[f32]) {
        let (blocks, _) = row.as_chunks::<BLOCK>();
        for (b, block) in blocks.iter().enumerate() {
            set(region, &Place::new(row.len(), side, slot, b), q8_0::encode(block));
        }
    }

    fn get(region: &[Self], side: Side, slot: usize, row: &mut [f32]) {
        let head_size = row.len();
        for (b, block) in row.chunks_exact_mut(BLOCK).enumerate() {
            let place = Place::new(head_size, side, slot, b);
            let (cell, i) = place.scale();
            let d = f16_to_f32(region[cell].scales()[i]);
            for (k, x) in block.iter_mut().enumerate() {
                let (cell, i) = place.element(k);
                *x = f32::from(region[cell].0[i]) * d;
            }
        }
    }

    fn push_bytes(head_size: usize, region: &[Self], side: Side, slot: usize, bytes: &mut Vec<u8>) {
        for b in 0..head_size / BLOCK {
            let place = Place::new(head_size, side, slot, b);
            let (cell, i) = place.scale();
            bytes.extend_from_slice(&region[cell].scales()[i].to_le_bytes());
            bytes.extend((0..BLOCK).map(|k| {
                let (cell, i) = place.element(k);
                region[cell].0[i] as u8
            }));
        }
    }

    fn set_bytes(head_size: usize, region: &mut [Self], side: Side, slot: usize, bytes: &[u8]) {
        let (blocks, _) = bytes.as_chunks::<{ q8_0::BLOCK_BYTES }>();
        for (b, block) in blocks.iter().enumerate() {
            set(region, &Place::new(head_size, side, slot, b), q8_0::parts(block));
        }
    }

    #[inline(always)]
    fn scores<const Q: usize>(
        keys: &[Self],
        head_size: usize,
        octets: Range<usize>,
        queries: Queries<'_, Q>,
        scores: &mut [[f32; PAGE_POSITIONS]],
    ) {
        let blocks = head_size / BLOCK;
        let (keys, _) = keys.as_chunks::<KEY_CELLS>();
        let queries = queries.codes.map(|q| &q[..blocks]);
        for octet in octets {
            let mut acc = [[F32x4::splat(0.0); 2]; Q];
            for (b, [d, cells @ ..]) in keys[octet * blocks..][..blocks].iter().enumerate() {
                let query: [&Act16; Q] = core::array::from_fn(|i| &queries[i][b]);
                let mut sums = [[I32x4::splat(0); 2]; Q];
                for (p, cell) in cells.iter().enumerate() {
                    let k = cell.halves();
                    for (sums, query) in sums.iter_mut().zip(query) {
                        let q = I16x8::splat_pair(query.q[p]);
                        *sums = [sums[0].add(k[0].dot(q)), sums[1].add(k[1].dot(q))];
                    }
                }
                let d = F32x4::from_f16(&d.scales());
                for ((acc, sums), query) in acc.iter_mut().zip(sums).zip(query) {
                    let q = F32x4::splat(query.scale.d);
                    *acc = core::array::from_fn(|h| acc[h].add(sums[h].to_f32().mul(d[h].mul(q))));
                }
            }
            for (scores, acc) in scores.iter_mut().zip(acc) {
                let (quads, _) = scores.as_chunks_mut::<4>();
                acc[0].store(&mut quads[2 * octet]);
                acc[1].store(&mut quads[2 * octet + 1]);
            }
        }
    }

    #[inline(always)]
    fn values<const Q: usize>(
        values: &[Self],
        head_size: usize,
        positions: Range<usize>,
        weights: &[[f32; PAGE_POSITIONS]],
        acc: &mut [Lanes8],
    ) {
        let octets = head_size / 8;
        // Two positions at a time; the weights of those that are not seen are 0.
        let pairs = positions.start / 2..positions.end.div_ceil(2);
        for (b, cells) in values.chunks_exact(VALUE_CELLS).enumerate() {
            let (scales, cells) = cells.split_at(VALUE_SCALES);
            let scales: [Lanes8; VALUE_SCALES] = core::array::from_fn(|i| F32x4::from_f16(&scales[i].scales()));
            let mut codes = [[[0; 2]; Q]; PAGE_POSITIONS / 2];
            let mut factors = [0.0; Q];
            for (q, weights) in weights.iter().take(Q).enumerate() {
                let (by_pair, factor) = weight_codes(weights, &scales);
                codes.iter_mut().zip(by_pair).for_each(|(codes, code)| codes[q] = code);
                factors[q] = factor;
            }
            let (codes, cells) = (&codes[pairs.clone()], &cells.as_chunks::<4>().0[pairs.clone()]);
            for c in 0..4 {
                let mut sums = [[I32x4::splat(0); 2]; Q];
                for (cells, codes) in cells.iter().zip(codes) {
                    let v = cells[c].halves();
                    for (sums, code) in sums.iter_mut().zip(codes) {
                        let w = I16x8::splat_pair(*code);
                        *sums = [sums[0].add(v[0].dot(w)), sums[1].add(v[1].dot(w))];
                    }
                }
                for (q, sums) in sums.into_iter().enumerate() {
                    let (acc, factor) = (&mut acc[q * octets + 4 * b + c], F32x4::splat(factors[q]));
                    *acc = core::array::from_fn(|h| acc[h].add(sums[h].to_f32().mul(factor)));
                }
            }
        }
    }
}

/// Weights of positions times the scales of their values, as 16 bits by pairs of positions, and what a step of these is. A NaN among the
/// weights may be lost: it is in their sum too, by which the result is divided.
#[inline(always)]
fn weight_codes(
    weights: &[f32; PAGE_POSITIONS],
    scales: &[Lanes8; VALUE_SCALES],
) -> ([[i16; 2]; PAGE_POSITIONS / 2], f32) {
    let (quads, _) = weights.as_chunks::<4>();
    let mut scaled = [F32x4::splat(0.0); PAGE_POSITIONS / 4];
    let mut largest = F32x4::splat(0.0);
    for ((scaled, quad), d) in scaled.iter_mut().zip(quads).zip(scales.as_flattened()) {
        *scaled = F32x4::load(quad).mul(*d);
        largest = largest.max(scaled.abs());
    }
    let largest = largest.reduce_max();
    // Below this, the quotient could overflow; such weights count as zero.
    let is_small = largest < MAX_WEIGHT * 1e-38;
    let (inverse, step) = if is_small { (0.0, 0.0) } else { (MAX_WEIGHT / largest, largest / MAX_WEIGHT) };
    let inverse = F32x4::splat(inverse);
    let mut codes = [[0; 2]; PAGE_POSITIONS / 2];
    let (eights, _) = codes.as_flattened_mut().as_chunks_mut::<8>();
    for (eight, two) in eights.iter_mut().zip(scaled.as_chunks::<2>().0) {
        I16x8::narrow(two.map(|x| x.mul(inverse).nearest().to_i32())).store(eight);
    }
    (codes, step)
}

fn set(region: &mut [Bytes], place: &Place, (d, q): (u16, [i8; BLOCK])) {
    let (cell, i) = place.scale();
    region[cell].set_scale(i, d);
    for (k, q) in q.into_iter().enumerate() {
        let (cell, i) = place.element(k);
        region[cell].0[i] = q;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::activations::quantize_fine;

    const HEAD: usize = 64;

    fn noise(seed: usize) -> [f32; HEAD] {
        core::array::from_fn(|k| ((seed * 97 + k * 31) as f32 * 0.7).sin() * (1.0 + k as f32 / 40.0))
    }

    /// Keys and values of all positions.
    fn region() -> Vec<Bytes> {
        let mut region = vec![Bytes::ZERO; Bytes::keys_len(HEAD) + Bytes::values_len(HEAD)];
        for slot in 0..PAGE_POSITIONS {
            Bytes::put(&mut region, Side::Key, slot, &noise(slot));
            Bytes::put(&mut region, Side::Value, slot, &noise(1000 + slot));
        }
        region
    }

    fn row(region: &[Bytes], side: Side, slot: usize) -> [f32; HEAD] {
        let mut row = [0.0; HEAD];
        Bytes::get(region, side, slot, &mut row);
        row
    }

    #[test]
    fn rows_are_what_their_blocks_say() {
        let region = region();
        let mut other = vec![Bytes::ZERO; region.len()];
        for slot in 0..PAGE_POSITIONS {
            for (side, x) in [(Side::Key, noise(slot)), (Side::Value, noise(1000 + slot))] {
                let blocks = x.as_chunks::<BLOCK>().0.iter().map(q8_0::encode);
                let expected: Vec<f32> = blocks.flat_map(|(d, q)| q.map(|q| f32::from(q) * f16_to_f32(d))).collect();
                assert_eq!(row(&region, side, slot), expected[..]);
                let mut bytes = vec![];
                Bytes::push_bytes(HEAD, &region, side, slot, &mut bytes);
                assert_eq!(bytes.len(), HEAD / BLOCK * q8_0::BLOCK_BYTES);
                Bytes::set_bytes(HEAD, &mut other, side, slot, &bytes);
                assert_eq!(row(&other, side, slot), expected[..]);
            }
        }
        for n in [1, 8, 13, 64] {
            let mut copy = vec![Bytes::ZERO; region.len()];
            Bytes::copy(HEAD, n, &region, &mut copy);
            for slot in 0..n {
                for side in [Side::Key, Side::Value] {
                    assert_eq!(row(&copy, side, slot), row(&region, side, slot), "{slot} of {n}");
                }
            }
        }
    }

    #[test]
    fn scores_are_products_of_whole_numbers() {
        let region = region();
        let queries = [noise(7), noise(8)];
        let codes = queries.map(|q| {
            let mut codes = [Act16::ZERO; HEAD / BLOCK];
            quantize_fine(&q, &mut codes);
            codes
        });
        let mut scores = [[0.0; PAGE_POSITIONS]; 2];
        let all = Queries { float: [&queries[0], &queries[1]], codes: [&codes[0][..], &codes[1][..]] };
        Bytes::scores::<2>(&region[..Bytes::keys_len(HEAD)], HEAD, 0..OCTETS, all, &mut scores);
        for (scores, query) in scores.iter().zip(&queries) {
            for (slot, score) in scores.iter().enumerate() {
                let products = row(&region, Side::Key, slot).iter().zip(query).map(|(k, q)| k * q).collect::<Vec<_>>();
                let (sum, size) = (products.iter().sum::<f32>(), products.iter().map(|x| x.abs()).sum::<f32>());
                assert!((sum - score).abs() < 0.0003 * size, "{slot}: {score}, expected {sum} of {size}");
            }
        }
    }

    #[test]
    fn values_are_weighted() {
        let region = region();
        let positions = 5..43;
        let mut weights = [[0.0; PAGE_POSITIONS]; 3];
        for (q, weights) in weights.iter_mut().enumerate() {
            positions.clone().for_each(|p| weights[p] = ((p * 13 + q * 7) as f32 * 0.3).sin().abs());
        }
        let mut acc = [[F32x4::splat(1.0); 2]; 3 * HEAD / 8];
        Bytes::values::<3>(&region[Bytes::keys_len(HEAD)..], HEAD, positions.clone(), &weights, &mut acc);
        for (q, weights) in weights.iter().enumerate() {
            for k in 0..HEAD {
                let expected =
                    positions.clone().map(|p| weights[p] * row(&region, Side::Value, p)[k]).sum::<f32>() + 1.0;
                let found = acc[q * HEAD / 8 + k / 8][k % 8 / 4].to_array()[k % 4];
                assert!((found - expected).abs() < 2e-3, "{q}, {k}: {found}, expected {expected}");
            }
        }
    }
}
