//! Numbers without a pattern that are the same on every machine (SplitMix64, Steele et al. 2014).

use crate::{
    error::{Result, try_vec},
    kv::KvFormat,
    quant::{Format, f32_to_bf16, f32_to_f16, q8_0::BLOCK},
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

    /// Bytes of `n` keys or values, or of so many blocks of them.
    pub(super) fn cached(&mut self, format: KvFormat, n: usize) -> Result<Vec<u8>> {
        let mut bytes = try_vec(n.saturating_mul(format.row_bytes(1)), "a page of the self-check")?;
        for _ in 0..n {
            match format {
                KvFormat::F16 => bytes.extend(f32_to_f16(self.signed()).to_le_bytes()),
                KvFormat::F32 => bytes.extend(self.signed().to_le_bytes()),
                KvFormat::Q8_0 => {
                    bytes.extend(f32_to_f16((1.5 + self.signed()) / 256.0).to_le_bytes());
                    bytes.extend((0..BLOCK).map(|_| (128.0 * self.signed()) as i8 as u8));
                }
            }
        }
        Ok(bytes)
    }
}

/// Appends a row of weights as a file would have it: numbers round `centre`, or blocks of random bits under small scales.
pub(super) fn append(
    format: Format,
    row_len: usize,
    centre: f32,
    noise: &mut Noise,
    bytes: &mut Vec<u8>,
) -> Result<()> {
    let n_bytes = format.row_bytes(row_len)?;
    let mut number = || centre + noise.signed();
    match format {
        Format::F32 => bytes.extend((0..row_len).flat_map(|_| number().to_le_bytes())),
        Format::F16 => bytes.extend((0..row_len).flat_map(|_| f32_to_f16(number()).to_le_bytes())),
        Format::BF16 => bytes.extend((0..row_len).flat_map(|_| f32_to_bf16(number()).to_le_bytes())),
        _ => {
            let start = bytes.len();
            bytes.extend((0..n_bytes).map(|_| (128.0 * noise.signed()) as i8 as u8));
            let blocks = bytes.get_mut(start..).unwrap_or_default();
            blocks.chunks_exact_mut(format.block_bytes()).for_each(|block| set_scales(format, noise, block));
        }
    }
    Ok(())
}

/// Scales of about 1 / 100, whose sign does not matter.
fn set_scales(format: Format, noise: &mut Noise, block: &mut [u8]) {
    let (at, n_halves) = match format {
        Format::MXFP4 => (0, 0),
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => (0, 2),
        Format::Q2_K => (80, 2),
        Format::Q3_K => (108, 1),
        Format::Q6_K => (208, 1),
        Format::TQ1_0 => (52, 1),
        Format::TQ2_0 => (64, 1),
        _ => (0, 1),
    };
    let (_, scales) = block.split_at_mut(at);
    match scales {
        [exponent, ..] if n_halves == 0 => *exponent = 122,
        _ => {
            let halves = scales.chunks_exact_mut(2).take(n_halves);
            halves.for_each(|half| half.copy_from_slice(&f32_to_f16(0.01 * (1.5 + noise.signed())).to_le_bytes()));
        }
    }
}
