//! Small plans that take the same shaders as real ones: each kind of operation of a plan once, by itself, with its own random
//! inputs and weights.
//!
//! What a shader is chosen by is kept: formats, parts, epilogues, the bound on rows, whether a width is a multiple of 4 or of
//! 32, row lengths up to twice [`WIDE`]. Matrices up to [`SMALL_MATRIX`] keep all their sizes: so the pipelines of a small model
//! are checked themselves, and little is compiled for the check alone. What is chosen by size has its threshold lowered: teams with several rows, matrices
//! in shards; such operations are in samples of their own. Everything else is small and awkward: matrices of some 70 rows, which fill no workgroup,
//! steps of odd numbers of rows in two sequences, positions on several pages.

use super::{
    judge::written_layer,
    kind::{Group, Kind, without_ids},
    noise::{Noise, append},
    rename::rename,
    split::is_split,
    steps::{PART_POSITIONS, is_whole, memories, n_positions, row_counts, sequences, starts},
};
use crate::{
    error::{Error, Result},
    gpu::{
        forms::Thresholds,
        prepared::Prepared,
        shader::{BEST, EMBED, Kernel, Shader, TEAM_4},
        weights::Weights,
    },
    kv::{KvGeometry, PAGE_POSITIONS, PageId},
    plan::{Attention, Buffer, BufferId, Executor, Memory, Op, Plan, PlanSlot, Row, RowIndex, RowInput, Rows, Runs},
    quant::Format,
    sorted::{SortedMap, SortedSet},
    weights::{WeightId, WeightSpec},
};

/// Rows of the input tables.
const N_TOKENS: usize = 37;
/// Row lengths are kept up to this, and above it the remainder is.
const WIDE: usize = 2048;
/// Logits of a row at most: more than the blocks that the best of them are sought in.
const MOST_LOGITS: usize = 4133;
/// Blocks that a product finds the best of at most. Its logits are several times as many, if there are.
const MOST_BLOCKS: usize = 128;
/// The same where matrices are in shards: then the inputs may not be longer than these.
const FEW_LOGITS: usize = 32;
/// A matrix of so many weights keeps its number of rows.
const SMALL_MATRIX: usize = 1 << 20;
/// Heads of the cache are kept where all of them have at most so many elements; else there are two.
const MOST_CACHED: usize = 512;
/// Rotated heads at most, where nothing else ties them.
const MOST_HEADS: usize = 3;

/// A small plan with what it needs.
pub(in crate::gpu) struct Sample {
    pub(super) plan: std::sync::Arc<Plan>,
    pub(super) geometry: KvGeometry,
    /// The shaders that it was drawn for.
    pub(super) shaders: SortedSet<Shader>,
    pub(super) thresholds: Thresholds,
    /// Ids are indices.
    specs: Vec<WeightSpec>,
    sequences: [Vec<PageId>; 2],
}

