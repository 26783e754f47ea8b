//! Matrix kernels for the formats of codes (`quant::coded`), all of them by one body: a chunk of 32 weights × eight rows is taken
//! out of its planes, and 16-bit dot products of its codes with the activations are summed exactly in i32. In f32, chunk after
//! chunk from the first,
//!
//! ```text
//! acc += Σq · (d · s) · d_a        once a chunk, or once for each half of it where halves have their own s
//! acc −= (dmin · m) · d_a Σa       the same
//! ```
//!
//! The body takes the layout as a value. Frequent formats have it compiled for their own layout, one row of activations at a time;
//! for the others, and for several rows, chunks are unpacked into scratch first. The same bits either way, and the same
//! whatever else the machine can do: nothing here depends on the flavour.

use std::ops::Range;

use super::{
    activations::Act16,
    matmul::{Lanes8, ZERO, accumulate, accumulate_min, store},
    simd::{F32x4, I16x8, I32x4, U8x16},
    tiles::{CodeTile, Codes8, Unpacked, tiles},
};
use crate::quant::{
    Format,
    repack::{Bytes16, CodePanels, Half8, Layout, Runs},
};

/// Codes of a plane's vector: weights 4g + i and weights 16 + 4g + i of four rows.
type Codes = [U8x16; 2];

/// The numbers of a block beside its codes, eight rows each.
struct Header<'a> {
    d: Lanes8,
    dmin: Lanes8,
    /// s and m of the runs, eight bytes each.
    s: &'a [[i8; 8]],
    m: &'a [[i8; 8]],
}

impl<'a> Header<'a> {
    #[inline(always)]
    fn of(layout: &Layout, header: &'a [Bytes16]) -> Self {
        let halves = |i: usize| &bytemuck::cast_ref::<Bytes16, Half8>(&header[i]).0;
        let d = halves(0);
        let d = if layout.is_bf16 { F32x4::from_bf16(d) } else { F32x4::from_any_f16(d) };
        let dmin = if layout.has_minima { F32x4::from_any_f16(halves(1)) } else { ZERO() };
        let bytes: &[i8] = bytemuck::cast_slice(&header[layout.first_scale()..]);
        let (runs, _) = bytes.as_chunks::<8>();
        let (s, m) = runs.split_at(layout.n_runs().min(runs.len()));
        Self { d, dmin, s, m }
    }

    /// `d · s` and `−dmin · m` of a run.
    #[inline(always)]
    fn run(&self, layout: &Layout, run: usize) -> [Lanes8; 2] {
        let times = |x: Lanes8, [a, b]: [I32x4; 2]| [x[0].mul(a.to_f32()), x[1].mul(b.to_f32())];
        let (s, m) = match layout.runs {
            Runs::One => return [self.d, self.dmin],
            Runs::Bytes => {
                let s = times(self.d, I16x8::load_i8(&self.s[run]).widen());
                if !layout.has_minima {
                    return [s, ZERO()];
                }
                (s, times(self.dmin, I16x8::load_i8(&self.m[run]).widen()))
            }
            Runs::Nibbles => {
                let both = I16x8::load_i8(&self.s[run]);
                (times(self.d, both.nibble::<0>().widen()), times(self.dmin, both.nibble::<4>().widen()))
            }
        };
        [s, m.map(|m| F32x4::splat(0.0).sub(m))]
    }
}

/// The codes of weights 4g + i and 16 + 4g + i of rows 4h + r in byte 4r + i, as they are stored or looked up.
#[inline(always)]
fn codes(layout: &Layout, chunk: &[Bytes16], g: usize, h: usize) -> Codes {
    let plane = |at: usize| U8x16::load(&chunk[at].0);
    let mut codes = [U8x16::splat(0); 2];
    if layout.has_nibbles {
        let nibbles = plane(2 * g + h);
        codes = [nibbles.low_nibbles(), nibbles.high_nibbles()];
    }
    let mut add = |vector: U8x16, from: u32, to: u32, mask: u8| {
        for (i, code) in codes.iter_mut().enumerate() {
            let from = from + i as u32 * mask.count_ones();
            *code = code.or(vector.shift(from, to).and(U8x16::splat(mask << to)));
        }
    };
    if let Some(to) = layout.pairs {
        add(plane(layout.pairs_at() + 2 * (g / 2) + h), 4 * (g as u32 % 2), to, 3);
    }
    if let Some(to) = layout.bits {
        add(plane(layout.bits_at() + h), 2 * g as u32, to, 1);
    }
    match &layout.table {
        Some(table) => codes.map(|code| code.lookup(table)),
        None => codes,
    }
}

/// Adds the products of four weights, of four rows of the matrix, to each lane.
#[inline(always)]
fn dot_4(sum: I32x4, codes: U8x16, even: I16x8, odd: I16x8) -> I32x4 {
    sum.add(codes.even().dot(even)).add(codes.odd().dot(odd))
}

