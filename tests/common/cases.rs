//! One table of cases for the operations of a plan: formats, awkward sizes, numbers of rows. Used by tests/ops.rs (natively and
//! in a browser) and by the kernel bench.

use kinglet::{
    kv::{KvFormat, KvGeometry, PageId},
    plan::{Activation, AttentionSpec, Lora, NormKind, Op, Rope, RopeStyle},
    quant::Format,
};

use super::{
    case::{Case, EXACT, Maker, N_TOKENS, QUANTIZED, ROUNDED, SUMMED, Sequence, Tolerance, maker},
    family_cases,
    formats::{PLAIN, coded, whole},
    logit_cases, odd_products,
};

/// Numbers of rows of a step: every tail of the tiles, one and two full ones, a prefill slice.
const ROWS: [usize; 7] = [1, 2, 3, 4, 5, 8, 64];

fn is_float(format: Format) -> bool {
    format.block_len() == 1
}

/// A product [rows, k] × [n, k]ᵀ of grid inputs.
pub fn product(format: Format, n: usize, k: usize, rows: usize) -> Case {
    maker(format!("product {} {n}x{k} T{rows}", format.name()), SUMMED)
        .grid("x", k)
        .matrix("w.weight", n, k, format)
        .rows(rows)
        .record(|b| {
            let table = b.weight("x", &[N_TOKENS, k])?;
            let x = b.embed(table, 1.0);
            b.linear("y", x, "w", n)
        })
}

/// The same product again and again in one step, for the bench; nothing is read back.
pub fn repeated_product(format: Format, n: usize, k: usize, rows: usize, repeats: usize) -> Case {
    let mut m = maker(format!("product {} {n}x{k} T{rows} {repeats} times", format.name()), SUMMED)
        .grid("x", k)
        .matrix("w.weight", n, k, format)
        .rows(rows);
    m.untapped = true;
    m.record(|b| {
        let table = b.weight("x", &[N_TOKENS, k])?;
        let x = b.embed(table, 1.0);
        let products = (0..repeats).map(|i| b.linear(&format!("y.{i}"), x, "w", n)).collect::<Result<Vec<_>, _>>()?;
        Ok(products[repeats - 1])
    })
}

/// Products: every format with every number of rows; row counts that are no multiple of a panel; K that is no power of two, of
/// one block, of an odd number of weights, and over the room for unpacked panels.
fn products(formats: &[Format], cases: &mut Vec<Case>) {
    for &format in formats {
        let product = |n, k, rows| product(format, n, whole(format, k), rows);
        cases.extend(ROWS.map(|rows| product(7, 576, rows)));
        // Of the formats of codes less, there are many; and no single product, it may be near zero by chance.
        let shapes = match PLAIN.contains(&format) {
            true => [(1, 576, 1), (1, 576, 64), (192, 576, 3), (576, 1536, 1), (576, 1536, 5), (1536, 576, 2)],
            false => [(2, 576, 1), (2, 576, 64), (65, 576, 3), (40, 1536, 1), (40, 1536, 5), (96, 576, 2)],
        };
        cases.extend(shapes.map(|(n, k, rows)| product(n, k, rows)));
        for rows in [1, 7] {
            cases.push(product(9, 32, rows));
            cases.push(product(20, 2112, rows));
        }
        if is_float(format) {
            for rows in [1, 2, 5] {
                cases.push(product(64, 172, rows));
                cases.push(product(3, 1, rows));
                cases.push(product(8, 33, rows));
            }
        }
    }
}

/// The head of a model, and a large table.
fn large_products(cases: &mut Vec<Case>) {
    cases.push(product(Format::Q8_0, 49152, 576, 1));
    cases.push(product(Format::Q4_1, 49152, 576, 2));
}