/// Samples of each prepared plan.
pub(in crate::gpu) fn samples(prepared: &[Prepared], weights: &Weights, geometry: &KvGeometry) -> Result<Vec<Sample>> {
    let mut samples = vec![];
    for prepared in prepared {
        let new = |is_split| Maker::new(&prepared.plan, weights, geometry, is_split);
        let all = new(false);
        let mut makers: Vec<(Group, Maker<'_>)> = vec![];
        for (i, op) in prepared.plan.ops.iter().enumerate() {
            let lowered = prepared.lowered().dispatches.iter().filter(|d| d.op == i);
            let shaders: SortedSet<Shader> = lowered.map(|d| (d.shader.clone(), ())).collect();
            let is_wide = shaders.keys().any(|s| s.has(TEAM_4));
            // The length of a shard depends on the operation, so each kind that is in shards is a sample by itself.
            let split = if is_split(op, weights)? { Some(all.kind(op)?) } else { None };
            let group = Group { is_wide, split, makes_logits: shaders.keys().any(|s| s.has(BEST)) };
            match makers.iter_mut().find(|(other, _)| *other == group) {
                Some((_, maker)) => maker.add(op, shaders)?,
                None => {
                    let mut maker = Maker { makes_logits: group.makes_logits, ..new(group.split.is_some()) };
                    maker.add(op, shaders)?;
                    makers.push((group, maker));
                }
            }
        }
        makers.sort_by_key(|(group, _)| group.place());
        let best = prepared.lowered().best.iter().chain(&prepared.lowered().choose);
        let mut best: SortedSet<Shader> = best.map(|d| (d.shader.clone(), ())).collect();
        for (group, maker) in makers {
            samples.push(maker.finish(group.is_wide, std::mem::take(&mut best)));
        }
    }
    Ok(samples)
}

impl Sample {
    /// Creates the weights and prepares the plan.
    pub(super) fn prepare(&self, executor: &mut impl Executor) -> Result<PlanSlot> {
        for (id, spec) in self.weights() {
            executor.create_weight(id, spec)?;
        }
        executor.prepare(self.plan.clone())
    }

    /// Fills the weights and the pages of two executors.
    pub(super) fn fill(&self, a: &mut impl Executor, b: &mut impl Executor) -> Result<()> {
        let mut bytes = vec![];
        for (id, spec) in self.weights() {
            let mut noise = Noise(u64::from(id.0));
            // A vector multiplies, or is a bias.
            let centre = if spec.shape.len() == 1 { 1.5 } else { 0.0 };
            bytes.clear();
            for _ in 0..spec.n_rows() {
                append(spec.format, spec.row_len(), centre, &mut noise, &mut bytes)?;
            }
            a.write_weight(id, &bytes)?;
            b.write_weight(id, &bytes)?;
        }
        self.fill_pages(a)?;
        self.fill_pages(b)
    }

    fn fill_pages(&self, executor: &mut impl Executor) -> Result<()> {
        let pages = self.pages();
        executor.kv_reserve(pages.len())?;
        let is_cached = self.plan.ops.iter().any(|op| matches!(op, Op::Attention(_)) || written_layer(op).is_some());
        for (page, n_positions) in pages.into_iter().filter(|_| is_cached) {
            let n = self.geometry.page_bytes() / PAGE_POSITIONS * n_positions / self.geometry.format.row_bytes(1);
            let bytes = Noise(1_000_000 + u64::from(page.0)).cached(self.geometry.format, n)?;
            executor.kv_write(page, n_positions, &bytes)?;
        }
        Ok(())
    }

    fn weights(&self) -> impl Iterator<Item = (WeightId, &WeightSpec)> {
        self.specs.iter().enumerate().map(|(i, spec)| (WeightId(i as u32), spec))
    }

    /// Every page, whole.
    pub(super) fn pages(&self) -> Vec<(PageId, usize)> {
        self.sequences.iter().flatten().map(|page| (*page, PAGE_POSITIONS)).collect()
    }

    pub(super) fn sequences(&self) -> impl Iterator<Item = &[PageId]> {
        self.sequences.iter().map(Vec::as_slice)
    }

    pub(super) fn memories(&self) -> Vec<Memory<'_>> {
        memories(&self.sequences)
    }

    /// Rows of step `index`: other tokens than before, at other positions.
    pub(super) fn rows(&self, index: usize) -> Vec<Row> {
        let row = |(i, (sequence, position)): (usize, (u32, u32))| Row {
            segment: (i % 2) as u32,
            input: RowInput::Token(((i * 5 + index * 11 + 3) % N_TOKENS) as u32),
            position,
            sequence,
        };
        let counts = row_counts(self.plan.rows.max(), index);
        let starts = if is_whole(&self.plan) { [0; 2] } else { starts(self.plan.rows.max(), index) };
        let positions = (0..2).flat_map(|s| (0..counts[s]).map(move |i| (s as u32, (starts[s] + i) as u32)));
        positions.enumerate().map(row).collect()
    }

    /// Rows of step `index` that ask for outputs: in the first the last ones, then the first ones.
    pub(super) fn outputs(&self, index: usize) -> Vec<u32> {
        let n_rows: usize = row_counts(self.plan.rows.max(), index).iter().sum();
        let n = self.plan.max_outputs.min(n_rows).min(5);
        let first = if index == 0 { n_rows - n } else { 0 };
        (first..first + n).map(|i| i as u32).collect()
    }

    /// What a token is looked up as.
    pub(super) fn token(id: u32) -> u32 {
        id % N_TOKENS as u32
    }

    /// How many of the best logits step `index` wants.
    pub(super) fn n_best(&self, index: usize) -> usize {
        [40, 7][index % 2]
    }
}

