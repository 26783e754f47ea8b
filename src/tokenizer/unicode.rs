//! The classes of characters that tokenizers tell apart. Called by `expression`, `word_piece` and `normalize`.
//!
//! A table of our own (2.7 KB gzip), because no crate has just these: std knows White_Space and `\p{N}` but neither `\p{L}` (its
//! `is_alphabetic` takes in marks) nor the rest, and its Unicode version changes with the compiler, which would change token ids.

use super::unicode_table::CLASSES;
use crate::error::{Result, try_vec};
use std::sync::Arc;

/// The class of a character: Unicode's general categories, of which those that nobody tells apart are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Lu,
    Ll,
    Lt,
    Lm,
    Lo,
    Mn,
    /// Mc and Me.
    M,
    Nd,
    /// Nl and No.
    N,
    Pc,
    /// All of P but Pc.
    P,
    S,
    /// The property White_Space: all of Z and a few control characters.
    Space,
    /// Cc, Cf, Cs and Co, but for what is white space.
    C,
    Unassigned,
}

/// In the table: capital and small letters by turns.
const ALTERNATING: u8 = 15;
const ALL: [Class; 15] = [
    Class::Lu,
    Class::Ll,
    Class::Lt,
    Class::Lm,
    Class::Lo,
    Class::Mn,
    Class::M,
    Class::Nd,
    Class::N,
    Class::Pc,
    Class::P,
    Class::S,
    Class::Space,
    Class::C,
    Class::Unassigned,
];

/// Above the code points that the table goes to there are four runs only.
const END: usize = 0x33480;

/// The table, unpacked: a byte for each code point.
#[derive(Debug, Clone)]
pub(super) struct Unicode {
    classes: Arc<[u8]>,
}

impl Unicode {
    /// Unpacks the table.
    pub(super) fn new() -> Result<Self> {
        let mut classes = try_vec(END, "the classes of characters")?;
        let mut bytes = CLASSES.iter().copied();
        while let Some(byte) = bytes.next() {
            let n = if byte < 16 { varint(&mut bytes) as usize } else { usize::from(byte >> 4) };
            let n = n.min(END - classes.len());
            match byte & 15 {
                ALTERNATING => classes.extend((0..n).map(|i| (i & 1) as u8)),
                class => classes.resize(classes.len() + n, class),
            }
        }
        Ok(Self { classes: classes.into() })
    }

    /// The class of `c`.
    pub(super) fn class(&self, c: char) -> Class {
        let code_point = u32::from(c);
        if let Some(class) = self.classes.get(code_point as usize) {
            return ALL.get(usize::from(*class)).copied().unwrap_or(Class::Unassigned);
        }
        match code_point {
            0xE0001 | 0xE0020..=0xE007F | 0xF0000..=0xFFFFD | 0x0010_0000..=0x0010_FFFD => Class::C,
            0xE0100..=0xE01EF => Class::Mn,
            _ => Class::Unassigned,
        }
    }
}

/// The number whose digits to the base of 128 come next, lowest first.
pub(super) fn varint(bytes: &mut impl Iterator<Item = u8>) -> u32 {
    let mut n = 0;
    for (shift, byte) in (0..32).step_by(7).zip(bytes) {
        n |= u32::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_std_up_to_its_newer_unicode() {
        let unicode = Unicode::new().unwrap();
        let assigned_later = |c: char| unicode.class(c) == Class::Unassigned;
        for c in (0..=0x10FFFF).filter_map(char::from_u32) {
            let class = unicode.class(c);
            let is_number = matches!(class, Class::Nd | Class::N);
            assert_eq!(class == Class::Space, c.is_whitespace(), "{c:?}");
            assert!(!is_number || c.is_numeric(), "{c:?}");
            assert!(is_number || !c.is_numeric() || assigned_later(c), "{c:?}");
            assert!(!matches!(class, Class::Lu | Class::Ll | Class::Lt | Class::Lm | Class::Lo) || c.is_alphabetic());
            assert!(class != Class::Lu || c.is_uppercase(), "{c:?}");
            assert!(class != Class::Ll || c.is_lowercase() || c == '\u{295}', "{c:?}"); // Lo since Unicode 17
            assert!(!c.is_control() || matches!(class, Class::C | Class::Space), "{c:?}");
        }
    }

    #[test]
    fn the_table_is_whole() {
        let unicode = Unicode::new().unwrap();
        assert_eq!(unicode.classes.len(), END);
        let classes =
            ['A', 'z', 'ǅ', 'ʰ', '日', '\u{301}', '\u{20dd}', '٣', '²', '_', '!', '+', '\u{2028}', '\u{200d}'];
        assert_eq!(classes.map(|c| unicode.class(c)), ALL[..14]);
        assert_eq!(unicode.class('\u{378}'), Class::Unassigned);
        assert_eq!(unicode.class('\u{E0100}'), Class::Mn);
    }
}
