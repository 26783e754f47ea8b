//! What must hold of every plan, however it was made or rewritten. A fault found here is a defect of the engine (a file
//! that does not fit was refused by the builder): [`Error::Internal`], naming the operation.
//!
//! Builders and rules are checked in debug builds and tests; executors check what they are given to prepare.

use super::{
    Append, Attention, BufferId, Epilogue, MatMul, Norm, Op, Part, Plan, PositionBias, QkNorms, Rope, Rows, Sees,
};
use crate::{
    error::{Error, Result},
    kv::KvGeometry,
    sorted::SortedMap,
    weights::{WeightId, WeightSpec},
};

impl Plan {
    /// Order and shapes: every buffer is written once and before it is read, the cache of a layer is written before it is
    /// attended to, operands fit each other, the output and the taps are there after the last operation.
    pub fn check(&self) -> Result<()> {
        if self.rows.max() == 0 {
            return Err(Error::internal(format!("plan {}: no rows", self.name)));
        }
        let mut written = vec![false; self.buffers.len()];
        let mut cache = SortedMap::default();
        for op in &self.ops {
            let fault = |what: String| Error::internal(format!("plan {}: {what} in {}", self.name, op.name()));
            for id in op.reads() {
                if !written.get(id.0 as usize).is_some_and(|w| *w) {
                    return Err(fault(format!("buffer {} is read before it is written", id.0)));
                }
            }
            for id in op.writes() {
                match written.get_mut(id.0 as usize) {
                    Some(w) if !*w => *w = true,
                    Some(_) => return Err(fault(format!("buffer {} is written twice", id.0))),
                    None => return Err(fault(format!("there is no buffer {}", id.0))),
                }
            }
            self.check_shapes(op).map_err(fault)?;
            check_cache_order(op, &mut cache).map_err(fault)?;
        }
        match std::iter::once(&self.output).chain(&self.taps).find(|id| !written.get(id.0 as usize).is_some_and(|w| *w))
        {
            Some(id) => Err(Error::internal(format!("plan {}: nothing writes buffer {}", self.name, id.0))),
            None => Ok(()),
        }
    }

