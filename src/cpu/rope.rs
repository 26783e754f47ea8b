//! Rotary positions: sines and cosines once per step and row, shared by all layers; the rotation of a head.

use crate::{
    error::{Result, try_vec},
    plan::{Rope, RopeStyle, Row},
};

/// The sines and cosines of a step for one [`Rope`].
pub(crate) struct RopeTable {
    pub(crate) rope: Rope,
    /// Angle per position of each pair; made when the factors are there.
    frequencies: Vec<f64>,
    /// [T, dims / 2] of (cos, sin)
    turns: Vec<(f32, f32)>,
}

impl RopeTable {
    /// Room for steps of `max_rows` rows.
    pub(crate) fn new(rope: Rope, max_rows: usize) -> Result<Self> {
        let what = "rotary positions";
        let pairs = rope.dims / 2;
        Ok(Self { rope, frequencies: try_vec(pairs, what)?, turns: try_vec(max_rows * pairs, what)? })
    }

    /// Computes the table for the rows of a step. `factors`: [dims / 2].
    pub(crate) fn fill(&mut self, rows: &[Row], factors: Option<&[f32]>) {
        let pairs = self.rope.dims / 2;
        if self.frequencies.is_empty() {
            self.frequencies.extend((0..pairs).map(|i| {
                let frequency = libm::pow(f64::from(self.rope.base), -2.0 * i as f64 / self.rope.dims as f64);
                let factor = factors.and_then(|f| f.get(i)).map_or(1.0, |f| f64::from(*f));
                f64::from(self.rope.frequency_scale) * frequency / factor
            }));
        }
        self.turns.clear();
        for row in rows {
            self.turns.extend(self.frequencies.iter().map(|f| {
                let (sin, cos) = libm::sincos(f64::from(row.position) * f);
                (cos as f32, sin as f32)
            }));
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.frequencies.capacity() * 8 + self.turns.capacity() * 8
    }

    /// `out = rotate(x)` for every head of x, row t of the step. x, out: [heads · K]
    pub(crate) fn rotate(&self, t: usize, x: &[f32], out: &mut [f32]) {
        let Rope { style, head_size, dims, .. } = self.rope;
        let pairs = dims / 2;
        let turns = &self.turns[t * pairs..(t + 1) * pairs];
        for (x, out) in x.chunks_exact(head_size).zip(out.chunks_exact_mut(head_size)) {
            match style {
                RopeStyle::Norm => {
                    let (xs, _) = x.as_chunks::<2>();
                    let (outs, _) = out.as_chunks_mut::<2>();
                    for ((x, out), (cos, sin)) in xs.iter().zip(outs).zip(turns) {
                        *out = [x[0] * cos - x[1] * sin, x[0] * sin + x[1] * cos];
                    }
                }
                RopeStyle::Neox => {
                    for (i, (cos, sin)) in turns.iter().enumerate() {
                        let (a, b) = (x[i], x[i + pairs]);
                        out[i] = a * cos - b * sin;
                        out[i + pairs] = a * sin + b * cos;
                    }
                }
            }
            out[dims..].copy_from_slice(&x[dims..]);
        }
    }
}
