//! A sequence as bytes and back, for conversations that are put aside.
//!
//! ```text
//! 0   "KGKV"             magic
//! 4   u32 version        2
//! 8   u64 key            FNV-1a 64 of what the snapshot is bound to: the model and the shape and format of the cache
//! 16  u64 n_positions
//! 24  u64 note_bytes
//! 32  u64 checksum       FNV-1a 64 of all that follows
//! 40  note               whatever the caller wants back with it
//!     u32 tokens         one for each position
//!     data               for each run of PAGE_POSITIONS positions (the last may be shorter): for each layer k, then v,
//!                        each [position, G, K], of Q8_0 in its blocks
//! ```
//! All little-endian, as the machines are that this runs on. The data does not depend on the executor.

use super::{Kv, KvGeometry, PAGE_POSITIONS, PageId, SequenceId};
use crate::{
    error::{Error, Result, try_vec},
    hash::Fnv,
    plan::{Executor, Progress},
};

const MAGIC: &[u8; 4] = b"KGKV";
const VERSION: u32 = 2;
const HEADER_BYTES: usize = 40;
const TOKEN_BYTES: usize = size_of::<u32>();

/// What a snapshot is bound to: with anything else its bytes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// Any number that the caller knows the model by.
    pub model: u64,
    /// Shape of the cache.
    pub geometry: KvGeometry,
}

/// What a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents<'a> {
    /// What the caller gave along.
    pub note: &'a [u8],
    /// u32, one for each position.
    tokens: &'a [u8],
    data: &'a [u8],
}

/// The note, the tokens and the sequence's keys and values; `None` where these are still on their way: call again, with nothing
/// done in between, once [`Executor::ready`] is raised. There is a token for each position.
pub fn snapshot(
    kv: &Kv,
    id: SequenceId,
    note: &[u8],
    tokens: &[u32],
    binding: &Binding,
    executor: &mut dyn Executor,
) -> Result<Option<Vec<u8>>> {
    let n_positions = kv.len(id)?;
    let tokens = tokens.get(..n_positions).ok_or_else(|| Error::internal("a snapshot without its tokens"))?;
    let n_bytes = n_positions.saturating_mul(position_bytes(&binding.geometry) + TOKEN_BYTES);
    let mut bytes = try_vec(n_bytes.saturating_add(HEADER_BYTES + note.len()), "a snapshot")?;
    bytes.extend_from_slice(&[0; HEADER_BYTES]);
    bytes.extend_from_slice(note);
    bytes.extend_from_slice(bytemuck::cast_slice(tokens));
    let pages: Vec<_> = kv.pages(id)?.iter().copied().zip(page_lens(n_positions)).collect();
    if executor.kv_read(&pages, &mut bytes)? != Progress::Complete {
        return Ok(None);
    }
    if let Some((place, rest)) = bytes.split_first_chunk_mut() {
        *place = header(binding, n_positions, note.len(), rest);
    }
    Ok(Some(bytes))
}

impl<'a> Contents<'a> {
    /// Checks a snapshot. `Error::Integrity` where the bytes are damaged or of another model or cache.
    pub fn of(bytes: &'a [u8], binding: &Binding) -> Result<Self> {
        let refused = |what: &str| Err(Error::Integrity { what: format!("snapshot: {what}") });
        let Some((found, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return refused("shorter than its header");
        };
        let size_at = |at| u64_at(found, at).try_into().unwrap_or(usize::MAX);
        let (n_positions, note_bytes) = (size_at(16), size_at(24));
        let expected = header(binding, n_positions, note_bytes, rest);
        for (range, what) in [
            (0..4, "not a snapshot"),
            (4..8, "of another version"),
            (8..16, "of another model, kvType or version of this package"),
            (16..HEADER_BYTES, "damaged"),
        ] {
            if found[range.clone()] != expected[range] {
                return refused(what);
            }
        }
        let contents = || {
            let (note, rest) = rest.split_at_checked(note_bytes)?;
            let (tokens, data) = rest.split_at_checked(n_positions.checked_mul(TOKEN_BYTES)?)?;
            let is_whole = n_positions.checked_mul(position_bytes(&binding.geometry))? == data.len();
            is_whole.then_some(Self { note, tokens, data })
        };
        contents().map_or_else(|| refused("of another length than it says"), Ok)
    }

    /// How many positions there are.
    pub fn n_positions(&self) -> usize {
        self.tokens.len() / TOKEN_BYTES
    }

    /// The token at each position: any numbers, as they stand there.
    pub fn tokens(&self) -> Vec<u32> {
        self.tokens.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
    }

    /// Writes the keys and values, which are of this executor's geometry, to the pages of a sequence of as many positions.
    pub fn write(&self, pages: &[PageId], executor: &mut dyn Executor) -> Result<()> {
        let n_positions = self.n_positions();
        let position_bytes = self.data.len() / n_positions.max(1);
        let pieces = self.data.chunks(PAGE_POSITIONS * position_bytes.max(1));
        let mut parts = pages.iter().zip(page_lens(n_positions)).zip(pieces);
        parts.try_for_each(|((page, n), data)| executor.kv_write(*page, n, data))
    }
}

fn header(binding: &Binding, n_positions: usize, note_bytes: usize, rest: &[u8]) -> [u8; HEADER_BYTES] {
    let KvGeometry { layers, kv_heads, head_size, format } = binding.geometry;
    let shape = [layers, kv_heads, head_size, format as usize].map(|n| n as u64);
    let mut key = Fnv::default();
    [binding.model].iter().chain(&shape).for_each(|n| key.write(&n.to_le_bytes()));
    let mut checksum = Fnv::default();
    checksum.write(rest);
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(MAGIC);
    header[4..8].copy_from_slice(&VERSION.to_le_bytes());
    let words = [key.finish(), n_positions as u64, note_bytes as u64, checksum.finish()];
    for (place, word) in header[8..].chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    header
}

fn u64_at(header: &[u8], at: usize) -> u64 {
    header[at..at + 8].iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

/// Positions on each page of a sequence.
fn page_lens(n_positions: usize) -> impl Iterator<Item = usize> {
    (0..n_positions).step_by(PAGE_POSITIONS).map(move |start| PAGE_POSITIONS.min(n_positions - start))
}

fn position_bytes(geometry: &KvGeometry) -> usize {
    geometry.page_bytes() / PAGE_POSITIONS
}
