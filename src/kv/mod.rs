//! Key-value cache as bookkeeping: which pages a sequence has, who shares them. The bytes are the executor's.
//!
//! A page holds [`PAGE_POSITIONS`] positions of all layers. Sequences share pages by reference count; the page that a
//! sequence is about to write to is copied first where it is shared (copy on write). [`Kv`] keeps that book for the session;
//! [`snapshot`] and [`restore`] take a sequence out of an executor and back.

mod sequences;
mod snapshot;

pub use sequences::{Kv, PageCopy, SequenceId};
pub use snapshot::{restore, snapshot};

/// Positions per page: also the fixed split of attention, so that results do not depend on how work is divided.
pub const PAGE_POSITIONS: usize = 64;

/// A page of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageId(pub u32);

/// Format of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "ggml's names")]
pub enum KvFormat {
    F16,
    F32,
}

impl KvFormat {
    /// Bytes per element.
    pub const fn element_bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

/// Shape of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvGeometry {
    /// Layers L.
    pub layers: usize,
    /// Kv heads G.
    pub kv_heads: usize,
    /// Head size K.
    pub head_size: usize,
    /// Format of keys and values.
    pub format: KvFormat,
}

impl KvGeometry {
    /// Bytes of one page. Saturating: a header may claim any width, and a cache that cannot fit is refused by its size.
    pub fn page_bytes(&self) -> usize {
        let factors = [self.layers, self.kv_heads, self.head_size, PAGE_POSITIONS, self.format.element_bytes()];
        factors.into_iter().fold(2, usize::saturating_mul)
    }

    /// Pages for this many positions.
    pub fn pages_for(n_positions: usize) -> usize {
        n_positions.div_ceil(PAGE_POSITIONS)
    }
}
