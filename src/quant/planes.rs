//! From the bytes of a file to the planes that the GPU's kernels read, while the bytes arrive.
//!
//! A matrix [N, K] is N rows of ⌈K / 32⌉ blocks of 32 weights; the last block of a row is filled up with zeros. Block b of row
//! r is block `r · ⌈K / 32⌉ + b` of both planes:
//!
//! ```text
//! quants, 16-byte vectors of four u32 per block
//!   F32        8   weight 4v + c in word c of vector v
//!   F16 BF16   4   weights 8v + 2c (low half) and 8v + 2c + 1 in word c of vector v
//!   Q8_0       2   weight 16v + 4c + j in byte j of word c of vector v
//!   Q4_0 Q4_1  1   in word c: weight 8c + j in the low nibble of byte j, weight 8c + 4 + j in the high one
//! scales, u32
//!   Q4_0 Q8_0  ½   f16 d; two blocks share a u32, the even block in its low half
//!   Q4_1       1   f16 d in the low half, f16 m in the high one
//! ```
//!
//! So a shader loads vectors only, takes a nibble word apart into two runs of four weights, and needs no 16-bit type. Bytes
//! may come in chunks of any size; what goes out is bounded slices, to be copied to the GPU and forgotten.

use super::{Format, first_non_finite};
use crate::error::{Error, Result, try_vec};

/// Weights per block of the planes.
pub const BLOCK: usize = 32;
/// The longest slice that is handed out, bytes.
pub const MAX_SLICE_BYTES: usize = 1 << 18;

/// The longest block in a file: 32 weights of F32.
const MAX_BLOCK_BYTES: usize = 4 * BLOCK;

impl Format {
    /// Bytes of a block in the plane of quants: a multiple of 16. 0: no planes are made of this format.
    pub const fn quants_block_bytes(self) -> usize {
        match self {
            Self::F32 => 128,
            Self::F16 | Self::BF16 => 64,
            Self::Q8_0 => 32,
            Self::Q4_0 | Self::Q4_1 => 16,
            _ => 0,
        }
    }

    /// Bytes of a block in the plane of scales: 0, 2 or 4.
    pub const fn scales_block_bytes(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q8_0 => 2,
            Self::Q4_1 => 4,
            _ => 0,
        }
    }
}

/// One of the two planes of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plane {
    /// Numbers, or what is to be scaled.
    Quants,
    /// Scales and minima.
    Scales,
}

/// How long the planes of a matrix are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaneShape {
    /// Format of the weights.
    pub format: Format,
    /// Rows N.
    pub n_rows: usize,
    /// Blocks of a row, ⌈K / 32⌉.
    pub row_blocks: usize,
}

impl PlaneShape {
    /// Of a matrix of `n_rows` rows of `row_len` weights.
    pub const fn new(format: Format, n_rows: usize, row_len: usize) -> Self {
        Self { format, n_rows, row_blocks: row_len.div_ceil(BLOCK) }
    }

    /// Bytes that so many rows take in a plane. Saturating: a header may claim any size. A number of rows that is not even
    /// may end in the middle of a u32 of scales.
    pub const fn rows_bytes(&self, plane: Plane, n_rows: usize) -> u64 {
        let block_bytes = match plane {
            Plane::Quants => self.format.quants_block_bytes(),
            Plane::Scales => self.format.scales_block_bytes(),
        };
        (n_rows as u64).saturating_mul(self.row_blocks as u64).saturating_mul(block_bytes as u64)
    }

    /// Length of a plane, bytes: whole u32.
    pub const fn plane_bytes(&self, plane: Plane) -> u64 {
        self.rows_bytes(plane, self.n_rows).div_ceil(4).saturating_mul(4)
    }

    /// Length of both planes, bytes.
    pub const fn n_bytes(&self) -> u64 {
        self.plane_bytes(Plane::Quants).saturating_add(self.plane_bytes(Plane::Scales))
    }
}

/// Bytes for a place in a plane; offset and length are multiples of 4 (of 16 in the plane of quants).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice<'a> {
    /// Which plane.
    pub plane: Plane,
    /// Where in the plane, bytes.
    pub offset: u64,
    /// At most [`MAX_SLICE_BYTES`].
    pub bytes: &'a [u8],
}

