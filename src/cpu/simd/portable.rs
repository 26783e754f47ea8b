//! The vector types as plain arrays: the same bits as the wasm instructions, for every other target.

#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct F32x4([f32; 4]);
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct I32x4([i32; 4]);
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct I16x8([i16; 8]);
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct I8x16([i8; 16]);
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct U8x16([u8; 16]);

#[inline(always)]
fn each<T: Copy, U: Copy, R, const N: usize>(a: [T; N], b: [U; N], f: impl Fn(T, U) -> R) -> [R; N] {
    core::array::from_fn(|i| f(a[i], b[i]))
}

impl F32x4 {
    #[inline(always)]
    pub(crate) fn splat(x: f32) -> Self {
        Self([x; 4])
    }
    #[inline(always)]
    pub(crate) fn load(x: &[f32; 4]) -> Self {
        Self(*x)
    }
    #[inline(always)]
    pub(crate) fn store(self, x: &mut [f32; 4]) {
        *x = self.0;
    }
    #[inline(always)]
    pub(crate) fn to_array(self) -> [f32; 4] {
        self.0
    }
    #[inline(always)]
    pub(crate) fn add(self, o: Self) -> Self {
        Self(each(self.0, o.0, |a, b| a + b))
    }
    #[inline(always)]
    pub(crate) fn sub(self, o: Self) -> Self {
        Self(each(self.0, o.0, |a, b| a - b))
    }
    #[inline(always)]
    pub(crate) fn mul(self, o: Self) -> Self {
        Self(each(self.0, o.0, |a, b| a * b))
    }
    #[inline(always)]
    pub(crate) fn div(self, o: Self) -> Self {
        Self(each(self.0, o.0, |a, b| a / b))
    }
    #[inline(always)]
    pub(crate) fn abs(self) -> Self {
        Self(self.0.map(f32::abs))
    }
    #[inline(always)]
    pub(crate) fn max(self, o: Self) -> Self {
        Self(each(self.0, o.0, |a, b| if a < b { b } else { a }))
    }
    #[inline(always)]
    pub(crate) fn min(self, o: Self) -> Self {
        Self(each(self.0, o.0, |a, b| if b < a { b } else { a }))
    }
    #[inline(always)]
    pub(crate) fn nearest(self) -> Self {
        // Adding and taking away 1.5 · 2²³ rounds to nearest even below 2²²; above, every f32 of use here is whole.
        const MAGIC: f32 = 12_582_912.0;
        Self(
            self.0.map(|x| if x.abs() < 4_194_304.0 { ((x + MAGIC) - MAGIC).copysign(x) } else { x.round_ties_even() }),
        )
    }
    #[inline(always)]
    pub(crate) fn to_i32(self) -> I32x4 {
        I32x4(self.0.map(|x| x as i32))
    }
    #[inline(always)]
    pub(crate) fn from_bits(x: I32x4) -> Self {
        Self(x.0.map(|b| f32::from_bits(b as u32)))
    }
    #[inline(always)]
    pub(crate) fn zero_where_less(self, x: Self, o: Self) -> Self {
        Self(core::array::from_fn(|i| if x.0[i] < o.0[i] { 0.0 } else { self.0[i] }))
    }
    #[inline(always)]
    pub(crate) fn from_f16_scaled(h: &[u16; 8]) -> [Self; 2] {
        let place = |x: u16| f32::from_bits(((((x as u32) << 16) as i32 >> 3) as u32) & 0x8fff_ffff);
        [Self(core::array::from_fn(|i| place(h[i]))), Self(core::array::from_fn(|i| place(h[4 + i])))]
    }
    #[inline(always)]
    pub(crate) fn from_f16_pairs_scaled(h: &[u16; 8]) -> [Self; 2] {
        let place = |x: u16| f32::from_bits(((((x as u32) << 16) as i32 >> 3) as u32) & 0x8fff_ffff);
        [Self(core::array::from_fn(|i| place(h[2 * i]))), Self(core::array::from_fn(|i| place(h[2 * i + 1])))]
    }
    #[inline(always)]
    pub(crate) fn from_any_f16(h: &[u16; 8]) -> [Self; 2] {
        let value = |x: u16| crate::quant::f16_to_f32(x);
        [Self(core::array::from_fn(|i| value(h[i]))), Self(core::array::from_fn(|i| value(h[4 + i])))]
    }
    #[inline(always)]
    pub(crate) fn from_bf16_pairs(h: &[u16; 8]) -> [Self; 2] {
        let place = |x: u16| f32::from_bits((x as u32) << 16);
        [Self(core::array::from_fn(|i| place(h[2 * i]))), Self(core::array::from_fn(|i| place(h[2 * i + 1])))]
    }
    #[inline(always)]
    pub(crate) fn from_bf16(h: &[u16; 8]) -> [Self; 2] {
        let place = |x: u16| f32::from_bits((x as u32) << 16);
        [Self(core::array::from_fn(|i| place(h[i]))), Self(core::array::from_fn(|i| place(h[4 + i])))]
    }
}

