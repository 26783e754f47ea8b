//! Formats for tests: which an executor runs, and weights of random bits.

use half::{bf16, f16};
use kinglet::quant::Format;

use super::rng::Rng;

/// Formats of numbers, and those of 32 weights with a scale and nothing else.
pub const PLAIN: [Format; 6] = [Format::F32, Format::F16, Format::Q4_0, Format::Q4_1, Format::Q8_0, Format::BF16];

/// Bytes of a random matrix [N, K] whose elements have a variance near 1 / K, so that activations neither die nor explode.
/// Blocks are made of random bits, not by a quantizer: every bit pattern of the quants occurs.
pub fn random_weights(rng: &mut Rng, n: usize, k: usize, format: Format) -> Vec<u8> {
    let amplitude = (3.0 / k as f32).sqrt();
    let n_blocks = n * k / format.block_len();
    let mut out = Vec::with_capacity(n_blocks * format.block_bytes());
    for _ in 0..n_blocks {
        let scale = amplitude * (1.0 + 0.25 * rng.signed());
        match format {
            Format::F32 => out.extend((amplitude * rng.signed()).to_le_bytes()),
            Format::F16 => out.extend(half(amplitude * rng.signed())),
            Format::BF16 => out.extend(bf16::from_f32(amplitude * rng.signed()).to_le_bytes()),
            Format::Q4_0 => out.extend(half(scale / 8.0)),
            Format::Q4_1 => out.extend([half(scale / 7.5), half(-scale)].concat()),
            Format::Q8_0 => out.extend(half(scale / 127.0)),
            _ => out.extend(random_block(rng, scale, format)),
        }
        let n_quants = match format {
            Format::Q4_0 | Format::Q4_1 => 16,
            Format::Q8_0 => 32,
            _ => 0,
        };
        // ggml never writes -128 in a Q8_0 block.
        out.extend((0..n_quants).map(|_| rng.next_u64() as u8).map(|b| match (format, b) {
            (Format::Q8_0, 0x80) => 0x81,
            _ => b,
        }));
    }
    out
}

/// A block of codes: random bits, but for the numbers that scale it to about `scale`.
fn random_block(rng: &mut Rng, scale: f32, format: Format) -> Vec<u8> {
    let mut block: Vec<u8> = (0..format.block_bytes()).map(|_| rng.next_u64() as u8).collect();
    if format == Format::MXFP4 {
        // The power of two next below, biased.
        block[0] = ((scale / 3.0).to_bits() >> 23) as u8;
    }
    for &(at, factor) in halves(format) {
        block[at..at + 2].copy_from_slice(&half(scale * factor));
    }
    block
}

/// Where a block of codes has its f16 numbers, and what makes weights of about ±1 of them when all other bits are random.
pub const fn halves(format: Format) -> &'static [(usize, f32)] {
    match format {
        Format::Q5_0 => &[(0, 1.0 / 16.0)],
        Format::Q5_1 => &[(0, 1.0 / 15.5), (2, -1.0)],
        Format::Q2_K => &[(80, 1.0 / 24.0), (82, 1.5 / 24.0)],
        Format::Q3_K => &[(108, 1.0 / 75.0)],
        Format::Q4_K => &[(0, 1.0 / 450.0), (2, 7.5 / 450.0)],
        Format::Q5_K => &[(0, 1.0 / 920.0), (2, 15.5 / 920.0)],
        Format::Q6_K => &[(208, 1.0 / 2400.0)],
        Format::IQ4_NL => &[(0, 1.0 / 114.0)],
        Format::IQ4_XS => &[(0, 1.0 / 2100.0)],
        Format::TQ1_0 => &[(52, 1.0 / 1.5)],
        Format::TQ2_0 => &[(64, 1.0 / 2.0)],
        _ => &[],
    }
}

/// Formats of codes.
pub fn coded() -> Vec<Format> {
    Format::ALL.into_iter().filter(|f| !PLAIN.contains(f)).collect()
}

/// The next row length that a format can have.
pub const fn whole(format: Format, k: usize) -> usize {
    k.next_multiple_of(format.block_len())
}

/// A byte of a block that holds codes (or a scale that is not an f16) and nothing else: never one that makes it infinite.
pub fn a_code_byte(format: Format) -> usize {
    match halves(format).iter().map(|(at, _)| *at).min() {
        Some(at) if at > 0 => at - 1,
        _ => format.block_bytes() - 1,
    }
}

/// What makes a block unfit, and where.
pub fn not_finite(format: Format) -> (usize, &'static [u8]) {
    match format {
        Format::F32 => (0, &[0, 0, 0x80, 0x7f]),
        Format::BF16 => (0, &[0x80, 0xff]),
        Format::MXFP4 => (0, &[0xff]),
        _ => (halves(format).last().map_or(0, |(at, _)| *at), &[0x01, 0x7e]),
    }
}

fn half(x: f32) -> [u8; 2] {
    f16::from_f32(x).to_le_bytes()
}
