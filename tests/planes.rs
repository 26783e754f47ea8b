//! Planes of the GPU: what is read back from them by the drawing in `quant::planes` is what `quant::dequantize` gives, bit for
//! bit, whatever the chunks were; what is not finite, too short or too long is refused.

mod common;

use common::{formats::random_weights, rng::Rng};
use kinglet::{
    error::{Error, Result},
    quant::{
        self, Format,
        planes::{BLOCK, MAX_SLICE_BYTES, Plane, PlaneShape, Scales, Slice, Splitter},
    },
};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);

/// The planes of a matrix in memory.
#[derive(Clone)]
struct Planes {
    shape: PlaneShape,
    quants: Vec<u8>,
    scales: Vec<u8>,
}

/// Splits a matrix whose bytes come in chunks, and holds the slices to their rules.
fn split(format: Format, [n, k]: [usize; 2], chunks: &mut dyn Iterator<Item = &[u8]>) -> Result<Planes> {
    let shape = PlaneShape::new(format, n, k);
    let mut planes = Planes { shape, quants: vec![], scales: vec![] };
    let mut splitter = Splitter::new("w.weight", format, n, k)?;
    for chunk in chunks {
        splitter.write(chunk, &mut |Slice { plane, offset, bytes }| {
            let (taken, unit) = match plane {
                Plane::Quants => (&mut planes.quants, 16),
                Plane::Scales => (&mut planes.scales, 4),
            };
            assert_eq!(taken.len() as u64, offset, "slices follow each other");
            assert!(!bytes.is_empty() && bytes.len() <= MAX_SLICE_BYTES && bytes.len() % unit == 0);
            taken.extend_from_slice(bytes);
            Ok(())
        })?;
    }
    assert_eq!(splitter.is_complete(), planes.quants.len() as u64 == shape.plane_bytes(Plane::Quants));
    assert_eq!(splitter.is_complete(), planes.scales.len() as u64 == shape.plane_bytes(Plane::Scales) || n == 0);
    Ok(planes)
}

/// What the codes of IQ4_NL and IQ4_XS stand for, and of MXFP4 (ggml-common.h).
const IQ4: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
const FP4: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

impl Planes {
    fn word(plane: &[u8], i: usize) -> u32 {
        u32::from_le_bytes(plane[4 * i..4 * i + 4].try_into().expect("four bytes"))
    }

    /// The f16 at this place of the scales, in units of two bytes.
    fn half(&self, i: usize) -> f32 {
        quant::f16_to_f32((Self::word(&self.scales, i / 2) >> (16 * (i % 2))) as u16)
    }

    /// Weight i of a block in a field of some bits whose words begin at `first`.
    fn field(&self, first: usize, bits: usize, i: usize) -> u32 {
        let (v, j) = (i / 4, i % 4);
        let word = Self::word(&self.quants, first + v * bits / 8);
        (word >> (8 * j + v * bits % 8)) & ((1 << bits) - 1)
    }

    /// The code of weight i of a block: its low bits, and of eight blocks together the high ones.
    fn code(&self, block: usize, low: usize, high: usize, i: usize) -> u32 {
        let (group, b) = (block / 8 * 8 * (low + high), block % 8);
        let low_bits = self.field(group + b * low, low, i);
        if high == 0 { low_bits } else { low_bits | self.field(group + 8 * low + b * high, high, i) << low }
    }

    /// The weights of a block, as a shader takes it apart.
    fn block(&self, block: usize) -> [f32; BLOCK] {
        let format = self.shape.format;
        let word = |per_block: usize, c: usize| Self::word(&self.quants, block * per_block + c);
        let halves = |c: usize| [word(16, c) as u16, (word(16, c) >> 16) as u16];
        let code = |low, high, i| self.code(block, low, high, i);
        let centred = |low, high, i| code(low, high, i) as f32 - 2f32.powi((low + high) as i32 - 1);
        let byte = |i: usize| self.scales[i];
        // Of a record of so many bytes for eight blocks: d, and what stands behind it.
        let record = |n_bytes: usize| (self.half(block / 8 * n_bytes / 2), block / 8 * n_bytes + 4);
        // Behind d of such a record: dmin, and where the block's two bytes are.
        let two_of = |at: usize| (self.half((at - 2) / 2), at + 2 * (block % 8));
        core::array::from_fn(|i| match format {
            Format::F32 => f32::from_bits(word(32, i)),
            Format::F16 => quant::f16_to_f32(halves(i / 2)[i % 2]),
            Format::BF16 => quant::bf16_to_f32(halves(i / 2)[i % 2]),
            Format::Q8_0 => f32::from(code(8, 0, i) as u8 as i8) * self.half(block),
            Format::Q4_0 => centred(4, 0, i) * self.half(block),
            Format::Q5_0 => centred(4, 1, i) * self.half(block),
            Format::Q4_1 => code(4, 0, i) as f32 * self.half(2 * block) + self.half(2 * block + 1),
            Format::Q5_1 => code(4, 1, i) as f32 * self.half(2 * block) + self.half(2 * block + 1),
            Format::IQ4_NL => f32::from(IQ4[code(4, 0, i) as usize]) * self.half(block),
            Format::MXFP4 => f32::from(FP4[code(4, 0, i) as usize]) * 2f32.powi(i32::from(byte(block)) - 128),
            Format::TQ1_0 | Format::TQ2_0 => (code(2, 0, i) as f32 - 1.0) * self.half(block / 8),
            Format::IQ4_XS => {
                let (d, at) = record(12);
                d * f32::from(byte(at + block % 8) as i8) * f32::from(IQ4[code(4, 0, i) as usize])
            }
            Format::Q4_K | Format::Q5_K => {
                let high = usize::from(format == Format::Q5_K);
                let (d, at) = record(20);
                let (dmin, at) = two_of(at);
                d * f32::from(byte(at)) * code(4, high, i) as f32 - dmin * f32::from(byte(at + 1))
            }
            Format::Q2_K => {
                let (d, at) = record(20);
                let (dmin, at) = two_of(at);
                let both = byte(at + i / 16);
                d * f32::from(both & 15) * code(2, 0, i) as f32 - dmin * f32::from(both >> 4)
            }
            Format::Q3_K | Format::Q6_K => {
                let (low, high) = if format == Format::Q3_K { (2, 1) } else { (4, 2) };
                let (d, at) = record(20);
                let (_, at) = two_of(at);
                d * f32::from(byte(at + i / 16) as i8) * centred(low, high, i)
            }
        })
    }

    /// Row r, with what it was filled up with.
    fn row(&self, r: usize) -> Vec<f32> {
        (0..self.shape.row_blocks).flat_map(|b| self.block(r * self.shape.row_blocks + b)).collect()
    }
}

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
        let planes = split(format, [n, k], &mut bytes.chunks(usize::MAX)).expect("it splits");
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
                let planes = split(format, [n, k], &mut bytes.chunks(chunk_bytes)).expect("it splits");
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
        let expected = split(format, size, &mut bytes.chunks(usize::MAX)).expect("it splits");
        for _ in 0..100 {
            let (mut rest, mut chunks) = (&bytes[..], vec![]);
            while !rest.is_empty() {
                let (chunk, tail) = rest.split_at(rng.below(200).min(rest.len()));
                chunks.push(chunk);
                rest = tail;
            }
            let planes = split(format, size, &mut chunks.into_iter()).expect("it splits");
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
        let planes = split(format, size, &mut bytes.chunks(9)).expect("it splits");
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
                match split(format, [6, k], &mut bytes.chunks(chunk_bytes)) {
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
        let refused = split(format, size, &mut too_many.chunks(usize::MAX));
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
