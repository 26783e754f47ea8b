//! The ways to multiply codes with activations and to sum up: one body of a kernel is compiled for each. All sums are exact, so
//! it makes no difference to a result which of them a machine takes. Called by [`super::matmul`], [`super::codes`], [`super::tiles`].

use super::{
    activations::{Act8, Act16, Scale},
    simd::{I8x16, I16x8, I32x4, U8x16},
};

/// A block of activations.
pub(super) trait Act: Copy {
    fn scale(&self) -> &Scale;
    /// d · Σ q of a half.
    fn half_sum(&self, half: usize) -> f32;
}

/// Sums of four rows, and factors for them: a vector of the same kind.
pub(super) trait Sums: Copy {
    fn zero() -> Self;
    fn total(self) -> I32x4;
    /// Eight rows' factors of 8 bits.
    fn factors(x: I16x8) -> [Self; 2];
    /// `total · by`
    fn times(self, by: Self) -> I32x4;
    fn load(x: &[i16; 8]) -> Self;
    fn store(self, to: &mut [i16; 8]);
}

/// A way to multiply codes (bytes of 0 to 127: four weights of four rows) with activations.
pub(super) trait Dots: Copy {
    type Act: Act;
    type Sum: Sums;
    /// Four activations, for all rows.
    type Four: Copy;

    /// Activations 4g..4g+4.
    fn four(a: &Self::Act, g: usize) -> Self::Four;
    /// −offset · Σ q of a half: what sums begin with where codes have an offset.
    fn start(a: &Self::Act, half: usize, offset: i16) -> Self::Sum;
    /// The same for a whole block.
    fn start_both(a: &Self::Act, offset: i16) -> Self::Sum;
    fn add(s: Self::Sum, codes: U8x16, a: Self::Four) -> Self::Sum;
    /// Adds the products of low nibbles with `low`, of high ones with `high`.
    #[inline(always)]
    fn add_nibbles(s: Self::Sum, w: U8x16, low: Self::Four, high: Self::Four) -> Self::Sum {
        Self::add(Self::add(s, w.low_nibbles(), low), w.high_nibbles(), high)
    }
}

/// 8-bit dot products of two into sums of 16 bits. Those wrap around, and that is no harm: the sum of a whole block (of a half of it:
/// `Layout::in_halves`), with the offset taken, fits.
#[derive(Clone, Copy)]
pub(super) struct Madd;

/// 8-bit dot products of four, added to sums of 32 bits.
#[derive(Clone, Copy)]
pub(super) struct DotAdd;

/// The same of codes that are any bytes, by an engine that takes them so: as signed, or as unsigned ones ([`super::flavour`]).
#[derive(Clone, Copy)]
pub(super) struct Bytes<const SIGNED: bool>;

/// 16-bit dot products into sums of 32 bits: activations may have 12 bits.
#[derive(Clone, Copy)]
pub(super) struct Wide;

impl Act for Act8 {
    #[inline(always)]
    fn scale(&self) -> &Scale {
        &self.scale
    }
    #[inline(always)]
    fn half_sum(&self, half: usize) -> f32 {
        let [a, b] = self.sums[half];
        self.scale.d * f32::from(a + b)
    }
}

impl Act for Act16 {
    #[inline(always)]
    fn scale(&self) -> &Scale {
        &self.scale
    }
    #[inline(always)]
    fn half_sum(&self, half: usize) -> f32 {
        self.scale.d * f32::from(self.sums[half])
    }
}

impl Sums for I16x8 {
    #[inline(always)]
    fn zero() -> Self {
        Self::splat(0)
    }
    #[inline(always)]
    fn total(self) -> I32x4 {
        self.dot(Self::splat(1))
    }
    #[inline(always)]
    fn factors(x: I16x8) -> [Self; 2] {
        x.twice()
    }
    #[inline(always)]
    fn times(self, by: Self) -> I32x4 {
        self.dot(by)
    }
    #[inline(always)]
    fn load(x: &[i16; 8]) -> Self {
        Self::load(x)
    }
    #[inline(always)]
    fn store(self, to: &mut [i16; 8]) {
        self.store(to);
    }
}

impl Sums for I32x4 {
    #[inline(always)]
    fn zero() -> Self {
        Self::splat(0)
    }
    #[inline(always)]
    fn total(self) -> I32x4 {
        self
    }
    #[inline(always)]
    fn factors(x: I16x8) -> [Self; 2] {
        x.widen()
    }
    #[inline(always)]
    fn times(self, by: Self) -> I32x4 {
        self.mul(by)
    }
    #[inline(always)]
    fn load(x: &[i16; 8]) -> Self {
        I16x8::load(x).as_i32()
    }
    #[inline(always)]
    fn store(self, to: &mut [i16; 8]) {
        self.as_i16().store(to);
    }
}

