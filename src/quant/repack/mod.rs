//! From the bytes of a file to the layout that the CPU kernels read, while the bytes arrive.
//!
//! Eight rows are interleaved ("a panel"), so that one lane of a vector is one row and no kernel adds lanes up. A panel is a
//! run of blocks; how they look is drawn in [`blocks`] (Q4_0, Q4_1, Q8_0, numbers) and [`codes`] (all others). Rows are padded with
//! zeros to a multiple of 8.
//!
//! Bytes may come in chunks of any size; at most eight rows are buffered.

mod blocks;
mod codes;
mod rows;

pub use blocks::{Arrangement, Half8, Paired8, Q40x8, Q41x8, Q80x8, Single8};
pub use codes::{Bytes16, CodePanels, Layout, Runs};

use self::{
    blocks::{f16, raised, read_blocks, read_bytes},
    rows::{Rows, u16_at},
};
use super::Format;
use crate::error::{Error, Result, try_vec};

/// Rows of a panel.
pub const PANEL_ROWS: usize = 8;
/// Weights of a quantized block.
pub const BLOCK: usize = 32;

/// The panels of a matrix, panel after panel.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "named like the formats; Wide: with f32 scales; Codes: all others")]
pub enum Panels {
    F32(Vec<Single8>),
    F16(Vec<Paired8>),
    BF16(Vec<Paired8>),
    Q4_0(Vec<Q40x8<Half8>>),
    Q4_0Wide(Vec<Q40x8<Single8>>),
    Q4_1(Vec<Q41x8<Half8>>),
    Q4_1Wide(Vec<Q41x8<Single8>>),
    Q8_0(Vec<Q80x8<Half8>>),
    Q8_0Wide(Vec<Q80x8<Single8>>),
    Codes(CodePanels),
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
    /// Of Q8_0.
    arrangement: Arrangement,
    /// File bytes of the rows of the panel that is not complete yet.
    pending: Vec<u8>,
    rows_done: usize,
}

