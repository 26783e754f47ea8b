//! The loop that both kinds of byte pair encoding share: symbols in a linked list, candidates in a priority queue.
//!
//! ```text
//! symbols   h ⇄ e ⇄ l ⇄ l ⇄ o        queue   (l,l) (h,e) …    best first, leftmost among equals
//! take (l,l):  h ⇄ e ⇄ ll ⇄ o         push    (e,ll) (ll,o)   where these may join
//! ```
//!
//! n symbols make at most n − 1 joins, each pushing at most two candidates: O(n log n). Called by `bpe` and `spm`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// No symbol: the end of the list.
const NONE: usize = usize::MAX;

/// A piece of the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbol {
    /// Where it begins, bytes.
    pub(super) start: usize,
    /// Its length, bytes; 0 after it was joined to the one before it.
    pub(super) len: usize,
    /// Its id, where it is a piece of the vocabulary.
    pub(super) id: Option<u32>,
    previous: usize,
    next: usize,
}

/// What two neighbours may become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Join {
    /// The id of the two together.
    pub(super) id: u32,
    /// Smaller is sooner.
    pub(super) rank: u32,
}

/// Ordered by rank, then by place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    left: usize,
    right: usize,
    len: usize,
    id: u32,
}

/// The symbols of a text and the joins that are possible; kept between texts for its memory.
#[derive(Debug, Default)]
pub(super) struct Chain {
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Reverse<Candidate>>,
}

impl Chain {
    /// Forgets everything but the memory.
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
        self.queue.clear();
    }

    /// Adds a symbol at the end.
    pub(super) fn push(&mut self, start: usize, len: usize, id: Option<u32>) {
        let index = self.symbols.len();
        if let Some(last) = self.symbols.last_mut() {
            last.next = index;
        }
        self.symbols.push(Symbol { start, len, id, previous: index.wrapping_sub(1), next: NONE });
    }

    /// Joins neighbours, best first, until none may join. Returns the number of candidates that were looked at.
    pub(super) fn merge(&mut self, join: impl Fn(&Symbol, &Symbol) -> Option<Join>) -> usize {
        let mut first: Vec<_> = std::mem::take(&mut self.queue).into_vec();
        first.extend((1..self.symbols.len()).filter_map(|right| self.candidate(right - 1, right, &join)));
        self.queue = BinaryHeap::from(first);
        let mut n_candidates = 0;
        while let Some(Reverse(best)) = self.queue.pop() {
            n_candidates += 1;
            let Some(next) = self.apply(&best) else { continue };
            let previous = self.symbols.get(best.left).map_or(NONE, |left| left.previous);
            let around = [self.candidate(previous, best.left, &join), self.candidate(best.left, next, &join)];
            self.queue.extend(around.into_iter().flatten());
        }
        n_candidates
    }

    /// The symbols that are left, in order.
    pub(super) fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(|symbol| symbol.len > 0)
    }

    fn candidate(
        &self,
        left: usize,
        right: usize,
        join: impl Fn(&Symbol, &Symbol) -> Option<Join>,
    ) -> Option<Reverse<Candidate>> {
        let (a, b) = (self.symbols.get(left)?, self.symbols.get(right)?);
        let Join { id, rank } = join(a, b)?;
        Some(Reverse(Candidate { rank, left, right, len: a.len + b.len, id }))
    }

    /// Joins the two, unless one of them has changed since the candidate was found. Returns the symbol after them.
    fn apply(&mut self, found: &Candidate) -> Option<usize> {
        let right = *self.symbols.get(found.right)?;
        let left = self.symbols.get_mut(found.left)?;
        if left.len == 0 || right.len == 0 || left.len + right.len != found.len {
            return None;
        }
        left.len = found.len;
        left.id = Some(found.id);
        left.next = right.next;
        if let Some(next) = self.symbols.get_mut(right.next) {
            next.previous = found.left;
        }
        if let Some(gone) = self.symbols.get_mut(found.right) {
            gone.len = 0;
        }
        Some(right.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Joins equal neighbours into a symbol of twice the length: 1 is "a", 2 is "aa", 3 is "aaaa"…
    fn double(a: &Symbol, b: &Symbol) -> Option<Join> {
        let id = a.id.filter(|id| Some(*id) == b.id && *id < 10)?;
        Some(Join { id: id + 1, rank: id })
    }

    #[test]
    fn a_million_equal_symbols_take_a_linear_number_of_candidates() {
        let n = 1_000_000;
        let mut chain = Chain::default();
        (0..n).for_each(|i| chain.push(i, 1, Some(1)));
        assert!(chain.merge(double) <= 3 * n);
        assert_eq!(chain.symbols().map(|s| s.len).sum::<usize>(), n);
        assert_eq!(chain.symbols().next().map(|s| s.len), Some(512));
    }

    #[test]
    fn leftmost_of_equals_goes_first_and_stale_candidates_do_nothing() {
        let mut chain = Chain::default();
        (0..3).for_each(|i| chain.push(i, 1, Some(1)));
        assert_eq!(chain.merge(double), 2);
        assert_eq!(chain.symbols().map(|s| (s.start, s.len)).collect::<Vec<_>>(), [(0, 2), (2, 1)]);
    }
}
