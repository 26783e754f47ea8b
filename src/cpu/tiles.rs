//! Matrix kernels for several rows of activations: a panel is unpacked into scratch that stays in the first-level cache, a chunk
//! of K at a time, and tiles of four, two and one rows run over it. Same bits per row as [`super::matmul`]'s one-row kernels.

use super::activations::{Act8, Act16};
use super::matmul::{Lanes8, Nibbles, Scales, ZERO, accumulate, accumulate_min, single, store};
use super::simd::{F32x4, I8x16, I16x8, I32x4, U8x16};
use crate::{
    error::{Result, try_vec},
    quant::repack::{Q80x8, Single8},
};

/// Blocks of a panel that are unpacked at a time: 20 KiB of scratch.
const CHUNK_BLOCKS: usize = 64;
/// Weights of a float panel that are unpacked at a time: 16 KiB of scratch.
const CHUNK_FLOATS: usize = 512;

/// Per-thread room for unpacked panels.
pub(crate) struct Unpacked {
    pub(super) nibbles: Vec<Nibbles8>,
    pub(super) bytes: Vec<Bytes8>,
    pub(super) floats: Vec<Single8>,
}

impl Unpacked {
    pub(crate) fn new() -> Result<Self> {
        let what = "scratch for matrix products";
        let mut unpacked = Self {
            nibbles: try_vec(CHUNK_BLOCKS, what)?,
            bytes: try_vec(CHUNK_BLOCKS, what)?,
            floats: try_vec(CHUNK_FLOATS, what)?,
        };
        unpacked
            .nibbles
            .resize(CHUNK_BLOCKS, Nibbles8 { d: Single8([0.0; 8]), m: Single8([0.0; 8]), q: [[0; 16]; 16] });
        unpacked.bytes.resize(CHUNK_BLOCKS, Bytes8 { d: Single8([0.0; 8]), m: Single8([0.0; 8]), q: [[0; 16]; 16] });
        unpacked.floats.resize(CHUNK_FLOATS, Single8([0.0; 8]));
        Ok(unpacked)
    }

    /// Bytes of one thread's room.
    pub(crate) fn memory_bytes() -> usize {
        CHUNK_BLOCKS * (size_of::<Nibbles8>() + size_of::<Bytes8>()) + CHUNK_FLOATS * size_of::<Single8>()
    }
}

/// A block of nibbles, one per byte: `q[2g + h]` the low ones, `q[8 + 2g + h]` the high ones.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(super) struct Nibbles8 {
    d: Single8,
    m: Single8,
    q: [[u8; 16]; 16],
}

/// A block of bytes in Q8_0's order.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(super) struct Bytes8 {
    d: Single8,
    m: Single8,
    q: [[i8; 16]; 16],
}

/// A kernel for T rows of activations (blocks of A) and unpacked blocks U: adds to `acc`.
pub(super) trait Tile<U, A> {
    fn run<const T: usize>(blocks: &[U], acts: [&[A]; T], acc: &mut [Lanes8; T]);
}

/// Unpacks a panel, a chunk of K at a time, and runs tiles of 4, 2 and 1 rows over each chunk.
pub(super) fn tiles<B, U, A, K: Tile<U, A>>(
    panel: &[B],
    unpack: impl Fn(&B, &mut U),
    scratch: &mut [U],
    acts: &[A],
    acc: &mut [Lanes8],
) {
    acc.fill(ZERO());
    let mut start = 0;
    for chunk in panel.chunks(scratch.len()) {
        chunk.iter().zip(scratch.iter_mut()).for_each(|(b, u)| unpack(b, u));
        let blocks = &scratch[..chunk.len()];
        let row = |t: usize| &acts[t * panel.len() + start..][..chunk.len()];
        let mut t = 0;
        let (fours, rest) = acc.as_chunks_mut::<4>();
        for four in fours {
            K::run(blocks, [row(t), row(t + 1), row(t + 2), row(t + 3)], four);
            t += 4;
        }
        let (twos, rest) = rest.as_chunks_mut::<2>();
        for two in twos {
            K::run(blocks, [row(t), row(t + 1)], two);
            t += 2;
        }
        let (ones, _) = rest.as_chunks_mut::<1>();
        for one in ones {
            K::run(blocks, [row(t)], one);
            t += 1;
        }
        start += chunk.len();
    }
}

