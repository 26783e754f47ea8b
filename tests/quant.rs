//! Block formats: golden blocks made by ggml itself (tests/golden/make_quant.py), a second naive formula on random bits,
//! error bounds of quantization, the refusal of what is not finite, and lengths.

use half::{bf16, f16};
use kinglet::{
    error::Error,
    quant::{self, Format},
};
use serde::Deserialize;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);

#[derive(Deserialize)]
struct Golden {
    f16_to_f32_fnv1a64: String,
    cases: Vec<Case>,
}

#[derive(Deserialize, Clone)]
struct Case {
    format: String,
    kind: String,
    name: String,
    #[serde(default)]
    weights: String,
    /// Of the weights' bytes, instead of them.
    fnv1a64: Option<String>,
    bytes: String,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/quant.json")).expect("tests/golden/quant.json is well-formed")
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal")).collect()
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect()
}

fn format_named(name: &str) -> Format {
    Format::ALL.into_iter().find(|f| f.name() == name).expect("a format of ours")
}

/// The same bits, or both NaN: which NaN comes out of arithmetic is the machine's choice.
fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// FNV-1a of the bytes of numbers, every NaN counting as 7fc00000.
fn hash(numbers: &[f32]) -> String {
    let canonical = numbers.iter().map(|x| if x.is_nan() { 0x7FC0_0000_u32 } else { x.to_bits() });
    let bytes = canonical.flat_map(u32::to_le_bytes);
    format!("{:016x}", bytes.fold(0xCBF2_9CE4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3)))
}

/// Checks a case; says what differs.
fn check(case: &Case) -> Result<(), String> {
    let format = format_named(&case.format);
    let (weights, bytes) = (f32s(&unhex(&case.weights)), unhex(&case.bytes));
    if let Some(expected) = &case.fnv1a64 {
        let mut out = vec![-1.0; bytes.len() / format.block_bytes() * format.block_len()];
        quant::dequantize(format, &bytes, &mut out).map_err(|e| e.to_string())?;
        let found = hash(&out);
        return match found == *expected {
            true => Ok(()),
            false => Err(format!("{} {:?}: {found}", case.format, case.name)),
        };
    }
    let differs = match case.kind.as_str() {
        "quantize" => {
            let mut out = vec![0xAA; bytes.len()];
            quant::quantize(format, &weights, &mut out).map_err(|e| e.to_string())?;
            out.iter().zip(&bytes).position(|(a, b)| a != b)
        }
        "dequantize" => {
            let mut out = vec![-1.0; weights.len()];
            quant::dequantize(format, &bytes, &mut out).map_err(|e| e.to_string())?;
            out.iter().zip(&weights).position(|(a, b)| !same(*a, *b))
        }
        other => return Err(format!("unknown kind {other}")),
    };
    match differs {
        None => Ok(()),
        Some(i) => Err(format!("{} {} {:?}: item {i} differs", case.format, case.kind, case.name)),
    }
}

#[test]
fn golden_blocks_are_ggmls_bit_for_bit() {
    let cases = golden().cases;
    for format in Format::ALL.into_iter().filter(|f| *f != Format::F32) {
        for kind in ["quantize", "dequantize"] {
            let n = cases.iter().filter(|c| c.format == format.name() && c.kind == kind).count();
            assert!(
                n >= 30 || (kind == "quantize" && !format.can_be_made()),
                "only {n} cases to {kind} {}",
                format.name()
            );
        }
    }
    let failures: Vec<String> = cases.iter().filter_map(|c| check(c).err()).collect();
    assert_eq!(failures, Vec::<String>::new());
}

