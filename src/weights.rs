//! The weights of a model as plans and executors name them: an id, a GGUF name, a shape, a format.

use crate::{gguf::Header, quant::Format};

/// A weight: the index of its tensor in the file's directory.
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
    /// Ids in the order of their names.
    by_name: Vec<WeightId>,
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
        Self { specs, by_name }
    }

    /// The id of the weight with this GGUF name.
    pub fn find(&self, name: &str) -> Option<WeightId> {
        let place = self.by_name.binary_search_by(|id| self.spec(*id).name.as_str().cmp(name)).ok()?;
        Some(self.by_name[place])
    }

    /// What is known about a weight. Ids come from [`Self::find`] or [`Self::iter`].
    pub fn spec(&self, id: WeightId) -> &WeightSpec {
        &self.specs[id.0 as usize]
    }

    /// All weights in file order.
    pub fn iter(&self) -> impl Iterator<Item = (WeightId, &WeightSpec)> {
        self.specs.iter().enumerate().map(|(i, s)| (WeightId(i as u32), s))
    }

    /// Number of weights.
    pub fn len(&self) -> usize {
        self.specs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }
}
