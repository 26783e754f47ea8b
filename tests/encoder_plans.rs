//! What encoders' plans are: as text, so that a change of what is computed is seen; and that larger plans are the smallest one with
//! more rows, on which the check of a GPU relies.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{encoders::encoder_goldens, parse::parse};
use kinglet::{
    arch::Model,
    plan::{Plan, dump},
    session::encoder_plans,
};

fn models() -> Vec<(&'static str, Model)> {
    let model = |file| Model::from_header(&parse(file).unwrap().header).unwrap();
    encoder_goldens().into_iter().map(|golden| (golden.name, model(golden.file))).collect()
}

#[test]
fn plans_print_as_they_did() {
    for (name, model) in models() {
        for (task, plan) in model.tasks().iter().zip(encoder_plans(&model, 32).unwrap().iter().step_by(2)) {
            let name = format!("{}_{}", name.replace('-', "_"), task.name().replace('-', "_"));
            insta::assert_snapshot!(name, dump::dump(plan, &model.weights));
        }
    }
}

#[test]
fn larger_plans_differ_in_their_rows_only() {
    for (name, model) in models() {
        let plans = encoder_plans(&model, 3000).unwrap();
        let rows: Vec<usize> = plans.iter().map(|plan| plan.rows.max()).collect();
        let expected = [32, 128, 512, 2048, 3000].repeat(model.tasks().len());
        assert_eq!(rows, expected, "{name}");
        for plans in plans.chunks(5) {
            let plain = |plan: &Plan| Plan { name: String::new(), rows: plans[0].rows, max_outputs: 0, ..plan.clone() };
            assert!(plans.iter().all(|plan| plain(plan) == plain(&plans[0])), "{name}");
            // Products of up to 8 rows take other kernels than those of more.
            let is_few = |plan: &Plan| plan.max_outputs <= 8;
            assert!(plans.iter().all(|plan| is_few(plan) == is_few(&plans[0])), "{name}");
        }
    }
}
