//! Which kernels a machine runs, found out when an executor is made. It changes no result, only how fast they are.
//!
//! What the instruction for dot products of four does with factors outside of its contract tells what an engine has made of it: one
//! instruction where the sums are right in one reading of the factors, several where pairs are summed in 16 bits first. That has to be
//! the same as long as a page lives (the specification of relaxed SIMD), so where it is one, Q8_0's bytes are multiplied by it, as
//! they are taken there. Then the kernels for codes run a race of about a millisecond, and what is expected has to be beaten clearly in
//! every round: it may be that the engine compiles one of them anew while they run.

use std::hint::black_box;

use super::{
    activations::{Act8, Act16, quantize_8, quantize_16},
    clock::Clock,
    dots::{DotAdd, Dots, Madd, Wide},
    matmul::{Acts, Lanes8, ZERO, byte_product, nibbles_by},
    simd::{I8x16, I32x4, U8x16},
    tiles::{NibbleTile, Unpacked, tiles_of_panel},
};
use crate::quant::repack::{Arrangement, BLOCK, Half8, Q40x8, Q80x8};

/// Which integer kernels run on codes. All but the last give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// 8-bit dot products of two (`i16x8.relaxed_dot_i8x16_i7x16_s`).
    Madd,
    /// 8-bit dot products of four (`i32x4.relaxed_dot_i8x16_i7x16_add_s`).
    DotAdd,
    /// 16-bit dot products: plain SIMD128.
    Plain,
    /// The same on activations of 12 bits: where probabilities are what is asked for ([`crate::plan::Plan::is_precise`]).
    Fine,
}

/// Whether this build has kernels with 8-bit dot products: without relaxed SIMD only tests run them, and nothing shipped carries them.
pub(super) const HAS_8_BIT: bool =
    cfg!(any(not(target_arch = "wasm32"), target_feature = "relaxed-simd", feature = "reference"));

/// Blocks of the panel that is multiplied: 576 weights of eight rows.
const N_BLOCKS: usize = 18;
/// Rows of activations, where kernels are compared.
const N_ROWS: usize = 15;
/// Rounds of the race.
const N_ROUNDS: usize = 3;
/// What one takes at least in a round. Clocks may step by 0.1 ms.
const ROUND_MS: f64 = 0.15;
/// Most products in a round, should the clock stand still.
const MAX_PRODUCTS: u32 = 512;
/// What part of the time of what is expected another kernel may take, with two steps of the clock on top.
const CLEARLY: f64 = 0.8;

impl Flavour {
    /// Those that give the same bits.
    pub const EQUAL: [Self; 3] = [Self::Madd, Self::DotAdd, Self::Plain];
    /// The one that is right for this build wherever it runs, though perhaps not the fastest.
    pub const BUILD: Self = if cfg!(target_feature = "relaxed-simd") { Self::Madd } else { Self::Plain };

    /// The one for this machine, where the instruction for dot products of four takes bytes for what is said. A build without relaxed
    /// SIMD has no choice.
    fn of_machine(bytes: Option<Bytes>, clock: Option<Clock>) -> Self {
        if Self::BUILD == Self::Plain {
            return Self::Plain;
        }
        // Where bytes are signed there is no one instruction for dot products of two (Arm), where they are unsigned there is (x86).
        let expected = if bytes == Some(Bytes::Signed) { Self::DotAdd } else { Self::Madd };
        let winner = clock.map_or(expected, |clock| winner(expected, clock));
        if winner == Self::DotAdd && !dots_agree() { Self::Madd } else { winner }
    }
}

/// What the instruction for dot products of four takes its second factors for, whatever they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bytes {
    Signed,
    Unsigned,
}

impl Bytes {
    /// By test vectors, if nothing is lost on the way: `dot(factor)` is the sum of four times −128 · factor, as the machine computes it.
    fn of(dot: impl Fn(u8) -> i32) -> Option<Self> {
        match [dot(0xff), dot(0x80)] {
            [512, 65_536] => Some(Self::Signed),
            [-130_560, -65_536] => Some(Self::Unsigned),
            _ => None,
        }
    }

    fn arrangement(self) -> Arrangement {
        match self {
            Self::Signed => Arrangement::SignedFours,
            Self::Unsigned => Arrangement::UnsignedFours,
        }
    }
}

/// Which kernels run on which formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernels {
    /// On codes.
    pub flavour: Flavour,
    /// On Q8_0.
    pub arrangement: Arrangement,
}

impl Kernels {
    /// Those for this machine.
    pub(super) fn of_machine(clock: Option<Clock>) -> Self {
        if Flavour::BUILD == Flavour::Plain {
            return Flavour::Plain.into();
        }
        let dot = |factor| I8x16::splat4([-128; 4]).dot_add(U8x16::splat(black_box(factor)), I32x4::splat(0)).sum() / 4;
        let bytes = Bytes::of(dot);
        let arrangement = bytes.map(Bytes::arrangement).filter(|arrangement| bytes_agree(*arrangement));
        Self { flavour: Flavour::of_machine(bytes, clock), arrangement: arrangement.unwrap_or_default() }
    }
}

