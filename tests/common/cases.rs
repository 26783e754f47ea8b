//! One table of cases for the operations of a plan: formats, awkward sizes, numbers of rows. A case is a small plan with its
//! weights and steps; any executor can run it. Used by tests/ops.rs (natively and in a browser) and by the kernel bench.
//!
//! Two kinds of input. "Grid" rows hold whole numbers, at most 127, with 127 in every block of 32: quantizing them to int8
//! loses nothing, so that quantized products can be held to the tolerance of f32. "Plain" rows are random.

use std::sync::Arc;

use kinglet::{
    error::Result,
    gguf::{Header, Metadata, TensorInfo},
    kv::{KvFormat, KvGeometry, PageId},
    plan::{
        Activation, AttentionSpec, Buffer, BufferId, Builder, Executor, Lora, NormKind, Op, Plan, Rope, RopeStyle, Row,
        RowBound, RowInput, Rows, Step,
        fuse::{Rule, fuse},
    },
    quant::Format,
    weights::Weights,
};

use super::{rng::Rng, tiny_llama::random_weights};

/// Tokens of the input tables.
const N_TOKENS: usize = 97;

/// How far a result may be from the reference. A value is good if it differs by at most `abs · rms + rel · |expected|`, rms
/// being that of all expected values.
#[derive(Debug, Clone, Copy)]
pub struct Tolerance {
    pub name: &'static str,
    pub abs: f64,
    pub rel: f64,
    /// Part of the values that may be worse.
    pub outliers: f64,
    /// Σ (a − b)² / Σ b² may be at most this.
    pub nmse: f64,
}

/// Moved, or computed by the same operations.
pub const EXACT: Tolerance = Tolerance { name: "exact", abs: 0.0, rel: 0.0, outliers: 0.0, nmse: 0.0 };
/// One or two roundings more, or in another order.
pub const ROUNDED: Tolerance = Tolerance { name: "rounded", abs: 1e-6, rel: 1e-6, outliers: 0.0, nmse: 1e-12 };
/// f32 sums of some hundred terms in another order.
pub const SUMMED: Tolerance = Tolerance { name: "summed", abs: 2e-5, rel: 1e-5, outliers: 0.0, nmse: 1e-11 };
/// Products of activations that were quantized to int8: each is off by at most amax / 254.
pub const QUANTIZED: Tolerance = Tolerance { name: "quantized", abs: 0.03, rel: 0.02, outliers: 1e-3, nmse: 1e-4 };

impl Tolerance {
    /// What is wrong with `actual`, if anything.
    pub fn check(&self, actual: &[f32], expected: &[f32]) -> Result<(), String> {
        if actual.len() != expected.len() {
            return Err(format!("{} values, expected {}", actual.len(), expected.len()));
        }
        let square = |x: f64| x * x;
        let energy: f64 = expected.iter().map(|x| square(f64::from(*x))).sum();
        let rms = (energy / expected.len().max(1) as f64).sqrt();
        let (mut bad, mut first, mut error) = (0, None, 0.0);
        for (i, (a, b)) in actual.iter().zip(expected).enumerate() {
            let (a, b) = (f64::from(*a), f64::from(*b));
            error += square(a - b);
            // Written so that a NaN is bad.
            if !((a - b).abs() <= self.abs * rms + self.rel * b.abs()) {
                bad += 1;
                first = first.or(Some((i, a, b)));
            }
        }
        if bad as f64 > self.outliers * actual.len() as f64 {
            let (i, a, b) = first.unwrap_or_default();
            return Err(format!(
                "{bad} of {} values are wrong: [{i}] is {a:e}, expected {b:e} ({})",
                actual.len(),
                self.name
            ));
        }
        if !(error <= self.nmse * energy) {
            return Err(format!("a mean error of {:e} ({})", error / energy, self.name));
        }
        Ok(())
    }
}

