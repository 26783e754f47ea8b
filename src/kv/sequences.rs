//! Sequences and their pages.
//!
//! ```text
//! after fork:  a ──► [page 0: 64] [page 1: 30]        both hold 94 positions, both pages have two owners
//!              b ──► [page 0: 64] [page 1: 30]
//! b appends 3: b ──► [page 0: 64] [page 2: 30 + 3]    the partial page is copied first: copy 30 positions of 1 to 2
//! ```

use super::{KvGeometry, PAGE_POSITIONS, PageId};
use crate::{
    error::{Error, Result},
    sorted::SortedMap,
};

/// A sequence of a [`Kv`]; never used again after the sequence was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(u64);

/// A copy that the executor must carry out (`Executor::kv_copy`) before the step that writes to `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageCopy {
    /// The shared page.
    pub from: PageId,
    /// The page that takes its place in the sequence.
    pub to: PageId,
    /// How many positions of it count.
    pub n_positions: usize,
}

/// Which pages each sequence has. A failed call changes nothing.
#[derive(Debug, Clone)]
pub struct Kv {
    context_tokens: usize,
    max_pages: usize,
    sequences: SortedMap<SequenceId, Sequence>,
    next_sequence: u64,
    /// Owners of each page that was ever handed out.
    owners: Vec<u32>,
    /// Pages without an owner, the one to hand out next last.
    free: Vec<PageId>,
}

#[derive(Debug, Clone, Default)]
struct Sequence {
    len: usize,
    pages: Vec<PageId>,
}

impl Kv {
    /// A cache for sequences of at most `context_tokens` positions, `max_pages` pages in all. One sequence needs
    /// [`KvGeometry::pages_for`]`(context_tokens)`; what others share with it costs nothing more.
    pub fn new(context_tokens: usize, max_pages: usize) -> Self {
        let sequences = SortedMap::default();
        Self { context_tokens, max_pages, sequences, next_sequence: 0, owners: vec![], free: vec![] }
    }

    /// The longest that a sequence may be, positions.
    pub fn capacity(&self) -> usize {
        self.context_tokens
    }

    /// How many pages the executor must have reserved: every page that was handed out is below.
    pub fn n_pages(&self) -> usize {
        self.owners.len()
    }

    /// Pages that can still be handed out.
    pub fn free_pages(&self) -> usize {
        self.max_pages - self.owners.len() + self.free.len()
    }

    /// Pages that sequences hold.
    pub fn used_pages(&self) -> usize {
        self.owners.len() - self.free.len()
    }

    /// How many pages [`Self::append`] would take for n more positions, that of a copy among them.
    pub fn pages_wanted(&self, id: SequenceId, n: usize) -> Result<usize> {
        let Sequence { len, pages } = self.sequence(id)?;
        let copies = n > 0 && self.shared_end(*len, pages).is_some();
        let all = KvGeometry::pages_for(len.saturating_add(n));
        Ok(all.saturating_sub(pages.len()).saturating_add(usize::from(copies)))
    }

    /// The last page of a sequence, where it is partial and others own it too.
    fn shared_end(&self, len: usize, pages: &[PageId]) -> Option<PageId> {
        let partial = pages.last().copied().filter(|_| !len.is_multiple_of(PAGE_POSITIONS));
        partial.filter(|page| self.owners[page.0 as usize] > 1)
    }

    /// An empty sequence.
    pub fn create(&mut self) -> SequenceId {
        self.insert(Sequence::default())
    }

    /// A sequence that begins as a copy of another; they share every page until one writes.
    pub fn fork(&mut self, id: SequenceId) -> Result<SequenceId> {
        let copy = self.sequence(id)?.clone();
        for page in &copy.pages {
            self.owners[page.0 as usize] += 1;
        }
        Ok(self.insert(copy))
    }

    /// Makes room for n more positions. The copies are to be carried out before the step that writes them;
    /// [`Self::n_pages`] may have grown. `Error::ContextOverflow` where the sequence would pass the context, or where the
    /// pages do not suffice because other sequences hold them.
    pub fn append(&mut self, id: SequenceId, n: usize) -> Result<Vec<PageCopy>> {
        let Sequence { len, pages } = self.sequence(id)?;
        let (len, n_pages) = (*len, pages.len());
        let shared = self.shared_end(len, pages).filter(|_| n > 0);

        let new_len = len.saturating_add(n);
        let room = n_pages.saturating_sub(usize::from(shared.is_some())).saturating_add(self.free_pages());
        let available = self.context_tokens.min(room.saturating_mul(PAGE_POSITIONS));
        if new_len > available {
            return Err(Error::ContextOverflow { requested_tokens: new_len, available_tokens: available });
        }

        let mut copies = vec![];
        let mut pages = self.sequence(id)?.pages.clone();
        if let Some(from) = shared {
            let to = self.take_page()?;
            self.release_page(from);
            pages.pop();
            pages.push(to);
            copies.push(PageCopy { from, to, n_positions: len % PAGE_POSITIONS });
        }
        while pages.len() < KvGeometry::pages_for(new_len) {
            pages.push(self.take_page()?);
        }
        self.sequences.insert(id, Sequence { len: new_len, pages });
        Ok(copies)
    }

    /// Forgets the positions from `position` on. Longer than the sequence is an error.
    pub fn truncate(&mut self, id: SequenceId, position: usize) -> Result<()> {
        let sequence = self.sequences.get_mut(&id).ok_or_else(|| unknown(id))?;
        if position > sequence.len {
            return Err(Error::internal(format!("sequence of {} positions truncated to {position}", sequence.len)));
        }
        sequence.len = position;
        let released = sequence.pages.split_off(KvGeometry::pages_for(position));
        released.into_iter().rev().for_each(|page| self.release_page(page));
        Ok(())
    }

    /// Ends a sequence and gives its pages back.
    pub fn release(&mut self, id: SequenceId) -> Result<()> {
        self.truncate(id, 0)?;
        self.sequences.remove(&id);
        Ok(())
    }

    /// Positions of a sequence.
    pub fn len(&self, id: SequenceId) -> Result<usize> {
        Ok(self.sequence(id)?.len)
    }

    /// Pages of a sequence, in order of position.
    pub fn pages(&self, id: SequenceId) -> Result<&[PageId]> {
        Ok(&self.sequence(id)?.pages)
    }

    fn sequence(&self, id: SequenceId) -> Result<&Sequence> {
        self.sequences.get(&id).ok_or_else(|| unknown(id))
    }

    fn insert(&mut self, sequence: Sequence) -> SequenceId {
        let id = SequenceId(self.next_sequence);
        self.next_sequence += 1;
        self.sequences.insert(id, sequence);
        id
    }

    /// A page with one owner: one that was given back, else a new one, so that page numbers stay low.
    fn take_page(&mut self) -> Result<PageId> {
        if let Some(page) = self.free.pop() {
            self.owners[page.0 as usize] = 1;
            return Ok(page);
        }
        let page = PageId(u32::try_from(self.owners.len()).map_err(|_| Error::internal("2³² pages"))?);
        self.owners.push(1);
        Ok(page)
    }

    fn release_page(&mut self, page: PageId) {
        let owners = &mut self.owners[page.0 as usize];
        *owners -= 1;
        if *owners == 0 {
            self.free.push(page);
        }
    }
}

fn unknown(id: SequenceId) -> Error {
    Error::internal(format!("sequence {} is not there", id.0))
}