/// With Q8_0 by 16-bit dot products, as any machine can.
impl From<Flavour> for Kernels {
    fn from(flavour: Flavour) -> Self {
        Self { flavour, arrangement: Arrangement::Pairs }
    }
}

/// Which kernel wins on this machine.
fn winner(expected: Flavour, clock: Clock) -> Flavour {
    let panel = [Q40x8 { d: Half8([0x3c00; 8]), q: [[0x5a; 16]; 8] }; N_BLOCKS];
    let (act8, act16) = ([Act8::ZERO; N_BLOCKS], [Act16::ZERO; N_BLOCKS]);
    race(expected, clock, |flavour| {
        let panel = black_box(&panel);
        black_box(match flavour {
            Flavour::Madd => row::<Madd>(panel, &act8),
            Flavour::DotAdd => row::<DotAdd>(panel, &act8),
            Flavour::Plain | Flavour::Fine => row::<Wide>(panel, &act16),
        });
    })
}

/// One row of activations times a panel.
fn row<D: Dots>(panel: &[Q40x8<Half8>], acts: &[D::Act]) -> Lanes8 {
    let mut acc = [ZERO()];
    tiles_of_panel(&NibbleTile::<D>::new(), panel, acts, &mut acc);
    acc[0]
}

/// Whether dot products of four give what those of two give, for one row, for few and for many. V8 11.3 had it otherwise, in the code that
/// it makes first.
fn dots_agree() -> bool {
    let Ok(mut unpacked) = Unpacked::new() else { return false };
    let mut byte = noise();
    let mut block = || Q40x8 { d: Half8([0x3c00; 8]), q: [[0; 16]; 8].map(|q| q.map(|_: u8| byte())) };
    let panel: Vec<_> = (0..N_BLOCKS).map(|_| block()).collect();
    let mut acts = vec![Act8::ZERO; N_ROWS * N_BLOCKS];
    quantize_8(&rows(&mut byte), &mut acts);
    [1, 7, N_ROWS].into_iter().all(|n| {
        let (acts, mut by_two, mut by_four) = (&acts[..n * N_BLOCKS], vec![ZERO(); n], vec![ZERO(); n]);
        nibbles_by::<Madd, _>(&panel, acts, &mut unpacked, &mut by_two);
        nibbles_by::<DotAdd, _>(&panel, acts, &mut unpacked, &mut by_four);
        are_same(&by_two, &by_four)
    })
}

/// Whether they give for bytes what 16-bit dot products give.
fn bytes_agree(arrangement: Arrangement) -> bool {
    let mut byte = noise();
    let mut block = || Q80x8 { d: Half8([0x3c00; 8]), q: [[0; 16]; 16].map(|q| q.map(|_: u8| byte())) };
    let panel: Vec<_> = (0..N_BLOCKS).map(|_| block()).collect();
    let x = rows(&mut byte);
    let (mut act8, mut act16) = (vec![Act8::ZERO; N_ROWS * N_BLOCKS], vec![Act16::ZERO; N_ROWS * N_BLOCKS]);
    quantize_8(&x, &mut act8);
    quantize_16(&x, &mut act16);
    [1, 7, N_ROWS].into_iter().all(|n| {
        let acts = Acts { float: &[], raised: &[], act8: &act8[..n * N_BLOCKS], act16: &act16[..n * N_BLOCKS] };
        let (mut by_bytes, mut wide) = (vec![ZERO(); n], vec![ZERO(); n]);
        byte_product(&panel, arrangement, Flavour::Madd, acts, &mut by_bytes);
        byte_product(&panel, arrangement, Flavour::Fine, acts, &mut wide);
        are_same(&by_bytes, &wide)
    })
}

/// Bytes without a pattern.
fn noise() -> impl FnMut() -> u8 {
    let mut state = 1_u32;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    }
}

/// Activations that are whole numbers.
fn rows(byte: &mut impl FnMut() -> u8) -> Vec<f32> {
    (0..N_ROWS * N_BLOCKS * BLOCK).map(|_| f32::from(byte() as i8)).collect()
}

fn are_same(a: &[Lanes8], b: &[Lanes8]) -> bool {
    a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| a.to_array() == b.to_array())
}

/// The winner. `run` does one product with the kernel of a flavour.
fn race(expected: Flavour, clock: Clock, run: impl Fn(Flavour)) -> Flavour {
    let time = |flavour: Flavour, n: u32| {
        let start = clock();
        (0..n).for_each(|_| run(flavour));
        clock() - start
    };
    // The first call compiles in some engines.
    Flavour::EQUAL.iter().for_each(|flavour| run(*flavour));
    let Some(step_ms) = step(clock, || run(expected)) else { return expected };
    let mut n = 16;
    while n < MAX_PRODUCTS && time(expected, n) < ROUND_MS + step_ms {
        n *= 2;
    }
    let (mut own_ms, mut others) = (0.0, Flavour::EQUAL.map(|flavour| (flavour, 0.0, flavour != expected)));
    for _ in 0..N_ROUNDS {
        let own = time(expected, n);
        own_ms += own;
        for (flavour, ms, is_faster) in &mut others {
            let other = time(*flavour, n);
            *ms += other;
            *is_faster &= other < CLEARLY * own;
        }
    }
    let clear = others.into_iter().filter(|(_, ms, is_faster)| *is_faster && ms + 2.0 * step_ms < CLEARLY * own_ms);
    clear.min_by(|(_, a, _), (_, b, _)| a.total_cmp(b)).map_or(expected, |(flavour, ..)| flavour)
}