/// A plan with everything to run it.
pub struct Case {
    pub name: String,
    pub tolerance: Tolerance,
    pub geometry: KvGeometry,
    plan: Arc<Plan>,
    weights: Weights,
    data: Vec<Vec<u8>>,
    /// Per step the number of rows of each sequence.
    steps: Vec<Vec<usize>>,
    sequences: Vec<Sequence>,
    /// Which rows of a step ask for logits: every n-th.
    output_every: usize,
}

/// Pages of a sequence and the position that its first row has.
struct Sequence {
    pages: Vec<PageId>,
    start: usize,
}

/// What came out: buffers by name, the rows of all steps one after the other.
pub type Results = Vec<(String, Vec<f32>)>;

impl Case {
    /// Most rows of a step.
    pub fn max_rows(&self) -> usize {
        self.plan.rows.max()
    }

    /// Weights that a row is multiplied with, for the bench.
    pub fn n_weights(&self) -> usize {
        let parts = self.plan.ops.iter().filter_map(|op| match op {
            Op::MatMul(m) => Some(&m.parts),
            _ => None,
        });
        parts.flatten().map(|p| self.weights.spec(p.weight).shape.iter().product::<usize>()).sum()
    }

    /// Gives an executor the weights, in chunks of `chunk_bytes`.
    pub fn load(&self, executor: &mut impl Executor, chunk_bytes: usize) -> Result<()> {
        for ((id, spec), data) in self.weights.iter().zip(&self.data) {
            executor.create_weight(id, spec)?;
            data.chunks(chunk_bytes).try_for_each(|chunk| executor.write_weight(id, chunk))?;
        }
        executor.kv_reserve(self.sequences.iter().flat_map(|s| &s.pages).map(|p| p.0 as usize + 1).max().unwrap_or(0))
    }

    /// The pages of the first sequence.
    pub fn pages(&self) -> &[PageId] {
        &self.sequences[0].pages
    }

    /// Changes a bit of a weight's bytes in the file.
    pub fn flip_bit(&mut self, weight: &str, byte: usize, mask: u8) {
        let id = self.weights.find(weight).expect("the case has it");
        self.data[id.0 as usize][byte] ^= mask;
    }