    /// Every weight exists and has the shape that its operation wants.
    pub fn check_weights<'a>(&self, spec: impl Fn(WeightId) -> Option<&'a WeightSpec>) -> Result<()> {
        let has_shape = |id: WeightId, expected: &[usize]| match spec(id) {
            None => Err(format!("weight {} is not there", id.0)),
            Some(spec) if spec.shape != expected => {
                Err(format!("tensor {} has the shape {:?}, expected {expected:?}", spec.name, spec.shape))
            }
            Some(_) => Ok(()),
        };
        let rank = |id: WeightId| spec(id).map_or(0, WeightSpec::n_rows);
        for op in &self.ops {
            let checked = match op {
                Op::Embed { table, out, .. } | Op::AddRow { table, out, .. } => {
                    has_shape(*table, &[rank(*table), self.width(*out)])
                }
                Op::Norm { norm, size, .. } => check_norm_weights(norm, *size, &has_shape),
                Op::NormAdd { norm, x, .. } => check_norm_weights(norm, self.width(*x), &has_shape),
                Op::ShortConv { x, weight, .. } => {
                    has_shape(*weight, &[self.width(*x), spec(*weight).map_or(0, WeightSpec::row_len)])
                }
                Op::Attention(Attention { bias: Some(bias), heads, .. }) => {
                    has_shape(bias.table, &[rank(bias.table), *heads]).and_then(|()| check_bias(bias, rank(bias.table)))
                }
                Op::MatMul(m) => self.check_mat_mul_weights(m, &has_shape, &rank),
                Op::Rope { rope, .. } | Op::RopeKv { rope, .. } => {
                    rope.factors.map_or(Ok(()), |f| has_shape(f, &[rope.dims / 2]))
                }
                Op::Attention(Attention { append: Some(append), q, .. }) => {
                    self.check_append_weights(append, *q, &has_shape)
                }
                Op::KvWrite { .. }
                | Op::Attention(_)
                | Op::Activate { .. }
                | Op::Glu { .. }
                | Op::Add { .. }
                | Op::SelectRows { .. }
                | Op::MeanRows { .. }
                | Op::Scale { .. } => Ok(()),
            };
            checked.map_err(|what| Error::internal(format!("plan {}: {what} in {}", self.name, op.name())))?;
        }
        Ok(())
    }

    /// The cache has the layers that the plan's operations want, and in each room for their heads, of just this size.
    pub fn check_geometry(&self, geometry: &KvGeometry) -> Result<()> {
        geometry.check()?;
        let row_len = geometry.kv_heads * geometry.head_size;
        for op in &self.ops {
            let fits = match op {
                Op::KvWrite { layer, k, .. } | Op::RopeKv { layer, k, .. } => {
                    *layer < geometry.layers
                        && self.width(*k) <= row_len
                        && self.width(*k).is_multiple_of(geometry.head_size)
                }
                Op::Attention(a) => {
                    a.layer < geometry.layers && a.kv_heads <= geometry.kv_heads && a.head_size == geometry.head_size
                }
                Op::ShortConv { layer, x, .. } => *layer < geometry.layers && self.width(*x) <= 2 * row_len,
                _ => true,
            };
            if !fits {
                let KvGeometry { layers, kv_heads, head_size, .. } = geometry;
                let cache = format!("{layers} layers of {kv_heads} heads of {head_size}");
                return Err(Error::internal(format!(
                    "plan {}: {} does not fit a cache of {cache}",
                    self.name,
                    op.name()
                )));
            }
        }
        Ok(())
    }

    fn check_shapes(&self, op: &Op) -> Result<(), String> {
        match op {
            Op::Embed { out, .. } => self.check_buffer(*out, Rows::New, self.width(*out)),
            Op::AddRow { x, out, .. } | Op::ShortConv { x, out, .. } => {
                self.check_buffer(*x, Rows::New, self.width(*x))?;
                self.check_like(*out, *x)
            }
            Op::Norm { x, norm, size, out } => {
                check_norm(norm)?;
                if *size == 0 || !self.width(*x).is_multiple_of(*size) {
                    return Err(format!("rows of {} are no whole number of {size} elements", self.width(*x)));
                }
                self.check_like(*out, *x)
            }
            Op::NormAdd { x, norm, residual, scale, out } => {
                check_norm(norm)?;
                check_factor(*scale)?;
                self.check_like(*residual, *x)?;
                self.check_like(*out, *x)
            }
            Op::MatMul(m) => self.check_mat_mul(m),
            Op::Rope { x, heads, rope, out } => {
                check_rope(rope)?;
                self.check_buffer(*x, Rows::New, heads * rope.head_size)?;
                self.check_like(*out, *x)
            }
            Op::KvWrite { k, v, .. } => {
                self.check_buffer(*k, Rows::New, self.width(*k))?;
                self.check_like(*v, *k)
            }
            Op::RopeKv { heads, kv_heads, rope, q, k, v, out, .. } => {
                check_rope(rope)?;
                self.check_buffer(*q, Rows::New, heads * rope.head_size)?;
                self.check_buffer(*k, Rows::New, kv_heads * rope.head_size)?;
                self.check_like(*v, *k)?;
                self.check_like(*out, *q)
            }
            Op::Attention(a) => self.check_attention(a),
            Op::Activate { x, out, .. } => self.check_like(*out, *x),
            Op::Scale { x, scale, soft_cap, out } => {
                check_factor(*scale)?;
                soft_cap.map_or(Ok(()), check_cap)?;
                self.check_like(*out, *x)
            }
            Op::Glu { gate: a, up: b, out, .. } => {
                self.check_like(*b, *a)?;
                self.check_like(*out, *a)
            }
            Op::Add { a, b, scale, out } => {
                check_factor(*scale)?;
                self.check_like(*b, *a)?;
                self.check_like(*out, *a)
            }
            Op::SelectRows { x, out } | Op::MeanRows { x, out } => {
                self.check_buffer(*x, Rows::New, self.width(*x))?;
                self.check_buffer(*out, Rows::Out, self.width(*x))
            }
        }
    }

    fn check_mat_mul(&self, m: &MatMul) -> Result<(), String> {
        m.norm.iter().try_for_each(check_norm)?;
        let rows = self.buffer_rows(m.x);
        match (m.epilogue, m.parts.as_slice()) {
            (Epilogue::None, []) => Err("no parts".into()),
            (Epilogue::None, parts) => parts.iter().try_for_each(|p| self.check_buffer(p.out, rows, self.width(p.out))),
            (Epilogue::Activate { out, .. }, [part]) => self.check_buffer(out, rows, self.width(part.out)),
            (Epilogue::Scale { scale, soft_cap, out }, [part]) => {
                check_factor(scale)?;
                soft_cap.map_or(Ok(()), check_cap)?;
                self.check_buffer(out, rows, self.width(part.out))
            }
            (Epilogue::Add { residual, scale, out }, [part]) => {
                check_factor(scale)?;
                self.check_buffer(residual, rows, self.width(part.out))?;
                self.check_like(out, residual)
            }
            (Epilogue::Glu { out, .. }, [gate, up]) if self.width(gate.out) == self.width(up.out) => {
                self.check_buffer(out, rows, self.width(gate.out))
            }
            (_, parts) => Err(format!("the epilogue does not go with these {} parts", parts.len())),
        }
    }

    fn check_attention(&self, a: &Attention) -> Result<(), String> {
        if a.kv_heads == 0 || !a.heads.is_multiple_of(a.kv_heads) {
            return Err(format!("{} heads are no multiple of {} kv heads", a.heads, a.kv_heads));
        }
        if a.window == Some(0) {
            return Err("an empty window".into());
        }
        if a.sees == Sees::Memory && (a.window.is_some() || a.bias.is_some()) {
            return Err("a window or a bias over the memory".into());
        }
        if let Some(Append { norms, rope, k, v }) = &a.append {
            if a.sees != Sees::Past || a.bias.is_some() || rope.head_size != a.head_size {
                return Err("this attention cannot append".into());
            }
            norms.iter().flat_map(QkNorms::each).try_for_each(|norm| check_norm(&norm))?;
            check_rope(rope)?;
            self.check_buffer(*k, Rows::New, a.kv_heads * a.head_size)?;
            self.check_like(*v, *k)?;
        }
        a.soft_cap.map_or(Ok(()), check_cap)?;
        self.check_buffer(a.q, Rows::New, a.heads * a.head_size)?;
        self.check_like(a.out, a.q)
    }

    fn check_append_weights(&self, append: &Append, q: BufferId, has_shape: &HasShape<'_>) -> Result<(), String> {
        let Append { norms, rope, k, .. } = append;
        if let Some(norms) = norms {
            let run_len = |id| norms.run_len(rope.head_size, self.width(id));
            has_shape(norms.q, &[run_len(q)])?;
            has_shape(norms.k, &[run_len(*k)])?;
        }
        rope.factors.map_or(Ok(()), |factors| has_shape(factors, &[rope.dims / 2]))
    }

    fn check_mat_mul_weights(
        &self,
        m: &MatMul,
        has_shape: &HasShape<'_>,
        rank: &dyn Fn(WeightId) -> usize,
    ) -> Result<(), String> {
        let k = self.width(m.x);
        m.norm.iter().try_for_each(|norm| check_norm_weights(norm, k, has_shape))?;
        m.parts.iter().try_for_each(|Part { weight, bias, lora, out }| {
            let n = self.width(*out);
            has_shape(*weight, &[n, k])?;
            bias.map_or(Ok(()), |bias| has_shape(bias, &[n]))?;
            lora.map_or(Ok(()), |lora| {
                has_shape(lora.a, &[rank(lora.a), k])?;
                has_shape(lora.b, &[n, rank(lora.a)])
            })
        })
    }

    fn check_buffer(&self, id: BufferId, rows: Rows, width: usize) -> Result<(), String> {
        let b = &self.buffers[id.0 as usize];
        if (b.rows, b.width) == (rows, width) && width > 0 {
            Ok(())
        } else {
            Err(format!("{} is [{:?}, {}], expected [{rows:?}, {width}]", b.name, b.rows, b.width))
        }
    }

    fn check_like(&self, id: BufferId, other: BufferId) -> Result<(), String> {
        self.check_buffer(id, self.buffer_rows(other), self.width(other))
    }

    fn width(&self, id: BufferId) -> usize {
        self.buffers[id.0 as usize].width
    }

    fn buffer_rows(&self, id: BufferId) -> Rows {
        self.buffers[id.0 as usize].rows
    }
}

