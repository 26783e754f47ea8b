//! Every operation on the GPU against the reference, by the table of cases.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{case::Case, cases, gpu::context};
use kinglet::{
    gpu::{Gpu, Request},
    reference::Reference,
};

fn compare(case: &Case, request: &Request) -> Result<(), String> {
    let context = context(request);
    let mut gpu = Gpu::new(context, case.geometry);
    let actual = case.run(&mut gpu, usize::MAX).map_err(|e| format!("{}: {e}", case.name))?;
    let expected = case.run(&mut Reference::new(case.geometry), usize::MAX).expect("the reference runs");
    case.check(&actual, &expected)
}

#[test]
fn rows_can_be_added_and_chosen() {
    for case in cases::all().iter().filter(|c| c.name.starts_with("embedding") || c.name == "some rows ask") {
        println!("{}", case.name);
        compare(case, &Request::default()).unwrap();
    }
}
