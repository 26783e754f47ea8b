//! The CPU's panels of any bits: what is read back from them by row is what `quant::dequantize` gives, bit for bit, whatever the
//! chunks were; what they take is what was said before.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::formats::{halves, whole};
use kinglet::quant::{self, Format, repack::Matrix};
use proptest::prelude::*;

/// Rows of random bits whose f16 numbers are finite: any bits that a loader lets pass.
fn finite(format: Format, mut bytes: Vec<u8>) -> Vec<u8> {
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        if quant::first_non_finite(format, block).is_some() {
            match format {
                Format::F32 => block[3] &= 0xbf,
                Format::F16 | Format::BF16 => block[1] &= 0xbf,
                Format::MXFP4 => block[0] = 252,
                Format::Q4_1 => [1, 3].into_iter().for_each(|at| block[at] &= 0xbf),
                Format::Q4_0 | Format::Q8_0 => block[1] &= 0xbf,
                _ => halves(format).iter().for_each(|(at, _)| block[at + 1] &= 0xbf),
            }
        }
    }
    bytes
}

/// A format, a number of rows, a row length, and as many random bytes.
fn matrices() -> impl Strategy<Value = (Format, usize, usize, Vec<u8>)> {
    (prop::sample::select(Format::ALL.to_vec()), 1..20_usize, 1..4_usize).prop_flat_map(|(format, n, blocks)| {
        let k = whole(format, 1) * blocks;
        let n_bytes = n * blocks * format.block_bytes();
        (Just(format), Just(n), Just(k), prop::collection::vec(any::<u8>(), n_bytes))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn rows_are_read_back((format, n, k, bytes) in matrices(), chunk_bytes in 1..2000_usize) {
        let bytes = finite(format, bytes);
        let mut matrix = Matrix::new("w", format, n, k).unwrap();
        for chunk in bytes.chunks(chunk_bytes) {
            matrix.write(chunk).unwrap();
        }
        prop_assert!(matrix.is_complete());
        let (mut expected, mut row) = (vec![0.0; n * k], vec![0.0; k]);
        quant::dequantize(format, &bytes, &mut expected).unwrap();
        for (i, expected) in expected.chunks(k).enumerate() {
            matrix.read_row(i, &mut row);
            for (w, expected) in row.iter().zip(expected) {
                prop_assert_eq!(w.to_bits(), expected.to_bits(), "{:?}: {} {}", format, w, expected);
            }
        }
    }
}

#[test]
fn a_matrix_takes_what_was_said() {
    for format in Format::ALL {
        let k = whole(format, 768);
        let bytes = vec![0; 20 * format.row_bytes(k).expect("whole blocks")];
        let mut matrix = Matrix::new("w", format, 20, k).expect("room");
        matrix.write(&bytes).expect("zeros are finite");
        assert_eq!(matrix.memory_bytes(), Matrix::n_bytes(format, 20, k), "{format:?}");
        // Scales of six bits take eight, TQ1_0 is kept as TQ2_0, the exponents of MXFP4 take two bytes.
        let growth = matrix.memory_bytes() as f64 / (bytes.len() as f64 * 24.0 / 20.0);
        let most = match format {
            Format::TQ1_0 => 1.23,
            Format::MXFP4 => 1.06,
            Format::Q3_K | Format::Q4_K | Format::Q5_K | Format::IQ4_XS => 1.04,
            _ => 1.0,
        };
        assert!(growth <= most, "{format:?}: {growth}");
        assert_eq!(Matrix::n_bytes(Format::Q4_K, 20, 255), u64::MAX);
    }
}
