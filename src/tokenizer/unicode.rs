//! The classes of characters that pre-tokenizers tell apart: `\p{L}`, `\p{N}`, `\s` and the rest. Called by `pretokenize`.
//!
//! A table of our own, 6.4 KB (3 KB gzip), because no crate has just these: std knows `\s` and `\p{N}` but not `\p{L}` (its
//! `is_alphabetic` takes in marks), and its Unicode version changes with the compiler, which would change token ids.

use super::unicode_table::RUNS;

/// The class of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// None of the others: punctuation, symbols, marks, control characters, unassigned.
    Other,
    /// General category L.
    Letter,
    /// General category N.
    Number,
    /// Property White_Space.
    Space,
}

impl Class {
    /// The class of `c`.
    pub(super) fn of(c: char) -> Self {
        if c.is_ascii() {
            return match c {
                'a'..='z' | 'A'..='Z' => Self::Letter,
                '0'..='9' => Self::Number,
                '\t'..='\r' | ' ' => Self::Space,
                _ => Self::Other,
            };
        }
        let after = RUNS.partition_point(|run| run >> 2 <= u32::from(c));
        match RUNS.get(after.wrapping_sub(1)).map_or(0, |run| run & 3) {
            1 => Self::Letter,
            2 => Self::Number,
            3 => Self::Space,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_spaces_are_those_of_std_up_to_its_newer_unicode() {
        let assigned_later = |c: char| u32::from(c) > 0x10000; // Unicode 17 added no N or White_Space below
        for c in (0..=0x10FFFF).filter_map(char::from_u32) {
            assert_eq!(Class::of(c) == Class::Space, c.is_whitespace(), "{c:?}");
            assert!(Class::of(c) != Class::Number || c.is_numeric(), "{c:?}");
            assert!(Class::of(c) == Class::Number || !c.is_numeric() || assigned_later(c), "{c:?}");
            assert!(Class::of(c) != Class::Letter || c.is_alphabetic(), "{c:?}");
        }
    }

    #[test]
    fn ascii_short_cut_agrees_with_the_table() {
        for c in (0..128u8).map(char::from) {
            let run = RUNS.iter().rev().find(|run| **run >> 2 <= u32::from(c));
            assert_eq!(run.map(|run| run & 3), Some(Class::of(c) as u32), "{c:?}");
        }
    }
}