/// A sample in the making.
struct Maker<'a> {
    real: &'a Plan,
    real_geometry: &'a KvGeometry,
    weights: &'a Weights,
    plan: Plan,
    geometry: KvGeometry,
    specs: Vec<WeightSpec>,
    /// Inputs by rows, width and place among the inputs of an operation.
    inputs: SortedMap<(bool, usize, usize), BufferId>,
    /// What is in it already.
    kinds: Vec<Kind>,
    n_layers: usize,
    shaders: SortedSet<Shader>,
    /// Its matrices are in shards.
    is_split: bool,
    /// Its one operation makes the logits.
    makes_logits: bool,
}

impl<'a> Maker<'a> {
    fn new(real: &'a Plan, weights: &'a Weights, real_geometry: &'a KvGeometry, is_split: bool) -> Self {
        let plan = Plan { name: format!("self-check of {}", real.name), buffers: vec![], ops: vec![], ..real.clone() };
        let is_small = real_geometry.kv_heads * real_geometry.head_size <= MOST_CACHED;
        let kv_heads = if is_small { real_geometry.kv_heads } else { real_geometry.kv_heads.min(2) };
        let geometry = KvGeometry { kv_heads, layers: 1, ..*real_geometry };
        Self {
            real,
            real_geometry,
            weights,
            plan,
            geometry,
            specs: vec![],
            inputs: SortedMap::default(),
            kinds: vec![],
            n_layers: 0,
            shaders: SortedSet::default(),
            is_split,
            makes_logits: false,
        }
    }

    fn takes(&mut self, shaders: SortedSet<Shader>) {
        shaders.into_entries().into_iter().for_each(|(shader, ())| {
            self.shaders.insert(shader, ());
        });
    }

    /// Adds the like of an operation that takes these shaders, unless there is one.
    fn add(&mut self, op: &Op, shaders: SortedSet<Shader>) -> Result<()> {
        self.takes(shaders);
        let kind = self.kind(op)?;
        if self.kinds.contains(&kind) {
            return Ok(());
        }
        self.kinds.push(kind);
        let mut buffers: SortedMap<BufferId, BufferId> = SortedMap::default();
        for (place, id) in op.reads().into_iter().enumerate() {
            let (rows, width) = (self.rows(id), self.width(op, id));
            buffers.insert(id, self.input(rows, width, place));
        }
        let mut small = self.resized(op);
        let mut outs = vec![];
        let mut weights = SortedMap::default();
        rename(
            &mut small,
            &mut |id| {
                *buffers.get_or_insert_with(id, || {
                    outs.push(id);
                    BufferId((self.plan.buffers.len() + outs.len() - 1) as u32)
                })
            },
            &mut |id| {
                let next = WeightId((self.specs.len() + weights.len()) as u32);
                *weights.get_or_insert_with(id, || next)
            },
        );
        for id in outs {
            let buffer = Buffer { name: self.name(id), rows: self.rows(id), width: self.width(op, id) };
            self.plan.buffers.push(buffer);
        }
        let mut specs: Vec<(WeightId, WeightId)> =
            weights.into_entries().into_iter().map(|(real, small)| (small, real)).collect();
        specs.sort_unstable();
        for (_, id) in specs {
            let spec = self.spec(op, id)?;
            self.specs.push(spec);
        }
        if self.makes_logits {
            self.plan.output = buffers.get(&self.real.output).copied().unwrap_or(self.plan.output);
        }
        self.plan.ops.push(small);
        Ok(())
    }

    /// Ends the sample with rows of logits, which the best are sought in; if it does not make them itself.
    fn finish(mut self, is_wide: bool, best: SortedSet<Shader>) -> Sample {
        let most_logits = if self.is_split { FEW_LOGITS } else { MOST_LOGITS };
        let width = self.real_width(self.real.output);
        if !self.makes_logits {
            self.plan.output = self.input(self.rows(self.real.output), width.min(most_logits), 0);
        }
        self.plan.taps = self.plan.ops.iter().flat_map(Op::writes).collect();
        self.geometry.layers = self.n_layers.max(1);
        self.takes(best);
        let has = |has: fn(&Shader) -> bool| self.shaders.keys().any(has);
        let mut thresholds = Thresholds {
            part_positions: Some(PART_POSITIONS),
            most_blocks: MOST_BLOCKS,
            runs: has(|s| s.kernel == Kernel::Choose),
            embeds: has(|s| s.has(EMBED)),
            ..Thresholds::default()
        };
        if is_wide {
            thresholds.wide_from_invocations = Some(0);
        }
        if self.is_split {
            thresholds.shard_bytes = self.specs.iter().map(Weights::shortest_shard_bytes).max().unwrap_or(0);
        }
        Sample {
            sequences: sequences(self.plan.rows.max()),
            shaders: self.shaders,
            plan: self.plan.into(),
            geometry: self.geometry,
            thresholds,
            specs: self.specs,
        }
    }

