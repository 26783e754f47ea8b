//! Every rule is shown to complain about what it is there for, and not about what only looks like it.

use crate::rules::{Layers, Rules};
use crate::source::Source;

const LIB: &str = "//! 4  wasm      the only place\n//! 1  plan      what to compute\n//! 0  gguf  error pure\n\
                   pub mod error;\npub mod gguf;\npub mod plan;\n#[cfg(target_arch = \"wasm32\")]\npub mod wasm;\n";

fn layers() -> Layers {
    Layers::from_lib(&Source::new("src/lib.rs", LIB)).unwrap()
}

fn rules() -> Rules<'static> {
    Rules {
        unsafe_files: &[("src/gguf/fast.rs", "named")],
        long_files: &[("src/gguf/table.rs", "a table")],
        long_functions: &[("src/gguf/table.rs f", "a table")],
    }
}

#[test]
fn the_table_of_layers_has_every_module_once() {
    let missing = format!("{LIB}pub mod other;\n");
    assert!(Layers::from_lib(&Source::new("src/lib.rs", &missing)).is_err_and(|e| e.contains("other")));
    let twice = format!("//! 2  gguf\n{LIB}");
    assert!(Layers::from_lib(&Source::new("src/lib.rs", &twice)).is_err_and(|e| e.contains("gguf")));
}

#[test]
fn a_use_of_a_higher_layer_is_found() {
    let complain = |path: &str, text: &str| layers().upward_uses(&Source::new(path, text)).len();
    assert_eq!(complain("src/gguf/mod.rs", "use crate::plan::Op;"), 1);
    assert_eq!(complain("src/gguf/mod.rs", "use crate::{error::{Error, Result}, plan::Op};"), 1);
    assert_eq!(complain("src/gguf/mod.rs", "fn f() -> crate::plan::Op { g() }"), 1);
    assert_eq!(complain("src/gguf/mod.rs", "use super::plan::Op;"), 1);
    assert_eq!(complain("src/gguf/value.rs", "use super::super::plan::Op;"), 1);
    assert_eq!(complain("src/plan/mod.rs", "use crate::wasm::Engine;"), 1);

    assert_eq!(complain("src/gguf/mod.rs", "use crate::error::Error; // crate::plan is above"), 0);
    assert_eq!(complain("src/gguf/value.rs", "use super::plan::Op;"), 0, "a module of gguf's own");
    assert_eq!(complain("src/plan/mod.rs", "use crate::gguf::Value; use crate::plan::Op;"), 0);
    assert_eq!(complain("src/gguf/mod.rs", "#[cfg(test)]\nmod tests { use crate::plan::Op; }"), 0);
    assert_eq!(complain("src/gguf/mod.rs", "#[cfg(not(test))]\nuse crate::plan::Op;"), 1);
}

#[test]
fn javascript_clocks_and_unwraps_are_found_below_the_top() {
    let complain = |text: &str| {
        let source = Source::new("src/gguf/mod.rs", text);
        let layers = layers();
        [layers.javascript_below_the_top(&source), layers.clocks_and_io(&source), layers.unwraps(&source)]
            .map(|c| c.len())
    };
    assert_eq!(complain("use js_sys::Array;"), [1, 0, 0]);
    assert_eq!(complain("let now = std::time::Instant::now(); println!();"), [0, 2, 0]);
    assert_eq!(complain("let x = y.unwrap(); let z = y.expect(\"there\");"), [0, 0, 2]);
    assert_eq!(complain("let x = y.unwrap_or(1); self.expect(out, rows)?; // js_sys, .unwrap()"), [0, 0, 0]);
    assert_eq!(complain("let text = \"x.unwrap() std::time js_sys\";"), [0, 0, 0]);
    assert_eq!(complain("let text = r#\"say \"x.unwrap()\" \"#; let c = '\"'; y.unwrap();"), [0, 0, 1]);
    assert_eq!(
        complain("#[cfg(all(test, feature = \"x\"))]\nfn f() { y.unwrap(); }\nfn g() { y.unwrap(); }"),
        [0, 0, 1]
    );

    let wasm = Source::new("src/wasm/mod.rs", "use js_sys::Array; x.unwrap();");
    assert!(layers().javascript_below_the_top(&wasm).is_empty());
}

#[test]
fn unsafe_is_found_outside_the_named_files() {
    let code = "fn f() { unsafe { g() } } // unsafe\n#![deny(unsafe_code)]";
    assert_eq!(rules().unnamed_unsafe(&Source::new("src/gguf/mod.rs", code)).len(), 1);
    assert_eq!(rules().unnamed_unsafe(&Source::new("src/gguf/fast.rs", code)).len(), 0);
}

#[test]
fn long_files_are_found() {
    let complain = |path: &str, lines: usize| rules().long_file(&Source::new(path, &"x\n".repeat(lines))).len();
    assert_eq!([complain("src/gguf/mod.rs", 500), complain("src/gguf/mod.rs", 501)], [0, 1]);
    assert_eq!([complain("src/gguf/table.rs", 1000), complain("src/gguf/table.rs", 1001)], [0, 1]);
}

#[test]
fn long_functions_are_found() {
    let complain = |path: &str, lines: usize| {
        let text = format!("fn f<'a>(x: &'a str) {{\n{}}}\n", "    g('{'); // }\n".repeat(lines - 2));
        rules().long_functions(&Source::new(path, &text)).len()
    };
    assert_eq!([complain("src/gguf/mod.rs", 100), complain("src/gguf/mod.rs", 101)], [0, 1]);
    assert_eq!(complain("src/gguf/table.rs", 101), 0);
}

#[test]
fn marks_of_unfinished_work_are_found() {
    let text = concat!("// TO", "DO: the rest\nlet done = true;\nto", "do!()\n");
    assert_eq!(rules().left_for_later(&Source::new("src/gguf/mod.rs", text)).len(), 2);
}
