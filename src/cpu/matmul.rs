//! Matrix kernels: one panel (8 rows) times rows of activations, few of them by what is here or in [`super::codes`], many with the
//! panel unpacked once ([`super::tiles`]). The same bits for a row either way: the integer part is exact and the f32 part is
//! `acc += Σq · (d_w · d_a)` (`acc += m · Σa` after it for Q4_1), block after block from the first.
//!
//! The integer part has three forms with equal results ([`super::dots`]); Q8_0's bytes have 16-bit dot products in all of them, and
//! 8-bit ones where the engine's take any bytes.
//! Float formats multiply and add weight by weight, even and odd ones by themselves: two chains of additions for each row. They are
//! joined once in [`CHUNK_FLOATS`] weights. No `unsafe`: slices of blocks, zipped.

use super::activations::{Act8, Act16, Scale};
use super::codes;
use super::dots::{Bytes, DotAdd, Dots, Madd, Wide};
use super::flavour::{Flavour, HAS_8_BIT};
use super::simd::{F32x4, I32x4, TWO_112};
use super::tiles::{
    CHUNK_FLOATS, CodeTile, Float, FourTile, NibbleTile, PairTile, Unpacked, each, tiles, tiles_of_panel,
    unpack_nibbles,
};
use crate::quant::repack::{Arrangement, Half8, Matrix, Paired8, Panels, Q40x8, Q41x8, Q80x8, Single8};

/// Up to so many rows of activations take a panel as it is: unpacking it would take longer than it saves.
pub(super) const FEW_ROWS: usize = 8;

/// Products of the 8 rows of a panel.
pub(crate) type Lanes8 = [F32x4; 2];

/// Which record of the activations a weight is multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActKind {
    Float,
    /// Float, and of one row [`raise`]d as well.
    Half,
    Act8,
    Act16,
}

impl ActKind {
    pub(crate) fn of(matrix: &Matrix, flavour: Flavour) -> Self {
        let is_7_bit = match matrix.panels() {
            Panels::F32(_) | Panels::BF16(_) => return Self::Float,
            Panels::F16(_) => return Self::Half,
            Panels::Q8_0(_) | Panels::Q8_0Wide(_) => {
                let by_bytes = HAS_8_BIT && flavour != Flavour::Fine && matrix.arrangement() != Arrangement::Pairs;
                return if by_bytes { Self::Act8 } else { Self::Act16 };
            }
            Panels::Q4_0(_) | Panels::Q4_0Wide(_) | Panels::Q4_1(_) | Panels::Q4_1Wide(_) => true,
            Panels::Codes(v) => v.layout.is_7_bit(),
        };
        match flavour {
            Flavour::Plain | Flavour::Fine => Self::Act16,
            _ if is_7_bit && HAS_8_BIT => Self::Act8,
            _ => Self::Act16,
        }
    }
}

/// Rows of activations [T, K], in the kinds that somebody asked for (the others are empty).
#[derive(Clone, Copy)]
pub(crate) struct Acts<'a> {
    pub(crate) float: &'a [f32],
    /// [`raise`]d; may be empty where `float` is not.
    pub(crate) raised: &'a [f32],
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
        Panels::F16(v) => match acc {
            [one] if !acts.raised.is_empty() => *one = float_row(&v[range], lowered, acts.raised),
            acc => float_product(&v[range], half, acts.float, unpacked, acc),
        },
        Panels::BF16(v) => float_product(&v[range], brain, acts.float, unpacked, acc),
        Panels::Q4_0(v) => nibble_product(&v[range], flavour, acts, unpacked, acc),
        Panels::Q4_0Wide(v) => nibble_product(&v[range], flavour, acts, unpacked, acc),
        Panels::Q4_1(v) => nibble_product(&v[range], flavour, acts, unpacked, acc),
        Panels::Q4_1Wide(v) => nibble_product(&v[range], flavour, acts, unpacked, acc),
        Panels::Q8_0(v) => byte_product(&v[range], matrix.arrangement(), flavour, acts, acc),
        Panels::Q8_0Wide(v) => byte_product(&v[range], matrix.arrangement(), flavour, acts, acc),
        Panels::Codes(v) => codes::product(v, matrix.format(), flavour, range, acts, unpacked, acc),
    }
}

