//! Numbers without a pattern that are the same on every machine (SplitMix64, Steele et al. 2014).

use crate::{
    error::{Result, try_vec},
    kv::KvFormat,
    quant::{Format, f32_to_f16, quantize},
};

/// A source of numbers; any seed is good.
pub(super) struct Noise(pub(super) u64);

impl Noise {
    /// Uniform in −1..1.
    fn signed(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// File bytes of a row of weights about `centre`, all finite.
    pub(super) fn weights(&mut self, format: Format, row: &mut Vec<f32>, n: usize, centre: f32) -> Result<Vec<u8>> {
        row.clear();
        row.extend((0..n).map(|_| centre + self.signed()));
        let n_bytes = format.row_bytes(n)?;
        let mut bytes = try_vec(n_bytes, "a row of the self-check")?;
        bytes.resize(n_bytes, 0);
        quantize(format, row, &mut bytes)?;
        Ok(bytes)
    }

    /// Bytes of `n` keys or values.
    pub(super) fn cached(&mut self, format: KvFormat, n: usize) -> Result<Vec<u8>> {
        let mut bytes = try_vec(n.saturating_mul(format.element_bytes()), "a page of the self-check")?;
        for _ in 0..n {
            match format {
                KvFormat::F16 => bytes.extend(f32_to_f16(self.signed()).to_le_bytes()),
                KvFormat::F32 => bytes.extend(self.signed().to_le_bytes()),
            }
        }
        Ok(bytes)
    }
}
