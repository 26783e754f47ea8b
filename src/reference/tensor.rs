//! A weight of the reference executor: f32 values, made from file bytes as they arrive.

use crate::{
    error::{Error, Result, try_vec},
    quant,
    weights::WeightSpec,
};

/// A weight, dequantized.
#[derive(Debug)]
pub(super) struct Tensor {
    spec: WeightSpec,
    /// What has arrived, in file order: [N, K].
    values: Vec<f32>,
    /// Number of values when complete.
    len: usize,
    /// The beginning of a block whose end has not arrived.
    partial: Vec<u8>,
}

impl Tensor {
    /// Room for a weight.
    pub(super) fn new(spec: &WeightSpec) -> Result<Self> {
        let len = spec
            .shape
            .iter()
            .try_fold(1usize, |n, d| n.checked_mul(*d))
            .ok_or_else(|| Error::file(format!("tensor {} is too large: {:?}", spec.name, spec.shape)))?;
        spec.format.row_bytes(spec.row_len())?;
        Ok(Self { spec: spec.clone(), values: try_vec(len, &spec.name)?, len, partial: vec![] })
    }

    pub(super) fn spec(&self) -> &WeightSpec {
        &self.spec
    }

    pub(super) fn is_complete(&self) -> bool {
        self.values.len() == self.len
    }

    pub(super) fn n_bytes(&self) -> u64 {
        (self.len * size_of::<f32>()) as u64
    }

    /// All values, [N, K] or [K], of a complete weight.
    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }

    /// Row `i` of a complete weight [N, K].
    pub(super) fn row(&self, i: usize) -> Result<&[f32]> {
        let k = self.spec.row_len();
        self.values
            .chunks_exact(k)
            .nth(i)
            .ok_or_else(|| Error::internal(format!("row {i} of {} {:?}", self.spec.name, self.spec.shape)))
    }

    /// Takes the next bytes, whatever their number.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        let block_bytes = self.spec.format.block_bytes();
        if !self.partial.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(block_bytes - self.partial.len()));
            self.partial.extend_from_slice(head);
            bytes = rest;
            if self.partial.len() < block_bytes {
                return Ok(());
            }
            let block = std::mem::take(&mut self.partial);
            self.write_blocks(&block)?;
        }
        let (whole, rest) = bytes.split_at(bytes.len() - bytes.len() % block_bytes);
        self.partial.extend_from_slice(rest);
        self.write_blocks(whole)
    }

    fn write_blocks(&mut self, bytes: &[u8]) -> Result<()> {
        let Self { spec, values, len, .. } = self;
        let start = values.len();
        let end = start + bytes.len() / spec.format.block_bytes() * spec.format.block_len();
        if end > *len {
            return Err(Error::internal(format!("tensor {}: {end} values came, expected {len}", spec.name)));
        }
        values.resize(end, 0.0);
        quant::dequantize(spec.format, bytes, &mut values[start..])?;
        match values[start..].iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(i) => Err(Error::file(format!("tensor {}: value {} is {}", spec.name, start + i, values[start + i]))),
        }
    }
}