/// What raised activations are multiplied with: [`lowered`] weights times that are the weights.
const RAISE: f32 = TWO_112 / 1024.0;

/// x · 2¹⁰² to `out`; whether that is finite.
pub(crate) fn raise(x: &[f32], out: &mut [f32]) -> bool {
    let mut zero = 0.0;
    for (x, out) in x.iter().zip(out) {
        *out = x * RAISE;
        zero += *out * 0.0;
    }
    zero == 0.0
}

/// F16 weights · 2⁻¹⁰²: no multiplication, and none of them is subnormal.
#[inline(always)]
fn lowered(w: &Paired8) -> Lanes8 {
    F32x4::from_f16_pairs_scaled(&w.0)
}

/// F16 weights.
#[inline(always)]
fn half(w: &Paired8) -> Lanes8 {
    lowered(w).map(|w| w.mul(F32x4::splat(RAISE)))
}

/// BF16 weights.
#[inline(always)]
fn brain(w: &Paired8) -> Lanes8 {
    F32x4::from_bf16_pairs(&w.0)
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
    /// Times [`Self::factor`] it is the product of the scales, in the same bits for either kind.
    fn scaled(&self) -> Lanes8;
    fn factor(a: &Scale) -> f32;
    /// The value.
    fn value(&self) -> Lanes8;
}

