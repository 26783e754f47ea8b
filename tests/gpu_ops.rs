//! Every operation on the GPU against the reference, by the table of cases.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::rc::Rc;

use common::{case::Case, cases, gpu::context};
use kinglet::{
    gpu::{Context, Gpu, Request},
    reference::Reference,
};

fn compare(case: &Case, context: &Rc<Context>) -> Result<(), String> {
    let mut gpu = Gpu::new(context.clone(), case.geometry);
    let actual = case.run(&mut gpu, usize::MAX).map_err(|e| format!("{}: {e}", case.name))?;
    let expected = case.run(&mut Reference::new(case.geometry), usize::MAX).expect("the reference runs");
    case.check(&actual, &expected)
}

#[test]
fn every_case_without_a_product_agrees_with_the_reference() {
    let context = context(&Request::default());
    let cases = cases::all();
    let complaints: Vec<String> =
        cases.iter().filter(|c| c.n_weights() == 0).filter_map(|case| compare(case, &context).err()).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
