//! Matrix kernels for several rows of activations: a panel is unpacked into scratch that stays in the first-level cache, a chunk
//! of K at a time, and tiles of four, two and one rows run over it. Same bits per row as [`super::matmul`]'s one-row kernels.

use std::{marker::PhantomData, ops::Range};

use super::activations::Act16;
use super::dots::{Act, Dots, Sums};
use super::matmul::{Lanes8, Nibbles, Scales, ZERO, accumulate, accumulate_min, join, single, store};
use super::simd::{F32x4, I16x8, I32x4, U8x16};
use crate::{
    error::{Result, try_vec},
    quant::repack::{Q80x8, Single8},
};

/// Blocks of a panel that are unpacked at a time: 20 KiB of scratch.
const CHUNK_BLOCKS: usize = 48;
/// Weights of a float panel that are unpacked at a time: 16 KiB of scratch.
pub(super) const CHUNK_FLOATS: usize = 512;

/// Per-thread room for unpacked panels.
pub(crate) struct Unpacked {
    pub(super) codes: Vec<Codes8>,
    pub(super) floats: Vec<Single8>,
}

impl Unpacked {
    pub(crate) fn new() -> Result<Self> {
        let what = "scratch for matrix products";
        let mut unpacked = Self { codes: try_vec(CHUNK_BLOCKS, what)?, floats: try_vec(CHUNK_FLOATS, what)? };
        let none = Single8([0.0; 8]);
        let codes = Codes8 { d: none, m: [none; 2], s: [[[0; 8]; 2]; 2], q: [[0; 16]; 16] };
        unpacked.codes.resize(CHUNK_BLOCKS, codes);
        unpacked.floats.resize(CHUNK_FLOATS, none);
        Ok(unpacked)
    }

    /// Bytes of one thread's room.
    pub(crate) fn memory_bytes() -> usize {
        CHUNK_BLOCKS * size_of::<Codes8>() + CHUNK_FLOATS * size_of::<Single8>()
    }
}

/// 32 weights of eight rows as codes, one per byte: `q[2g + h]` weights 4g + i of rows 4h + r, `q[8 + 2g + h]` weights 16 + 4g + i.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(super) struct Codes8 {
    pub(super) d: Single8,
    /// What is added for each half; where the halves have the same, only the first is set.
    pub(super) m: [Single8; 2],
    /// The factors of each half's sums, as the kernel keeps them ([`Sums::store`]).
    pub(super) s: [[[i16; 8]; 2]; 2],
    pub(super) q: [[u8; 16]; 16],
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
        chunk_tiles(kernel, blocks, acts, start..start + n, n_blocks, acc);
        start += n;
    }
}

/// Runs tiles over a panel as it is, chunk by chunk.
pub(super) fn tiles_of_panel<B, A, K: Tile<B, A>>(kernel: &K, panel: &[B], acts: &[A], acc: &mut [Lanes8]) {
    acc.fill(ZERO());
    for (i, blocks) in panel.chunks(CHUNK_BLOCKS).enumerate() {
        let start = i * CHUNK_BLOCKS;
        chunk_tiles(kernel, blocks, acts, start..start + blocks.len(), panel.len(), acc);
    }
}

/// Tiles of 4, 2 and 1 rows over a chunk of K; a row of activations has `n_blocks`.
#[inline(always)]
pub(super) fn chunk_tiles<U, A, K: Tile<U, A>>(
    kernel: &K,
    blocks: &[U],
    acts: &[A],
    chunk: Range<usize>,
    n_blocks: usize,
    acc: &mut [Lanes8],
) {
    let row = |t: usize| &acts[t * n_blocks..][chunk.clone()];
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
}

/// An `unpack` that goes block by block.
pub(super) fn each<B, U>(panel: &[B], unpack: impl Fn(&B, &mut U)) -> impl Fn(usize, &mut [U]) {
    move |first, out| panel[first..].iter().zip(out).for_each(|(b, u)| unpack(b, u))
}

pub(super) fn unpack_nibbles<D: Dots, B: Nibbles>(b: &B, out: &mut Codes8) {
    store(b.d().value(), &mut out.d);
    if let Some(m) = b.m() {
        store(m.value(), &mut out.m[0]);
    }
    set_factors::<D>(I16x8::splat(1), &mut out.s[0]);
    let (low, high) = out.q.split_at_mut(8);
    for ((q, low), high) in b.q().iter().zip(low).zip(high) {
        let w = U8x16::load(q);
        w.low_nibbles().store(low);
        w.high_nibbles().store(high);
    }
}

#[inline(always)]
pub(super) fn set_factors<D: Dots>(x: I16x8, to: &mut [[i16; 8]; 2]) {
    D::Sum::factors(x).into_iter().zip(to).for_each(|(x, to)| x.store(to));
}

