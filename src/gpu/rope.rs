//! Frequencies of rotary positions as shaders/rotation.wgsl counts: 64-bit fractions of a turn per position, computed here in
//! f64 and rounded once. They are made when the factors that some models divide them by have arrived.

use std::collections::BTreeMap;

use crate::{
    error::{Error, Result, try_vec},
    plan::Rope,
    quant::dequantize,
    weights::{WeightId, WeightSpec},
};

/// Longest weight that can be factors: a pair of elements each of the largest head that attention takes.
const MAX_FACTORS: usize = super::lower::MAX_HEAD_SIZE / 2;

/// The bytes of short vectors, kept on this side too: one of them may turn out to be a rotation's factors.
#[derive(Debug, Default)]
pub(super) struct Factors(BTreeMap<WeightId, (WeightSpec, Vec<u8>)>);

impl Factors {
    /// To be called for every weight.
    pub(super) fn create(&mut self, id: WeightId, spec: &WeightSpec) {
        if spec.shape.len() == 1 && spec.row_len() <= MAX_FACTORS {
            self.0.insert(id, (spec.clone(), vec![]));
        }
    }

    /// To be called with all bytes of every weight.
    pub(super) fn write(&mut self, id: WeightId, bytes: &[u8]) {
        if let Some((_, kept)) = self.0.get_mut(&id) {
            kept.extend_from_slice(bytes);
        }
    }

    fn values(&self, id: WeightId) -> Result<Vec<f32>> {
        let missing = || Error::internal(format!("the rope factors of weight {} are not there", id.0));
        let (spec, bytes) = self.0.get(&id).ok_or_else(missing)?;
        if bytes.len() != spec.format.row_bytes(spec.row_len())? {
            return Err(missing());
        }
        let mut values = try_vec(spec.row_len(), "rope factors")?;
        values.resize(spec.row_len(), 0.0);
        dequantize(spec.format, bytes, &mut values)?;
        Ok(values)
    }

    /// For each pair of a rotation its frequency: (upper word, lower word).
    pub(super) fn frequencies(&self, rope: &Rope) -> Result<Vec<[u32; 2]>> {
        let factors = rope.factors.map(|id| self.values(id)).transpose()?;
        let factor = |i: usize| factors.as_ref().and_then(|f| f.get(i)).map_or(1.0, |f| f64::from(*f));
        let radians = |i: usize| {
            let frequency = libm::pow(f64::from(rope.base), -2.0 * i as f64 / rope.dims as f64);
            f64::from(rope.frequency_scale) * frequency / factor(i)
        };
        Ok((0..rope.dims / 2).map(|i| fixed_turns(radians(i))).collect())
    }
}

/// An angle as a fraction of a turn, without its whole turns.
fn fixed_turns(radians: f64) -> [u32; 2] {
    const TWO_64: f64 = 18_446_744_073_709_551_616.0;
    let turns = radians / std::f64::consts::TAU;
    let fixed = ((turns - libm::floor(turns)) * TWO_64) as u64;
    [(fixed >> 32) as u32, fixed as u32]
}
