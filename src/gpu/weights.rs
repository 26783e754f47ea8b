//! Weights on the GPU: their planes in buffers, written while they arrive. The bytes of a file pass through in bounded slices.
//!
//! Matrices that one operation multiplies (q|k|v, gate|up) lie one after the other in one pair of buffers, a "set", so that
//! one dispatch can read them all; each begins at a multiple of [`ROW_ALIGN`] rows. A matrix that is longer than a binding may
//! be is a set of its own, cut into shards of rows. Vectors are f32; the biases of a set are one vector, with zeros where there
//! is none.

use std::rc::Rc;

pub(super) use super::sets::Shard;
use super::{
    context::{Buffer, Context},
    sets::Set,
    vector::Vector,
};
use crate::{
    error::{Error, Result},
    plan::{Append, Attention, Epilogue, MatMul, Norm, Op, Part, Plan},
    quant::{
        Format,
        planes::{Plane, PlaneShape, Splitter},
    },
    sorted::SortedMap,
    weights::{WeightId, WeightSpec},
};

/// Most matrices of a set: as many outputs as a kernel has bindings for.
pub(super) const MAX_PARTS: usize = 3;
/// Rows that the matrices of a set, and shards, are aligned to: no team of invocations works on two matrices, and neither a u32 of
/// scales nor a group of eight blocks belongs to two.
const ROW_ALIGN: usize = 8;
/// Bytes that are written before what is waiting is submitted, so that drivers need not keep it all.
const SUBMIT_BYTES: usize = 1 << 24;

/// Every weight of a model.
pub(super) struct Weights {
    context: Rc<Context>,
    shard_bytes: u64,
    weights: SortedMap<WeightId, Weight>,
    sets: Vec<Set>,
    /// Biases of the matrices of a set, by set and matrix.
    biases: SortedMap<BiasKey, usize>,
    /// Planes of two vectors, one behind the other.
    pairs: SortedMap<[WeightId; 2], usize>,
    planes: Vec<Buffer>,
    n_incomplete: usize,
    waiting_bytes: usize,
}

type BiasKey = (usize, Vec<(usize, WeightId)>);

struct Weight {
    spec: WeightSpec,
    content: Content,
}

enum Content {
    Matrix { splitter: Box<Splitter>, place: Option<Place> },
    Vector(Vector),
}

/// Where a matrix is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    set: usize,
    /// Its first row in the set.
    row: usize,
}

/// A matrix as the kernels see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) format: Format,
    /// Blocks per row.
    pub(super) row_blocks: usize,
    /// Number of its set: matrices of one set can be multiplied by one dispatch.
    pub(super) set: usize,
    /// Its first row in the set.
    pub(super) row: usize,
    pub(super) n_rows: usize,
    /// Shards of the set.
    pub(super) shards: &'a [Shard],
}

impl Weights {
    /// Matrices are cut into shards of at most `shard_bytes`, where the device does not want shorter ones.
    pub(super) fn new(context: Rc<Context>, shard_bytes: u64) -> Self {
        Self {
            context,
            shard_bytes,
            weights: SortedMap::default(),
            sets: vec![],
            biases: SortedMap::default(),
            pairs: SortedMap::default(),
            planes: vec![],
            n_incomplete: 0,
            waiting_bytes: 0,
        }
    }

    /// Bytes that a weight takes on the GPU, known before it comes.
    pub(super) fn weight_bytes(spec: &WeightSpec) -> u64 {
        match spec.shape.len() {
            2 => PlaneShape::new(spec.format, spec.n_rows(), spec.row_len()).n_bytes(),
            _ => (spec.row_len() as u64).saturating_mul(4),
        }
    }

