//! From the bytes of a file to the layout that the CPU kernels read, while the bytes arrive.
//!
//! Eight rows are interleaved ("a panel"), so that one lane of a vector is one row and no kernel adds lanes up. A panel is a
//! run of blocks, one per 32 weights of K (per weight for F32, F16, BF16):
//!
//! ```text
//! Q4_0, Q4_1   d[8] f16 │ (m[8] f16) │ q[8] × 16 bytes.  q[2g + h] holds rows 4h..4h+4, 4 bytes each;
//!              byte j of a row: weight 4g + j in the low nibble, weight 16 + 4g + j in the high one
//! Q8_0         d[8] f16 │ q[16] × 16 bytes.  q[p] holds 8 rows × 2 weights: k and k + 2 with k = 4·(p/2) + p%2
//! F32 F16 BF16 the same weight of 8 rows
//! ```
//!
//! As large as in the file, save rows padded with zeros to a multiple of 8. Scales that are f16 subnormals are slow for the
//! kernels' decoding; a weight that has one is kept with f32 scales ("wide"), which gives the same bits.
//! Bytes may come in chunks of any size; at most eight rows are buffered.

use super::Format;
use crate::error::{Error, Result, try_vec};

/// Rows of a panel.
pub const PANEL_ROWS: usize = 8;
/// Weights of a quantized block.
pub const BLOCK: usize = 32;

/// Eight f16 (or bf16), one per row.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub struct Half8(pub [u16; 8]);

/// Eight f32, one per row.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub struct Single8(pub [f32; 8]);

/// Q4_0: `w = d · (q − 8)`. S is [`Half8`] or [`Single8`].
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub struct Q40x8<S> {
    /// Scales.
    pub d: S,
    /// Nibbles, see the module.
    pub q: [[u8; 16]; 8],
}

/// Q4_1: `w = d · q + m`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub struct Q41x8<S> {
    /// Scales.
    pub d: S,
    /// Minima.
    pub m: S,
    /// Nibbles, see the module.
    pub q: [[u8; 16]; 8],
}

/// Q8_0: `w = d · q`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub struct Q80x8<S> {
    /// Scales.
    pub d: S,
    /// Pairs, see the module.
    pub q: [[i8; 16]; 16],
}

const _: () = assert!(size_of::<Q40x8<Half8>>() == 8 * Format::Q4_0.block_bytes());
const _: () = assert!(size_of::<Q41x8<Half8>>() == 8 * Format::Q4_1.block_bytes());
const _: () = assert!(size_of::<Q80x8<Half8>>() == 8 * Format::Q8_0.block_bytes());

/// The panels of a matrix, panel after panel.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "named like the formats; Wide: with f32 scales")]
pub enum Panels {
    F32(Vec<Single8>),
    F16(Vec<Half8>),
    BF16(Vec<Half8>),
    Q4_0(Vec<Q40x8<Half8>>),
    Q4_0Wide(Vec<Q40x8<Single8>>),
    Q4_1(Vec<Q41x8<Half8>>),
    Q4_1Wide(Vec<Q41x8<Single8>>),
    Q8_0(Vec<Q80x8<Half8>>),
    Q8_0Wide(Vec<Q80x8<Single8>>),
}

/// A matrix [N, K] that is being, or has been, repacked.
#[derive(Debug, Clone)]
pub struct Matrix {
    name: String,
    format: Format,
    n_rows: usize,
    row_len: usize,
    row_bytes: usize,
    panels: Panels,
    /// File bytes of the rows of the panel that is not complete yet.
    pending: Vec<u8>,
    rows_done: usize,
}

impl Matrix {
    /// Makes room for a matrix of `n_rows` rows of `row_len` weights.
    pub fn new(name: &str, format: Format, n_rows: usize, row_len: usize) -> Result<Self> {
        let row_bytes = format.row_bytes(row_len)?;
        let n_panels = n_rows.div_ceil(PANEL_ROWS);
        let n_blocks = n_panels
            .checked_mul(row_len / format.block_len())
            .ok_or_else(|| Error::file(format!("tensor {name} is too large")))?;
        let what = format!("tensor {name}");
        let panels = match format {
            Format::F32 => Panels::F32(try_vec(n_blocks, &what)?),
            Format::F16 => Panels::F16(try_vec(n_blocks, &what)?),
            Format::BF16 => Panels::BF16(try_vec(n_blocks, &what)?),
            Format::Q4_0 => Panels::Q4_0(try_vec(n_blocks, &what)?),
            Format::Q4_1 => Panels::Q4_1(try_vec(n_blocks, &what)?),
            Format::Q8_0 => Panels::Q8_0(try_vec(n_blocks, &what)?),
        };
        let pending = Vec::new();
        Ok(Self { name: name.into(), format, n_rows, row_len, row_bytes, panels, pending, rows_done: 0 })
    }

