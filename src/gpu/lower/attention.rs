//! Attention and what writes the cache that it reads.

use super::{
    Lowering, MAX_HEAD_SIZE,
    rows::{WORKGROUP, capped, rotating},
};
use crate::{
    error::{Error, Result},
    gpu::{
        dispatch::{Biases, Dispatch, Extent, Operand, Parts},
        shader::{APPEND, Kernel, NORMS, OWN, PARTS, Shader},
        weights::Shard,
    },
    plan::{Append, Attention, BufferId, QkNorms, Rope, Sees},
    weights::{WeightId, WeightSpec},
};

/// From this number of rows on they attend tile by tile; fewer do each as it would alone, bit for bit.
pub(in crate::gpu) const MIN_TILED_ROWS: usize = 9;
/// Elements of a head that are read together.
const QUAD: usize = 4;

/// Numbers of attention.wgsl.
mod few_rows {
    /// Its workgroup.
    pub(super) const WORKGROUP: usize = 256;
    /// Query heads that a workgroup can take together.
    pub(super) const MAX_HEADS: usize = 4;
    /// Slices that it can put together.
    pub(super) const MAX_SLICES: usize = 64;
}

/// Numbers of attention_prefill.wgsl.
mod many_rows {
    /// Its workgroup.
    pub(super) const WORKGROUP: usize = 128;
    /// Quads of a head that one invocation can have.
    pub(super) const MAX_OWN: usize = 16;
    /// Quads of keys that fit into its workgroup memory.
    pub(super) const TILE_QUADS: usize = 256;
    /// Positions whose scores one invocation can have.
    pub(super) const MAX_TILE: usize = 16;
}

/// What `Op::RopeKv` says.
pub(super) struct RopeKv<'a> {
    pub(super) layer: usize,
    pub(super) heads: usize,
    pub(super) rope: &'a Rope,
    pub(super) q: Operand,
    pub(super) k: Operand,
    pub(super) v: Operand,
    /// Elements per row of q, and of k.
    pub(super) widths: [usize; 2],
    pub(super) out: Operand,
    /// Q and k are normalised first.
    pub(super) norms: Option<QkNorms>,
}

