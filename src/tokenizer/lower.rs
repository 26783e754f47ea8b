//! Small letters. Called by `word_piece`.
//!
//! A table of our own (0.5 KB gzip), in Unicode 16 (`unicode_table.py`), because that of std is 8 KB (gzip) in each binary and changes
//! with the compiler.

use super::unicode::varint;
use super::unicode_table::LOWER;
use crate::error::{Result, try_vec};
use std::sync::Arc;

/// The only character that becomes two, and the second of them.
const DOTTED_CAPITAL: char = 'İ';
const DOT_ABOVE: char = '\u{307}';

/// The table, unpacked.
#[derive(Debug, Clone)]
pub(super) struct Lower {
    /// In order.
    runs: Arc<[Run]>,
}

/// Characters whose small letters are as far from them.
#[derive(Debug)]
struct Run {
    first: u32,
    last: u32,
    /// 1: each character from the first to the last, 2: every second.
    step: u32,
    /// To be added, modulo 2³².
    way: u32,
}

impl Lower {
    /// Unpacks the table.
    pub(super) fn new() -> Result<Self> {
        let mut runs = try_vec(LOWER.len() / 3, "the table of small letters")?;
        let (mut bytes, mut after) = (LOWER.iter().copied().peekable(), 0);
        while bytes.peek().is_some() {
            let first = after + varint(&mut bytes);
            let (length, way) = (varint(&mut bytes), varint(&mut bytes));
            let step = 1 + (length & 1);
            let last = first + (length >> 1).saturating_sub(1) * step;
            runs.push(Run { first, last, step, way: (way >> 1) ^ 0_u32.wrapping_sub(way & 1) });
            after = last + 1;
        }
        Ok(Self { runs: runs.into() })
    }

    /// The small letter of `c`, which is `c` where it has none, and what follows it: std's `char::to_lowercase`.
    pub(super) fn of(&self, c: char) -> (char, Option<char>) {
        if c.is_ascii() {
            return (c.to_ascii_lowercase(), None);
        }
        let point = u32::from(c);
        let after = self.runs.partition_point(|run| run.first <= point);
        let run = self.runs.get(after.wrapping_sub(1));
        let found = run.filter(|run| point <= run.last && (point - run.first) % run.step == 0);
        let small = found.and_then(|run| char::from_u32(point.wrapping_add(run.way)));
        (small.unwrap_or(c), Some(DOT_ABOVE).filter(|_| c == DOTTED_CAPITAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Capital letters of Unicode 17, which std knows.
    const NEWER: [std::ops::RangeInclusive<char>; 4] =
        ['\u{A7CE}'..='\u{A7CE}', '\u{A7D2}'..='\u{A7D2}', '\u{A7D4}'..='\u{A7D4}', '\u{16EA0}'..='\u{16EB8}'];

    #[test]
    fn small_letters_are_those_of_std_up_to_its_newer_unicode() {
        let lower = Lower::new().unwrap();
        let mut n_small = 0;
        for c in (0..=0x10FFFF).filter_map(char::from_u32) {
            let (small, more) = lower.of(c);
            n_small += usize::from(small != c);
            let is_newer = NEWER.iter().any(|range| range.contains(&c));
            let expected: Vec<char> = if is_newer { vec![c] } else { c.to_lowercase().collect() };
            assert_eq!([small].into_iter().chain(more).collect::<Vec<_>>(), expected, "{c:?}");
        }
        assert_eq!(n_small, 1460);
    }
}
