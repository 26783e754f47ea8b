//! Matrix kernels: one panel (8 rows) times one row of activations, and times a tile of up to four rows with the panel
//! unpacked once. Both give the same bits for a row: the integer part is exact and the f32 part is
//! `acc += Σq · (d_w · d_a)` (`acc += m · Σa` after it for Q4_1), block after block from the first.
//!
//! Three integer forms with equal results: `madd` (8-bit dot into 16-bit sums: relaxed SIMD), `dot` (16-bit dot on nibbles or
//! bytes). Float formats multiply and add weight by weight. No `unsafe`: slices of blocks, zipped.

use super::activations::{Act8, Act16};
use super::simd::{F32x4, I8x16, I16x8, I32x4, U8x16};
use crate::quant::repack::{Half8, Panels, Q40x8, Q41x8, Q80x8, Single8};

/// Products of the 8 rows of a panel.
pub(crate) type Lanes8 = [F32x4; 2];

/// Which integer kernels run on nibbles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// 8-bit dot products (`i16x8.relaxed_dot_i8x16_i7x16_s`).
    Relaxed,
    /// 16-bit dot products: plain SIMD128.
    Plain,
}

impl Flavour {
    /// The one that this build is made for.
    pub const BUILD: Self = if cfg!(target_feature = "relaxed-simd") { Self::Relaxed } else { Self::Plain };
}

/// Which record of the activations a weight is multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActKind {
    Float,
    Act8,
    Act16,
}

impl ActKind {
    pub(crate) fn of(panels: &Panels, flavour: Flavour) -> Self {
        match panels {
            Panels::F32(_) | Panels::F16(_) | Panels::BF16(_) => Self::Float,
            Panels::Q8_0(_) | Panels::Q8_0Wide(_) => Self::Act16,
            Panels::Q4_0(_) | Panels::Q4_0Wide(_) | Panels::Q4_1(_) | Panels::Q4_1Wide(_) => match flavour {
                Flavour::Relaxed => Self::Act8,
                Flavour::Plain => Self::Act16,
            },
        }
    }
}

/// Rows of activations [T, K], in the kinds that somebody asked for (the others are empty).
#[derive(Clone, Copy)]
pub(crate) struct Acts<'a> {
    pub(crate) float: &'a [f32],
    pub(crate) act8: &'a [Act8],
    pub(crate) act16: &'a [Act16],
}

/// Blocks of a panel that are unpacked at a time: 20 KiB of scratch.
const CHUNK_BLOCKS: usize = 64;
/// Weights of a float panel that are unpacked at a time: 16 KiB of scratch.
const CHUNK_FLOATS: usize = 512;

/// Per-thread room for unpacked panels.
pub(crate) struct Unpacked {
    nibbles: Vec<Nibbles8>,
    bytes: Vec<Bytes8>,
    floats: Vec<Single8>,
}

