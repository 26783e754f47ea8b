//! Turns the data of a checkpoint into that of the tensors of its header, piece by piece, in the formats that the header says. It
//! keeps at most [`SLICE`] numbers, save where axes change places: then the numbers of one group, which is a head of a
//! rotated projection, or a whole tensor that is transposed or whose projections are woven together.

use super::pieces::{self, Axes, Piece, Source};
use crate::{
    error::{Error, Result, try_vec},
    gguf::{Event, Header, Parser, TensorInfo},
    quant::{Format, dequantize, first_non_finite, quantize},
};

/// Numbers that are converted at once, whole blocks of every format that can be made.
const SLICE: usize = 8192;

/// Takes the next bytes of a tensor, by its position in the directory.
pub type Write<'a> = &'a mut dyn FnMut(usize, &[u8]) -> Result<()>;

/// A checkpoint as it arrives. After an error it stays failed.
#[derive(Debug)]
pub struct Converter {
    tensors: Vec<TensorInfo>,
    n_made: usize,
    made: Vec<f64>,
    pieces: Vec<Piece>,
    /// The piece that comes, and how much of it has come.
    next: usize,
    n_bytes: u64,
    /// Of all pieces, so far.
    n_fed: u64,
    scratch: Scratch,
    failed: Option<Error>,
}

/// What is kept between two chunks, and room to work.
#[derive(Debug, Default)]
struct Scratch {
    /// The bytes of a number that is not complete.
    partial: Vec<u8>,
    /// Numbers that are not given out yet.
    values: Vec<f32>,
    moved: Vec<f32>,
    bytes: Vec<u8>,
}

impl Converter {
    /// Reads the whole header; gives what an engine takes for the header of a GGUF file.
    ///
    /// # Errors
    /// Those of the GGUF parser; [`Error::FileFormat`] where the pieces do not fit the tensors;
    /// [`Error::UnsupportedQuant`] for numbers that are not F32, F16 or BF16, or formats that are not made here.
    pub fn new(header: &[u8]) -> Result<(Header, Self)> {
        let mut found = None;
        Parser::new().feed(header, &mut |event| {
            if let Event::Header(header) = event {
                found = Some(header);
            }
            Ok(())
        })?;
        let header = found.ok_or_else(|| Error::file("the header of the checkpoint is not whole"))?;
        let pieces::Pieces { pieces, n_made, made } = pieces::read(&header)?;
        let tensors = header.tensors.clone();
        let scratch = Scratch::default();
        let converter = Self { tensors, n_made, made, pieces, next: 0, n_bytes: 0, n_fed: 0, scratch, failed: None };
        Ok((*header, converter))
    }

    /// Gives out the tensors that are in no file; to be called once, first.
    pub fn write_made(&mut self, write: Write<'_>) -> Result<()> {
        let mut values = std::mem::take(&mut self.made).into_iter();
        for (i, tensor) in self.tensors.iter().take(self.n_made).enumerate() {
            let n = tensor.shape.iter().product();
            let bytes: Vec<u8> = values.by_ref().take(n).flat_map(|x| (x as f32).to_le_bytes()).collect();
            if !bytes.is_empty() {
                write(i, &bytes)?;
            }
        }
        Ok(())
    }

    /// Takes the next bytes of the data, any number; gives out what they complete, whole blocks, in the order of the tensors.
    ///
    /// # Errors
    /// [`Error::FileFormat`] for bytes behind the last piece, and for numbers that are not finite; [`Error::UnsupportedQuant`]
    /// where a format cannot hold a number; [`Error::Memory`]; those of `write`.
    pub fn feed(&mut self, bytes: &[u8], write: Write<'_>) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.advance(bytes, write).inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// Ends the data; how many bytes there were.
    ///
    /// # Errors
    /// [`Error::FileFormat`] where bytes are missing, naming whose; or the error of an earlier call.
    pub fn finish(&self) -> Result<u64> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut missing = self.pieces.iter().skip(self.next).filter(|piece| piece.n_bytes > 0);
        let Some(piece) = missing.next() else { return Ok(self.n_fed) };
        let name = piece.tensor.and_then(|source| self.tensors.get(source.tensor)).map_or("none", |info| &info.name);
        let (found, expected) = (self.n_bytes, piece.n_bytes);
        Err(Error::file(format!("the checkpoint ends too early: {found} of {expected} bytes of tensor {name}")))
    }

