//! What other families of models than Llama need: activations, factors, learned positions, norms of heads, means, attention of
//! encoders and to them, biases by distance, convolutions. Part of the table of `cases`.

use kinglet::{
    kv::{KvFormat, KvGeometry, PageId},
    plan::{Activation, AttentionSpec, NormKind, Op, PositionBias, Rope, RopeStyle, RowIndex, Sees},
    quant::Format,
};

use super::{
    case::{Case, Maker, N_TOKENS, ROUNDED, Remembered, SUMMED, Sequence, Tolerance, maker},
    formats::whole,
};

const ACTIVATIONS: [Activation; 6] = [
    Activation::Silu,
    Activation::GeluTanh,
    Activation::Gelu,
    Activation::Relu,
    Activation::Tanh,
    Activation::Identity,
];

/// Adds them.
pub fn add(cases: &mut Vec<Case>) {
    elements(cases);
    epilogues(cases);
    tables(cases);
    for (kind, size, heads) in
        [(NormKind::Rms, 20, 3), (NormKind::Rms, 64, 2), (NormKind::Layer, 7, 5), (NormKind::Rms, 1, 9)]
    {
        [1, 5].into_iter().for_each(|rows| cases.push(heads_norm(kind, size, heads, rows)));
    }
    for (width, rows, residual_first) in [(7, 5, true), (64, 1, true), (64, 3, false), (130, 1, false)] {
        cases.push(norm_added(width, rows, residual_first));
    }
    for of_heads in [true, false] {
        for (heads, format) in [((9, 3, 64), KvFormat::F16), ((4, 1, 20), KvFormat::F32), ((5, 1, 128), KvFormat::F16)]
        {
            cases.push(normed_attention(heads, of_heads, format, 62));
        }
    }
    // In parts.
    for (start, heads, format) in
        [(510, (9, 3, 64), KvFormat::F16), (1300, (6, 1, 20), KvFormat::F32), (9000, (2, 2, 256), KvFormat::F16)]
    {
        cases.push(normed_attention(heads, true, format, start));
    }
    for (width, sequences) in [(1, &[5][..]), (7, &[1, 3]), (130, &[9, 1, 70]), (64, &[1])] {
        cases.push(mean(width, sequences));
    }
    attentions(cases);
    convolutions(cases);
}

fn elements(cases: &mut Vec<Case>) {
    for activation in ACTIVATIONS {
        for (width, rows, most) in [(1, 1, 2.0), (7, 5, 40.0), (64, 3, 4.0), (36, 2, 1000.0)] {
            cases.push(activated(activation, width, rows, most));
        }
    }
    for activation in [Activation::Gelu, Activation::Relu, Activation::Tanh] {
        [(7, 5), (64, 1)].into_iter().for_each(|(width, rows)| cases.push(gated(activation, width, rows)));
    }
    for (width, rows, cap) in [(7, 3, None), (64, 1, Some(3.0)), (33, 2, Some(0.25)), (5000, 2, Some(30.0))] {
        cases.push(scaled(width, rows, cap));
    }
    for (width, rows) in [(7, 5), (64, 1)] {
        cases.push(added(width, rows));
    }
}

fn activated(activation: Activation, width: usize, rows: usize, most: f32) -> Case {
    let m = maker(format!("{activation:?} alone {width} T{rows} to {most}"), SUMMED).plain("x", width).rows(rows);
    m.record(|b| {
        let table = b.weight("x", &[N_TOKENS, width])?;
        let x = b.embed(table, most);
        Ok(b.activate("act", x, activation))
    })
}

fn gated(activation: Activation, width: usize, rows: usize) -> Case {
    let m = maker(format!("{activation:?} {width} T{rows}"), SUMMED).plain("gate", width).plain("up", width).rows(rows);
    m.record(|b| {
        let (gate, up) = (b.weight("gate", &[N_TOKENS, width])?, b.weight("up", &[N_TOKENS, width])?);
        let (gate, up) = (b.embed(gate, 5.0), b.embed(up, 1.0));
        Ok(b.glu("glu", gate, up, activation))
    })
}

fn scaled(width: usize, rows: usize, cap: Option<f32>) -> Case {
    let m = maker(format!("scale {width} T{rows} {cap:?}"), SUMMED).plain("x", width).rows(rows);
    m.record(|b| {
        let table = b.weight("x", &[N_TOKENS, width])?;
        let x = b.embed(table, 20.0);
        Ok(b.scale("scaled", x, 0.75, cap))
    })
}