/// Tiles of Q8_0's panels in pairs as they are: 16-bit dot products of widened bytes.
pub(super) struct PairTile;
/// Tiles of Q8_0's panels in fours as they are.
pub(super) struct FourTile<D>(PhantomData<D>);

impl<D> FourTile<D> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

/// Tiles of panels of nibbles as they are.
pub(super) struct NibbleTile<D>(PhantomData<D>);

impl<D> NibbleTile<D> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

/// Tiles of codes. HALVES: whether the halves of a block are summed by themselves; where they are not, which is where speed counts,
/// MINIMA: whether a block has a minimum, or an offset instead.
pub(super) struct CodeTile<D, const HALVES: bool, const MINIMA: bool> {
    /// What is taken from a code.
    offset: i16,
    /// Values of m of a block that are in use: none, one, one for each half.
    n_minima: usize,
    dots: PhantomData<D>,
}

impl<D, const HALVES: bool, const MINIMA: bool> CodeTile<D, HALVES, MINIMA> {
    pub(super) fn new(offset: i16, n_minima: usize) -> Self {
        Self { offset, n_minima, dots: PhantomData }
    }
}

/// Tiles of f32.
pub(super) struct Float;

impl<S: Scales> Tile<Q80x8<S>, Act16> for PairTile {
    #[inline(never)]
    fn run<const T: usize>(&self, blocks: &[Q80x8<S>], acts: [&[Act16]; T], acc: &mut [Lanes8; T]) {
        let acts = acts.map(|a| &a[..blocks.len()]);
        for (i, b) in blocks.iter().enumerate() {
            let acts: [&Act16; T] = core::array::from_fn(|t| &acts[t][i]);
            let mut s = [[I32x4::splat(0); 2]; T];
            // A loop, as in `add_sums`; two steps at a time where there is more to a step than the loop.
            let n_steps = if T == 1 { 1 } else { 2 };
            for first in (0..16).step_by(n_steps) {
                (first..first + n_steps).for_each(|p| pair_step(&b.q, acts, p, &mut s));
            }
            let d = b.d.scaled();
            for ((acc, s), a) in acc.iter_mut().zip(s).zip(acts) {
                accumulate(acc, s, d, S::factor(&a.scale));
            }
        }
    }
}

/// What is taken from the bytes of fours.
const OFFSET_OF_FOURS: i16 = 128;

impl<S: Scales, D: Dots> Tile<Q80x8<S>, D::Act> for FourTile<D> {
    #[inline(never)]
    fn run<const T: usize>(&self, blocks: &[Q80x8<S>], acts: [&[D::Act]; T], acc: &mut [Lanes8; T]) {
        let acts = acts.map(|a| &a[..blocks.len()]);
        for (i, b) in blocks.iter().enumerate() {
            let acts: [&D::Act; T] = core::array::from_fn(|t| &acts[t][i]);
            let mut s = acts.map(|a| [D::start_both(a, OFFSET_OF_FOURS); 2]);
            // A loop, as in `add_sums`.
            for g in 0..8 {
                let w = [U8x16::load(&b.q[2 * g]), U8x16::load(&b.q[2 * g + 1])];
                for (s, a) in s.iter_mut().zip(acts) {
                    let a = D::four(a, g);
                    *s = [D::add(s[0], w[0], a), D::add(s[1], w[1], a)];
                }
            }
            let d = b.d.scaled();
            for ((acc, s), a) in acc.iter_mut().zip(s).zip(acts) {
                accumulate(acc, s.map(Sums::total), d, S::factor(a.scale()));
            }
        }
    }
}

impl<D: Dots, B: Nibbles> Tile<B, D::Act> for NibbleTile<D> {
    #[inline(never)]
    fn run<const T: usize>(&self, blocks: &[B], acts: [&[D::Act]; T], acc: &mut [Lanes8; T]) {
        let acts = acts.map(|a| &a[..blocks.len()]);
        for (i, b) in blocks.iter().enumerate() {
            let acts: [&D::Act; T] = core::array::from_fn(|t| &acts[t][i]);
            let mut s = [[D::Sum::zero(); 2]; T];
            if B::OFFSET != 0 {
                s.iter_mut().zip(acts).for_each(|(s, a)| *s = [D::start_both(a, B::OFFSET); 2]);
            }
            for g in 0..4 {
                let w = [U8x16::load(&b.q()[2 * g]), U8x16::load(&b.q()[2 * g + 1])];
                for (s, a) in s.iter_mut().zip(acts) {
                    let (low, high) = (D::four(a, g), D::four(a, 4 + g));
                    *s = [D::add_nibbles(s[0], w[0], low, high), D::add_nibbles(s[1], w[1], low, high)];
                }
            }
            let d = b.d().scaled();
            for ((acc, s), a) in acc.iter_mut().zip(s).zip(acts) {
                accumulate(acc, s.map(Sums::total), d, B::S::factor(a.scale()));
                if let Some(m) = b.m() {
                    accumulate_min(acc, m.value(), a.scale().sum);
                }
            }
        }
    }
}

