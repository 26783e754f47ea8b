//! A source file as the checks see it: its text, and for Rust its code alone.

/// One file of the repository.
pub(crate) struct Source {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    /// As it stands in the file.
    pub(crate) text: String,
    /// Rust only: `text` with comments, the insides of literals and `#[cfg(test)]` items made blank, line by line the same.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { without_tests(&blanked(text)) } else { String::new() };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    /// Line of a place in `code` or `text`, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    /// Places where `word` stands in the code as a word of its own.
    pub(crate) fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
            !self.code[..at].ends_with(is_word) && !self.code[at + word.len()..].starts_with(is_word)
        })
    }
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where the bracket that opens at `at` closes (the place after it); the end of the text if it does not.
pub(crate) fn matching(code: &str, at: usize) -> usize {
    let mut depth = 0_usize;
    for (i, c) in code[at..].char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return at + i + 1;
        }
    }
    code.len()
}

/// Comments and the insides of literals as spaces.
fn blanked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (kept, blank) = match first {
            '/' if rest.starts_with("//") => (0, rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => (0, block_comment(rest)),
            '"' => (1, string(rest)),
            'r' | 'b' if !out.ends_with(is_word) && raw_string(rest).is_some() => (0, raw_string(rest).unwrap_or(1)),
            '\'' => (1, character(rest)),
            _ => (first.len_utf8(), first.len_utf8()),
        };
        out.push_str(&rest[..kept]);
        out.extend(rest[kept..blank.max(kept)].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[blank.max(kept)..];
    }
    out
}

/// Length of the block comment at the start; they nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// Length of the string literal at the start.
fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (i, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return i + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Length of the raw string literal (`r"…"`, `br#"…"#`) at the start.
fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let inside = after[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(rest.len() - inside.len() + inside.find(&close).map_or(inside.len(), |i| i + close.len()))
}

/// Length of the character literal at the start, 1 for a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => rest.char_indices().skip(3).find(|&(_, c)| c == '\'').map_or(1, |(i, _)| i + 1),
        Some(_) => chars.next().filter(|&(_, c)| c == '\'').map_or(1, |(i, _)| i + 1),
        None => 1,
    }
}

/// Items under `#[cfg(test)]` as spaces, also where the attribute names more (`all(test, …)`).
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    let mut from = 0;
    while let Some(found) = out[from..].find("#[cfg(") {
        let start = from + found;
        let attribute_end = matching(&out, start + 1);
        let condition = &out[start..attribute_end];
        from = attribute_end;
        if !condition.split(|c| !is_word(c)).any(|word| word == "test") || condition.contains("not(test") {
            continue;
        }
        let body = out[attribute_end..].find(['{', ';']).map_or(out.len(), |i| attribute_end + i);
        let end = if out[body..].starts_with('{') { matching(&out, body) } else { (body + 1).min(out.len()) };
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
        from = start + blank.len();
    }
    out
}
