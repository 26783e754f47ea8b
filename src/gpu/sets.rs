//! Sets of matrices in pairs of buffers. Made and filled by `weights`, whose file says why.

use super::context::{Buffer, Context};
use crate::{
    error::Result,
    quant::planes::{Plane, PlaneShape, Slice},
};

/// Matrices of one format and row length that lie one after the other.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) shape: PlaneShape,
    pub(super) shards: Vec<Shard>,
}

/// Rows of a set in a pair of buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shard {
    /// The first row of the set that is in it.
    pub(super) first_row: usize,
    pub(super) n_rows: usize,
    /// Plane of quants.
    pub(super) quants: usize,
    /// Plane of scales, where the format has them.
    pub(super) scales: Option<usize>,
}

impl Set {
    /// Writes a slice of a matrix that begins at `row` of the set to the shards that it belongs to.
    pub(super) fn put(&self, context: &Context, planes: &[Buffer], row: usize, slice: Slice<'_>) -> Result<()> {
        let begin = self.shape.rows_bytes(slice.plane, row) + slice.offset;
        let end = begin + slice.bytes.len() as u64;
        for shard in &self.shards {
            let first = self.shape.rows_bytes(slice.plane, shard.first_row);
            let part = PlaneShape { n_rows: shard.n_rows, ..self.shape };
            let (from, to) = (begin.max(first), end.min(first + part.plane_bytes(slice.plane)));
            let bytes = slice.bytes.get(from.saturating_sub(begin) as usize..to.saturating_sub(begin) as usize);
            let plane = match slice.plane {
                Plane::Quants => Some(shard.quants),
                Plane::Scales => shard.scales,
            };
            if let (Some(bytes), Some(buffer)) = (bytes, plane.and_then(|p| planes.get(p)))
                && !bytes.is_empty()
            {
                context.queue().write_buffer(buffer, from - first, bytes);
            }
        }
        Ok(())
    }
}
