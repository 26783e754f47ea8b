//! Key-value cache as bookkeeping: which pages a sequence has, who shares them. The bytes are the executor's.
//!
//! A page holds [`PAGE_POSITIONS`] positions of all layers. Sequences share pages by reference count; the page that a
//! sequence is about to write to is copied first where it is shared (copy on write). [`Kv`] keeps that book for the session;
//! [`snapshot`] and [`Contents::write`] take a sequence out of an executor and back.

mod sequences;
mod snapshot;

pub use sequences::{Kv, PageCopy, SequenceId};
pub use snapshot::{Binding, Contents, snapshot};

use crate::{
    error::{Error, Result},
    quant::q8_0,
};

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
    Q8_0,
}

impl KvFormat {
    /// Bytes of `n` elements of a head. Saturating.
    pub const fn row_bytes(self, n: usize) -> usize {
        match self {
            Self::F16 => n.saturating_mul(2),
            Self::F32 => n.saturating_mul(4),
            Self::Q8_0 => n.div_ceil(q8_0::BLOCK).saturating_mul(q8_0::BLOCK_BYTES),
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
        let factors = [self.layers, self.kv_heads, PAGE_POSITIONS, self.format.row_bytes(self.head_size)];
        factors.into_iter().fold(2, usize::saturating_mul)
    }

    /// Whether heads can be kept in the format: a row of Q8_0 is of whole blocks.
    pub fn check(&self) -> Result<()> {
        match self.format {
            KvFormat::Q8_0 if !self.head_size.is_multiple_of(q8_0::BLOCK) => Err(Error::UnsupportedFeature {
                what: format!(
                    "keys and values in q8_0: heads of {} are no multiple of {}",
                    self.head_size,
                    q8_0::BLOCK
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Pages for this many positions.
    pub fn pages_for(n_positions: usize) -> usize {
        n_positions.div_ceil(PAGE_POSITIONS)
    }
}
