//! Panels of the formats of codes (`quant::coded`): one layout for all of them, made of planes of bits.
//!
//! A block of a panel holds a block of eight rows, in vectors of 16 bytes:
//!
//! ```text
//! d       1 vector            f16 of eight rows (MXFP4: bf16, which holds its powers of two)
//! dmin    1, if any           f16 of eight rows
//! s, m    8 bytes a run       i8 of eight rows, all s and then all m; Q2_K has them as nibbles of one byte; none with one scale
//! chunks  of 32 weights each: the planes of their codes
//!   nibbles  8   4 to 6 bits  bits 0 to 3:  [2g + h], low nibble: weight 4g + i, high nibble: weight 16 + 4g + i
//!   pairs    4   2, 3, 6      bits 0 and 1 (of 6: 4 and 5):  [2x + h], from the lowest bits on: weights 8x + i, 16 + 8x + i,
//!                             4 + 8x + i, 20 + 8x + i
//!   bits     2   3, 5         the last bit:  [h], bit 2g: weight 4g + i, bit 2g + 1: weight 16 + 4g + i
//! ```
//!
//! Byte 4r + i of a plane's vector belongs to row 4h + r. So a shift and a mask give the codes of four rows × four weights, in
//! the order that Q4_0's panels have. As large as in the file, but for scales of six bits, which become bytes, and TQ1_0,
//! which is laid out as TQ2_0.

use super::{BLOCK, PANEL_ROWS};
use crate::{
    error::{Error, Result, try_vec},
    quant::{
        Format, bf16_to_f32,
        coded::{MAX_LEN, Reader, Scales, Values},
        f16_to_f32, f32_to_f16,
    },
};

/// Sixteen bytes of a panel.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(16))]
pub struct Bytes16(pub [u8; 16]);

/// Where things lie in the panels of a format, and what its codes stand for.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Chunks of 32 weights of a block: 1 or 8.
    pub n_chunks: usize,
    /// Whether each half of a chunk has its own scale (and minimum).
    pub is_halved: bool,
    /// Whether there are minima.
    pub has_minima: bool,
    /// How the scales of the runs lie.
    pub runs: Runs,
    /// Whether there is a plane of nibbles.
    pub has_nibbles: bool,
    /// The lowest bit of the plane of pairs.
    pub pairs: Option<u32>,
    /// The bit of the plane of bits.
    pub bits: Option<u32>,
    /// What codes of four bits stand for, plus [`Self::offset`]; otherwise a code stands for itself.
    pub table: Option<[u8; 16]>,
    /// What is taken from that to get the weight.
    pub offset: i16,
    /// The largest of what codes stand for, before the offset is taken.
    pub max_code: u8,
    /// Whether d is a bf16.
    pub is_bf16: bool,
}

/// The scales of a block's runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// Every s is 1, every m −1.
    One,
    /// A byte each.
    Bytes,
    /// s in the low nibble, m in the high one.
    Nibbles,
}

impl Layout {
    /// That of a format of codes; `None` for the others.
    pub const fn of(format: Format) -> Option<Self> {
        let Some(Reader { coding, .. }) = format.reader() else { return None };
        let (table, offset) = match coding.values {
            Values::From(first) => (None, -(first as i16)),
            Values::Table(values) => {
                let least = range(values)[0];
                (Some(raised(values, least)), -(least as i16))
            }
        };
        let max_code = match coding.values {
            Values::From(_) => ((1_u32 << coding.bits) - 1) as u8,
            Values::Table(values) => range(values)[1].abs_diff(range(values)[0]),
        };
        Some(Self {
            n_chunks: format.block_len() / BLOCK,
            is_halved: coding.run < BLOCK,
            has_minima: coding.has_minima,
            runs: match coding.scale_bits {
                0 => Runs::One,
                4 => Runs::Nibbles,
                _ => Runs::Bytes,
            },
            has_nibbles: coding.bits >= 4,
            pairs: match coding.bits {
                2 | 3 => Some(0),
                6 => Some(4),
                _ => None,
            },
            bits: match coding.bits {
                3 => Some(2),
                5 => Some(4),
                _ => None,
            },
            table,
            offset,
            max_code,
            is_bf16: matches!(format, Format::MXFP4),
        })
    }

    /// Whether codes are factors that the 8-bit dot products take: 0 to 127.
    pub const fn is_7_bit(&self) -> bool {
        self.max_code <= 127
    }

    /// Whether the halves of a chunk are summed by themselves: they have scales of their own, or sums of 16 bits (of 16 products, the
    /// offset taken) would not hold a whole chunk.
    pub const fn in_halves(&self) -> bool {
        let largest = if self.max_code as i16 - self.offset > self.offset {
            self.max_code as i16 - self.offset
        } else {
            self.offset
        };
        self.is_halved || 16 * 127 * largest as i32 > i16::MAX as i32
    }

