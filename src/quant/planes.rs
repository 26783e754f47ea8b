//! From the bytes of a file to the planes that the GPU's kernels read, while the bytes arrive.
//!
//! A matrix [N, K] is N rows of ⌈K / 32⌉ blocks of 32 weights; the last block of a row is filled up with zeros. Block b of row
//! r is block `r · ⌈K / 32⌉ + b` of both planes.
//!
//! Quants of blocks with scales are fields of 1, 2, 4 or 8 bits; a field of a block is as many u32 as a quant has bits in it:
//! weight 4v + j (v = 0 … 7, j = 0 … 3) lies in byte j of word ⌊v · bits / 8⌋, from bit v · bits mod 8 on.
//!
//! ```text
//! quants, 16-byte vectors of four u32 per block
//!   F32                     8    weight 4v + c in word c of vector v
//!   F16 BF16                4    weights 8v + 2c (low half) and 8v + 2c + 1 in word c of vector v
//!   Q8_0                    2    a field of 8 bits, signed
//!   Q4_0 Q4_1 Q4_K
//!   IQ4_NL IQ4_XS MXFP4     1    a field of 4 bits
//!   Q2_K TQ1_0 TQ2_0        ½    a field of 2 bits
//!   Q5_0 Q5_1 Q5_K          1¼   a field of bits 0 to 3, and one of bit 4         of eight blocks (which may belong to two
//!   Q6_K                    1½   a field of bits 0 to 3, and one of bits 4 and 5  rows) the first fields, then the second
//!   Q3_K                    ¾    a field of bits 0 and 1, and one of bit 2        ones; the last eight filled up with zeros
//! scales, bytes per block
//!   Q4_0 Q5_0 Q8_0 IQ4_NL   2    f16 d: two blocks share a u32, the even block has its low half
//!   Q4_1 Q5_1               4    f16 d, f16 m
//!   MXFP4                   1    e
//! scales, bytes per eight blocks
//!   TQ1_0 TQ2_0             2    f16 d
//!   IQ4_XS                  12   f16 d, 0, then s of each block
//!   Q4_K Q5_K               20   f16 d, f16 dmin, then s and m of each block
//!   Q2_K                    20   f16 d, f16 dmin, then s (low nibble) and m of each half block
//!   Q3_K Q6_K               20   f16 d, 0, then s of each half block
//! ```
//!
//! So a shader loads vectors and words only, takes four quants at a time out of a word, and needs no 16-bit type; a plane has
//! hardly more bytes than the file. Bytes may come in chunks of any size; what goes out is bounded slices, to be copied to the
//! GPU and forgotten.

use super::{Format, coded, f32_to_f16, first_non_finite};
use crate::error::{Error, Result, try_vec};

/// Weights per block of the planes.
pub const BLOCK: usize = 32;
/// The longest slice that is handed out, bytes.
pub const MAX_SLICE_BYTES: usize = 1 << 18;

/// Blocks whose scales, and whose second fields, lie together.
const GROUP: usize = 8;
/// The longest block of a file is Q6_K's.
const MAX_BLOCK_BYTES: usize = 210;
/// More than a block of a file, or eight of the planes that are begun, takes in the plane of quants.
const MAX_PACKED_BYTES: usize = 256;

/// What the planes of a format are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Bits of a weight in the first field of the quants.
    pub low_bits: usize,
    /// And in the second, above them.
    pub high_bits: usize,
    /// Scales.
    pub scales: Scales,
}

/// What is in the plane of scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scales {
    /// Nothing.
    None,
    /// What a block of the file begins with: so many bytes per block.
    Head(usize),
    /// One f16 for eight blocks.
    Shared,
    /// A record for eight blocks: an f16, and eight bytes.
    Bytes,
    /// A record for eight blocks: two f16, and sixteen bytes.
    Record,
}

impl Format {
    /// What the planes are made of.
    pub const fn layout(self) -> Layout {
        let (low_bits, high_bits, scales) = match self {
            Self::F32 => (32, 0, Scales::None),
            Self::F16 | Self::BF16 => (16, 0, Scales::None),
            Self::Q4_0 | Self::IQ4_NL => (4, 0, Scales::Head(2)),
            Self::Q4_1 => (4, 0, Scales::Head(4)),
            Self::Q5_0 => (4, 1, Scales::Head(2)),
            Self::Q5_1 => (4, 1, Scales::Head(4)),
            Self::Q8_0 => (8, 0, Scales::Head(2)),
            Self::MXFP4 => (4, 0, Scales::Head(1)),
            Self::TQ1_0 | Self::TQ2_0 => (2, 0, Scales::Shared),
            Self::IQ4_XS => (4, 0, Scales::Bytes),
            Self::Q2_K => (2, 0, Scales::Record),
            Self::Q3_K => (2, 1, Scales::Record),
            Self::Q4_K => (4, 0, Scales::Record),
            Self::Q5_K => (4, 1, Scales::Record),
            Self::Q6_K => (4, 2, Scales::Record),
        };
        Layout { low_bits, high_bits, scales }
    }
}