type HasShape<'a> = dyn Fn(WeightId, &[usize]) -> Result<(), String> + 'a;

fn check_norm_weights(norm: &Norm, size: usize, has_shape: &HasShape<'_>) -> Result<(), String> {
    has_shape(norm.weight, &[size])?;
    norm.bias.map_or(Ok(()), |bias| has_shape(bias, &[size]))
}

fn check_factor(factor: f32) -> Result<(), String> {
    if factor.is_finite() { Ok(()) } else { Err(format!("a factor of {factor}")) }
}

fn check_cap(cap: f32) -> Result<(), String> {
    if cap.is_finite() && cap > 0.0 { Ok(()) } else { Err(format!("a soft cap of {cap}")) }
}

fn check_bias(bias: &PositionBias, n_buckets: usize) -> Result<(), String> {
    let near = if bias.both_sides { n_buckets / 4 } else { n_buckets / 2 };
    match near > 0 && bias.max_distance > near {
        true => Ok(()),
        false => Err(format!("{n_buckets} buckets for distances to {}", bias.max_distance)),
    }
}

fn check_norm(norm: &Norm) -> Result<(), String> {
    match norm.eps.is_finite() && norm.eps > 0.0 {
        true => Ok(()),
        false => Err(format!("ε is {}", norm.eps)),
    }
}