impl Lowering<'_> {
    pub(super) fn kv_write(&mut self, layer: usize, k: BufferId, v: BufferId) -> Result<()> {
        self.check_head_size()?;
        let operands = [Operand::Rows, Operand::Pages, k.into(), v.into(), Operand::Cache(layer)];
        let n_quads = (self.width(k) / QUAD) as u32;
        let grid = [Extent::Fixed(n_quads.div_ceil(WORKGROUP)), Extent::PerRows(1), Extent::Fixed(1)];
        let own_heads = self.width(k) / self.geometry.head_size;
        let dispatch = self.cached(Dispatch::new(Shader::new(Kernel::KvWrite), &operands, grid), own_heads);
        self.push(dispatch);
        Ok(())
    }

    pub(super) fn rope_kv(&mut self, rope_kv: RopeKv<'_>) -> Result<()> {
        let RopeKv { layer, heads, rope, q, k, v, widths, out, norms } = rope_kv;
        self.check_head_size()?;
        let frequencies = self.frequencies(rope)?;
        let cache = Operand::Cache(layer);
        let operands = [Operand::Rows, Operand::Pages, frequencies, q, k, v, out, cache];
        let n_quads = (widths.iter().sum::<usize>() / QUAD) as u32;
        let [_, k_width] = widths;
        let own_heads = k_width / self.geometry.head_size;
        let n_groups = norms.map_or(n_quads.div_ceil(WORKGROUP), |_| (heads + own_heads) as u32);
        let grid = [Extent::Fixed(n_groups), Extent::PerRows(1), Extent::Fixed(1)];
        let dispatch = self.cached(Dispatch::new(Shader::new(Kernel::RopeKv), &operands, grid), own_heads);
        let dispatch = rotating(dispatch.with("HEADS", heads as u32), rope);
        let dispatch = self.normed(dispatch, norms, widths)?;
        self.push(dispatch);
        Ok(())
    }

    /// With norms of q and k (shaders/rotated_qk.wgsl), of rows of these widths.
    fn normed(&self, dispatch: Dispatch, norms: Option<QkNorms>, widths: [usize; 2]) -> Result<Dispatch> {
        let Some(norms) = norms else { return Ok(dispatch) };
        let shader = dispatch.shader.clone().flag(NORMS, true);
        let mut dispatch = Dispatch { shader, ..dispatch };
        dispatch.operands.push((8, Operand::Plane(self.weights.pair([norms.q, norms.k])?)));
        let [q_run, k_run] = widths.map(|width| norms.run_len(self.geometry.head_size, width) as u32);
        Ok(dispatch.with("Q_RUN", q_run).with("K_RUN", k_run).with("EPS", norms.eps))
    }

    pub(super) fn attention(&mut self, a: &Attention) -> Result<()> {
        self.check_head_size()?;
        let is_few = self.plan.rows.max() < MIN_TILED_ROWS;
        let is_tiled = !is_few && self.forms.attention_tiles;
        let dispatch = match a.append {
            Some(append) if self.plan.rows.max() == 1 && self.forms.appends => self.appending(a, &append)?,
            Some(append) => {
                let rotated = self.shared_scratch("rotated", self.plan.rows.max() * self.width(a.q));
                self.appended_before(a, &append, rotated)?;
                if is_tiled { many_rows(a, rotated) } else { few_rows(a, rotated) }
            }
            None if is_tiled => many_rows(a, a.q.into()),
            None => few_rows(a, a.q.into()),
        };
        let window = a.window.and_then(|w| u32::try_from(w).ok()).unwrap_or(u32::MAX);
        let dispatch = capped(dispatch.with("WINDOW", window).with("SCALE", a.scale), a.soft_cap);
        let (sees_all, sees_memory) = (a.sees == Sees::Whole, a.sees == Sees::Memory);
        // Scores are vectors of four.
        let shader = dispatch.shader.clone().flag("VEC4", a.soft_cap.is_some());
        let is_own_first = a.append.is_some() && is_few && self.forms.appends;
        let shader = shader.flag("WHOLE", sees_all).flag("MEMORY", sees_memory).flag(OWN, is_own_first);
        let dispatch = self.with_bias(Dispatch { shader, ..dispatch }, a);
        let dispatch = self.cached(dispatch, a.kv_heads);
        if is_few && a.sees == Sees::Past && self.forms.parts {
            self.in_parts(dispatch, a, window);
        } else {
            self.push(dispatch);
        }
        Ok(())
    }

    /// Of few rows, what each sees being cut into parts where that is much.
    fn in_parts(&mut self, dispatch: Dispatch, a: &Attention, window: u32) {
        let parts = Parts { len: self.forms.part_positions as u32, window };
        let cut = |dispatch: Dispatch| dispatch.with("PART", parts.len).with("MOST_PARTS", Parts::MOST);
        // With the largest score and the sum of a head behind its elements.
        let len = self.plan.rows.max() * Parts::MOST as usize * a.heads * (a.head_size + QUAD);
        let results = self.shared_scratch("parts of attention", len);
        let shader = dispatch.shader.clone().flag(PARTS, true);
        let [width, height, _] = dispatch.grid;
        let grid = [width, height, Extent::PerParts(parts)];
        let mut dispatch = cut(Dispatch { shader, grid, ..dispatch });
        dispatch.operands.push((9, results));
        let operands = [Operand::Rows, results, a.out.into()];
        let grid = [Extent::IfParts(parts, a.heads as u32), Extent::PerRows(1), Extent::Fixed(1)];
        let join = cut(Dispatch::new(Shader::new(Kernel::AttentionJoin), &operands, grid));
        let join = join.with("WINDOW", window).with("HEAD_SIZE", a.head_size as u32).with("N_HEADS", a.heads as u32);
        self.push(dispatch);
        self.push(join);
    }

    /// Of one row, which is normalised, rotated and appended first.
    fn appending(&mut self, a: &Attention, append: &Append) -> Result<Dispatch> {
        let Append { norms, rope, k, v } = append;
        let mut dispatch = few_rows(a, a.q.into());
        let more = [(0, Operand::OnlyRow), (5, self.frequencies(rope)?), (6, (*k).into()), (7, (*v).into())];
        dispatch.operands.retain(|(binding, _)| *binding != 0);
        dispatch.operands.extend(more);
        let shader = dispatch.shader.clone().flag(APPEND, true);
        let dispatch = rotating(Dispatch { shader, ..dispatch }, rope);
        self.normed(dispatch, *norms, [a.q, *k].map(|id| self.width(id)))
    }

    /// What an attention that appends does first, as operations of their own; `rotated` gets q. The norms are part of the rotation where
    /// one row has them in its attention: so both add up in the same order.
    fn appended_before(&mut self, a: &Attention, append: &Append, rotated: Operand) -> Result<()> {
        let Append { norms, rope, k, v } = append;
        let (mut q, mut key) = (a.q.into(), (*k).into());
        let (within, before) = if self.forms.appends { (*norms, None) } else { (None, *norms) };
        if let Some(norms) = before {
            let places = [(a.q, &mut q, "normed q"), (*k, &mut key, "normed k")];
            for (norm, (id, place, purpose)) in norms.each().iter().zip(places) {
                *place = self.shared_scratch(purpose, self.plan.rows.max() * self.width(id));
                self.norm(id, norm, norms.run_len(a.head_size, self.width(id)), *place)?;
            }
        }
        let Attention { layer, heads, kv_heads, head_size, .. } = *a;
        let widths = [heads, kv_heads].map(|n| n * head_size);
        self.rope_kv(RopeKv { layer, heads, rope, q, k: key, v: (*v).into(), widths, out: rotated, norms: within })
    }

    /// With the biases by distance, where there are any, bound after everything else.
    fn with_bias(&mut self, dispatch: Dispatch, a: &Attention) -> Dispatch {
        let Some(bias) = a.bias else { return dispatch };
        let farthest = if a.sees == Sees::Whole { self.plan.rows.max() } else { usize::MAX };
        let biases = Biases { bias, heads: a.heads, radius: bias.max_distance.min(farthest) };
        let all = &mut self.lowered.biases;
        let index = all.iter().position(|b| *b == biases).unwrap_or(all.len());
        if index == all.len() {
            all.push(biases);
        }
        let shader = dispatch.shader.clone().flag("DISTANCES", true);
        let mut dispatch = Dispatch { shader, ..dispatch }.with("RADIUS", biases.radius as u32);
        dispatch.operands.push((dispatch.operands.len() as u32, Operand::Biases(index)));
        dispatch
    }

    /// Into the cache, and out again.
    pub(super) fn short_conv(&mut self, layer: usize, x: BufferId, weight: WeightId, out: BufferId) -> Result<()> {
        self.check_head_size()?;
        let width = self.width(x) as u32;
        let (cache, shader) = (Operand::Cache(layer), Shader::new(Kernel::KvWrite).flag("CHANNELS", true));
        let kv_heads = self.geometry.kv_heads;
        let n_quads = (kv_heads * self.geometry.head_size / QUAD) as u32;
        let grid = [Extent::Fixed(n_quads.div_ceil(WORKGROUP)), Extent::PerRows(1), Extent::Fixed(1)];
        let operands = [Operand::Rows, Operand::Pages, x.into(), cache];
        let write = self.cached(Dispatch::new(shader, &operands, grid), kv_heads).with("WIDTH", width);
        let n_taps = self.weights.spec(weight).map_or(0, WeightSpec::row_len) as u32;
        let table = self.weights.table(weight)?;
        let of_shard = |shard: &Shard| {
            let planes = [Some(shard.quants), shard.scales].into_iter().flatten().map(Operand::Plane);
            let operands = [Operand::Rows, Operand::Pages, cache, out.into()].into_iter().chain(planes);
            let n = shard.n_rows as u32;
            let grid = [Extent::Fixed(n.div_ceil(WORKGROUP)), Extent::PerRows(1), Extent::Fixed(1)];
            let shader = Shader::new(Kernel::ShortConv).format(table.format);
            let dispatch = self.cached(Dispatch::new(shader, &operands.collect::<Vec<_>>(), grid), kv_heads);
            let dispatch = dispatch.with("WIDTH", width).with("TAPS", n_taps).with("BLOCKS", table.row_blocks as u32);
            dispatch.with("FIRST_ROW", shard.first_row as u32).with("N_ROWS", n)
        };
        let reads: Vec<Dispatch> = table.shards.iter().map(of_shard).collect();
        self.push(write);
        reads.into_iter().for_each(|dispatch| self.push(dispatch));
        Ok(())
    }

    /// With the constants of shaders/kv/; `own_heads` is how many of the cache's kv heads the operation has.
    fn cached(&self, dispatch: Dispatch, own_heads: usize) -> Dispatch {
        let shader = dispatch.shader.clone().kv(self.geometry.format);
        let (kv_heads, head_size) = (self.geometry.kv_heads as u32, self.geometry.head_size as u32);
        let dispatch = Dispatch { shader, ..dispatch }.with("KV_HEADS", kv_heads).with("HEAD_SIZE", head_size);
        dispatch.with("OWN_HEADS", own_heads as u32)
    }

    fn check_head_size(&self) -> Result<()> {
        let head_size = self.geometry.head_size;
        if head_size.is_multiple_of(QUAD) && head_size <= MAX_HEAD_SIZE {
            return Ok(());
        }
        let what = format!(
            "a head size of {head_size} on the GPU (multiples of {QUAD} up to {MAX_HEAD_SIZE} are supported there)"
        );
        Err(Error::UnsupportedFeature { what })
    }
}

