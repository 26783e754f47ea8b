//! The pieces of a checkpoint's data, as the header says them, each checked against the tensor that it becomes.

use crate::{
    error::{Error, Result},
    gguf::{Array, Header, TensorInfo, Value},
    quant::Format,
};

/// `kinglet.checkpoint.pieces`: the type of a piece that is no part of the model.
pub const SKIPPED: u64 = u32::MAX as u64;
/// Numbers in the key for each piece.
const FIELDS: usize = 6;

/// A stretch of the data that becomes one tensor, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// In the file.
    pub(super) n_bytes: u64,
    pub(super) tensor: Option<Source>,
}

/// What a tensor is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    /// Position in the header's directory.
    pub(super) tensor: usize,
    /// F32, F16 or BF16.
    pub(super) format: Format,
    pub(super) axes: Axes,
    /// Added to each number.
    pub(super) plus: u16,
}

/// The middle axes of [A, B, C, D] change places. B or C of 1: nothing moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Axes {
    pub(super) b: usize,
    pub(super) c: usize,
    pub(super) d: usize,
}

impl Axes {
    /// Numbers that have to be there before the first of them can be given out: B · C · D; 0 where nothing moves.
    pub(super) fn group_len(self) -> usize {
        if self.b == 1 || self.c == 1 { 0 } else { self.b * self.c * self.d }
    }
}

/// What `kinglet.checkpoint.…` says.
#[derive(Debug)]
pub(super) struct Pieces {
    pub(super) pieces: Vec<Piece>,
    /// How many tensors at the beginning of the directory are made, and all their values.
    pub(super) n_made: usize,
    pub(super) made: Vec<f64>,
}

/// Reads the keys; whatever does not fit the directory is refused.
pub(super) fn read(header: &Header) -> Result<Pieces> {
    let numbers = match header.metadata.get("kinglet.checkpoint.pieces") {
        Some(Value::Array(Array::U64(numbers))) if numbers.len().is_multiple_of(FIELDS) => numbers,
        _ => return Err(Error::file("the pieces of the checkpoint are no array of six numbers for each")),
    };
    let made = match header.metadata.get("kinglet.checkpoint.made") {
        Some(Value::Array(Array::F64(values))) => values.clone(),
        None => vec![],
        Some(_) => return Err(Error::file("the values of made tensors are no array of f64")),
    };
    let (records, _) = numbers.as_chunks::<FIELDS>();
    let n_read = records.iter().filter(|record| record[1] != SKIPPED).count();
    let n_made = header.tensors.len().checked_sub(n_read);
    let n_made = n_made.ok_or_else(|| Error::file(format!("{n_read} pieces for {} tensors", header.tensors.len())))?;
    let (of_made, of_pieces) = header.tensors.split_at(n_made);
    check_made(of_made, made.len())?;
    let mut tensors = of_pieces.iter().enumerate();
    let pieces = records.iter().map(|&[n_bytes, kind, b, c, d, plus]| {
        if kind == SKIPPED {
            return Ok(Piece { n_bytes, tensor: None });
        }
        let (i, info) = tensors.next().ok_or_else(|| Error::internal("pieces were counted wrongly"))?;
        let source = source(info, n_made + i, [kind, b, c, d, plus])?;
        let expected = n_elements(info).saturating_mul(source.format.block_bytes() as u64);
        if expected != n_bytes {
            return Err(Error::file(format!("tensor {}: {n_bytes} bytes of data, expected {expected}", info.name)));
        }
        Ok(Piece { n_bytes, tensor: Some(source) })
    });
    Ok(Pieces { pieces: pieces.collect::<Result<_>>()?, n_made, made })
}

fn check_made(tensors: &[TensorInfo], n_values: usize) -> Result<()> {
    let expected = tensors.iter().fold(0u64, |n, tensor| n.saturating_add(n_elements(tensor)));
    if expected != n_values as u64 {
        return Err(Error::file(format!("{n_values} values for made tensors of {expected}")));
    }
    match tensors.iter().find(|tensor| tensor.format != Format::F32) {
        Some(tensor) => Err(Error::file(format!("tensor {} is made, but not F32", tensor.name))),
        None => Ok(()),
    }
}

fn source(info: &TensorInfo, tensor: usize, [kind, b, c, d, plus]: [u64; 5]) -> Result<Source> {
    let unsupported = |format: String| Error::UnsupportedQuant {
        tensor: info.name.clone(),
        format: format!("{format} in a checkpoint"),
    };
    let format = u32::try_from(kind).ok().and_then(Format::from_ggml_type);
    let format = format.filter(|format| matches!(format, Format::F32 | Format::F16 | Format::BF16));
    let format = format.ok_or_else(|| unsupported(format!("number {kind}")))?;
    if !info.format.can_be_made() {
        return Err(unsupported(info.format.name().into()));
    }
    let fits = |n: u64| usize::try_from(n).ok().filter(|n| *n > 0);
    let product = b.checked_mul(c).and_then(|n| n.checked_mul(d));
    // An empty tensor has whole groups of any length.
    let group = product.filter(|n| n_elements(info).checked_rem(*n) == Some(0)).and_then(fits);
    match (group, fits(b), fits(c), fits(d), u16::try_from(plus)) {
        (Some(_), Some(b), Some(c), Some(d), Ok(plus)) => Ok(Source { tensor, format, axes: Axes { b, c, d }, plus }),
        _ => Err(Error::file(format!("tensor {}: its axes [{b}, {c}, {d}] or the {plus} to be added", info.name))),
    }
}

fn n_elements(info: &TensorInfo) -> u64 {
    info.shape.iter().fold(1, |n: u64, d| n.saturating_mul(*d as u64))
}
