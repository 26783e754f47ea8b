//! Matrix kernels for the formats of codes (`quant::coded`), all of them by one body: a chunk of 32 weights × eight rows is taken
//! out of its planes, and the products of its codes with the activations are summed exactly, times the scales of runs, which are
//! whole numbers too. In f32, chunk after chunk from the first,
//!
//! ```text
//! acc += (Σ s · q) · (d · d_a)
//! acc −= (dmin · m) · d_a Σa       once a chunk, or once for each half of it where halves have their own m
//! ```
//!
//! The body takes the layout as a value. Frequent formats have it compiled for their own layout, for few rows of activations; for
//! the others, and for more rows, chunks are unpacked into scratch first. The same bits either way, and by any of the
//! [`Dots`].

use std::{marker::PhantomData, ops::Range};

use super::{
    dots::{Act, DotAdd, Dots, Madd, Sums, Wide},
    flavour::{Flavour, HAS_8_BIT},
    matmul::{Acts, FEW_ROWS, Lanes8, ZERO, accumulate, accumulate_min, store},
    simd::{F32x4, I16x8, I32x4, U8x16},
    tiles::{CodeTile, Codes8, Tile, Unpacked, chunk_tiles, set_factors, tiles},
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
    /// −dmin; where every m is −1, dmin.
    minimum: Lanes8,
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
        let minimum = match layout.runs {
            _ if !layout.has_minima => ZERO(),
            Runs::One => F32x4::from_any_f16(halves(1)),
            Runs::Bytes | Runs::Nibbles => F32x4::from_any_f16(halves(1)).map(|dmin| F32x4::splat(0.0).sub(dmin)),
        };
        let bytes: &[i8] = bytemuck::cast_slice(&header[layout.first_scale()..]);
        let (runs, _) = bytes.as_chunks::<8>();
        let (s, m) = runs.split_at(layout.n_runs().min(runs.len()));
        Self { d, minimum, s, m }
    }

    /// s of a run.
    #[inline(always)]
    fn factors(&self, layout: &Layout, run: usize) -> I16x8 {
        match layout.runs {
            Runs::One => I16x8::splat(1),
            Runs::Bytes => I16x8::load_i8(&self.s[run]),
            Runs::Nibbles => I16x8::load_i8(&self.s[run]).nibble::<0>(),
        }
    }

    /// `−dmin · m` of a run.
    #[inline(always)]
    fn minima(&self, layout: &Layout, run: usize) -> Lanes8 {
        let m = match layout.runs {
            Runs::One => return self.minimum,
            Runs::Bytes => I16x8::load_i8(&self.m[run]),
            Runs::Nibbles => I16x8::load_i8(&self.s[run]).nibble::<4>(),
        };
        let [a, b] = m.widen();
        [self.minimum[0].mul(a.to_f32()), self.minimum[1].mul(b.to_f32())]
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
    if let Some(to) = layout.pairs {
        or_bits(&mut codes, plane(layout.pairs_at() + 2 * (g / 2) + h), 4 * (g as u32 % 2), to, 3);
    }
    if let Some(to) = layout.bits {
        or_bits(&mut codes, plane(layout.bits_at() + h), 2 * g as u32, to, 1);
    }
    match &layout.table {
        Some(table) => codes.map(|code| code.lookup(table)),
        None => codes,
    }
}

/// T rows of activations.
#[inline(always)]
fn rows<D: Dots, const T: usize>(layout: &Layout, panel: &[Bytes16], acts: [&[D::Act]; T]) -> [Lanes8; T] {
    let mut acc = [ZERO(); T];
    for (i, block) in panel.chunks_exact(layout.block_len()).enumerate() {
        let (header, chunks) = block.split_at(layout.first_chunk());
        let header = Header::of(layout, header);
        for (j, chunk) in chunks.chunks_exact(layout.chunk_len()).enumerate() {
            let acts: [&D::Act; T] = core::array::from_fn(|t| &acts[t][i * layout.n_chunks + j]);
            let sums = chunk_sums::<D, T>(layout, &header, j, chunk, acts);
            for ((acc, sums), a) in acc.iter_mut().zip(sums).zip(acts) {
                accumulate(acc, sums, header.d, a.scale().d);
                if layout.is_halved && layout.has_minima {
                    for half in 0..2 {
                        accumulate_min(acc, header.minima(layout, 2 * j + half), a.half_sum(half));
                    }
                } else if layout.has_minima {
                    accumulate_min(acc, header.minima(layout, j), a.scale().sum);
                }
            }
        }
    }
    acc
}