fn added(width: usize, rows: usize) -> Case {
    let m = maker(format!("scaled sum {width} T{rows}"), ROUNDED).plain("x", width).plain("y", width).rows(rows);
    m.record(|b| {
        let (x, y) = (b.weight("x", &[N_TOKENS, width])?, b.weight("y", &[N_TOKENS, width])?);
        let (x, y) = (b.embed(x, 1.0), b.embed(y, 1.0));
        Ok(b.add_scaled("sum", x, y, 0.22))
    })
}

/// Products that end in an activation, in a gate of one, in a scaled residual: of one row, of some, of many.
fn epilogues(cases: &mut Vec<Case>) {
    for (format, rows) in [(Format::F32, 1), (Format::F16, 3), (Format::Q8_0, 5), (Format::Q4_1, 40), (Format::Q4_1, 1)]
    {
        for activation in ACTIVATIONS {
            cases.push(product_and(Ending::Activate(activation), format, rows));
        }
        cases.push(product_and(Ending::Glu(Activation::Gelu), format, rows));
        cases.push(product_and(Ending::Glu(Activation::Relu), format, rows));
        cases.push(product_and(Ending::Add, format, rows));
    }
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Activate(Activation),
    Glu(Activation),
    Add,
}

fn product_and(ending: Ending, format: Format, rows: usize) -> Case {
    let (k, n) = (96, 70);
    let mut m = maker(format!("family product {} {ending:?} T{rows}", format.name()), SUMMED)
        .grid("x", k)
        .plain("r", n)
        .matrix("w.weight", n, k, format)
        .vector("w.bias", n, 0.0)
        .matrix("up.weight", n, k, format)
        .rows(rows);
    m.fused = true;
    m.record(|b| {
        let (table, residual) = (b.weight("x", &[N_TOKENS, k])?, b.weight("r", &[N_TOKENS, n])?);
        let (x, r) = (b.embed(table, 0.5), b.embed(residual, 1.0));
        let y = b.linear("y", x, "w", n)?;
        Ok(match ending {
            Ending::Activate(activation) => b.activate("act", y, activation),
            Ending::Add => b.add_scaled("sum", r, y, 0.22),
            Ending::Glu(activation) => {
                let up = b.linear("up", x, "up", n)?;
                b.glu("glu", y, up, activation)
            }
        })
    })
}

/// Learned positions and kinds of text: tables of every format, rows of every width.
fn tables(cases: &mut Vec<Case>) {
    for format in Format::ALL {
        cases.push(row_added(format, whole(format, 96), RowIndex::Position(2), 3));
    }
    for width in [1, 2, 5, 33, 36] {
        cases.push(row_added(Format::F16, width, RowIndex::Segment, 4));
        cases.push(row_added(Format::F32, width, RowIndex::Position(0), 1));
    }
}

fn row_added(format: Format, width: usize, index: RowIndex, rows: usize) -> Case {
    let n = if index == RowIndex::Segment { 2 } else { 13 };
    let m = maker(format!("row added {} {width} {index:?} T{rows}", format.name()), ROUNDED)
        .plain("x", width)
        .matrix("table", n, width, format);
    m.steps(&[&[rows], &[rows + 1]]).record(|b| {
        let table = b.weight("x", &[N_TOKENS, width])?;
        let x = b.embed(table, 1.0);
        let table = b.weight("table", &[n, width])?;
        Ok(b.add_row("sum", x, table, index))
    })
}

/// Each head by itself.
fn heads_norm(kind: NormKind, size: usize, heads: usize, rows: usize) -> Case {
    let width = heads * size;
    let m = maker(format!("heads' {kind:?} norm {heads}x{size} T{rows}"), SUMMED)
        .plain("x", width)
        .vector("norm.weight", size, 1.0)
        .vector("norm.bias", size, 0.0)
        .rows(rows);
    m.record_and_edit(
        |b| {
            let table = b.weight("x", &[N_TOKENS, width])?;
            let x = b.embed(table, 3.0);
            b.heads_rms_norm("normed", x, "norm.weight", size, 1e-5)
        },
        |plan, weights| {
            for op in &mut plan.ops {
                if let (Op::Norm { norm, .. }, NormKind::Layer) = (op, kind) {
                    norm.kind = kind;
                    norm.bias = weights.find("norm.bias");
                }
            }
        },
    )
}

