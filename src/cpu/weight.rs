//! A weight as the kernels read it.

use crate::{
    error::{Error, Result, try_vec},
    quant::{self, Format, repack::Matrix},
    weights::WeightSpec,
};

/// A weight in its layout.
pub(super) enum Weight {
    Matrix(Matrix),
    Vector(Vector),
}

/// A norm's weight, a bias, rope factors: f32.
pub(super) struct Vector {
    name: String,
    format: Format,
    len: usize,
    /// File bytes until all have come.
    pending: Vec<u8>,
    values: Vec<f32>,
}

impl Weight {
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Matrix(m) => m.is_complete(),
            Self::Vector(v) => v.is_complete(),
        }
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        match self {
            Self::Matrix(m) => m.memory_bytes(),
            Self::Vector(v) => (v.values.capacity() * 4 + v.pending.capacity()) as u64,
        }
    }
}

impl Vector {
    pub(super) fn new(spec: &WeightSpec) -> Result<Self> {
        let (len, format) = (spec.row_len(), spec.format);
        let pending = try_vec(format.row_bytes(len)?, &format!("tensor {}", spec.name))?;
        let values = try_vec(len, &format!("tensor {}", spec.name))?;
        Ok(Self { name: spec.name.clone(), format, len, pending, values })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let n_bytes = self.format.row_bytes(self.len)?;
        if self.is_complete() || bytes.len() > n_bytes - self.pending.len() {
            return Err(Error::internal(format!("tensor {} got more bytes than it has", self.name)));
        }
        self.pending.extend_from_slice(bytes);
        if self.pending.len() == n_bytes {
            if let Some(block) = quant::first_non_finite(self.format, &self.pending) {
                return Err(Error::file(format!("tensor {}: block {block} holds a NaN or an infinity", self.name)));
            }
            self.values.resize(self.len, 0.0);
            quant::dequantize(self.format, &self.pending, &mut self.values)?;
            self.pending = Vec::new();
        }
        Ok(())
    }

    pub(super) fn is_complete(&self) -> bool {
        self.values.len() == self.len
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }
}