/// Fused products: norm before; bias, several parts of several formats, residual or gate after; low-rank operands.
fn fused_products(formats: &[Format], cases: &mut Vec<Case>) {
    for &format in formats {
        let tolerance = if is_float(format) { SUMMED } else { QUANTIZED };
        for rows in [1, 4, 7] {
            cases.push(norm_product(format, tolerance, rows));
            cases.push(gated(format, rows, if rows == 4 { Activation::GeluTanh } else { Activation::Silu }));
            cases.push(residual(format, rows));
        }
        cases.push(low_rank(format, 1));
        cases.push(low_rank(format, 6));
    }
}

/// q | k | v with biases and different formats, from one norm.
pub fn norm_product(format: Format, tolerance: Tolerance, rows: usize) -> Case {
    let k = whole(format, 576);
    let mut m = maker(format!("norm and three products {} T{rows}", format.name()), tolerance)
        .plain("x", k)
        .vector("norm.weight", k, 1.0)
        .matrix("q.weight", 192, k, format)
        .vector("q.bias", 192, 0.0)
        .matrix("k.weight", 7, k, Format::Q8_0)
        .matrix("v.weight", 65, k, Format::F16)
        .vector("v.bias", 65, 0.0)
        .rows(rows);
    // k is quantized whatever q is.
    m.tolerance = if m.tolerance.name == "summed" { QUANTIZED } else { m.tolerance };
    m.fused = true;
    m.kept = &["k", "v"];
    m.record(|b| {
        let table = b.weight("x", &[N_TOKENS, k])?;
        let x = b.embed(table, 1.0);
        let normed = b.rms_norm("normed", x, "norm.weight", 1e-5)?;
        let q = b.linear("q", normed, "q", 192)?;
        let k = b.linear("k", normed, "k", 7)?;
        let v = b.linear("v", normed, "v", 65)?;
        let _ = (k, v);
        Ok(q)
    })
}

/// act(gate) ⊙ up.
pub fn gated(format: Format, rows: usize, activation: Activation) -> Case {
    let k = whole(format, 576);
    let mut m = maker(format!("gated product {} T{rows}", format.name()), SUMMED)
        .grid("x", k)
        .matrix("gate.weight", 193, k, format)
        .matrix("up.weight", 193, k, format)
        .rows(rows);
    m.fused = true;
    m.record(|b| {
        let table = b.weight("x", &[N_TOKENS, k])?;
        let x = b.embed(table, 1.0);
        let gate = b.linear("gate", x, "gate", 193)?;
        let up = b.linear("up", x, "up", 193)?;
        Ok(b.glu("glu", gate, up, activation))
    })
}

/// residual + product.
pub fn residual(format: Format, rows: usize) -> Case {
    let k = whole(format, 96);
    let mut m = maker(format!("product and residual {} T{rows}", format.name()), SUMMED)
        .grid("x", k)
        .plain("r", 100)
        .matrix("w.weight", 100, k, format)
        .vector("w.bias", 100, 0.0)
        .rows(rows);
    m.fused = true;
    m.record(|b| {
        let (table, residual) = (b.weight("x", &[N_TOKENS, k])?, b.weight("r", &[N_TOKENS, 100])?);
        let (x, r) = (b.embed(table, 1.0), b.embed(residual, 1.0));
        let y = b.linear("y", x, "w", 100)?;
        Ok(b.add("sum", r, y))
    })
}

/// Rank 5 in f32 (a block where the format has blocks), with a scale.
fn low_rank(format: Format, rows: usize) -> Case {
    let (k, rank) = (whole(format, 96), if is_float(format) { 5 } else { format.block_len() });
    let tolerance = if is_float(format) { SUMMED } else { QUANTIZED };
    maker(format!("low-rank {} T{rows}", format.name()), tolerance)
        .grid("x", k)
        .matrix("w.weight", 20, k, format)
        .matrix("a", rank, k, format)
        .matrix("b", 20, rank, format)
        .rows(rows)
        .record_and_edit(
            |b| {
                let table = b.weight("x", &[N_TOKENS, k])?;
                let x = b.embed(table, 1.0);
                b.linear("y", x, "w", 20)
            },
            |plan, weights| {
                let find = |name: &str| weights.find(name).expect("the case has it");
                for op in &mut plan.ops {
                    if let Op::MatMul(m) = op {
                        m.parts[0].lora = Some(Lora { a: find("a"), b: find("b"), scale: 0.75 });
                    }
                }
            },
        )
}

