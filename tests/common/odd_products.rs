//! Products that do not fit one operation of an executor: other formats side by side, low-rank parts with an epilogue, a norm
//! that cannot be folded, more parts than a kernel may have outputs, a table that is both read by row and multiplied with.
//! Part of the table of `cases`.

use kinglet::{
    plan::{Activation, Lora, NormKind, Op},
    quant::Format,
};

use super::case::{Case, N_TOKENS, QUANTIZED, SUMMED, maker};

/// Adds them, with numbers of rows for every kernel.
pub fn add(cases: &mut Vec<Case>) {
    for rows in [1, 3, 12] {
        cases.push(gated_low_rank(Format::Q4_0, Format::Q8_0, rows, false));
        cases.push(gated_low_rank(Format::Q4_1, Format::Q4_1, rows, true));
        cases.push(layer_norm_product(rows));
        cases.push(four_parts(rows));
        cases.push(tied(rows));
        cases.push(mixed(rows));
    }
}

/// residual + act(gate) ⊙ up · down, with gate and up of two formats, or all of them with low-rank parts.
fn gated_low_rank(gate: Format, up: Format, rows: usize, has_lora: bool) -> Case {
    let lora = if has_lora { ", low-rank" } else { "" };
    let mut m = maker(format!("gated product {}/{}{lora} T{rows}", gate.name(), up.name()), QUANTIZED)
        .grid("x", 96)
        .matrix("gate.weight", 64, 96, gate)
        .vector("gate.bias", 64, 0.0)
        .matrix("up.weight", 64, 96, up)
        .vector("up.bias", 64, 0.0)
        .matrix("down.weight", 96, 64, gate)
        .matrix("a", 32, 96, Format::Q8_0)
        .matrix("b", 64, 32, Format::F16)
        .matrix("down_a", 5, 64, Format::F32)
        .matrix("down_b", 96, 5, Format::F32)
        .rows(rows);
    m.fused = true;
    m.record_and_edit(
        |b| {
            let table = b.weight("x", &[N_TOKENS, 96])?;
            let x = b.embed(table, 1.0);
            let (gate, up) = (b.linear("gate", x, "gate", 64)?, b.linear("up", x, "up", 64)?);
            let glu = b.glu("glu", gate, up, Activation::Silu);
            let down = b.linear("down", glu, "down", 96)?;
            Ok(b.add("sum", x, down))
        },
        |plan, weights| {
            let find = |name: &str| weights.find(name).expect("the case has it");
            for part in plan.ops.iter_mut().filter_map(|op| match op {
                Op::MatMul(m) if has_lora => m.parts.first_mut(),
                _ => None,
            }) {
                let (a, b) = if part.weight == find("down.weight") { ("down_a", "down_b") } else { ("a", "b") };
                part.lora = Some(Lora { a: find(a), b: find(b), scale: 0.5 });
            }
        },
    )
}

/// A layer norm before two products.
fn layer_norm_product(rows: usize) -> Case {
    let mut m = maker(format!("layer norm and products T{rows}"), SUMMED)
        .plain("x", 100)
        .vector("norm.weight", 100, 1.0)
        .vector("norm.bias", 100, 0.0)
        .matrix("a.weight", 33, 100, Format::F16)
        .matrix("b.weight", 8, 100, Format::F16)
        .vector("b.bias", 8, 0.0)
        .rows(rows);
    m.fused = true;
    m.kept = &["a"];
    m.record_and_edit(
        |b| {
            let table = b.weight("x", &[N_TOKENS, 100])?;
            let x = b.embed(table, 1.0);
            let normed = b.rms_norm("normed", x, "norm.weight", 1e-5)?;
            b.linear("a", normed, "a", 33)?;
            b.linear("b", normed, "b", 8)
        },
        |plan, weights| {
            for op in &mut plan.ops {
                if let Op::Norm { norm, .. } = op {
                    (norm.kind, norm.bias) = (NormKind::Layer, weights.find("norm.bias"));
                }
            }
        },
    )
}

/// Four products of one input, three of them of one format.
fn four_parts(rows: usize) -> Case {
    let mut m = maker(format!("products of four T{rows}"), SUMMED).grid("x", 64);
    for (name, n, format) in [
        ("a.weight", 9, Format::Q8_0),
        ("b.weight", 1, Format::Q8_0),
        ("c.weight", 30, Format::Q4_0),
        ("d.weight", 17, Format::Q8_0),
        ("e.weight", 4, Format::Q8_0),
    ] {
        m = m.matrix(name, n, 64, format);
    }
    let mut m = m.vector("d.bias", 17, 0.0).rows(rows);
    m.fused = true;
    m.kept = &["a", "b", "c", "d"];
    m.record(|b| {
        let table = b.weight("x", &[N_TOKENS, 64])?;
        let x = b.embed(table, 1.0);
        for (name, n) in [("a", 9), ("b", 1), ("c", 30), ("d", 17)] {
            b.linear(name, x, name, n)?;
        }
        b.linear("e", x, "e", 4)
    })
}

/// Rows of a table, multiplied with the table and with another matrix of its format.
fn tied(rows: usize) -> Case {
    let mut m = maker(format!("products of a table with itself T{rows}"), QUANTIZED)
        .matrix("table.weight", N_TOKENS, 64, Format::Q8_0)
        .matrix("w.weight", 20, 64, Format::Q8_0)
        .rows(rows);
    m.fused = true;
    m.kept = &["w"];
    m.record(|b| {
        let table = b.weight("table.weight", &[N_TOKENS, 64])?;
        let x = b.embed(table, 1.0);
        b.linear("w", x, "w", 20)?;
        b.linear("logits", x, "table", N_TOKENS)
    })
}

/// q | k | v of several formats: v is in Q6_K where a file is of the kind Q4_K_M, and Q5_0 stands where rows are no multiple of
/// 256 long.
fn mixed(rows: usize) -> Case {
    let mut m = maker(format!("mixed formats of q, k and v T{rows}"), QUANTIZED)
        .plain("x", 256)
        .vector("norm.weight", 256, 1.0)
        .matrix("q.weight", 65, 256, Format::Q4_K)
        .vector("q.bias", 65, 0.0)
        .matrix("k.weight", 9, 256, Format::Q5_0)
        .matrix("v.weight", 9, 256, Format::Q6_K)
        .matrix("w.weight", 30, 256, Format::Q4_K)
        .vector("w.bias", 30, 0.0)
        .rows(rows);
    m.fused = true;
    m.kept = &["q", "k", "v"];
    m.record(|b| {
        let table = b.weight("x", &[N_TOKENS, 256])?;
        let x = b.embed(table, 1.0);
        let normed = b.rms_norm("normed", x, "norm.weight", 1e-5)?;
        for (name, n) in [("q", 65), ("k", 9), ("v", 9)] {
            b.linear(name, normed, name, n)?;
        }
        b.linear("w", normed, "w", 30)
    })
}
