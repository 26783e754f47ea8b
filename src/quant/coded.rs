//! Formats whose weights are codes of a few bits under scales that are shared by runs of weights: one meaning for all of them.
//! A format's own file says only where its bits lie.
//!
//! ```text
//! w = (d · s) · v(code) − dmin · m        d, dmin: one per block;  s, m: one per run of 16 or 32 weights
//! ```
//!
//! `dequantize` here, the panels of the CPU and the planes of the GPU are made from what [`CodedBlock`] gives.

use super::{BlockFormat, Format};

/// The longest block.
pub(super) const MAX_LEN: usize = 256;
/// Most runs of a block.
pub(super) const MAX_RUNS: usize = 16;

/// What is the same for all blocks of a format.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coding {
    /// Weights that share s and m: 16 or 32.
    pub(super) run: usize,
    /// Bits of a code: 2 to 6.
    pub(super) bits: u32,
    /// Bits of s and m. 0: every s is 1, and every m, where there are minima, −1.
    pub(super) scale_bits: u32,
    /// v
    pub(super) values: Values,
    /// Whether there are minima.
    pub(super) has_minima: bool,
}

/// What a code stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Values {
    /// Whole numbers from this one on.
    From(i8),
    /// Those of a table.
    Table(&'static [i8; 16]),
}

impl Coding {
    /// The number that a code stands for; codes have no more bits than the format.
    pub(super) fn value(&self, code: u8) -> i8 {
        match self.values {
            Values::From(first) => first.wrapping_add_unsigned(code),
            Values::Table(table) => table.get(usize::from(code)).copied().unwrap_or(0),
        }
    }

    /// The weights of a block, in ggml's order of operations; of these only the last (of Q6_K, the last two) round.
    pub(super) fn dequantize(&self, scales: &Scales, codes: &[u8], out: &mut [f32]) {
        for (run, (out, codes)) in out.chunks_mut(self.run).zip(codes.chunks(self.run)).enumerate() {
            let (scale, minimum) = (scales.scale(run), scales.minimum(run));
            for (w, code) in out.iter_mut().zip(codes) {
                *w = scale * f32::from(self.value(*code)) - minimum;
            }
        }
    }

    /// The largest magnitude of a value.
    fn largest(&self) -> f32 {
        let codes = 0..1u8 << self.bits;
        codes.map(|code| f32::from(self.value(code)).abs()).fold(0.0, |a, b| if a < b { b } else { a })
    }
}

/// The numbers of a block beside its codes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scales {
    /// d: an f16 (MXFP4: a power of two).
    pub(super) d: f32,
    /// dmin: an f16, 0 where there are no minima.
    pub(super) dmin: f32,
    /// s of every run.
    pub(super) s: [i8; MAX_RUNS],
    /// m of every run.
    pub(super) m: [i8; MAX_RUNS],
}

impl Scales {
    /// `d · s` of a run, exactly.
    pub(super) fn scale(&self, run: usize) -> f32 {
        self.d * self.s.get(run).map_or(0.0, |s| f32::from(*s))
    }

    /// `dmin · m` of a run, exactly.
    pub(super) fn minimum(&self, run: usize) -> f32 {
        self.dmin * self.m.get(run).map_or(0.0, |m| f32::from(*m))
    }
}

/// A block of codes as it lies in the file.
pub(super) trait CodedBlock: bytemuck::Pod {
    /// What is the same for all of them.
    const CODING: Coding;
    /// Its numbers.
    fn scales(&self) -> Scales;
    /// Its codes, in the order of the weights; `codes` is as long as the block.
    fn codes(&self, codes: &mut [u8]);
}

impl<B: CodedBlock, const N: usize> BlockFormat<N> for B {
    fn dequantize(&self, out: &mut [f32; N]) {
        let mut codes = [0; N];
        self.codes(&mut codes);
        B::CODING.dequantize(&self.scales(), &codes, out);
    }

    /// The largest weight that its codes could give decides: a scale may be finite and too large.
    fn is_finite(&self) -> bool {
        let scales = self.scales();
        (scales.d * B::CODING.largest()).is_finite() && scales.dmin.is_finite()
    }
}

/// A format's reading functions, for those who go over blocks of any format.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    /// What is the same for all blocks.
    pub(super) coding: Coding,
    /// [`CodedBlock::scales`] of a block's bytes.
    pub(super) scales: fn(&[u8]) -> Scales,
    /// [`CodedBlock::codes`] of a block's bytes.
    pub(super) codes: fn(&[u8], &mut [u8]),
}

impl Reader {
    /// The functions of a block.
    pub(super) const fn of<B: CodedBlock>() -> Self {
        fn block<B: CodedBlock>(bytes: &[u8]) -> B {
            bytemuck::try_pod_read_unaligned(bytes).unwrap_or_else(|_| bytemuck::Zeroable::zeroed())
        }
        Self {
            coding: B::CODING,
            scales: |bytes| block::<B>(bytes).scales(),
            codes: |bytes, codes| block::<B>(bytes).codes(codes),
        }
    }
}

impl Format {
    /// How to read the blocks of a format of codes; `None` for numbers, and for Q4_0, Q4_1 and Q8_0, which have ways of their own.
    pub(super) const fn reader(self) -> Option<&'static Reader> {
        self.facts().reader.as_ref()
    }
}

/// Scales with one run or the same s for all: blocks whose only scale is d.
pub(super) fn one_scale(d: f32) -> Scales {
    Scales { d, s: [1; MAX_RUNS], ..Scales::default() }
}

/// ggml's order of 4-bit codes in runs of 2 · H weights: byte i of a run has weight i in its low nibble, weight H + i in the high.
pub(super) fn nibbles<const H: usize>(bytes: &[u8], codes: &mut [u8]) {
    for (bytes, codes) in bytes.chunks_exact(H).zip(codes.chunks_exact_mut(2 * H)) {
        let (low, high) = codes.split_at_mut(H);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
            *low = byte & 15;
            *high = byte >> 4;
        }
    }
}

/// ggml's order of 2-bit fields in runs of 128 weights: bits 2f, 2f + 1 of byte i belong to weight 32 · f + i. They are put at bit
/// `at` of the codes.
pub(super) fn add_pairs(bytes: &[u8], at: u32, codes: &mut [u8]) {
    for (bytes, codes) in bytes.chunks_exact(32).zip(codes.chunks_exact_mut(128)) {
        for (field, codes) in codes.chunks_exact_mut(32).enumerate() {
            for (code, byte) in codes.iter_mut().zip(bytes) {
                *code |= ((byte >> (2 * field)) & 3) << at;
            }
        }
    }
}

/// ggml's order of single bits in super-blocks: bit f of byte i belongs to weight 32 · f + i. They are put at bit `at` of the codes.
pub(super) fn add_bits(bytes: &[u8; 32], at: u32, codes: &mut [u8]) {
    for (field, codes) in codes.chunks_exact_mut(32).enumerate() {
        for (code, byte) in codes.iter_mut().zip(bytes) {
            *code |= ((byte >> field) & 1) << at;
        }
    }
}
