//! Planes of the GPU: what is read back from them by the drawing in `quant::planes` is what `quant::dequantize` gives, bit for
//! bit, whatever the chunks were; what is not finite, too short or too long is refused.

mod common;

use common::{
    formats::{ON_GPU, random_weights},
    rng::Rng,
};
use kinglet::{
    error::{Error, Result},
    quant::{
        self, Format,
        planes::{BLOCK, MAX_SLICE_BYTES, Plane, PlaneShape, Slice, Splitter},
    },
};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);

/// The planes of a matrix in memory.
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

impl Planes {
    fn word(plane: &[u8], i: usize) -> u32 {
        u32::from_le_bytes(plane[4 * i..4 * i + 4].try_into().expect("four bytes"))
    }

    /// The f16 of a u32 of scales.
    fn half(&self, word: usize, is_high: bool) -> f32 {
        quant::f16_to_f32((Self::word(&self.scales, word) >> if is_high { 16 } else { 0 }) as u16)
    }

    /// The weights of a block, as a shader takes it apart.
    fn block(&self, block: usize) -> [f32; BLOCK] {
        let format = self.shape.format;
        let word = |c: usize| Self::word(&self.quants, block * format.quants_block_bytes() / 4 + c);
        let halves = |c: usize| [word(c) as u16, (word(c) >> 16) as u16];
        let nibble = |i: usize| {
            let shift = 8 * (i % 4) + if i % 8 < 4 { 0 } else { 4 };
            ((word(i / 8) >> shift) & 15) as f32
        };
        let d = || self.half(block / 2, block % 2 == 1);
        core::array::from_fn(|i| match format {
            Format::F32 => f32::from_bits(word(i)),
            Format::F16 => quant::f16_to_f32(halves(i / 2)[i % 2]),
            Format::BF16 => quant::bf16_to_f32(halves(i / 2)[i % 2]),
            Format::Q8_0 => f32::from((word(i / 4) >> (8 * (i % 4))) as u8 as i8) * d(),
            Format::Q4_0 => (nibble(i) - 8.0) * d(),
            Format::Q4_1 => nibble(i) * self.half(block, false) + self.half(block, true),
            other => panic!("{other:?} has no planes"),
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

/// Row lengths that a format can have: one block, an odd number of blocks, more than a slice holds; broken blocks.
fn lengths(format: Format) -> Vec<[usize; 2]> {
    let mut lengths = vec![[1, 32], [5, 96], [4, 576], [3, 32 * 1000]];
    if format.block_len() == 1 {
        lengths.extend([[3, 1], [8, 33], [7, 172], [2, 31]]);
    }
    lengths
}

#[test]
fn planes_hold_the_weights() {
    let mut rng = Rng(11);
    for format in ON_GPU {
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
    for format in ON_GPU {
        let size = if format.block_len() == 1 { [37, 75] } else { [37, 96] };
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

/// The comparison above sees every bit of the planes.
#[test]
fn a_wrong_bit_of_a_plane_is_seen() {
    let mut rng = Rng(13);
    for format in ON_GPU {
        let bytes = random_weights(&mut rng, 2, 64, format);
        let mut planes = split(format, [2, 64], &mut bytes.chunks(9)).expect("it splits");
        let rows = |p: &Planes| [bits(&p.row(0)), bits(&p.row(1))];
        let expected = rows(&planes);
        for bit in 0..8 * planes.quants.len() {
            planes.quants[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(rows(&planes), expected, "{format:?}: bit {bit}");
            planes.quants[bit / 8] ^= 1 << (bit % 8);
        }
        for bit in 0..8 * planes.scales.len() {
            planes.scales[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(rows(&planes), expected, "{format:?}: bit {bit} of the scales");
            planes.scales[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn what_is_not_finite_is_refused_by_row() {
    let mut rng = Rng(14);
    for format in ON_GPU {
        let bad: &[u8] = match format {
            Format::F32 => &[0, 0, 0x80, 0x7f],
            Format::BF16 => &[0x80, 0xff],
            _ => &[0x01, 0x7e],
        };
        let bytes = random_weights(&mut rng, 6, 96, format);
        let row_bytes = bytes.len() / 6;
        for block in [0, 96 / format.block_len() - 1] {
            let mut bytes = bytes.clone();
            let at = 4 * row_bytes + block * format.block_bytes();
            bytes[at..at + bad.len()].copy_from_slice(bad);
            for chunk_bytes in [1, 50, usize::MAX] {
                match split(format, [6, 96], &mut bytes.chunks(chunk_bytes)) {
                    Err(Error::FileFormat { what, .. }) => assert!(what.contains("w.weight: row 4 "), "{what}"),
                    other => panic!("{format:?}: {:?}", other.map(|_| "accepted")),
                }
            }
        }
    }
}

#[test]
fn lengths_are_held() {
    for format in ON_GPU {
        let bytes = random_weights(&mut Rng(15), 3, 64, format);
        let too_many = [&bytes[..], &[0]].concat();
        let refused = split(format, [3, 64], &mut too_many.chunks(usize::MAX));
        assert!(matches!(refused, Err(Error::Internal { .. })), "{format:?}: a byte too many");

        let mut splitter = Splitter::new("w", format, 3, 64).expect("a matrix");
        splitter.write(&bytes[..bytes.len() - 1], &mut |_| Ok(())).expect("all but one byte");
        assert!(!splitter.is_complete(), "{format:?}: a byte too few");

        let failed = Splitter::new("w", format, 3, 64)
            .and_then(|mut s| s.write(&bytes, &mut |_| Err(Error::internal("the sink"))));
        assert_eq!(failed, Err(Error::internal("the sink")));
    }
    assert!(Splitter::new("w", Format::Q4_0, 3, 33).is_err(), "a broken block");
    for format in Format::ALL.into_iter().filter(|f| !ON_GPU.contains(f)) {
        let refused = Splitter::new("w", format, 3, 256);
        assert!(matches!(refused, Err(Error::UnsupportedQuant { .. })), "{format:?}");
    }
    let empty = Splitter::new("w", Format::F32, 0, 33).expect("a matrix without rows");
    assert!(empty.is_complete());
    let huge = PlaneShape::new(Format::F32, usize::MAX, usize::MAX);
    assert_eq!(huge.n_bytes(), u64::MAX);
}

#[test]
fn sizes_are_those_of_the_drawing() {
    let bits_per_weight = |format| PlaneShape::new(format, 64, 1024).n_bytes() as f64 * 8.0 / (64.0 * 1024.0);
    let expected = [32.0, 16.0, 4.5, 5.0, 8.5, 16.0];
    assert_eq!(ON_GPU.map(bits_per_weight), expected);
    // Three blocks of half a u32 each.
    assert_eq!(PlaneShape::new(Format::Q4_0, 1, 96).plane_bytes(Plane::Scales), 8);
}
