//! Rewrites plan to plan, one named rule each. A rule never changes what a plan computes; every rule can be left out, and
//! the reference executor gives the same values either way.
//!
//! Why the rules are allowed to move an operation down to the place of its only reader: buffers are written once, so what
//! an operation reads is still the same there, and nobody needs its result earlier. The key-value cache is the one thing
//! that is not written once; operations on it (`KvWrite`, `RopeKv`, `Attention`) therefore never change places.

use super::{Append, Attention, BufferId, Epilogue, MatMul, Norm, NormKind, Op, Plan, QkNorms, Runs, Sees};

/// Whether this build has an executor that asks for [`Rule::ON_DEVICES`]: else it carries none of them, and they do nothing.
const HAS_DEVICES: bool = cfg!(feature = "gpu");

/// A rewriting rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Matrix products next to each other that share their input become one operation (q|k|v, gate|up).
    GroupMatMuls,
    /// A norm that only one `MatMul` reads moves into it.
    NormIntoMatMul,
    /// `Glu` of the two products of one `MatMul` becomes its epilogue.
    GluIntoMatMul,
    /// An activation of a product that nobody else reads becomes the product's epilogue.
    ActivateIntoMatMul,
    /// `Add` of a product that nobody else reads becomes the product's epilogue.
    AddIntoMatMul,
    /// `Rope` of q, `Rope` of k and `KvWrite` become `RopeKv`.
    RopeKv,
    /// `Norm` of whole rows moves into the `Add` that alone reads it.
    NormIntoAdd,
    /// `RopeKv` moves into the attention that reads its q.
    RopeKvIntoAttention,
    /// Norms of q and k move into the attention that rotates and appends them.
    QkNormsIntoAttention,
    /// `Scale` of a product that nobody else reads becomes the product's epilogue.
    ScaleIntoMatMul,
}

impl Rule {
    /// Every rule, in the order in which they are applied.
    pub const EVERY: [Self; 10] = [
        Self::GroupMatMuls,
        Self::NormIntoMatMul,
        Self::GluIntoMatMul,
        Self::ActivateIntoMatMul,
        Self::AddIntoMatMul,
        Self::RopeKv,
        Self::NormIntoAdd,
        Self::RopeKvIntoAttention,
        Self::QkNormsIntoAttention,
        Self::ScaleIntoMatMul,
    ];

    /// Those that pay everywhere.
    pub const ALL: &[Self] = Self::EVERY.split_at(6).0;

    /// Those that pay where an operation costs more than its work, as on a GPU: an executor on a device asks for them itself. The others
    /// do not know them.
    pub const ON_DEVICES: &[Self] = Self::EVERY.split_at(6).1;

    fn apply(self, plan: &Plan, ops: &mut Ops) {
        match self {
            Self::GroupMatMuls => group_mat_muls(ops),
            Self::NormIntoMatMul => norm_into_mat_mul(ops, &Uses::of(plan)),
            Self::GluIntoMatMul => glu_into_mat_mul(ops, &Uses::of(plan)),
            Self::ActivateIntoMatMul => activate_into_mat_mul(ops, &Uses::of(plan)),
            Self::AddIntoMatMul => add_into_mat_mul(ops, &Uses::of(plan)),
            Self::RopeKv => rope_kv(ops, &Uses::of(plan)),
            Self::NormIntoAdd if HAS_DEVICES => norm_into_add(ops, &Uses::of(plan)),
            Self::RopeKvIntoAttention if HAS_DEVICES => rope_kv_into_attention(ops, &Uses::of(plan)),
            Self::QkNormsIntoAttention if HAS_DEVICES => qk_norms_into_attention(ops, &Uses::of(plan)),
            Self::ScaleIntoMatMul if HAS_DEVICES => scale_into_mat_mul(ops, &Uses::of(plan)),
            Self::NormIntoAdd | Self::RopeKvIntoAttention | Self::QkNormsIntoAttention | Self::ScaleIntoMatMul => {}
        }
    }
}

/// Applies the rules in order. Tapped buffers are never fused away.
pub fn fuse(mut plan: Plan, rules: &[Rule]) -> Plan {
    for rule in rules {
        let mut ops = plan.ops.iter().cloned().map(Some).collect();
        rule.apply(&plan, &mut ops);
        plan.ops = ops.into_iter().flatten().collect();
    }
    plan
}

/// The operations while a rule works on them; one that was moved leaves its place empty.
type Ops = Vec<Option<Op>>;

/// Who writes and who reads each buffer, as indices of operations before the rule began.
struct Uses {
    writer: Vec<Option<usize>>,
    readers: Vec<Vec<usize>>,
    stays: Vec<bool>,
    widths: Vec<usize>,
}

impl Uses {
    fn of(plan: &Plan) -> Self {
        let n = plan.buffers.len();
        let mut uses = Self {
            writer: vec![None; n],
            readers: vec![vec![]; n],
            stays: (0..n).map(|i| plan.stays(BufferId(i as u32))).collect(),
            widths: plan.buffers.iter().map(|b| b.width).collect(),
        };
        for (i, op) in plan.ops.iter().enumerate() {
            op.writes().into_iter().for_each(|id| uses.writer[id.0 as usize] = Some(i));
            op.reads().into_iter().for_each(|id| uses.readers[id.0 as usize].push(i));
        }
        uses
    }

