//! Weights on the GPU: planes in buffers, written while they arrive.

use std::{collections::BTreeMap, rc::Rc};

use super::context::{Buffer, Context};
use crate::{
    error::{Error, Result},
    plan::Plan,
    quant::{Format, dequantize},
    weights::{WeightId, WeightSpec},
};

/// Every weight of a model.
pub(super) struct Weights {
    context: Rc<Context>,
    weights: BTreeMap<WeightId, Weight>,
    planes: Vec<Buffer>,
}

struct Weight {
    spec: WeightSpec,
    plane: Option<usize>,
    pending: Vec<u8>,
    rows_done: usize,
}

impl Weights {
    pub(super) fn new(context: Rc<Context>) -> Self {
        Self { context, weights: BTreeMap::new(), planes: vec![] }
    }

    pub(super) fn create(&mut self, id: WeightId, spec: &WeightSpec) -> Result<()> {
        self.weights.insert(id, Weight { spec: spec.clone(), plane: None, pending: vec![], rows_done: 0 });
        Ok(())
    }

    /// Gives the weights of a plan their places, where they have none yet.
    pub(super) fn place(&mut self, plan: &Plan) -> Result<()> {
        plan.check_weights(|id| self.weights.get(&id).map(|w| &w.spec))?;
        for id in plan.ops.iter().flat_map(crate::plan::Op::weights) {
            self.place_alone(id)?;
        }
        Ok(())
    }

    fn place_alone(&mut self, id: WeightId) -> Result<usize> {
        let weight = self.weights.get_mut(&id).ok_or_else(|| not_created(id))?;
        if let Some(plane) = weight.plane {
            return Ok(plane);
        }
        let n_bytes = 4 * (weight.spec.n_rows() * weight.spec.row_len().next_multiple_of(32)) as u64;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let name = &weight.spec.name;
        let buffer = self.context.guarded(name, n_bytes, || self.context.buffer(name, n_bytes, usage));
        self.planes.push(buffer);
        weight.plane = Some(self.planes.len() - 1);
        Ok(self.planes.len() - 1)
    }

    pub(super) fn write(&mut self, id: WeightId, bytes: &[u8]) -> Result<()> {
        let plane = self.place_alone(id)?;
        let weight = self.weights.get_mut(&id).ok_or_else(|| not_created(id))?;
        weight.pending.extend_from_slice(bytes);
        let row_len = weight.spec.row_len();
        let row_bytes = weight.spec.format.row_bytes(row_len)?;
        let stride = 4 * row_len.next_multiple_of(32);
        let mut row = vec![0.0; row_len];
        while weight.pending.len() >= row_bytes {
            dequantize(weight.spec.format, &weight.pending[..row_bytes], &mut row)?;
            let offset = (weight.rows_done * stride) as u64;
            self.context.queue().write_buffer(&self.planes[plane], offset, bytemuck::cast_slice(&row));
            weight.pending.drain(..row_bytes);
            weight.rows_done += 1;
        }
        Ok(())
    }

    /// The plane of a weight, and the format that it is kept in.
    pub(super) fn plane(&self, id: WeightId) -> Result<(usize, Format)> {
        let plane = self.weights.get(&id).and_then(|w| w.plane).ok_or_else(|| not_created(id))?;
        Ok((plane, Format::F32))
    }

    pub(super) fn buffer(&self, plane: usize) -> Option<&wgpu::Buffer> {
        self.planes.get(plane).map(|b| &**b)
    }

    pub(super) fn n_bytes(&self) -> u64 {
        self.planes.iter().map(|b| b.size()).sum()
    }
}

fn not_created(id: WeightId) -> Error {
    Error::internal(format!("weight {} was not created", id.0))
}