impl I32x4 {
    #[inline(always)]
    pub(crate) fn splat(x: i32) -> Self {
        Self([x; 4])
    }
    #[inline(always)]
    pub(crate) fn to_array(self) -> [i32; 4] {
        self.0
    }
    #[inline(always)]
    pub(crate) fn add(self, o: Self) -> Self {
        Self(each(self.0, o.0, i32::wrapping_add))
    }
    #[inline(always)]
    pub(crate) fn mul(self, o: Self) -> Self {
        Self(each(self.0, o.0, i32::wrapping_mul))
    }
    #[inline(always)]
    pub(crate) fn as_i16(self) -> I16x8 {
        I16x8(core::array::from_fn(|i| (self.0[i / 2] >> (16 * (i % 2))) as i16))
    }
    #[inline(always)]
    pub(crate) fn shl<const N: u32>(self) -> Self {
        Self(self.0.map(|x| x << N))
    }
    #[inline(always)]
    pub(crate) fn to_f32(self) -> F32x4 {
        F32x4(self.0.map(|x| x as f32))
    }
}

impl I16x8 {
    #[inline(always)]
    pub(crate) fn splat(x: i16) -> Self {
        Self([x; 8])
    }
    #[inline(always)]
    pub(crate) fn splat_pair(x: [i16; 2]) -> Self {
        Self([x[0], x[1], x[0], x[1], x[0], x[1], x[0], x[1]])
    }
    #[inline(always)]
    pub(crate) fn load_i8(x: &[i8; 8]) -> Self {
        Self(x.map(i16::from))
    }
    #[inline(always)]
    pub(crate) fn narrow(x: [I32x4; 2]) -> Self {
        Self(core::array::from_fn(|i| x[i / 4].0[i % 4].clamp(i16::MIN.into(), i16::MAX.into()) as i16))
    }
    #[inline(always)]
    pub(crate) fn add(self, o: Self) -> Self {
        Self(each(self.0, o.0, i16::wrapping_add))
    }
    #[inline(always)]
    pub(crate) fn mul(self, o: Self) -> Self {
        Self(each(self.0, o.0, i16::wrapping_mul))
    }
    #[inline(always)]
    pub(crate) fn sum_pairs(self) -> [i16; 2] {
        [0, 1].map(|i| (0..4).fold(0, |sum: i16, j| sum.wrapping_add(self.0[2 * j + i])))
    }
    #[inline(always)]
    pub(crate) fn as_i32(self) -> I32x4 {
        I32x4(core::array::from_fn(|i| i32::from(self.0[2 * i] as u16) | i32::from(self.0[2 * i + 1]) << 16))
    }
    #[inline(always)]
    pub(crate) fn twice(self) -> [Self; 2] {
        [0, 4].map(|first| Self(core::array::from_fn(|i| self.0[first + i / 2])))
    }
    #[inline(always)]
    pub(crate) fn load(x: &[i16; 8]) -> Self {
        Self(*x)
    }
    #[inline(always)]
    pub(crate) fn store(self, x: &mut [i16; 8]) {
        *x = self.0;
    }
    #[inline(always)]
    pub(crate) fn widen(self) -> [I32x4; 2] {
        let half = |h: usize| I32x4(core::array::from_fn(|i| i32::from(self.0[4 * h + i])));
        [half(0), half(1)]
    }
    #[inline(always)]
    pub(crate) fn nibble<const N: u32>(self) -> Self {
        Self(self.0.map(|x| (x >> N) & 15))
    }
    #[inline(always)]
    pub(crate) fn pairs_of_fours(self) -> Self {
        let [a, b, c, d, e, f, g, h] = self.0;
        Self([a, c, b, d, e, g, f, h])
    }
    #[inline(always)]
    pub(crate) fn dot(self, o: Self) -> I32x4 {
        let p = each(self.0, o.0, |a, b| i32::from(a) * i32::from(b));
        I32x4([p[0].wrapping_add(p[1]), p[2].wrapping_add(p[3]), p[4].wrapping_add(p[5]), p[6].wrapping_add(p[7])])
    }
}