/// A matrix whose bytes are coming.
#[derive(Debug)]
pub struct Splitter {
    name: String,
    shape: PlaneShape,
    row_bytes: usize,
    /// The first bytes of a block that is not complete.
    pending: [u8; MAX_BLOCK_BYTES],
    n_pending: usize,
    /// Rows that are complete, and bytes of the next one that have been packed.
    n_rows_done: usize,
    row_bytes_done: usize,
    quants: Packed,
    scales: Packed,
}

/// The end of a plane that has been packed and not handed out.
#[derive(Debug)]
struct Packed {
    plane: Plane,
    /// Bytes handed out.
    offset: u64,
    bytes: Vec<u8>,
}

impl Splitter {
    /// For a matrix of `n_rows` rows of `row_len` weights; `name` is for errors.
    pub fn new(name: &str, format: Format, n_rows: usize, row_len: usize) -> Result<Self> {
        if format.quants_block_bytes() == 0 {
            return Err(Error::UnsupportedQuant { tensor: name.into(), format: format.name().into() });
        }
        Ok(Self {
            name: name.into(),
            shape: PlaneShape::new(format, n_rows, row_len),
            row_bytes: format.row_bytes(row_len)?,
            pending: [0; MAX_BLOCK_BYTES],
            n_pending: 0,
            n_rows_done: if row_len == 0 { n_rows } else { 0 },
            row_bytes_done: 0,
            quants: Packed { plane: Plane::Quants, offset: 0, bytes: Vec::new() },
            scales: Packed { plane: Plane::Scales, offset: 0, bytes: Vec::new() },
        })
    }

    /// Whether every byte has come, and every slice has been handed out.
    pub fn is_complete(&self) -> bool {
        self.n_rows_done == self.shape.n_rows
    }

    /// Takes the next bytes of the matrix in file order, any number of them, and hands slices of the planes to `sink`, each
    /// plane's from its start to its end. An error of the sink is passed on, and then the matrix is spoilt.
    pub fn write(&mut self, mut bytes: &[u8], sink: &mut dyn FnMut(Slice) -> Result<()>) -> Result<()> {
        if self.quants.bytes.capacity() == 0 && !self.is_complete() {
            self.make_room()?;
        }
        while !bytes.is_empty() {
            if self.is_complete() {
                return Err(Error::internal(format!("tensor {} got more bytes than it has", self.name)));
            }
            let n_packed = if self.n_pending == 0 { self.pack_run(bytes)? } else { 0 };
            let n_taken = if n_packed == 0 { self.fill_pending(bytes)? } else { n_packed };
            bytes = bytes.get(n_taken..).unwrap_or_default();
            let is_full = self.quants.bytes.len() + MAX_BLOCK_BYTES > MAX_SLICE_BYTES;
            if is_full || self.is_complete() {
                self.quants.hand_out(sink, self.is_complete())?;
                self.scales.hand_out(sink, self.is_complete())?;
            }
        }
        if self.is_complete() {
            (self.quants.bytes, self.scales.bytes) = (Vec::new(), Vec::new());
        }
        Ok(())
    }

    /// Many matrices may be waiting for their bytes; the one whose bytes come has room for its slices.
    fn make_room(&mut self) -> Result<()> {
        let what = format!("splitting tensor {}", self.name);
        self.quants.bytes = try_vec(MAX_SLICE_BYTES, &what)?;
        if self.shape.format.scales_block_bytes() > 0 {
            // Scales are at most a quarter of the quants; half a u32 may be left over.
            self.scales.bytes = try_vec(MAX_SLICE_BYTES / 4 + 4, &what)?;
        }
        Ok(())
    }

    /// Bytes of the next block in the file: fewer than 32 weights at the end of a row of numbers.
    fn next_block_bytes(&self) -> usize {
        let format = self.shape.format;
        (BLOCK / format.block_len() * format.block_bytes()).min(self.row_bytes - self.row_bytes_done)
    }

