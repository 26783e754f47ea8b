//! A sequence as bytes and back, for recovery and for conversations that are put aside.
//!
//! ```text
//! 0   "KGKV"             magic
//! 4   u32 version        1
//! 8   u64 model          what the caller knows the model by; another model's cache is refused
//! 16  u32 layers, u32 kv_heads, u32 head_size, u32 element format (0 F16, 1 F32, 2 Q8_0)
//! 32  u64 n_positions
//! 40  u64 checksum       FNV-1a 64 of the data
//! 48  data               for each run of PAGE_POSITIONS positions (the last may be shorter): for each layer k, then v,
//!                        each [position, G, K], of Q8_0 in its blocks
//! ```
//! All little-endian. The data does not depend on the executor.

use super::{Kv, KvFormat, KvGeometry, PAGE_POSITIONS, SequenceId};
use crate::{
    error::{Error, Result, try_vec},
    plan::{Executor, Progress},
};

const MAGIC: &[u8; 4] = b"KGKV";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 48;

/// The sequence's keys and values; `None` where they are still on their way: call again, with nothing done in between, once
/// [`Executor::ready`] is raised. `model` is any number that the caller knows the model by.
pub fn snapshot(
    kv: &Kv,
    id: SequenceId,
    model: u64,
    geometry: &KvGeometry,
    executor: &mut dyn Executor,
) -> Result<Option<Vec<u8>>> {
    let n_positions = kv.len(id)?;
    let mut data = try_vec(n_positions.saturating_mul(position_bytes(geometry)), "a snapshot")?;
    let pages: Vec<_> = kv.pages(id)?.iter().copied().zip(page_lens(n_positions)).collect();
    if executor.kv_read(&pages, &mut data)? != Progress::Complete {
        return Ok(None);
    }
    let mut bytes = try_vec(HEADER_BYTES + data.len(), "a snapshot")?;
    bytes.extend_from_slice(&header(model, geometry, n_positions, checksum(&data))?);
    bytes.extend_from_slice(&data);
    Ok(Some(bytes))
}

/// A new sequence with the keys and values of a snapshot. `Error::Integrity` where the bytes are damaged or of another
/// model or cache; `Error::ContextOverflow` where they do not fit. A failed call leaves no sequence behind.
pub fn restore(
    kv: &mut Kv,
    bytes: &[u8],
    model: u64,
    geometry: &KvGeometry,
    executor: &mut dyn Executor,
) -> Result<SequenceId> {
    let (n_positions, data) = parse(bytes, model, geometry)?;
    let id = kv.create();
    match fill(kv, id, n_positions, data, geometry, executor) {
        Ok(()) => Ok(id),
        Err(error) => {
            kv.release(id)?;
            Err(error)
        }
    }
}

fn fill(
    kv: &mut Kv,
    id: SequenceId,
    n_positions: usize,
    mut data: &[u8],
    geometry: &KvGeometry,
    executor: &mut dyn Executor,
) -> Result<()> {
    kv.append(id, n_positions)?;
    executor.kv_reserve(kv.n_pages())?;
    for (page, n) in kv.pages(id)?.iter().zip(page_lens(n_positions)) {
        let (page_data, rest) = data.split_at(n * position_bytes(geometry));
        executor.kv_write(*page, n, page_data)?;
        data = rest;
    }
    Ok(())
}

/// Checks a snapshot: its number of positions, its data.
fn parse<'a>(bytes: &'a [u8], model: u64, geometry: &KvGeometry) -> Result<(usize, &'a [u8])> {
    let damaged = |what: &str| Error::Integrity { what: format!("snapshot: {what}") };
    let (found, data) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(|| damaged("shorter than its header"))?;
    let n_positions = usize::try_from(u64_at(found, 32)).map_err(|_| damaged("too many positions"))?;
    let expected_bytes = n_positions.checked_mul(position_bytes(geometry));
    let expected = header(model, geometry, n_positions, checksum(data))?;
    for (range, what) in [
        (0..4, "not a snapshot"),
        (4..8, "of another version"),
        (8..16, "of another model"),
        (16..32, "of a cache of another shape or format"),
    ] {
        if found[range.clone()] != expected[range] {
            return Err(damaged(what));
        }
    }
    if expected_bytes != Some(data.len()) {
        return Err(damaged(&format!("{} bytes of data for {n_positions} positions", data.len())));
    }
    if found != expected {
        return Err(damaged("the checksum is wrong"));
    }
    Ok((n_positions, data))
}

fn header(model: u64, geometry: &KvGeometry, n_positions: usize, checksum: u64) -> Result<[u8; HEADER_BYTES]> {
    let KvGeometry { layers, kv_heads, head_size, format } = *geometry;
    let format = match format {
        KvFormat::F16 => 0,
        KvFormat::F32 => 1,
        KvFormat::Q8_0 => 2,
    };
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(MAGIC);
    header[4..8].copy_from_slice(&VERSION.to_le_bytes());
    header[8..16].copy_from_slice(&model.to_le_bytes());
    for (i, n) in [layers, kv_heads, head_size, format].into_iter().enumerate() {
        let n = u32::try_from(n).map_err(|_| Error::internal(format!("a cache of {geometry:?}")))?;
        header[16 + 4 * i..20 + 4 * i].copy_from_slice(&n.to_le_bytes());
    }
    header[32..40].copy_from_slice(&(n_positions as u64).to_le_bytes());
    header[40..].copy_from_slice(&checksum.to_le_bytes());
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

/// FNV-1a, 64 bits (Fowler, Noll, Vo): finds damage, keeps nobody out.
fn checksum(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