impl Dots for Madd {
    type Act = Act8;
    type Sum = I16x8;
    type Four = I8x16;

    #[inline(always)]
    fn four(a: &Act8, g: usize) -> I8x16 {
        I8x16::splat4(a.q[g])
    }
    #[inline(always)]
    fn start(a: &Act8, half: usize, offset: i16) -> I16x8 {
        I16x8::splat_pair(a.sums[half]).mul(I16x8::splat(-offset))
    }
    #[inline(always)]
    fn start_both(a: &Act8, offset: i16) -> I16x8 {
        let [first, second] = a.sums.map(I16x8::splat_pair);
        first.add(second).mul(I16x8::splat(-offset))
    }
    #[inline(always)]
    fn add(s: I16x8, codes: U8x16, a: I8x16) -> I16x8 {
        s.add(a.madd(codes))
    }
}

impl Dots for DotAdd {
    type Act = Act8;
    type Sum = I32x4;
    type Four = I8x16;

    #[inline(always)]
    fn four(a: &Act8, g: usize) -> I8x16 {
        I8x16::splat4(a.q[g])
    }
    #[inline(always)]
    fn start(a: &Act8, half: usize, offset: i16) -> I32x4 {
        I16x8::splat_pair(a.sums[half]).dot(I16x8::splat(-offset))
    }
    #[inline(always)]
    fn start_both(a: &Act8, offset: i16) -> I32x4 {
        let [first, second] = a.sums.map(I16x8::splat_pair);
        first.add(second).dot(I16x8::splat(-offset))
    }
    #[inline(always)]
    fn add(s: I32x4, codes: U8x16, a: I8x16) -> I32x4 {
        a.dot_add(codes, s)
    }
}

impl<const SIGNED: bool> Dots for Bytes<SIGNED> {
    type Act = Act8;
    type Sum = I32x4;
    type Four = I8x16;

    #[inline(always)]
    fn four(a: &Act8, g: usize) -> I8x16 {
        DotAdd::four(a, g)
    }
    #[inline(always)]
    fn start(a: &Act8, half: usize, offset: i16) -> I32x4 {
        DotAdd::start(a, half, offset - Self::TAKEN)
    }
    #[inline(always)]
    fn start_both(a: &Act8, offset: i16) -> I32x4 {
        DotAdd::start_both(a, offset - Self::TAKEN)
    }
    #[inline(always)]
    fn add(s: I32x4, codes: U8x16, a: I8x16) -> I32x4 {
        let codes = if SIGNED { codes.xor(U8x16::splat(0x80)) } else { codes };
        a.dot_add_bytes::<SIGNED>(codes, s)
    }
}

impl<const SIGNED: bool> Bytes<SIGNED> {
    /// What becomes signed is less by so much.
    const TAKEN: i16 = if SIGNED { 128 } else { 0 };
}

impl Dots for Wide {
    type Act = Act16;
    type Sum = I32x4;
    /// Activations 0 and 2, 1 and 3 of the four.
    type Four = [I16x8; 2];

    #[inline(always)]
    fn four(a: &Act16, g: usize) -> [I16x8; 2] {
        [I16x8::splat_pair(a.q[2 * g]), I16x8::splat_pair(a.q[2 * g + 1])]
    }
    #[inline(always)]
    fn start(a: &Act16, half: usize, offset: i16) -> I32x4 {
        I32x4::splat(-i32::from(offset) * i32::from(a.sums[half]))
    }
    #[inline(always)]
    fn start_both(a: &Act16, offset: i16) -> I32x4 {
        I16x8::splat_pair(a.sums).dot(I16x8::splat(-offset))
    }
    #[inline(always)]
    fn add(s: I32x4, codes: U8x16, [even, odd]: [I16x8; 2]) -> I32x4 {
        s.add(codes.even().dot(even)).add(codes.odd().dot(odd))
    }
    /// The nibbles of 16-bit lanes as they are.
    #[inline(always)]
    fn add_nibbles(s: I32x4, w: U8x16, low: [I16x8; 2], high: [I16x8; 2]) -> I32x4 {
        let s = s.add(w.nibble16::<0>().dot(low[0])).add(w.nibble16::<1>().dot(high[0]));
        s.add(w.nibble16::<2>().dot(low[1])).add(w.nibble16::<3>().dot(high[1]))
    }
}