/// A workgroup per row, kv head and share of its query heads.
fn few_rows(a: &Attention, q: Operand) -> Dispatch {
    let group = a.heads / a.kv_heads;
    let splits = group.div_ceil(few_rows::MAX_HEADS);
    let slices = (few_rows::WORKGROUP / (a.head_size / QUAD)).min(few_rows::MAX_SLICES);
    let operands = [Operand::Rows, Operand::Pages, q, Operand::Cache(a.layer), a.out.into()];
    let grid = [Extent::Fixed((a.kv_heads * splits) as u32), Extent::PerRows(1), Extent::Fixed(1)];
    let dispatch = Dispatch::new(Shader::new(Kernel::Attention), &operands, grid);
    with_heads(dispatch, group, splits).with("SLICES", slices as u32)
}

/// A workgroup per tile of rows, kv head and share of its query heads.
fn many_rows(a: &Attention, q: Operand) -> Dispatch {
    let (group, columns) = (a.heads / a.kv_heads, a.head_size / QUAD);
    let divides = |lanes: &usize| columns.is_multiple_of(*lanes) && columns / lanes <= many_rows::MAX_OWN;
    let lanes = (1..columns).find(divides).unwrap_or(columns);
    // A power of two, so that a tile lies in one page.
    let tile = 1 << (many_rows::TILE_QUADS / columns).min(many_rows::MAX_TILE).ilog2();
    let queries = many_rows::WORKGROUP / lanes;
    let splits = group.div_ceil(queries);
    let rows = queries / group.div_ceil(splits);
    let operands = [Operand::Step, Operand::Rows, Operand::Pages, q, Operand::Cache(a.layer), a.out.into()];
    let grid = [Extent::PerRows(rows as u32), Extent::Fixed(a.kv_heads as u32), Extent::Fixed(splits as u32)];
    let dispatch = Dispatch::new(Shader::new(Kernel::AttentionPrefill), &operands, grid);
    with_heads(dispatch, group, splits).with("ROWS", rows as u32).with("LANES", lanes as u32).with("TILE", tile)
}

/// A kv head's query heads, shared by `splits` workgroups.
fn with_heads(dispatch: Dispatch, group: usize, splits: usize) -> Dispatch {
    let heads = group.div_ceil(splits);
    let dispatch = dispatch.with("GROUP", group as u32).with("HEADS", heads as u32);
    if dispatch.shader.kernel == Kernel::Attention { dispatch.with("SPLITS", splits as u32) } else { dispatch }
}
