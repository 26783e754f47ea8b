//! Every operation on the GPU against the reference, by the table of cases.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::rc::Rc;

use common::{case::Case, cases, gpu::watched};
use kinglet::{
    gpu::{
        Context, Forms, Gpu, Request,
        fault::{Fault, FaultKind},
    },
    reference::Reference,
};

fn compare(case: &Case, context: &Rc<Context>) -> Result<(), String> {
    let mut gpu = Gpu::new(context.clone(), case.geometry);
    let actual = case.run(&mut gpu, usize::MAX).map_err(|e| format!("{}: {e}", case.name))?;
    let expected = case.run(&mut Reference::new(case.geometry), usize::MAX).expect("the reference runs");
    case.check(&actual, &expected)?;
    match context.check_zones() {
        Ok(0) => Err(format!("{}: nothing is watched", case.name)),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{}: {error}", case.name)),
    }
}

fn check(context: &Rc<Context>, wanted: impl Fn(&Case) -> bool) {
    let cases = cases::on_gpu();
    let chosen = || cases.iter().filter(|c| wanted(c));
    assert!(chosen().count() > 10, "the names of the cases have changed");
    let complaints: Vec<String> = chosen().filter_map(|case| compare(case, context).err()).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_case_without_a_product_agrees_with_the_reference() {
    check(&watched(&Request::default()), |case| case.n_weights() == 0);
}

/// The form that a device takes where tiles compute wrongly: many rows attend as few do.
#[test]
fn attention_without_tiles() {
    let context = watched(&Request::default());
    context.set_forms(Forms { attention_tiles: false, ..context.forms() });
    check(&context, |case| {
        let names = ["attention wide window", "attention many", "family attention"];
        names.iter().any(|name| case.name.starts_with(name))
    });
}

/// The first word behind what an operation writes, or behind the cache, changes once.
#[test]
fn what_is_written_behind_a_buffer_is_seen() {
    let context = watched(&Request::default());
    let cases = cases::on_gpu();
    let run = |case: &Case| {
        let mut gpu = Gpu::new(context.clone(), case.geometry);
        case.run(&mut gpu, usize::MAX).expect("it runs");
        context.check_zones()
    };
    let found = |name: &str| cases.iter().find(|c| c.name == name).expect("the case has another name");
    // 5 rows of 7; keys and values of 3 pages, 3 heads, written an odd number of times.
    for (label, name, words) in [
        ("add", "Silu 7 T5", 35),
        ("norm", "Rms norm 7 T5", 35),
        ("kv_write", "attention alone 9/3x64 F32", 2 * 3 * 3 * 64 * 64),
    ] {
        assert!(run(found(name)).is_ok());
        let kind = FaultKind::FlipBits { written: 0, word: words, mask: 1 };
        context.inject(Fault::of(label, kind));
        let error = run(found(name)).expect_err(label).to_string();
        assert!(error.contains("word 0 behind"), "{label}: {error}");
        context.heal();
    }
}