    pub(super) fn create(&mut self, id: WeightId, spec: &WeightSpec) -> Result<()> {
        let content = match spec.shape.len() {
            2 => {
                let splitter = Splitter::new(&spec.name, spec.format, spec.n_rows(), spec.row_len())?;
                Content::Matrix { splitter: Box::new(splitter), place: None }
            }
            _ => Content::Vector(Vector::default()),
        };
        let weight = Weight { spec: spec.clone(), content };
        self.n_incomplete += usize::from(!weight.is_complete());
        match self.weights.insert(id, weight) {
            None => Ok(()),
            Some(_) => Err(Error::internal(format!("tensor {} was created twice", spec.name))),
        }
    }

    /// Takes the next bytes of a weight. One that no plan has placed yet gets a place of its own.
    pub(super) fn write(&mut self, id: WeightId, bytes: &[u8]) -> Result<()> {
        if matches!(self.weight(id)?.content, Content::Matrix { place: None, .. }) {
            self.place_alone(id)?;
        }
        let Self { context, weights, sets, planes, .. } = self;
        let weight = weights.get_mut(&id).ok_or_else(|| not_created(id))?;
        let was_complete = weight.is_complete();
        match &mut weight.content {
            Content::Matrix { splitter, place } => {
                let place = place.ok_or_else(|| not_created(id))?;
                let set = sets.get(place.set).ok_or_else(|| not_created(id))?;
                splitter.write(bytes, &mut |slice| set.put(context, planes, place.row, slice))?;
            }
            Content::Vector(vector) => {
                vector.take(&weight.spec, bytes)?;
                vector.put(context, planes);
            }
        }
        self.n_incomplete -= usize::from(!was_complete && weight.is_complete());
        self.waiting_bytes += bytes.len();
        if self.waiting_bytes >= SUBMIT_BYTES {
            self.context.nudge();
            self.waiting_bytes = 0;
        }
        Ok(())
    }