/// A residual and what was normalised, in either order.
fn norm_added(width: usize, rows: usize, residual_first: bool) -> Case {
    let m = maker(format!("norm and sum {width} T{rows} {residual_first}"), SUMMED)
        .plain("x", width)
        .plain("y", width)
        .vector("norm.weight", width, 1.0)
        .rows(rows);
    m.record(|b| {
        let (x, y) = (b.weight("x", &[N_TOKENS, width])?, b.weight("y", &[N_TOKENS, width])?);
        let (x, y) = (b.embed(x, 3.0), b.embed(y, 1.0));
        let normed = b.rms_norm("normed", x, "norm.weight", 1e-5)?;
        Ok(if residual_first { b.add_scaled("sum", y, normed, 0.5) } else { b.add("sum", normed, y) })
    })
}

/// One row at a time, behind others, whose q and k are normalised, rotated and appended.
fn normed_attention(
    (heads, kv_heads, size): (usize, usize, usize),
    of_heads: bool,
    format: KvFormat,
    start: usize,
) -> Case {
    let run_len = |heads: usize| if of_heads { size } else { heads * size };
    let runs = if of_heads { "heads" } else { "rows" };
    let mut m = maker(format!("attention of normed {runs} {heads}/{kv_heads}x{size} {format:?} from {start}"), SUMMED)
        .plain("q", heads * size)
        .plain("k", kv_heads * size)
        .plain("v", kv_heads * size)
        .vector("q_norm.weight", run_len(heads), 1.0)
        .vector("k_norm.weight", run_len(kv_heads), 1.0);
    m.geometry = KvGeometry { layers: 1, kv_heads, head_size: size, format };
    m.tolerance = match format {
        // As of attention without norms (`cases`).
        KvFormat::F16 => Tolerance { name: "attended, f16", abs: 2e-3, rel: 1e-3, outliers: 0.0, nmse: 1e-8 },
        _ => SUMMED,
    };
    m.fused = true;
    let pages = (0..start as u32 / 64 + 2).rev().map(PageId).collect();
    m.sequences = vec![Sequence { pages, start }];
    m.steps = vec![vec![1]; 4];
    m.record(|b| {
        let mut input = |name: &str, width| b.weight(name, &[N_TOKENS, width]).map(|table| b.embed(table, 2.0));
        let (q, k, v) = (input("q", heads * size)?, input("k", kv_heads * size)?, input("v", kv_heads * size)?);
        let q = b.heads_rms_norm("q_normed", q, "q_norm.weight", run_len(heads), 1e-5)?;
        let k = b.heads_rms_norm("k_normed", k, "k_norm.weight", run_len(kv_heads), 1e-5)?;
        let rope = Rope {
            style: RopeStyle::Neox,
            head_size: size,
            dims: size,
            base: 10_000.0,
            frequency_scale: 1.0,
            factors: None,
        };
        let (q, k) = (b.rope("q_rope", q, heads, rope), b.rope("k_rope", k, kv_heads, rope));
        b.kv_write(0, k, v);
        Ok(b.attention("attended", q, AttentionSpec::causal(0, heads, kv_heads, size)))
    })
}

/// Pooling of some sequences, each asked for by several of its rows.
fn mean(width: usize, sequences: &[usize]) -> Case {
    let mut m = maker(format!("mean {width} of {sequences:?}"), SUMMED).plain("x", width).steps(&[sequences]);
    m.sequences = many_sequences(sequences);
    m.output_every = 2;
    m.is_whole = true;
    m.record(|b| {
        let table = b.weight("x", &[N_TOKENS, width])?;
        let x = b.embed(table, 3.0);
        Ok(b.mean_rows("mean", x))
    })
}

/// Pages for sequences of these lengths, shuffled into each other.
fn many_sequences(lens: &[usize]) -> Vec<Sequence> {
    let n_pages = |len: usize| len.div_ceil(64).max(1);
    let mut next = lens.iter().map(|len| n_pages(*len)).sum::<usize>() as u32;
    let page = |next: &mut u32| {
        *next -= 1;
        PageId(*next)
    };
    lens.iter().map(|len| Sequence { pages: (0..n_pages(*len)).map(|_| page(&mut next)).collect(), start: 0 }).collect()
}

/// What is special about an attention.
#[derive(Clone, Copy)]
struct Special {
    name: &'static str,
    sees: Sees,
    window: Option<usize>,
    soft_cap: Option<f32>,
    /// Buckets, furthest distance.
    bias: Option<(usize, usize)>,
    /// Heads that the cache has and the operations do not.
    spare_heads: usize,
}

