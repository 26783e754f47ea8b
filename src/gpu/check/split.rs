//! Which operations read matrices that lie otherwise than they would at any size. Asked by `sample`.

use crate::{
    error::Result,
    gpu::weights::{MAX_PARTS, Weights},
    plan::Op,
    sorted::SortedMap,
};

/// Whether what an operation reads could not be laid out as it would be at any size: a matrix is cut into shards, or matrices
/// are apart that would be one set.
pub(super) fn is_split(op: &Op, weights: &Weights) -> Result<bool> {
    let m = match op {
        Op::Embed { table, .. } => return Ok(weights.table(*table)?.shards.len() > 1),
        Op::MatMul(m) => m,
        _ => return Ok(false),
    };
    let mut n_expected = 0;
    let mut by_format: SortedMap<&str, usize> = SortedMap::default();
    for part in &m.parts {
        let table = weights.table(part.weight)?;
        if table.shards.len() > 1 {
            return Ok(true);
        }
        match part.lora {
            None => *by_format.get_or_insert_with(table.format.name(), || 0) += 1,
            Some(_) => n_expected += 1,
        }
    }
    n_expected += by_format.values().map(|n| n.div_ceil(MAX_PARTS)).sum::<usize>();
    Ok(weights.groups(m)?.len() > n_expected)
}
