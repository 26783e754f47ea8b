//! Finding the pieces that a text begins with: ids in the order of their bytes, narrowed byte by byte. Called by `special` and
//! `unigram`.

use super::vocab::Vocab;

/// Ids, sorted by the bytes of their pieces; none is empty.
#[derive(Debug, Clone, Default)]
pub(super) struct Prefixes {
    sorted: Vec<u32>,
    /// Where the pieces of each first byte begin, and the end of all.
    starts: Vec<u32>,
}

impl Prefixes {
    /// Sorts the pieces of `ids`.
    pub(super) fn new(vocab: &Vocab, ids: impl Iterator<Item = u32>) -> Self {
        let mut sorted: Vec<u32> = ids.filter(|id| vocab.piece(*id).is_some_and(|piece| !piece.is_empty())).collect();
        sorted.sort_unstable_by_key(|id| vocab.piece(*id));
        let first = |id: &u32| vocab.piece(*id).and_then(<[u8]>::first).copied();
        let start = |byte| sorted.partition_point(|id| first(id) < Some(byte)) as u32;
        let starts = (0..=u8::MAX).map(start).chain([sorted.len() as u32]).collect();
        Self { sorted, starts }
    }

    /// All ids, sorted by their bytes.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        self.sorted.iter().copied()
    }

    /// Whether a piece begins with this byte.
    pub(super) fn starts_with(&self, byte: u8) -> bool {
        !self.of_first_byte(byte).is_empty()
    }

    /// Gives id and length of every piece that `text` begins with, shortest first.
    pub(super) fn for_each(&self, vocab: &Vocab, text: &[u8], mut found: impl FnMut(u32, usize)) {
        let mut range = text.first().map_or(&[][..], |byte| self.of_first_byte(*byte));
        let mut depth = 1;
        while let Some(&id) = range.first() {
            let piece = vocab.piece(id).unwrap_or_default();
            if range.len() == 1 {
                // The last one: either the text begins with it or not.
                if text.starts_with(piece) {
                    found(id, piece.len());
                }
                return;
            }
            if piece.len() == depth {
                found(id, depth);
                range = range.get(1..).unwrap_or_default();
            }
            let Some(byte) = text.get(depth) else { return };
            let at_depth = |id: &u32| vocab.piece(*id).and_then(|piece| piece.get(depth)).copied();
            let from = range.partition_point(|id| at_depth(id) < Some(*byte));
            let to = from + range.get(from..).unwrap_or_default().partition_point(|id| at_depth(id) == Some(*byte));
            range = range.get(from..to).unwrap_or_default();
            depth += 1;
        }
    }

    fn of_first_byte(&self, byte: u8) -> &[u32] {
        let at = |i: usize| self.starts.get(i).map_or(0, |start| *start as usize);
        self.sorted.get(at(usize::from(byte))..at(usize::from(byte) + 1)).unwrap_or_default()
    }
}
