//! A plan as text: for snapshots, bug reports, people.
//!
//! ```text
//! blk.0.attn [T, 576] = attention(blk.0.q_rope, cache layer 0) {9 heads on 3 of 64, scale 0.125}
//! blk.0.attn_residual [T, 576] = embd + blk.0.attn × blk.0.attn_output.weight Q4_1
//! blk.2 … blk.29: as blk.1
//! ```

use std::fmt::Write;

use super::{
    Append, Attention, BufferId, Epilogue, MatMul, Norm, NormKind, Op, Part, Plan, PositionBias, Rope, RowBound,
    RowIndex, Rows, Runs, Sees, memory::Layout,
};
use crate::weights::{WeightId, Weights};

/// One line per operation, with buffer names, shapes, weight names and formats, and the counts that budgets are made of.
/// Layers that are like the one before are named in one line.
pub fn dump(plan: &Plan, weights: &Weights) -> String {
    let printer = Printer { plan, weights };
    let t = match plan.rows {
        RowBound::One => "T = 1".into(),
        RowBound::UpTo(n) => format!("T ≤ {n}"),
    };
    let mut out = format!("{}: {t}, Out ≤ {}\n", plan.name, plan.max_outputs);
    let lines: Vec<Line> = plan.ops.iter().map(|op| (layer_of(plan, op), printer.op(op))).collect();
    for line in fold_layers(&lines) {
        out.push_str("  ");
        out.push_str(&line);
        out.push('\n');
    }
    let (out_line, counts) = (printer.buffer(plan.output), printer.counts());
    let taps: Vec<String> = plan.taps.iter().map(|id| printer.buffer(*id)).collect();
    let _ = writeln!(out, "output {out_line}");
    if !taps.is_empty() {
        let _ = writeln!(out, "taps {}", taps.join(", "));
    }
    out + &counts
}

/// A line and the layer that it is about.
type Line = (Option<usize>, String);

/// Replaces each run of layers that read like the layer before the run by one line.
fn fold_layers(lines: &[Line]) -> Vec<String> {
    let groups: Vec<&[Line]> = lines.chunk_by(|a, b| a.0 == b.0).collect();
    let mut out: Vec<String> = vec![];
    let mut i = 0;
    while let Some(group) = groups.get(i) {
        out.extend(group.iter().map(|(_, text)| text.clone()));
        i += 1;
        let Some((layer, _)) = layer_text(group) else { continue };
        let alike = groups[i..].iter().take_while(|g| are_alike(group, g)).count();
        match alike {
            0 => {}
            1 => out.push(format!("blk.{}: as blk.{layer}", layer + 1)),
            n => out.push(format!("blk.{} … blk.{}: as blk.{layer}", layer + 1, layer + n)),
        }
        i += alike;
    }
    out
}

fn are_alike(a: &[Line], b: &[Line]) -> bool {
    match (layer_text(a), layer_text(b)) {
        (Some((_, a)), Some((_, b))) => a == b,
        _ => false,
    }
}

/// The layer of a group of lines, and its text with this layer and the one before named relatively.
fn layer_text(group: &[Line]) -> Option<(usize, String)> {
    let layer = group.first()?.0?;
    let text: Vec<&str> = group.iter().map(|(_, text)| text.as_str()).collect();
    let text = text.join("\n").replace(&format!("blk.{layer}."), "blk.this.");
    let text = text.replace(&format!("layer {layer}"), "layer this");
    match layer.checked_sub(1) {
        Some(before) => Some((layer, text.replace(&format!("blk.{before}."), "blk.before."))),
        None => Some((layer, text)),
    }
}

struct Printer<'a> {
    plan: &'a Plan,
    weights: &'a Weights,
}