    /// Takes the next bytes of the file, any number of them.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let n_rows = PANEL_ROWS.min(self.n_rows - self.rows_done);
            let panel_bytes = n_rows * self.row_bytes;
            if panel_bytes == 0 {
                return Err(Error::internal(format!("tensor {} got more bytes than it has", self.name)));
            }
            if self.pending.is_empty() && bytes.len() >= panel_bytes {
                let (panel, rest) = bytes.split_at(panel_bytes);
                self.pack_panel(panel, n_rows)?;
                bytes = rest;
                continue;
            }
            if self.pending.capacity() == 0 {
                self.pending = try_vec(panel_bytes, &format!("repacking tensor {}", self.name))?;
            }
            let (head, rest) = bytes.split_at(bytes.len().min(panel_bytes - self.pending.len()));
            self.pending.extend_from_slice(head);
            bytes = rest;
            if self.pending.len() == panel_bytes {
                let panel = std::mem::take(&mut self.pending);
                self.pack_panel(&panel, n_rows)?;
                self.pending = panel;
                self.pending.clear();
            }
        }
        if self.is_complete() {
            self.pending = Vec::new();
        }
        Ok(())
    }

    /// Whether every byte has come.
    pub fn is_complete(&self) -> bool {
        self.rows_done == self.n_rows
    }

    /// Rows N.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Weights per row K.
    pub fn row_len(&self) -> usize {
        self.row_len
    }

    /// Blocks of a panel.
    pub fn panel_len(&self) -> usize {
        self.row_len / self.format.block_len()
    }

    /// Format in the file.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The panels; rows past N are zero.
    pub fn panels(&self) -> &Panels {
        &self.panels
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> u64 {
        let panels = match &self.panels {
            Panels::F32(v) => size_of_val(v.as_slice()),
            Panels::F16(v) | Panels::BF16(v) => size_of_val(v.as_slice()),
            Panels::Q4_0(v) => size_of_val(v.as_slice()),
            Panels::Q4_0Wide(v) => size_of_val(v.as_slice()),
            Panels::Q4_1(v) => size_of_val(v.as_slice()),
            Panels::Q4_1Wide(v) => size_of_val(v.as_slice()),
            Panels::Q8_0(v) => size_of_val(v.as_slice()),
            Panels::Q8_0Wide(v) => size_of_val(v.as_slice()),
        };
        (panels + self.pending.capacity()) as u64
    }

    /// Packs the next up to eight rows.
    fn pack_panel(&mut self, bytes: &[u8], n_rows: usize) -> Result<()> {
        let rows = Rows { bytes, row_bytes: self.row_bytes, n_rows, block_bytes: self.format.block_bytes() };
        let n_blocks = self.panel_len();
        if !rows.is_finite(self.format, n_blocks) {
            return Err(self.not_finite(&rows));
        }
        if matches!(self.panels, Panels::Q4_0(_) | Panels::Q4_1(_) | Panels::Q8_0(_))
            && rows.has_subnormal_scale(self.format, n_blocks)
        {
            self.widen()?;
        }
        let blocks = 0..n_blocks;
        match &mut self.panels {
            Panels::F32(v) => v.extend(blocks.map(|b| Single8(rows.each(b, |x| f32::from_bits(u32_at(x)))))),
            Panels::F16(v) | Panels::BF16(v) => v.extend(blocks.map(|b| Half8(rows.each(b, |x| u16_at(x, 0))))),
            Panels::Q4_0(v) => v.extend(blocks.map(|b| Q40x8 { d: rows.half(b, 0), q: rows.nibbles(b, 2) })),
            Panels::Q4_0Wide(v) => {
                v.extend(blocks.map(|b| Q40x8 { d: rows.half(b, 0).widen(), q: rows.nibbles(b, 2) }))
            }
            Panels::Q4_1(v) => {
                v.extend(blocks.map(|b| Q41x8 { d: rows.half(b, 0), m: rows.half(b, 2), q: rows.nibbles(b, 4) }));
            }
            Panels::Q4_1Wide(v) => v.extend(blocks.map(|b| Q41x8 {
                d: rows.half(b, 0).widen(),
                m: rows.half(b, 2).widen(),
                q: rows.nibbles(b, 4),
            })),
            Panels::Q8_0(v) => v.extend(blocks.map(|b| Q80x8 { d: rows.half(b, 0), q: rows.pairs(b) })),
            Panels::Q8_0Wide(v) => v.extend(blocks.map(|b| Q80x8 { d: rows.half(b, 0).widen(), q: rows.pairs(b) })),
        }
        self.rows_done += n_rows;
        Ok(())
    }

    /// Goes over to f32 scales, what is packed already included.
    fn widen(&mut self) -> Result<()> {
        let what = format!("tensor {} with f32 scales", self.name);
        fn map<A, B>(from: &[A], capacity: usize, what: &str, f: impl Fn(&A) -> B) -> Result<Vec<B>> {
            let mut to = try_vec(capacity, what)?;
            to.extend(from.iter().map(f));
            Ok(to)
        }
        self.panels = match &self.panels {
            Panels::Q4_0(v) => Panels::Q4_0Wide(map(v, v.capacity(), &what, |b| Q40x8 { d: b.d.widen(), q: b.q })?),
            Panels::Q4_1(v) => {
                Panels::Q4_1Wide(map(v, v.capacity(), &what, |b| Q41x8 { d: b.d.widen(), m: b.m.widen(), q: b.q })?)
            }
            Panels::Q8_0(v) => Panels::Q8_0Wide(map(v, v.capacity(), &what, |b| Q80x8 { d: b.d.widen(), q: b.q })?),
            _ => return Ok(()),
        };
        Ok(())
    }

    fn not_finite(&self, rows: &Rows<'_>) -> Error {
        let row = (0..rows.n_rows)
            .find(|&r| !rows.row_is_finite(r, self.format, self.panel_len()))
            .map_or(self.rows_done, |r| self.rows_done + r);
        Error::file(format!("tensor {}: row {row} holds a NaN or an infinity", self.name))
    }

    /// Row `row` as f32, into `out` [K].
    ///
    /// # Panics
    /// Where the matrix is not complete or has no such row.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows_done && out.len() == self.row_len, "row {row} of tensor {}", self.name);
        let panel = row / PANEL_ROWS * self.panel_len()..(row / PANEL_ROWS + 1) * self.panel_len();
        let r = row % PANEL_ROWS;
        match &self.panels {
            Panels::F32(v) => {
                out.iter_mut().zip(&v[panel]).for_each(|(o, b)| *o = b.0[r]);
            }
            Panels::F16(v) => {
                out.iter_mut().zip(&v[panel]).for_each(|(o, b)| *o = f16(b.0[r]));
            }
            Panels::BF16(v) => {
                out.iter_mut().zip(&v[panel]).for_each(|(o, b)| *o = f32::from_bits(u32::from(b.0[r]) << 16))
            }
            Panels::Q4_0(v) => read_blocks(&v[panel], r, out),
            Panels::Q4_0Wide(v) => read_blocks(&v[panel], r, out),
            Panels::Q4_1(v) => read_blocks(&v[panel], r, out),
            Panels::Q4_1Wide(v) => read_blocks(&v[panel], r, out),
            Panels::Q8_0(v) => read_blocks(&v[panel], r, out),
            Panels::Q8_0Wide(v) => read_blocks(&v[panel], r, out),
        }
    }
}