impl Layout {
    /// Bytes of eight blocks in a plane.
    pub const fn group_bytes(&self, plane: Plane) -> usize {
        match (plane, self.scales) {
            (Plane::Quants, _) => GROUP * BLOCK / 8 * (self.low_bits + self.high_bits),
            (Plane::Scales, Scales::None) => 0,
            (Plane::Scales, Scales::Head(n_bytes)) => GROUP * n_bytes,
            (Plane::Scales, Scales::Shared) => 2,
            (Plane::Scales, Scales::Bytes) => 4 + GROUP,
            (Plane::Scales, Scales::Record) => 4 + 2 * GROUP,
        }
    }

    /// Whether there is a plane of scales.
    pub const fn has_scales(&self) -> bool {
        !matches!(self.scales, Scales::None)
    }

    /// Blocks that are laid out together in the plane of quants, and their bytes.
    const fn quants_group(&self) -> (usize, usize) {
        let n_bytes = self.group_bytes(Plane::Quants);
        if self.high_bits == 0 { (1, n_bytes / GROUP) } else { (GROUP, n_bytes) }
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

    /// Bytes that so many rows take in a plane. Saturating: a header may claim any size. Rows that are no multiple of eight may
    /// end in the middle of a group.
    pub const fn rows_bytes(&self, plane: Plane, n_rows: usize) -> u64 {
        self.blocks_bytes(plane, (n_rows as u64).saturating_mul(self.row_blocks as u64))
    }

    /// Length of a plane, bytes: whole u32, whole groups.
    pub const fn plane_bytes(&self, plane: Plane) -> u64 {
        let group = match plane {
            Plane::Quants => self.format.layout().quants_group().0 as u64,
            Plane::Scales => 1,
        };
        let n_blocks = (self.n_rows as u64).saturating_mul(self.row_blocks as u64);
        self.blocks_bytes(plane, n_blocks.div_ceil(group).saturating_mul(group)).div_ceil(4).saturating_mul(4)
    }

    const fn blocks_bytes(&self, plane: Plane, n_blocks: u64) -> u64 {
        match n_blocks.checked_mul(self.format.layout().group_bytes(plane) as u64) {
            Some(n_bytes) => n_bytes / GROUP as u64,
            None => u64::MAX,
        }
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
    /// Blocks that the last group of the quants has, if it is not complete.
    n_grouped: usize,
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
        Ok(Self {
            name: name.into(),
            shape: PlaneShape::new(format, n_rows, row_len),
            row_bytes: format.row_bytes(row_len)?,
            pending: [0; MAX_BLOCK_BYTES],
            n_pending: 0,
            n_rows_done: if row_len == 0 { n_rows } else { 0 },
            row_bytes_done: 0,
            n_grouped: 0,
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
            let is_full = self.quants.bytes.len() + MAX_PACKED_BYTES > MAX_SLICE_BYTES;
            if is_full || self.is_complete() {
                let (_, group_bytes) = self.shape.format.layout().quants_group();
                let n_open = if self.n_grouped == 0 || self.is_complete() { 0 } else { group_bytes };
                self.quants.hand_out(sink, n_open, self.is_complete())?;
                self.scales.hand_out(sink, 0, self.is_complete())?;
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
        let layout = self.shape.format.layout();
        let [quants, scales] = [Plane::Quants, Plane::Scales].map(|plane| layout.group_bytes(plane));
        if layout.has_scales() {
            // A part of a u32 may be left over.
            self.scales.bytes = try_vec(MAX_SLICE_BYTES.div_ceil(quants) * scales + 4, &what)?;
        }
        Ok(())
    }

    /// Bytes of the next block in the file, or of 32 numbers, fewer at the end of a row.
    fn next_block_bytes(&self) -> usize {
        let format = self.shape.format;
        (BLOCK.div_ceil(format.block_len()) * format.block_bytes()).min(self.row_bytes - self.row_bytes_done)
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
        // What is free in a group that is begun does not count.
        let (group, group_bytes) = format.layout().quants_group();
        let n_free = (MAX_SLICE_BYTES - self.quants.bytes.len()) / group_bytes * group;
        let room = n_free / format.block_len().div_ceil(BLOCK);
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
            self.pack_block(block);
        }
        self.row_bytes_done += n_run;
        if self.row_bytes_done == self.row_bytes {
            self.row_bytes_done = 0;
            self.n_rows_done += 1;
        }
        Ok(n_run)
    }

    /// Appends a block of the file to the planes; fewer than 32 numbers are filled up with zeros.
    fn pack_block(&mut self, block: &[u8]) {
        let format = self.shape.format;
        let layout = format.layout();
        let rest = match layout.scales {
            Scales::Head(n) => block.split_at_checked(n).map_or(block, |(_, rest)| rest),
            _ => block,
        };
        pack_scales(format, block, &mut self.scales.bytes);
        if layout.low_bits >= 8 {
            let n = self.quants.bytes.len() + BLOCK / 8 * layout.low_bits;
            self.quants.bytes.extend_from_slice(rest);
            self.quants.bytes.resize(n, 0);
            return;
        }
        let mut codes = [0; coded::MAX_LEN];
        let (codes, _) = codes.split_at_mut(format.block_len());
        match format.reader() {
            Some(reader) => (reader.codes)(block, codes),
            None => coded::nibbles::<16>(rest, codes),
        }
        codes.chunks_exact(BLOCK).for_each(|codes| self.pack_codes(layout, codes));
    }

    /// Appends the codes of 32 weights to the quants.
    fn pack_codes(&mut self, layout: Layout, codes: &[u8]) {
        let Layout { low_bits, high_bits, .. } = layout;
        let (group, group_bytes) = layout.quants_group();
        let bytes = &mut self.quants.bytes;
        if self.n_grouped == 0 {
            bytes.resize(bytes.len() + group_bytes, 0);
        }
        let mut start = bytes.len() - group_bytes;
        for (bits, from) in [(low_bits, 0), (high_bits, low_bits)] {
            let at = start + BLOCK / 8 * bits * self.n_grouped;
            if let Some(field) = bytes.get_mut(at..at + BLOCK / 8 * bits) {
                put_field(codes, from, bits, field);
            }
            start += BLOCK / 8 * bits * group;
        }
        self.n_grouped = (self.n_grouped + 1) % group;
    }
}

impl Packed {
    /// Hands out what is there but for the last `n_open` bytes: only whole u32, the last filled up at the end of the plane.
    fn hand_out(&mut self, sink: &mut dyn FnMut(Slice) -> Result<()>, n_open: usize, is_end: bool) -> Result<()> {
        if is_end {
            self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        }
        let n = (self.bytes.len() - n_open) / 4 * 4;
        if let Some(bytes) = self.bytes.get(..n).filter(|bytes| !bytes.is_empty()) {
            sink(Slice { plane: self.plane, offset: self.offset, bytes })?;
        }
        self.bytes.drain(..n);
        self.offset += n as u64;
        Ok(())
    }
}

/// Writes `bits` bits of each of 32 codes, from bit `from` on, to a field of a block.
fn put_field(codes: &[u8], from: usize, bits: usize, field: &mut [u8]) {
    let mask = 0x0101_0101 * ((1 << bits) - 1);
    let (words, _) = field.as_chunks_mut::<4>();
    for (word, codes) in words.iter_mut().zip(codes.chunks_exact(BLOCK / bits.max(1))) {
        let (fours, _) = codes.as_chunks::<4>();
        let bits_of = |(v, four): (usize, &[u8; 4])| ((u32::from_le_bytes(*four) >> from) & mask) << (bits * v);
        *word = fours.iter().enumerate().map(bits_of).fold(0, |a, b| a | b).to_le_bytes();
    }
}

/// Appends the scales of a block of the file.
fn pack_scales(format: Format, block: &[u8], bytes: &mut Vec<u8>) {
    let kind = format.layout().scales;
    let reader = match (kind, format.reader()) {
        (Scales::Head(n), _) => return bytes.extend_from_slice(block.get(..n).unwrap_or_default()),
        (Scales::None, _) | (_, None) => return,
        (_, Some(reader)) => reader,
    };
    let coded::Scales { d, dmin, s, m } = (reader.scales)(block);
    let half = |x: f32| f32_to_f16(x).to_le_bytes();
    let runs = s.iter().zip(&m).map(|(s, m)| [*s as u8, *m as u8]);
    bytes.extend(half(d));
    match kind {
        Scales::None | Scales::Head(_) | Scales::Shared => {}
        Scales::Bytes => {
            bytes.extend(half(dmin));
            bytes.extend(runs.take(GROUP).map(|[s, _]| s));
        }
        Scales::Record => {
            bytes.extend(half(dmin));
            match reader.coding.run {
                BLOCK => bytes.extend(runs.take(GROUP).flatten()),
                _ => bytes.extend(runs.map(|[s, m]| s | m << 4)),
            }
        }
    }
}
