//! Planes of the GPU: what is read back from them by the drawing in `quant::planes` is what `quant::dequantize` gives, bit for
//! bit, whatever the chunks were; what is not finite, too short or too long is refused.

mod common;

use common::{
    formats::random_weights,
    planes::{Planes, split},
    rng::Rng,
};
use kinglet::{
    error::Error,
    quant::{
        self, Format,
        planes::{BLOCK, MAX_SLICE_BYTES, Plane, PlaneShape, Scales, Splitter},
    },
};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Shapes that a format can have: one block, an odd number of blocks, many; broken blocks.
fn lengths(format: Format) -> Vec<[usize; 2]> {
    let unit = unit(format);
    let mut lengths = vec![[1, unit], [5, 3 * unit], [4, 18 * unit], [3, 32_000]];
    if format.block_len() == 1 {
        lengths.extend([[3, 1], [8, 33], [7, 172], [2, 31]]);
    }
    lengths
}

/// Weights of the shortest row that has whole blocks.
fn unit(format: Format) -> usize {
    format.block_len().max(BLOCK)
}

/// Planes that no slice has room for.
#[test]
fn long_planes_come_in_slices() {
    let mut rng = Rng(16);
    for format in Format::ALL {
        let [n, k] = [5, 256 * 1101];
        let bytes = random_weights(&mut rng, n, k, format);
        let planes = split("w.weight", format, [n, k], &mut bytes.chunks(usize::MAX)).expect("it splits");
        assert!(planes.quants.len() > MAX_SLICE_BYTES, "{format:?}");
        let mut expected = vec![0.0; n * k];
        quant::dequantize(format, &bytes, &mut expected).expect("lengths fit");
        for (block, expected) in expected.as_chunks::<BLOCK>().0.iter().enumerate() {
            assert_eq!(bits(&planes.block(block)), bits(expected), "{format:?}: block {block}");
        }
    }
}

#[test]
fn planes_hold_the_weights() {
    let mut rng = Rng(11);
    for format in Format::ALL {
        for [n, k] in lengths(format) {
            let bytes = random_weights(&mut rng, n, k, format);
            let mut expected = vec![0.0; n * k];
            quant::dequantize(format, &bytes, &mut expected).expect("lengths fit");
            for chunk_bytes in [1, 7, 33, 4096, usize::MAX] {
                let planes = split("w.weight", format, [n, k], &mut bytes.chunks(chunk_bytes)).expect("it splits");
                for (r, expected) in expected.chunks(k).enumerate() {
                    let row = planes.row(r);
                    assert_eq!(bits(&row[..k]), bits(expected), "{format:?} {n}x{k} in {chunk_bytes}, row {r}");
                    assert!(row[k..].iter().all(|w| w.to_bits() == 0), "what a row is filled up with");
                }
            }
        }
    }
}

#[test]
fn chunks_of_random_sizes_give_the_same_planes() {
    let mut rng = Rng(12);
    for format in Format::ALL {
        let size = if format.block_len() == 1 { [37, 75] } else { [37, 3 * unit(format)] };
        let bytes = random_weights(&mut rng, size[0], size[1], format);
        let expected = split("w.weight", format, size, &mut bytes.chunks(usize::MAX)).expect("it splits");
        for _ in 0..100 {
            let (mut rest, mut chunks) = (&bytes[..], vec![]);
            while !rest.is_empty() {
                let (chunk, tail) = rest.split_at(rng.below(200).min(rest.len()));
                chunks.push(chunk);
                rest = tail;
            }
            let planes = split("w.weight", format, size, &mut chunks.into_iter()).expect("it splits");
            assert!(planes.quants == expected.quants && planes.scales == expected.scales, "{format:?}");
        }
    }
}

/// The comparison above sees every bit of the planes, but for those that mean nothing: the sign of MXFP4's zeros, the codes under
/// a scale of 0, what records are filled up with.
#[test]
fn a_wrong_bit_of_a_plane_is_seen() {
    let mut rng = Rng(13);
    for format in Format::ALL {
        let size = [2, 128.max(format.block_len())];
        let bytes = random_weights(&mut rng, size[0], size[1], format);
        let planes = split("w.weight", format, size, &mut bytes.chunks(9)).expect("it splits");
        let rows = |p: &Planes| [bits(&p.row(0)), bits(&p.row(1))];
        let expected = rows(&planes);
        let seen = |plane: Plane, bit: usize| {
            let mut planes = planes.clone();
            let plane = if plane == Plane::Quants { &mut planes.quants } else { &mut planes.scales };
            plane[bit / 8] ^= 1 << (bit % 8);
            rows(&planes) != expected
        };
        let n_bits = 8 * (planes.quants.len() + planes.scales.len());
        let quants = (0..8 * planes.quants.len()).filter(|bit| !seen(Plane::Quants, *bit)).count();
        let scales = (0..8 * planes.scales.len()).filter(|bit| !seen(Plane::Scales, *bit)).count();
        let most = match format.layout().scales {
            Scales::Record | Scales::Bytes | Scales::Head(1) => n_bits / 8,
            _ => 0,
        };
        assert!(quants + scales <= most, "{format:?}: of {n_bits} bits {quants} and {scales} are not seen");
    }
}