    /// Gives the weights of a plan their places, where they have none yet.
    pub(super) fn place(&mut self, plan: &Plan) -> Result<()> {
        plan.check_weights(|id| self.weights.get(&id).map(|w| &w.spec))?;
        // Tables that are read by row are sets of their own, also where they are multiplied too.
        for op in &plan.ops {
            if let Op::Embed { table, .. } | Op::AddRow { table, .. } | Op::ShortConv { weight: table, .. } = op {
                self.place_alone(*table)?;
            }
        }
        for op in &plan.ops {
            match op {
                Op::MatMul(m) => self.place_mat_mul(m)?,
                Op::Norm { norm, .. } | Op::NormAdd { norm, .. } => self.place_norm(norm)?,
                Op::Rope { rope, .. } | Op::RopeKv { rope, .. } => {
                    rope.factors.map_or(Ok(()), |id| self.place_vector(id))?
                }
                Op::Attention(Attention { append: Some(Append { norms: Some(norms), .. }), .. }) => {
                    norms.each().iter().try_for_each(|norm| self.place_norm(norm))?;
                    self.place_pair([norms.q, norms.k])?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether every weight of a plan has come.
    pub(super) fn check_complete(&self, plan: &Plan) -> Result<()> {
        if self.n_incomplete == 0 {
            return Ok(());
        }
        for id in plan.ops.iter().flat_map(Op::weights) {
            let weight = self.weight(id)?;
            if !weight.is_complete() {
                return Err(Error::internal(format!("tensor {} is not complete", weight.spec.name)));
            }
        }
        Ok(())
    }

    /// A matrix that has its place.
    pub(super) fn table(&self, id: WeightId) -> Result<Table<'_>> {
        let weight = self.weight(id)?;
        let Content::Matrix { place: Some(place), .. } = weight.content else { return Err(not_placed(weight)) };
        let set = self.sets.get(place.set).ok_or_else(|| not_placed(weight))?;
        let PlaneShape { format, row_blocks, .. } = set.shape;
        let Place { set: index, row } = place;
        Ok(Table { format, row_blocks, set: index, row, n_rows: weight.spec.n_rows(), shards: &set.shards })
    }

    /// The plane of a vector that has its place.
    pub(super) fn vector(&self, id: WeightId) -> Result<usize> {
        let weight = self.weight(id)?;
        let own = match &weight.content {
            Content::Vector(vector) => vector.own,
            Content::Matrix { .. } => None,
        };
        own.ok_or_else(|| not_placed(weight))
    }

    /// The plane of two vectors, one behind the other, that has its place.
    pub(super) fn pair(&self, ids: [WeightId; 2]) -> Result<usize> {
        self.pairs.get(&ids).copied().ok_or_else(|| Error::internal("two vectors have no place together"))
    }

    /// The biases of parts of one set, by rows of the set; `None` where no part has one.
    pub(super) fn biases(&self, parts: &[(WeightId, Option<WeightId>)]) -> Result<Option<usize>> {
        match self.bias_key(parts)? {
            None => Ok(None),
            Some(key) => {
                self.biases.get(&key).copied().map(Some).ok_or_else(|| Error::internal("biases have no place"))
            }
        }
    }

    /// The least that [`Self::new`] may be told for a weight.
    pub(super) fn shortest_shard_bytes(spec: &WeightSpec) -> u64 {
        let shape = PlaneShape::new(spec.format, ROW_ALIGN, spec.row_len());
        shape.rows_bytes(Plane::Quants, ROW_ALIGN).max(shape.rows_bytes(Plane::Scales, ROW_ALIGN))
    }

    /// What is known about a weight that was created.
    pub(super) fn spec(&self, id: WeightId) -> Option<&WeightSpec> {
        self.weights.get(&id).map(|w| &w.spec)
    }

    pub(super) fn buffer(&self, plane: usize) -> Option<&wgpu::Buffer> {
        self.planes.get(plane).map(|b| &**b)
    }

    pub(super) fn n_bytes(&self) -> u64 {
        self.planes.iter().map(|b| b.size()).sum()
    }

    fn weight(&self, id: WeightId) -> Result<&Weight> {
        self.weights.get(&id).ok_or_else(|| not_created(id))
    }

    /// Runs of parts of one format become sets.
    fn place_mat_mul(&mut self, m: &MatMul) -> Result<()> {
        m.norm.iter().try_for_each(|norm| self.place_norm(norm))?;
        for format in Format::ALL {
            let of_format =
                |p: &&Part| p.lora.is_none() && self.weights.get(&p.weight).is_some_and(|w| w.spec.format == format);
            let ids: Vec<WeightId> = m.parts.iter().filter(of_format).map(|p| p.weight).collect();
            ids.chunks(MAX_PARTS).try_for_each(|ids| self.place_set(ids))?;
        }
        for part in &m.parts {
            self.place_alone(part.weight)?;
            if let Some(lora) = part.lora {
                self.place_alone(lora.a)?;
                self.place_alone(lora.b)?;
            }
        }
        let parts: Vec<_> = m.parts.iter().map(|p| (p.weight, p.bias)).collect();
        for group in self.groups(m)? {
            let parts: Vec<_> = group.iter().filter_map(|i| parts.get(*i).copied()).collect();
            self.place_biases(&parts)?;
        }
        Ok(())
    }

    /// The parts of a product that one dispatch can compute each, as indices; every part is in one group.
    pub(super) fn groups(&self, m: &MatMul) -> Result<Vec<Vec<usize>>> {
        let mut groups: Vec<Vec<usize>> = vec![];
        let mut last: Option<Place> = None;
        let mut order = vec![];
        for (i, part) in m.parts.iter().enumerate() {
            let Table { set, row, .. } = self.table(part.weight)?;
            order.push((part.lora.is_some(), Place { set, row }, i));
        }
        order.sort_by_key(|(has_lora, place, i)| (*has_lora, place.set, place.row, *i));
        for (has_lora, place, i) in order {
            let follows = last.is_some_and(|last| last.set == place.set && last.row < place.row);
            let single = self.sets.get(place.set).is_some_and(|s| s.shards.len() == 1);
            match groups.last_mut() {
                Some(group) if follows && single && !has_lora && group.len() < MAX_PARTS => group.push(i),
                _ => groups.push(vec![i]),
            }
            last = (!has_lora).then_some(place);
        }
        // One dispatch can do gate and up only in this order.
        if matches!(m.epilogue, Epilogue::Glu { .. }) && groups != [[0, 1]] {
            groups = (0..m.parts.len()).map(|i| vec![i]).collect();
        }
        Ok(groups)
    }

    /// Puts matrices of one format and row length one after the other, unless one has a place already or they are too long.
    fn place_set(&mut self, ids: &[WeightId]) -> Result<()> {
        let mut n_rows = 0;
        let mut rows = vec![];
        let mut shape = PlaneShape::new(Format::F32, 0, 0);
        for (i, id) in ids.iter().enumerate() {
            let weight = self.weight(*id)?;
            if !matches!(weight.content, Content::Matrix { place: None, .. }) || ids[..i].contains(id) {
                return Ok(());
            }
            rows.push(n_rows);
            n_rows = (n_rows + weight.spec.n_rows()).next_multiple_of(ROW_ALIGN);
            shape = PlaneShape::new(weight.spec.format, n_rows, weight.spec.row_len());
        }
        if ids.len() < 2 || self.max_shard_rows(&shape) < n_rows {
            return Ok(());
        }
        let set = self.add_set(shape, ids)?;
        for (id, row) in ids.iter().zip(rows) {
            if let Some(Weight { content: Content::Matrix { place, .. }, .. }) = self.weights.get_mut(id) {
                *place = Some(Place { set, row });
            }
        }
        Ok(())
    }

    fn place_alone(&mut self, id: WeightId) -> Result<()> {
        let weight = self.weight(id)?;
        match weight.content {
            Content::Matrix { place: None, .. } => {}
            Content::Matrix { .. } => return Ok(()),
            Content::Vector(_) => return self.place_vector(id),
        }
        let shape = PlaneShape::new(weight.spec.format, weight.spec.n_rows(), weight.spec.row_len());
        let set = self.add_set(shape, &[id])?;
        if let Some(Weight { content: Content::Matrix { place, .. }, .. }) = self.weights.get_mut(&id) {
            *place = Some(Place { set, row: 0 });
        }
        Ok(())
    }

    fn place_norm(&mut self, norm: &Norm) -> Result<()> {
        self.place_vector(norm.weight)?;
        norm.bias.map_or(Ok(()), |id| self.place_vector(id))
    }

    /// Gives a vector a buffer of its own.
    fn place_vector(&mut self, id: WeightId) -> Result<()> {
        let spec = &self.weight(id)?.spec;
        if self.vector(id).is_ok() {
            return Ok(());
        }
        let (name, n_bytes) = (spec.name.clone(), 4 * spec.row_len() as u64);
        let plane = self.add_plane(&name, n_bytes);
        if let Some(Weight { content: Content::Vector(vector), .. }) = self.weights.get_mut(&id) {
            vector.own = Some(plane);
            vector.put(&self.context, &self.planes);
        }
        Ok(())
    }

    fn place_pair(&mut self, ids: [WeightId; 2]) -> Result<()> {
        if self.pairs.contains(&ids) {
            return Ok(());
        }
        let mut len = 0;
        let mut offsets = [0; 2];
        for (id, offset) in ids.iter().zip(&mut offsets) {
            *offset = 4 * len as u64;
            len += self.weight(*id)?.spec.row_len();
        }
        let plane = self.add_plane("norms of q and k", 4 * len as u64);
        for (id, offset) in ids.iter().zip(offsets) {
            if let Some(Weight { content: Content::Vector(vector), .. }) = self.weights.get_mut(id) {
                vector.shared.push((plane, offset));
                vector.put(&self.context, &self.planes);
            }
        }
        self.pairs.insert(ids, plane);
        Ok(())
    }

    fn place_biases(&mut self, parts: &[(WeightId, Option<WeightId>)]) -> Result<()> {
        let Some(key) = self.bias_key(parts)? else { return Ok(()) };
        if self.biases.contains(&key) {
            return Ok(());
        }
        let n_rows = self.sets.get(key.0).map_or(0, |s| s.shape.n_rows);
        let plane = self.add_plane("biases", 4 * n_rows as u64);
        for (row, id) in &key.1 {
            if let Some(Weight { content: Content::Vector(vector), .. }) = self.weights.get_mut(id) {
                vector.shared.push((plane, 4 * *row as u64));
                vector.put(&self.context, &self.planes);
            }
        }
        self.biases.insert(key, plane);
        Ok(())
    }

    /// The set of some matrices, and which rows of it get which bias.
    fn bias_key(&self, parts: &[(WeightId, Option<WeightId>)]) -> Result<Option<BiasKey>> {
        let mut key = None;
        for (weight, bias) in parts {
            let Table { set, row, .. } = self.table(*weight)?;
            if let Some(bias) = bias {
                key.get_or_insert((set, vec![])).1.push((row, *bias));
            }
        }
        Ok(key)
    }

    /// Most rows of a shard.
    fn max_shard_rows(&self, shape: &PlaneShape) -> usize {
        let facts = self.context.facts();
        let limit = facts.binding_limit_bytes.min(facts.buffer_limit_bytes).min(self.shard_bytes);
        let unit = shape.rows_bytes(Plane::Quants, ROW_ALIGN).max(shape.rows_bytes(Plane::Scales, ROW_ALIGN)).max(1);
        usize::try_from(limit / unit).unwrap_or(usize::MAX / ROW_ALIGN).saturating_mul(ROW_ALIGN)
    }

    /// Makes the buffers of a set; as many shards of equal length as it needs.
    fn add_set(&mut self, shape: PlaneShape, ids: &[WeightId]) -> Result<usize> {
        let names = ids.iter().map(|id| Ok(self.weight(*id)?.spec.name.clone()));
        let name = names.collect::<Result<Vec<_>>>()?.join(" | ");
        let most = self.max_shard_rows(&shape);
        if most == 0 {
            let needed_bytes = shape.rows_bytes(Plane::Quants, ROW_ALIGN);
            return Err(Error::Memory {
                what: format!("{ROW_ALIGN} rows of tensor {name} in one binding"),
                needed_bytes,
            });
        }
        let n_shards = shape.n_rows.div_ceil(most).max(1);
        let shard_rows = shape.n_rows.div_ceil(n_shards).next_multiple_of(ROW_ALIGN);
        let mut shards = vec![];
        for first_row in (0..shape.n_rows.max(1)).step_by(shard_rows.max(1)) {
            let part = PlaneShape { n_rows: shard_rows.min(shape.n_rows - first_row), ..shape };
            let quants = self.add_plane(&name, part.plane_bytes(Plane::Quants));
            let has_scales = shape.format.layout().has_scales();
            let scales = has_scales.then(|| self.add_plane(&name, part.plane_bytes(Plane::Scales)));
            shards.push(Shard { first_row, n_rows: part.n_rows, quants, scales });
        }
        self.sets.push(Set { shape, shards });
        Ok(self.sets.len() - 1)
    }

    fn add_plane(&mut self, name: &str, n_bytes: u64) -> usize {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let buffer = self.context.guarded(name, n_bytes, || self.context.buffer(name, n_bytes, usage));
        self.planes.push(buffer);
        self.planes.len() - 1
    }
}

impl Weight {
    fn is_complete(&self) -> bool {
        match &self.content {
            Content::Matrix { splitter, .. } => splitter.is_complete(),
            Content::Vector(vector) => vector.is_complete(&self.spec),
        }
    }
}

fn not_created(id: WeightId) -> Error {
    Error::internal(format!("weight {} was not created", id.0))
}

fn not_placed(weight: &Weight) -> Error {
    Error::internal(format!("tensor {} has no place on the GPU", weight.spec.name))
}