const PLAIN: Special = Special { name: "", sees: Sees::Past, window: None, soft_cap: None, bias: None, spare_heads: 0 };

/// Few rows and many, heads of every size, both formats of the cache.
fn attentions(cases: &mut Vec<Case>) {
    let capped = Special { name: "capped", soft_cap: Some(0.5), ..PLAIN };
    let window = Special { name: "capped in a window", window: Some(17), ..capped };
    let bias = Special { name: "by distance", bias: Some((8, 20)), ..PLAIN };
    let all = Special { name: "capped by distance in a window", window: Some(34), soft_cap: Some(2.0), ..bias };
    let few: &[&[usize]] = &[&[3], &[1], &[5], &[1]];
    let many: &[&[usize]] = &[&[70], &[1], &[30]];
    let (f16, f32) = (KvFormat::F16, KvFormat::F32);
    for (special, heads, steps, format) in [
        (capped, (4, 2, 20), few, f16),
        (capped, (4, 2, 20), many, f32),
        (window, (9, 1, 12), many, f16),
        (bias, (6, 3, 12), few, f32),
        (bias, (6, 3, 12), many, f16),
        (all, (4, 1, 100), many, f32),
        (all, (4, 1, 100), few, f16),
    ] {
        cases.push(attention(special, heads, steps, &[], format));
    }

    let whole = Special { name: "whole", sees: Sees::Whole, ..PLAIN };
    let whole_window = Special { name: "whole in a window", window: Some(5), ..whole };
    let whole_bias = Special { name: "whole by distance", bias: Some((32, 128)), ..whole };
    let whole_near = Special { name: "whole by near distance", bias: Some((4, 3)), soft_cap: Some(3.0), ..whole };
    for (special, heads, steps, format) in [
        (whole, (4, 4, 32), &[&[6][..], &[1]][..], f16),
        (whole, (2, 2, 64), &[&[150]], f16),
        (whole, (3, 1, 12), &[&[5, 40, 1, 70]], f32),
        (whole_window, (4, 2, 20), &[&[3, 5]], f32),
        (whole_window, (4, 2, 20), &[&[9, 80, 2]], f16),
        (whole_bias, (2, 2, 16), &[&[4, 3], &[8, 0]], f32),
        (whole_bias, (2, 2, 16), &[&[140, 3]], f32),
        (whole_near, (4, 2, 8), &[&[66, 20]], f16),
    ] {
        cases.push(attention(special, heads, steps, &[], format));
    }

    // A layer with fewer heads than the cache has room for.
    for (steps, format) in [(few, f16), (many, f32)] {
        let fewer = Special { name: "of fewer heads", spare_heads: 2, ..PLAIN };
        cases.push(attention(fewer, (4, 2, 20), steps, &[], format));
        cases.push(attention(fewer, (3, 1, 12), steps, &[], format));
    }

    let memory = Special { name: "to memory", sees: Sees::Memory, ..PLAIN };
    let memory_capped = Special { name: "to memory, capped", soft_cap: Some(1.0), ..memory };
    for (special, heads, steps, memories, format) in [
        (memory, (4, 4, 16), &[&[1][..], &[3], &[1]][..], &[70][..], f16),
        (memory, (6, 2, 20), &[&[1, 2], &[2, 3]], &[3, 129], f32),
        (memory_capped, (4, 1, 12), &[&[5, 30, 1], &[1, 1, 1]], &[64, 1, 200], f16),
    ] {
        cases.push(attention(special, heads, steps, memories, format));
    }
}