/// Norms at any width, gates, sums, embeddings of every format, the choice of rows.
fn rows_alone(formats: &[Format], cases: &mut Vec<Case>) {
    for width in [1, 7, 64, 576, 1537] {
        for rows in [1, 5] {
            cases.push(norm(NormKind::Rms, width, rows));
            cases.push(norm(NormKind::Layer, width, rows));
            cases.push(glu(Activation::Silu, width, rows));
            cases.push(glu(Activation::GeluTanh, width, rows));
        }
    }
    for &format in formats {
        cases.push(embedding(format, whole(format, 96), 3));
    }
    cases.push(embedding(Format::F16, 33, 1));
    let mut some = maker("some rows ask", EXACT).plain("x", 40).rows(10);
    some.output_every = 3;
    cases.push(some.record(|b| {
        let table = b.weight("x", &[N_TOKENS, 40])?;
        Ok(b.embed(table, 1.0))
    }));
}

/// Norms, biases and rope factors may come in any format.
fn vectors(formats: &[Format], cases: &mut Vec<Case>) {
    for &format in formats {
        let m = maker(format!("norm and bias {}", format.name()), QUANTIZED)
            .plain("x", 256)
            .vector_of("norm.weight", 256, format)
            .matrix("w.weight", 256, 256, Format::Q8_0)
            .vector_of("w.bias", 256, format)
            .rows(2);
        cases.push(m.record(|b| {
            let table = b.weight("x", &[N_TOKENS, 256])?;
            let x = b.embed(table, 3.0);
            let normed = b.rms_norm("normed", x, "norm.weight", 1e-5)?;
            b.linear("y", normed, "w", 256)
        }));
    }
}

