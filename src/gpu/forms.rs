//! Which form each kernel takes on this device. The self-check takes a form away that computes wrongly; plans are then
//! lowered again.

use super::context::{Facts, Subgroups};

/// The forms in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forms {
    /// Matrix × vector adds up by subgroups of these sizes; without, by a tree in workgroup memory.
    pub subgroups: Option<Subgroups>,
    /// Many rows are multiplied tile by tile; without, eight rows at a time as in decoding.
    pub tiles: bool,
    /// Many rows attend together; without, row by row as in decoding.
    pub attention_tiles: bool,
}

impl Forms {
    /// The fastest that the device can do.
    pub fn of(facts: &Facts) -> Self {
        Self { subgroups: facts.subgroups, tiles: true, attention_tiles: true }
    }
}
