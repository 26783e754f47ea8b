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

    /// A sequence for the caller that holds the first tokens of `prompt`, as many as are there, at most `limit`; how many. What is there
    /// `stays`, or where the caller goes on behind all of it, it is handed over.
    pub(super) fn take(
        &mut self,
        prompt: &[u32],
        limit: usize,
        stays: bool,
        kv: &mut Kv,
    ) -> Result<(SequenceId, usize)> {
        let Some((place, n)) = self.best(prompt, limit) else { return Ok((kv.create(), 0)) };
        let entry = self.entries.remove(place);
        if entry.tokens.len() == n && !stays {
            return Ok((entry.sequence, n));
        }
        let fork = kv.fork(entry.sequence);
        self.entries.push(entry);
        let fork = fork?;
        kv.truncate(fork, n)?;
        Ok((fork, n))
    }

    /// Which has most in common with a prompt, and how much; `None` where none has anything.
    fn best(&self, prompt: &[u32], limit: usize) -> Option<(usize, usize)> {
        let mut best = None;
        for (place, entry) in self.entries.iter().enumerate() {
            let n = match self.is_whole {
                true if entry.tokens != prompt => 0,
                true => prompt.len(),
                false => entry.tokens.iter().zip(prompt).take_while(|(a, b)| a == b).count().min(limit),
            };
            if n > 0 && best.is_none_or(|(_, most)| n >= most) {
                best = Some((place, n));
            }
        }
        best
    }

    /// Keeps a sequence, which holds these tokens. Of two of which one begins with the other the longer stays.
    pub(super) fn keep(&mut self, sequence: SequenceId, tokens: Vec<u32>, kv: &mut Kv) -> Result<()> {
        let mut newest = Entry { sequence, tokens };
        for place in (0..self.entries.len()).rev() {
            let Some(entry) = self.entries.get(place) else { continue };
            let is_covered = match self.is_whole {
                true => entry.tokens == newest.tokens,
                false => entry.tokens.starts_with(&newest.tokens) || newest.tokens.starts_with(&entry.tokens),
            };
            if is_covered {
                let mut other = self.entries.remove(place);
                if other.tokens.len() >= newest.tokens.len() {
                    std::mem::swap(&mut other, &mut newest);
                }
                kv.release(other.sequence)?;
            }
        }
        if newest.tokens.is_empty() {
            return kv.release(newest.sequence);
        }
        self.entries.push(newest);
        Ok(())
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
        while let Some(entry) = self.entries.pop() {
            kv.release(entry.sequence)?;
        }
        Ok(())
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
        assert_eq!(lists(&kept), [&[1, 3][..], &[1, 2, 3]]);
        with(&mut kept, &mut kv, &[1, 3]);
        assert_eq!(lists(&kept), [&[1, 2, 3][..], &[1, 3]], "it counts as used");
        assert_eq!(kv.used_pages(), 2, "the others' pages came back");
        assert_eq!(kept.newest(), [1, 3]);
    }

    #[test]
    fn a_call_takes_what_has_most_in_common_or_forks_it() {
        let (mut kept, mut kv) = (Kept::default(), Kv::new(100, 10));
        with(&mut kept, &mut kv, &[1, 2, 3]);
        with(&mut kept, &mut kv, &[1, 4]);
        let (whole, n) = kept.take(&[1, 2, 3, 9], 3, false, &mut kv).unwrap();
        assert_eq!((n, lists(&kept)), (3, vec![&[1, 4][..]]), "taken as it is");
        kept.keep(whole, vec![1, 2, 3, 9], &mut kv).unwrap();
        let (fork, n) = kept.take(&[1, 2, 7], 2, false, &mut kv).unwrap();
        assert_eq!((n, kv.len(fork).unwrap(), lists(&kept).len()), (2, 2, 2), "both stay");
        assert_eq!(kept.take(&[8], 1, false, &mut kv).unwrap().1, 0);
        assert_eq!(kept.take(&[1], 0, false, &mut kv).unwrap().1, 0, "nothing is wanted");
    }
}
