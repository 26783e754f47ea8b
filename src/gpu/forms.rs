//! Which form each kernel takes on this device. The self-check takes a form away that computes wrongly; plans are then
//! lowered again.

use super::{
    context::{Facts, Subgroups},
    shader::{SUBGROUPS, Shader},
};

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

    /// The forms without the one that a faulty operation takes, where it has another: `shaders` are the operation's. Subgroups
    /// go first: of all things they differ most from device to device.
    pub(super) fn without(self, shaders: &[Shader]) -> Option<Self> {
        let takes = |takes: fn(&Shader) -> bool| shaders.iter().any(takes);
        if self.subgroups.is_some() && takes(|s| s.has(SUBGROUPS)) {
            return Some(Self { subgroups: None, ..self });
        }
        if self.tiles && takes(|s| s.kernel.is_tiled_product()) {
            return Some(Self { tiles: false, ..self });
        }
        if self.attention_tiles && takes(|s| s.kernel.is_tiled_attention()) {
            return Some(Self { attention_tiles: false, ..self });
        }
        None
    }

    /// The forms by name, for people.
    pub(super) fn names(self) -> Vec<String> {
        let subgroups = self.subgroups.map(|Subgroups { min, max }| format!("subgroups {min}–{max}"));
        let tiles = self.tiles.then(|| "matmul tiles".to_owned());
        let attention = self.attention_tiles.then(|| "attention tiles".to_owned());
        [subgroups, tiles, attention].into_iter().flatten().collect()
    }
}