/// The checker sees a single wrong bit of a block, and a weight that is off by one unit in the last place.
#[test]
fn a_wrong_golden_block_is_noticed() {
    let cases = golden().cases;
    for format in Format::ALL.into_iter().filter(|f| f.block_len() == 256) {
        let case = cases.iter().find(|c| c.format == format.name() && c.name == "normal 8").expect("a case").clone();
        assert_eq!(check(&case), Ok(()));
        let mut bytes = unhex(&case.bytes);
        for bit in 0..8 * bytes.len() {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let damaged = bytes.iter().map(|b| format!("{b:02x}")).collect();
            // A digit of TQ1_0 is the integer part of a product: not every bit of the fraction tells.
            let is_seen = check(&Case { bytes: damaged, ..case.clone() }).is_err();
            assert!(is_seen || format == Format::TQ1_0 && bit < 8 * 52, "{format:?}: bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
    for format in ["F16", "BF16", "Q4_0", "Q4_1", "Q8_0", "Q5_0", "Q5_1"] {
        let pick = |kind: &str| {
            cases.iter().find(|c| c.format == format && c.kind == kind && c.name == "normal 8").expect("a case").clone()
        };
        let mut case = pick("quantize");
        let last = case.bytes.pop().and_then(|c| c.to_digit(16)).expect("a digit");
        case.bytes.push(char::from_digit(last ^ 1, 16).expect("a digit"));
        assert!(check(&case).is_err(), "{format}: a flipped bit passed");

        let mut case = pick("dequantize");
        if let Some(hash) = &mut case.fnv1a64 {
            hash.replace_range(0..1, if hash.starts_with('0') { "1" } else { "0" });
            assert!(check(&case).is_err(), "{format}: a wrong hash passed");
            continue;
        }
        let weights = f32s(&unhex(&case.weights));
        let next = f32::from_bits(weights[0].to_bits() + 1);
        case.weights.replace_range(0..8, &next.to_le_bytes().iter().map(|b| format!("{b:02x}")).collect::<String>());
        assert!(check(&case).is_err(), "{format}: a weight off by one bit passed");
    }
}

#[test]
fn every_f16_becomes_ggmls_f32() {
    let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let mut out = vec![0.0; 1 << 16];
    quant::dequantize(Format::F16, &bytes, &mut out).expect("lengths fit");
    assert_eq!(hash(&out), golden().f16_to_f32_fnv1a64);
    for (h, x) in (0..=u16::MAX).zip(out) {
        assert!(same(x, f16::from_bits(h).to_f32()), "{h:04x}");
        assert_eq!(quant::f16_is_non_finite(h), !x.is_finite(), "{h:04x}");
        if !x.is_nan() {
            assert_eq!(quant::f32_to_f16(x), h, "there and back");
        }
    }
}

#[test]
fn every_bf16_becomes_its_f32_and_back() {
    for h in 0..=u16::MAX {
        let x = quant::bf16_to_f32(h);
        assert!(same(x, bf16::from_bits(h).to_f32()), "{h:04x}");
        if !x.is_nan() {
            assert_eq!(quant::f32_to_bf16(x), h);
        }
    }
}

/// The largest error of a weight that is in the range of an f16 scale: what the quants cannot say, and what the scale
/// (relative 2⁻¹¹, absolute 2⁻²⁵ below the smallest normal f16) and f32 rounding add.
fn error_bound(format: Format, block: &[f32]) -> f32 {
    let largest = block.iter().fold(0.0_f32, |a, x| a.max(x.abs()));
    let range = block.iter().fold(f32::MIN, |a, x| a.max(*x)) - block.iter().fold(f32::MAX, |a, x| a.min(*x));
    let half_error = |x: f32| x / 2048.0 + 2.0_f32.powi(-25);
    let (quants, scales) = match format {
        Format::F32 => return 0.0,
        Format::F16 => return half_error(largest),
        Format::BF16 => return largest / 256.0,
        // The positive end of a block that is led by a negative weight would be +8: it is cut to +7, a whole step.
        Format::Q4_0 => (largest / 8.0, 8.0 * half_error(largest / 8.0)),
        Format::Q4_1 => (range / 30.0, 15.0 * half_error(range / 15.0) + half_error(largest)),
        Format::Q8_0 => (largest / 254.0, 127.0 * half_error(largest / 127.0)),
        Format::Q5_0 => (largest / 16.0, 16.0 * half_error(largest / 16.0)),
        Format::Q5_1 => (range / 62.0, 31.0 * half_error(range / 31.0) + half_error(largest)),
        other => panic!("{other:?} is not made here"),
    };
    (quants + scales) * 1.00001
}

/// The bound is no loose one: Q4_0's weights do not fit Q8_0's bound, nor Q8_0's the one of F16.
#[test]
fn error_bounds_tell_formats_apart() {
    let values: Vec<f32> = (0..32_u8).map(|i| (f32::from(i) * 0.7).sin()).collect();
    let worst = |format: Format| {
        let mut bytes = vec![0; format.row_bytes(32).expect("one block")];
        quant::quantize(format, &values, &mut bytes).expect("lengths fit");
        let mut out = vec![0.0; 32];
        quant::dequantize(format, &bytes, &mut out).expect("lengths fit");
        values.iter().zip(&out).fold(0.0_f32, |a, (x, y)| a.max((x - y).abs()))
    };
    assert!(worst(Format::Q4_0) > error_bound(Format::Q8_0, &values));
    assert!(worst(Format::Q4_1) > error_bound(Format::Q8_0, &values));
    assert!(worst(Format::Q8_0) > error_bound(Format::F16, &values));
    assert!(worst(Format::BF16) > error_bound(Format::F16, &values));
}

#[test]
fn nan_keeps_its_sign_and_becomes_quiet() {
    for (x, half, brain) in [(0x7FC0_0000, 0x7E00, 0x7FC0), (0xFF80_0001, 0xFE00, 0xFFC0_u16)] {
        assert_eq!(quant::f32_to_f16(f32::from_bits(x)), half);
        assert_eq!(quant::f32_to_bf16(f32::from_bits(x)), brain);
    }
}

#[test]
fn lengths_that_do_not_fit_are_typed_errors() {
    assert_eq!(Format::Q4_1.row_bytes(576).expect("18 blocks"), 360);
    assert_eq!(Format::F16.row_bytes(7).expect("7 numbers"), 14);
    for format in Format::ALL.into_iter().filter(|f| f.block_len() > 1) {
        for n in [1, 31, 33, 100, 257] {
            assert!(matches!(format.row_bytes(n), Err(Error::FileFormat { .. })), "{} {n}", format.name());
        }
    }
    assert!(matches!(Format::F32.row_bytes(usize::MAX), Err(Error::FileFormat { .. })));
    assert!(matches!(Format::Q8_0.row_bytes(usize::MAX - 31), Err(Error::FileFormat { .. })));

    let mut out = [0.0; 32];
    assert!(matches!(quant::dequantize(Format::Q4_0, &[0; 19], &mut out), Err(Error::Internal { .. })));
    assert!(matches!(quant::dequantize(Format::Q4_0, &[0; 18], &mut out[..31]), Err(Error::FileFormat { .. })));
    assert!(matches!(quant::quantize(Format::Q8_0, &out, &mut [0; 33]), Err(Error::Internal { .. })));
    quant::dequantize(Format::Q4_0, &[], &mut []).expect("nothing is a whole number of blocks");
    for format in Format::ALL.into_iter().filter(|f| !f.can_be_made()) {
        let refused = quant::quantize(format, &[], &mut []);
        assert!(matches!(&refused, Err(Error::Internal { what }) if what.contains(format.name())), "{refused:?}");
    }
}

#[test]
fn ggml_numbers_and_names_are_unique() {
    for format in Format::ALL {
        assert_eq!(Format::from_ggml_type(format.ggml_type()), Some(format));
        assert_eq!(format_named(format.name()), format);
    }
    // Q4_2 and Q4_3 were removed; Q8_1, IQ2_XXS and I8 are not read.
    for id in [4, 5, 9, 16, 24, 31, u32::MAX] {
        assert_eq!(Format::from_ggml_type(id), None);
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use super::*;
    use proptest::prelude::*;

    /// A format's formula once more, weight by weight, straight from the drawing.
    fn naive(format: Format, block: &[u8], j: usize) -> f32 {
        let half_at = |i: usize| f16::from_le_bytes([block[i], block[i + 1]]).to_f32();
        let nibble = |qs: &[u8]| f32::from(if j < 16 { qs[j] % 16 } else { qs[j - 16] / 16 });
        match format {
            Format::F32 => f32::from_le_bytes(block.try_into().expect("four bytes")),
            Format::F16 => half_at(0),
            Format::BF16 => f32::from_le_bytes([0, 0, block[0], block[1]]),
            Format::Q4_0 => (nibble(&block[2..]) - 8.0) * half_at(0),
            Format::Q4_1 => nibble(&block[4..]) * half_at(0) + half_at(2),
            Format::Q8_0 => f32::from(block[2 + j] as i8) * half_at(0),
            _ => naive_code(format, block, j),
        }
    }

    /// The formats of codes, the same way: where the bits of weight j lie, from the drawings.
    fn naive_code(format: Format, block: &[u8], j: usize) -> f32 {
        const UNEVEN: [i32; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
        const FLOATS: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
        let half_at = |i: usize| f16::from_le_bytes([block[i], block[i + 1]]).to_f32();
        let bits = |byte: usize, from: usize, n: u32| i32::from(block[byte]) / (1 << from) % (1 << n);
        // Nibbles in runs of 2h weights from byte `at`; pairs in runs of 128; single bits, eight weights to a byte.
        let nibble = |at: usize, h: usize| bits(at + j / (2 * h) * h + j % h, j / h % 2 * 4, 4);
        let pair = |at: usize| bits(at + j / 128 * 32 + j % 32, j / 32 % 4 * 2, 2);
        let single = |at: usize| bits(at + j % 32, j / 32, 1);
        let fifth = |at: usize| bits(at + j / 8, j % 8, 1) * 16;
        let six_bit = |r: usize| match r {
            0..4 => [bits(4 + r, 0, 6), bits(8 + r, 0, 6)],
            _ => [bits(8 + r, 0, 4) + 16 * bits(r, 6, 2), bits(8 + r, 4, 4) + 16 * bits(4 + r, 6, 2)],
        };
        let with_minimum =
            |q: i32, [s, m]: [i32; 2], at: usize| half_at(at) * s as f32 * q as f32 - half_at(at + 2) * m as f32;
        match format {
            Format::Q5_0 => (nibble(6, 16) + fifth(2) - 16) as f32 * half_at(0),
            Format::Q5_1 => (nibble(8, 16) + fifth(4)) as f32 * half_at(0) + half_at(2),
            Format::Q2_K => with_minimum(pair(16), [bits(j / 16, 0, 4), bits(j / 16, 4, 4)], 80),
            Format::Q3_K => {
                let r = j / 16;
                let s = bits(96 + r % 8, r / 8 * 4, 4) + 16 * bits(104 + r % 4, r / 4 * 2, 2) - 32;
                half_at(108) * s as f32 * (pair(32) + 4 * single(0) - 4) as f32
            }
            Format::Q4_K => with_minimum(nibble(16, 32), six_bit(j / 32), 0),
            Format::Q5_K => with_minimum(nibble(48, 32) + 16 * single(16), six_bit(j / 32), 0),
            Format::Q6_K => {
                let q = nibble(0, 64) + 16 * pair(128) - 32;
                half_at(208) * f32::from(block[192 + j / 16] as i8) * q as f32
            }
            Format::IQ4_NL => half_at(0) * UNEVEN[nibble(2, 16) as usize] as f32,
            Format::IQ4_XS => {
                let r = j / 32;
                let s = bits(4 + r / 2, r % 2 * 4, 4) + 16 * bits(2 + r / 4, r % 4 * 2, 2) - 32;
                half_at(0) * s as f32 * UNEVEN[nibble(8, 16) as usize] as f32
            }
            Format::MXFP4 => {
                let (q, scale) = (nibble(1, 16), 2.0_f64.powi(i32::from(block[0]) - 127));
                let w = f64::from(FLOATS[q as usize % 8]) * scale;
                (if q < 8 { w } else { -w } + 0.0) as f32
            }
            Format::TQ1_0 => {
                let (byte, digit) = match j {
                    0..160 => (j % 32, j / 32),
                    160..240 => (32 + (j - 160) % 16, (j - 160) / 16),
                    _ => (48 + (j - 240) % 4, (j - 240) / 4),
                };
                let fraction = u32::from(block[byte]) * 3_u32.pow(digit as u32) % 256;
                ((fraction * 3 / 256) as f32 - 1.0) * half_at(52)
            }
            Format::TQ2_0 => (pair(0) - 1) as f32 * half_at(64),
            other => unreachable!("{other:?} has no codes"),
        }
    }

    /// Where a block has its f16 numbers (MXFP4: its exponent).
    fn scale_bytes(format: Format) -> std::ops::Range<usize> {
        match format {
            Format::F32 | Format::F16 | Format::BF16 => 0..format.block_bytes(),
            Format::MXFP4 => 0..1,
            Format::Q4_0 | Format::Q5_0 | Format::Q8_0 | Format::IQ4_NL | Format::IQ4_XS => 0..2,
            Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => 0..4,
            Format::Q2_K => 80..84,
            Format::Q3_K => 108..110,
            Format::Q6_K => 208..210,
            Format::TQ1_0 => 52..54,
            Format::TQ2_0 => 64..66,
        }
    }

    fn any_format() -> impl Strategy<Value = Format> {
        prop::sample::select(Format::ALL.to_vec())
    }

    fn any_made_format() -> impl Strategy<Value = Format> {
        prop::sample::select(Format::ALL.into_iter().filter(|f| f.can_be_made()).collect::<Vec<_>>())
    }

    /// A format and the bytes of one to five blocks of random bits.
    fn any_blocks() -> impl Strategy<Value = (Format, Vec<u8>)> {
        (any_format(), 1..=5_usize)
            .prop_flat_map(|(f, n)| (Just(f), prop::collection::vec(any::<u8>(), n * f.block_bytes())))
    }

    /// Finite f32 of every magnitude, signed zeros and subnormals among them.
    fn any_finite() -> impl Strategy<Value = f32> {
        use prop::num::f32::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
        prop_oneof![POSITIVE | NEGATIVE | ZERO | SUBNORMAL | NORMAL, -4.0..4.0_f32]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn dequantize_is_the_formula((format, bytes) in any_blocks(), shift in 0..4_usize) {
            // Blocks may start at any address.
            let mut moved = vec![0; shift];
            moved.extend_from_slice(&bytes);
            let mut out = vec![0.0; bytes.len() / format.block_bytes() * format.block_len()];
            quant::dequantize(format, &moved[shift..], &mut out).unwrap();
            for (i, x) in out.into_iter().enumerate() {
                let block = bytes.chunks_exact(format.block_bytes()).nth(i / format.block_len()).unwrap();
                prop_assert!(same(x, naive(format, block, i % format.block_len())), "{} weight {i}", format.name());
            }
        }

        #[test]
        fn first_non_finite_is_the_first_block_that_can_give_one((format, bytes) in any_blocks()) {
            let mut blocks = bytes.chunks_exact(format.block_bytes());
            // Whatever its quants are, a block with such a scale gives a weight that is not finite for some quants.
            let expected = blocks.position(|b| {
                let scales = scale_bytes(format);
                let mut worst = vec![if format == Format::MXFP4 { 0x77 } else { 0xFF }; b.len()];
                worst[scales.clone()].copy_from_slice(&b[scales]);
                (0..format.block_len()).any(|j| !naive(format, &worst, j).is_finite())
            });
            prop_assert_eq!(quant::first_non_finite(format, &bytes), expected);
            prop_assert_eq!(quant::first_non_finite(format, &bytes[..bytes.len() - 1]), expected.filter(|b| (b + 1) * format.block_bytes() < bytes.len()));
        }

        #[test]
        fn quantize_then_dequantize_stays_in_bounds(format in any_made_format(), exponent in -30..12_i32, unit in prop::collection::vec(-1.0..1.0_f32, 64)) {
            let values: Vec<f32> = unit.iter().map(|x| x * 2.0_f32.powi(exponent)).collect();
            let mut bytes = vec![0; format.row_bytes(values.len()).unwrap()];
            quant::quantize(format, &values, &mut bytes).unwrap();
            let mut out = vec![0.0; values.len()];
            quant::dequantize(format, &bytes, &mut out).unwrap();
            for (block, out) in values.chunks(32).zip(out.chunks(32)) {
                let bound = error_bound(format, block);
                for (x, y) in block.iter().zip(out) {
                    prop_assert!((x - y).abs() <= bound, "{}: {x} became {y}, bound {bound}", format.name());
                }
            }
        }

        #[test]
        fn quantize_takes_any_values(format in any_made_format(), values in prop::collection::vec(prop_oneof![any_finite(), any::<u32>().prop_map(f32::from_bits)], 32)) {
            let mut bytes = vec![0; format.row_bytes(32).unwrap()];
            quant::quantize(format, &values, &mut bytes).unwrap();
        }

        #[test]
        fn f32_to_f16_rounds_as_crate_half_does(x in any_finite()) {
            prop_assert_eq!(quant::f32_to_f16(x), f16::from_f32(x).to_bits());
            prop_assert_eq!(quant::f32_to_bf16(x), bf16::from_f32(x).to_bits());
        }

        #[test]
        fn f32_to_f16_rounds_near_its_edges(bits in 0x3280_0000..0x4790_0000_u32, sign in any::<bool>()) {
            let x = f32::from_bits(bits | u32::from(sign) << 31);
            prop_assert_eq!(quant::f32_to_f16(x), f16::from_f32(x).to_bits());
        }
    }
}
