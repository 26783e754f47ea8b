//! Thin 128-bit value types: wasm32 SIMD128 (and relaxed SIMD) intrinsics, and a portable twin with the same bits for every
//! other target. Kernels are written on these types and contain no intrinsics and no `unsafe` of their own.
//!
//! Rules that keep the bits equal everywhere: no fused multiply-add, `max` and `min` only on numbers that are not NaN,
//! the relaxed dot product only with a second operand in 0..=127 (then the instruction is fully specified), or with any bytes where the
//! engine was seen to take them one way or the other ([`super::flavour`]).

#![cfg_attr(
    all(target_arch = "wasm32", target_feature = "simd128"),
    expect(unsafe_code, reason = "vector loads and stores take raw pointers")
)]

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod portable;

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub(crate) use portable::{F32x4, I8x16, I16x8, I32x4, U8x16};
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) use wasm::{F32x4, I8x16, I16x8, I32x4, U8x16};

/// 2¹¹²: what [`F32x4::f16_bits_lo`] leaves out.
pub(crate) const TWO_112: f32 = f32::from_bits((127 + 112) << 23);

impl I32x4 {
    /// The four lanes.
    #[inline(always)]
    pub(crate) fn sum(self) -> i32 {
        self.to_array().into_iter().sum()
    }
}

/// What both twins share, written on their primitives.
impl F32x4 {
    /// The four lanes in a fixed order: (0 + 1) + (2 + 3).
    #[inline(always)]
    pub(crate) fn sum(self) -> f32 {
        let [a, b, c, d] = self.to_array();
        (a + b) + (c + d)
    }

    #[inline(always)]
    pub(crate) fn reduce_max(self) -> f32 {
        // Not `f32::max`: it is a call of a library function here.
        let max = |a: f32, b: f32| if a < b { b } else { a };
        let [a, b, c, d] = self.to_array();
        max(max(a, b), max(c, d))
    }

