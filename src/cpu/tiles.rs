//! Matrix kernels for several rows of activations: a panel is unpacked into scratch that stays in the first-level cache, a chunk
//! of K at a time, and tiles of four, two and one rows run over it. Same bits per row as [`super::matmul`]'s one-row kernels.

use super::activations::{Act8, Act16};
use super::matmul::{Lanes8, Nibbles, Scales, ZERO, accumulate, accumulate_min, single, store};
use super::simd::{F32x4, I8x16, I16x8, I32x4, U8x16};
use crate::{
    error::{Result, try_vec},
    quant::repack::{Q80x8, Single8},
};

/// Blocks of a panel that are unpacked at a time: 18 KiB of scratch.
const CHUNK_BLOCKS: usize = 48;
/// Weights of a float panel that are unpacked at a time: 16 KiB of scratch.
const CHUNK_FLOATS: usize = 512;

/// Per-thread room for unpacked panels.
pub(crate) struct Unpacked {
    pub(super) codes: Vec<Codes8>,
    pub(super) bytes: Vec<Bytes8>,
    pub(super) floats: Vec<Single8>,
}

impl Unpacked {
    pub(crate) fn new() -> Result<Self> {
        let what = "scratch for matrix products";
        let mut unpacked = Self {
            codes: try_vec(CHUNK_BLOCKS, what)?,
            bytes: try_vec(CHUNK_BLOCKS, what)?,
            floats: try_vec(CHUNK_FLOATS, what)?,
        };
        let none = Single8([0.0; 8]);
        unpacked.codes.resize(CHUNK_BLOCKS, Codes8 { d: [none; 2], m: [none; 2], q: [[0; 16]; 16] });
        unpacked.bytes.resize(CHUNK_BLOCKS, Bytes8 { d: none, q: [[0; 16]; 16] });
        unpacked.floats.resize(CHUNK_FLOATS, none);
        Ok(unpacked)
    }

    /// Bytes of one thread's room.
    pub(crate) fn memory_bytes() -> usize {
        CHUNK_BLOCKS * (size_of::<Codes8>() + size_of::<Bytes8>()) + CHUNK_FLOATS * size_of::<Single8>()
    }
}

/// 32 weights of eight rows as codes, one per byte: `q[2g + h]` weights 4g + i of rows 4h + r, `q[8 + 2g + h]` weights 16 + 4g + i.
/// Scales and minima of the two halves; where they have the same, only the first are set.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(super) struct Codes8 {
    pub(super) d: [Single8; 2],
    pub(super) m: [Single8; 2],
    pub(super) q: [[u8; 16]; 16],
}

/// A block of bytes in Q8_0's order.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(super) struct Bytes8 {
    d: Single8,
    q: [[i8; 16]; 16],
}

/// A kernel for T rows of activations (blocks of A) and unpacked blocks U: adds to `acc`.
pub(super) trait Tile<U, A> {
    fn run<const T: usize>(&self, blocks: &[U], acts: [&[A]; T], acc: &mut [Lanes8; T]);
}

/// Unpacks a panel of `n_blocks`, a chunk of K at a time (`unpack` fills its second argument with the blocks from the first on),
/// and runs tiles of 4, 2 and 1 rows over each chunk.
pub(super) fn tiles<U, A, K: Tile<U, A>>(
    kernel: &K,
    n_blocks: usize,
    unpack: impl Fn(usize, &mut [U]),
    scratch: &mut [U],
    acts: &[A],
    acc: &mut [Lanes8],
) {
    acc.fill(ZERO());
    let mut start = 0;
    while start < n_blocks {
        let n = scratch.len().min(n_blocks - start);
        let blocks = &mut scratch[..n];
        unpack(start, blocks);
        let blocks = &*blocks;
        let row = |t: usize| &acts[t * n_blocks + start..][..n];
        let mut t = 0;
        let (fours, rest) = acc.as_chunks_mut::<4>();
        for four in fours {
            kernel.run(blocks, [row(t), row(t + 1), row(t + 2), row(t + 3)], four);
            t += 4;
        }
        let (twos, rest) = rest.as_chunks_mut::<2>();
        for two in twos {
            kernel.run(blocks, [row(t), row(t + 1)], two);
            t += 2;
        }
        let (ones, _) = rest.as_chunks_mut::<1>();
        for one in ones {
            kernel.run(blocks, [row(t)], one);
            t += 1;
        }
        start += n;
    }
}

