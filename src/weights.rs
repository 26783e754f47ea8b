//! The weights of a model as plans and executors name them: an id, a GGUF name, a shape, a format.

use std::ops::Range;

use crate::{
    error::{Error, Result},
    gguf::Header,
    quant::Format,
    sorted::SortedMap,
};

/// A weight: a tensor of the file, or some of its rows or columns ([`Weights::split`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightId(pub u32);

/// What an executor needs to know to make room for a weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightSpec {
    /// GGUF name.
    pub name: String,
    /// [K] for a vector (norms, biases, rope factors), [N, K] for a matrix of N rows. A matrix may be multiplied with and
    /// may be read by row (an embedding table); a vector is only ever read as f32.
    pub shape: Vec<usize>,
    /// Format of the bytes that will come.
    pub format: Format,
}

impl WeightSpec {
    /// Rows: 1 for a vector.
    pub fn n_rows(&self) -> usize {
        if self.shape.len() == 2 { self.shape[0] } else { 1 }
    }

    /// Length of the data in the file, bytes; 0 for a row that is no whole number of blocks (no such weight is loaded).
    pub fn file_bytes(&self) -> u64 {
        let rows = self.shape.iter().rev().skip(1).fold(1u64, |n, d| n.saturating_mul(*d as u64));
        rows.saturating_mul(self.format.row_bytes(self.row_len()).unwrap_or(0) as u64)
    }

    /// Weights per row.
    pub fn row_len(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }
}

/// Every tensor of a file, by id; which of them are used is known once the plans are built.
#[derive(Debug, Clone, Default)]
pub struct Weights {
    specs: Vec<WeightSpec>,
    /// Ids in the order of their names, without the tensors that were split.
    by_name: Vec<WeightId>,
    /// By the id of the tensor. Ids of tensors are positions in the file's directory; those of parts come after them.
    splits: SortedMap<WeightId, Vec<Split>>,
}

/// Some rows or columns of a tensor as a weight of their own.
#[derive(Debug, Clone)]
struct Split {
    weight: WeightId,
    /// Where they lie in each `period` bytes of the tensor's data.
    bytes: Range<u64>,
    /// Bytes of the tensor for rows, of one of its rows for columns; > 0.
    period: u64,
}

impl Split {
    /// What of the data from `start` to `end` is the weight's, in order.
    fn pieces(&self, start: u64, end: u64) -> impl Iterator<Item = Range<u64>> {
        let periods = start / self.period..end.div_ceil(self.period);
        let piece = move |i: u64| {
            let [first, last] = [self.bytes.start, self.bytes.end].map(|at| (i * self.period + at).clamp(start, end));
            first..last
        };
        periods.map(piece).filter(|piece| !piece.is_empty())
    }
}

/// The data of a file on its way to its weights.
#[derive(Debug, Clone, Default)]
pub struct Arrivals {
    tensor: usize,
    /// Of that tensor, so far.
    n_bytes: u64,
}

impl Arrivals {
    /// Takes the next bytes of a tensor, and calls `write` with each weight that they belong to.
    pub fn take(
        &mut self,
        weights: &Weights,
        tensor: usize,
        bytes: &[u8],
        write: &mut dyn FnMut(WeightId, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let start = if self.tensor == tensor { self.n_bytes } else { 0 };
        let end = start + bytes.len() as u64;
        (self.tensor, self.n_bytes) = (tensor, end);
        let id = WeightId(tensor as u32);
        let Some(splits) = weights.splits.get(&id) else { return write(id, bytes) };
        for split in splits {
            for piece in split.pieces(start, end) {
                write(split.weight, &bytes[(piece.start - start) as usize..(piece.end - start) as usize])?;
            }
        }
        Ok(())
    }
}

impl Weights {
    /// The weights of a file: ids are positions in its tensor directory.
    pub fn from_header(header: &Header) -> Self {
        let specs: Vec<WeightSpec> = header
            .tensors
            .iter()
            .map(|t| WeightSpec { name: t.name.clone(), shape: t.shape.clone(), format: t.format })
            .collect();
        let mut by_name: Vec<WeightId> = (0..specs.len()).map(|i| WeightId(i as u32)).collect();
        by_name.sort_unstable_by_key(|id| &specs[id.0 as usize].name);
        Self { specs, by_name, splits: SortedMap::default() }
    }

