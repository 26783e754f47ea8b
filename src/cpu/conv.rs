//! Short convolutions ([`Op::ShortConv`](crate::plan::Op::ShortConv)), whose past is in the cache. What a kv head has of the
//! channels is an item: it writes them for all rows and then reads them back, rounded, so that the bits do not depend on which
//! rows came in one step.

use std::ops::Range;

use super::{run::Context, scratch::Scratch};
use crate::{
    error::{Result, try_vec},
    plan::BufferId,
    quant::repack::Matrix,
    weights::WeightId,
};

/// The weight of a convolution [D, N], channels side by side: [N, D].
pub(crate) struct Taps {
    pub(crate) weight: WeightId,
    values: Vec<f32>,
}

impl Taps {
    pub(crate) fn new(weight: WeightId) -> Self {
        Self { weight, values: vec![] }
    }

    /// Reads the weight, which is complete.
    pub(crate) fn fill(&mut self, matrix: &Matrix) -> Result<()> {
        let (width, n) = (matrix.n_rows(), matrix.row_len());
        let mut values = try_vec(width * n, "the taps of a convolution")?;
        values.resize(width * n, 0.0);
        let mut row = vec![0.0; n];
        for channel in 0..width {
            matrix.read_row(channel, &mut row);
            row.iter().enumerate().for_each(|(i, x)| values[i * width + channel] = *x);
        }
        self.values = values;
        Ok(())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.values.capacity() * 4
    }
}

impl Context<'_> {
    /// The channels of kv head g, all rows.
    pub(super) fn short_conv(
        &self,
        layer: usize,
        [x, out]: [BufferId; 2],
        taps: &Taps,
        g: usize,
        scratch: &mut Scratch,
    ) {
        let (size, width) = (self.pages.head_size(), self.width(x));
        let channels = [0, self.pages.kv_heads() * size].map(|first| {
            let [start, end] = [g, g + 1].map(|g| (first + g * size).min(width));
            start..end
        });
        let (key, value) = scratch.normed[..2 * size].split_at_mut(size);
        for t in 0..self.rows.len() {
            for (half, channels) in [&mut *key, &mut *value].into_iter().zip(&channels) {
                half.fill(0.0);
                half[..channels.len()].copy_from_slice(&self.row(x, t)[channels.clone()]);
            }
            self.kv_write(layer, g, t, key, value);
        }
        let n = taps.values.len() / width;
        for t in 0..self.rows.len() {
            let out = channels.clone().map(|channels: Range<usize>| self.columns_mut(out, t, channels));
            let position = self.rows[t].position as usize;
            let mut halves = out.map(|out| {
                out.fill(0.0);
                out
            });
            for (i, weights) in taps.values.chunks_exact(width).enumerate() {
                // Before the first position there is nothing.
                let Some(p) = (position + i + 1).checked_sub(n) else { continue };
                self.kv_get(layer, g, t, p, [&mut *key, &mut *value]);
                for ((out, channels), past) in halves.iter_mut().zip(&channels).zip([&*key, &*value]) {
                    let terms = past.iter().zip(&weights[channels.clone()]);
                    out.iter_mut().zip(terms).for_each(|(y, (x, w))| *y += w * x);
                }
            }
        }
    }
}