/// An `unpack` that goes block by block.
pub(super) fn each<B, U>(panel: &[B], unpack: impl Fn(&B, &mut U)) -> impl Fn(usize, &mut [U]) {
    move |first, out| panel[first..].iter().zip(out).for_each(|(b, u)| unpack(b, u))
}

pub(super) fn unpack_nibbles<B: Nibbles>(b: &B, out: &mut Codes8) {
    store(b.d().value(), &mut out.d[0]);
    if let Some(m) = b.m() {
        store(m.value(), &mut out.m[0]);
    }
    let (low, high) = out.q.split_at_mut(8);
    for ((q, low), high) in b.q().iter().zip(low).zip(high) {
        let w = U8x16::load(q);
        w.low_nibbles().store(low);
        w.high_nibbles().store(high);
    }
}

pub(super) fn unpack_bytes<S: Scales>(b: &Q80x8<S>, out: &mut Bytes8) {
    store(b.d.value(), &mut out.d);
    out.q = b.q;
}

/// Tiles by 8-bit dot products: Q4_0.
pub(super) struct MaddOffset;
/// Tiles by 8-bit dot products: Q4_1.
pub(super) struct MaddMin;
/// Tiles by 16-bit dot products of bytes: Q8_0.
pub(super) struct Dot;
/// Tiles by 16-bit dot products of codes: all other blocks.
pub(super) struct CodeTile {
    /// What is taken from a code.
    pub(super) offset: i16,
    /// Whether the halves of a block have scales of their own.
    pub(super) is_halved: bool,
    pub(super) has_minima: bool,
}
/// Tiles of f32.
pub(super) struct Float;

impl Tile<Codes8, Act8> for MaddOffset {
    #[inline(never)]
    fn run<const T: usize>(&self, blocks: &[Codes8], acts: [&[Act8]; T], acc: &mut [Lanes8; T]) {
        madd_tile::<T, true>(blocks, acts, acc);
    }
}

impl Tile<Codes8, Act8> for MaddMin {
    #[inline(never)]
    fn run<const T: usize>(&self, blocks: &[Codes8], acts: [&[Act8]; T], acc: &mut [Lanes8; T]) {
        madd_tile::<T, false>(blocks, acts, acc);
    }
}

impl Tile<Bytes8, Act16> for Dot {
    #[inline(never)]
    fn run<const T: usize>(&self, blocks: &[Bytes8], acts: [&[Act16]; T], acc: &mut [Lanes8; T]) {
        let acts = acts.map(|a| &a[..blocks.len()]);
        for (i, b) in blocks.iter().enumerate() {
            let acts: [&Act16; T] = core::array::from_fn(|t| &acts[t][i]);
            let mut s = [[I32x4::splat(0); 2]; T];
            let mut step = |p: usize| {
                let (halves, _) = b.q[p].as_chunks::<8>();
                let w = [I16x8::load_i8(&halves[0]), I16x8::load_i8(&halves[1])];
                for (s, a) in s.iter_mut().zip(acts) {
                    let a = I16x8::splat_pair(a.q[p]);
                    *s = [s[0].add(w[0].dot(a)), s[1].add(w[1].dot(a))];
                }
            };
            for p in 0..16 {
                step(p);
            }
            let d = single(&b.d);
            for ((sum, s), a) in acc.iter_mut().zip(s).zip(acts) {
                accumulate(sum, s, d, a.d);
            }
        }
    }
}

