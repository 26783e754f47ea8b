//! The rules. Each takes a source and gives its complaints, `path:line: what`.

use crate::source::{Source, is_word, matching};
use std::collections::BTreeMap;

/// Lines above which a file needs a reason, and those that none may have.
pub(crate) const LONG_LINES: usize = 500;
const MOST_LINES: usize = 1000;
/// Lines that no function may have more of.
const MOST_FUNCTION_LINES: usize = 100;
/// The only file of the engine that has a clock: an executor measures itself by it. It reaches no policy above the executors.
const CLOCK_FILE: &str = "src/cpu/clock.rs";
/// The layer that speaks with JavaScript; below it is the engine.
const TOP: usize = 4;

fn complaint(source: &Source, at: usize, what: &str) -> String {
    format!("{}:{}: {what}", source.path, source.line(at))
}

/// The layer of every module, as the table in the documentation of `src/lib.rs` has it.
pub(crate) struct Layers(BTreeMap<String, usize>);

impl Layers {
    /// Reads the table; an error names a module that is not in it exactly once.
    pub(crate) fn from_lib(lib: &Source) -> Result<Self, String> {
        let modules: Vec<&str> =
            lib.words("mod").filter_map(|at| first_word(lib.code[at + 3..].trim_start())).collect();
        let mut layers = BTreeMap::new();
        for line in lib.text.lines().filter_map(|line| line.strip_prefix("//! ")) {
            let Some((Ok(layer), rest)) = line.split_once("  ").map(|(n, rest)| (n.parse::<usize>(), rest)) else {
                continue;
            };
            for name in rest.split_whitespace().filter(|word| modules.contains(word)) {
                if layers.insert(name.to_owned(), layer).is_some() {
                    return Err(format!("module {name} stands twice in the table of layers"));
                }
            }
        }
        match modules.iter().find(|name| !layers.contains_key(**name)) {
            Some(name) => Err(format!("module {name} is not in the table of layers")),
            None => Ok(Self(layers)),
        }
    }

    /// The layer of the module that a file of `src/` belongs to.
    fn of(&self, source: &Source) -> Option<usize> {
        let name = source.path.strip_prefix("src/")?.split(['/', '.']).next()?;
        self.0.get(name).copied()
    }

    fn of_engine(&self, source: &Source) -> bool {
        self.of(source).is_some_and(|layer| layer < TOP)
    }

    /// Uses of a module of a higher layer, by `crate::` or by enough `super::`.
    pub(crate) fn upward_uses(&self, source: &Source) -> Vec<String> {
        let Some(own) = self.of(source) else { return Vec::new() };
        let supers = "super::".repeat(depth(&source.path));
        let mut complaints = Vec::new();
        for root in ["crate::", &supers] {
            for at in path_starts(&source.code, root) {
                for name in roots_of_path(&source.code[at + root.len()..]) {
                    if self.0.get(name).is_some_and(|&layer| layer > own) {
                        complaints.push(complaint(source, at, &format!("layer {own} uses {name}, which is above it")));
                    }
                }
            }
        }
        complaints
    }

    /// JavaScript's crates outside `src/wasm/`.
    pub(crate) fn javascript_below_the_top(&self, source: &Source) -> Vec<String> {
        if !self.of_engine(source) {
            return Vec::new();
        }
        let crates = ["wasm_bindgen", "js_sys", "web_sys", "serde_wasm_bindgen", "console_error_panic_hook"];
        crates
            .iter()
            .flat_map(|name| {
                source.words(name).map(move |at| complaint(source, at, &format!("{name} below src/wasm/")))
            })
            .collect()
    }

    /// Anything of the standard library that reads a clock or does input or output.
    pub(crate) fn clocks_and_io(&self, source: &Source) -> Vec<String> {
        if !self.of_engine(source) || source.path == CLOCK_FILE {
            return Vec::new();
        }
        ["std::time", "std::fs", "std::io", "std::net", "std::env", "std::process", "println!", "eprintln!", "print!"]
            .iter()
            .flat_map(|what| source.words(what).map(move |at| complaint(source, at, &format!("{what} in the engine"))))
            .collect()
    }