fn check_rope(rope: &Rope) -> Result<(), String> {
    let Rope { head_size, dims, base, frequency_scale, .. } = *rope;
    if dims == 0 || dims % 2 != 0 || dims > head_size {
        return Err(format!("{dims} of {head_size} elements cannot be rotated"));
    }
    if !(base.is_finite() && base > 0.0 && frequency_scale.is_finite()) {
        return Err(format!("base {base}, frequency scale {frequency_scale}"));
    }
    Ok(())
}

/// The cache of a layer is written before it is attended to, and not written again before that. (An encoder's layers may take
/// turns on the same room; what it writes last for its decoder stays.) The memory was written by another plan.
fn check_cache_order(op: &Op, cache: &mut SortedMap<usize, bool>) -> Result<(), String> {
    match op {
        Op::KvWrite { layer, .. } | Op::RopeKv { layer, .. } | Op::ShortConv { layer, .. } => {
            match cache.insert(*layer, matches!(op, Op::ShortConv { .. })) {
                Some(false) => Err(format!("the cache of layer {layer} is written twice")),
                _ => Ok(()),
            }
        }
        Op::Attention(Attention { append: Some(_), layer, .. }) => match cache.insert(*layer, true) {
            Some(false) => Err(format!("the cache of layer {layer} is written twice")),
            _ => Ok(()),
        },
        Op::Attention(a) if a.sees != Sees::Memory => match cache.get_mut(&a.layer) {
            Some(was_read) => {
                *was_read = true;
                Ok(())
            }
            None => Err(format!("the cache of layer {} is read before it is written", a.layer)),
        },
        _ => Ok(()),
    }
}
