//! Splits a module of the package in two: what pages need first, and what few need or need later. Both are instances on one memory and
//! one table of functions; nothing changes but where a function's code is, and in which order: that which compresses best.
//!
//! ```text
//! kinglet_FLAVOUR.wasm          all exports, all data, the code of what is needed first; each function that is not there is a stub:
//!                                   if not yet there { load_later() }; call the function by its place in the table
//!                               what nothing in it calls, nor points to, is not there at all
//! kinglet_FLAVOUR_later.wasm    imports memory, tables and globals of the first, and functions: by their places in the first's table, as
//!                               numbers; puts its own into the table, and says so
//! ```
//!
//! `load_later` is the exported function of that name (src/wasm/later.rs): it returns when the second module has been instantiated. What
//! is moved is said by names (later/*.txt); a name that is moved by mistake costs a fetch, never an answer.

mod module;
mod names;
mod order;
mod places;
mod write;

use std::{env, fs};

use anyhow::{Context, Result, bail};
use wasmparser::Validator;

use self::{module::Module, names::Patterns, write::Split};

const USAGE: &str = "split MODULE.wasm NAMES PATTERNS FIRST.wasm LATER.wasm
    NAMES: a line `place:name` for each function (wasm-opt --symbolmap); PATTERNS: names of what is moved, * at the end of a line";

fn main() -> Result<()> {
    let given: Vec<String> = env::args().skip(1).collect();
    let [module, names, patterns, first, later] = given.as_slice() else { bail!(USAGE) };
    let read = |path: &str| fs::read_to_string(path).with_context(|| path.to_owned());
    let bytes = fs::read(module).with_context(|| module.clone())?;
    let module = Module::parse(&bytes)?;
    let patterns = read(patterns)?;
    let is_moved = names::matching(&read(names)?, module.n_functions(), &Patterns::new(&patterns))?;
    let Split { first: first_bytes, later: later_bytes, n_moved } = write::split(&module, &is_moved)?;
    for (path, bytes) in [(first, &first_bytes), (later, &later_bytes)] {
        Validator::new().validate_all(bytes).with_context(|| path.clone())?;
        fs::write(path, bytes).with_context(|| path.clone())?;
    }
    println!("split: {n_moved} of {} functions are fetched later", module.bodies.len());
    Ok(())
}
