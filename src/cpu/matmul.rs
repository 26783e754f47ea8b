//! Matrix kernels: one panel (8 rows) times one row of activations here, and times tiles of up to four rows with the panel
//! unpacked once in [`super::tiles`]. Both give the same bits for a row: the integer part is exact and the f32 part is
//! `acc += Σq · (d_w · d_a)` (`acc += m · Σa` after it for Q4_1), block after block from the first.
//!
//! Three integer forms with equal results: `madd` (8-bit dot into 16-bit sums: relaxed SIMD), `dot` (16-bit dot on nibbles or
//! bytes). Float formats multiply and add weight by weight. No `unsafe`: slices of blocks, zipped.

use super::activations::{Act8, Act16};
use super::codes;
use super::simd::{F32x4, I8x16, I16x8, I32x4, U8x16};
use super::tiles::{CodeTile, Dot, Float, MaddMin, MaddOffset, Unpacked, each, tiles, unpack_bytes, unpack_nibbles};
use crate::quant::repack::{Half8, Matrix, Panels, Q40x8, Q41x8, Q80x8, Single8};

/// Products of the 8 rows of a panel.
pub(crate) type Lanes8 = [F32x4; 2];

/// Which integer kernels run on nibbles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// 8-bit dot products (`i16x8.relaxed_dot_i8x16_i7x16_s`).
    Relaxed,
    /// 16-bit dot products: plain SIMD128.
    Plain,
    /// The same on activations of 12 bits: where probabilities are what is asked for ([`crate::plan::Plan::is_precise`]).
    Fine,
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
            Panels::Q8_0(_) | Panels::Q8_0Wide(_) | Panels::Codes(_) => Self::Act16,
            Panels::Q4_0(_) | Panels::Q4_0Wide(_) | Panels::Q4_1(_) | Panels::Q4_1Wide(_) => match flavour {
                Flavour::Relaxed => Self::Act8,
                Flavour::Plain | Flavour::Fine => Self::Act16,
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

/// Panel `panel` of a matrix times the rows of activations: `acc[t]` (T entries) gets the products.
pub(crate) fn panel_product(
    matrix: &Matrix,
    flavour: Flavour,
    panel: usize,
    acts: Acts<'_>,
    unpacked: &mut Unpacked,
    acc: &mut [Lanes8],
) {
    let panel_len = matrix.panel_len();
    let range = panel * panel_len..(panel + 1) * panel_len;
    match matrix.panels() {
        Panels::F32(v) => float_product(&v[range], single, acts.float, unpacked, acc),
        Panels::F16(v) => float_product(&v[range], |w| F32x4::from_f16(&w.0), acts.float, unpacked, acc),
        Panels::BF16(v) => float_product(&v[range], |w| F32x4::from_bf16(&w.0), acts.float, unpacked, acc),
        Panels::Q4_0(v) => nibble_product(&v[range], flavour, acts, unpacked, acc),
        Panels::Q4_0Wide(v) => nibble_product(&v[range], flavour, acts, unpacked, acc),
        Panels::Q4_1(v) => nibble_product(&v[range], flavour, acts, unpacked, acc),
        Panels::Q4_1Wide(v) => nibble_product(&v[range], flavour, acts, unpacked, acc),
        Panels::Q8_0(v) => byte_product(&v[range], acts.act16, unpacked, acc),
        Panels::Q8_0Wide(v) => byte_product(&v[range], acts.act16, unpacked, acc),
        Panels::Codes(v) => codes::product(v, matrix.format(), range, acts.act16, unpacked, acc),
    }
}

/// Eight f32 as two vectors.
#[inline(always)]
pub(super) fn single(w: &Single8) -> Lanes8 {
    let (quads, _) = w.0.as_chunks::<4>();
    [F32x4::load(&quads[0]), F32x4::load(&quads[1])]
}

#[inline(always)]
pub(super) fn store(w: Lanes8, out: &mut Single8) {
    let (quads, _) = out.0.as_chunks_mut::<4>();
    w[0].store(&mut quads[0]);
    w[1].store(&mut quads[1]);
}

/// A set of eight scales.
pub(super) trait Scales: Copy {
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
pub(super) trait Nibbles {
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

pub(super) const ZERO: fn() -> Lanes8 = || [F32x4::splat(0.0); 2];

/// `acc += s · (d_w · d_a)` per row.
#[inline(always)]
pub(super) fn accumulate(acc: &mut Lanes8, s: [I32x4; 2], d_w: Lanes8, d_a: f32) {
    let d_a = F32x4::splat(d_a);
    for h in 0..2 {
        acc[h] = acc[h].add(s[h].to_f32().mul(d_w[h].mul(d_a)));
    }
}

/// `acc += m · Σa` per row.
#[inline(always)]
pub(super) fn accumulate_min(acc: &mut Lanes8, m: Lanes8, sum: f32) {
    let sum = F32x4::splat(sum);
    for h in 0..2 {
        acc[h] = acc[h].add(m[h].mul(sum));
    }
}

/// One row: 8-bit dot products, a whole block in 16-bit sums (|sum| ≤ 8 · 2 · 127 · 15 < 2¹⁵).
#[inline(never)]
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
#[inline(never)]
fn nibble_row_dot<B: Nibbles>(panel: &[B], acts: &[Act16]) -> Lanes8 {
    let mut acc = ZERO();
    for (b, a) in panel.iter().zip(acts) {
        let first = I32x4::splat(if B::OFFSET { -8 * (i32::from(a.sums[0]) + i32::from(a.sums[1])) } else { 0 });
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
#[inline(never)]
fn byte_row<S: Scales>(panel: &[Q80x8<S>], acts: &[Act16]) -> Lanes8 {
    let mut acc = ZERO();
    for (b, a) in panel.iter().zip(acts) {
        let mut s = [I32x4::splat(0); 2];
        for (w, a) in b.q.iter().zip(&a.q) {
            let a = I16x8::splat_pair(*a);
            let (halves, _) = w.as_chunks::<8>();
            s = [s[0].add(I16x8::load_i8(&halves[0]).dot(a)), s[1].add(I16x8::load_i8(&halves[1]).dot(a))];
        }
        accumulate(&mut acc, s, b.d.scaled(), S::factor(a.d, a.d_112));
    }
    acc
}

/// One row of a float format: weight after weight.
#[inline(never)]
fn float_row<B: Copy>(panel: &[B], widen: impl Fn(&B) -> Lanes8, acts: &[f32]) -> Lanes8 {
    let mut acc = ZERO();
    for (w, a) in panel.iter().zip(acts) {
        let (w, a) = (widen(w), F32x4::splat(*a));
        acc = [acc[0].add(w[0].mul(a)), acc[1].add(w[1].mul(a))];
    }
    acc
}

fn nibble_product<B: Nibbles>(
    panel: &[B],
    flavour: Flavour,
    acts: Acts<'_>,
    unpacked: &mut Unpacked,
    acc: &mut [Lanes8],
) {
    let (n, codes) = (panel.len(), &mut unpacked.codes);
    let unpack = each(panel, unpack_nibbles);
    match (flavour, acc) {
        (Flavour::Relaxed, [one]) => *one = nibble_row_madd(panel, acts.act8),
        (_, [one]) => *one = nibble_row_dot(panel, acts.act16),
        (Flavour::Relaxed, acc) if B::OFFSET => tiles(&MaddOffset, n, unpack, codes, acts.act8, acc),
        (Flavour::Relaxed, acc) => tiles(&MaddMin, n, unpack, codes, acts.act8, acc),
        (_, acc) => {
            let offset = if B::OFFSET { 8 } else { 0 };
            let kernel = CodeTile { offset, is_halved: false, has_minima: !B::OFFSET };
            tiles(&kernel, n, unpack, codes, acts.act16, acc);
        }
    }
}

fn byte_product<S: Scales>(panel: &[Q80x8<S>], acts: &[Act16], unpacked: &mut Unpacked, acc: &mut [Lanes8]) {
    match acc {
        [one] => *one = byte_row(panel, acts),
        acc => tiles(&Dot, panel.len(), each(panel, unpack_bytes), &mut unpacked.bytes, acts, acc),
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
        [one] => *one = float_row(panel, widen, acts),
        acc => {
            let unpack = each(panel, |w: &B, out: &mut Single8| store(widen(w), out));
            tiles(&Float, panel.len(), unpack, &mut unpacked.floats, acts, acc);
        }
    }
}
