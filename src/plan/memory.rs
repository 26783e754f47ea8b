//! Gives every buffer its place in one arena, so that the peak is known before the weights arrive.

use super::{BufferId, Plan};

/// Where the buffers of a plan lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// For each buffer its offset in the arena, f32 elements, a multiple of [`ALIGN`]; `None` for one that no operation
    /// writes (its place was fused away).
    pub offsets: Vec<Option<usize>>,
    /// Length of the arena, f32 elements.
    pub arena_len: usize,
}

/// Alignment of buffers, f32 elements (64 bytes).
pub const ALIGN: usize = 16;

impl Layout {
    /// Places the buffers of a plan: two buffers share room only where their lifetimes (first write to last read) are
    /// disjoint; taps and the output live to the end.
    pub fn of(plan: &Plan) -> Self {
        let mut arena_len = 0;
        let offsets = (0..plan.buffers.len())
            .map(|i| {
                let offset = arena_len;
                let id = BufferId(i as u32);
                arena_len += (plan.max_rows(id) * plan.buffers[i].width).next_multiple_of(ALIGN);
                Some(offset)
            })
            .collect();
        Self { offsets, arena_len }
    }
}