impl Matrix {
    /// Makes room for a matrix of `n_rows` rows of `row_len` weights.
    pub fn new(name: &str, format: Format, n_rows: usize, row_len: usize) -> Result<Self> {
        let row_bytes = format.row_bytes(row_len)?;
        let n_blocks = n_rows
            .div_ceil(PANEL_ROWS)
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
            _ => Panels::Codes(CodePanels::new(format, n_blocks, &what)?),
        };
        let (pending, arrangement) = (Vec::new(), Arrangement::default());
        Ok(Self { name: name.into(), format, n_rows, row_len, row_bytes, panels, arrangement, pending, rows_done: 0 })
    }

    /// With the bytes of Q8_0 arranged so; before anything is written.
    pub fn arranged(self, arrangement: Arrangement) -> Self {
        Self { arrangement, ..self }
    }

    /// How the bytes of Q8_0 lie.
    pub fn arrangement(&self) -> Arrangement {
        self.arrangement
    }

    /// Bytes that a matrix will take; `u64::MAX` for a row of broken blocks, and for what is too much to count.
    pub fn n_bytes(format: Format, n_rows: usize, row_len: usize) -> u64 {
        let Ok(row_bytes) = format.row_bytes(row_len) else { return u64::MAX };
        let panel_bytes = match Layout::of(format) {
            Some(layout) => (row_len / format.block_len()).saturating_mul(layout.block_len() * size_of::<Bytes16>()),
            None => row_bytes.saturating_mul(PANEL_ROWS),
        };
        (n_rows.div_ceil(PANEL_ROWS) as u64).saturating_mul(panel_bytes as u64)
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
            Panels::Codes(v) => size_of_val(v.vectors.as_slice()),
        };
        (panels + self.pending.capacity()) as u64
    }

    /// Packs the next up to eight rows.
    fn pack_panel(&mut self, bytes: &[u8], n_rows: usize) -> Result<()> {
        let rows = Rows { bytes, row_bytes: self.row_bytes, n_rows, block_bytes: self.format.block_bytes() };
        let n_blocks = self.panel_len();
        if let Some(row) = rows.first_non_finite(self.format) {
            let row = self.rows_done + row;
            return Err(Error::file(format!("tensor {}: row {row} holds a NaN or an infinity", self.name)));
        }
        let is_wide = match self.panels {
            Panels::F16(_) => rows.has_large_half(),
            Panels::Q4_0(_) | Panels::Q4_1(_) | Panels::Q8_0(_) => rows.has_subnormal_scale(self.format),
            _ => false,
        };
        if is_wide {
            self.widen()?;
        }
        let (blocks, arrangement) = (0..n_blocks, self.arrangement);
        match &mut self.panels {
            Panels::F32(v) if self.format == Format::F16 => {
                v.extend(blocks.map(|b| Single8(rows.each(b, |x| f16(u16_at(x, 0))))))
            }
            Panels::F32(v) => v.extend(
                blocks.map(|b| Single8(rows.each(b, |x| f32::from_bits(u32::from_le_bytes([x[0], x[1], x[2], x[3]]))))),
            ),
            Panels::F16(v) => {
                v.extend(blocks.map(|b| Paired8::of(rows.each(b, |x| raised(u16_at(x, 0)).unwrap_or(0)))))
            }
            Panels::BF16(v) => v.extend(blocks.map(|b| Paired8::of(rows.each(b, |x| u16_at(x, 0))))),
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
            Panels::Q8_0(v) => {
                v.extend(blocks.map(|b| Q80x8 { d: rows.half(b, 0), q: rows.bytes(b, arrangement) }));
            }
            Panels::Q8_0Wide(v) => {
                v.extend(blocks.map(|b| Q80x8 { d: rows.half(b, 0).widen(), q: rows.bytes(b, arrangement) }));
            }
            Panels::Codes(v) => blocks.for_each(|b| v.pack((0..n_rows).map(|r| rows.block(r, b)))),
        }
        self.rows_done += n_rows;
        Ok(())
    }

    /// Goes over to f32 (weights in F16) or f32 scales, what is packed already included.
    fn widen(&mut self) -> Result<()> {
        let what = format!("tensor {} in f32", self.name);
        fn map<A, B>(from: &[A], capacity: usize, what: &str, f: impl Fn(&A) -> B) -> Result<Vec<B>> {
            let mut to = try_vec(capacity, what)?;
            to.extend(from.iter().map(f));
            Ok(to)
        }
        self.panels = match &self.panels {
            Panels::F16(v) => {
                Panels::F32(map(v, v.capacity(), &what, |w| Single8(core::array::from_fn(|r| w.raised_row(r))))?)
            }
            Panels::Q4_0(v) => Panels::Q4_0Wide(map(v, v.capacity(), &what, |b| Q40x8 { d: b.d.widen(), q: b.q })?),
            Panels::Q4_1(v) => {
                Panels::Q4_1Wide(map(v, v.capacity(), &what, |b| Q41x8 { d: b.d.widen(), m: b.m.widen(), q: b.q })?)
            }
            Panels::Q8_0(v) => Panels::Q8_0Wide(map(v, v.capacity(), &what, |b| Q80x8 { d: b.d.widen(), q: b.q })?),
            _ => return Ok(()),
        };
        Ok(())
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
                out.iter_mut().zip(&v[panel]).for_each(|(o, b)| *o = b.raised_row(r));
            }
            Panels::BF16(v) => {
                out.iter_mut().zip(&v[panel]).for_each(|(o, b)| *o = f32::from_bits(u32::from(b.row(r)) << 16))
            }
            Panels::Q4_0(v) => read_blocks(&v[panel], r, out),
            Panels::Q4_0Wide(v) => read_blocks(&v[panel], r, out),
            Panels::Q4_1(v) => read_blocks(&v[panel], r, out),
            Panels::Q4_1Wide(v) => read_blocks(&v[panel], r, out),
            Panels::Q8_0(v) => read_bytes(&v[panel], self.arrangement, r, out),
            Panels::Q8_0Wide(v) => read_bytes(&v[panel], self.arrangement, r, out),
            Panels::Codes(v) => v.read_row(panel.start, r, out),
        }
    }
}