    fn advance(&mut self, mut chunk: &[u8], write: Write<'_>) -> Result<()> {
        self.n_fed = self.n_fed.saturating_add(chunk.len() as u64);
        while let Some(piece) = self.pieces.get(self.next) {
            let left = piece.n_bytes - self.n_bytes;
            let n = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
            let (bytes, rest) = chunk.split_at(n);
            if let Some(source) = piece.tensor {
                let info = self.tensors.get(source.tensor).ok_or_else(|| Error::internal("a piece of no tensor"))?;
                self.scratch.convert(bytes, source, info, write)?;
                if n as u64 == left {
                    self.scratch.flush(source, info, write)?;
                }
            }
            self.n_bytes += n as u64;
            chunk = rest;
            if (n as u64) < left {
                return Ok(());
            }
            (self.next, self.n_bytes) = (self.next + 1, 0);
        }
        if chunk.is_empty() { Ok(()) } else { Err(Error::file("the checkpoint goes on behind its last tensor")) }
    }
}

impl Scratch {
    /// Takes bytes of one tensor; gives out what is complete.
    fn convert(&mut self, mut bytes: &[u8], source: Source, info: &TensorInfo, write: Write<'_>) -> Result<()> {
        let (format, group) = (source.format, source.axes.group_len());
        if bytes.is_empty() {
            return Ok(());
        }
        if format == info.format && group == 0 && source.plus == 0 {
            return write(source.tensor, bytes);
        }
        let size = format.block_bytes();
        if !self.partial.is_empty() {
            let (head, rest) = bytes.split_at((size - self.partial.len()).min(bytes.len()));
            self.partial.extend_from_slice(head);
            bytes = rest;
            if self.partial.len() < size {
                return Ok(());
            }
            let number = std::mem::take(&mut self.partial);
            self.push(&number, source, info, write)?;
        }
        let (whole, rest) = bytes.split_at(bytes.len() / size * size);
        self.partial.extend_from_slice(rest);
        self.push(whole, source, info, write)
    }

    /// Takes whole numbers.
    fn push(&mut self, mut bytes: &[u8], source: Source, info: &TensorInfo, write: Write<'_>) -> Result<()> {
        let size = source.format.block_bytes();
        let room = match source.axes.group_len() {
            0 => SLICE,
            n => n,
        };
        while !bytes.is_empty() {
            if self.values.capacity() < room {
                let mut values = try_vec(room, "a tensor whose axes change places")?;
                values.append(&mut self.values);
                self.values = values;
            }
            let start = self.values.len();
            let (taken, rest) = bytes.split_at((room - start).saturating_mul(size).min(bytes.len()));
            self.values.resize(start + taken.len() / size, 0.0);
            let values = self.values.get_mut(start..).unwrap_or_default();
            dequantize(source.format, taken, values)?;
            if let Some(x) = values.iter().find(|x| !x.is_finite()) {
                return Err(Error::file(format!("tensor {}: it holds {x}", info.name)));
            }
            bytes = rest;
            if self.values.len() == room {
                self.flush(source, info, write)?;
            }
        }
        Ok(())
    }

    /// Gives out the numbers that are there: a slice, a group, or the end of a tensor.
    fn flush(&mut self, source: Source, info: &TensorInfo, write: Write<'_>) -> Result<()> {
        let Self { values, moved, bytes, .. } = self;
        let moves = source.axes.group_len() > 0;
        for start in (0..values.len()).step_by(SLICE) {
            let end = values.len().min(start + SLICE);
            moved.clear();
            if moves {
                gather(values, source.axes, start, end, moved);
            } else {
                moved.extend_from_slice(&values[start..end]);
            }
            if source.plus != 0 {
                moved.iter_mut().for_each(|x| *x += f32::from(source.plus));
            }
            bytes.resize(info.format.row_bytes(moved.len())?, 0);
            quantize(info.format, moved, bytes)?;
            if first_non_finite(info.format, bytes).is_some() {
                return Err(too_large(info, moved));
            }
            write(source.tensor, bytes)?;
        }
        // What a group needed is not kept for the next tensor, which may need less.
        if moves {
            *values = vec![];
        } else {
            values.clear();
        }
        Ok(())
    }
}

/// The numbers `start..end` of [C, B, D], out of [B, C, D].
fn gather(values: &[f32], Axes { b, c, d }: Axes, start: usize, end: usize, out: &mut Vec<f32>) {
    let mut at = start;
    while at < end {
        let (row, first) = (at / d, at % d);
        let from = (row % b * c + row / b) * d + first;
        let n = (d - first).min(end - at);
        out.extend_from_slice(&values[from..from + n]);
        at += n;
    }
}

fn too_large(info: &TensorInfo, values: &[f32]) -> Error {
    let largest = values.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    let format = match info.format {
        Format::F16 => "F16, which ends at 65504,".to_owned(),
        other => format!("{}, whose scales end at 65504,", other.name()),
    };
    Error::UnsupportedQuant { tensor: info.name.clone(), format: format!("{format} for a weight of {largest}") }
}
