//! The logits of one row, as a product that a norm comes before and a factor or a cap behind. Part of the table of `cases`.

use kinglet::quant::Format;

use super::case::{Case, N_TOKENS, QUANTIZED, SUMMED, maker};

/// Adds them.
pub fn add(cases: &mut Vec<Case>) {
    for (format, n) in [(Format::F32, 7), (Format::F16, 70), (Format::Q8_0, 300), (Format::Q4_1, 4500)] {
        for (scale, cap) in [(1.0, None), (0.125, None), (1.0, Some(3.0))] {
            cases.push(logits(format, n, scale, cap));
        }
    }
}

fn logits(format: Format, n: usize, scale: f32, cap: Option<f32>) -> Case {
    let k = 96;
    let tolerance = if format.block_len() == 1 { SUMMED } else { QUANTIZED };
    let mut m = maker(format!("logits {} {n} by {scale} {cap:?} T1", format.name()), tolerance)
        .grid("x", k)
        .vector("norm.weight", k, 1.0)
        .matrix("w.weight", n, k, format)
        .vector("w.bias", n, 0.0)
        .rows(1);
    m.fused = true;
    m.record(|b| {
        let table = b.weight("x", &[N_TOKENS, k])?;
        let x = b.embed(table, 0.5);
        let row = b.select_rows("row", x);
        let normed = b.rms_norm("normed", row, "norm.weight", 1e-5)?;
        let y = b.linear("y", normed, "w", n)?;
        Ok(if scale == 1.0 && cap.is_none() { y } else { b.scale("logits", y, scale, cap) })
    })
}