impl Printer<'_> {
    /// `out [shape] = what`
    fn op(&self, op: &Op) -> String {
        let what = match op {
            Op::Embed { table, scale, .. } if *scale == 1.0 => format!("rows of {}", self.weight(*table)),
            Op::Embed { table, scale, .. } => format!("{scale} · rows of {}", self.weight(*table)),
            Op::AddRow { x, table, index, .. } => {
                let index = match index {
                    RowIndex::Position(0) => "position".into(),
                    RowIndex::Position(n) => format!("position + {n}"),
                    RowIndex::Segment => "segment".into(),
                };
                format!("{} + row ({index}) of {}", self.name(*x), self.weight(*table))
            }
            Op::Norm { x, norm, size, .. } if *size < self.plan.buffers[x.0 as usize].width => {
                format!("{} in runs of {size}", self.norm(norm, *x))
            }
            Op::Norm { x, norm, .. } => self.norm(norm, *x),
            Op::NormAdd { x, norm, residual, scale, .. } => {
                format!("{} + {}{}", self.name(*residual), factor(*scale), self.norm(norm, *x))
            }
            Op::MatMul(m) => self.mat_mul(m),
            Op::Rope { x, rope, .. } => format!("rope({}) {}", self.name(*x), self.rope(rope)),
            Op::KvWrite { layer, k, v } => format!("cache layer {layer} ← {}, {}", self.name(*k), self.name(*v)),
            Op::RopeKv { layer, rope, q, k, v, .. } => {
                let (q, k, v) = (self.name(*q), self.name(*k), self.name(*v));
                format!("rope({q}); cache layer {layer} ← rope({k}), {v} {}", self.rope(rope))
            }
            Op::Attention(a) => self.attention(a),
            Op::Glu { gate, up, activation, .. } => {
                format!("{activation:?}({}) ⊙ {}", self.name(*gate), self.name(*up))
            }
            Op::ShortConv { layer, x, weight, .. } => {
                format!("convolution({}, cache layer {layer}) by {}", self.name(*x), self.weight(*weight))
            }
            Op::Activate { x, activation, .. } => format!("{activation:?}({})", self.name(*x)),
            Op::Add { a, b, scale, .. } => format!("{} + {}{}", self.name(*a), factor(*scale), self.name(*b)),
            Op::SelectRows { x, .. } => format!("rows of {} that want logits", self.name(*x)),
            Op::MeanRows { x, .. } => format!("means of {} over sequences", self.name(*x)),
            Op::Scale { x, scale, soft_cap: None, .. } => format!("{}{}", factor(*scale), self.name(*x)),
            Op::Scale { x, scale, soft_cap: Some(c), .. } => {
                format!("{c} · tanh({}{} / {c})", factor(*scale), self.name(*x))
            }
        };
        let outs: Vec<String> = op.writes().into_iter().map(|id| self.buffer(id)).collect();
        if outs.is_empty() { what } else { format!("{} = {what}", outs.join(", ")) }
    }

    fn mat_mul(&self, m: &MatMul) -> String {
        let x = m.norm.as_ref().map_or_else(|| self.name(m.x).into(), |norm| self.norm(norm, m.x));
        let parts: Vec<String> = m.parts.iter().map(|p| self.part(p)).collect();
        match (m.epilogue, parts.as_slice()) {
            (Epilogue::None, [part]) => format!("{x} × {part}"),
            (Epilogue::None, parts) => format!("{x} × ({})", parts.join(" | ")),
            (Epilogue::Add { residual, scale, .. }, parts) => {
                format!("{} + {}{x} × {}", self.name(residual), factor(scale), parts.join(" | "))
            }
            (Epilogue::Scale { scale, soft_cap: None, .. }, parts) => {
                format!("{}{x} × {}", factor(scale), parts.join(" | "))
            }
            (Epilogue::Scale { scale, soft_cap: Some(c), .. }, parts) => {
                format!("{c} · tanh({}{x} × {} / {c})", factor(scale), parts.join(" | "))
            }
            (Epilogue::Activate { activation, .. }, parts) => format!("{activation:?}({x} × {})", parts.join(" | ")),
            (Epilogue::Glu { activation, .. }, parts) => format!("{activation:?}-glu({x} × ({}))", parts.join(" | ")),
        }
    }

    fn part(&self, part: &Part) -> String {
        let mut text = self.weight(part.weight);
        if let Some(lora) = part.lora {
            let _ = write!(text, " + {} · {} · {}", lora.scale, self.weight(lora.a), self.weight(lora.b));
        }
        if let Some(bias) = part.bias {
            let _ = write!(text, " + {}", self.weight(bias));
        }
        text
    }

    fn norm(&self, norm: &Norm, x: BufferId) -> String {
        let kind = match norm.kind {
            NormKind::Rms => "rms",
            NormKind::Layer => "layernorm",
        };
        let bias = norm.bias.map_or_else(String::new, |b| format!(" + {}", self.weight(b)));
        format!("{kind}({} · {}{bias}, ε {:e})", self.name(x), self.weight(norm.weight), norm.eps)
    }

    fn rope(&self, rope: &Rope) -> String {
        let Rope { style, head_size, dims, base, frequency_scale, factors } = *rope;
        let mut text = format!("{{{style:?}, {dims} of {head_size}, base {base}");
        if frequency_scale != 1.0 {
            let _ = write!(text, ", scale {frequency_scale}");
        }
        if let Some(factors) = factors {
            let _ = write!(text, ", ÷ {}", self.weight(factors));
        }
        text + "}"
    }

    fn attention(&self, a: &Attention) -> String {
        let Attention { layer, heads, kv_heads, head_size, scale, sees, window, soft_cap, bias, append, q, .. } = *a;
        let (what, of) = match sees {
            Sees::Past => ("attention", "cache"),
            Sees::Whole => ("attention both ways", "cache"),
            Sees::Memory => ("attention", "memory"),
        };
        let mut text = match append {
            None => format!("{what}({}, {of} layer {layer})", self.name(q)),
            Some(Append { norms, rope, k, v }) => {
                let [q, k] = match norms {
                    None => [q, k].map(|id| self.name(id).to_owned()),
                    Some(norms) => {
                        let [q_norm, k_norm] = norms.each();
                        [(q_norm, q), (k_norm, k)].map(|(norm, id)| self.norm(&norm, id) + runs(norms.runs))
                    }
                };
                let (v, rope) = (self.name(v), self.rope(&rope));
                format!("cache layer {layer} ← rope({k}), {v}; {what}(rope({q}), {of} layer {layer}) {rope}")
            }
        };
        let _ = write!(text, " {{{heads} heads on {kv_heads} of {head_size}, scale {scale}");
        if let Some(window) = window {
            let _ = write!(text, ", window {window}");
        }
        if let Some(cap) = soft_cap {
            let _ = write!(text, ", soft cap {cap}");
        }
        if let Some(PositionBias { table, max_distance, .. }) = bias {
            let _ = write!(text, ", bias {} to {max_distance}", self.weight(table));
        }
        text + "}"
    }

    fn name(&self, id: BufferId) -> &str {
        &self.plan.buffers[id.0 as usize].name
    }

    fn buffer(&self, id: BufferId) -> String {
        let buffer = &self.plan.buffers[id.0 as usize];
        let rows = match buffer.rows {
            Rows::New => "T",
            Rows::Out => "Out",
        };
        format!("{} [{rows}, {}]", buffer.name, buffer.width)
    }

    fn weight(&self, id: WeightId) -> String {
        let spec = self.weights.spec(id);
        format!("{} {}", spec.name, spec.format.name())
    }

    /// Operations, operations per layer, bytes.
    fn counts(&self) -> String {
        let layers = layer_counts(self.plan);
        let per_layer = match (layers.iter().min(), layers.iter().max()) {
            (Some(min), Some(max)) if min == max => format!("{min} in each of {} layers", layers.len()),
            (Some(min), Some(max)) => format!("{min} to {max} in each of {} layers", layers.len()),
            _ => "no layers".into(),
        };
        let mut used: Vec<WeightId> = self.plan.ops.iter().flat_map(Op::weights).collect();
        used.sort_unstable();
        used.dedup();
        let file_bytes: u64 = used.iter().map(|id| self.weights.spec(*id).file_bytes()).sum();
        let arena_bytes = Layout::of(self.plan).n_bytes();
        format!(
            "{} operations, {per_layer}; buffers {arena_bytes} bytes; {} weights, {file_bytes} bytes in the file\n",
            self.plan.ops.len(),
            used.len(),
        )
    }
}

fn runs(runs: Runs) -> &'static str {
    match runs {
        Runs::Heads => " by heads",
        Runs::Rows => "",
    }
}

/// A factor before what it multiplies.
fn factor(factor: f32) -> String {
    if factor == 1.0 { String::new() } else { format!("{factor} · ") }
}

/// How many operations each layer takes.
pub fn layer_counts(plan: &Plan) -> Vec<usize> {
    let mut counts = vec![];
    for layer in plan.ops.iter().filter_map(|op| layer_of(plan, op)) {
        counts.resize(counts.len().max(layer + 1), 0);
        counts[layer] += 1;
    }
    counts
}

/// The layer that an operation belongs to: the one whose cache it uses, or that its output is named for (`blk.N.…`), as that of a
/// convolution, which may have several layers of the cache.
fn layer_of(plan: &Plan, op: &Op) -> Option<usize> {
    if !matches!(op, Op::ShortConv { .. })
        && let Some(layer) = op.cache_layer()
    {
        return Some(layer);
    }
    let out = *op.writes().first()?;
    plan.buffers[out.0 as usize].name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}