    fn writer(&self, id: BufferId) -> Option<usize> {
        self.writer[id.0 as usize]
    }

    /// An operation may read a buffer twice: then it is here twice.
    fn readers(&self, id: BufferId) -> &[usize] {
        &self.readers[id.0 as usize]
    }

    /// Whether operation `i` reads the buffer, once, and nobody else wants it: neither an operation nor the caller.
    fn is_only_for(&self, id: BufferId, i: usize) -> bool {
        self.readers(id) == [i] && !self.stays[id.0 as usize]
    }

    /// The product that only operation `reader` reads, if a plain [`MatMul`] writes it.
    fn plain_product(&self, ops: &Ops, id: BufferId, reader: usize) -> Option<(usize, MatMul)> {
        let i = self.writer(id).filter(|_| self.is_only_for(id, reader))?;
        match &ops[i] {
            Some(Op::MatMul(m)) if m.epilogue == Epilogue::None => Some((i, m.clone())),
            _ => None,
        }
    }
}

/// `a = x·A; b = x·B` → `a, b = x·(A|B)`
fn group_mat_muls(ops: &mut Ops) {
    for i in 1..ops.len() {
        let (before, after) = ops.split_at_mut(i);
        let last = before.iter_mut().rev().flatten().next();
        let (Some(Op::MatMul(last)), Some(Op::MatMul(next))) = (last, &after[0]) else { continue };
        let plain = last.epilogue == Epilogue::None && next.epilogue == Epilogue::None;
        if plain && last.x == next.x && last.norm == next.norm {
            last.parts.extend(next.parts.iter().cloned());
            ops[i] = None;
        }
    }
}

/// `n = norm(x); a = n·A` → `a = norm(x)·A`
fn norm_into_mat_mul(ops: &mut Ops, uses: &Uses) {
    for i in 0..ops.len() {
        let Some(Op::Norm { x, norm, size, out }) = ops[i] else { continue };
        let Some(&reader) = uses.readers(out).first() else { continue };
        if let Some(Op::MatMul(m)) = &mut ops[reader]
            && m.x == out
            && m.norm.is_none()
            && uses.is_only_for(out, reader)
            && size == uses.widths[out.0 as usize]
        {
            (m.x, m.norm) = (x, Some(norm));
            ops[i] = None;
        }
    }
}

/// `g, u = x·(G|U); y = act(g) ⊙ u` → `y = act(x·G) ⊙ x·U`
fn glu_into_mat_mul(ops: &mut Ops, uses: &Uses) {
    for i in 0..ops.len() {
        let Some(Op::Glu { gate, up, activation, out }) = ops[i] else { continue };
        let Some((product, m)) = uses.plain_product(ops, gate, i) else { continue };
        let is_pair = m.parts.len() == 2 && m.parts[0].out == gate && m.parts[1].out == up;
        if is_pair && uses.is_only_for(up, i) {
            ops[i] = Some(Op::MatMul(MatMul { epilogue: Epilogue::Glu { activation, out }, ..m }));
            ops[product] = None;
        }
    }
}

/// `p = x·A; y = act(p)` → `y = act(x·A)`
fn activate_into_mat_mul(ops: &mut Ops, uses: &Uses) {
    for i in 0..ops.len() {
        let Some(Op::Activate { x, activation, out }) = ops[i] else { continue };
        if let Some((j, m)) = uses.plain_product(ops, x, i)
            && m.parts.len() == 1
        {
            ops[i] = Some(Op::MatMul(MatMul { epilogue: Epilogue::Activate { activation, out }, ..m }));
            ops[j] = None;
        }
    }
}

/// `p = x·A; y = r + s · p` → `y = r + s · x·A`, likewise for `p + r`.
fn add_into_mat_mul(ops: &mut Ops, uses: &Uses) {
    for i in 0..ops.len() {
        let Some(Op::Add { a, b, scale, out }) = ops[i] else { continue };
        for (residual, product) in [(a, b), (b, a)] {
            if let Some((j, m)) = uses.plain_product(ops, product, i)
                && m.parts.len() == 1
                && (product == b || scale == 1.0)
            {
                ops[i] = Some(Op::MatMul(MatMul { epilogue: Epilogue::Add { residual, scale, out }, ..m }));
                ops[j] = None;
                break;
            }
        }
    }
}