/// How coarse a clock is, seen while something is done again and again; `None` where it stands still.
fn step(clock: Clock, run: impl Fn()) -> Option<f64> {
    let next = |now: f64| {
        (0..MAX_PRODUCTS).find_map(|_| {
            run();
            Some(clock()).filter(|then| *then > now)
        })
    };
    let first = next(clock())?;
    Some(next(first)? - first)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// What engines make of the instruction, for four equal products.
    #[test]
    fn instructions_are_told_apart() {
        let signed = |factor: u8| i32::from(factor as i8);
        let unsigned = i32::from;
        let wrapped = |pair: i32| i32::from(pair as i16);
        let saturated = |pair: i32| pair.clamp(i16::MIN.into(), i16::MAX.into());
        assert_eq!(Bytes::of(|f| 4 * -128 * signed(f)), Some(Bytes::Signed), "sdot, vpdpbssd");
        assert_eq!(Bytes::of(|f| 4 * -128 * unsigned(f)), Some(Bytes::Unsigned), "usdot, vpdpbusd");
        assert_eq!(Bytes::of(|f| 2 * saturated(2 * -128 * unsigned(f))), None, "vpmaddubsw, vpmaddwd");
        assert_eq!(Bytes::of(|f| 2 * wrapped(2 * -128 * signed(f))), None, "smull, addp");
    }

    #[test]
    fn dots_of_two_and_of_four_agree() {
        assert!(dots_agree());
        assert!([Bytes::Signed, Bytes::Unsigned].map(Bytes::arrangement).into_iter().all(bytes_agree));
    }

    thread_local! {
        static NOW_MS: Cell<f64> = const { Cell::new(0.0) };
        static N_RUNS: Cell<u32> = const { Cell::new(0) };
    }

    /// The winner where products take so long: (Madd, DotAdd, Plain) and how many were done.
    fn race_of(expected: Flavour, step_ms: f64, takes_ms: impl Fn(Flavour, u32) -> f64) -> (Flavour, u32) {
        thread_local!(static STEP_MS: Cell<f64> = const { Cell::new(0.0) });
        STEP_MS.set(step_ms);
        N_RUNS.set(0);
        let clock = || (NOW_MS.get() / STEP_MS.get()).floor() * STEP_MS.get();
        let winner = race(expected, clock, |flavour| {
            NOW_MS.set(NOW_MS.get() + takes_ms(flavour, N_RUNS.get()));
            N_RUNS.set(N_RUNS.get() + 1);
        });
        (winner, N_RUNS.get())
    }

    #[test]
    fn what_is_expected_has_to_be_beaten_clearly() {
        let fixed = |times: [f64; 3]| move |flavour: Flavour, _: u32| times[flavour as usize];
        for step_ms in [0.001, 0.1] {
            for expected in [Flavour::Madd, Flavour::DotAdd] {
                assert_eq!(race_of(expected, step_ms, fixed([0.002, 0.002, 0.002])).0, expected);
                assert_eq!(race_of(expected, step_ms, fixed([0.002, 0.005, 0.009])).0, Flavour::Madd);
                assert_eq!(race_of(expected, step_ms, fixed([0.005, 0.002, 0.009])).0, Flavour::DotAdd);
                assert_eq!(race_of(expected, step_ms, fixed([0.006, 0.006, 0.002])).0, Flavour::Plain);
            }
        }
        let almost = fixed([0.0020, 0.0017, 0.004]);
        assert_eq!(race_of(Flavour::Madd, 0.001, almost).0, Flavour::Madd);
    }

    /// An engine may compile a kernel anew in the middle: from then on it is much faster.
    #[test]
    fn a_kernel_that_becomes_faster_does_not_win() {
        let later = |flavour: Flavour, i: u32| if flavour == Flavour::Plain && i > 400 { 0.001 } else { 0.003 };
        let (winner, n) = race_of(Flavour::Madd, 0.001, later);
        assert!(winner == Flavour::Madd && n > 600, "{winner:?} after {n}");
    }

    #[test]
    fn a_clock_that_stands_still_ends_it() {
        {
            let (winner, n) = race_of(Flavour::DotAdd, 1e9, |_, _| 1e-3);
            assert!(winner == Flavour::DotAdd && n < 3 * MAX_PRODUCTS, "{winner:?} after {n}");
        }
    }

    /// About a millisecond where all are alike, whatever a product takes.
    #[test]
    fn it_takes_a_millisecond_or_two() {
        for product_ms in [0.0003, 0.001, 0.004] {
            let (_, n) = race_of(Flavour::Madd, 0.001, |_, _| product_ms);
            let ms = f64::from(n) * product_ms;
            assert!((0.9..5.0).contains(&ms), "{ms} ms for products of {product_ms} ms");
        }
    }
}