    /// Changes bytes of a weight in the file.
    pub fn set_bytes(&mut self, weight: &str, offset: usize, bytes: &[u8]) {
        let id = self.weights.find(weight).expect("the case has it");
        self.data[id.0 as usize][offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// Loads the weights and runs the steps, each cut into steps of at most `rows`.
    pub fn run(&self, executor: &mut impl Executor, rows: usize) -> Result<Results> {
        self.run_in_chunks(executor, rows, 1000)
    }

    /// [`Case::run`] with weights that come in chunks of this size.
    pub fn run_in_chunks(&self, executor: &mut impl Executor, rows: usize, chunk_bytes: usize) -> Result<Results> {
        self.load(executor, chunk_bytes)?;
        self.run_steps(executor, rows)
    }

    /// Runs the steps without having loaded the weights.
    pub fn run_unloaded(&self, executor: &mut impl Executor) -> Result<Results> {
        self.run_steps(executor, usize::MAX)
    }

    fn run_steps(&self, executor: &mut impl Executor, rows: usize) -> Result<Results> {
        let slot = executor.prepare(self.plan.clone())?;
        let buffers: Vec<BufferId> = self.plan.taps.clone();
        let name = |id: BufferId| self.plan.buffers[id.0 as usize].name.clone();
        let mut results: Results = buffers.iter().map(|id| (name(*id), vec![])).collect();
        results.push(("output".into(), vec![]));
        let mut past: Vec<usize> = self.sequences.iter().map(|s| s.start).collect();
        for step in &self.steps {
            let all = self.rows(step, &mut past);
            let mut done = 0;
            for rows in all.chunks(rows) {
                let outputs: Vec<u32> = (0..rows.len())
                    .filter(|i| (done + i).is_multiple_of(self.output_every))
                    .map(|i| i as u32)
                    .collect();
                done += rows.len();
                // A sequence without rows has no pages in the step: another may be writing to the common one.
                let mut sequences: Vec<&[PageId]> = vec![&[]; self.sequences.len()];
                for row in rows {
                    sequences[row.sequence as usize] = &self.sequences[row.sequence as usize].pages;
                }
                executor.begin(slot, &Step { rows, outputs: &outputs, sequences: &sequences, embeddings: &[] })?;
                while !executor.advance(2)? {}
                for (id, (_, values)) in buffers.iter().zip(&mut results) {
                    values.extend_from_slice(executor.tap(*id)?);
                }
                let (_, values) = results.last_mut().expect("the output");
                for o in 0..outputs.len() {
                    values.extend_from_slice(executor.output(o)?);
                }
            }
        }
        Ok(results)
    }

    fn rows(&self, step: &[usize], past: &mut [usize]) -> Vec<Row> {
        let mut rows = vec![];
        for (sequence, n) in step.iter().enumerate() {
            for _ in 0..*n {
                let position = past[sequence];
                let token = (position * 31 + sequence * 17) % N_TOKENS;
                rows.push(Row {
                    input: RowInput::Token(token as u32),
                    position: position as u32,
                    sequence: sequence as u32,
                });
                past[sequence] += 1;
            }
        }
        rows
    }

    /// What is wrong with `actual`, if anything. Inputs must be untouched, to the bit: they lie next to what the operation
    /// writes.
    pub fn check(&self, actual: &Results, expected: &Results) -> Result<(), String> {
        for ((name, actual), (_, expected)) in actual.iter().zip(expected) {
            let tolerance = if name == "embd" { EXACT } else { self.tolerance };
            tolerance.check(actual, expected).map_err(|what| format!("{}: {name}: {what}", self.name))?;
        }
        Ok(())
    }
}

/// FNV-1a of the bits of results.
pub fn hash(results: &Results, mut state: u64) -> u64 {
    for x in results.iter().flat_map(|(_, values)| values) {
        for byte in x.to_bits().to_le_bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    state
}

/// The first value of [`hash`].
pub const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

/// A case in the making.
struct Maker {
    name: String,
    rng: Rng,
    tensors: Vec<TensorInfo>,
    data: Vec<Vec<u8>>,
    tolerance: Tolerance,
    geometry: KvGeometry,
    steps: Vec<Vec<usize>>,
    sequences: Vec<Sequence>,
    output_every: usize,
    fused: bool,
    /// Buffers of a fused plan that are tapped beside the inputs.
    kept: &'static [&'static str],
}

const NO_CACHE: KvGeometry = KvGeometry { layers: 1, kv_heads: 1, head_size: 8, format: KvFormat::F16 };

fn maker(name: impl Into<String>, tolerance: Tolerance) -> Maker {
    let name = name.into();
    let seed = name.bytes().fold(1, |h: u64, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
    Maker {
        name,
        rng: Rng(seed),
        tensors: vec![],
        data: vec![],
        tolerance,
        geometry: NO_CACHE,
        steps: vec![vec![1]],
        sequences: vec![Sequence { pages: vec![PageId(0), PageId(1), PageId(2)], start: 0 }],
        output_every: 1,
        fused: false,
        kept: &[],
    }
}

impl Maker {
    fn tensor(mut self, name: &str, shape: &[usize], format: Format, data: Vec<u8>) -> Self {
        let n_bytes = data.len() as u64;
        self.tensors.push(TensorInfo { name: name.into(), shape: shape.to_vec(), format, offset: 0, n_bytes });
        self.data.push(data);
        self
    }

    fn matrix(mut self, name: &str, n: usize, k: usize, format: Format) -> Self {
        let data = random_weights(&mut self.rng, n, k, format);
        self.tensor(name, &[n, k], format, data)
    }

    fn vector(mut self, name: &str, n: usize, centre: f32) -> Self {
        let data = (0..n).flat_map(|_| (centre + 0.25 * self.rng.signed()).to_le_bytes()).collect();
        self.tensor(name, &[n], Format::F32, data)
    }

    /// An input table of random rows.
    fn plain(mut self, name: &str, width: usize) -> Self {
        let data = (0..N_TOKENS * width).flat_map(|_| self.rng.signed().to_le_bytes()).collect();
        self.tensor(name, &[N_TOKENS, width], Format::F32, data)
    }

    /// An input table of rows that int8 holds exactly.
    fn grid(mut self, name: &str, width: usize) -> Self {
        let mut data = Vec::with_capacity(N_TOKENS * width * 4);
        for _ in 0..N_TOKENS {
            for k in 0..width {
                let x = if k % 32 == 5 { 127 } else { self.rng.below(255) as i32 - 127 };
                data.extend((x as f32 / 64.0).to_le_bytes());
            }
        }
        self.tensor(name, &[N_TOKENS, width], Format::F32, data)
    }

    /// One step of n rows.
    fn rows(mut self, n: usize) -> Self {
        self.steps = vec![vec![n]];
        self
    }

    fn steps(mut self, steps: &[&[usize]]) -> Self {
        self.steps = steps.iter().map(|s| s.to_vec()).collect();
        self
    }

    /// Records the plan. Every buffer with one row per new row is tapped, or with [`Maker::fused`] only the inputs.
    fn record(self, record: impl FnOnce(&mut Builder<'_>) -> Result<BufferId>) -> Case {
        self.record_and_edit(record, |_, _| {})
    }

    fn record_and_edit(
        self,
        record: impl FnOnce(&mut Builder<'_>) -> Result<BufferId>,
        edit: impl FnOnce(&mut Plan, &Weights),
    ) -> Case {
        let header = Header {
            version: 3,
            metadata: Metadata::default(),
            tensors: self.tensors,
            alignment: 32,
            data_offset: 0,
            end_offset: 0,
        };
        let weights = Weights::from_header(&header);
        let max_rows = self.steps.iter().map(|s| s.iter().sum()).max().unwrap_or(1);
        let bound = if max_rows == 1 { RowBound::One } else { RowBound::UpTo(max_rows) };
        let mut b = Builder::new(self.name.clone(), &weights, bound, max_rows);
        let last = record(&mut b).expect("the case's shapes fit");
        let output = b.select_rows("selected", last);
        let mut plan = b.finish(output);
        edit(&mut plan, &weights);
        let tapped = |b: &Buffer| {
            b.rows == Rows::New && (!self.fused || b.name == "embd" || self.kept.contains(&b.name.as_str()))
        };
        let taps =
            plan.buffers.iter().enumerate().filter(|(_, b)| tapped(b)).map(|(i, _)| BufferId(i as u32)).collect();
        plan.taps = taps;
        if self.fused {
            let n_ops = plan.ops.len();
            plan = fuse(plan, &Rule::ALL);
            assert!(plan.ops.len() < n_ops, "{}: nothing was fused", self.name);
        }
        Case {
            name: self.name,
            tolerance: self.tolerance,
            geometry: self.geometry,
            plan: Arc::new(plan),
            weights,
            data: self.data,
            steps: self.steps,
            sequences: self.sequences,
            output_every: self.output_every,
        }
    }
}

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

/// Products: every format with every number of rows; row counts that are no multiple of a panel; K that is no power of two, of
/// one block, of an odd number of weights, and over the room for unpacked panels.
fn products(cases: &mut Vec<Case>) {
    for format in Format::ALL {
        for rows in ROWS {
            cases.push(product(format, 7, 576, rows));
        }
        for (n, k, rows) in [(1, 576, 1), (1, 576, 64), (192, 576, 3), (576, 1536, 1), (576, 1536, 5), (1536, 576, 2)] {
            cases.push(product(format, n, k, rows));
        }
        for rows in [1, 7] {
            cases.push(product(format, 9, 32, rows));
            cases.push(product(format, 20, 2112, rows));
        }
        if is_float(format) {
            for rows in [1, 2, 5] {
                cases.push(product(format, 64, 172, rows));
                cases.push(product(format, 3, 1, rows));
                cases.push(product(format, 8, 33, rows));
            }
        }
    }
    cases.push(product(Format::Q8_0, 49152, 576, 1));
    cases.push(product(Format::Q4_1, 49152, 576, 2));
}

/// Fused products: norm before; bias, several parts of several formats, residual or gate after; low-rank operands.
fn fused_products(cases: &mut Vec<Case>) {
    for format in Format::ALL {
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
fn norm_product(format: Format, tolerance: Tolerance, rows: usize) -> Case {
    let mut m = maker(format!("norm and three products {} T{rows}", format.name()), tolerance)
        .plain("x", 576)
        .vector("norm.weight", 576, 1.0)
        .matrix("q.weight", 192, 576, format)
        .vector("q.bias", 192, 0.0)
        .matrix("k.weight", 7, 576, Format::Q8_0)
        .matrix("v.weight", 65, 576, Format::F16)
        .vector("v.bias", 65, 0.0)
        .rows(rows);
    // k is quantized whatever q is.
    m.tolerance = if m.tolerance.name == "summed" { QUANTIZED } else { m.tolerance };
    m.fused = true;
    m.kept = &["k", "v"];
    m.record(|b| {
        let table = b.weight("x", &[N_TOKENS, 576])?;
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
fn gated(format: Format, rows: usize, activation: Activation) -> Case {
    let mut m = maker(format!("gated product {} T{rows}", format.name()), SUMMED)
        .grid("x", 576)
        .matrix("gate.weight", 193, 576, format)
        .matrix("up.weight", 193, 576, format)
        .rows(rows);
    m.fused = true;
    m.record(|b| {
        let table = b.weight("x", &[N_TOKENS, 576])?;
        let x = b.embed(table, 1.0);
        let gate = b.linear("gate", x, "gate", 193)?;
        let up = b.linear("up", x, "up", 193)?;
        Ok(b.glu("glu", gate, up, activation))
    })
}

/// residual + product.
fn residual(format: Format, rows: usize) -> Case {
    let mut m = maker(format!("product and residual {} T{rows}", format.name()), SUMMED)
        .grid("x", 96)
        .plain("r", 100)
        .matrix("w.weight", 100, 96, format)
        .vector("w.bias", 100, 0.0)
        .rows(rows);
    m.fused = true;
    m.record(|b| {
        let (table, residual) = (b.weight("x", &[N_TOKENS, 96])?, b.weight("r", &[N_TOKENS, 100])?);
        let (x, r) = (b.embed(table, 1.0), b.embed(residual, 1.0));
        let y = b.linear("y", x, "w", 100)?;
        Ok(b.add("sum", r, y))
    })
}

/// Rank 5 in f32 (rank 32 where the format has blocks), with a scale.
fn low_rank(format: Format, rows: usize) -> Case {
    let rank = if is_float(format) { 5 } else { 32 };
    let tolerance = if is_float(format) { SUMMED } else { QUANTIZED };
    maker(format!("low-rank {} T{rows}", format.name()), tolerance)
        .grid("x", 96)
        .matrix("w.weight", 20, 96, format)
        .matrix("a", rank, 96, format)
        .matrix("b", 20, rank, format)
        .rows(rows)
        .record_and_edit(
            |b| {
                let table = b.weight("x", &[N_TOKENS, 96])?;
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
fn rows_alone(cases: &mut Vec<Case>) {
    for width in [1, 7, 64, 576, 1537] {
        for rows in [1, 5] {
            cases.push(norm(NormKind::Rms, width, rows));
            cases.push(norm(NormKind::Layer, width, rows));
            cases.push(glu(Activation::Silu, width, rows));
            cases.push(glu(Activation::GeluTanh, width, rows));
        }
    }
    for format in Format::ALL {
        cases.push(embedding(format, 96, 3));
    }
    cases.push(embedding(Format::F16, 33, 1));
    let mut some = maker("some rows ask", EXACT).plain("x", 40).rows(10);
    some.output_every = 3;
    cases.push(some.record(|b| {
        let table = b.weight("x", &[N_TOKENS, 40])?;
        Ok(b.embed(table, 1.0))
    }));
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
    let m = maker(format!("{activation:?} {width} T{rows}"), SUMMED).plain("gate", width).plain("up", width).rows(rows);
    m.record(|b| {
        let (gate, up) = (b.weight("gate", &[N_TOKENS, width])?, b.weight("up", &[N_TOKENS, width])?);
        // Gates from -40 to 40: e^x far out too.
        let (gate, up) = (b.embed(gate, 40.0), b.embed(up, 1.0));
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
    let heads = |heads, kv_heads, size, format| Heads { heads, kv_heads, size, format };
    for format in [KvFormat::F16, KvFormat::F32] {
        for h in [heads(9, 3, 64, format), heads(2, 2, 16, format), heads(8, 1, 20, format), heads(5, 1, 100, format)] {
            for fused in [false, true] {
                cases.push(attention("alone", h, None, &[&[1], &[1], &[1]], fused));
                cases.push(attention("pages", h, None, &[&[70], &[1], &[6], &[60]], fused));
            }
            cases.push(attention("window", h, Some(17), &[&[60], &[30], &[1]], true));
            cases.push(attention("wide window", h, Some(100), &[&[140], &[1]], false));
        }
        let mut shared = attention_maker("a common page", heads(6, 2, 32, format));
        shared.sequences = vec![
            Sequence { pages: vec![PageId(4), PageId(0)], start: 0 },
            Sequence { pages: vec![PageId(4), PageId(2), PageId(1)], start: 64 },
        ];
        shared.steps = vec![vec![64, 0], vec![5, 66], vec![1, 1]];
        cases.push(record_attention(shared, heads(6, 2, 32, format), None));
    }
}

fn attention_maker(name: &str, h: Heads) -> Maker {
    let Heads { heads, kv_heads, size, format } = h;
    let mut m = maker(format!("attention {name} {heads}/{kv_heads}x{size} {format:?}"), SUMMED)
        .plain("q", heads * size)
        .plain("k", kv_heads * size)
        .plain("v", kv_heads * size);
    let pairs = (size / 2).next_multiple_of(2) / 2;
    m = m.vector("factors", pairs, 1.5);
    m.geometry = KvGeometry { layers: 2, kv_heads, head_size: size, format };
    // A key rounded to f16 the other way, because it was one f32 step off, moves a score by 2⁻¹¹ of a product.
    m.tolerance = match format {
        KvFormat::F16 => Tolerance { name: "attended, f16", abs: 2e-3, rel: 1e-3, outliers: 0.0, nmse: 1e-8 },
        KvFormat::F32 => SUMMED,
    };
    m
}

fn attention(name: &str, h: Heads, window: Option<usize>, steps: &[&[usize]], fused: bool) -> Case {
    let name = if fused { format!("{name}, fused") } else { name.into() };
    let mut m = attention_maker(&name, h).steps(steps);
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
        Ok(b.attention("attended", q, AttentionSpec { layer: 1, heads, kv_heads, head_size: size, scale, window }))
    })
}

/// Every case.
pub fn all() -> Vec<Case> {
    let mut cases = vec![];
    products(&mut cases);
    fused_products(&mut cases);
    rows_alone(&mut cases);
    attentions(&mut cases);
    cases
}

/// The cases whose results must have the same bits everywhere, in groups with the [`hash`] of all their results. The same
/// constants are compared natively and in a browser, with either flavour of kernels.
pub fn golden() -> Vec<(&'static str, Vec<Case>, u64)> {
    let of = |make: fn(&mut Vec<Case>)| {
        let mut cases = vec![];
        make(&mut cases);
        cases.retain(|c| c.n_weights() < 1 << 20);
        cases
    };
    vec![
        ("products", of(products), 0xefab_6c17_f06f_b6a1),
        ("fused products", of(fused_products), 0x26be_eba1_e181_b455),
        ("rows alone", of(rows_alone), 0x1020_2661_c4e5_6bf8),
        ("attention", of(attentions), 0x22c0_1251_35ee_68ae),
    ]
}
