//! What calls have left in the cache: sequences of keys and values with their tokens. A call takes the one that has most in common
//! with its prompt; where it uses only a part of it, it gets a fork, so that going back to the other branch finds everything too.
//!
//! ```text
//! kept    system, question, answer            a call: system, question, another question
//!         └─ its beginning is shared ─────►   system, question, another question   page by page, copied where it goes on
//! ```
//! They live in pages that nobody else wants: [`super::runner`] drops the one that was used least recently whenever a request would
//! otherwise go beyond the pages of one context. Scoring, which has as many of its own, leaves them alone.

use crate::{
    error::Result,
    kv::{Kv, SequenceId},
};

/// Kept sequences.
#[derive(Default)]
pub(super) struct Kept {
    /// The one that was used most recently last. Of no two does one begin with the other.
    entries: Vec<Entry>,
    /// Of an encoder-decoder, whose prompt means something else as a part of another.
    is_whole: bool,
    /// Nothing makes room: the request in progress has pages of its own.
    pub(super) is_held: bool,
}

struct Entry {
    sequence: SequenceId,
    tokens: Vec<u32>,
}

impl Kept {
    /// Nothing yet. `is_whole`: a sequence is of use only to a call that has just its tokens.
    pub(super) fn new(is_whole: bool) -> Self {
        Self { is_whole, ..Self::default() }
    }

    /// The tokens of the sequence that was used most recently.
    pub(super) fn newest(&self) -> &[u32] {
        self.entries.last().map_or(&[], |entry| &entry.tokens)
    }

    /// A sequence for the caller to go on with that holds the first tokens of `prompt`, as many as are there, at most `limit`;
    /// how many.
    pub(super) fn take(&mut self, prompt: &[u32], limit: usize, kv: &mut Kv) -> Result<(SequenceId, usize)> {
        let Some((place, n)) = self.best(prompt, limit) else { return Ok((kv.create(), 0)) };
        let entry = self.entries.remove(place);
        if entry.tokens.len() == n {
            return Ok((entry.sequence, n));
        }
        let fork = kv.fork(entry.sequence);
        self.entries.push(entry);
        let fork = fork?;
        kv.truncate(fork, n)?;
        Ok((fork, n))
    }

    /// A sequence for the caller with what is there of these tokens; it is empty where only all of them would be of use.
    pub(super) fn copy(&self, tokens: &[u32], kv: &mut Kv) -> Result<SequenceId> {
        let best = self.best(tokens, tokens.len()).filter(|_| !self.is_whole);
        let Some((entry, n)) = best.and_then(|(place, n)| Some((self.entries.get(place)?, n))) else {
            return Ok(kv.create());
        };
        let copy = kv.fork(entry.sequence)?;
        kv.truncate(copy, n)?;
        Ok(copy)
    }

    /// Which has most in common with a prompt, and how much; `None` where none has anything.
    fn best(&self, prompt: &[u32], limit: usize) -> Option<(usize, usize)> {
        let in_common = |entry: &Entry| match self.is_whole {
            true if entry.tokens == prompt => prompt.len(),
            true => 0,
            false => entry.tokens.iter().zip(prompt).take_while(|(a, b)| a == b).count().min(limit),
        };
        let all = self.entries.iter().map(in_common).enumerate();
        all.max_by_key(|(_, n)| *n).filter(|(_, n)| *n > 0)
    }

    /// Keeps a sequence, which holds these tokens. Of two of which one begins with the other the longer stays.
    pub(super) fn keep(&mut self, sequence: SequenceId, tokens: Vec<u32>, kv: &mut Kv) -> Result<()> {
        let is_whole = self.is_whole;
        let covers = |longer: &[u32], shorter: &[u32]| match is_whole {
            true => longer == shorter,
            false => longer.starts_with(shorter),
        };
        if tokens.is_empty() {
            return kv.release(sequence);
        }
        if let Some(place) = self.entries.iter().position(|entry| covers(&entry.tokens, &tokens)) {
            let entry = self.entries.remove(place);
            self.entries.push(entry);
            return kv.release(sequence);
        }
        let covered: Vec<Entry> = self.entries.extract_if(.., |entry| covers(&tokens, &entry.tokens)).collect();
        self.entries.push(Entry { sequence, tokens });
        covered.into_iter().try_for_each(|entry| kv.release(entry.sequence))
    }

    /// Gives the pages back of the one that was used least recently; `false` where there is none that may go.
    pub(super) fn drop_oldest(&mut self, kv: &mut Kv) -> Result<bool> {
        if self.entries.is_empty() || self.is_held {
            return Ok(false);
        }
        kv.release(self.entries.remove(0).sequence)?;
        Ok(true)
    }

    /// Gives all pages back.
    pub(super) fn clear(&mut self, kv: &mut Kv) -> Result<()> {
        self.entries.drain(..).try_for_each(|entry| kv.release(entry.sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(kept: &mut Kept, kv: &mut Kv, tokens: &[u32]) {
        let sequence = kv.create();
        kv.append(sequence, tokens.len()).unwrap();
        kept.keep(sequence, tokens.to_vec(), kv).unwrap();
    }

    fn lists(kept: &Kept) -> Vec<&[u32]> {
        kept.entries.iter().map(|entry| entry.tokens.as_slice()).collect()
    }

    #[test]
    fn of_two_of_which_one_begins_with_the_other_the_longer_stays() {
        let (mut kept, mut kv) = (Kept::default(), Kv::new(100, 10));
        for tokens in [&[1, 2][..], &[1, 3], &[], &[1, 2, 3]] {
            with(&mut kept, &mut kv, tokens);
        }
        assert_eq!(lists(&kept), [&[1, 3][..], &[1, 2, 3]]);
        with(&mut kept, &mut kv, &[1]);
        assert_eq!(lists(&kept), [&[1, 2, 3][..], &[1, 3]], "it was in the older one, which counts as used");
        assert_eq!(kv.used_pages(), 2, "the others' pages came back");
        assert_eq!(kept.newest(), [1, 3]);
    }

    #[test]
    fn a_call_takes_what_has_most_in_common_or_forks_it() {
        let (mut kept, mut kv) = (Kept::default(), Kv::new(100, 10));
        with(&mut kept, &mut kv, &[1, 2, 3]);
        with(&mut kept, &mut kv, &[1, 4]);
        let (whole, n) = kept.take(&[1, 2, 3, 9], 3, &mut kv).unwrap();
        assert_eq!((n, lists(&kept)), (3, vec![&[1, 4][..]]), "taken as it is");
        kept.keep(whole, vec![1, 2, 3, 9], &mut kv).unwrap();
        let (fork, n) = kept.take(&[1, 2, 7], 2, &mut kv).unwrap();
        assert_eq!((n, kv.len(fork).unwrap(), lists(&kept).len()), (2, 2, 2), "both stay");
        assert_eq!(kept.take(&[8], 1, &mut kv).unwrap().1, 0);
        assert_eq!(kept.take(&[1], 0, &mut kv).unwrap().1, 0, "nothing is wanted");
    }
}