    /// The values of eight f16, exactly (a finite f16 is a finite f32; infinity reads as 65,536).
    #[inline(always)]
    pub(crate) fn from_f16(h: &[u16; 8]) -> [Self; 2] {
        let k = Self::splat(TWO_112);
        let [lo, hi] = Self::from_f16_scaled(h);
        [lo.mul(k), hi.mul(k)]
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm {
    use core::arch::wasm32::*;

    #[derive(Clone, Copy)]
    #[repr(transparent)]
    pub(crate) struct F32x4(v128);
    #[derive(Clone, Copy)]
    #[repr(transparent)]
    pub(crate) struct I32x4(v128);
    #[derive(Clone, Copy)]
    #[repr(transparent)]
    pub(crate) struct I16x8(v128);
    #[derive(Clone, Copy)]
    #[repr(transparent)]
    pub(crate) struct I8x16(v128);
    #[derive(Clone, Copy)]
    #[repr(transparent)]
    pub(crate) struct U8x16(v128);

    impl F32x4 {
        #[inline(always)]
        pub(crate) fn splat(x: f32) -> Self {
            Self(f32x4_splat(x))
        }
        #[inline(always)]
        pub(crate) fn load(x: &[f32; 4]) -> Self {
            // SAFETY: 16 readable bytes; wasm loads need no alignment.
            Self(unsafe { v128_load(x.as_ptr().cast()) })
        }
        #[inline(always)]
        pub(crate) fn store(self, x: &mut [f32; 4]) {
            // SAFETY: 16 writable bytes; wasm stores need no alignment.
            unsafe { v128_store(x.as_mut_ptr().cast(), self.0) }
        }
        #[inline(always)]
        pub(crate) fn to_array(self) -> [f32; 4] {
            [
                f32x4_extract_lane::<0>(self.0),
                f32x4_extract_lane::<1>(self.0),
                f32x4_extract_lane::<2>(self.0),
                f32x4_extract_lane::<3>(self.0),
            ]
        }
        #[inline(always)]
        pub(crate) fn add(self, o: Self) -> Self {
            Self(f32x4_add(self.0, o.0))
        }
        #[inline(always)]
        pub(crate) fn sub(self, o: Self) -> Self {
            Self(f32x4_sub(self.0, o.0))
        }
        #[inline(always)]
        pub(crate) fn mul(self, o: Self) -> Self {
            Self(f32x4_mul(self.0, o.0))
        }
        #[inline(always)]
        pub(crate) fn div(self, o: Self) -> Self {
            Self(f32x4_div(self.0, o.0))
        }
        #[inline(always)]
        pub(crate) fn abs(self) -> Self {
            Self(f32x4_abs(self.0))
        }
        /// `b > a ? b : a` in every lane.
        #[inline(always)]
        pub(crate) fn max(self, o: Self) -> Self {
            Self(f32x4_pmax(self.0, o.0))
        }
        /// `b < a ? b : a` in every lane.
        #[inline(always)]
        pub(crate) fn min(self, o: Self) -> Self {
            Self(f32x4_pmin(self.0, o.0))
        }
        /// To the nearest whole number, ties to even.
        #[inline(always)]
        pub(crate) fn nearest(self) -> Self {
            Self(f32x4_nearest(self.0))
        }
        /// Whole numbers within i32 to i32; NaN to 0.
        #[inline(always)]
        pub(crate) fn to_i32(self) -> I32x4 {
            I32x4(i32x4_trunc_sat_f32x4(self.0))
        }
        #[inline(always)]
        pub(crate) fn from_bits(x: I32x4) -> Self {
            Self(x.0)
        }
        /// 0 in the lanes where self < o, self elsewhere.
        #[inline(always)]
        pub(crate) fn zero_where_less(self, x: Self, o: Self) -> Self {
            Self(v128_andnot(self.0, f32x4_lt(x.0, o.0)))
        }
        /// Eight f16 as f32 times 2⁻¹¹²: two integer operations behind a load that repeats the sign; f16 subnormals become
        /// f32 subnormals (slow to multiply).
        #[inline(always)]
        pub(crate) fn from_f16_scaled(h: &[u16; 8]) -> [Self; 2] {
            Self::signed_halves(h).map(|x| Self(v128_and(i32x4_shl(x, 13), u32x4_splat(0x8fff_ffff))))
        }
        /// [`Self::from_f16_scaled`] of the even and of the odd ones: nothing has to be spread out.
        #[inline(always)]
        pub(crate) fn from_f16_pairs_scaled(h: &[u16; 8]) -> [Self; 2] {
            // SAFETY: 16 readable bytes.
            let x = unsafe { v128_load(h.as_ptr().cast()) };
            let mask = u32x4_splat(0x8fff_e000);
            let place = |x: v128| Self(v128_and(i32x4_shr(x, 3), mask));
            [place(i32x4_shl(x, 16)), place(x)]
        }
        /// Eight finite f16 as f32, subnormals at no cost. Both of these are the number's magnitude or more, and one is it: the
        /// bits as those of a normal number; and as the fraction of a number near 2⁻¹⁴, for a subnormal.
        #[inline(always)]
        pub(crate) fn from_any_f16(h: &[u16; 8]) -> [Self; 2] {
            const MIN_NORMAL: u32 = 113 << 23;
            Self::signed_halves(h).map(|x| {
                let magnitude = v128_and(i32x4_shl(x, 13), u32x4_splat(0x0fff_e000));
                let normal = i32x4_add(magnitude, u32x4_splat(112 << 23));
                let subnormal =
                    f32x4_sub(i32x4_add(magnitude, u32x4_splat(MIN_NORMAL)), f32x4_splat(f32::from_bits(MIN_NORMAL)));
                Self(v128_or(f32x4_pmin(normal, subnormal), v128_and(x, u32x4_splat(1 << 31))))
            })
        }
        /// Eight 16-bit numbers, their sign repeated in the bits above.
        #[inline(always)]
        fn signed_halves(h: &[u16; 8]) -> [v128; 2] {
            let h: *const i16 = h.as_ptr().cast();
            // SAFETY: 16 readable bytes, 8 for each of the loads.
            unsafe { [i32x4_load_extend_i16x4(h), i32x4_load_extend_i16x4(h.add(4))] }
        }
        /// Eight bf16 as f32: the even and the odd ones.
        #[inline(always)]
        pub(crate) fn from_bf16_pairs(h: &[u16; 8]) -> [Self; 2] {
            // SAFETY: 16 readable bytes.
            let x = unsafe { v128_load(h.as_ptr().cast()) };
            [Self(i32x4_shl(x, 16)), Self(v128_and(x, u32x4_splat(0xffff_0000)))]
        }
        /// Eight bf16 as f32.
        #[inline(always)]
        pub(crate) fn from_bf16(h: &[u16; 8]) -> [Self; 2] {
            // SAFETY: 16 readable bytes.
            let x = unsafe { v128_load(h.as_ptr().cast()) };
            [Self(i32x4_shl(u32x4_extend_low_u16x8(x), 16)), Self(i32x4_shl(u32x4_extend_high_u16x8(x), 16))]
        }
    }

    impl I32x4 {
        #[inline(always)]
        pub(crate) fn splat(x: i32) -> Self {
            Self(i32x4_splat(x))
        }
        #[inline(always)]
        pub(crate) fn to_array(self) -> [i32; 4] {
            [
                i32x4_extract_lane::<0>(self.0),
                i32x4_extract_lane::<1>(self.0),
                i32x4_extract_lane::<2>(self.0),
                i32x4_extract_lane::<3>(self.0),
            ]
        }
        #[inline(always)]
        pub(crate) fn add(self, o: Self) -> Self {
            Self(i32x4_add(self.0, o.0))
        }
        #[inline(always)]
        pub(crate) fn mul(self, o: Self) -> Self {
            Self(i32x4_mul(self.0, o.0))
        }
        #[inline(always)]
        pub(crate) fn as_i16(self) -> I16x8 {
            I16x8(self.0)
        }
        #[inline(always)]
        pub(crate) fn shl<const N: u32>(self) -> Self {
            Self(i32x4_shl(self.0, N))
        }
        #[inline(always)]
        pub(crate) fn to_f32(self) -> F32x4 {
            F32x4(f32x4_convert_i32x4(self.0))
        }
    }

    impl I16x8 {
        #[inline(always)]
        pub(crate) fn splat(x: i16) -> Self {
            Self(i16x8_splat(x))
        }
        /// The pair in all four i32 lanes.
        #[inline(always)]
        pub(crate) fn splat_pair(x: [i16; 2]) -> Self {
            // SAFETY: four readable bytes. (Put together from its halves it would be loaded in halves.)
            Self(unsafe { v128_load32_splat(x.as_ptr().cast()) })
        }
        /// Eight i8 widened.
        #[inline(always)]
        pub(crate) fn load_i8(x: &[i8; 8]) -> Self {
            // SAFETY: 8 readable bytes.
            Self(unsafe { i16x8_load_extend_i8x8(x.as_ptr()) })
        }
        #[inline(always)]
        pub(crate) fn load(x: &[i16; 8]) -> Self {
            // SAFETY: 16 readable bytes.
            Self(unsafe { v128_load(x.as_ptr().cast()) })
        }
        /// Eight lanes that fit i16.
        #[inline(always)]
        pub(crate) fn narrow(x: [I32x4; 2]) -> Self {
            Self(i16x8_narrow_i32x4(x[0].0, x[1].0))
        }
        #[inline(always)]
        pub(crate) fn add(self, o: Self) -> Self {
            Self(i16x8_add(self.0, o.0))
        }
        /// Products modulo 2¹⁶.
        #[inline(always)]
        pub(crate) fn mul(self, o: Self) -> Self {
            Self(i16x8_mul(self.0, o.0))
        }
        /// The sum of the lanes 0, 2, 4, 6 and that of the lanes 1, 3, 5, 7.
        #[inline(always)]
        pub(crate) fn sum_pairs(self) -> [i16; 2] {
            let x = i16x8_add(self.0, i32x4_shuffle::<2, 3, 0, 1>(self.0, self.0));
            let x = i16x8_add(x, i32x4_shuffle::<1, 0, 3, 2>(x, x));
            [i16x8_extract_lane::<0>(x), i16x8_extract_lane::<1>(x)]
        }
        #[inline(always)]
        pub(crate) fn as_i32(self) -> I32x4 {
            I32x4(self.0)
        }
        /// Every lane twice.
        #[inline(always)]
        pub(crate) fn twice(self) -> [Self; 2] {
            [
                Self(i16x8_shuffle::<0, 0, 1, 1, 2, 2, 3, 3>(self.0, self.0)),
                Self(i16x8_shuffle::<4, 4, 5, 5, 6, 6, 7, 7>(self.0, self.0)),
            ]
        }
        #[inline(always)]
        pub(crate) fn store(self, x: &mut [i16; 8]) {
            // SAFETY: 16 writable bytes.
            unsafe { v128_store(x.as_mut_ptr().cast(), self.0) }
        }
        #[inline(always)]
        pub(crate) fn widen(self) -> [I32x4; 2] {
            [I32x4(i32x4_extend_low_i16x8(self.0)), I32x4(i32x4_extend_high_i16x8(self.0))]
        }
        /// A nibble of each lane: that of bits N to N + 3.
        #[inline(always)]
        pub(crate) fn nibble<const N: u32>(self) -> Self {
            Self(v128_and(u16x8_shr(self.0, N), u16x8_splat(15)))
        }
        /// Lanes 0 2 1 3, 4 6 5 7.
        #[inline(always)]
        pub(crate) fn pairs_of_fours(self) -> Self {
            Self(i16x8_shuffle::<0, 2, 1, 3, 4, 6, 5, 7>(self.0, self.0))
        }
        /// `self[2i] · o[2i] + self[2i+1] · o[2i+1]` in i32.
        #[inline(always)]
        pub(crate) fn dot(self, o: Self) -> I32x4 {
            I32x4(i32x4_dot_i16x8(self.0, o.0))
        }
    }

    impl I8x16 {
        /// Sixteen lanes that fit i8.
        #[inline(always)]
        pub(crate) fn narrow(x: [I32x4; 4]) -> Self {
            let (lo, hi) = (i16x8_narrow_i32x4(x[0].0, x[1].0), i16x8_narrow_i32x4(x[2].0, x[3].0));
            Self(i8x16_narrow_i16x8(lo, hi))
        }
        #[inline(always)]
        pub(crate) fn store(self, x: &mut [i8; 16]) {
            // SAFETY: 16 writable bytes.
            unsafe { v128_store(x.as_mut_ptr().cast(), self.0) }
        }
        /// `self[2i] + self[2i+1]` in i16.
        #[inline(always)]
        pub(crate) fn pair_sums(self) -> I16x8 {
            I16x8(i16x8_extadd_pairwise_i8x16(self.0))
        }
        /// The four bytes in all four i32 lanes.
        #[inline(always)]
        pub(crate) fn splat4(x: [i8; 4]) -> Self {
            Self(i32x4_splat(i32::from_le_bytes(x.map(|b| b as u8))))
        }
        /// `self[2i] · o[2i] + self[2i+1] · o[2i+1]` in i16, for o in 0..=127 and sums within i16.
        #[inline(always)]
        #[cfg(target_feature = "relaxed-simd")]
        pub(crate) fn madd(self, o: U8x16) -> I16x8 {
            I16x8(i16x8_relaxed_dot_i8x16_i7x16(self.0, o.0))
        }
        /// The same without relaxed SIMD: only tests run it. Not by extended products and shuffles: LLVM 22 turns those into
        /// the relaxed instruction even where it is not enabled, and the module would be invalid in other browsers.
        #[inline(always)]
        #[cfg(not(target_feature = "relaxed-simd"))]
        pub(crate) fn madd(self, o: U8x16) -> I16x8 {
            let even = i16x8_mul(i16x8_shr(i16x8_shl(self.0, 8), 8), v128_and(o.0, u16x8_splat(0xff)));
            let odd = i16x8_mul(i16x8_shr(self.0, 8), u16x8_shr(o.0, 8));
            I16x8(i16x8_add(even, odd))
        }
        /// The sums of four products each, added to c, for o in 0..=127.
        #[inline(always)]
        #[cfg(target_feature = "relaxed-simd")]
        pub(crate) fn dot_add(self, o: U8x16, c: I32x4) -> I32x4 {
            I32x4(i32x4_relaxed_dot_i8x16_i7x16_add(self.0, o.0, c.0))
        }
        /// As [`Self::madd`] without relaxed SIMD.
        #[inline(always)]
        #[cfg(not(target_feature = "relaxed-simd"))]
        pub(crate) fn dot_add(self, o: U8x16, c: I32x4) -> I32x4 {
            self.madd(o).dot(I16x8::splat(1)).add(c)
        }
    }

    impl I8x16 {
        /// The sums of four products each, added to c, for any o: signed or not, which has to be as the engine takes them
        /// ([`super::super::flavour`]).
        #[inline(always)]
        #[cfg(target_feature = "relaxed-simd")]
        pub(crate) fn dot_add_bytes<const SIGNED: bool>(self, o: U8x16, c: I32x4) -> I32x4 {
            self.dot_add(o, c)
        }
        /// The same without relaxed SIMD: only tests run it.
        #[inline(always)]
        #[cfg(not(target_feature = "relaxed-simd"))]
        pub(crate) fn dot_add_bytes<const SIGNED: bool>(self, o: U8x16, c: I32x4) -> I32x4 {
            let signed = |x: v128| [i16x8_shr(i16x8_shl(x, 8), 8), i16x8_shr(x, 8)];
            let unsigned = |x: v128| [v128_and(x, u16x8_splat(0xff)), u16x8_shr(x, 8)];
            let (a, o) = (signed(self.0), if SIGNED { signed(o.0) } else { unsigned(o.0) });
            c.add(I32x4(i32x4_dot_i16x8(a[0], o[0]))).add(I32x4(i32x4_dot_i16x8(a[1], o[1])))
        }
    }

    impl U8x16 {
        #[inline(always)]
        pub(crate) fn xor(self, o: Self) -> Self {
            Self(v128_xor(self.0, o.0))
        }
        #[inline(always)]
        pub(crate) fn load(x: &[u8; 16]) -> Self {
            // SAFETY: 16 readable bytes.
            Self(unsafe { v128_load(x.as_ptr().cast()) })
        }
        #[inline(always)]
        pub(crate) fn store(self, x: &mut [u8; 16]) {
            // SAFETY: 16 writable bytes.
            unsafe { v128_store(x.as_mut_ptr().cast(), self.0) }
        }
        #[inline(always)]
        pub(crate) fn low_nibbles(self) -> Self {
            Self(v128_and(self.0, u8x16_splat(15)))
        }
        /// A 16-bit shift and a mask: V8 has no 8-bit shift on x64.
        #[inline(always)]
        pub(crate) fn high_nibbles(self) -> Self {
            Self(v128_and(u16x8_shr(self.0, 4), u8x16_splat(15)))
        }
        #[inline(always)]
        pub(crate) fn splat(x: u8) -> Self {
            Self(u8x16_splat(x))
        }
        #[inline(always)]
        pub(crate) fn and(self, o: Self) -> Self {
            Self(v128_and(self.0, o.0))
        }
        #[inline(always)]
        pub(crate) fn or(self, o: Self) -> Self {
            Self(v128_or(self.0, o.0))
        }
        /// Bit `from` of each byte at bit `to`; what else is there has to be masked.
        #[inline(always)]
        pub(crate) fn shift(self, from: u32, to: u32) -> Self {
            Self(if from < to { u16x8_shl(self.0, to - from) } else { u16x8_shr(self.0, from - to) })
        }
        /// Bytes 0, 2, 4 … as 16-bit lanes.
        #[inline(always)]
        pub(crate) fn even(self) -> I16x8 {
            I16x8(v128_and(self.0, u16x8_splat(0xff)))
        }
        /// Bytes 1, 3, 5 … as 16-bit lanes.
        #[inline(always)]
        pub(crate) fn odd(self) -> I16x8 {
            I16x8(u16x8_shr(self.0, 8))
        }
        /// The entries of a table that bytes below 16 are the places of.
        #[inline(always)]
        pub(crate) fn lookup(self, table: &[u8; 16]) -> Self {
            Self(i8x16_swizzle(Self::load(table).0, self.0))
        }
        /// Nibble N (0..4) of each 16-bit lane.
        #[inline(always)]
        pub(crate) fn nibble16<const N: u32>(self) -> I16x8 {
            let shifted = if N == 0 { self.0 } else { u16x8_shr(self.0, 4 * N) };
            I16x8(if N == 3 { shifted } else { v128_and(shifted, u16x8_splat(15)) })
        }
    }
}
