//! A sequence as bytes and back, for conversations that are put aside.
//!
//! ```text
//! 0   "KGKV"             magic
//! 4   u32 version        2
//! 8   u64 model          what the caller knows the model by; another model's cache is refused
//! 16  u32 layers, u32 kv_heads, u32 head_size, u32 element format (0 F16, 1 F32, 2 Q8_0)
//! 32  u64 n_positions
//! 40  u64 note_bytes
//! 48  u64 checksum       FNV-1a 64 of all that follows
//! 56  note               whatever the caller wants back with it
//!     u32 tokens         one for each position
//!     data               for each run of PAGE_POSITIONS positions (the last may be shorter): for each layer k, then v,
//!                        each [position, G, K], of Q8_0 in its blocks
//! ```
//! All little-endian. The data does not depend on the executor.

use super::{Kv, KvFormat, KvGeometry, PAGE_POSITIONS, SequenceId};
use crate::{
    error::{Error, Result, try_vec},
    hash::Fnv,
    plan::{Executor, Progress},
};

const MAGIC: &[u8; 4] = b"KGKV";
const VERSION: u32 = 2;
const HEADER_BYTES: usize = 56;
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
/// done in between, once [`Executor::ready`] is raised. There are as many `tokens` as positions.
pub fn snapshot(
    kv: &Kv,
    id: SequenceId,
    note: &[u8],
    tokens: &[u32],
    binding: &Binding,
    executor: &mut dyn Executor,
) -> Result<Option<Vec<u8>>> {
    let n_positions = kv.len(id)?;
    if tokens.len() != n_positions {
        return Err(Error::internal(format!("a snapshot of {n_positions} positions with {} tokens", tokens.len())));
    }
    let n_bytes = n_positions.saturating_mul(position_bytes(&binding.geometry) + TOKEN_BYTES);
    let mut bytes = try_vec(n_bytes.saturating_add(HEADER_BYTES + note.len()), "a snapshot")?;
    bytes.extend_from_slice(&[0; HEADER_BYTES]);
    bytes.extend_from_slice(note);
    tokens.iter().for_each(|token| bytes.extend_from_slice(&token.to_le_bytes()));
    let pages: Vec<_> = kv.pages(id)?.iter().copied().zip(page_lens(n_positions)).collect();
    if executor.kv_read(&pages, &mut bytes)? != Progress::Complete {
        return Ok(None);
    }
    if let Some((place, rest)) = bytes.split_first_chunk_mut::<HEADER_BYTES>() {
        *place = header(binding, n_positions, note.len(), checksum(rest))?;
    }
    Ok(Some(bytes))
}

impl<'a> Contents<'a> {
    /// Checks a snapshot. `Error::Integrity` where the bytes are damaged or of another model or cache.
    pub fn of(bytes: &'a [u8], binding: &Binding) -> Result<Self> {
        let damaged = |what: &str| Error::Integrity { what: format!("snapshot: {what}") };
        let (found, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(|| damaged("shorter than its header"))?;
        let size_at = |at| usize::try_from(u64_at(found, at)).map_err(|_| damaged("too many positions"));
        let (n_positions, note_bytes) = (size_at(32)?, size_at(40)?);
        let expected = header(binding, n_positions, note_bytes, checksum(rest))?;
        for (range, what) in [
            (0..4, "not a snapshot"),
            (4..8, "of another version"),
            (8..16, "of another model, or of another version of this package"),
            (16..32, "of a cache of another shape or format"),
        ] {
            if found[range.clone()] != expected[range] {
                return Err(damaged(what));
            }
        }
        let contents = rest.split_at_checked(note_bytes).and_then(|(note, rest)| {
            let (tokens, data) = rest.split_at_checked(n_positions.checked_mul(TOKEN_BYTES)?)?;
            let is_whole = n_positions.checked_mul(position_bytes(&binding.geometry))? == data.len();
            is_whole.then_some(Self { note, tokens, data })
        });
        let n_rest = rest.len();
        let contents = contents.ok_or_else(|| {
            damaged(&format!("{n_rest} bytes of data for {n_positions} positions and a note of {note_bytes}"))
        })?;
        if found != expected {
            return Err(damaged("the checksum is wrong"));
        }
        Ok(contents)
    }

    /// How many positions there are.
    pub fn n_positions(&self) -> usize {
        self.tokens.len() / TOKEN_BYTES
    }

    /// The token at each position: any numbers, as they stand there.
    pub fn tokens(&self) -> Vec<u32> {
        self.tokens.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
    }

    /// A new sequence with the keys and values, which are of this geometry. `Error::ContextOverflow` where they do not fit. A failed
    /// call leaves no sequence behind.
    pub fn restore(&self, kv: &mut Kv, executor: &mut dyn Executor) -> Result<SequenceId> {
        let id = kv.create();
        match self.fill(kv, id, executor) {
            Ok(()) => Ok(id),
            Err(error) => {
                kv.release(id)?;
                Err(error)
            }
        }
    }

    fn fill(&self, kv: &mut Kv, id: SequenceId, executor: &mut dyn Executor) -> Result<()> {
        let n_positions = self.n_positions();
        let position_bytes = self.data.len().checked_div(n_positions).unwrap_or(0);
        kv.append(id, n_positions)?;
        executor.kv_reserve(kv.n_pages())?;
        let mut data = self.data;
        for (page, n) in kv.pages(id)?.iter().zip(page_lens(n_positions)) {
            let (page_data, rest) = data.split_at_checked(n * position_bytes).unwrap_or_default();
            executor.kv_write(*page, n, page_data)?;
            data = rest;
        }
        Ok(())
    }
}

fn header(binding: &Binding, n_positions: usize, note_bytes: usize, checksum: u64) -> Result<[u8; HEADER_BYTES]> {
    let KvGeometry { layers, kv_heads, head_size, format } = binding.geometry;
    let format = match format {
        KvFormat::F16 => 0,
        KvFormat::F32 => 1,
        KvFormat::Q8_0 => 2,
    };
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(MAGIC);
    header[4..8].copy_from_slice(&VERSION.to_le_bytes());
    header[8..16].copy_from_slice(&binding.model.to_le_bytes());
    for (i, n) in [layers, kv_heads, head_size, format].into_iter().enumerate() {
        let n = u32::try_from(n).map_err(|_| Error::internal(format!("a cache of {:?}", binding.geometry)))?;
        header[16 + 4 * i..20 + 4 * i].copy_from_slice(&n.to_le_bytes());
    }
    for (i, n) in [n_positions as u64, note_bytes as u64, checksum].into_iter().enumerate() {
        header[32 + 8 * i..40 + 8 * i].copy_from_slice(&n.to_le_bytes());
    }
    Ok(header)
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

fn checksum(bytes: &[u8]) -> u64 {
    let mut hash = Fnv::default();
    hash.write(bytes);
    hash.finish()
}