fn attention(
    special: Special,
    (heads, kv_heads, size): (usize, usize, usize),
    steps: &[&[usize]],
    memories: &[usize],
    format: KvFormat,
) -> Case {
    let Special { name, sees, window, soft_cap, bias, spare_heads } = special;
    let n_rows = steps.iter().map(|s| s.iter().sum::<usize>()).max().unwrap_or(0);
    let name = format!("family attention {name} {heads}/{kv_heads}x{size} {format:?} T{n_rows}");
    let (n_buckets, max_distance) = bias.unwrap_or((2, 3));
    let mut m = maker(name, SUMMED)
        .plain("q", heads * size)
        .plain("k", kv_heads * size)
        .plain("v", kv_heads * size)
        .matrix("bias", n_buckets, heads, Format::F32)
        .steps(steps);
    m.geometry = KvGeometry { layers: 2, kv_heads: kv_heads + spare_heads, head_size: size, format };
    m.is_whole = sees == Sees::Whole;
    m.fused = spare_heads > 0;
    m.kept = if m.fused { &["own", "attended"] } else { &[] };
    if format == KvFormat::F16 {
        m.tolerance = Tolerance { name: "attended, f16", abs: 2e-3, rel: 1e-3, outliers: 0.0, nmse: 1e-8 };
    }
    let lens: Vec<usize> = (0..steps[0].len()).map(|s| steps.iter().map(|step| step[s]).sum()).collect();
    m.sequences = many_sequences(&lens);
    remember(&mut m, memories);
    m.record(|b| {
        let mut input = |name: &str, width| b.weight(name, &[N_TOKENS, width]).map(|table| b.embed(table, 2.0));
        let (q, k, v) = (input("q", heads * size)?, input("k", kv_heads * size)?, input("v", kv_heads * size)?);
        let bias = bias.map(|_| PositionBias {
            table: b.weight("bias", &[n_buckets, heads]).expect("it is there"),
            max_distance,
            both_sides: sees == Sees::Whole,
        });
        let causal = AttentionSpec::causal(1, heads, kv_heads, size);
        let spec = AttentionSpec { sees, window, soft_cap, bias, ..causal };
        if spare_heads > 0 {
            // Rotated together with the write, too.
            let rope = Rope {
                style: RopeStyle::Neox,
                head_size: size,
                dims: size,
                base: 100.0,
                frequency_scale: 1.0,
                factors: None,
            };
            let (rotated_q, rotated_k) = (b.rope("q_rope", q, heads, rope), b.rope("k_rope", k, kv_heads, rope));
            b.kv_write(0, rotated_k, v);
            b.attention("own", rotated_q, AttentionSpec { layer: 0, ..causal });
        }
        if sees == Sees::Memory {
            // The memory is in one layer, the own past in another.
            b.kv_write(0, k, v);
            let own = b.attention("own", q, AttentionSpec { layer: 0, ..causal });
            let sum = b.add("sum", q, own);
            return Ok(b.attention("attended", sum, spec));
        }
        b.kv_write(1, k, v);
        Ok(b.attention("attended", q, spec))
    })
}

/// Memories of these lengths, in pages behind those of the sequences.
fn remember(m: &mut Maker, lens: &[usize]) {
    let mut next = m.sequences.iter().map(|s| s.pages.len()).sum::<usize>() as u32;
    for n_positions in lens {
        let pages = (next..next + n_positions.div_ceil(64) as u32).rev().map(PageId).collect::<Vec<_>>();
        next += pages.len() as u32;
        m.memories.push(Remembered { pages, n_positions: *n_positions });
    }
}

/// All channels of the cache, fewer, an odd number; taps of any number and format; several sequences; text that goes on.
fn convolutions(cases: &mut Vec<Case>) {
    let one: &[&[usize]] = &[&[1], &[1], &[2], &[4]];
    let long: &[&[usize]] = &[&[63], &[1], &[70]];
    let two: &[&[usize]] = &[&[2, 5], &[60, 1], &[1, 3]];
    for (width, n_taps, steps, format) in [
        (48, 3, one, KvFormat::F32),
        (48, 4, two, KvFormat::F16),
        (33, 3, long, KvFormat::F16),
        (20, 1, two, KvFormat::F32),
        (7, 5, long, KvFormat::F32),
    ] {
        cases.push(convolution(width, n_taps, steps, format));
    }
}

fn convolution(width: usize, n_taps: usize, steps: &[&[usize]], format: KvFormat) -> Case {
    let mut m = maker(format!("convolution {width}x{n_taps} {format:?}"), ROUNDED)
        .plain("x", width)
        .matrix("taps", width, n_taps, if n_taps == 3 { Format::F32 } else { Format::F16 })
        .steps(steps);
    m.geometry = KvGeometry { layers: 3, kv_heads: 2, head_size: 12, format };
    let lens: Vec<usize> = (0..steps[0].len()).map(|s| steps.iter().map(|step| step[s]).sum()).collect();
    m.sequences = many_sequences(&lens);
    m.record(|b| {
        let table = b.weight("x", &[N_TOKENS, width])?;
        let x = b.embed(table, 1.0);
        let taps = b.weight("taps", &[width, n_taps])?;
        Ok(b.short_conv("convolved", 2, x, taps))
    })
}
