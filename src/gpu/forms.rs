//! Which form each kernel takes on this device. The self-check takes a form away that computes wrongly; plans are then
//! lowered again.

use super::{
    context::{Facts, Subgroups},
    shader::{APPEND, Kernel, PARTS, SUBGROUPS, Shader},
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
    /// Attention of one row rotates and appends by itself; without, that is a dispatch of its own.
    pub appends: bool,
    /// What one row sees of a long text is cut into parts, which attend side by side; without, one workgroup goes through all of it.
    pub parts: bool,
    /// Steps of one row follow each other on the device; without, each is waited for.
    pub runs: bool,
    /// From so many invocations on, matrix × vector takes several rows of the matrix at once.
    pub wide_from_invocations: usize,
    /// A part has so many positions at least.
    pub part_positions: usize,
}

/// Sizes at which another form or another layout is taken. The self-check lowers them, so that small shapes take what large
/// ones do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Thresholds {
    /// See [`Forms`].
    pub(super) wide_from_invocations: usize,
    /// See [`Forms`].
    pub(super) part_positions: usize,
    /// Matrices are cut into shards of at most this many bytes, where the device does not want shorter ones.
    pub(super) shard_bytes: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        // So many rows only if there remain 32,768 invocations: fewer do not fill a GPU.
        // A part is as long as a workgroup of attention, so that each invocation has one position.
        Self { wide_from_invocations: 4 << 15, part_positions: 256, shard_bytes: u64::MAX }
    }
}

impl Forms {
    /// The fastest that the device can do.
    pub fn of(facts: &Facts) -> Self {
        let Thresholds { wide_from_invocations, part_positions, .. } = Thresholds::default();
        Self {
            subgroups: facts.subgroups,
            tiles: true,
            attention_tiles: true,
            appends: true,
            parts: true,
            runs: true,
            wide_from_invocations,
            part_positions,
        }
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
        if self.parts && takes(|s| s.has(PARTS) || s.kernel == Kernel::AttentionJoin) {
            return Some(Self { parts: false, ..self });
        }
        if self.appends && takes(|s| s.has(APPEND)) {
            return Some(Self { appends: false, ..self });
        }
        if self.runs && takes(|s| s.kernel == Kernel::Choose) {
            return Some(Self { runs: false, ..self });
        }
        None
    }

    /// The forms by name, for people.
    pub(super) fn names(self) -> Vec<String> {
        let subgroups = self.subgroups.map(|Subgroups { min, max }| format!("subgroups {min}–{max}"));
        let tiles = self.tiles.then(|| "matmul tiles".to_owned());
        let attention = self.attention_tiles.then(|| "attention tiles".to_owned());
        let appends = self.appends.then(|| "appending attention".to_owned());
        let parts = self.parts.then(|| "attention in parts".to_owned());
        let runs = self.runs.then(|| "runs of steps".to_owned());
        [subgroups, tiles, attention, appends, parts, runs].into_iter().flatten().collect()
    }
}
