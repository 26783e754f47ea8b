//! Every operation on the GPU against the reference, by the table of cases.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::rc::Rc;

use common::{case::Case, cases, gpu::context};
use kinglet::{
    gpu::{Context, Forms, Gpu, Request},
    reference::Reference,
};

fn compare(case: &Case, context: &Rc<Context>) -> Result<(), String> {
    let mut gpu = Gpu::new(context.clone(), case.geometry);
    let actual = case.run(&mut gpu, usize::MAX).map_err(|e| format!("{}: {e}", case.name))?;
    let expected = case.run(&mut Reference::new(case.geometry), usize::MAX).expect("the reference runs");
    case.check(&actual, &expected)
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
    check(&context(&Request::default()), |case| case.n_weights() == 0);
}

/// The form that a device takes where tiles compute wrongly: many rows attend as few do.
#[test]
fn attention_without_tiles() {
    let context = context(&Request::default());
    context.set_forms(Forms { attention_tiles: false, ..context.forms() });
    check(&context, |case| ["attention wide window", "attention many"].iter().any(|name| case.name.starts_with(name)));
}