    /// Makes weights of their own of the rows of a tensor [N, K], or of the elements of one [N], one part after the other, and
    /// takes the tensor away: a file may hold as one matrix what others hold as three. Does nothing where there is no such
    /// tensor. The parts must be all of it; one may have its name.
    pub fn split(&mut self, name: &str, parts: &[(&str, usize)]) -> Result<()> {
        let Some(id) = self.find(name) else { return Ok(()) };
        let whole = self.spec(id).clone();
        let n: usize = parts.iter().map(|(_, n)| n).sum();
        if whole.shape.is_empty() || whole.shape[0] != n {
            return Err(Error::file(format!("tensor {name} has the shape {:?}, expected {n} rows", whole.shape)));
        }
        self.split_by(id, &whole, parts, 0, whole.file_bytes())
    }

    /// The same with the columns of a matrix [N, K]: parts of each row. A part has to be a whole number of blocks wide.
    pub fn split_columns(&mut self, name: &str, parts: &[(&str, usize)]) -> Result<()> {
        let Some(id) = self.find(name) else { return Ok(()) };
        let whole = self.spec(id).clone();
        let n: usize = parts.iter().map(|(_, n)| n).sum();
        if whole.shape.len() != 2 || whole.row_len() != n {
            return Err(Error::file(format!("tensor {name} has the shape {:?}, expected {n} columns", whole.shape)));
        }
        let row_bytes = whole.format.row_bytes(n).map_err(|e| Error::file(format!("tensor {name}: {e}")))?;
        self.split_by(id, &whole, parts, 1, row_bytes as u64)
    }

    /// The parts of a dimension of a tensor, of which `period` bytes are all.
    fn split_by(
        &mut self,
        id: WeightId,
        whole: &WeightSpec,
        parts: &[(&str, usize)],
        dimension: usize,
        period: u64,
    ) -> Result<()> {
        let name = &whole.name;
        self.by_name.retain(|other| *other != id);
        let mut start = 0;
        for (part, n) in parts {
            let mut spec = WeightSpec { name: (*part).into(), ..whole.clone() };
            spec.shape[dimension] = *n;
            let row = spec.format.row_bytes(spec.row_len());
            let row_bytes = row.map_err(|e| Error::file(format!("tensor {name} as {part}: {e}")))? as u64;
            let end = start + if dimension == 0 { spec.file_bytes() } else { row_bytes };
            let weight = WeightId(self.specs.len() as u32);
            let place = self.place(part).err().ok_or_else(|| Error::file(format!("tensors {name} and {part}")))?;
            self.specs.push(spec);
            self.by_name.insert(place, weight);
            self.splits.get_or_insert_with(id, Vec::new).push(Split {
                weight,
                bytes: start..end,
                period: period.max(1),
            });
            start = end;
        }
        Ok(())
    }

    /// The id of the weight with this GGUF name.
    pub fn find(&self, name: &str) -> Option<WeightId> {
        Some(self.by_name[self.place(name).ok()?])
    }

    /// Where in the order of names a name is, or belongs.
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.by_name.binary_search_by(|id| self.spec(*id).name.as_str().cmp(name))
    }

    /// What is known about a weight. Ids come from [`Self::find`] or [`Self::iter`].
    pub fn spec(&self, id: WeightId) -> &WeightSpec {
        &self.specs[id.0 as usize]
    }

    /// All weights: the tensors of the file in its order, without those that were split, then the parts of those.
    pub fn iter(&self) -> impl Iterator<Item = (WeightId, &WeightSpec)> {
        let all = self.specs.iter().enumerate().map(|(i, s)| (WeightId(i as u32), s));
        all.filter(|(id, _)| !self.splits.contains(id))
    }

    /// Number of ids: every id is below it.
    pub fn len(&self) -> usize {
        self.specs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }
}