/// Up to eight rows of file bytes.
struct Rows<'a> {
    bytes: &'a [u8],
    row_bytes: usize,
    n_rows: usize,
    block_bytes: usize,
}

impl Rows<'_> {
    /// Block b of row r; rows that are missing read as zeros.
    fn block(&self, r: usize, b: usize) -> &[u8] {
        static ZEROS: [u8; 34] = [0; 34];
        let start = r * self.row_bytes + b * self.block_bytes;
        if r < self.n_rows { &self.bytes[start..start + self.block_bytes] } else { &ZEROS[..self.block_bytes] }
    }

    fn each<T>(&self, b: usize, f: impl Fn(&[u8]) -> T) -> [T; 8] {
        core::array::from_fn(|r| f(self.block(r, b)))
    }

    fn half(&self, b: usize, offset: usize) -> Half8 {
        Half8(self.each(b, |x| u16_at(x, offset)))
    }

    fn nibbles(&self, b: usize, offset: usize) -> [[u8; 16]; 8] {
        let mut q = [[0; 16]; 8];
        for r in 0..8 {
            let block = &self.block(r, b)[offset..offset + 16];
            for g in 0..4 {
                q[2 * g + r / 4][4 * (r % 4)..][..4].copy_from_slice(&block[4 * g..4 * g + 4]);
            }
        }
        q
    }

    fn pairs(&self, b: usize) -> [[i8; 16]; 16] {
        let mut q = [[0; 16]; 16];
        for r in 0..8 {
            let block = &self.block(r, b)[2..34];
            for (p, pair) in q.iter_mut().enumerate() {
                let k = first_of_pair(p);
                pair[2 * r] = block[k] as i8;
                pair[2 * r + 1] = block[k + 2] as i8;
            }
        }
        q
    }

    fn scales(r: &[u8], format: Format) -> impl Iterator<Item = u16> {
        let n = match format {
            Format::Q4_1 => 2,
            _ => 1,
        };
        (0..n).map(|i| u16_at(r, 2 * i))
    }

    fn is_finite(&self, format: Format, n_blocks: usize) -> bool {
        (0..self.n_rows).all(|r| self.row_is_finite(r, format, n_blocks))
    }

    fn row_is_finite(&self, r: usize, format: Format, n_blocks: usize) -> bool {
        (0..n_blocks).all(|b| {
            let block = self.block(r, b);
            match format {
                Format::F32 => u32_at(block) & 0x7f80_0000 != 0x7f80_0000,
                Format::BF16 => u16_at(block, 0) & 0x7f80 != 0x7f80,
                _ => Self::scales(block, format).all(|h| h & 0x7c00 != 0x7c00),
            }
        })
    }

    fn has_subnormal_scale(&self, format: Format, n_blocks: usize) -> bool {
        (0..self.n_rows).any(|r| {
            (0..n_blocks).any(|b| Self::scales(self.block(r, b), format).any(|h| h & 0x7c00 == 0 && h & 0x03ff != 0))
        })
    }
}