    /// `.unwrap()` and `.expect("…")` outside tests. A method of one's own that is called `expect` is none.
    pub(crate) fn unwraps(&self, source: &Source) -> Vec<String> {
        if !self.of_engine(source) {
            return Vec::new();
        }
        [".unwrap()", ".unwrap_err()", ".expect(\"", ".expect(&format!", ".expect_err(\""]
            .iter()
            .flat_map(|call| source.code.match_indices(call))
            .map(|(at, call)| complaint(source, at, &format!("{call} in the engine")))
            .collect()
    }
}

/// How many modules stand between a file of `src/` and the root: 1 for `src/kv.rs` and `src/gguf/mod.rs`.
fn depth(path: &str) -> usize {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    inside.split('/').count()
}

fn path_starts<'a>(code: &'a str, root: &'a str) -> impl Iterator<Item = usize> + 'a {
    let joined = |before: &str| before.ends_with(is_word) || before.ends_with("::") || before.ends_with('$');
    code.match_indices(root).map(|(at, _)| at).filter(move |&at| !joined(&code[..at]))
}

/// The first names after `crate::`: one, or those of a group `{a, b::{c, d}}`.
fn roots_of_path(rest: &str) -> Vec<&str> {
    if !rest.starts_with('{') {
        return first_word(rest).into_iter().collect();
    }
    let group = &rest[1..matching(rest, 0) - 1];
    let mut depth = 0_usize;
    let items = group.split(move |c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    items.filter_map(|item| first_word(item.trim_start())).collect()
}

fn first_word(text: &str) -> Option<&str> {
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    Some(&text[..end]).filter(|word| !word.is_empty())
}

/// Rules about a file by itself, with their exceptions: (path, reason).
pub(crate) struct Rules<'a> {
    pub(crate) unsafe_files: &'a [(&'a str, &'a str)],
    pub(crate) long_files: &'a [(&'a str, &'a str)],
    /// The path is followed by a space and the function's name.
    pub(crate) long_functions: &'a [(&'a str, &'a str)],
}

impl Rules<'_> {
    pub(crate) fn unnamed_unsafe(&self, source: &Source) -> Vec<String> {
        if !source.path.starts_with("src/") || self.unsafe_files.iter().any(|(path, _)| *path == source.path) {
            return Vec::new();
        }
        source.words("unsafe").map(|at| complaint(source, at, "unsafe in a file that is not named for it")).collect()
    }

    pub(crate) fn long_file(&self, source: &Source) -> Vec<String> {
        let lines = source.text.lines().count();
        let excused = self.long_files.iter().any(|(path, _)| *path == source.path);
        let limit = if excused { MOST_LINES } else { LONG_LINES };
        if lines <= limit { Vec::new() } else { vec![format!("{}: {lines} lines, {limit} allowed", source.path)] }
    }

    pub(crate) fn long_functions(&self, source: &Source) -> Vec<String> {
        let mut complaints = Vec::new();
        for at in source.words("fn") {
            let Some(name) = first_word(source.code[at + 2..].trim_start()) else { continue };
            let Some(open) = source.code[at..].find(['{', ';']).map(|i| at + i) else { continue };
            if source.code[open..].starts_with('{') {
                let lines = source.code[at..matching(&source.code, open)].lines().count();
                let function = format!("{} {name}", source.path);
                if lines > MOST_FUNCTION_LINES && !self.long_functions.iter().any(|(known, _)| *known == function) {
                    complaints.push(complaint(source, at, &format!("fn {name} has {lines} lines")));
                }
            }
        }
        complaints
    }

    /// Marks of unfinished work, in comments too. Spelled in halves here, so that this file is none of them.
    pub(crate) fn left_for_later(&self, source: &Source) -> Vec<String> {
        let marks = [
            concat!("TO", "DO"),
            concat!("FIX", "ME"),
            concat!("XX", "X"),
            concat!("to", "do!("),
            concat!("unimple", "mented!("),
        ];
        let marked = |line: &&(usize, &str)| marks.iter().any(|mark| line.1.contains(mark));
        let lines: Vec<(usize, &str)> = source.text.lines().enumerate().collect();
        lines.iter().filter(marked).map(|(i, line)| format!("{}:{}: {}", source.path, i + 1, line.trim())).collect()
    }
}