    /// Runs of a block.
    pub const fn n_runs(&self) -> usize {
        if self.is_halved { 2 * self.n_chunks } else { self.n_chunks }
    }

    /// The vector with s of the first runs.
    pub const fn first_scale(&self) -> usize {
        if self.has_minima { 2 } else { 1 }
    }

    /// The vector where the first chunk begins.
    pub const fn first_chunk(&self) -> usize {
        let of_runs = match self.runs {
            Runs::One => 0,
            Runs::Bytes if self.has_minima => self.n_runs(),
            Runs::Bytes | Runs::Nibbles => self.n_runs() / 2,
        };
        self.first_scale() + of_runs
    }

    /// Of a chunk: the vectors before the plane of pairs.
    pub const fn pairs_at(&self) -> usize {
        if self.has_nibbles { 8 } else { 0 }
    }

    /// Of a chunk: the vectors before the plane of bits.
    pub const fn bits_at(&self) -> usize {
        self.pairs_at() + if self.pairs.is_some() { 4 } else { 0 }
    }

    /// Vectors of a chunk.
    pub const fn chunk_len(&self) -> usize {
        self.bits_at() + if self.bits.is_some() { 2 } else { 0 }
    }

    /// Vectors of a block of eight rows.
    pub const fn block_len(&self) -> usize {
        self.first_chunk() + self.n_chunks * self.chunk_len()
    }
}

/// The least and the largest.
const fn range(values: &[i8; 16]) -> [i8; 2] {
    let [mut least, mut largest] = [values[0]; 2];
    let mut i = 1;
    while i < 16 {
        if values[i] < least {
            least = values[i];
        }
        if values[i] > largest {
            largest = values[i];
        }
        i += 1;
    }
    [least, largest]
}

/// What the values are above the least.
const fn raised(values: &[i8; 16], least: i8) -> [u8; 16] {
    let mut table = [0; 16];
    let mut i = 0;
    while i < 16 {
        table[i] = values[i].abs_diff(least);
        i += 1;
    }
    table
}

/// The panels of a matrix.
#[derive(Debug, Clone)]
pub struct CodePanels {
    reader: &'static Reader,
    /// Where things lie in them.
    pub layout: Layout,
    /// Block after block, panel after panel.
    pub vectors: Vec<Bytes16>,
}

impl CodePanels {
    /// Room for so many blocks of eight rows.
    pub(super) fn new(format: Format, n_blocks: usize, what: &str) -> Result<Self> {
        let (Some(reader), Some(layout)) = (format.reader(), Layout::of(format)) else {
            return Err(Error::internal(format!("{} is no format of codes", format.name())));
        };
        let n = n_blocks.checked_mul(layout.block_len()).ok_or_else(|| Error::file(format!("{what} is too large")))?;
        Ok(Self { reader, layout, vectors: try_vec(n, what)? })
    }

    /// Packs the next block: `rows` are the blocks of up to eight rows, as in the file.
    pub(super) fn pack<'a>(&mut self, rows: impl Iterator<Item = &'a [u8]>) {
        let Self { reader, layout, vectors } = self;
        let start = vectors.len();
        vectors.resize(start + layout.block_len(), Bytes16([0; 16]));
        let (header, chunks) = vectors[start..].split_at_mut(layout.first_chunk());
        let mut codes = [0; MAX_LEN];
        for (r, bytes) in rows.take(PANEL_ROWS).enumerate() {
            put_scales(layout, &(reader.scales)(bytes), r, bytemuck::cast_slice_mut(header));
            let codes = &mut codes[..layout.n_chunks * BLOCK];
            (reader.codes)(bytes, codes);
            for (codes, chunk) in codes.chunks_exact(BLOCK).zip(chunks.chunks_exact_mut(layout.chunk_len())) {
                put_codes(layout, codes, r, bytemuck::cast_slice_mut(chunk));
            }
        }
    }

    /// Row `r` of the panel that begins with this block.
    pub(super) fn read_row(&self, first_block: usize, r: usize, out: &mut [f32]) {
        let Self { reader: Reader { coding, .. }, layout, vectors } = self;
        let blocks = vectors[first_block * layout.block_len()..].chunks_exact(layout.block_len());
        for (out, block) in out.chunks_exact_mut(layout.n_chunks * BLOCK).zip(blocks) {
            let (header, chunks) = block.split_at(layout.first_chunk());
            let scales = scales(layout, r, bytemuck::cast_slice(header));
            let mut codes = [0; MAX_LEN];
            for (codes, chunk) in codes.chunks_exact_mut(BLOCK).zip(chunks.chunks_exact(layout.chunk_len())) {
                let chunk = bytemuck::cast_slice(chunk);
                codes.iter_mut().enumerate().for_each(|(k, to)| *to = code(layout, chunk, r, k));
            }
            coding.dequantize(&scales, &codes, out);
        }
    }
}

