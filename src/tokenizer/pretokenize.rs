//! Pre-tokenizers: text is cut into words, and merges never cross the border of a word. Called by `bpe`.
//!
//! Each is a regular expression in the file that a model was trained with; here each is written out by hand (no regular
//! expression library in the product). The expressions, alternatives in order:
//!
//! ```text
//! gpt-2      's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//! smollm     first each \p{N} by itself, then gpt-2 on what lies between
//! llama-bpe  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
//! qwen2      as llama-bpe, but \p{N} in place of \p{N}{1,3}
//! ```
//!
//! Every word is found in one pass without going back further than its own length, so splitting is linear.

use super::unicode::Class;
use crate::error::{Error, Result};

/// How text is cut into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PreTokenizer {
    /// GPT-2's expression.
    Gpt2,
    /// Single digits, then GPT-2's expression.
    Smollm,
    /// Llama 3's expression (tiktoken's cl100k with numbers of up to three digits).
    Llama3,
    /// Qwen 2's expression: Llama 3's with single digits.
    Qwen2,
}

/// What `tokenizer.ggml.pre` stands for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Preset {
    pub(super) pre_tokenizer: PreTokenizer,
    /// A word that is a piece as a whole is not built by merges (`ignore_merges` in tokenizer.json).
    pub(super) whole_words: bool,
    /// Whether a beginning-of-sequence token is put first where the file does not say.
    pub(super) add_bos: bool,
}

impl Preset {
    /// The preset of a name; aliases are those that mean the same in llama.cpp (`llama-vocab.cpp`).
    pub(super) fn named(name: &str) -> Result<Self> {
        use PreTokenizer::{Gpt2, Llama3, Qwen2, Smollm};
        let (pre_tokenizer, whole_words, add_bos) = match name {
            "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" | "trillion" | "granite-docling" | "exaone4" | "gigachat"
            | "mellum" | "a.x-4.0" | "modern-bert" => (Gpt2, false, false),
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b" | "mellum2" => {
                (Smollm, false, false)
            }
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2" => {
                (Llama3, true, true)
            }
            "dbrx" | "smaug-bpe" => (Llama3, false, false),
            "qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "megrez" | "stablelm2" | "hunyuan" | "solar-open"
            | "grok-2" => (Qwen2, false, false),
            _ => {
                let what = format!("tokenizer.ggml.pre: the pre-tokenizer {name:?} is not supported");
                return Err(Error::UnsupportedFeature { what });
            }
        };
        Ok(Self { pre_tokenizer, whole_words, add_bos })
    }
}

impl PreTokenizer {
    /// The words of `text`, in order and without gaps.
    pub(super) fn words(self, text: &str) -> impl Iterator<Item = &str> {
        let mut rest = text;
        core::iter::from_fn(move || {
            let (word, after) = rest.split_at_checked(self.first_word_bytes(rest))?;
            rest = after;
            (!word.is_empty()).then_some(word)
        })
    }

    /// Length of the first word of `text`: 0 only for an empty text.
    fn first_word_bytes(self, text: &str) -> usize {
        let n_bytes = match self {
            Self::Gpt2 => gpt2(text),
            Self::Smollm => smollm(text),
            Self::Llama3 => cl100k(text, 3),
            Self::Qwen2 => cl100k(text, 1),
        };
        // Every alternative takes at least one character; were one of them wrong, the text would still get through.
        n_bytes.max(text.chars().next().map_or(0, char::len_utf8))
    }
}

/// A number is a word by itself, and what stands before it is cut as if the text ended there.
fn smollm(text: &str) -> usize {
    if let Some(c) = text.chars().next().filter(|c| Class::of(*c) == Class::Number) {
        return c.len_utf8();
    }
    // Only a run of spaces looks further ahead than its word, and only to see whether something follows.
    let n_bytes = gpt2(text);
    let spaces = run(text, 0, |c| Class::of(c) == Class::Space);
    let number_follows = || class_at(text, spaces) == Some(Class::Number);
    if spaces > 0 && number_follows() { spaces } else { n_bytes }
}

/// ` ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+` with contractions before and white space after.
fn gpt2(text: &str) -> usize {
    if let Some(n_bytes) = contraction(text, false) {
        return n_bytes;
    }
    let start = usize::from(text.starts_with(' '));
    match class_at(text, start) {
        None | Some(Class::Space) => white_space(text),
        Some(class) => run(text, start, |c| Class::of(c) == class),
    }
}

