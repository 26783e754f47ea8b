//! Which rows the steps of a sample have.

use crate::{
    kv::{KvGeometry, PAGE_POSITIONS, PageId},
    plan::{Memory, Op, Plan, Sees},
};

/// Positions of a part of attention, at least: the first two steps of few rows see several, the third one.
pub(super) const PART_POSITIONS: usize = 16;

/// Steps of a sample. The second has other inputs, so that results of the first are seen to be stale; where many rows take other
/// tiles than few do, it has few.
pub(super) const N_STEPS: usize = 3;

/// Whether the plan asks for whole sequences in each step.
pub(super) fn is_whole(plan: &Plan) -> bool {
    plan.ops.iter().any(|op| matches!(op, Op::Attention(a) if a.sees == Sees::Whole))
}

/// Positions that no step goes to.
pub(super) fn n_positions(max_rows: usize) -> usize {
    let end = |index| (0..2).map(|s| starts(max_rows, index)[s] + row_counts(max_rows, index)[s]).max().unwrap_or(0);
    (0..N_STEPS).map(end).max().unwrap_or(0)
}

/// Rows of the two sequences in a step.
pub(super) fn row_counts(max_rows: usize, index: usize) -> [usize; 2] {
    let third = if max_rows <= 8 { max_rows / 2 + 1 } else { max_rows / 4 + 1 };
    let n = [max_rows / 2 + 1, (max_rows / 8 + 1).min(16), third][index % 3].min(max_rows);
    [n - n / 3, n / 3]
}

/// First positions of the two sequences in a step. Few rows go on far from the beginning; of many rows some are on one page
/// and some on the next.
pub(super) fn starts(max_rows: usize, index: usize) -> [usize; 2] {
    let far = if max_rows <= 8 { 258 } else { 50 };
    [[far, 61], [40, 3], [12, 0]][index % 3]
}

/// Pages of the two sequences: shuffled into each other.
pub(super) fn sequences(max_rows: usize) -> [Vec<PageId>; 2] {
    let n_pages = |s: usize| {
        let end = |index: usize| starts(max_rows, index)[s] + row_counts(max_rows, index)[s];
        (0..N_STEPS).map(|index| KvGeometry::pages_for(end(index))).max().unwrap_or(1)
    };
    let (first, second) = (n_pages(0), n_pages(1));
    let mut ids = (0..(first + second) as u32).rev().map(PageId);
    let mut sequences = [vec![], vec![]];
    while sequences[0].len() < first || sequences[1].len() < second {
        for (sequence, n) in sequences.iter_mut().zip([first, second]) {
            if sequence.len() < n {
                sequence.extend(ids.next());
            }
        }
    }
    sequences
}

/// The memories of the sequences, which may be any pages: those of the other one.
pub(super) fn memories([first, second]: &[Vec<PageId>; 2]) -> Vec<Memory<'_>> {
    let whole = second.len() * PAGE_POSITIONS;
    [(second, whole), (first, whole.min(PAGE_POSITIONS) - 3)]
        .map(|(pages, n_positions)| Memory { pages, n_positions })
        .into()
}