/// `q' = rope(q); k' = rope(k); write(k', v); attention(q')` → `q' = rope_kv(q, k, v); attention(q')`, in the place of the
/// write. The rotation of q may move there from either side: what it reads must be written above, its readers be below.
fn rope_kv(ops: &mut Ops, uses: &Uses) {
    for i in 0..ops.len() {
        let Some(Op::KvWrite { layer, k: rotated_k, v }) = ops[i] else { continue };
        let Some(k_op) = uses.writer(rotated_k).filter(|_| uses.is_only_for(rotated_k, i)) else { continue };
        let Some(Op::Rope { x: k, heads: kv_heads, rope, .. }) = ops[k_op] else { continue };
        let Some(out) = attended_query(&ops[i + 1..], layer) else { continue };
        let Some(q_op) = uses.writer(out) else { continue };
        let Some(Op::Rope { x: q, heads, rope: q_rope, .. }) = ops[q_op] else { continue };
        let q_is_there = uses.writer(q).is_some_and(|w| w < i);
        let q_is_read_later = uses.readers(out).iter().all(|r| *r > i);
        if q_op != k_op && q_rope == rope && q_is_there && q_is_read_later {
            ops[i] = Some(Op::RopeKv { layer, heads, kv_heads, rope, q, k, v, out });
            (ops[k_op], ops[q_op]) = (None, None);
        }
    }
}

/// `n = norm(x); y = r + s · n` → `y = r + s · norm(x)`, likewise for `n + r`.
fn norm_into_add(ops: &mut Ops, uses: &Uses) {
    for i in 0..ops.len() {
        let Some(Op::Add { a, b, scale, out }) = ops[i] else { continue };
        for (residual, normed) in [(a, b), (b, a)] {
            let Some(j) = uses.writer(normed).filter(|_| uses.is_only_for(normed, i)) else { continue };
            let Some(Op::Norm { x, norm, size, .. }) = ops[j] else { continue };
            if size == uses.widths[x.0 as usize] && (normed == b || scale == 1.0) {
                ops[i] = Some(Op::NormAdd { x, norm, residual, scale, out });
                ops[j] = None;
                break;
            }
        }
    }
}

/// `q' = rope_kv(q, k, v); attention(q')` → `attention` that appends, in the place of the attention. Nothing between them may look at
/// that layer of the cache.
fn rope_kv_into_attention(ops: &mut Ops, uses: &Uses) {
    for i in 0..ops.len() {
        let Some(Op::RopeKv { layer, rope, q, k, v, out, .. }) = ops[i] else { continue };
        let &[reader] = uses.readers(out) else { continue };
        let Some(Op::Attention(a)) = ops[reader] else { continue };
        let is_looked_at = ops[i + 1..reader].iter().flatten().any(|op| op.cache_layer() == Some(layer));
        let fits = a.layer == layer && a.sees == Sees::Past && a.bias.is_none() && a.append.is_none();
        if fits && uses.is_only_for(out, reader) && !is_looked_at {
            ops[reader] = Some(Op::Attention(Attention { append: Some(Append { norms: None, rope, k, v }), q, ..a }));
            ops[i] = None;
        }
    }
}

/// `q' = norm(q); k' = norm(k); attention(q', k')` → `attention` that normalises what it rotates and appends.
fn qk_norms_into_attention(ops: &mut Ops, uses: &Uses) {
    for i in 0..ops.len() {
        let Some(Op::Attention(a @ Attention { append: Some(append @ Append { norms: None, .. }), .. })) = ops[i]
        else {
            continue;
        };
        let norm = |ops: &Ops, id| -> Option<(usize, BufferId, Norm, Runs)> {
            let j = uses.writer(id).filter(|_| uses.is_only_for(id, i))?;
            let Some(Op::Norm { x, norm, size, .. }) = ops[j] else { return None };
            let runs = if size == a.head_size { Runs::Heads } else { Runs::Rows };
            let is_whole = runs == Runs::Heads || size == uses.widths[x.0 as usize];
            (is_whole && norm.kind == NormKind::Rms && norm.bias.is_none()).then_some((j, x, norm, runs))
        };
        let Some((q_op, q, q_norm, runs)) = norm(ops, a.q) else { continue };
        let Some((k_op, k, k_norm, k_runs)) = norm(ops, append.k) else { continue };
        if runs == k_runs && q_norm.eps == k_norm.eps {
            let norms = Some(QkNorms { runs, q: q_norm.weight, k: k_norm.weight, eps: q_norm.eps });
            ops[i] = Some(Op::Attention(Attention { append: Some(Append { norms, k, ..append }), q, ..a }));
            (ops[q_op], ops[k_op]) = (None, None);
        }
    }
}

/// `p = x·A; y = cap(s · p)` → `y = cap(s · x·A)`
fn scale_into_mat_mul(ops: &mut Ops, uses: &Uses) {
    for i in 0..ops.len() {
        let Some(Op::Scale { x, scale, soft_cap, out }) = ops[i] else { continue };
        if let Some((j, m)) = uses.plain_product(ops, x, i)
            && m.parts.len() == 1
        {
            ops[i] = Some(Op::MatMul(MatMul { epilogue: Epilogue::Scale { scale, soft_cap, out }, ..m }));
            ops[j] = None;
        }
    }
}

/// The query of the first attention over the cache of `layer`.
fn attended_query(ops: &[Option<Op>], layer: usize) -> Option<BufferId> {
    ops.iter().flatten().find_map(|op| match op {
        Op::Attention(Attention { layer: l, q, .. }) if *l == layer => Some(*q),
        _ => None,
    })
}
