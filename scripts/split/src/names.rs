//! Which functions are moved: those whose names match a pattern.

use anyhow::{Context, Result, bail};

/// Names without the hashes of crates, each whole or up to a `*` at its end.
pub struct Patterns<'a>(Vec<&'a str>);

impl<'a> Patterns<'a> {
    /// One in a line; empty lines and those that begin with `#` say nothing.
    pub fn new(text: &'a str) -> Self {
        Self(text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect())
    }

    fn is_match(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == *pattern,
        })
    }
}

/// For each function of a module, imported ones first, whether it matches. `names` has a line `place:name` for each.
pub fn matching(names: &str, n_functions: u32, patterns: &Patterns<'_>) -> Result<Vec<bool>> {
    let mut found = vec![false; n_functions as usize];
    for line in names.lines() {
        let (place, name) = line.split_once(':').context("a line of the names has no place")?;
        let place: usize = place.parse().with_context(|| line.to_owned())?;
        let Some(one) = found.get_mut(place) else { bail!("{line}: the module has {n_functions} functions") };
        *one = patterns.is_match(&without_hashes(name));
    }
    Ok(found)
}

/// `kinglet[f871d4d7c93e46de]::gguf` as `kinglet::gguf`, and `__wbg_next_178c1651c11432b3` as it is.
fn without_hashes(name: &str) -> String {
    let mut parts = name.split('[');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_hash =
            part.split_once(']').filter(|(hash, _)| hash.len() >= 14 && hash.bytes().all(|b| b.is_ascii_hexdigit()));
        match is_hash {
            Some((_, rest)) => plain.push_str(rest),
            None => {
                plain.push('[');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_taken_out_and_slices_stay() {
        assert_eq!(
            without_hashes("<kinglet[f871d4d7c93e46d]::a::B as core[0123456789abcdef]::C>::d"),
            "<kinglet::a::B as core::C>::d"
        );
        assert_eq!(without_hashes("f::<[u8; 4]>"), "f::<[u8; 4]>");
    }

    #[test]
    fn patterns_are_whole_names_or_beginnings() -> Result<()> {
        let patterns = Patterns::new("# a word\n\na::b\nc::*\nd\n");
        assert_eq!(matching("0:a::b\n1:a::bc\n2:c::x\n3:e\n", 5, &patterns)?, [true, false, true, false, false]);
        assert!(matching("5:x", 5, &patterns).is_err());
        Ok(())
    }
}