fn norm(kind: NormKind, width: usize, rows: usize) -> Case {
    let m = maker(format!("{kind:?} norm {width} T{rows}"), SUMMED)
        .plain("x", width)
        .vector("norm.weight", width, 1.0)
        .vector("norm.bias", width, 0.0)
        .rows(rows);
    m.record_and_edit(
        |b| {
            let table = b.weight("x", &[N_TOKENS, width])?;
            let x = b.embed(table, 3.0);
            b.rms_norm("normed", x, "norm.weight", 1e-5)
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

fn glu(activation: Activation, width: usize, rows: usize) -> Case {
    // Gates from -40 to 40: e^x far out too.
    glu_from(activation, width, rows, 40.0)
}

/// Gates from `-most` to `most`.
fn glu_from(activation: Activation, width: usize, rows: usize, most: f32) -> Case {
    let name = if most == 40.0 { String::new() } else { format!(" to {most}") };
    let m = maker(format!("{activation:?} {width} T{rows}{name}"), SUMMED);
    m.plain("gate", width).plain("up", width).rows(rows).record(|b| {
        let (gate, up) = (b.weight("gate", &[N_TOKENS, width])?, b.weight("up", &[N_TOKENS, width])?);
        let (gate, up) = (b.embed(gate, most), b.embed(up, 1.0));
        let sum = b.add("sum", gate, up);
        Ok(b.glu("glu", sum, up, activation))
    })
}

fn embedding(format: Format, width: usize, rows: usize) -> Case {
    let m = maker(format!("embedding {} {width}", format.name()), ROUNDED);
    let m = m.matrix("table", N_TOKENS, width, format).rows(rows);
    m.record(|b| {
        let table = b.weight("table", &[N_TOKENS, width])?;
        Ok(b.embed(table, 1.5))
    })
}

/// A head and its heads.
#[derive(Clone, Copy)]
struct Heads {
    heads: usize,
    kv_heads: usize,
    size: usize,
    format: KvFormat,
}

/// Rotation and attention: head sizes that are no multiple of 8, groups of every width of the tiles, a window, several pages,
/// two sequences with a common page.
fn attentions(cases: &mut Vec<Case>) {
    for format in [KvFormat::F16, KvFormat::F32] {
        attentions_in(format, &[(9, 3, 64), (2, 2, 16), (8, 1, 20), (5, 1, 100)], cases);
    }
}

/// The same with keys and values in blocks, one and several of a head.
pub fn attentions_q8_0() -> Vec<Case> {
    let mut cases = vec![];
    attentions_in(KvFormat::Q8_0, &[(9, 3, 64), (2, 2, 32), (8, 1, 96), (5, 1, 128)], &mut cases);
    let h = Heads { heads: 4, kv_heads: 2, size: 32, format: KvFormat::Q8_0 };
    cases.push(attention("a long text", h, None, &[&[400], &[400], &[300], &[1]], true));
    cases
}

fn attentions_in(format: KvFormat, shapes: &[(usize, usize, usize)], cases: &mut Vec<Case>) {
    for &(heads, kv_heads, size) in shapes {
        let h = Heads { heads, kv_heads, size, format };
        for fused in [false, true] {
            cases.push(attention("alone", h, None, &[&[1], &[1], &[1]], fused));
            cases.push(attention("pages", h, None, &[&[70], &[1], &[6], &[60]], fused));
        }
        cases.push(attention("window", h, Some(17), &[&[60], &[30], &[1]], true));
        cases.push(attention("wide window", h, Some(100), &[&[140], &[1]], false));
    }
    let h = Heads { heads: 6, kv_heads: 2, size: 32, format };
    let mut shared = attention_maker("a common page", h);
    shared.sequences = vec![
        Sequence { pages: vec![PageId(4), PageId(0)], start: 0 },
        Sequence { pages: vec![PageId(4), PageId(2), PageId(1)], start: 64 },
    ];
    shared.steps = vec![vec![64, 0], vec![5, 66], vec![1, 1]];
    cases.push(record_attention(shared, h, None));
}

fn attention_maker(name: &str, h: Heads) -> Maker {
    let Heads { heads, kv_heads, size, format } = h;
    let mut m = maker(format!("attention {name} {heads}/{kv_heads}x{size} {format:?}"), SUMMED)
        .plain("q", heads * size)
        .plain("k", kv_heads * size)
        .plain("v", kv_heads * size);
    let pairs = (size / 2).div_ceil(2);
    m = m.vector("factors", pairs, 1.5);
    m.geometry = KvGeometry { layers: 2, kv_heads, head_size: size, format };
    // A key rounded to f16 the other way, because it was one f32 step off, moves a score by 2⁻¹¹ of a product, and one of a block by
    // 2⁻⁷; queries of 12 bits move all scores by 2⁻¹² of their products.
    m.tolerance = match format {
        KvFormat::F16 => Tolerance { name: "attended, f16", abs: 2e-3, rel: 1e-3, outliers: 0.0, nmse: 1e-8 },
        KvFormat::F32 => SUMMED,
        KvFormat::Q8_0 => Tolerance { name: "attended, q8_0", abs: 5e-3, rel: 1e-3, outliers: 0.0, nmse: 2e-7 },
    };
    m
}

fn attention(name: &str, h: Heads, window: Option<usize>, steps: &[&[usize]], fused: bool) -> Case {
    let name = if fused { format!("{name}, fused") } else { name.into() };
    let mut m = attention_maker(&name, h).steps(steps);
    let n_positions: usize = steps.iter().copied().flatten().sum();
    let pages = &mut m.sequences[0].pages;
    pages.extend((pages.len()..n_positions.div_ceil(64)).map(|i| PageId(i as u32)));
    m.fused = fused;
    record_attention(m, h, window)
}

fn record_attention(m: Maker, h: Heads, window: Option<usize>) -> Case {
    let Heads { heads, kv_heads, size, .. } = h;
    m.record(|b| {
        let mut input = |name: &str, width| b.weight(name, &[N_TOKENS, width]).map(|table| b.embed(table, 2.0));
        let (q, k, v) = (input("q", heads * size)?, input("k", kv_heads * size)?, input("v", kv_heads * size)?);
        // Not all elements are rotated; the style goes with the parity of the head count.
        let dims = (size / 2).next_multiple_of(2);
        let rope = Rope {
            style: if heads.is_multiple_of(2) { RopeStyle::Norm } else { RopeStyle::Neox },
            head_size: size,
            dims,
            base: 10_000.0,
            frequency_scale: 0.5,
            factors: b.optional_weight("factors", &[dims / 2])?,
        };
        let q = b.rope("q_rope", q, heads, rope);
        let k = b.rope("k_rope", k, kv_heads, rope);
        b.kv_write(1, k, v);
        let scale = 1.0 / (size as f32).sqrt();
        Ok(b.attention(
            "attended",
            q,
            AttentionSpec { scale, window, ..AttentionSpec::causal(1, heads, kv_heads, size) },
        ))
    })
}

/// What lies far out: large gates, heads of every size that models have, groups of many queries, more than a thousand positions,
/// rotations at positions that f32 angles cannot tell apart.
fn far(cases: &mut Vec<Case>) {
    let heads = |heads, kv_heads, size, format| Heads { heads, kv_heads, size, format };
    for activation in [Activation::Silu, Activation::GeluTanh] {
        cases.push(glu_from(activation, 36, 3, 1000.0));
    }
    for style in [RopeStyle::Norm, RopeStyle::Neox] {
        for start in [0, 4095, 100_000, 131_070] {
            cases.push(rotation(style, start));
        }
    }
    for h in [heads(4, 2, 128, KvFormat::F16), heads(3, 1, 256, KvFormat::F16), heads(16, 1, 32, KvFormat::F32)] {
        cases.push(attention("one by one", h, None, &[&[1][..]; 5], true));
        cases.push(attention("many", h, None, &[&[70], &[67]], true));
    }
    cases.push(attention("eight by eight", heads(14, 2, 80, KvFormat::F16), Some(37), &[&[8][..]; 10], true));
    let small = heads(4, 2, 32, KvFormat::F16);
    let tiny = heads(2, 1, 16, KvFormat::F16);
    cases.push(attention("a long text, eight by eight", tiny, None, &[&[8][..]; 140], true));
    cases.push(attention("a long text", small, None, &[&[400], &[400], &[300], &[1]], true));
    cases.push(attention("a window on a long text", small, Some(300), &[&[400], &[400], &[1]], false));
    for rows in [5, 20] {
        cases.push(two_texts(small, rows));
        cases.push(far_attention(small, rows));
    }
}

/// Two sequences that have nothing in common, side by side in every step.
fn two_texts(h: Heads, rows: usize) -> Case {
    let mut m = attention_maker(&format!("two texts T{rows}"), h);
    m.sequences = vec![
        Sequence { pages: vec![PageId(3), PageId(0)], start: 0 },
        Sequence { pages: vec![PageId(1), PageId(2)], start: 0 },
    ];
    m.steps = vec![vec![rows - 2, 2], vec![1, rows - 1], vec![1, 1]];
    record_attention(m, h, None)
}

/// A window at position 100,000, over pages of which only the last are there.
fn far_attention(h: Heads, rows: usize) -> Case {
    let start = 100_000;
    let mut m = attention_maker(&format!("far out T{rows}"), h);
    let mut pages = vec![PageId(0); start / 64];
    pages.extend([PageId(1), PageId(2)]);
    m.sequences = vec![Sequence { pages, start }];
    m.steps = vec![vec![rows], vec![rows], vec![rows]];
    m.fused = true;
    record_attention(m, h, Some(29))
}

/// Rotation alone, to the last bits.
fn rotation(style: RopeStyle, start: usize) -> Case {
    let mut m = maker(format!("rotation {style:?} from {start}"), ROUNDED).plain("x", 3 * 20).vector("factors", 7, 1.5);
    m.sequences = vec![Sequence { pages: vec![PageId(0); start / 64 + 1], start }];
    m.record(|b| {
        let table = b.weight("x", &[N_TOKENS, 3 * 20])?;
        let x = b.embed(table, 2.0);
        let factors = b.optional_weight("factors", &[7])?;
        let rope = Rope { style, head_size: 20, dims: 14, base: 10_000.0, frequency_scale: 1.0, factors };
        Ok(b.rope("rotated", x, 3, rope))
    })
}

/// Every case.
pub fn all() -> Vec<Case> {
    let mut cases = vec![];
    products(&Format::ALL, &mut cases);
    large_products(&mut cases);
    fused_products(&Format::ALL, &mut cases);
    rows_alone(&Format::ALL, &mut cases);
    vectors(&Format::ALL, &mut cases);
    attentions(&mut cases);
    far(&mut cases);
    odd_products::add(&mut cases);
    family_cases::add(&mut cases);
    logit_cases::add(&mut cases);
    cases
}

/// Those that run on a GPU. There all formats are the same text but for how a block is read, so that the whole table is run with a
/// few of them, and of each other one case per place where blocks are read: by one row of x, by some, by many, by row of the table.
pub fn on_gpu() -> Vec<Case> {
    const EVERYWHERE: [Format; 4] = [Format::F32, Format::F16, Format::Q4_1, Format::Q8_0];
    let reads = |case: &Case| {
        let (name, rows) = (&case.name, [" T1", " T5", " T64"]);
        let is_small = name.starts_with("product ") && name.contains(" 7x") && rows.iter().any(|r| name.ends_with(r));
        is_small || name.starts_with("embedding ") || name.starts_with("row added ") || name.starts_with("mixed ")
    };
    all().into_iter().filter(|case| case.is_of(&EVERYWHERE) || reads(case)).chain(attentions_q8_0()).collect()
}

/// The cases whose results must have the same bits everywhere, in groups with the [`hash`] of all their results. The same
/// constants are compared natively and in a browser, with either flavour of kernels.
pub fn golden() -> Vec<(&'static str, Vec<Case>, u64)> {
    let of = |make: &dyn Fn(&mut Vec<Case>)| {
        let mut cases = vec![];
        make(&mut cases);
        cases.retain(|c| c.n_weights() < 1 << 20);
        cases
    };
    vec![
        ("products", of(&|cases| products(&PLAIN, cases)), 0xe722_5c8b_7d31_78b9),
        ("fused products", of(&|cases| fused_products(&PLAIN, cases)), 0x3f29_c500_0ab3_2609),
        ("rows alone", of(&|cases| rows_alone(&PLAIN, cases)), 0x1020_2661_c4e5_6bf8),
        ("products of codes", of(&|cases| products(&coded(), cases)), 0x0b2e_081d_4449_3cd1),
        ("fused products of codes", of(&|cases| fused_products(&coded(), cases)), 0x6278_7c77_b2bb_a5c8),
        ("vectors", of(&|cases| vectors(&Format::ALL, cases)), 0x61c4_6a7c_c04c_e1c9),
        ("attention", of(&attentions), 0x0b02_8859_ff5a_5af5),
        ("attention in q8_0", attentions_q8_0(), 0xaa73_0cba_8007_267b),
        ("far", of(&far), 0x0eb7_3208_dcef_0bba),
        ("other families", of(&family_cases::add), 0x58a3_6c73_6289_7a99),
    ]
}