/// The expression of llama-bpe and qwen2.
fn cl100k(text: &str, max_digits: usize) -> usize {
    if let Some(n_bytes) = contraction(text, true) {
        return n_bytes;
    }
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return 0 };
    let class = Class::of(first);
    let is_letter = |c| Class::of(c) == Class::Letter;
    // [^\r\n\p{L}\p{N}]?\p{L}+
    if class == Class::Letter {
        return run(text, 0, is_letter);
    }
    if !matches!(first, '\r' | '\n') && class != Class::Number && chars.next().is_some_and(is_letter) {
        return run(text, first.len_utf8(), is_letter);
    }
    // \p{N}{1,3}
    if class == Class::Number {
        return text.chars().take(max_digits).take_while(|c| Class::of(*c) == Class::Number).map(char::len_utf8).sum();
    }
    //  ?[^\s\p{L}\p{N}]+[\r\n]*
    let start = usize::from(first == ' ');
    if class_at(text, start) == Some(Class::Other) {
        let end = run(text, start, |c| Class::of(c) == Class::Other);
        return run(text, end, |c| matches!(c, '\r' | '\n'));
    }
    // \s*[\r\n]+
    let spaces = run(text, 0, |c| Class::of(c) == Class::Space);
    let last_newline = text.get(..spaces).and_then(|spaces| spaces.rfind(['\r', '\n']));
    last_newline.map_or_else(|| white_space(text), |at| at + 1)
}

/// `\s+(?!\S)|\s+`: a run of white space, without its last character where something other follows, unless that is all.
fn white_space(text: &str) -> usize {
    let spaces = run(text, 0, |c| Class::of(c) == Class::Space);
    if spaces == text.len() {
        return spaces;
    }
    let last = text.get(..spaces).and_then(|s| s.chars().next_back()).map_or(0, char::len_utf8);
    if spaces > last { spaces - last } else { spaces }
}

/// `'s|'t|'re|'ve|'m|'ll|'d`. Without regard to case also U+017F, which Unicode folds to s (as both of the libraries that
/// such models are trained with have it; llama.cpp does not).
fn contraction(text: &str, any_case: bool) -> Option<usize> {
    let rest = text.strip_prefix('\'')?;
    let fold = |c: char| match c {
        '\u{17F}' if any_case => 's',
        _ if any_case => c.to_ascii_lowercase(),
        _ => c,
    };
    let mut chars = rest.chars();
    let first = chars.next()?;
    let n_bytes = match (fold(first), chars.next().map(fold)) {
        ('s' | 't' | 'm' | 'd', _) => first.len_utf8(),
        ('r' | 'v', Some('e')) | ('l', Some('l')) => 2,
        _ => return None,
    };
    Some(1 + n_bytes)
}

/// The class of the character at byte `at`.
fn class_at(text: &str, at: usize) -> Option<Class> {
    text.get(at..)?.chars().next().map(Class::of)
}

/// Where the run of characters that `take` accepts ends, beginning at byte `from`.
fn run(text: &str, from: usize, take: impl Fn(char) -> bool) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    from + rest.find(|c| !take(c)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(pre_tokenizer: PreTokenizer, text: &str) -> Vec<&str> {
        pre_tokenizer.words(text).collect()
    }

    #[test]
    fn each_alternative_of_gpt2() {
        let cut = words(PreTokenizer::Gpt2, "I'll say   it's 3000 %%x\n\n y  ");
        assert_eq!(cut, ["I", "'ll", " say", "  ", " it", "'s", " 3000", " %%", "x", "\n\n", " y", "  "]);
        assert_eq!(words(PreTokenizer::Gpt2, "IT'S"), ["IT", "'", "S"]);
    }

    #[test]
    fn smollm_cuts_digits_and_sees_the_end_before_them() {
        assert_eq!(words(PreTokenizer::Smollm, "a  12 3b"), ["a", "  ", "1", "2", " ", "3", "b"]);
        assert_eq!(words(PreTokenizer::Smollm, "a  b"), ["a", " ", " b"]);
    }

    #[test]
    fn each_alternative_of_llama_bpe() {
        let cut = words(PreTokenizer::Llama3, "IT'LL\tgo 12345!!\r\n  \n  x\u{3000}y  ");
        assert_eq!(cut, ["IT", "'LL", "\tgo", " ", "123", "45", "!!\r\n", "  \n", " ", " x", "\u{3000}y", "  "]);
        assert_eq!(words(PreTokenizer::Qwen2, "12'\u{17F}a"), ["1", "2", "'\u{17F}", "a"]);
    }
}