impl I8x16 {
    #[inline(always)]
    pub(crate) fn narrow(x: [I32x4; 4]) -> Self {
        Self(core::array::from_fn(|i| x[i / 4].0[i % 4].clamp(-128, 127) as i8))
    }
    #[inline(always)]
    pub(crate) fn store(self, x: &mut [i8; 16]) {
        *x = self.0;
    }
    #[inline(always)]
    pub(crate) fn pair_sums(self) -> I16x8 {
        I16x8(core::array::from_fn(|i| i16::from(self.0[2 * i]) + i16::from(self.0[2 * i + 1])))
    }
    #[inline(always)]
    pub(crate) fn splat4(x: [i8; 4]) -> Self {
        Self(core::array::from_fn(|i| x[i % 4]))
    }
    #[inline(always)]
    pub(crate) fn madd(self, o: U8x16) -> I16x8 {
        let p = |i: usize| i16::from(self.0[i]) * i16::from(o.0[i]);
        I16x8(core::array::from_fn(|i| p(2 * i).saturating_add(p(2 * i + 1))))
    }
    #[inline(always)]
    pub(crate) fn dot_add(self, o: U8x16, c: I32x4) -> I32x4 {
        let p = |i: usize| i32::from(self.0[i]) * i32::from(o.0[i]);
        I32x4(core::array::from_fn(|r| c.0[r].wrapping_add((4 * r..4 * r + 4).map(p).sum())))
    }
}

impl I8x16 {
    #[inline(always)]
    pub(crate) fn dot_add_bytes<const SIGNED: bool>(self, o: U8x16, c: I32x4) -> I32x4 {
        let factor = |i: usize| if SIGNED { i32::from(o.0[i] as i8) } else { i32::from(o.0[i]) };
        let p = |i: usize| i32::from(self.0[i]) * factor(i);
        I32x4(core::array::from_fn(|r| c.0[r].wrapping_add((4 * r..4 * r + 4).map(p).sum())))
    }
}

impl U8x16 {
    #[inline(always)]
    pub(crate) fn xor(self, o: Self) -> Self {
        Self(each(self.0, o.0, |a, b| a ^ b))
    }
    #[inline(always)]
    pub(crate) fn load(x: &[u8; 16]) -> Self {
        Self(*x)
    }
    #[inline(always)]
    pub(crate) fn store(self, x: &mut [u8; 16]) {
        *x = self.0;
    }
    #[inline(always)]
    pub(crate) fn low_nibbles(self) -> Self {
        Self(self.0.map(|x| x & 15))
    }
    #[inline(always)]
    pub(crate) fn high_nibbles(self) -> Self {
        Self(self.0.map(|x| x >> 4))
    }
    #[inline(always)]
    pub(crate) fn splat(x: u8) -> Self {
        Self([x; 16])
    }
    #[inline(always)]
    pub(crate) fn and(self, o: Self) -> Self {
        Self(each(self.0, o.0, |a, b| a & b))
    }
    #[inline(always)]
    pub(crate) fn or(self, o: Self) -> Self {
        Self(each(self.0, o.0, |a, b| a | b))
    }
    #[inline(always)]
    pub(crate) fn shift(self, from: u32, to: u32) -> Self {
        Self(self.0.map(|x| if from < to { x << (to - from) } else { x >> (from - to) }))
    }
    #[inline(always)]
    pub(crate) fn even(self) -> I16x8 {
        I16x8(core::array::from_fn(|i| i16::from(self.0[2 * i])))
    }
    #[inline(always)]
    pub(crate) fn odd(self) -> I16x8 {
        I16x8(core::array::from_fn(|i| i16::from(self.0[2 * i + 1])))
    }
    #[inline(always)]
    pub(crate) fn lookup(self, table: &[u8; 16]) -> Self {
        Self(self.0.map(|x| table.get(usize::from(x)).copied().unwrap_or(0)))
    }
    #[inline(always)]
    pub(crate) fn nibble16<const N: u32>(self) -> I16x8 {
        let lane = |i: usize| u16::from_le_bytes([self.0[2 * i], self.0[2 * i + 1]]);
        I16x8(core::array::from_fn(|i| ((lane(i) >> (4 * N)) & 15) as i16))
    }
}
