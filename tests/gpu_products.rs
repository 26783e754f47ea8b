//! Matrix products on the GPU against the reference, by the table of cases.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::rc::Rc;

use common::{
    case::{Case, Tolerance},
    cases,
    gpu::context,
};
use kinglet::{
    gpu::{Context, Gpu, Request},
    reference::Reference,
};

/// The GPU keeps activations in f32 whatever the weights are, so it only adds up in another order; its exponential function
/// is good to a few units in the last place.
const SUMMED_ON_GPU: Tolerance =
    Tolerance { name: "summed on a GPU", abs: 2e-5, rel: 1e-5, outliers: 0.0, nmse: 1e-11 };

fn is_product(case: &Case) -> bool {
    ["product", "low-rank", "norm and", "gated"].iter().any(|name| case.name.starts_with(name))
}

fn complaint(mut case: Case, context: &Rc<Context>) -> Option<String> {
    case.tolerance = SUMMED_ON_GPU;
    let mut gpu = Gpu::new(context.clone(), case.geometry);
    let actual = match case.run(&mut gpu, usize::MAX) {
        Ok(results) => results,
        Err(error) => return Some(format!("{}: {error}", case.name)),
    };
    let expected = case.run(&mut Reference::new(case.geometry), usize::MAX).expect("the reference runs");
    case.check(&actual, &expected).err()
}

fn all_agree(request: &Request) {
    let context = context(request);
    let complaints: Vec<String> =
        cases::all().into_iter().filter(is_product).filter_map(|case| complaint(case, &context)).collect();
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn with_subgroups() {
    all_agree(&Request::default());
}

#[test]
fn without_subgroups() {
    all_agree(&Request { without_subgroups: true, ..Request::default() });
}
