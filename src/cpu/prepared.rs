//! A plan made ready for the CPU: its phases, and the tables that kernels want beside the weights.

use std::sync::{Arc, atomic::AtomicU32};

use super::{bias::BiasTable, conv::Taps, phases::Phases, rope::RopeTable, weight::Weight};
use crate::{
    error::{Error, Result, try_vec},
    plan::{Attention, Op, Plan, Rope, Row},
    weights::WeightId,
};

pub(super) struct Prepared {
    pub(super) plan: Arc<Plan>,
    pub(super) phases: Phases,
    pub(super) ropes: Vec<RopeTable>,
    pub(super) biases: Vec<BiasTable>,
    pub(super) taps: Vec<Taps>,
    pub(super) counters: Vec<AtomicU32>,
    pub(super) weights_checked: bool,
}

impl Prepared {
    pub(super) fn new(plan: Arc<Plan>, phases: Phases) -> Result<Self> {
        let mut ropes: Vec<RopeTable> = vec![];
        for rope in plan.ops.iter().filter_map(rope_of) {
            if !ropes.iter().any(|r| r.rope == *rope) {
                ropes.push(RopeTable::new(*rope, plan.rows.max())?);
            }
        }
        let mut counters = try_vec(2 * plan.ops.len(), "a plan")?;
        counters.resize_with(2 * plan.ops.len(), || AtomicU32::new(0));
        let (biases, taps) = (biases_of(&plan), taps_of(&plan));
        Ok(Self { plan, phases, ropes, biases, taps, counters, weights_checked: false })
    }

    /// Reads the weights that kernels want in another order: taps once, biases whenever a step goes farther than those before.
    pub(super) fn read_tables(&mut self, weights: &[Option<Weight>], rows: &[Row]) -> Result<()> {
        let matrix = |id: WeightId| match &weights[id.0 as usize] {
            Some(Weight::Matrix(matrix)) => Ok(matrix),
            _ => Err(Error::internal(format!("weight {} is no matrix", id.0))),
        };
        if !self.weights_checked {
            self.taps.iter_mut().try_for_each(|taps| taps.fill(matrix(taps.weight)?))?;
            self.biases.iter_mut().for_each(BiasTable::clear);
            self.weights_checked = true;
        }
        let last = rows.iter().map(|row| row.position as usize).max().unwrap_or(0);
        self.biases.iter_mut().try_for_each(|bias| {
            let table = matrix(bias.bias.table)?;
            bias.fill(last, table.n_rows(), |row, out| table.read_row(row, out))
        })
    }

    /// Computes the rotations of the rows of a step; not those whose factors have not come.
    pub(super) fn fill_ropes(&mut self, weights: &[Option<Weight>], rows: &[Row]) {
        for table in &mut self.ropes {
            match table.rope.factors.map(|id| &weights[id.0 as usize]) {
                None => table.fill(rows, None),
                Some(Some(Weight::Vector(v))) if v.is_complete() => table.fill(rows, Some(v.values())),
                Some(_) => {}
            }
        }
    }

    pub(super) fn tables_bytes(&self) -> usize {
        let ropes = self.ropes.iter().map(RopeTable::bytes);
        let biases = self.biases.iter().map(BiasTable::bytes);
        ropes.chain(biases).chain(self.taps.iter().map(Taps::bytes)).sum()
    }
}

fn rope_of(op: &Op) -> Option<&Rope> {
    match op {
        Op::Rope { rope, .. } | Op::RopeKv { rope, .. } => Some(rope),
        _ => None,
    }
}

/// The biases by distance, each once.
fn biases_of(plan: &Plan) -> Vec<BiasTable> {
    let mut biases: Vec<BiasTable> = vec![];
    for op in &plan.ops {
        if let Op::Attention(Attention { bias: Some(bias), heads, .. }) = op
            && !biases.iter().any(|b| b.bias == *bias)
        {
            biases.push(BiasTable::new(*bias, *heads));
        }
    }
    biases
}

/// The taps of each convolution.
fn taps_of(plan: &Plan) -> Vec<Taps> {
    let weights = plan.ops.iter().filter_map(|op| match op {
        Op::ShortConv { weight, .. } => Some(*weight),
        _ => None,
    });
    weights.map(Taps::new).collect()
}
