//! A case of the table of operations (`cases`): a small plan with its weights, inputs and steps, which any executor can run; how
//! it is made, and how far a result may be from the reference.
//!
//! Two kinds of input. "Grid" rows hold whole numbers, at most 127, with 127 in every block of 32: quantizing them to int8
//! loses nothing, so that quantized products can be held to the tolerance of f32. "Plain" rows are random.

use std::sync::Arc;

use kinglet::{
    error::Result,
    gguf::{Header, Metadata, TensorInfo},
    kv::{KvFormat, KvGeometry, PAGE_POSITIONS, PageId},
    plan::{
        Buffer, BufferId, Builder, Executor, Memory, Op, Plan, PlanSlot, Progress, Row, RowBound, RowInput, Rows, Step,
        Want,
        fuse::{Rule, fuse},
    },
    quant::{Format, f32_to_f16, q8_0},
    weights::Weights,
};

use super::{formats::random_weights, rng::Rng, task::block_on};

/// Tokens of the input tables.
pub const N_TOKENS: usize = 97;

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
            // A NaN is not within anything.
            let good = (a - b).abs() <= self.abs * rms + self.rel * b.abs();
            if !good {
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
        if error <= self.nmse * energy {
            Ok(())
        } else {
            Err(format!("a mean error of {:e} ({})", error / energy, self.name))
        }
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
    memories: Vec<Remembered>,
    is_whole: bool,
}

/// What an encoder left for a sequence: random keys and values.
#[derive(Clone)]
pub struct Remembered {
    pub pages: Vec<PageId>,
    pub n_positions: usize,
}

/// Pages of a sequence and the position that its first row has.
pub struct Sequence {
    pub pages: Vec<PageId>,
    pub start: usize,
}

/// What came out: buffers by name, the rows of all steps one after the other.
pub type Results = Vec<(String, Vec<f32>)>;

impl Case {
    /// Whether all weights are of one of these formats.
    pub fn is_of(&self, formats: &[Format]) -> bool {
        self.weights.iter().all(|(_, spec)| formats.contains(&spec.format))
    }

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

    /// Shows an executor the weights and then the plan; the weights' bytes may follow.
    pub fn announce(&self, executor: &mut impl Executor) -> Result<PlanSlot> {
        self.weights.iter().try_for_each(|(id, spec)| executor.create_weight(id, spec))?;
        executor.prepare(self.plan.clone())
    }

    /// Gives an executor the weights, in chunks of `chunk_bytes`, after it has seen the plan.
    pub fn load(&self, executor: &mut impl Executor, chunk_bytes: usize) -> Result<PlanSlot> {
        let slot = self.announce(executor)?;
        for ((id, _), data) in self.weights.iter().zip(&self.data) {
            data.chunks(chunk_bytes).try_for_each(|chunk| executor.write_weight(id, chunk))?;
        }
        let n_pages = self.sequences.iter().flat_map(|s| &s.pages).map(|p| p.0 as usize + 1).max().unwrap_or(0);
        let memory_pages = self.memories.iter().flat_map(|m| &m.pages);
        executor.kv_reserve(memory_pages.clone().map(|p| p.0 as usize + 1).max().unwrap_or(0).max(n_pages))?;
        for page in memory_pages {
            let (format, mut rng) = (self.geometry.format, Rng(1000 + u64::from(page.0)));
            let KvGeometry { layers, kv_heads, head_size, .. } = self.geometry;
            let n = 2 * layers * kv_heads * head_size * PAGE_POSITIONS;
            let bytes: Vec<u8> = match format {
                KvFormat::F16 => (0..n).flat_map(|_| f32_to_f16(rng.signed()).to_le_bytes()).collect(),
                KvFormat::F32 => (0..n).flat_map(|_| rng.signed().to_le_bytes()).collect(),
                KvFormat::Q8_0 => (0..n / q8_0::BLOCK)
                    .flat_map(|_| {
                        let (d, q) = q8_0::encode(&std::array::from_fn(|_| rng.signed()));
                        d.to_le_bytes().into_iter().chain(q.map(i8::cast_unsigned))
                    })
                    .collect(),
            };
            executor.kv_write(*page, PAGE_POSITIONS, &bytes)?;
        }
        Ok(slot)
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
        let slot = self.load(executor, chunk_bytes)?;
        block_on(self.run_steps(executor, slot, rows))
    }