/// The first weight of pair p; the second is two further.
pub const fn first_of_pair(p: usize) -> usize {
    4 * (p / 2) + p % 2
}

impl Half8 {
    fn widen(self) -> Single8 {
        Single8(self.0.map(f16))
    }
}

/// A set of eight scales.
trait Scales {
    fn value(&self, r: usize) -> f32;
}

impl Scales for Half8 {
    fn value(&self, r: usize) -> f32 {
        f16(self.0[r])
    }
}

impl Scales for Single8 {
    fn value(&self, r: usize) -> f32 {
        self.0[r]
    }
}

/// A block that can give one of its rows.
trait ReadRow {
    fn row(&self, r: usize, out: &mut [f32]);
}

fn read_blocks<B: ReadRow>(blocks: &[B], r: usize, out: &mut [f32]) {
    for (block, out) in blocks.iter().zip(out.chunks_exact_mut(BLOCK)) {
        block.row(r, out);
    }
}

fn nibble(q: &[[u8; 16]; 8], r: usize, k: usize) -> f32 {
    let j = k % 16;
    let byte = q[2 * (j / 4) + r / 4][4 * (r % 4) + j % 4];
    f32::from(if k < 16 { byte & 15 } else { byte >> 4 })
}

impl<S: Scales> ReadRow for Q40x8<S> {
    fn row(&self, r: usize, out: &mut [f32]) {
        let d = self.d.value(r);
        out.iter_mut().enumerate().for_each(|(k, o)| *o = d * (nibble(&self.q, r, k) - 8.0));
    }
}

impl<S: Scales> ReadRow for Q41x8<S> {
    fn row(&self, r: usize, out: &mut [f32]) {
        let (d, m) = (self.d.value(r), self.m.value(r));
        out.iter_mut().enumerate().for_each(|(k, o)| *o = d * nibble(&self.q, r, k) + m);
    }
}

impl<S: Scales> ReadRow for Q80x8<S> {
    fn row(&self, r: usize, out: &mut [f32]) {
        let d = self.d.value(r);
        for (p, pair) in self.q.iter().enumerate() {
            let k = first_of_pair(p);
            out[k] = d * f32::from(pair[2 * r]);
            out[k + 2] = d * f32::from(pair[2 * r + 1]);
        }
    }
}

fn u16_at(x: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([x[offset], x[offset + 1]])
}

fn u32_at(x: &[u8]) -> u32 {
    u32::from_le_bytes([x[0], x[1], x[2], x[3]])
}

fn f16(h: u16) -> f32 {
    half::f16::from_bits(h).to_f32_const()
}
