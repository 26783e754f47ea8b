//! Regular expressions of pre-tokenizers, read into programs. Called by `pretokenize`; `matcher` runs them.
//!
//! The expressions are those of tokenizer.json, and this reads as much of Oniguruma's grammar as they use, because no library
//! for regular expressions is small enough for the product:
//!
//! ```text
//! a|b   ab   (…) (?:…) (?i:…)   (?=…) (?!…)   ? * + {m} {m,n}, also possessive (?+ *+ ++)   $
//! \s \S \d \p{L} \p{Lu} … \p{Han}   \r \n \t   [^…] with ranges, classes, [a[bc]] and [a&&[^b]]
//! (?3) (?3N) (?3w)  ours: a run of \d or \p{N} follows that can be cut into threes; and the last: no \w stands behind it
//! ```
//!
//! A repeated group may match in one way only: it is never gone back into. What cannot be read is an error that names it.

use super::unicode::{Class, Unicode};

/// One step of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// `min` to `max` characters of a set, as many as possible; fewer where what follows wants it, unless `possessive`.
    Set { set: usize, min: u32, max: u32, possessive: bool },
    /// Go on with the next step, and where that fails with this one.
    Split(usize),
    /// Go on there.
    Jump(usize),
    /// What follows, up to its `Match`, has to match (or not), and takes no text; then go on at `end`.
    Look { negated: bool, end: usize },
    /// What follows, up to its `Match`, as often as it matches; then go on at `end`.
    Loop { end: usize },
    /// As many characters of `set` follow as a multiple of three, and none of `unless` behind them.
    Threes { set: usize, unless: usize },
    /// The end of the text.
    End,
    /// Done.
    Match,
}

impl Step {
    fn target(&mut self) -> Option<&mut usize> {
        match self {
            Self::Split(to) | Self::Jump(to) | Self::Look { end: to, .. } | Self::Loop { end: to } => Some(to),
            _ => None,
        }
    }
}

/// A set of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    /// Everything about ASCII.
    ascii: u128,
    /// A bit per class, for the others.
    classes: u16,
    /// Sorted.
    ranges: Vec<(char, char)>,
    /// Han characters are taken out.
    without_han: bool,
    negated: bool,
}

impl Set {
    /// Whether `c` is in it.
    pub(super) fn contains(&self, c: char, unicode: &Unicode) -> bool {
        let code_point = u32::from(c);
        if code_point < 128 {
            return self.ascii >> code_point & 1 == 1;
        }
        let found = self.classes >> unicode.class(c) as u16 & 1 == 1 || is_within(&self.ranges, c);
        found != self.negated && !(self.without_han && is_within(&HAN, c))
    }
}

fn is_within(sorted: &[(char, char)], c: char) -> bool {
    let after = sorted.partition_point(|(first, _)| *first <= c);
    sorted.get(after.wrapping_sub(1)).is_some_and(|(_, last)| c <= *last)
}

/// Script Han in Unicode 16.
const HAN: [(char, char); 22] = [
    ('\u{2E80}', '\u{2E99}'),
    ('\u{2E9B}', '\u{2EF3}'),
    ('\u{2F00}', '\u{2FD5}'),
    ('\u{3005}', '\u{3005}'),
    ('\u{3007}', '\u{3007}'),
    ('\u{3021}', '\u{3029}'),
    ('\u{3038}', '\u{303B}'),
    ('\u{3400}', '\u{4DBF}'),
    ('\u{4E00}', '\u{9FFF}'),
    ('\u{F900}', '\u{FA6D}'),
    ('\u{FA70}', '\u{FAD9}'),
    ('\u{16FE2}', '\u{16FE3}'),
    ('\u{16FF0}', '\u{16FF1}'),
    ('\u{20000}', '\u{2A6DF}'),
    ('\u{2A700}', '\u{2B739}'),
    ('\u{2B740}', '\u{2B81D}'),
    ('\u{2B820}', '\u{2CEA1}'),
    ('\u{2CEB0}', '\u{2EBE0}'),
    ('\u{2EBF0}', '\u{2EE5D}'),
    ('\u{2F800}', '\u{2FA1D}'),
    ('\u{30000}', '\u{3134A}'),
    ('\u{31350}', '\u{323AF}'),
];