/// Bytes of a block that cannot be, and where they go: a NaN or an infinity in each scale and each number that a file may have.
fn not_finite(format: Format) -> Vec<(usize, &'static [u8])> {
    const NAN: &[u8] = &[0x01, 0x7e];
    const INFINITY: &[u8] = &[0x00, 0xfc];
    match format {
        Format::F32 => vec![(0, &[0, 0, 0x80, 0x7f])],
        Format::BF16 => vec![(0, &[0x80, 0xff])],
        Format::MXFP4 => vec![(0, &[0xff])],
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => vec![(0, NAN), (2, INFINITY)],
        Format::Q2_K => vec![(80, NAN), (82, INFINITY)],
        Format::Q3_K => vec![(108, NAN)],
        Format::Q6_K => vec![(208, INFINITY)],
        Format::TQ1_0 => vec![(52, NAN)],
        Format::TQ2_0 => vec![(64, INFINITY)],
        _ => vec![(0, NAN), (0, INFINITY)],
    }
}

#[test]
fn what_is_not_finite_is_refused_by_row() {
    let mut rng = Rng(14);
    for format in Format::ALL {
        let k = 3 * unit(format);
        let good = random_weights(&mut rng, 6, k, format);
        let row_bytes = good.len() / 6;
        let blocks = [0, k / format.block_len() - 1].map(|block| 4 * row_bytes + block * format.block_bytes());
        for (at, bad) in
            blocks.into_iter().flat_map(|at| not_finite(format).into_iter().map(move |(o, bad)| (at + o, bad)))
        {
            let mut bytes = good.clone();
            bytes[at..at + bad.len()].copy_from_slice(bad);
            for chunk_bytes in [1, 50, usize::MAX] {
                match split("w.weight", format, [6, k], &mut bytes.chunks(chunk_bytes)) {
                    Err(Error::FileFormat { what, .. }) => assert!(what.contains("w.weight: row 4 "), "{what}"),
                    other => panic!("{format:?}: {:?}", other.map(|_| "accepted")),
                }
            }
        }
    }
}

#[test]
fn lengths_are_held() {
    for format in Format::ALL {
        let size = [3, 2 * unit(format)];
        let bytes = random_weights(&mut Rng(15), size[0], size[1], format);
        let too_many = [&bytes[..], &[0]].concat();
        let refused = split("w.weight", format, size, &mut too_many.chunks(usize::MAX));
        assert!(matches!(refused, Err(Error::Internal { .. })), "{format:?}: a byte too many");

        let mut splitter = Splitter::new("w", format, size[0], size[1]).expect("a matrix");
        splitter.write(&bytes[..bytes.len() - 1], &mut |_| Ok(())).expect("all but one byte");
        assert!(!splitter.is_complete(), "{format:?}: a byte too few");

        let failed = Splitter::new("w", format, size[0], size[1])
            .and_then(|mut s| s.write(&bytes, &mut |_| Err(Error::internal("the sink"))));
        assert_eq!(failed, Err(Error::internal("the sink")));
    }
    assert!(Splitter::new("w", Format::Q4_0, 3, 33).is_err(), "a broken block");
    let empty = Splitter::new("w", Format::F32, 0, 33).expect("a matrix without rows");
    assert!(empty.is_complete());
    let huge = PlaneShape::new(Format::F32, usize::MAX, usize::MAX);
    assert_eq!(huge.n_bytes(), u64::MAX);
}

#[test]
fn sizes_are_those_of_the_drawing() {
    let bits_per_weight = |format| PlaneShape::new(format, 64, 1024).n_bytes() as f64 * 8.0 / (64.0 * 1024.0);
    for (format, expected) in [
        (Format::F32, 32.0),
        (Format::F16, 16.0),
        (Format::Q4_0, 4.5),
        (Format::Q4_1, 5.0),
        (Format::Q5_0, 5.5),
        (Format::Q5_1, 6.0),
        (Format::Q8_0, 8.5),
        (Format::Q2_K, 2.625),
        (Format::Q3_K, 3.625),
        (Format::Q4_K, 4.625),
        (Format::Q5_K, 5.625),
        (Format::Q6_K, 6.625),
        (Format::IQ4_NL, 4.5),
        (Format::IQ4_XS, 4.375),
        (Format::BF16, 16.0),
        (Format::TQ1_0, 2.0625),
        (Format::TQ2_0, 2.0625),
        (Format::MXFP4, 4.25),
    ] {
        assert_eq!(bits_per_weight(format), expected, "{format:?}");
    }
    // Three blocks of half a u32 each; three of eight whose second fields lie together.
    assert_eq!(PlaneShape::new(Format::Q4_0, 1, 96).plane_bytes(Plane::Scales), 8);
    assert_eq!(PlaneShape::new(Format::Q5_0, 1, 96).plane_bytes(Plane::Quants), 160);
    assert_eq!(PlaneShape::new(Format::Q5_0, 1, 96).plane_bytes(Plane::Scales), 8);
}