/// One row of activations.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "halves and rows are places in several arrays at once")]
fn row(layout: &Layout, panel: &[Bytes16], acts: &[Act16]) -> Lanes8 {
    let mut acc = ZERO();
    for (block, acts) in panel.chunks_exact(layout.block_len()).zip(acts.chunks_exact(layout.n_chunks)) {
        let (header, chunks) = block.split_at(layout.first_chunk());
        let header = Header::of(layout, header);
        for (j, (chunk, a)) in chunks.chunks_exact(layout.chunk_len()).zip(acts).enumerate() {
            let start = a.sums.map(|sum| I32x4::splat(-i32::from(layout.offset) * i32::from(sum)));
            let mut s = [[start[0]; 2], [start[1]; 2]];
            for g in 0..4 {
                let pair = |p: usize| I16x8::splat_pair(a.q[p]);
                let acts = [[pair(2 * g), pair(2 * g + 1)], [pair(8 + 2 * g), pair(9 + 2 * g)]];
                for h in 0..2 {
                    let codes = codes(layout, chunk, g, h);
                    for half in 0..2 {
                        s[half][h] = dot_4(s[half][h], codes[half], acts[half][0], acts[half][1]);
                    }
                }
            }
            if layout.is_halved {
                for half in 0..2 {
                    let [d, m] = header.run(layout, 2 * j + half);
                    accumulate(&mut acc, s[half], d, a.d);
                    if layout.has_minima {
                        accumulate_min(&mut acc, m, a.d * f32::from(a.sums[half]));
                    }
                }
            } else {
                let [d, m] = header.run(layout, j);
                accumulate(&mut acc, [s[0][0].add(s[1][0]), s[0][1].add(s[1][1])], d, a.d);
                if layout.has_minima {
                    accumulate_min(&mut acc, m, a.sum);
                }
            }
        }
    }
    acc
}

/// Takes the chunks of a panel from the `first` on out of their planes. Chunks are asked for in order.
fn unpack(layout: &Layout, panel: &[Bytes16], first: usize, out: &mut [Codes8]) {
    let mut header = None;
    for (i, out) in (first..).zip(out) {
        let (block, j) = (i / layout.n_chunks, i % layout.n_chunks);
        let (head, chunks) = panel[block * layout.block_len()..][..layout.block_len()].split_at(layout.first_chunk());
        if j == 0 || header.is_none() {
            header = Some(Header::of(layout, head));
        }
        let Some(header) = &header else { return };
        let runs = if layout.is_halved { [2 * j, 2 * j + 1] } else { [j; 2] };
        for (half, run) in runs.into_iter().enumerate() {
            let [d, m] = header.run(layout, run);
            store(d, &mut out.d[half]);
            store(m, &mut out.m[half]);
        }
        let chunk = &chunks[j * layout.chunk_len()..][..layout.chunk_len()];
        for g in 0..4 {
            for h in 0..2 {
                let [low, high] = codes(layout, chunk, g, h);
                low.store(&mut out.q[2 * g + h]);
                high.store(&mut out.q[8 + 2 * g + h]);
            }
        }
    }
}

/// A kernel for one row of activations.
type RowKernel = fn(&[Bytes16], &[Act16]) -> Lanes8;

/// Declares a kernel for a format's own layout.
macro_rules! row_of {
    ($name:ident, $format:ident) => {
        #[inline(never)]
        fn $name(panel: &[Bytes16], acts: &[Act16]) -> Lanes8 {
            const LAYOUT: Layout = match Layout::of(Format::$format) {
                Some(layout) => layout,
                None => panic!("a format of codes"),
            };
            row(&LAYOUT, panel, acts)
        }
    };
}

row_of!(row_q5_0, Q5_0);
row_of!(row_q5_1, Q5_1);
row_of!(row_q4_k, Q4_K);
row_of!(row_q5_k, Q5_K);
row_of!(row_q6_k, Q6_K);

/// A panel (some blocks) times rows of activations.
pub(super) fn product(
    panels: &CodePanels,
    format: Format,
    blocks: Range<usize>,
    acts: &[Act16],
    unpacked: &mut Unpacked,
    acc: &mut [Lanes8],
) {
    let layout = &panels.layout;
    let n = layout.block_len();
    let panel = &panels.vectors[blocks.start * n..blocks.end * n];
    if let [one] = acc {
        let row: Option<RowKernel> = match format {
            Format::Q5_0 => Some(row_q5_0),
            Format::Q5_1 => Some(row_q5_1),
            Format::Q4_K => Some(row_q4_k),
            Format::Q5_K => Some(row_q5_k),
            Format::Q6_K => Some(row_q6_k),
            _ => None,
        };
        if let Some(row) = row {
            *one = row(panel, acts);
            return;
        }
    }
    let kernel = CodeTile { offset: layout.offset, is_halved: layout.is_halved, has_minima: layout.has_minima };
    let unpack = |first: usize, out: &mut [Codes8]| unpack(layout, panel, first, out);
    tiles(&kernel, blocks.len() * layout.n_chunks, unpack, &mut unpacked.codes, acts, acc);
}