/// What `\w` takes beside letters, marks, digits and Pc: Nl, letters in circles and squares, and of No
/// (Oniguruma) those of Latin-1.
const MORE_OF_WORDS: [(char, char); 19] = [
    ('\u{B2}', '\u{B3}'),
    ('\u{B9}', '\u{B9}'),
    ('\u{BC}', '\u{BE}'),
    ('\u{16EE}', '\u{16F0}'),
    ('\u{2160}', '\u{2182}'),
    ('\u{2185}', '\u{2188}'),
    ('\u{24B6}', '\u{24E9}'),
    ('\u{3007}', '\u{3007}'),
    ('\u{3021}', '\u{3029}'),
    ('\u{3038}', '\u{303A}'),
    ('\u{A6E6}', '\u{A6EF}'),
    ('\u{10140}', '\u{10174}'),
    ('\u{10341}', '\u{10341}'),
    ('\u{1034A}', '\u{1034A}'),
    ('\u{103D1}', '\u{103D5}'),
    ('\u{12400}', '\u{1246E}'),
    ('\u{1F130}', '\u{1F149}'),
    ('\u{1F150}', '\u{1F169}'),
    ('\u{1F170}', '\u{1F189}'),
];

const LETTERS: u16 = 0b11111;
const MARKS: u16 = 1 << Class::Mn as u16 | 1 << Class::M as u16;
const NUMBERS: u16 = 1 << Class::Nd as u16 | 1 << Class::N as u16;
const PUNCTUATION: u16 = 1 << Class::Pc as u16 | 1 << Class::P as u16;

/// An expression that can be run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Program {
    /// The steps; the last is `Match`.
    pub(super) steps: Vec<Step>,
    /// The sets that they name.
    pub(super) sets: Vec<Set>,
}

impl Program {
    /// Reads an expression; the error says what cannot be read.
    pub(super) fn read(expression: &str, unicode: &Unicode) -> Result<Self, String> {
        let mut reader = Reader { rest: expression, program: Self::default(), any_case: false, depth: 0, unicode };
        reader.alternatives()?;
        if !reader.rest.is_empty() {
            return Err(format!("{:?} is not understood", reader.rest));
        }
        reader.program.steps.push(Step::Match);
        Ok(reader.program)
    }
}

/// How deep groups and sets may be nested.
const MAX_DEPTH: usize = 8;

struct Reader<'a> {
    rest: &'a str,
    program: Program,
    any_case: bool,
    depth: usize,
    unicode: &'a Unicode,
}

type Read<T> = Result<T, String>;