    /// [`Case::run`] for a browser, where an executor that waits needs the event loop.
    pub async fn run_awaiting(&self, executor: &mut impl Executor, rows: usize) -> Result<Results> {
        let slot = self.load(executor, usize::MAX)?;
        self.run_steps(executor, slot, rows).await
    }

    /// Gets the plan ready, for [`Case::first_step`].
    pub fn prepare(&self, executor: &mut impl Executor) -> Result<PlanSlot> {
        executor.prepare(self.plan.clone())
    }

    /// Runs the first step, for the bench; it may be run again and again.
    pub fn first_step(&self, executor: &mut impl Executor, slot: PlanSlot) -> Result<()> {
        let mut past: Vec<usize> = self.sequences.iter().map(|s| s.start).collect();
        let rows = self.rows(&self.steps[0], &mut past);
        let sequences: Vec<&[PageId]> = self.sequences.iter().map(|s| s.pages.as_slice()).collect();
        executor.begin(
            slot,
            &Step { rows: &rows, outputs: &[], sequences: &sequences, memories: &[], embeddings: &[], want: Want::All },
        )?;
        block_on(complete(executor, usize::MAX))
    }

    /// Runs the steps without having loaded the weights.
    pub fn run_unloaded(&self, executor: &mut impl Executor) -> Result<Results> {
        let slot = self.prepare(executor)?;
        block_on(self.run_steps(executor, slot, usize::MAX))
    }