    /// Adds to the pending block; packs it where that completes it. The number of bytes used.
    fn fill_pending(&mut self, bytes: &[u8]) -> Result<usize> {
        let n_block = self.next_block_bytes();
        let n = bytes.len().min(n_block - self.n_pending);
        let (Some(free), Some(head)) = (self.pending.get_mut(self.n_pending..self.n_pending + n), bytes.get(..n))
        else {
            return Err(Error::internal(format!("tensor {}: a block of {n_block} bytes", self.name)));
        };
        free.copy_from_slice(head);
        self.n_pending += n;
        if self.n_pending == n_block {
            self.n_pending = 0;
            let block = self.pending;
            self.pack_run(block.get(..n_block).unwrap_or_default())?;
        }
        Ok(n)
    }

    /// Packs the whole blocks of the present row that `bytes` starts with, as many as there is room for. The number of bytes
    /// used.
    fn pack_run(&mut self, bytes: &[u8]) -> Result<usize> {
        let format = self.shape.format;
        let rest_of_row = self.row_bytes - self.row_bytes_done;
        let n_block = self.next_block_bytes();
        let room = (MAX_SLICE_BYTES - self.quants.bytes.len()) / format.quants_block_bytes();
        let n_available = bytes.len().min(rest_of_row).min(room.saturating_mul(n_block));
        let n_run = n_available / n_block * n_block;
        let run = bytes.get(..n_run).unwrap_or_default();
        if first_non_finite(format, run).is_some() {
            return Err(Error::file(format!(
                "tensor {}: row {} holds a NaN or an infinity",
                self.name, self.n_rows_done
            )));
        }
        for block in run.chunks_exact(n_block) {
            pack_block(format, block, &mut self.quants.bytes, &mut self.scales.bytes);
        }
        self.row_bytes_done += n_run;
        if self.row_bytes_done == self.row_bytes {
            self.row_bytes_done = 0;
            self.n_rows_done += 1;
        }
        Ok(n_run)
    }
}

impl Packed {
    /// Hands out what is there: of scales only whole u32, the last filled up at the end of the plane.
    fn hand_out(&mut self, sink: &mut dyn FnMut(Slice) -> Result<()>, is_end: bool) -> Result<()> {
        if is_end {
            self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        }
        let n = self.bytes.len() / 4 * 4;
        if let Some(bytes) = self.bytes.get(..n).filter(|bytes| !bytes.is_empty()) {
            sink(Slice { plane: self.plane, offset: self.offset, bytes })?;
        }
        self.bytes.drain(..n);
        self.offset += n as u64;
        Ok(())
    }
}

/// Appends a block of a file to the planes; fewer than 32 numbers are filled up with zeros.
fn pack_block(format: Format, block: &[u8], quants: &mut Vec<u8>, scales: &mut Vec<u8>) {
    let (head, rest) = block.split_at(format.scales_block_bytes().min(block.len()));
    match format {
        Format::F32 | Format::F16 | Format::BF16 | Format::Q8_0 => {
            quants.extend_from_slice(rest);
            quants.resize(quants.len() + format.quants_block_bytes() - rest.len(), 0);
        }
        Format::Q4_0 | Format::Q4_1 => quants.extend_from_slice(&nibbles(rest)),
        // Refused before its bytes came.
        _ => {}
    }
    scales.extend_from_slice(head);
}

/// ggml's byte i holds weight i in its low nibble and weight 16 + i in the high one; see the module for the order here.
fn nibbles(qs: &[u8]) -> [u8; 16] {
    let mut packed = [0; 16];
    let ((low, high), (runs, _)) = (packed.split_at_mut(8), qs.as_chunks::<8>());
    for (run, (low, high)) in runs.iter().zip(low.chunks_exact_mut(4).zip(high.chunks_exact_mut(4))) {
        let (first, second) = run.split_at(4);
        for ((low, high), (first, second)) in low.iter_mut().zip(high).zip(first.iter().zip(second)) {
            *low = first & 0x0f | second << 4;
            *high = first >> 4 | second & 0xf0;
        }
    }
    packed
}