impl Reader<'_> {
    fn eat(&mut self, prefix: &str) -> bool {
        let after = self.rest.strip_prefix(prefix);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn next(&mut self) -> Read<char> {
        let mut chars = self.rest.chars();
        let c = chars.next().ok_or("it ends too soon")?;
        self.rest = chars.as_str();
        Ok(c)
    }

    fn deeper(&mut self) -> Read<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(format!("more than {MAX_DEPTH} levels of nesting")) } else { Ok(()) }
    }

    /// `a|b|c`: Split to b, a, Jump to the end, b: Split to c …
    fn alternatives(&mut self) -> Read<()> {
        let mut jumps = Vec::new();
        loop {
            let start = self.program.steps.len();
            self.sequence()?;
            if !self.eat("|") {
                break;
            }
            self.insert(start, Step::Split(0));
            jumps.push(self.program.steps.len());
            self.program.steps.push(Step::Jump(0));
            self.patch(start);
        }
        jumps.into_iter().for_each(|jump| self.patch(jump));
        Ok(())
    }

    /// Puts a step before others, which are not the target of any so far but among themselves.
    fn insert(&mut self, at: usize, step: Step) {
        for later in self.program.steps.iter_mut().skip(at) {
            if let Some(to) = later.target() {
                *to += 1;
            }
        }
        self.program.steps.insert(at, step);
    }

    /// Lets the step at `at` lead to the end of what has been read.
    fn patch(&mut self, at: usize) {
        let here = self.program.steps.len();
        if let Some(to) = self.program.steps.get_mut(at).and_then(Step::target) {
            *to = here;
        }
    }

    fn sequence(&mut self) -> Read<()> {
        while !self.rest.is_empty() && !self.rest.starts_with(['|', ')']) {
            let start = self.program.steps.len();
            if self.rest.starts_with('(') {
                self.group(start)?;
            } else if self.eat("$") {
                self.program.steps.push(Step::End);
            } else {
                let set = self.atom()?;
                let (min, max, possessive) = self.quantifier()?;
                self.program.steps.push(Step::Set { set, min, max, possessive });
            }
        }
        Ok(())
    }

    fn group(&mut self, start: usize) -> Read<()> {
        if self.eat("(?3") {
            let digits = if self.eat("N") { NUMBERS } else { 1 << Class::Nd as u16 };
            let set = self.set(digits, Vec::new(), false, false);
            let unless = if self.eat("w") {
                let classes = LETTERS | MARKS | 1 << Class::Nd as u16 | 1 << Class::Pc as u16;
                self.set(classes, MORE_OF_WORDS.to_vec(), false, false)
            } else {
                self.set(0, Vec::new(), false, false)
            };
            self.program.steps.push(Step::Threes { set, unless });
            return if self.eat(")") { Ok(()) } else { Err("(?3 is not closed".into()) };
        }
        self.deeper()?;
        let look = if self.eat("(?=") {
            Some(false)
        } else if self.eat("(?!") {
            Some(true)
        } else {
            None
        };
        let outer_case = self.any_case;
        if let Some(negated) = look {
            self.program.steps.push(Step::Look { negated, end: 0 });
        } else if self.eat("(?i:") {
            self.any_case = true;
        } else if !self.eat("(?:") {
            self.next()?;
        }
        self.alternatives()?;
        if !self.eat(")") {
            return Err("a group is not closed, or begins in an unknown way".into());
        }
        self.any_case = outer_case;
        self.depth -= 1;
        if look.is_some() {
            self.program.steps.push(Step::Match);
            self.patch(start);
            return Ok(());
        }
        match self.quantifier()? {
            (1, 1, _) => {}
            (0, 1, _) => {
                self.insert(start, Step::Split(0));
                self.patch(start);
            }
            (0, u32::MAX, _) => self.repeat(start),
            (1, u32::MAX, _) => {
                let again = self.copy(start);
                self.repeat(again);
            }
            _ => return Err("a group may be repeated by ?, * and + only".into()),
        }
        Ok(())
    }

    /// Makes a loop of what was read from `start` on.
    fn repeat(&mut self, start: usize) {
        self.insert(start, Step::Loop { end: 0 });
        self.program.steps.push(Step::Match);
        self.patch(start);
    }

    /// Repeats what was read from `start` on; returns where the copy begins.
    fn copy(&mut self, start: usize) -> usize {
        let body = self.program.steps.get(start..).unwrap_or_default().to_vec();
        let again = self.program.steps.len();
        self.program.steps.extend(body.into_iter().map(|mut step| {
            if let Some(to) = step.target() {
                *to += again - start;
            }
            step
        }));
        again
    }

    /// The least and the greatest number, and whether none of them is given back.
    fn quantifier(&mut self) -> Read<(u32, u32, bool)> {
        let (min, max) = match self.rest.chars().next() {
            Some('?') => (0, 1),
            Some('*') => (0, u32::MAX),
            Some('+') => (1, u32::MAX),
            Some('{') => return self.counts().map(|(min, max)| (min, max, false)),
            _ => return Ok((1, 1, false)),
        };
        self.next()?;
        if self.rest.starts_with('?') {
            return Err("a lazy quantifier".into());
        }
        Ok((min, max, self.eat("+")))
    }

    fn counts(&mut self) -> Read<(u32, u32)> {
        let (counts, rest) = self.rest.split_once('}').ok_or("{ is not closed")?;
        let counts = counts.trim_start_matches('{');
        self.rest = rest;
        let (min, max) = counts.split_once(',').unwrap_or((counts, counts));
        let number = |s: &str| s.parse::<u32>().map_err(|_| format!("{{{counts}}} is no number of times"));
        let max = if max.is_empty() { u32::MAX } else { number(max)? };
        Ok((number(min)?, max))
    }

    /// A character, an escape or a set in brackets.
    fn atom(&mut self) -> Read<usize> {
        if self.eat("[") {
            return self.brackets();
        }
        match self.next()? {
            '\\' => {
                let (mut classes, mut ranges) = (0, Vec::new());
                let negated = self.escape(&mut classes, &mut ranges)?;
                Ok(self.set(classes, ranges, negated, false))
            }
            '.' | '^' => Err("`.` or `^`".into()),
            c => Ok(self.set(0, vec![(c, c)], false, false)),
        }
    }

    /// What stands between `[` and `]`; the first has been read.
    fn brackets(&mut self) -> Read<usize> {
        let negated = self.eat("^");
        let (mut classes, mut ranges, mut without_han) = (0, Vec::new(), false);
        self.members(&mut classes, &mut ranges, &mut without_han)?;
        Ok(self.set(classes, ranges, negated, without_han))
    }

    fn members(&mut self, classes: &mut u16, ranges: &mut Vec<(char, char)>, without_han: &mut bool) -> Read<()> {
        self.deeper()?;
        while !self.eat("]") {
            if self.eat("&&[^\\p{Han}]") {
                *without_han = true;
            } else if self.rest.starts_with("&&") || self.rest.starts_with("[^") {
                return Err(format!("a set with {:?}", self.rest.get(..2).unwrap_or_default()));
            } else if self.eat("[") {
                self.members(classes, ranges, without_han)?;
            } else {
                self.member(classes, ranges)?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn member(&mut self, classes: &mut u16, ranges: &mut Vec<(char, char)>) -> Read<()> {
        let n_ranges = ranges.len();
        match self.next()? {
            '\\' => {
                if self.escape(classes, ranges)? {
                    return Err("a negated class within a set".into());
                }
            }
            c => ranges.push((c, c)),
        }
        // A character and a hyphen and a character are a range.
        let is_range = ranges.len() == n_ranges + 1 && self.rest.starts_with('-') && !self.rest.starts_with("-]");
        if is_range && self.eat("-") {
            let mut last = self.next()?;
            if last == '\\' {
                last = self.next()?;
            }
            if let Some((first, end)) = ranges.last_mut() {
                *end = last;
                if *first > *end {
                    return Err(format!("the range {first:?} to {last:?} is the wrong way round"));
                }
            }
        }
        Ok(())
    }

    /// What stands behind a backslash. Returns whether it is everything but that.
    fn escape(&mut self, classes: &mut u16, ranges: &mut Vec<(char, char)>) -> Read<bool> {
        let c = self.next()?;
        match c {
            's' | 'S' => *classes |= 1 << Class::Space as u16,
            'd' => *classes |= 1 << Class::Nd as u16,
            'r' => ranges.push(('\r', '\r')),
            'n' => ranges.push(('\n', '\n')),
            't' => ranges.push(('\t', '\t')),
            'p' => {
                let (name, rest) = self.rest.split_once('}').ok_or("\\p is not closed")?;
                self.rest = rest;
                *classes |= match name.trim_start_matches('{') {
                    "L" => LETTERS,
                    "Lu" => 1 << Class::Lu as u16,
                    "Ll" => 1 << Class::Ll as u16,
                    "Lt" => 1 << Class::Lt as u16,
                    "Lm" => 1 << Class::Lm as u16,
                    "Lo" => 1 << Class::Lo as u16,
                    "M" => MARKS,
                    "N" => NUMBERS,
                    "P" => PUNCTUATION,
                    "S" => 1 << Class::S as u16,
                    "Han" => {
                        ranges.extend(HAN);
                        0
                    }
                    _ => return Err(format!("\\p{name}}}")),
                };
            }
            c if c.is_ascii_alphanumeric() => return Err(format!("\\{c}")),
            c => ranges.push((c, c)),
        }
        Ok(c == 'S')
    }

    /// Adds a set to the program, once.
    fn set(&mut self, classes: u16, mut ranges: Vec<(char, char)>, negated: bool, without_han: bool) -> usize {
        if self.any_case {
            add_other_cases(&mut ranges);
        }
        let ranges = merged(ranges);
        let mut set = Set { ascii: 0, classes, ranges, without_han, negated };
        for c in (0..128u8).map(char::from) {
            let found = classes >> self.unicode.class(c) as u16 & 1 == 1 || is_within(&set.ranges, c);
            set.ascii |= u128::from(found != negated) << u32::from(c);
        }
        let sets = &mut self.program.sets;
        sets.iter().position(|other| *other == set).unwrap_or_else(|| {
            sets.push(set);
            sets.len() - 1
        })
    }
}

/// Ranges in order that neither touch nor overlap.
fn merged(mut ranges: Vec<(char, char)>) -> Vec<(char, char)> {
    ranges.sort_unstable();
    let mut merged: Vec<(char, char)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut().filter(|before| u32::from(first) <= u32::from(before.1) + 1) {
            Some(before) => before.1 = before.1.max(last),
            None => merged.push((first, last)),
        }
    }
    merged
}

/// The other case of single letters, and what Unicode folds to s and k besides (as Oniguruma and tiktoken have it; llama.cpp
/// does not).
fn add_other_cases(ranges: &mut Vec<(char, char)>) {
    for i in 0..ranges.len() {
        let Some(&(c, _)) = ranges.get(i) else { continue };
        let folded = match c.to_ascii_lowercase() {
            's' => Some('\u{17F}'),
            'k' => Some('\u{212A}'),
            _ => None,
        };
        let others = [c.to_ascii_lowercase(), c.to_ascii_uppercase()].into_iter().chain(folded);
        ranges.extend(others.filter(|other| *other != c).map(|other| (other, other)));
    }
}
