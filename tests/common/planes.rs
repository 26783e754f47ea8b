//! Reads the planes of the GPU by the drawing in `quant::planes`, weight by weight, as a shader takes them apart.

use kinglet::{
    error::Result,
    quant::{
        self, Format,
        planes::{BLOCK, MAX_SLICE_BYTES, Plane, PlaneShape, Slice, Splitter},
    },
};

/// The planes of a matrix in memory.
#[derive(Clone)]
pub struct Planes {
    pub shape: PlaneShape,
    pub quants: Vec<u8>,
    pub scales: Vec<u8>,
}

/// Splits a matrix whose bytes come in chunks, and holds the slices to their rules.
pub fn split(
    name: &str,
    format: Format,
    [n, k]: [usize; 2],
    chunks: &mut dyn Iterator<Item = &[u8]>,
) -> Result<Planes> {
    let shape = PlaneShape::new(format, n, k);
    let mut planes = Planes { shape, quants: vec![], scales: vec![] };
    let mut splitter = Splitter::new(name, format, n, k)?;
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
    pub fn block(&self, block: usize) -> [f32; BLOCK] {
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
            // In f64, as 2⁻¹²⁸ is a subnormal f32, for which `powi` gives 0.
            Format::MXFP4 => f32::from(FP4[code(4, 0, i) as usize]) * 2f64.powi(i32::from(byte(block)) - 128) as f32,
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
    pub fn row(&self, r: usize) -> Vec<f32> {
        (0..self.shape.row_blocks).flat_map(|b| self.block(r * self.shape.row_blocks + b)).collect()
    }
}
