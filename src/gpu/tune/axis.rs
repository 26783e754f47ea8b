//! What there is to choose between: constants of the pipelines that change how fast a step is and nothing else but the order of sums, or
//! within its tolerance how it is rounded.

use crate::gpu::{
    context::Facts,
    forms::{Forms, Numbers},
};

/// Rows and numbers of tiles of products.
const TILES: [(u32, Numbers); 6] = [
    (32, Numbers::F32),
    (64, Numbers::F32),
    (32, Numbers::F16),
    (64, Numbers::F16),
    (32, Numbers::Bytes),
    (64, Numbers::Bytes),
];
/// Parts of the lanes that a team of matrix × vector could have.
const LANES: [usize; 3] = [1, 2, 4];
/// From so many invocations on, teams compute four rows.
const WIDE: [usize; 4] = [4 << 15, 4 << 13, 4 << 11, usize::MAX];
/// Positions of a part of attention.
const PARTS: [usize; 3] = [256, 128, 512];

/// By axis the number of a candidate; 0 is what is taken where nothing is known.
pub(crate) type Chosen = [Option<usize>; Axis::ALL.len()];

/// A thing to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    Tiles,
    Lanes,
    Wide,
    Parts,
}

impl Axis {
    /// In the order in which they are measured.
    pub(crate) const ALL: [Self; 4] = [Self::Tiles, Self::Lanes, Self::Wide, Self::Parts];

    pub(crate) fn n_candidates(self) -> usize {
        match self {
            Self::Tiles => TILES.len(),
            Self::Lanes => LANES.len(),
            Self::Wide => WIDE.len(),
            Self::Parts => PARTS.len(),
        }
    }

    /// The forms with a candidate; `None` where the device has it not.
    pub(super) fn candidate(self, i: usize, forms: Forms, facts: &Facts) -> Option<Forms> {
        Some(match self {
            Self::Tiles => {
                let (tile_t, numbers) = *TILES.get(i)?;
                let is_there = match numbers {
                    Numbers::F32 => true,
                    Numbers::F16 => facts.f16,
                    Numbers::Bytes => facts.packed_dot,
                };
                is_there.then_some(Forms { tile_t, numbers, ..forms })?
            }
            Self::Lanes => Forms { lanes_part: *LANES.get(i)?, ..forms },
            Self::Wide => Forms { wide_from_invocations: *WIDE.get(i)?, ..forms },
            Self::Parts => Forms { part_positions: *PARTS.get(i)?, ..forms },
        })
    }

    /// The forms with all that was chosen.
    pub(super) fn forms(chosen: Chosen, forms: Forms, facts: &Facts) -> Forms {
        Self::ALL
            .into_iter()
            .zip(chosen)
            .fold(forms, |forms, (axis, i)| i.and_then(|i| axis.candidate(i, forms, facts)).unwrap_or(forms))
    }
}