impl Tile<Codes8, Act16> for CodeTile {
    #[inline(never)]
    fn run<const T: usize>(&self, blocks: &[Codes8], acts: [&[Act16]; T], acc: &mut [Lanes8; T]) {
        let acts = acts.map(|a| &a[..blocks.len()]);
        for (i, b) in blocks.iter().enumerate() {
            let acts: [&Act16; T] = core::array::from_fn(|t| &acts[t][i]);
            let mut s = [[I32x4::splat(0); 2]; T];
            for half in 0..2 {
                for (s, a) in s.iter_mut().zip(acts) {
                    let start = I32x4::splat(-i32::from(self.offset) * i32::from(a.sums[half]));
                    *s = s.map(|s| s.add(start));
                }
                let mut step = |g: usize| {
                    let w = [U8x16::load(&b.q[2 * g]), U8x16::load(&b.q[2 * g + 1])];
                    let (even, odd) = (w.map(U8x16::even), w.map(U8x16::odd));
                    for (s, a) in s.iter_mut().zip(acts) {
                        let pairs = [I16x8::splat_pair(a.q[2 * g]), I16x8::splat_pair(a.q[2 * g + 1])];
                        *s = [0, 1].map(|h| s[h].add(even[h].dot(pairs[0])).add(odd[h].dot(pairs[1])));
                    }
                };
                for g in 4 * half..4 * half + 4 {
                    step(g);
                }
                if half == 0 && !self.is_halved {
                    continue;
                }
                let scales = if self.is_halved { half } else { 0 };
                let (d, m) = (single(&b.d[scales]), single(&b.m[scales]));
                for ((sum, s), a) in acc.iter_mut().zip(&mut s).zip(acts) {
                    accumulate(sum, std::mem::replace(s, [I32x4::splat(0); 2]), d, a.d);
                    if self.has_minima {
                        let sum_a = if self.is_halved { a.d * f32::from(a.sums[half]) } else { a.sum };
                        accumulate_min(sum, m, sum_a);
                    }
                }
            }
        }
    }
}

impl Tile<Single8, f32> for Float {
    #[inline(never)]
    fn run<const T: usize>(&self, blocks: &[Single8], acts: [&[f32]; T], acc: &mut [Lanes8; T]) {
        let acts = acts.map(|a| &a[..blocks.len()]);
        let mut sums = *acc;
        for (i, w) in blocks.iter().enumerate() {
            let w = single(w);
            for t in 0..T {
                let a = F32x4::splat(acts[t][i]);
                sums[t] = [sums[t][0].add(w[0].mul(a)), sums[t][1].add(w[1].mul(a))];
            }
        }
        *acc = sums;
    }
}

/// Eight 16-bit accumulators, two vectors of weights, one splat of activations: what fits 15 registers. The steps stay a loop, two
/// at a time: unrolled as a whole, LLVM sorts them by accumulator and keeps every splat alive.
#[inline(always)]
fn madd_tile<const T: usize, const OFFSET: bool>(blocks: &[Codes8], acts: [&[Act8]; T], acc: &mut [Lanes8; T]) {
    let ones = I16x8::splat(1);
    let acts = acts.map(|a| &a[..blocks.len()]);
    for (i, b) in blocks.iter().enumerate() {
        let acts: [&Act8; T] = core::array::from_fn(|t| &acts[t][i]);
        let mut s = [[I16x8::splat(0); 2]; T];
        if OFFSET {
            s = acts.map(|a| [I16x8::splat_pair(a.init); 2]);
        }
        let mut step = |g: usize| {
            let w = [U8x16::load(&b.q[2 * g]), U8x16::load(&b.q[2 * g + 1])];
            for (s, a) in s.iter_mut().zip(acts) {
                let a = I8x16::splat4(a.q[g]);
                *s = [s[0].add(a.madd(w[0])), s[1].add(a.madd(w[1]))];
            }
        };
        for g in 0..8 {
            step(g);
        }
        let (d, m) = (single(&b.d[0]), single(&b.m[0]));
        for ((sum, s), a) in acc.iter_mut().zip(s).zip(acts) {
            accumulate(sum, [s[0].dot(ones), s[1].dot(ones)], d, a.d);
            if !OFFSET {
                accumulate_min(sum, m, a.sum);
            }
        }
    }
}
