//! Hands out exactly so many bytes at a time, whatever the chunks are: straight from the chunk where it holds them all, else
//! from a buffer that grows with the bytes that have come, never with the number that is waited for. Used by the parser.

use crate::error::{Error, Result};

/// Gathers bytes over chunks and counts them.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The beginning of an item that the chunks so far did not complete, or the item that was handed out last.
    partial: Vec<u8>,
    handed_out: bool,
    position: u64,
}

impl Reader {
    /// The next `n` bytes off `chunk`, or `None` where they have not all come yet; then `chunk` is used up. A caller that got
    /// `None` asks again with the next chunk, for at least as many bytes as have come.
    pub(super) fn take<'a, 'c: 'a>(&'a mut self, chunk: &mut &'c [u8], n: usize) -> Result<Option<&'a [u8]>> {
        if self.handed_out {
            self.partial.clear();
            self.handed_out = false;
        }
        let missing = n.saturating_sub(self.partial.len());
        let (head, rest) = chunk.split_at(missing.min(chunk.len()));
        *chunk = rest;
        self.position += head.len() as u64;
        if head.len() == n {
            return Ok(Some(head));
        }
        self.partial
            .try_reserve(head.len())
            .map_err(|_| Error::Memory { what: "the file's header".into(), needed_bytes: n as u64 })?;
        self.partial.extend_from_slice(head);
        self.handed_out = self.partial.len() >= n;
        Ok(self.handed_out.then_some(&self.partial))
    }

    /// Takes up to `n` bytes off `chunk` as they are.
    pub(super) fn take_some<'c>(&mut self, chunk: &mut &'c [u8], n: u64) -> &'c [u8] {
        let n = usize::try_from(n).unwrap_or(usize::MAX).min(chunk.len());
        let (head, rest) = chunk.split_at(n);
        *chunk = rest;
        self.position += n as u64;
        head
    }

    /// Gives the buffer back: from here on only [`Self::take_some`] is called.
    pub(super) fn release(&mut self) {
        self.partial = Vec::new();
        self.handed_out = false;
    }

    /// Bytes taken off all chunks.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of the item that is not complete.
    pub(super) fn n_partial(&self) -> usize {
        if self.handed_out { 0 } else { self.partial.len() }
    }
}