impl Scales for Half8 {
    #[inline(always)]
    fn scaled(&self) -> Lanes8 {
        F32x4::from_f16_scaled(&self.0)
    }
    #[inline(always)]
    fn factor(a: &Scale) -> f32 {
        a.d_112
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
    fn factor(a: &Scale) -> f32 {
        a.d
    }
    #[inline(always)]
    fn value(&self) -> Lanes8 {
        single(self)
    }
}

/// A block of nibbles.
pub(super) trait Nibbles {
    type S: Scales;
    /// What is taken from each nibble.
    const OFFSET: i16;
    const HAS_MINIMA: bool;
    fn d(&self) -> &Self::S;
    /// Minima.
    fn m(&self) -> Option<&Self::S>;
    fn q(&self) -> &[[u8; 16]; 8];
}

impl<S: Scales> Nibbles for Q40x8<S> {
    type S = S;
    const OFFSET: i16 = 8;
    const HAS_MINIMA: bool = false;
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
    const OFFSET: i16 = 0;
    const HAS_MINIMA: bool = true;
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

/// One row of a float format.
#[inline(never)]
fn float_row<B: Copy>(panel: &[B], widen: impl Fn(&B) -> Lanes8, acts: &[f32]) -> Lanes8 {
    let add = |sum: &mut Lanes8, w: &B, a: f32| {
        let (w, a) = (widen(w), F32x4::splat(a));
        *sum = [sum[0].add(w[0].mul(a)), sum[1].add(w[1].mul(a))];
    };
    let mut acc = ZERO();
    for (w, a) in panel.chunks(CHUNK_FLOATS).zip(acts.chunks(CHUNK_FLOATS)) {
        let [mut even, mut odd] = [ZERO(); 2];
        let ((w, last_w), (a, last_a)) = (w.as_chunks::<2>(), a.as_chunks::<2>());
        for (w, a) in w.iter().zip(a) {
            add(&mut even, &w[0], a[0]);
            add(&mut odd, &w[1], a[1]);
        }
        last_w.iter().zip(last_a).for_each(|(w, a)| add(&mut even, w, *a));
        join(&mut acc, even, odd);
    }
    acc
}

/// `acc += even + odd`
#[inline(always)]
pub(super) fn join(acc: &mut Lanes8, even: Lanes8, odd: Lanes8) {
    for h in 0..2 {
        acc[h] = acc[h].add(even[h].add(odd[h]));
    }
}

fn nibble_product<B: Nibbles>(
    panel: &[B],
    flavour: Flavour,
    acts: Acts<'_>,
    unpacked: &mut Unpacked,
    acc: &mut [Lanes8],
) {
    match flavour {
        Flavour::Madd if HAS_8_BIT => nibbles_by::<Madd, B>(panel, acts.act8, unpacked, acc),
        Flavour::DotAdd if HAS_8_BIT => nibbles_by::<DotAdd, B>(panel, acts.act8, unpacked, acc),
        _ => nibbles_by::<Wide, B>(panel, acts.act16, unpacked, acc),
    }
}

pub(super) fn byte_product<S: Scales>(
    panel: &[Q80x8<S>],
    arrangement: Arrangement,
    flavour: Flavour,
    acts: Acts<'_>,
    acc: &mut [Lanes8],
) {
    match arrangement {
        Arrangement::SignedFours | Arrangement::UnsignedFours if HAS_8_BIT && flavour == Flavour::Fine => {
            tiles_of_panel(&FourTile::<Wide>::new(), panel, acts.act16, acc);
        }
        Arrangement::SignedFours if HAS_8_BIT => {
            tiles_of_panel(&FourTile::<Bytes<true>>::new(), panel, acts.act8, acc);
        }
        Arrangement::UnsignedFours if HAS_8_BIT => {
            tiles_of_panel(&FourTile::<Bytes<false>>::new(), panel, acts.act8, acc);
        }
        _ => tiles_of_panel(&PairTile, panel, acts.act16, acc),
    }
}

pub(super) fn nibbles_by<D: Dots, B: Nibbles>(
    panel: &[B],
    acts: &[D::Act],
    unpacked: &mut Unpacked,
    acc: &mut [Lanes8],
) {
    if acc.len() <= FEW_ROWS {
        return tiles_of_panel(&NibbleTile::<D>::new(), panel, acts, acc);
    }
    let (n, codes, unpack) = (panel.len(), &mut unpacked.codes, each(panel, unpack_nibbles::<D, B>));
    match B::HAS_MINIMA {
        true => tiles(&CodeTile::<D, false, true>::new(B::OFFSET, 1), n, unpack, codes, acts, acc),
        false => tiles(&CodeTile::<D, false, false>::new(B::OFFSET, 0), n, unpack, codes, acts, acc),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::{Format, f32_to_f16};

    /// Raised activations give the bits that others give, and are not used where they would be infinite.
    #[test]
    fn raised_activations_change_no_bit() {
        const K: usize = 1031;
        let mut matrix = Matrix::new("w", Format::F16, 8, K).expect("room");
        let weight = |i: usize| f32_to_f16(((i * 7 % 311) as f32 - 155.0) * 0.013 * 0.5_f32.powi((i % 23) as i32));
        matrix.write(&(0..8 * K).flat_map(|i| weight(i).to_le_bytes()).collect::<Vec<_>>()).expect("numbers");
        let float: Vec<f32> = (0..K).map(|k| (k as f32 * 0.37).sin() * 2_f32.powi(k as i32 % 40 - 30)).collect();
        let mut raised = vec![0.0; K];
        assert!(raise(&float, &mut raised));
        let product = |raised: &[f32]| {
            let acts = Acts { float: &float, raised, act8: &[], act16: &[] };
            let (mut unpacked, mut acc) = (Unpacked::new().expect("room"), [ZERO()]);
            panel_product(&matrix, Flavour::BUILD, 0, acts, &mut unpacked, &mut acc);
            acc[0].map(|x| x.to_array().map(f32::to_bits))
        };
        assert_eq!(product(&raised), product(&[]));
        for too_large in [2_f32.powi(26), f32::NAN, f32::NEG_INFINITY] {
            assert!(!raise(&[1.0, too_large, 0.0], &mut [0.0; 3]), "{too_large}");
        }
        assert!(raise(&[2_f32.powi(26).next_down()], &mut [0.0]));
    }
}