impl Unpacked {
    pub(crate) fn new() -> crate::error::Result<Self> {
        let what = "scratch for matrix products";
        let mut unpacked = Self {
            nibbles: crate::error::try_vec(CHUNK_BLOCKS, what)?,
            bytes: crate::error::try_vec(CHUNK_BLOCKS, what)?,
            floats: crate::error::try_vec(CHUNK_FLOATS, what)?,
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
struct Nibbles8 {
    d: Single8,
    m: Single8,
    q: [[u8; 16]; 16],
}

/// A block of bytes in Q8_0's order.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Bytes8 {
    d: Single8,
    m: Single8,
    q: [[i8; 16]; 16],
}

/// Panel `panel` (of `panel_len` blocks) times the rows of activations: `acc[t]` (T entries) gets the products.
pub(crate) fn panel_product(
    panels: &Panels,
    flavour: Flavour,
    panel: usize,
    panel_len: usize,
    acts: Acts<'_>,
    unpacked: &mut Unpacked,
    acc: &mut [Lanes8],
) {
    let range = panel * panel_len..(panel + 1) * panel_len;
    match panels {
        Panels::F32(v) => float_product(&v[range], single, acts.float, unpacked, acc),
        Panels::F16(v) => float_product(&v[range], |w| F32x4::from_f16(&w.0), acts.float, unpacked, acc),
        Panels::BF16(v) => float_product(&v[range], |w| F32x4::from_bf16(&w.0), acts.float, unpacked, acc),
        Panels::Q4_0(v) => nibble_product(&v[range], flavour, acts, unpacked, acc),
        Panels::Q4_0Wide(v) => nibble_product(&v[range], flavour, acts, unpacked, acc),
        Panels::Q4_1(v) => nibble_product(&v[range], flavour, acts, unpacked, acc),
        Panels::Q4_1Wide(v) => nibble_product(&v[range], flavour, acts, unpacked, acc),
        Panels::Q8_0(v) => byte_product(&v[range], acts.act16, unpacked, acc),
        Panels::Q8_0Wide(v) => byte_product(&v[range], acts.act16, unpacked, acc),
    }
}

/// Eight f32 as two vectors.
#[inline(always)]
fn single(w: &Single8) -> Lanes8 {
    let (quads, _) = w.0.as_chunks::<4>();
    [F32x4::load(&quads[0]), F32x4::load(&quads[1])]
}

#[inline(always)]
fn store(w: Lanes8, out: &mut Single8) {
    let (quads, _) = out.0.as_chunks_mut::<4>();
    w[0].store(&mut quads[0]);
    w[1].store(&mut quads[1]);
}

/// A set of eight scales.
trait Scales: Copy {
    /// Times `Self::factor(d, d_112)` it is the product of the scales, in the same bits for either kind.
    fn scaled(&self) -> Lanes8;
    fn factor(d: f32, d_112: f32) -> f32;
    /// The value.
    fn value(&self) -> Lanes8;
}

impl Scales for Half8 {
    #[inline(always)]
    fn scaled(&self) -> Lanes8 {
        F32x4::from_f16_scaled(&self.0)
    }
    #[inline(always)]
    fn factor(_: f32, d_112: f32) -> f32 {
        d_112
    }
    #[inline(always)]
    fn value(&self) -> Lanes8 {
        F32x4::from_f16(&self.0)
    }
}

impl Scales for Single8 {
    #[inline(always)]
    fn scaled(&self) -> Lanes8 {
        single(self)
    }
    #[inline(always)]
    fn factor(d: f32, _: f32) -> f32 {
        d
    }
    #[inline(always)]
    fn value(&self) -> Lanes8 {
        single(self)
    }
}

/// A block of nibbles.
trait Nibbles {
    type S: Scales;
    /// Whether 8 is taken from each nibble.
    const OFFSET: bool;
    fn d(&self) -> &Self::S;
    /// Minima.
    fn m(&self) -> Option<&Self::S>;
    fn q(&self) -> &[[u8; 16]; 8];
}

impl<S: Scales> Nibbles for Q40x8<S> {
    type S = S;
    const OFFSET: bool = true;
    #[inline(always)]
    fn d(&self) -> &S {
        &self.d
    }
    #[inline(always)]
    fn m(&self) -> Option<&S> {
        None
    }
    #[inline(always)]
    fn q(&self) -> &[[u8; 16]; 8] {
        &self.q
    }
}

impl<S: Scales> Nibbles for Q41x8<S> {
    type S = S;
    const OFFSET: bool = false;
    #[inline(always)]
    fn d(&self) -> &S {
        &self.d
    }
    #[inline(always)]
    fn m(&self) -> Option<&S> {
        Some(&self.m)
    }
    #[inline(always)]
    fn q(&self) -> &[[u8; 16]; 8] {
        &self.q
    }
}

const ZERO: fn() -> Lanes8 = || [F32x4::splat(0.0); 2];

/// `acc += s · (d_w · d_a)` per row.
#[inline(always)]
fn accumulate(acc: &mut Lanes8, s: [I32x4; 2], d_w: Lanes8, d_a: f32) {
    let d_a = F32x4::splat(d_a);
    for h in 0..2 {
        acc[h] = acc[h].add(s[h].to_f32().mul(d_w[h].mul(d_a)));
    }
}

/// `acc += m · Σa` per row.
#[inline(always)]
fn accumulate_min(acc: &mut Lanes8, m: Lanes8, sum: f32) {
    let sum = F32x4::splat(sum);
    for h in 0..2 {
        acc[h] = acc[h].add(m[h].mul(sum));
    }
}

/// One row: 8-bit dot products, a whole block in 16-bit sums (|sum| ≤ 8 · 2 · 127 · 15 < 2¹⁵).
fn nibble_row_madd<B: Nibbles>(panel: &[B], acts: &[Act8]) -> Lanes8 {
    let ones = I16x8::splat(1);
    let mut acc = ZERO();
    for (b, a) in panel.iter().zip(acts) {
        let first = if B::OFFSET { I16x8::splat_pair(a.init) } else { I16x8::splat(0) };
        let mut s = [first; 2];
        for g in 0..4 {
            let (low, high) = (I8x16::splat4(a.q[g]), I8x16::splat4(a.q[4 + g]));
            for (s, q) in s.iter_mut().zip(&b.q()[2 * g..]) {
                let w = U8x16::load(q);
                *s = s.add(low.madd(w.low_nibbles())).add(high.madd(w.high_nibbles()));
            }
        }
        let d_a = B::S::factor(a.d, a.d_112);
        accumulate(&mut acc, [s[0].dot(ones), s[1].dot(ones)], b.d().scaled(), d_a);
        if let Some(m) = b.m() {
            accumulate_min(&mut acc, m.value(), a.sum);
        }
    }
    acc
}

/// One row: 16-bit dot products on the nibbles of 16-bit lanes.
fn nibble_row_dot<B: Nibbles>(panel: &[B], acts: &[Act16]) -> Lanes8 {
    let mut acc = ZERO();
    for (b, a) in panel.iter().zip(acts) {
        let first = I32x4::splat(if B::OFFSET { -a.sum_8 } else { 0 });
        let mut s = [first; 2];
        for g in 0..4 {
            let a0 = I16x8::splat_pair(a.q[2 * g]);
            let a1 = I16x8::splat_pair(a.q[8 + 2 * g]);
            let a2 = I16x8::splat_pair(a.q[2 * g + 1]);
            let a3 = I16x8::splat_pair(a.q[8 + 2 * g + 1]);
            for (s, q) in s.iter_mut().zip(&b.q()[2 * g..]) {
                let w = U8x16::load(q);
                *s = s.add(w.nibble16::<0>().dot(a0)).add(w.nibble16::<1>().dot(a1));
                *s = s.add(w.nibble16::<2>().dot(a2)).add(w.nibble16::<3>().dot(a3));
            }
        }
        accumulate(&mut acc, s, b.d().scaled(), B::S::factor(a.d, a.d_112));
        if let Some(m) = b.m() {
            accumulate_min(&mut acc, m.value(), a.sum);
        }
    }
    acc
}

/// One row of Q8_0: 16-bit dot products of widened bytes.
fn byte_row<S: Scales>(panel: &[Q80x8<S>], acts: &[Act16]) -> Lanes8 {
    let mut acc = ZERO();
    for (b, a) in panel.iter().zip(acts) {
        let s = byte_sums(&b.q, a);
        accumulate(&mut acc, s, b.d.scaled(), S::factor(a.d, a.d_112));
    }
    acc
}

#[inline(always)]
fn byte_sums(q: &[[i8; 16]; 16], a: &Act16) -> [I32x4; 2] {
    let mut s = [I32x4::splat(0); 2];
    for (q, a) in q.iter().zip(&a.q) {
        let a = I16x8::splat_pair(*a);
        let (halves, _) = q.as_chunks::<8>();
        s[0] = s[0].add(I16x8::load_i8(&halves[0]).dot(a));
        s[1] = s[1].add(I16x8::load_i8(&halves[1]).dot(a));
    }
    s
}

fn nibble_product<B: Nibbles>(
    panel: &[B],
    flavour: Flavour,
    acts: Acts<'_>,
    unpacked: &mut Unpacked,
    acc: &mut [Lanes8],
) {
    let Unpacked { nibbles, bytes, .. } = unpacked;
    match (flavour, acc) {
        (Flavour::Relaxed, [one]) => *one = nibble_row_madd(panel, acts.act8),
        (Flavour::Plain, [one]) => *one = nibble_row_dot(panel, acts.act16),
        (Flavour::Relaxed, acc) if B::OFFSET => {
            tiles::<_, _, _, MaddOffset>(panel, unpack_nibbles, nibbles, acts.act8, acc)
        }
        (Flavour::Relaxed, acc) => tiles::<_, _, _, MaddMin>(panel, unpack_nibbles, nibbles, acts.act8, acc),
        (Flavour::Plain, acc) if B::OFFSET => tiles::<_, _, _, Dot>(panel, nibbles_to_bytes, bytes, acts.act16, acc),
        (Flavour::Plain, acc) => tiles::<_, _, _, DotMin>(panel, nibbles_to_bytes, bytes, acts.act16, acc),
    }
}

fn byte_product<S: Scales>(panel: &[Q80x8<S>], acts: &[Act16], unpacked: &mut Unpacked, acc: &mut [Lanes8]) {
    match acc {
        [one] => *one = byte_row(panel, acts),
        acc => tiles::<_, _, _, Dot>(panel, unpack_bytes, &mut unpacked.bytes, acts, acc),
    }
}

fn float_product<B: Copy>(
    panel: &[B],
    widen: impl Fn(&B) -> Lanes8 + Copy,
    acts: &[f32],
    unpacked: &mut Unpacked,
    acc: &mut [Lanes8],
) {
    match acc {
        [one] => {
            *one = ZERO();
            for (w, a) in panel.iter().zip(acts) {
                let (w, a) = (widen(w), F32x4::splat(*a));
                *one = [one[0].add(w[0].mul(a)), one[1].add(w[1].mul(a))];
            }
        }
        acc => tiles::<_, _, _, Float>(panel, |w, out| store(widen(w), out), &mut unpacked.floats, acts, acc),
    }
}

/// A kernel for T rows of activations (blocks of A) and unpacked blocks U: adds to `acc`.
trait Tile<U, A> {
    fn run<const T: usize>(blocks: &[U], acts: [&[A]; T], acc: &mut [Lanes8; T]);
}

/// Unpacks a panel, a chunk of K at a time, and runs tiles of 4, 2 and 1 rows over each chunk.
fn tiles<B, U, A, K: Tile<U, A>>(
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

fn unpack_nibbles<B: Nibbles>(b: &B, out: &mut Nibbles8) {
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
fn nibbles_to_bytes<B: Nibbles>(b: &B, out: &mut Bytes8) {
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

fn unpack_bytes<S: Scales>(b: &Q80x8<S>, out: &mut Bytes8) {
    store(b.d.value(), &mut out.d);
    out.q = b.q;
}

/// Tiles by 8-bit dot products: Q4_0.
struct MaddOffset;
/// Tiles by 8-bit dot products: Q4_1.
struct MaddMin;
/// Tiles by 16-bit dot products: Q8_0, Q4_0.
struct Dot;
/// Tiles by 16-bit dot products: Q4_1.
struct DotMin;
/// Tiles of f32.
struct Float;

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

/// Eight 16-bit accumulators, two vectors of weights, one splat of activations: what fits 15 registers.
#[inline(always)]
fn madd_tile<const T: usize, const OFFSET: bool>(blocks: &[Nibbles8], acts: [&[Act8]; T], acc: &mut [Lanes8; T]) {
    let ones = I16x8::splat(1);
    let acts = acts.map(|a| &a[..blocks.len()]);
    for (i, b) in blocks.iter().enumerate() {
        let mut s = [[I16x8::splat(0); 2]; T];
        if OFFSET {
            for t in 0..T {
                s[t] = [I16x8::splat_pair(acts[t][i].init); 2];
            }
        }
        for g in 0..8 {
            let w = [U8x16::load(&b.q[2 * g]), U8x16::load(&b.q[2 * g + 1])];
            for t in 0..T {
                let a = I8x16::splat4(acts[t][i].q[g]);
                s[t] = [s[t][0].add(a.madd(w[0])), s[t][1].add(a.madd(w[1]))];
            }
        }
        let (d, m) = (single(&b.d), single(&b.m));
        for t in 0..T {
            accumulate(&mut acc[t], [s[t][0].dot(ones), s[t][1].dot(ones)], d, acts[t][i].d);
            if !OFFSET {
                accumulate_min(&mut acc[t], m, acts[t][i].sum);
            }
        }
    }
}

#[inline(always)]
fn dot_tile<const T: usize, const MIN: bool>(blocks: &[Bytes8], acts: [&[Act16]; T], acc: &mut [Lanes8; T]) {
    let acts = acts.map(|a| &a[..blocks.len()]);
    for (i, b) in blocks.iter().enumerate() {
        let mut s = [[I32x4::splat(0); 2]; T];
        for p in 0..16 {
            let (halves, _) = b.q[p].as_chunks::<8>();
            let w = [I16x8::load_i8(&halves[0]), I16x8::load_i8(&halves[1])];
            for t in 0..T {
                let a = I16x8::splat_pair(acts[t][i].q[p]);
                s[t] = [s[t][0].add(w[0].dot(a)), s[t][1].add(w[1].dot(a))];
            }
        }
        let (d, m) = (single(&b.d), single(&b.m));
        for t in 0..T {
            accumulate(&mut acc[t], s[t], d, acts[t][i].d);
            if MIN {
                accumulate_min(&mut acc[t], m, acts[t][i].sum);
            }
        }
    }
}
