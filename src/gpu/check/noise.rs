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
    pub(super) fn signed(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
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

/// Appends a row of weights as a file would have it. All are finite: they are numbers that were quantized.
pub(super) fn append(format: Format, row: &[f32], bytes: &mut Vec<u8>) -> Result<()> {
    let start = bytes.len();
    bytes.resize(start + format.row_bytes(row.len())?, 0);
    quantize(format, row, &mut bytes[start..])
}
