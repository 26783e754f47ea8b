//! Runs the program of an expression at a place in a text. Called by `pretokenize`.
//!
//! By backtracking, leftmost alternative first, as Oniguruma does. What keeps it linear: where a run of a set has been tried
//! and what follows it matched nowhere in it, the same run is not tried again from a later place (`failed`).

use super::expression::{Program, Set, Step};
use super::unicode::Unicode;

/// The state of a search in one text.
pub(super) struct Matcher<'a> {
    program: &'a Program,
    unicode: &'a Unicode,
    text: &'a str,
    /// For each step, the places (first to last) from which a run without limit was tried in vain.
    failed: Vec<(usize, usize)>,
    /// A run that was counted: where it begins, where it ends, how many characters it has.
    counted: (usize, usize, usize),
}

impl<'a> Matcher<'a> {
    /// A matcher for `text`.
    pub(super) fn new(program: &'a Program, unicode: &'a Unicode, text: &'a str) -> Self {
        Self { program, unicode, text, failed: vec![(1, 0); program.steps.len()], counted: (0, 0, 0) }
    }

    /// Where the match that begins at byte `at` ends.
    pub(super) fn match_at(&mut self, at: usize) -> Option<usize> {
        self.run(0, at)
    }

    fn run(&mut self, mut step: usize, mut at: usize) -> Option<usize> {
        loop {
            match *self.program.steps.get(step)? {
                Step::Match => return Some(at),
                Step::End if at == self.text.len() => step += 1,
                Step::End => return None,
                Step::Jump(to) => step = to,
                Step::Split(other) => match self.run(step + 1, at) {
                    Some(end) => return Some(end),
                    None => step = other,
                },
                Step::Look { negated, end } => {
                    if self.run(step + 1, at).is_some() == negated {
                        return None;
                    }
                    step = end;
                }
                Step::Loop { end } => {
                    while let Some(next) = self.run(step + 1, at).filter(|next| *next > at) {
                        at = next;
                    }
                    step = end;
                }
                Step::Threes { set, unless } => {
                    let unless = self.program.sets.get(unless)?;
                    let (_, end, n) = self.count(set, at)?;
                    if n % 3 != 0 || self.char_at(end).is_some_and(|c| unless.contains(c, self.unicode)) {
                        return None;
                    }
                    step += 1;
                }
                Step::Set { set, min: 1, max: 1, .. } => {
                    let c = self.char_at(at)?;
                    if !self.program.sets.get(set)?.contains(c, self.unicode) {
                        return None;
                    }
                    at += c.len_utf8();
                    step += 1;
                }
                Step::Set { set, min, max, possessive } => {
                    let set = self.program.sets.get(set)?;
                    return self.repeat(step, at, set, [min, max], possessive);
                }
            }
        }
    }

    fn repeat(&mut self, step: usize, at: usize, set: &Set, [min, max]: [u32; 2], possessive: bool) -> Option<usize> {
        let (from, to) = self.failed.get(step).copied()?;
        if (from..=to).contains(&at) {
            return None;
        }
        let (mut end, mut n) = (at, 0);
        while n < max
            && let Some(c) = self.char_at(end)
            && set.contains(c, self.unicode)
        {
            end += c.len_utf8();
            n += 1;
        }
        let longest = end;
        while n >= min {
            let found = self.run(step + 1, end);
            if found.is_some() || possessive || n == min {
                if found.is_some() {
                    return found;
                }
                break;
            }
            end -= self.text.get(..end)?.chars().next_back()?.len_utf8();
            n -= 1;
        }
        if max == u32::MAX && !possessive {
            *self.failed.get_mut(step)? = (at, longest);
        }
        None
    }

    /// The run of a set that begins at `at`: where it begins and ends, and how many characters it has. It is counted once.
    fn count(&mut self, set: usize, at: usize) -> Option<(usize, usize, usize)> {
        let (start, end, n) = self.counted;
        self.counted = if (start..end).contains(&at) {
            (at, end, n - self.text.get(start..at)?.chars().count())
        } else {
            let set = self.program.sets.get(set)?;
            let run = self.text.get(at..)?.chars().take_while(|c| set.contains(*c, self.unicode));
            let (n, len) = run.fold((0, 0), |(n, len), c| (n + 1, len + c.len_utf8()));
            (at, at + len, n)
        };
        Some(self.counted)
    }

    fn char_at(&self, at: usize) -> Option<char> {
        let byte = *self.text.as_bytes().get(at)?;
        if byte < 128 { Some(char::from(byte)) } else { self.text.get(at..)?.chars().next() }
    }
}
