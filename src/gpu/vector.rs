//! A vector of weights on the GPU, as f32. Called by `weights`.

use super::context::{Buffer, Context};
use crate::{
    error::{Error, Result, try_vec},
    quant::{dequantize, first_non_finite},
    weights::WeightSpec,
};

/// A norm's weight, a bias, rope factors. Kept, since a plan that comes later may want it in another place.
#[derive(Debug, Default)]
pub(super) struct Vector {
    /// File bytes until all have come.
    pending: Vec<u8>,
    values: Vec<f32>,
    /// A plane of its own.
    pub(super) own: Option<usize>,
    /// Places among the biases of sets: plane, and offset in bytes.
    pub(super) shared: Vec<(usize, u64)>,
}

impl Vector {
    /// Whether all of its bytes have come.
    pub(super) fn is_complete(&self, spec: &WeightSpec) -> bool {
        self.values.len() == spec.row_len()
    }

    /// Takes the next bytes; the values are there once all have come.
    pub(super) fn take(&mut self, spec: &WeightSpec, bytes: &[u8]) -> Result<()> {
        let n_bytes = spec.format.row_bytes(spec.row_len())?;
        let is_complete = !self.values.is_empty();
        if is_complete && !bytes.is_empty() || self.pending.len() + bytes.len() > n_bytes {
            return Err(Error::internal(format!("tensor {} got more bytes than it has", spec.name)));
        }
        if self.pending.capacity() == 0 {
            self.pending = try_vec(n_bytes, &format!("tensor {}", spec.name))?;
        }
        self.pending.extend_from_slice(bytes);
        if self.pending.len() < n_bytes {
            return Ok(());
        }
        if first_non_finite(spec.format, &self.pending).is_some() {
            return Err(Error::file(format!("tensor {} holds a NaN or an infinity", spec.name)));
        }
        let mut values = try_vec(spec.row_len(), &format!("tensor {}", spec.name))?;
        values.resize(spec.row_len(), 0.0);
        dequantize(spec.format, &self.pending, &mut values)?;
        (self.values, self.pending) = (values, Vec::new());
        Ok(())
    }

    /// Writes the values, if they are there, to every place.
    pub(super) fn put(&self, context: &Context, planes: &[Buffer]) {
        let own = self.own.map(|plane| (plane, 0));
        for (plane, offset) in own.iter().chain(&self.shared) {
            if let Some(buffer) = planes.get(*plane).filter(|_| !self.values.is_empty()) {
                context.queue().write_buffer(buffer, *offset, bytemuck::cast_slice(&self.values));
            }
        }
    }
}