/// Puts the bits of `mask`, from the place `from` on for the first codes and from what follows for the second, to the place `to`.
#[inline(always)]
fn or_bits(codes: &mut Codes, vector: U8x16, from: u32, to: u32, mask: u8) {
    for (i, code) in codes.iter_mut().enumerate() {
        let from = from + i as u32 * mask.count_ones();
        *code = code.or(vector.shift(from, to).and(U8x16::splat(mask << to)));
    }
}

/// Adds the products of weights 4g + i to the first sums, of weights 16 + 4g + i to the second where the halves have their own.
#[inline(always)]
fn add_eight<D: Dots, const T: usize>(
    layout: &Layout,
    chunk: &[Bytes16],
    acts: [&D::Act; T],
    g: usize,
    s: &mut [[[D::Sum; 2]; 2]; T],
) {
    let second = usize::from(layout.in_halves());
    let codes = [codes(layout, chunk, g, 0), codes(layout, chunk, g, 1)];
    for (s, a) in s.iter_mut().zip(acts) {
        let acts = [D::four(a, g), D::four(a, 4 + g)];
        for (h, [low, high]) in codes.into_iter().enumerate() {
            s[0][h] = D::add(s[0][h], low, acts[0]);
            s[second][h] = D::add(s[second][h], high, acts[1]);
        }
    }
}

/// Σ s · q of chunk j.
#[inline(always)]
fn chunk_sums<D: Dots, const T: usize>(
    layout: &Layout,
    header: &Header<'_>,
    j: usize,
    chunk: &[Bytes16],
    acts: [&D::Act; T],
) -> [[I32x4; 2]; T] {
    let in_halves = layout.in_halves();
    // The sums of both halves, or one for both.
    let mut s = [[[D::Sum::zero(); 2]; 2]; T];
    if layout.offset != 0 {
        for (s, a) in s.iter_mut().zip(acts) {
            *s = if in_halves {
                [[D::start(a, 0, layout.offset); 2], [D::start(a, 1, layout.offset); 2]]
            } else {
                [[D::start_both(a, layout.offset); 2]; 2]
            };
        }
    }
    // Not a loop: shifts by what is known are fast, and LLVM may leave a loop a loop.
    add_eight::<D, T>(layout, chunk, acts, 0, &mut s);
    add_eight::<D, T>(layout, chunk, acts, 1, &mut s);
    add_eight::<D, T>(layout, chunk, acts, 2, &mut s);
    add_eight::<D, T>(layout, chunk, acts, 3, &mut s);
    let mut sums = [[I32x4::splat(0); 2]; T];
    for (sums, s) in sums.iter_mut().zip(s) {
        *sums = times::<D>(layout, header, j, 0, s[0]);
        if in_halves {
            let second = times::<D>(layout, header, j, 1, s[1]);
            *sums = [sums[0].add(second[0]), sums[1].add(second[1])];
        }
    }
    sums
}

/// Times s of the run of a half.
#[inline(always)]
fn times<D: Dots>(layout: &Layout, header: &Header<'_>, j: usize, half: usize, s: [D::Sum; 2]) -> [I32x4; 2] {
    if layout.runs == Runs::One {
        return s.map(Sums::total);
    }
    let run = if layout.is_halved { 2 * j + half } else { j };
    let by = D::Sum::factors(header.factors(layout, run));
    [s[0].times(by[0]), s[1].times(by[1])]
}