fn put_scales(layout: &Layout, scales: &Scales, r: usize, header: &mut [u8]) {
    let d = if layout.is_bf16 { (scales.d.to_bits() >> 16) as u16 } else { f32_to_f16(scales.d) };
    header[2 * r..2 * r + 2].copy_from_slice(&d.to_le_bytes());
    if layout.has_minima {
        header[16 + 2 * r..18 + 2 * r].copy_from_slice(&f32_to_f16(scales.dmin).to_le_bytes());
    }
    let (first, n_runs) = (16 * layout.first_scale() + r, layout.n_runs());
    for (run, (s, m)) in scales.s.iter().zip(scales.m).enumerate().take(n_runs) {
        match layout.runs {
            Runs::One => {}
            Runs::Nibbles => header[first + 8 * run] = *s as u8 | (m as u8) << 4,
            Runs::Bytes => {
                header[first + 8 * run] = *s as u8;
                if layout.has_minima {
                    header[first + 8 * (n_runs + run)] = m as u8;
                }
            }
        }
    }
}

/// The inverse of [`put_scales`].
fn scales(layout: &Layout, r: usize, header: &[u8]) -> Scales {
    let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let d = if layout.is_bf16 { bf16_to_f32(half(2 * r)) } else { f16_to_f32(half(2 * r)) };
    let dmin = if layout.has_minima { f16_to_f32(half(16 + 2 * r)) } else { 0.0 };
    let mut scales = Scales { d, dmin, ..Scales::default() };
    let (first, n_runs) = (16 * layout.first_scale() + r, layout.n_runs());
    for run in 0..n_runs {
        (scales.s[run], scales.m[run]) = match layout.runs {
            Runs::One => (1, if layout.has_minima { -1 } else { 0 }),
            Runs::Nibbles => ((header[first + 8 * run] & 15) as i8, (header[first + 8 * run] >> 4) as i8),
            Runs::Bytes if layout.has_minima => {
                (header[first + 8 * run] as i8, header[first + 8 * (n_runs + run)] as i8)
            }
            Runs::Bytes => (header[first + 8 * run] as i8, 0),
        };
    }
    scales
}

/// Puts the 32 codes of a row into the planes of its chunk, four codes at a time.
fn put_codes(layout: &Layout, codes: &[u8], r: usize, chunk: &mut [u8]) {
    let four = |k: usize| u32::from_le_bytes([codes[k], codes[k + 1], codes[k + 2], codes[k + 3]]);
    // Weights 4g … and 16 + 4g ….
    let words: [[u32; 2]; 4] = core::array::from_fn(|g| [four(4 * g), four(16 + 4 * g)]);
    let at = |vector: usize| 16 * vector + 4 * (r % 4);
    let h = r / 4;
    let mut put = |vector: usize, word: u32| chunk[at(vector)..at(vector) + 4].copy_from_slice(&word.to_le_bytes());
    if layout.has_nibbles {
        for (g, [low, high]) in words.into_iter().enumerate() {
            put(2 * g + h, low & 0x0f0f_0f0f | (high & 0x0f0f_0f0f) << 4);
        }
    }
    if let Some(shift) = layout.pairs {
        let pairs = words.map(|[low, high]| low >> shift & 0x0303_0303 | (high >> shift & 0x0303_0303) << 2);
        put(layout.pairs_at() + h, pairs[0] | pairs[1] << 4);
        put(layout.pairs_at() + 2 + h, pairs[2] | pairs[3] << 4);
    }
    if let Some(shift) = layout.bits {
        let bits = words.map(|[low, high]| low >> shift & 0x0101_0101 | (high >> shift & 0x0101_0101) << 1);
        put(layout.bits_at() + h, bits[0] | bits[1] << 2 | bits[2] << 4 | bits[3] << 6);
    }
}

/// The inverse of [`put_codes`], for code k.
fn code(layout: &Layout, chunk: &[u8], r: usize, k: usize) -> u8 {
    let (is_high, g) = (k / 16, k % 16 / 4);
    let byte = |vector: usize| chunk[16 * (vector + r / 4) + 4 * (r % 4) + k % 4];
    let mut code = 0;
    if layout.has_nibbles {
        code = byte(2 * g) >> (4 * is_high) & 15;
    }
    if let Some(shift) = layout.pairs {
        code |= (byte(layout.pairs_at() + 2 * (g / 2)) >> (4 * (g % 2) + 2 * is_high) & 3) << shift;
    }
    if let Some(shift) = layout.bits {
        code |= (byte(layout.bits_at()) >> (2 * g + is_high) & 1) << shift;
    }
    code
}
