//! Keeps users from forging structure: special-token strings in text that a user wrote are broken by a noncharacter before
//! a chat template is rendered round it; [`Tokenizer::encode`](super::Tokenizer::encode) removes the noncharacter once the
//! template's own special tokens have been split off. The page does the same in TypeScript.

/// Puts `joiner` into every occurrence of a special string in `text`, overlapping ones too: after its first character, or
/// before it where the string has only one (a special token right after a joiner is not parsed). Joiners that stand in the
/// text already are removed. Text without special strings comes back as it was.
pub fn break_special<'a>(text: &str, joiner: char, special: impl Iterator<Item = &'a str> + Clone) -> String {
    let text = text.replace(joiner, "");
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let rest = text.get(at..).unwrap_or_default();
        let longest = special.clone().filter(|s| !s.is_empty() && rest.starts_with(*s)).map(str::len).max();
        match longest {
            Some(n_bytes) if n_bytes == c.len_utf8() => out.extend([joiner, c]),
            Some(_) => out.extend([c, joiner]),
            None => out.push(c),
        }
    }
    out
}
