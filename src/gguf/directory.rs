//! The tensor directory: shapes, sizes and places of tensors, checked one by one as they come. Offsets must be exactly those
//! that a writer without gaps gives (ggml demands the same), so tensors neither overlap nor leave holes.

use super::{
    TensorInfo,
    header::{format_error, limit},
    limits::{MAX_DIMS, MAX_TENSOR},
    quoted,
    types::GgmlType,
};
use crate::{
    error::{Error, Result},
    quant::Format,
    table::Names,
};

/// An entry as far as it has come.
#[derive(Debug)]
pub(super) struct RawInfo {
    pub(super) name: String,
    pub(super) n_dims: u32,
    /// Dimensions as in the file, innermost first; those behind `n_dims` stay 1.
    pub(super) ne: [u64; MAX_DIMS as usize],
    format: Option<Format>,
    n_bytes: u64,
}

/// The entries so far; offsets are relative to the data section until [`TensorDirectory::finish`].
#[derive(Debug, Default)]
pub(super) struct TensorDirectory {
    tensors: Vec<TensorInfo>,
    names: Names,
    /// Where the next tensor begins.
    next_offset: u64,
}

impl RawInfo {
    /// Dimensions and their product fit 32 bits. A dimension of zero is allowed (ggml's rule): such a tensor has no data.
    pub(super) fn check_dims(&self, at: u64) -> Result<()> {
        let mut product = 1u64;
        for &dim in &self.ne {
            if dim > MAX_TENSOR {
                return Err(limit(format!("a dimension of tensor {}", quoted(&self.name)), dim, MAX_TENSOR, at));
            }
            product = product.saturating_mul(dim.max(1));
        }
        if product > MAX_TENSOR {
            return Err(limit(format!("number of elements of tensor {}", quoted(&self.name)), product, MAX_TENSOR, at));
        }
        Ok(())
    }

    /// The type is one that this engine reads, the rows are whole blocks, and the size fits 32 bits.
    pub(super) fn set_type(&mut self, number: u32, at: u64) -> Result<()> {
        let unsupported = |format| Error::UnsupportedQuant { tensor: self.name.clone(), format };
        let (name, block_len, block_bytes) = match GgmlType::from_number(number) {
            GgmlType::Known { name, block_len, block_bytes } => (name, block_len, block_bytes),
            GgmlType::Removed { name } => {
                return Err(unsupported(format!("{name} (number {number}, removed from ggml)")));
            }
            GgmlType::Unknown => return Err(unsupported(format!("number {} (unknown)", number as i32))),
        };
        let [row_len, ..] = self.ne;
        if !row_len.is_multiple_of(block_len) {
            let what = format!(
                "tensor {}: rows of {row_len} elements are not whole blocks of {name}, which have {block_len}",
                quoted(&self.name)
            );
            return Err(format_error(what, at));
        }
        let n_elements = self.ne.iter().fold(1u64, |product, &dim| product.saturating_mul(dim));
        let n_bytes = (n_elements / block_len).saturating_mul(block_bytes);
        if n_bytes > MAX_TENSOR {
            return Err(limit(format!("bytes of tensor {}", quoted(&self.name)), n_bytes, MAX_TENSOR, at));
        }
        self.format = Some(Format::from_ggml_type(number).ok_or_else(|| unsupported(name.into()))?);
        self.n_bytes = n_bytes;
        Ok(())
    }
}

/// The name of tensor `i`.
pub(super) fn name_of(tensors: &[TensorInfo], i: usize) -> Option<&str> {
    tensors.get(i).map(|tensor| &*tensor.name)
}

impl TensorDirectory {
    /// Number of complete entries.
    pub(super) fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Begins an entry; its name must be new.
    pub(super) fn begin(&mut self, name: String, at: u64) -> Result<RawInfo> {
        if !self.names.insert(&name, &|i| name_of(&self.tensors, i))? {
            return Err(format_error(format!("tensor {} stands twice", quoted(&name)), at));
        }
        Ok(RawInfo { name, n_dims: 0, ne: [1; MAX_DIMS as usize], format: None, n_bytes: 0 })
    }

    /// Ends an entry; its offset must be where the tensor before it ends, padded.
    pub(super) fn push(&mut self, info: RawInfo, offset: u64, alignment: u64, at: u64) -> Result<()> {
        let RawInfo { name, n_dims, ne, format, n_bytes } = info;
        let format = format.ok_or_else(|| Error::internal(format!("tensor {name} has no format")))?;
        if offset != self.next_offset {
            let what = match offset {
                o if !o.is_multiple_of(alignment) => format!("is no multiple of the alignment {alignment}"),
                o if o < self.next_offset => "is inside or before the tensor before it".into(),
                _ => "leaves a hole".into(),
            };
            let expected = self.next_offset;
            return Err(format_error(
                format!("tensor {}: the offset {offset} {what}, expected {expected}", quoted(&name)),
                at,
            ));
        }
        self.next_offset = offset
            .checked_add(n_bytes)
            .and_then(|end| end.checked_next_multiple_of(alignment))
            .ok_or_else(|| format_error(format!("tensor {}: offset and size overflow", quoted(&name)), at))?;
        let dims = ne.iter().take(n_dims as usize).rev();
        let shape = dims.map(|&d| usize::try_from(d)).collect::<Result<_, _>>();
        let shape = shape.map_err(|_| Error::internal(format!("a dimension of tensor {name} passed its limit")))?;
        self.tensors.push(TensorInfo { name, shape, format, offset, n_bytes });
        Ok(())
    }

    /// The tensors with offsets from the beginning of the file, and where the last byte that is needed ends.
    pub(super) fn finish(mut self, header_bytes: u64, data_offset: u64) -> Result<(Vec<TensorInfo>, u64)> {
        let mut end_offset = header_bytes;
        for tensor in &mut self.tensors {
            let end = data_offset.checked_add(tensor.offset).and_then(|o| Some((o, o.checked_add(tensor.n_bytes)?)));
            let (offset, end) =
                end.ok_or_else(|| Error::file(format!("tensor {}: offset and size overflow", quoted(&tensor.name))))?;
            tensor.offset = offset;
            if tensor.n_bytes > 0 {
                end_offset = end;
            }
        }
        Ok((self.tensors, end_offset))
    }
}