    fn kind(&self, op: &Op) -> Result<Kind> {
        let (op_without, buffers, weights) = without_ids(op);
        let buffers = buffers.into_iter().map(|id| (self.rows(id), self.width(op, id))).collect();
        let weights =
            weights.into_iter().map(|id| self.spec(op, id).map(|s| (s.format, s.shape))).collect::<Result<_>>()?;
        Ok(Kind { op: op_without, buffers, weights })
    }

    /// The operation with fewer heads and in a layer of the sample.
    fn resized(&mut self, op: &Op) -> Op {
        let mut op = op.clone();
        let (real, small) = self.kv_heads(&op);
        let fewer = |heads: usize| heads / real * small;
        match &mut op {
            Op::Rope { heads, .. } => *heads = (*heads).min(MOST_HEADS),
            Op::KvWrite { layer, .. } | Op::ShortConv { layer, .. } => *layer = self.next_layer(),
            Op::Norm { x, size, .. } => *size = self.run_len(*x, *size),
            Op::RopeKv { layer, heads, kv_heads, .. } => {
                (*heads, *kv_heads) = (fewer(*heads), small);
                *layer = self.next_layer();
            }
            Op::Attention(a) => {
                (a.heads, a.kv_heads) = (fewer(a.heads), small);
                a.layer = if a.append.is_some() { self.next_layer() } else { 0 };
            }
            _ => {}
        }
        op
    }

    fn next_layer(&mut self) -> usize {
        self.n_layers += 1;
        self.n_layers - 1
    }

    fn rows(&self, id: BufferId) -> Rows {
        self.real.buffers.get(id.0 as usize).map_or(Rows::New, |b| b.rows)
    }

    fn name(&self, id: BufferId) -> String {
        self.real.buffers.get(id.0 as usize).map_or_else(String::new, |b| b.name.clone())
    }

    /// How many of the cache's kv heads an operation has: really, and in the sample.
    fn kv_heads(&self, op: &Op) -> (usize, usize) {
        let real = match op {
            Op::KvWrite { k, .. } => self.real_width(*k) / self.real_geometry.head_size.max(1),
            Op::RopeKv { kv_heads, .. } | Op::Attention(Attention { kv_heads, .. }) => *kv_heads,
            _ => self.real_geometry.kv_heads,
        };
        (real.max(1), real.clamp(1, self.geometry.kv_heads))
    }

    /// Elements that are normalised together, in the sample.
    fn run_len(&self, x: BufferId, size: usize) -> usize {
        if size == self.real_width(x) { wide(size) } else { size }
    }

    /// A number of rows of a matrix [n, k]: all of a small one that is not in shards, else more than a tile and less than two.
    fn narrow(&self, n: usize, k: usize) -> usize {
        if self.makes_logits {
            return n.min((SMALL_MATRIX / k.max(1)).clamp(4 * MOST_BLOCKS, MOST_LOGITS));
        }
        let is_small = !self.is_split && n.saturating_mul(k) <= SMALL_MATRIX;
        if n < 68 || is_small { n } else { 68 + n % 4 + 4 * (n / 16 % 5) }
    }

    fn real_width(&self, id: BufferId) -> usize {
        self.real.buffers.get(id.0 as usize).map_or(1, |b| b.width)
    }

    /// Elements per row of a buffer of an operation, in the sample.
    fn width(&self, op: &Op, id: BufferId) -> usize {
        let width = self.real_width(id);
        match op {
            Op::Embed { .. } => wide(width),
            Op::Norm { x, size, .. } => match width / (*size).max(1) {
                1 => wide(width),
                runs => self.run_len(*x, *size) * runs.min(MOST_HEADS),
            },
            Op::MatMul(m) if m.x == id => wide(width),
            Op::Rope { heads, .. } => width / (*heads).max(1) * (*heads).min(MOST_HEADS),
            Op::KvWrite { .. } | Op::RopeKv { .. } | Op::Attention(_) | Op::ShortConv { .. } => {
                let (real, small) = self.kv_heads(op);
                width / real * small
            }
            Op::MatMul(m) => self.narrow(width, self.real_width(m.x)),
            Op::AddRow { .. }
            | Op::NormAdd { .. }
            | Op::Activate { .. }
            | Op::Glu { .. }
            | Op::Add { .. }
            | Op::SelectRows { .. }
            | Op::MeanRows { .. }
            | Op::Scale { .. } => wide(width),
        }
    }

