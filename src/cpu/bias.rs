//! The learned bias of attention by distance ([`PositionBias`]), looked up by distance instead of by bucket.

use crate::{
    error::{Result, try_vec},
    plan::PositionBias,
};

/// The bias of each head for every distance up to a radius, past which all share a bucket or no step has come yet.
pub(crate) struct BiasTable {
    pub(crate) bias: PositionBias,
    heads: usize,
    radius: usize,
    /// [H, 2 · radius + 1]; empty before the weight has come.
    values: Vec<f32>,
}

impl BiasTable {
    pub(crate) fn new(bias: PositionBias, heads: usize) -> Self {
        Self { bias, heads, radius: 0, values: vec![] }
    }

    /// Forgets the values: the weight has come anew.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
    }

    /// Makes it serve positions up to `last`. `read_row` reads a row [H] of the weight.
    pub(crate) fn fill(&mut self, last: usize, n_buckets: usize, read_row: impl Fn(usize, &mut [f32])) -> Result<()> {
        let radius = self.bias.max_distance.min(last);
        if !self.values.is_empty() && radius <= self.radius {
            return Ok(());
        }
        let len = 2 * radius + 1;
        let mut values = try_vec(self.heads * len, "biases by distance")?;
        values.resize(self.heads * len, 0.0);
        let mut row = vec![0.0; self.heads];
        for (i, distance) in (-(radius as i64)..=radius as i64).enumerate() {
            read_row(self.bias.bucket(n_buckets, distance), &mut row);
            row.iter().enumerate().for_each(|(head, x)| values[head * len + i] = *x);
        }
        (self.radius, self.values) = (radius, values);
        Ok(())
    }

    /// Bias of a head for a distance p − position(t).
    #[inline(always)]
    pub(crate) fn at(&self, head: usize, distance: i64) -> f32 {
        let radius = self.radius as i64;
        let at = (distance.clamp(-radius, radius) + radius) as usize;
        self.values[head * (2 * self.radius + 1) + at]
    }

    pub(crate) fn bytes(&self) -> usize {
        self.values.capacity() * 4
    }
}