/// Two weights of eight rows.
#[inline(always)]
fn pair_step<const T: usize>(q: &[[u8; 16]; 16], acts: [&Act16; T], p: usize, s: &mut [[I32x4; 2]; T]) {
    let (halves, _) = bytemuck::cast_ref::<[u8; 16], [i8; 16]>(&q[p]).as_chunks::<8>();
    let w = [I16x8::load_i8(&halves[0]), I16x8::load_i8(&halves[1])];
    for (s, a) in s.iter_mut().zip(acts) {
        let a = I16x8::splat_pair(a.q[p]);
        *s = [s[0].add(w[0].dot(a)), s[1].add(w[1].dot(a))];
    }
}

impl<D: Dots, const HALVES: bool, const MINIMA: bool> Tile<Codes8, D::Act> for CodeTile<D, HALVES, MINIMA> {
    #[inline(never)]
    fn run<const T: usize>(&self, blocks: &[Codes8], acts: [&[D::Act]; T], acc: &mut [Lanes8; T]) {
        let acts = acts.map(|a| &a[..blocks.len()]);
        for (i, b) in blocks.iter().enumerate() {
            let acts: [&D::Act; T] = core::array::from_fn(|t| &acts[t][i]);
            let mut sums = [[I32x4::splat(0); 2]; T];
            if HALVES {
                self.add_sums::<T>(b, acts, 0..4, &mut sums);
                self.add_sums::<T>(b, acts, 4..8, &mut sums);
            } else {
                self.add_sums::<T>(b, acts, 0..8, &mut sums);
            }
            let (d, m) = (single(&b.d), [single(&b.m[0]), single(&b.m[1])]);
            for ((acc, sums), a) in acc.iter_mut().zip(sums).zip(acts) {
                accumulate(acc, sums, d, a.scale().d);
                match if HALVES { self.n_minima } else { MINIMA.into() } {
                    0 => {}
                    1 => accumulate_min(acc, m[0], a.scale().sum),
                    _ => (0..2).for_each(|half| accumulate_min(acc, m[half], a.half_sum(half))),
                }
            }
        }
    }
}

impl<D: Dots, const HALVES: bool, const MINIMA: bool> CodeTile<D, HALVES, MINIMA> {
    /// Adds Σ s · q of a half or of a whole block. With sums of 16 bits: eight of them, two vectors of weights, one of activations
    /// are what fits 15 registers. The steps stay a loop, two at a time: unrolled as a whole, LLVM sorts them by accumulator and
    /// keeps every vector of activations alive.
    #[inline(always)]
    fn add_sums<const T: usize>(&self, b: &Codes8, acts: [&D::Act; T], steps: Range<usize>, to: &mut [[I32x4; 2]; T]) {
        let half = steps.start / 4;
        let mut s = [[D::Sum::zero(); 2]; T];
        if HALVES || !MINIMA {
            for (s, a) in s.iter_mut().zip(acts) {
                *s = [if HALVES { D::start(a, half, self.offset) } else { D::start_both(a, self.offset) }; 2];
            }
        }
        for g in steps.step_by(2) {
            step::<D, T>(b, acts, g, &mut s);
            step::<D, T>(b, acts, g + 1, &mut s);
        }
        for (to, s) in to.iter_mut().zip(s) {
            for h in 0..2 {
                to[h] = to[h].add(s[h].times(D::Sum::load(&b.s[half][h])));
            }
        }
    }
}

/// Four weights of eight rows.
#[inline(always)]
fn step<D: Dots, const T: usize>(b: &Codes8, acts: [&D::Act; T], g: usize, s: &mut [[D::Sum; 2]; T]) {
    let w = [U8x16::load(&b.q[2 * g]), U8x16::load(&b.q[2 * g + 1])];
    for (s, a) in s.iter_mut().zip(acts) {
        let a = D::four(a, g);
        *s = [D::add(s[0], w[0], a), D::add(s[1], w[1], a)];
    }
}

impl Tile<Single8, f32> for Float {
    #[inline(never)]
    fn run<const T: usize>(&self, blocks: &[Single8], acts: [&[f32]; T], acc: &mut [Lanes8; T]) {
        let acts = acts.map(|a| &a[..blocks.len()]);
        // The even weights and then the odd ones: eight sums are what fits the registers.
        let [even, odd] = [0, 1].map(|first| {
            let mut sums = [ZERO(); T];
            let mut i = first;
            while i < blocks.len() {
                let w = single(&blocks[i]);
                for t in 0..T {
                    let a = F32x4::splat(acts[t][i]);
                    sums[t] = [sums[t][0].add(w[0].mul(a)), sums[t][1].add(w[1].mul(a))];
                }
                i += 2;
            }
            sums
        });
        for ((acc, even), odd) in acc.iter_mut().zip(even).zip(odd) {
            join(acc, even, odd);
        }
    }
}
