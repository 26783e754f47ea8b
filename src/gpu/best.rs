//! The best logits of an output row, as the shader leaves them.
//!
//! ```text
//! u32 count   f32 max   f32 sum of e^(logit − max) over the row   u32 chosen   then (u32 id, f32 logit) × count
//! ```
//! `chosen` is what choose.wgsl makes the next row of, in runs of steps.
//! A row with more candidates than there is room for is full of ties; then all its logits are read instead.

use crate::sample::Candidate;

/// Most logits that may be asked for.
pub(super) const MOST: usize = 128;
/// Room for ties beyond what was asked for.
pub(super) const SLACK: usize = 32;
/// Length of a row's results, bytes.
pub(super) const STRIDE_BYTES: u64 = (HEADER_BYTES + 8 * (MOST + SLACK)) as u64;
const HEADER_BYTES: usize = 16;

/// Bytes that are read of a row where the best `n` were asked for.
pub(super) fn n_bytes(n: usize) -> u64 {
    (HEADER_BYTES + 8 * (n + SLACK)) as u64
}

/// Candidates of one row.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Row {
    pub(super) candidates: Vec<Candidate>,
    pub(super) log_sum_exp: f64,
    pub(super) chosen: u32,
}

/// Reads a row; `None` where it has more candidates than `bytes` has room for.
pub(super) fn parse(bytes: &[u8]) -> Option<Row> {
    let word = |i: usize| bytes.get(4 * i..4 * i + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let (count, max, sum) = (word(0)?, f32::from_bits(word(1)?), f32::from_bits(word(2)?));
    let chosen = word(3)?;
    let candidate = |i: usize| Some(Candidate { id: word(4 + 2 * i)?, logit: f32::from_bits(word(5 + 2 * i)?) });
    let candidates = (0..count as usize).map(candidate).collect::<Option<Vec<_>>>()?;
    Some(Row { candidates, log_sum_exp: f64::from(max) + libm::log(f64::from(sum)), chosen })
}