pub(super) fn unpack_nibbles<B: Nibbles>(b: &B, out: &mut Nibbles8) {
    store(b.d().value(), &mut out.d);
    if let Some(m) = b.m() {
        store(m.value(), &mut out.m);
    }
    let (low, high) = out.q.split_at_mut(8);
    for ((q, low), high) in b.q().iter().zip(low).zip(high) {
        let w = U8x16::load(q);
        w.low_nibbles().store(low);
        w.high_nibbles().store(high);
    }
}

/// Nibbles to Q8_0's order of bytes, Q4_0's offset taken off.
pub(super) fn nibbles_to_bytes<B: Nibbles>(b: &B, out: &mut Bytes8) {
    store(b.d().value(), &mut out.d);
    if let Some(m) = b.m() {
        store(m.value(), &mut out.m);
    }
    let offset = if B::OFFSET { 8 } else { 0 };
    // Pair p of weights 16·high + 4g + i, +2, with p = 8·high + 2g + i, comes from bytes i and i + 2 of each row in q[2g + h].
    for (p, pairs) in out.q.iter_mut().enumerate() {
        let (g, i, shift) = (p % 8 / 2, p % 2, p / 8 * 4);
        for r in 0..8 {
            let row = &b.q()[2 * g + r / 4][4 * (r % 4)..][..4];
            pairs[2 * r] = ((row[i] >> shift) & 15) as i8 - offset;
            pairs[2 * r + 1] = ((row[i + 2] >> shift) & 15) as i8 - offset;
        }
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
/// Tiles by 16-bit dot products: Q8_0, Q4_0.
pub(super) struct Dot;
/// Tiles by 16-bit dot products: Q4_1.
pub(super) struct DotMin;
/// Tiles of f32.
pub(super) struct Float;

impl Tile<Nibbles8, Act8> for MaddOffset {
    #[inline(never)]
    fn run<const T: usize>(blocks: &[Nibbles8], acts: [&[Act8]; T], acc: &mut [Lanes8; T]) {
        madd_tile::<T, true>(blocks, acts, acc);
    }
}

impl Tile<Nibbles8, Act8> for MaddMin {
    #[inline(never)]
    fn run<const T: usize>(blocks: &[Nibbles8], acts: [&[Act8]; T], acc: &mut [Lanes8; T]) {
        madd_tile::<T, false>(blocks, acts, acc);
    }
}

impl Tile<Bytes8, Act16> for Dot {
    #[inline(never)]
    fn run<const T: usize>(blocks: &[Bytes8], acts: [&[Act16]; T], acc: &mut [Lanes8; T]) {
        dot_tile::<T, false>(blocks, acts, acc);
    }
}

impl Tile<Bytes8, Act16> for DotMin {
    #[inline(never)]
    fn run<const T: usize>(blocks: &[Bytes8], acts: [&[Act16]; T], acc: &mut [Lanes8; T]) {
        dot_tile::<T, true>(blocks, acts, acc);
    }
}

impl Tile<Single8, f32> for Float {
    #[inline(never)]
    fn run<const T: usize>(blocks: &[Single8], acts: [&[f32]; T], acc: &mut [Lanes8; T]) {
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
fn madd_tile<const T: usize, const OFFSET: bool>(blocks: &[Nibbles8], acts: [&[Act8]; T], acc: &mut [Lanes8; T]) {
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
        let (d, m) = (single(&b.d), single(&b.m));
        for ((sum, s), a) in acc.iter_mut().zip(s).zip(acts) {
            accumulate(sum, [s[0].dot(ones), s[1].dot(ones)], d, a.d);
            if !OFFSET {
                accumulate_min(sum, m, a.sum);
            }
        }
    }
}

#[inline(always)]
fn dot_tile<const T: usize, const MIN: bool>(blocks: &[Bytes8], acts: [&[Act16]; T], acc: &mut [Lanes8; T]) {
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
        let (d, m) = (single(&b.d), single(&b.m));
        for ((sum, s), a) in acc.iter_mut().zip(s).zip(acts) {
            accumulate(sum, s, d, a.d);
            if MIN {
                accumulate_min(sum, m, a.sum);
            }
        }
    }
}
