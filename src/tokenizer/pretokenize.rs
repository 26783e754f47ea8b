//! Pre-tokenizers: text is cut into words, and merges never cross the border of a word. Called by `bpe`.
//!
//! A pre-tokenizer is a list of expressions (`presets`). The first cuts the text into its matches and what lies between them,
//! each next one cuts the parts that the one before it left:
//!
//! ```text
//! "abc 123 d"  \p{N}  →  "abc " "1" "2" "3" " d"  GPT-2's  →  "abc" " " "1" "2" "3" " d"
//! ```

use super::expression::Program;
use super::matcher::Matcher;
use super::presets::{self, PRESETS};
use super::unicode::Unicode;
use crate::error::{Error, Result};
use crate::gguf::Metadata;

const PRE: &str = "tokenizer.ggml.pre";
/// Ours: the expressions of a tokenizer.json, in place of a name.
const EXPRESSIONS: &str = "tokenizer.kinglet.expressions";

/// How text is cut into words.
#[derive(Debug, Clone)]
pub(super) struct PreTokenizer {
    programs: Vec<Program>,
    flags: u8,
    unicode: Unicode,
    /// Neither a name nor expressions: what is taken may not be what the model was trained with.
    pub(super) is_guess: bool,
}

impl PreTokenizer {
    /// The pre-tokenizer that a file asks for.
    pub(super) fn from_metadata(metadata: &Metadata) -> Result<Self> {
        let unicode = Unicode::new()?;
        if let Some(expressions) = metadata.strings(EXPRESSIONS)? {
            let expressions: Vec<_> = expressions.iter().map(String::from_utf8_lossy).collect();
            let flags =
                [("ignore_merges", presets::WHOLE_WORDS), ("nfc", presets::NFC), ("characters", presets::CHARACTERS)];
            let mut all = 0;
            for (key, flag) in flags {
                let is_set = metadata.bool(&format!("tokenizer.kinglet.{key}"))?.unwrap_or(false);
                all |= if is_set { flag } else { 0 };
            }
            let programs = known(&expressions, &unicode)?;
            return Ok(Self { programs, flags: all, unicode, is_guess: false });
        }
        let name = metadata.str(PRE)?.filter(|name| !name.is_empty());
        let mut found = Self::named(name.unwrap_or("default"), unicode)?;
        found.is_guess = name.is_none();
        Ok(found)
    }

    /// The pre-tokenizer of a name.
    pub(super) fn named(name: &str, unicode: Unicode) -> Result<Self> {
        let Some((_, flags, expressions)) = PRESETS.iter().find(|(names, ..)| names.contains(&name)) else {
            let what = format!("{PRE}: the pre-tokenizer {name:?} is not supported");
            return Err(Error::UnsupportedFeature { what });
        };
        Ok(Self { programs: read_all(expressions, &unicode)?, flags: *flags, unicode, is_guess: false })
    }

    /// Whether a flag of `presets` is set.
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Gives the words of `text`, in order and without gaps; none is empty.
    pub(super) fn for_each_word(&self, text: &str, word: &mut dyn FnMut(&str)) {
        self.split(&self.programs, text, word);
    }

    fn split(&self, programs: &[Program], text: &str, word: &mut dyn FnMut(&str)) {
        let Some((program, rest)) = programs.split_first() else {
            if !text.is_empty() {
                word(text);
            }
            return;
        };
        let mut matcher = Matcher::new(program, &self.unicode, text);
        let (mut begin, mut at) = (0, 0);
        while let Some(c) = text.get(at..).and_then(|text| text.chars().next()) {
            let next = at + c.len_utf8();
            let Some(end) = matcher.match_at(at) else {
                at = next;
                continue;
            };
            if begin < at {
                self.split(rest, text.get(begin..at).unwrap_or_default(), word);
            }
            begin = at;
            at = if end > at { end } else { next };
            if end > begin {
                self.split(rest, text.get(begin..end).unwrap_or_default(), word);
                begin = end;
            }
        }
        if begin < text.len() {
            self.split(rest, text.get(begin..).unwrap_or_default(), word);
        }
    }
}

fn read_all(expressions: &[&str], unicode: &Unicode) -> Result<Vec<Program>> {
    expressions.iter().map(|expression| read(expression, unicode)).collect()
}

fn read(expression: &str, unicode: &Unicode) -> Result<Program> {
    // Two that are written in another way here, so that they take linear time.
    let expression = match expression {
        r"\d{1,3}(?=(?:\d{3})*\b)" => r"\d{1,3}(?3w)",
        r"(?=(\d{3})+(?!\d))" => r"(?=\d)(?3)",
        other => other,
    };
    Program::read(expression, unicode).map_err(|why| {
        let what = format!("the pre-tokenizer's expression {expression:?}: {why}");
        Error::UnsupportedFeature { what }
    })
}

/// The programs of expressions that come from a tokenizer.json: each has to be one of a preset's, however it is written, because
/// only of those it is known that they take linear time and cut as Oniguruma does.
fn known(expressions: &[impl AsRef<str>], unicode: &Unicode) -> Result<Vec<Program>> {
    let mut ours: Vec<Program> = Vec::new();
    for expression in PRESETS.iter().flat_map(|(_, _, expressions)| *expressions) {
        ours.push(read(expression, unicode)?);
    }
    let mut found = Vec::new();
    for expression in expressions {
        let program = read(expression.as_ref(), unicode)?;
        if !ours.contains(&program) {
            let what = format!("{EXPRESSIONS}: the pre-tokenizer {:?} is not supported", expression.as_ref());
            return Err(Error::UnsupportedFeature { what });
        }
        found.push(program);
    }
    Ok(found)
}