    /// A weight of an operation, in the sample.
    fn spec(&self, op: &Op, id: WeightId) -> Result<WeightSpec> {
        let spec = self.weights.spec(id).ok_or_else(|| Error::internal(format!("weight {} was not created", id.0)))?;
        // Of the matrices of a product.
        let row_len = match op {
            Op::MatMul(m) => self.real_width(m.x),
            _ => 1,
        };
        let is_factor = |id: WeightId| match op {
            Op::MatMul(m) => m.parts.iter().flat_map(|p| &p.lora).any(|lora| lora.b == id),
            _ => false,
        };
        let is_low_rank = |id: WeightId| match op {
            Op::MatMul(m) => m.parts.iter().flat_map(|p| &p.lora).any(|lora| lora.a == id),
            _ => false,
        };
        let is_bias = |id: WeightId| match op {
            Op::MatMul(m) => m.parts.iter().any(|p| p.bias == Some(id)),
            _ => false,
        };
        let shape = match (op, &spec.shape[..]) {
            (Op::Embed { .. }, [_, k]) => vec![N_TOKENS, wide(*k)],
            (Op::AddRow { index: RowIndex::Segment, .. }, [_, k]) => vec![2, wide(*k)],
            (Op::AddRow { index: RowIndex::Position(offset), .. }, [_, k]) => {
                vec![offset + n_positions(self.plan.rows.max()), wide(*k)]
            }
            (Op::ShortConv { x, .. }, [_, n_taps]) => vec![self.width(op, *x), *n_taps],
            (Op::Attention(_), [n_buckets, heads]) => {
                let (real, small) = self.kv_heads(op);
                vec![*n_buckets, heads / real * small]
            }
            (Op::Attention(Attention { append: Some(append), q, .. }), [n]) => match append.norms {
                Some(norms) if norms.runs == Runs::Rows && id == norms.q => vec![self.width(op, *q)],
                Some(norms) if norms.runs == Runs::Rows && id == norms.k => vec![self.width(op, append.k)],
                _ => vec![*n],
            },
            (Op::Rope { .. } | Op::RopeKv { .. }, shape) => shape.to_vec(),
            (_, [n, rank]) if is_factor(id) => vec![self.narrow(*n, row_len), *rank],
            (_, [rank, k]) if is_low_rank(id) => vec![*rank, wide(*k)],
            (_, [n, k]) => vec![self.narrow(*n, row_len), wide(*k)],
            (_, [n]) if is_bias(id) => vec![self.narrow(*n, row_len)],
            (_, [k]) => vec![wide(*k)],
            (_, shape) => return Err(Error::internal(format!("tensor {} has the shape {shape:?}", spec.name))),
        };
        Ok(WeightSpec { name: spec.name.clone(), shape, format: spec.format })
    }

    /// A buffer of random numbers: the `place`-th of its kind.
    fn input(&mut self, rows: Rows, width: usize, place: usize) -> BufferId {
        if let Some(id) = self.inputs.get(&(rows == Rows::Out, width, place)) {
            return *id;
        }
        let id = match rows {
            Rows::New => {
                let table = WeightId(self.specs.len() as u32);
                let name = format!("input {place} of {width}");
                self.specs.push(WeightSpec { name: name.clone(), shape: vec![N_TOKENS, width], format: Format::F32 });
                let out = self.buffer(name, Rows::New, width);
                self.plan.ops.push(Op::Embed { table, scale: 1.0, out });
                out
            }
            Rows::Out => {
                let x = self.input(Rows::New, width, place);
                let out = self.buffer(format!("output input {place} of {width}"), Rows::Out, width);
                self.plan.ops.push(Op::SelectRows { x, out });
                out
            }
        };
        self.inputs.insert((rows == Rows::Out, width, place), id);
        id
    }

    fn buffer(&mut self, name: String, rows: Rows, width: usize) -> BufferId {
        self.plan.buffers.push(Buffer { name, rows, width });
        BufferId((self.plan.buffers.len() - 1) as u32)
    }
}

/// A row length.
fn wide(k: usize) -> usize {
    if k <= 2 * WIDE { k } else { WIDE + k % WIDE }
}