    async fn run_steps(&self, executor: &mut impl Executor, slot: PlanSlot, rows: usize) -> Result<Results> {
        let buffers: Vec<BufferId> = self.plan.taps.clone();
        let name = |id: BufferId| self.plan.buffers[id.0 as usize].name.clone();
        let mut results: Results = buffers.iter().map(|id| (name(*id), vec![])).collect();
        results.push(("output".into(), vec![]));
        let mut past: Vec<usize> = self.sequences.iter().map(|s| s.start).collect();
        let memories: Vec<Memory<'_>> =
            self.memories.iter().map(|m| Memory { pages: &m.pages, n_positions: m.n_positions }).collect();
        for step in &self.steps {
            if self.is_whole {
                past = self.sequences.iter().map(|s| s.start).collect();
            }
            let all = self.rows(step, &mut past);
            let rows = if self.is_whole { usize::MAX } else { rows };
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
                executor.begin(
                    slot,
                    &Step {
                        rows,
                        outputs: &outputs,
                        sequences: &sequences,
                        memories: &memories,
                        embeddings: &[],
                        want: Want::All,
                    },
                )?;
                complete(executor, 2).await?;
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
                    segment: u32::from(position.is_multiple_of(3)),
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

/// Runs a step that has begun to its end, `n_ops` operations at a time. In a browser it waits where the executor waits; natively an
/// executor goes on as it is asked.
async fn complete(executor: &mut impl Executor, n_ops: usize) -> Result<()> {
    loop {
        match executor.advance(n_ops)? {
            Progress::More => {}
            Progress::Pending if cfg!(target_arch = "wasm32") => executor.ready().await,
            Progress::Pending => std::thread::yield_now(),
            Progress::Complete => return Ok(()),
        }
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
pub struct Maker {
    pub name: String,
    pub rng: Rng,
    pub tensors: Vec<TensorInfo>,
    pub data: Vec<Vec<u8>>,
    pub tolerance: Tolerance,
    pub geometry: KvGeometry,
    pub steps: Vec<Vec<usize>>,
    pub sequences: Vec<Sequence>,
    pub output_every: usize,
    /// Of each sequence, where the plan attends to one.
    pub memories: Vec<Remembered>,
    /// Each step has whole sequences, from their first position on, and cannot be cut.
    pub is_whole: bool,
    pub fused: bool,
    /// Nothing is tapped.
    pub untapped: bool,
    /// Buffers of a fused plan that are tapped beside the inputs.
    pub kept: &'static [&'static str],
}

pub const NO_CACHE: KvGeometry = KvGeometry { layers: 1, kv_heads: 1, head_size: 8, format: KvFormat::F16 };

pub fn maker(name: impl Into<String>, tolerance: Tolerance) -> Maker {
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
        memories: vec![],
        is_whole: false,
        fused: false,
        untapped: false,
        kept: &[],
    }
}

impl Maker {
    pub fn tensor(mut self, name: &str, shape: &[usize], format: Format, data: Vec<u8>) -> Self {
        let n_bytes = data.len() as u64;
        self.tensors.push(TensorInfo { name: name.into(), shape: shape.to_vec(), format, offset: 0, n_bytes });
        self.data.push(data);
        self
    }

    pub fn matrix(mut self, name: &str, n: usize, k: usize, format: Format) -> Self {
        let data = random_weights(&mut self.rng, n, k, format);
        self.tensor(name, &[n, k], format, data)
    }

    pub fn vector(mut self, name: &str, n: usize, centre: f32) -> Self {
        let data = (0..n).flat_map(|_| (centre + 0.25 * self.rng.signed()).to_le_bytes()).collect();
        self.tensor(name, &[n], Format::F32, data)
    }

    /// A vector of any format.
    pub fn vector_of(mut self, name: &str, n: usize, format: Format) -> Self {
        let data = random_weights(&mut self.rng, 1, n, format);
        self.tensor(name, &[n], format, data)
    }

    /// An input table of random rows.
    pub fn plain(mut self, name: &str, width: usize) -> Self {
        let data = (0..N_TOKENS * width).flat_map(|_| self.rng.signed().to_le_bytes()).collect();
        self.tensor(name, &[N_TOKENS, width], Format::F32, data)
    }

    /// An input table of rows that int8 holds exactly.
    pub fn grid(mut self, name: &str, width: usize) -> Self {
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
    pub fn rows(mut self, n: usize) -> Self {
        self.steps = vec![vec![n]];
        self
    }

    pub fn steps(mut self, steps: &[&[usize]]) -> Self {
        self.steps = steps.iter().map(|s| s.to_vec()).collect();
        self
    }

    /// Records the plan. Every buffer with one row per new row is tapped, or with [`Maker::fused`] only the inputs.
    pub fn record(self, record: impl FnOnce(&mut Builder<'_>) -> Result<BufferId>) -> Case {
        self.record_and_edit(record, |_, _| {})
    }

    pub fn record_and_edit(
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
            fingerprint: 0,
        };
        let weights = Weights::from_header(&header);
        let max_rows = self.steps.iter().map(|s| s.iter().sum()).max().unwrap_or(1);
        let bound = if max_rows == 1 { RowBound::One } else { RowBound::UpTo(max_rows) };
        let mut b = Builder::new(self.name.clone(), &weights, bound, max_rows);
        let last = record(&mut b).expect("the case's shapes fit");
        let output = if b.has_outputs_only(last) { last } else { b.select_rows("selected", last) };
        let mut plan = b.finish(output);
        edit(&mut plan, &weights);
        let tapped = |b: &Buffer| {
            b.rows == Rows::New
                && !self.untapped
                && (!self.fused || b.name == "embd" || self.kept.contains(&b.name.as_str()))
        };
        let taps =
            plan.buffers.iter().enumerate().filter(|(_, b)| tapped(b)).map(|(i, _)| BufferId(i as u32)).collect();
        plan.taps = taps;
        if self.fused {
            let n_ops = plan.ops.len();
            plan = fuse(plan, Rule::ALL);
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
            memories: self.memories,
            is_whole: self.is_whole,
        }
    }
}
