//! Unicode's canonical forms: NFC, which some models want text in, and NFD, with which accents are stripped. Called by `bpe` and
//! `word_piece`.
//!
//! Tables of our own, 4.6 KB gzip, in Unicode 16 (`unicode_table.py`). Text that needs nothing is not copied.

use super::unicode::varint;
use super::unicode_table::{FIRSTS, LINKS, MARKS, N_DECOMPOSITIONS, POINTS, SECONDS};
use crate::error::{Result, try_vec};
use std::borrow::Cow;
use std::sync::Arc;

/// Below these, a text without further look is in the form.
const FIRST_NOT_NFC: char = '\u{300}';
const FIRST_NOT_NFD: char = '\u{C0}';

/// Hangul syllables are composed by arithmetic (The Unicode Standard, 3.12).
const SYLLABLES: std::ops::Range<u32> = 0xAC00..0xAC00 + 11_172;
const LEADING: std::ops::Range<u32> = 0x1100..0x1100 + 19;
const VOWELS: std::ops::Range<u32> = 0x1161..0x1161 + 21;
/// The first stands for no trailing consonant.
const TRAILING: std::ops::Range<u32> = 0x11A7..0x11A7 + 28;

/// The tables, unpacked.
#[derive(Debug, Clone)]
pub(super) struct Normalizer {
    /// First, last, combining class; sorted.
    marks: Arc<[(u32, u32, u8)]>,
    /// What decomposes, its first part, its second (0: none); sorted.
    decompositions: Arc<[[u32; 3]]>,
    /// First part, second part, what they compose to; sorted.
    compositions: Arc<[[u32; 3]]>,
}

impl Normalizer {
    /// Unpacks the tables.
    pub(super) fn new() -> Result<Self> {
        const WHAT: &str = "the tables of Unicode's normal forms";
        let mut marks = try_vec(MARKS.len() / 3, WHAT)?;
        let (mut bytes, mut after) = (MARKS.iter().copied().peekable(), 0);
        while bytes.peek().is_some() {
            let first = after + varint(&mut bytes);
            let (len, class) = (bytes.next().unwrap_or(0), bytes.next().unwrap_or(0));
            after = first + u32::from(len);
            marks.push((first, after.wrapping_sub(1), class));
        }
        let mut decompositions = try_vec(N_DECOMPOSITIONS, WHAT)?;
        let mut compositions = try_vec(N_DECOMPOSITIONS, WHAT)?;
        let (mut points, mut firsts, mut links) =
            (POINTS.iter().copied(), FIRSTS.iter().copied(), LINKS.iter().copied());
        let (mut point, mut first) = (0, 0_u32);
        for _ in 0..N_DECOMPOSITIONS {
            point += varint(&mut points);
            let (step, link) = (varint(&mut firsts), varint(&mut links));
            first = if step & 1 == 0 { first.wrapping_add(step >> 1) } else { first.wrapping_sub((step >> 1) + 1) };
            let second = SECONDS.get((link >> 1) as usize).copied().unwrap_or(0);
            decompositions.push([point, first, second]);
            if link & 1 == 1 {
                compositions.push([first, second, point]);
            }
        }
        compositions.sort_unstable();
        Ok(Self { marks: marks.into(), decompositions: decompositions.into(), compositions: compositions.into() })
    }

    /// `text` in form NFC.
    pub(super) fn nfc<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if text.chars().all(|c| c < FIRST_NOT_NFC) {
            return Cow::Borrowed(text);
        }
        Cow::Owned(self.compose(&self.decompose(text)))
    }

    /// `text` in form NFD.
    pub(super) fn nfd<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if text.chars().all(|c| c < FIRST_NOT_NFD) {
            return Cow::Borrowed(text);
        }
        Cow::Owned(self.decompose(text).into_iter().map(|(c, _)| c).collect())
    }

    /// The characters of form NFD with their combining classes.
    fn decompose(&self, text: &str) -> Vec<(char, u8)> {
        let mut out: Vec<(char, u8)> = Vec::with_capacity(text.len());
        let mut n_marks = 0;
        for c in text.chars() {
            let from = out.len();
            self.push_parts(u32::from(c), &mut out);
            for i in from..out.len() {
                let is_mark = out.get(i).is_some_and(|(_, class)| *class > 0);
                if is_mark {
                    n_marks += 1;
                } else {
                    order(&mut out, i, n_marks);
                    n_marks = 0;
                }
            }
        }
        let end = out.len();
        order(&mut out, end, n_marks);
        out
    }

    fn push_parts(&self, point: u32, out: &mut Vec<(char, u8)>) {
        if SYLLABLES.contains(&point) {
            let i = point - SYLLABLES.start;
            let (l, v, t) = (i / 588, i % 588 / 28, i % 28);
            self.push(LEADING.start + l, out);
            self.push(VOWELS.start + v, out);
            if t > 0 {
                self.push(TRAILING.start + t, out);
            }
            return;
        }
        let found = self.decompositions.binary_search_by_key(&point, |entry| entry[0]);
        match found.ok().and_then(|i| self.decompositions.get(i)) {
            // The first part may decompose further, the second never does.
            Some([_, first, second]) => {
                self.push_parts(*first, out);
                if *second > 0 {
                    self.push(*second, out);
                }
            }
            None => self.push(point, out),
        }
    }

    fn push(&self, point: u32, out: &mut Vec<(char, u8)>) {
        let after = self.marks.partition_point(|(first, ..)| *first <= point);
        let class =
            self.marks.get(after.wrapping_sub(1)).map_or(0, |(_, last, class)| if point <= *last { *class } else { 0 });
        out.extend(char::from_u32(point).map(|c| (c, class)));
    }

    fn compose(&self, decomposed: &[(char, u8)]) -> String {
        let mut out: Vec<char> = Vec::with_capacity(decomposed.len());
        // Where the last starter is, and the class of what came between it and now.
        let (mut starter, mut between) = (None::<usize>, None::<u8>);
        for (c, class) in decomposed {
            let free = between.is_none_or(|between| between < *class);
            let last = starter.filter(|_| free).and_then(|at| out.get_mut(at));
            if let Some(last) = last
                && let Some(both) = self.pair(*last, *c)
            {
                *last = both;
                continue;
            }
            if *class == 0 {
                starter = Some(out.len());
                between = None;
            } else {
                between = Some(*class);
            }
            out.push(*c);
        }
        out.into_iter().collect()
    }

    fn pair(&self, first: char, second: char) -> Option<char> {
        let (first, second) = (u32::from(first), u32::from(second));
        if LEADING.contains(&first) && VOWELS.contains(&second) {
            return char::from_u32(SYLLABLES.start + (first - LEADING.start) * 588 + (second - VOWELS.start) * 28);
        }
        let opens = SYLLABLES.contains(&first) && (first - SYLLABLES.start).is_multiple_of(28);
        if opens && TRAILING.contains(&second) && second > TRAILING.start {
            return char::from_u32(first + second - TRAILING.start);
        }
        let found = self.compositions.binary_search_by_key(&(first, second), |entry| (entry[0], entry[1])).ok()?;
        self.compositions.get(found).and_then(|entry| char::from_u32(entry[2]))
    }
}

/// Sorts the `n` marks before `end` by their class; equals stay in order.
fn order(out: &mut [(char, u8)], end: usize, n: usize) {
    if n > 1 {
        out.get_mut(end - n..end).unwrap_or_default().sort_by_key(|(_, class)| *class);
    }
}
