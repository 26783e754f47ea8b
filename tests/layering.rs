//! Holds the conventions that a compiler does not: which module may use which, where `unsafe` may stand, how long a file
//! and a function may be, what engine code must not contain. Reads the sources as text, with comments and literals blanked
//! where only code counts. Every check is a function from a source to complaints, and is shown to complain (`negative`).
#![cfg(not(target_arch = "wasm32"))]

#[path = "layering/negative.rs"]
mod negative;
#[path = "layering/rules.rs"]
mod rules;
#[path = "layering/source.rs"]
mod source;

use rules::{Layers, Rules};
use source::Source;
use std::path::{Path, PathBuf};

/// Files in which `unsafe` may stand, and why each needs it.
const UNSAFE_FILES: &[(&str, &str)] = &[
    ("src/cpu/simd.rs", "SIMD intrinsics and the loads and stores beside them"),
    ("src/cpu/pool.rs", "a job borrows from the caller's stack while the workers run it"),
    ("src/cpu/shared.rs", "slices of memory that threads share"),
    ("src/cpu/run.rs", "threads write to disjoint parts of the buffers of one operation"),
    ("src/wasm/threads.rs", "entry of a pool thread, from an address"),
];

/// Files of more than 500 lines, and why each is not two.
const LONG_FILES: &[(&str, &str)] =
    &[("tests/e2e/package.test.mjs", "one browser and its servers, started once, serve every test of the package")];

/// Functions of more than 100 lines, `path name`, and why each is not two.
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

/// Folders and files that are read, from the root of the repository; generated, vendored and installed files are not.
const ROOTS: &[&str] = &["build.sh", "scripts", "src", "tests", "www"];
const SKIPPED: &[&str] = &["node_modules", "dist", "generated", "vendor", "build", "golden", "target"];
const EXTENSIONS: &[&str] = &["rs", "ts", "mjs", "sh"];

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    ROOTS.iter().for_each(|name| collect(&root.join(name), &mut paths));
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            Source::new(name, &std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn collect(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            if !SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                collect(&entry.path(), found);
            }
        }
    } else if path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e == *known)) {
        found.push(path.to_owned());
    }
}

/// Runs one rule over the whole repository; the failure lists every place.
fn hold(rule: impl Fn(&Source) -> Vec<String>) {
    let complaints: Vec<String> = sources().iter().flat_map(rule).collect();
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

fn layers() -> Layers {
    let lib = sources().into_iter().find(|s| s.path == "src/lib.rs").unwrap();
    Layers::from_lib(&lib).unwrap()
}

fn rules() -> Rules<'static> {
    Rules { unsafe_files: UNSAFE_FILES, long_files: LONG_FILES, long_functions: LONG_FUNCTIONS }
}

#[test]
fn modules_use_only_their_own_layer_and_those_below() {
    let layers = layers();
    hold(|s| layers.upward_uses(s));
}

#[test]
fn only_the_wasm_layer_knows_javascript() {
    let layers = layers();
    hold(|s| layers.javascript_below_the_top(s));
}

#[test]
fn the_engine_has_no_clock_and_no_io() {
    let layers = layers();
    hold(|s| layers.clocks_and_io(s));
}

#[test]
fn the_engine_does_not_unwrap() {
    let layers = layers();
    hold(|s| layers.unwraps(s));
}

#[test]
fn unsafe_stands_only_in_named_files() {
    hold(|s| rules().unnamed_unsafe(s));
}

#[test]
fn files_are_short() {
    hold(|s| rules().long_file(s));
}

#[test]
fn functions_are_short() {
    hold(|s| rules().long_functions(s));
}

#[test]
fn nothing_is_left_for_later() {
    hold(|s| rules().left_for_later(s));
}

#[test]
fn exceptions_are_still_needed() {
    let sources = sources();
    for (path, reason) in LONG_FILES {
        let file = sources.iter().find(|s| s.path == *path);
        assert!(file.is_some_and(|f| f.text.lines().count() > rules::LONG_LINES), "{path} ({reason}) is not long");
    }
    let strict = Rules { long_functions: &[], ..rules() };
    let long: Vec<String> = sources.iter().flat_map(|s| strict.long_functions(s)).collect();
    for (function, reason) in LONG_FUNCTIONS {
        let (path, name) = function.split_once(' ').unwrap();
        let found = long.iter().any(|c| c.starts_with(path) && c.contains(&format!("fn {name} ")));
        assert!(found, "{function} ({reason}) is not long");
    }
}