/// Takes the chunks of a panel from the `first` on out of their planes. Chunks are asked for in order.
fn unpack<D: Dots>(layout: &Layout, panel: &[Bytes16], first: usize, out: &mut [Codes8]) {
    let mut header = None;
    for (i, out) in (first..).zip(out) {
        let (block, j) = (i / layout.n_chunks, i % layout.n_chunks);
        let (head, chunks) = panel[block * layout.block_len()..][..layout.block_len()].split_at(layout.first_chunk());
        if j == 0 || header.is_none() {
            header = Some(Header::of(layout, head));
        }
        let Some(header) = &header else { return };
        store(header.d, &mut out.d);
        for half in 0..2 {
            let run = if layout.is_halved { 2 * j + half } else { j };
            set_factors::<D>(header.factors(layout, run), &mut out.s[half]);
            if layout.has_minima {
                store(header.minima(layout, run), &mut out.m[half]);
            }
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

/// A kernel for T rows of activations.
type RowsKernel<D, const T: usize> = fn(&[Bytes16], [&[<D as Dots>::Act]; T]) -> [Lanes8; T];

/// Declares a kernel for a format's own layout.
macro_rules! rows_of {
    ($name:ident, $format:ident) => {
        #[inline(never)]
        fn $name<D: Dots, const T: usize>(panel: &[Bytes16], acts: [&[D::Act]; T]) -> [Lanes8; T] {
            const LAYOUT: Layout = match Layout::of(Format::$format) {
                Some(layout) => layout,
                None => panic!("a format of codes"),
            };
            rows::<D, T>(&LAYOUT, panel, acts)
        }
    };
}

rows_of!(rows_q5_0, Q5_0);
rows_of!(rows_q5_1, Q5_1);
rows_of!(rows_q4_k, Q4_K);
rows_of!(rows_q5_k, Q5_K);
rows_of!(rows_q6_k, Q6_K);

/// The kernel of a frequent format.
fn own_kernel<D: Dots, const T: usize>(format: Format) -> Option<RowsKernel<D, T>> {
    match format {
        Format::Q5_0 => Some(rows_q5_0::<D, T>),
        Format::Q5_1 => Some(rows_q5_1::<D, T>),
        Format::Q4_K => Some(rows_q4_k::<D, T>),
        Format::Q5_K => Some(rows_q5_k::<D, T>),
        Format::Q6_K => Some(rows_q6_k::<D, T>),
        _ => None,
    }
}

/// Tiles of panels as they are, of a format that has a kernel of its own.
struct OwnTile<D> {
    format: Format,
    dots: PhantomData<D>,
}

impl<D: Dots> Tile<Bytes16, D::Act> for OwnTile<D> {
    fn run<const T: usize>(&self, panel: &[Bytes16], acts: [&[D::Act]; T], acc: &mut [Lanes8; T]) {
        if let Some(kernel) = own_kernel::<D, T>(self.format) {
            *acc = kernel(panel, acts);
        }
    }
}

/// A panel (some blocks) times rows of activations.
pub(super) fn product(
    panels: &CodePanels,
    format: Format,
    flavour: Flavour,
    blocks: Range<usize>,
    acts: Acts<'_>,
    unpacked: &mut Unpacked,
    acc: &mut [Lanes8],
) {
    let layout = &panels.layout;
    let n = layout.block_len();
    let panel = &panels.vectors[blocks.start * n..blocks.end * n];
    match flavour {
        Flavour::Madd if HAS_8_BIT && layout.is_7_bit() => {
            product_by::<Madd>(layout, format, panel, acts.act8, unpacked, acc)
        }
        Flavour::DotAdd if HAS_8_BIT && layout.is_7_bit() => {
            product_by::<DotAdd>(layout, format, panel, acts.act8, unpacked, acc)
        }
        _ => product_by::<Wide>(layout, format, panel, acts.act16, unpacked, acc),
    }
}

fn product_by<D: Dots>(
    layout: &Layout,
    format: Format,
    panel: &[Bytes16],
    acts: &[D::Act],
    unpacked: &mut Unpacked,
    acc: &mut [Lanes8],
) {
    let n_chunks = panel.len() / layout.block_len() * layout.n_chunks;
    if acc.len() <= FEW_ROWS && own_kernel::<D, 1>(format).is_some() {
        let tile = OwnTile::<D> { format, dots: PhantomData };
        return chunk_tiles(&tile, panel, acts, 0..n_chunks, n_chunks, acc);
    }
    let unpack = |first: usize, out: &mut [Codes8]| unpack::<D>(layout, panel, first, out);
    let n_minima = if layout.has_minima { 1 + usize::from(layout.is_halved) } else { 0 };
    let (offset, codes) = (layout.offset, &mut unpacked.codes);
    match (layout.in_halves(), n_minima) {
        (true, n) => tiles(&CodeTile::<D, true, true>::new(offset, n), n_chunks, unpack, codes, acts, acc),
        (false, 0) => tiles(&CodeTile::<D, false, false>::new(offset, 0), n_chunks, unpack, codes, acts, acc),
        (false, n) => tiles(&CodeTile::<D, false, true>::new(offset, n), n_chunks, unpack, codes, acts, acc),
    }
}
