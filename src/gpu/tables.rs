//! Tables that are made on this side, when the small weights that they depend on have arrived.
//!
//! Frequencies of rotary positions as shaders/rotation.wgsl counts: 64-bit fractions of a turn per position, computed here in
//! f64 and rounded once. Biases of attention by distance, from those by bucket.

use super::{dispatch::Biases, lower::MAX_PAIRS};
use crate::{
    error::{Error, Result, try_vec},
    plan::{PositionBias, Rope},
    quant::dequantize,
    sorted::SortedMap,
    weights::{WeightId, WeightSpec},
};

/// Largest table of biases: buckets, heads, distance that they tell apart.
const MAX_BIASES: [usize; 3] = [256, 256, 4096];

/// The bytes of small weights, kept on this side too: one of them may turn out to be a rotation's factors or a table of biases.
#[derive(Debug, Default)]
pub(super) struct Tables(SortedMap<WeightId, (WeightSpec, Vec<u8>)>);

impl Tables {
    /// To be called for every weight.
    pub(super) fn create(&mut self, id: WeightId, spec: &WeightSpec) {
        let is_small = match spec.shape[..] {
            [n] => n <= MAX_PAIRS,
            [n_buckets, heads] => n_buckets <= MAX_BIASES[0] && heads <= MAX_BIASES[1],
            _ => false,
        };
        if is_small {
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
        let missing = || Error::internal(format!("the values of weight {} are not there", id.0));
        let (spec, bytes) = self.0.get(&id).ok_or_else(missing)?;
        if bytes.len() as u64 != spec.file_bytes() {
            return Err(missing());
        }
        let n = spec.n_rows() * spec.row_len();
        let mut values = try_vec(n, "a small weight")?;
        values.resize(n, 0.0);
        dequantize(spec.format, bytes, &mut values)?;
        Ok(values)
    }

    /// Whether [`Self::biases`] can be had, once the weight has come.
    pub(super) fn check_biases(&self, bias: &PositionBias) -> Result<()> {
        let [_, _, max_distance] = MAX_BIASES;
        if self.0.contains(&bias.table) && bias.max_distance <= max_distance {
            return Ok(());
        }
        let what = format!(
            "biases by positions up to {} apart on the GPU (up to {MAX_BIASES:?} buckets, heads, distances are supported there)",
            bias.max_distance
        );
        Err(Error::UnsupportedFeature { what })
    }

    /// Biases by distance, [H, 2 · radius + 1].
    pub(super) fn biases(&self, biases: &Biases) -> Result<Vec<f32>> {
        let Biases { bias, heads, radius } = biases;
        let table = self.values(bias.table)?;
        let n_buckets = table.len() / (*heads).max(1);
        let radius = *radius as i64;
        let mut values = try_vec(biases.len(), "biases by distance")?;
        for head in 0..*heads {
            let rows = (-radius..=radius).map(|distance| bias.bucket(n_buckets, distance));
            values.extend(rows.map(|row| table.get(row * heads + head).copied().unwrap_or_default()));
        }
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
