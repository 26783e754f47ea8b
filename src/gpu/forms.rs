//! Which form each kernel takes on this device. The self-check takes a form away that computes wrongly; plans are then
//! lowered again.

use super::{
    context::{Facts, Subgroups},
    shader::{APPEND, BEST, EMBED, Kernel, NORMS, PARTS, SUBGROUPS, Shader, T_16, T_64},
};

/// What tiles of products are multiplied as; sums are f32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// As they are.
    F32,
    /// Quants and scaled activations as f16, where the adapter has it: products of four are rounded to 11 bits.
    F16,
    /// Quants and activations as signed bytes, by the packed dot product: activations are rounded to 127 steps per block of 32, as on
    /// the CPU. Formats without quants, and plans that are precise, go without.
    Bytes,
}

/// The forms in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forms {
    /// Matrix × vector adds up by subgroups of these sizes; without, by a tree in workgroup memory.
    pub subgroups: Option<Subgroups>,
    /// Many rows are multiplied tile by tile; without, eight rows at a time as in decoding.
    pub tiles: bool,
    /// Rows of such a tile: 32 or 64.
    pub tile_t: u32,
    /// Steps of up to 16 rows have tiles of their own.
    pub short_tiles: bool,
    /// What tiles multiply.
    pub numbers: Numbers,
    /// Many rows attend together; without, row by row as in decoding.
    pub attention_tiles: bool,
    /// Attention of one row normalises, rotates and appends by itself, and a row of few takes its own position first as that does; without, it
    /// all comes before.
    pub appends: bool,
    /// What one row sees of a long text is cut into parts, which attend side by side; without, one workgroup goes through all of it.
    pub parts: bool,
    /// Steps of one row follow each other on the device; without, each is waited for.
    pub runs: bool,
    /// What chooses the next token of a run looks it up too; without, that is a dispatch of its own.
    pub embeds: bool,
    /// The product that makes the logits of one row finds the best of blocks of them; without, that is a dispatch of its own.
    pub best_in_products: bool,
    /// Teams of matrix × vector have at most this part of the lanes that they could have.
    pub lanes_part: usize,
    /// From so many invocations on, matrix × vector takes several rows of the matrix at once.
    pub wide_from_invocations: usize,
    /// A part has so many positions at least.
    pub part_positions: usize,
    /// The logits of a row that a product makes are so many blocks at most.
    pub most_blocks: usize,
}

/// Sizes at which another form or another layout is taken. The self-check lowers them, so that small shapes take what large
/// ones do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Thresholds {
    /// See [`Forms`], which holds where there is none.
    pub(super) wide_from_invocations: Option<usize>,
    /// See [`Forms`], which holds where there is none.
    pub(super) part_positions: Option<usize>,
    /// See [`Forms`].
    pub(super) most_blocks: usize,
    /// Whether there are runs, and those that look up: the self-check leaves out what a sample is not for.
    pub(super) runs: bool,
    /// See [`Forms`].
    pub(super) embeds: bool,
    /// Matrices are cut into shards of at most this many bytes, where the device does not want shorter ones.
    pub(super) shard_bytes: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        // Blocks are many more than logits are ever wanted, so that there is seldom a second of the best in one, and few enough for the
        // workgroup that goes through all of them.
        let (most_blocks, shard_bytes, runs, embeds) = (4096, u64::MAX, true, true);
        let (wide_from_invocations, part_positions) = (None, None);
        Self { wide_from_invocations, part_positions, most_blocks, runs, embeds, shard_bytes }
    }
}

impl Forms {
    /// What the device can do, and is likely to do fast.
    pub fn of(facts: &Facts) -> Self {
        let Thresholds { most_blocks, runs, embeds, .. } = Thresholds::default();
        Self {
            subgroups: facts.subgroups,
            tiles: true,
            tile_t: 32,
            short_tiles: true,
            numbers: Numbers::F32,
            attention_tiles: true,
            appends: true,
            parts: true,
            runs,
            embeds,
            best_in_products: true,
            lanes_part: 1,
            // So many rows only if there remain 32,768 invocations: fewer do not fill a GPU.
            wide_from_invocations: 4 << 15,
            // As long as a workgroup of attention, so that each invocation has one position.
            part_positions: 256,
            most_blocks,
        }
    }

    /// The forms without the one that a faulty operation takes, where it has another: `shaders` are the operation's. Subgroups
    /// go first: of all things they differ most from device to device.
    pub(super) fn without(self, shaders: &[Shader]) -> Option<Self> {
        let takes = |takes: fn(&Shader) -> bool| shaders.iter().any(takes);
        if self.subgroups.is_some() && takes(|s| s.has(SUBGROUPS)) {
            return Some(Self { subgroups: None, ..self });
        }
        if self.numbers != Numbers::F32 && takes(|s| s.kernel == Kernel::MatmulNarrow) {
            return Some(Self { numbers: Numbers::F32, ..self });
        }
        if self.short_tiles && takes(|s| s.has(T_16)) {
            return Some(Self { short_tiles: false, ..self });
        }
        if self.tile_t == 64 && takes(|s| s.has(T_64)) {
            return Some(Self { tile_t: 32, ..self });
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
        if self.appends && takes(|s| s.has(APPEND) || s.has(NORMS)) {
            return Some(Self { appends: false, ..self });
        }
        if self.best_in_products && takes(|s| s.has(BEST)) {
            return Some(Self { best_in_products: false, ..self });
        }
        if self.embeds && takes(|s| s.has(EMBED)) {
            return Some(Self { embeds: false, ..self });
        }
        if self.runs && takes(|s| s.kernel == Kernel::Choose) {
            return Some(Self { runs: false, ..self });
        }
        None
    }

    /// The forms by name, for people.
    pub(super) fn names(self) -> Vec<String> {
        let subgroups = self.subgroups.map(|Subgroups { min, max }| format!("subgroups {min}–{max}"));
        let tiles = self.tiles.then(|| {
            let numbers = match self.numbers {
                Numbers::F32 => "f32",
                Numbers::F16 => "f16",
                Numbers::Bytes => "packed bytes",
            };
            format!("matmul tiles of {} in {numbers}", self.tile_t)
        });
        let attention = self.attention_tiles.then(|| "attention tiles".to_owned());
        let appends = self.appends.then(|| "appending attention".to_owned());
        let parts = self.parts.then(|| "attention in parts".to_owned());
        let best = self.best_in_products.then(|| "best logits in the product".to_owned());
        let runs = self.runs.then(|| "runs of steps".to_owned());
        let embeds = self.embeds.then(|| "lookup in runs".to_owned());
        [subgroups, tiles, attention, appends, parts, best, runs, embeds].into_iter().flatten().collect()
    }
}
