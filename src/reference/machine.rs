//! The operations of a step, one after the other, as plain loops: what each one means.

use super::{
    Run, ops,
    pages::{Pages, Side},
    tensor::Tensor,
};
use crate::{
    error::{Error, Result, try_vec},
    kv::PageId,
    plan::{
        Append, Attention, BufferId, Epilogue, MatMul, Norm, Op, Part, Plan, Rope, Row, RowIndex, RowInput, Rows, Sees,
    },
    sorted::SortedMap,
    weights::WeightId,
};

/// What an operation works on.
pub(super) struct Machine<'a> {
    pub(super) weights: &'a SortedMap<WeightId, Tensor>,
    pub(super) pages: &'a mut Pages,
    pub(super) plan: &'a Plan,
    pub(super) run: &'a mut Run,
}

impl Machine<'_> {
    /// Runs one operation.
    pub(super) fn execute(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::Embed { table, scale, out } => self.embed(*table, *scale, *out),
            Op::AddRow { x, table, index, out } => self.add_row(*x, *table, *index, *out),
            Op::Norm { x, norm, out, .. } => {
                let normed = self.norm(self.run.buffer(*x)?, norm)?;
                self.keep(*out, normed)
            }
            Op::NormAdd { x, norm, residual, scale, out } => {
                let normed = self.norm(self.run.buffer(*x)?, norm)?;
                let sum = self.add(self.run.buffer(*residual)?, &normed, *scale)?;
                self.keep(*out, sum)
            }
            Op::MatMul(m) => self.mat_mul(m),
            Op::Rope { x, rope, out, .. } => {
                let rotated = self.rope(*x, None, rope)?;
                self.keep(*out, rotated)
            }
            Op::KvWrite { layer, k, v } => {
                let (k, v) = (self.run.buffer(*k)?.to_vec(), self.run.buffer(*v)?.to_vec());
                self.kv_write(*layer, &k, &v);
                Ok(())
            }
            Op::RopeKv { layer, rope, q, k, v, out, .. } => {
                let (q, k, v) = (self.rope(*q, None, rope)?, self.rope(*k, None, rope)?, self.run.buffer(*v)?.to_vec());
                self.kv_write(*layer, &k, &v);
                self.keep(*out, q)
            }
            Op::Attention(a) => self.attention(a),
            Op::Glu { gate, up, activation, out } => {
                let (gate, up) = (self.run.buffer(*gate)?, self.run.buffer(*up)?);
                let mut y = zeros(gate.len())?;
                ops::glu(*activation, gate, up, &mut y);
                self.keep(*out, y)
            }
            Op::ShortConv { layer, x, weight, out } => self.short_conv(*layer, *x, *weight, *out),
            Op::Activate { x, activation, out } => {
                let y = self.run.buffer(*x)?.iter().map(|x| ops::activate(*activation, *x)).collect();
                self.keep(*out, y)
            }
            Op::Add { a, b, scale, out } => {
                let sum = self.add(self.run.buffer(*a)?, self.run.buffer(*b)?, *scale)?;
                self.keep(*out, sum)
            }
            Op::SelectRows { x, out } => self.select_rows(*x, *out),
            Op::MeanRows { x, out } => self.mean_rows(*x, *out),
            Op::Scale { x, scale, soft_cap, out } => {
                let y = self.run.buffer(*x)?.iter().map(|x| ops::soft_cap(*soft_cap, scale * x)).collect();
                self.keep(*out, y)
            }
        }
    }

    fn embed(&mut self, table: WeightId, scale: f32, out: BufferId) -> Result<()> {
        let table = self.weight(table)?;
        let width = table.spec().row_len();
        let mut y = zeros(self.run.rows.len() * width)?;
        for (row, y) in self.run.rows.iter().zip(y.chunks_exact_mut(width)) {
            let x = match row.input {
                RowInput::Token(token) => table.row(token as usize)?,
                RowInput::Embedding(i) => {
                    let rows = self.run.embeddings.chunks_exact(width);
                    rows.into_iter().nth(i as usize).ok_or_else(|| Error::internal(format!("no embedding row {i}")))?
                }
            };
            ops::embed_row(x, scale, y);
        }
        self.keep(out, y)
    }

    fn norm(&self, x: &[f32], norm: &Norm) -> Result<Vec<f32>> {
        let mut y = zeros(x.len())?;
        let bias = norm.bias.map(|b| self.weight(b)).transpose()?.map(Tensor::values);
        ops::norm(norm.kind, x, self.weight(norm.weight)?.values(), bias, norm.eps, &mut y);
        Ok(y)
    }

    fn mat_mul(&mut self, m: &MatMul) -> Result<()> {
        let x = self.run.buffer(m.x)?;
        let normed = m.norm.as_ref().map(|norm| self.norm(x, norm)).transpose()?;
        let x = normed.as_deref().unwrap_or(x);
        let products = m.parts.iter().map(|part| self.product(x, part)).collect::<Result<Vec<_>>>()?;
        match (m.epilogue, products.as_slice()) {
            (Epilogue::None, _) => {
                m.parts.iter().zip(products).try_for_each(|(part, product)| self.keep(part.out, product))
            }
            (Epilogue::Add { residual, scale, out }, [product]) => {
                let sum = self.add(self.run.buffer(residual)?, product, scale)?;
                self.keep(out, sum)
            }
            (Epilogue::Activate { activation, out }, [product]) => {
                let y = product.iter().map(|x| ops::activate(activation, *x)).collect();
                self.keep(out, y)
            }
            (Epilogue::Scale { scale, soft_cap, out }, [product]) => {
                let y = product.iter().map(|x| ops::soft_cap(soft_cap, scale * x)).collect();
                self.keep(out, y)
            }
            (Epilogue::Glu { activation, out }, [gate, up]) => {
                let mut y = zeros(gate.len())?;
                ops::glu(activation, gate, up, &mut y);
                self.keep(out, y)
            }
            (epilogue, products) => {
                Err(Error::internal(format!("{epilogue:?} of {} products (the plan was checked)", products.len())))
            }
        }
    }

    /// `x · weightᵀ (+ scale · (x · aᵀ) · bᵀ) + bias`: [T, N].
    fn product(&self, x: &[f32], part: &Part) -> Result<Vec<f32>> {
        let mut y = self.times(x, part.weight)?;
        if let Some(lora) = part.lora {
            let delta = self.times(&self.times(x, lora.a)?, lora.b)?;
            ops::add_scaled(&delta, lora.scale, &mut y);
        }
        if let Some(bias) = part.bias {
            ops::add_bias(self.weight(bias)?.values(), &mut y);
        }
        Ok(y)
    }

    fn times(&self, x: &[f32], weight: WeightId) -> Result<Vec<f32>> {
        let weight = self.weight(weight)?;
        let k = weight.spec().row_len();
        let mut y = zeros(x.len() / k * weight.spec().n_rows())?;
        ops::mat_mul(x, weight.values(), k, &mut y);
        Ok(y)
    }

    /// `rotate(x)`, or `rotate(norm(x))`.
    fn rope(&self, x: BufferId, norm: Option<Norm>, rope: &Rope) -> Result<Vec<f32>> {
        let factors = rope.factors.map(|f| self.weight(f)).transpose()?.map(Tensor::values);
        let values = self.run.buffer(x)?;
        let mut y = norm.map_or_else(|| Ok(values.to_vec()), |norm| self.norm(values, &norm))?;
        for (row, y) in self.run.rows.iter().zip(y.chunks_exact_mut(self.width(x))) {
            for head in y.chunks_exact_mut(rope.head_size) {
                ops::rope(rope, factors, row.position, head);
            }
        }
        Ok(y)
    }

    fn kv_write(&mut self, layer: usize, k: &[f32], v: &[f32]) {
        let width = k.len() / self.run.rows.len();
        let values = k.chunks_exact(width).zip(v.chunks_exact(width));
        for (row, (k, v)) in self.run.rows.iter().zip(values) {
            let (pages, position) = (&self.run.sequences[row.sequence as usize], row.position as usize);
            self.pages.write(layer, Side::K, pages, position, k);
            self.pages.write(layer, Side::V, pages, position, v);
        }
    }

    fn attention(&mut self, a: &Attention) -> Result<()> {
        let rotated = match a.append {
            None => None,
            Some(Append { norms, rope, k, v }) => {
                let [q_norm, k_norm] = norms.as_ref().map_or([None; 2], |norms| norms.each().map(Some));
                let (q, k) = (self.rope(a.q, q_norm, &rope)?, self.rope(k, k_norm, &rope)?);
                let v = self.run.buffer(v)?.to_vec();
                self.kv_write(a.layer, &k, &v);
                Some(q)
            }
        };
        let q = rotated.as_deref().map_or_else(|| self.run.buffer(a.q), Ok)?;
        let (head_size, queries_per_kv_head) = (a.head_size, a.heads / a.kv_heads);
        let table = a.bias.map(|bias| self.weight(bias.table)).transpose()?;
        let mut y = zeros(q.len())?;
        let heads = q.chunks_exact(head_size).zip(y.chunks_exact_mut(head_size));
        for (i, (q, y)) in heads.enumerate() {
            let (row, head) = (&self.run.rows[i / a.heads], i % a.heads);
            let (pages, positions) = self.seen(a, row);
            let start = head / queries_per_kv_head * head_size;
            let side = |side| -> Vec<&[f32]> {
                let row = |p| &self.pages.row(a.layer, side, pages, p)[start..start + head_size];
                positions.clone().map(row).collect()
            };
            let bias = match (a.bias, table) {
                (Some(bias), Some(table)) => {
                    let n_buckets = table.spec().n_rows();
                    let bucket = |p| bias.bucket(n_buckets, p as i64 - i64::from(row.position));
                    positions.clone().map(|p| table.values()[bucket(p) * a.heads + head]).collect()
                }
                _ => vec![],
            };
            ops::attend(q, &side(Side::K), &side(Side::V), a.scale, a.soft_cap, &bias, y);
        }
        self.keep(a.out, y)
    }

    /// The positions that a row attends to, and the pages in which they are.
    fn seen(&self, a: &Attention, row: &Row) -> (&[PageId], std::ops::Range<usize>) {
        let (sequence, position) = (row.sequence as usize, row.position as usize);
        let first = a.window.map_or(0, |window| (position + 1).saturating_sub(window));
        let end = match a.sees {
            Sees::Past => position + 1,
            Sees::Whole => {
                let len = self.run.rows.iter().filter(|r| r.sequence == row.sequence).count();
                a.window.map_or(len, |window| len.min(position + window))
            }
            Sees::Memory => {
                let (pages, n_positions) = &self.run.memories[sequence];
                return (pages, 0..*n_positions);
            }
        };
        (&self.run.sequences[sequence], first..end)
    }

    /// The cache of the layer holds the past of x: keys and values one after the other are a row of it.
    fn short_conv(&mut self, layer: usize, x: BufferId, weight: WeightId, out: BufferId) -> Result<()> {
        let (width, x) = (self.width(x), self.run.buffer(x)?.to_vec());
        let row_len = self.pages.geometry().kv_heads * self.pages.geometry().head_size;
        let mut keys_values = [vec![], vec![]];
        for row in x.chunks_exact(width) {
            let padded = [row, &vec![0.0; 2 * row_len - width]].concat();
            let halves = keys_values.iter_mut().zip(padded.chunks_exact(row_len));
            halves.for_each(|(all, half)| all.extend_from_slice(half));
        }
        let [keys, values] = keys_values;
        self.kv_write(layer, &keys, &values);
        let (mut y, n) = (zeros(x.len())?, self.weight(weight)?.spec().row_len());
        for (row, y) in self.run.rows.iter().zip(y.chunks_exact_mut(width)) {
            let (pages, position) = (&self.run.sequences[row.sequence as usize], row.position as usize);
            let past = |p| [Side::K, Side::V].map(|side| self.pages.row(layer, side, pages, p)).concat();
            let taps: Vec<Option<Vec<f32>>> = (0..n).map(|i| (position + i + 1).checked_sub(n).map(past)).collect();
            ops::short_conv(&taps, self.weight(weight)?.values(), y);
        }
        self.keep(out, y)
    }

    fn add_row(&mut self, x: BufferId, table: WeightId, index: RowIndex, out: BufferId) -> Result<()> {
        let (width, mut y, table) = (self.width(x), self.run.buffer(x)?.to_vec(), self.weight(table)?);
        for (row, y) in self.run.rows.iter().zip(y.chunks_exact_mut(width)) {
            ops::add_scaled(table.row(index.of(row))?, 1.0, y);
        }
        self.keep(out, y)
    }

    fn mean_rows(&mut self, x: BufferId, out: BufferId) -> Result<()> {
        let (width, x) = (self.width(x), self.run.buffer(x)?);
        let mut y = zeros(self.run.outputs.len() * width)?;
        for (o, y) in self.run.outputs.iter().zip(y.chunks_exact_mut(width)) {
            let sequence = self.run.rows[*o as usize].sequence;
            let of_sequence = self.run.rows.iter().zip(x.chunks_exact(width)).filter(|(r, _)| r.sequence == sequence);
            ops::mean(&of_sequence.map(|(_, x)| x).collect::<Vec<_>>(), y);
        }
        self.keep(out, y)
    }

    fn add(&self, a: &[f32], b: &[f32], scale: f32) -> Result<Vec<f32>> {
        let mut y = zeros(a.len())?;
        ops::add(a, b, scale, &mut y);
        Ok(y)
    }

    fn select_rows(&mut self, x: BufferId, out: BufferId) -> Result<()> {
        let (width, all) = (self.width(x), self.run.buffer(x)?);
        let mut y = zeros(self.run.outputs.len() * width)?;
        for (o, y) in self.run.outputs.iter().zip(y.chunks_exact_mut(width)) {
            let start = *o as usize * width;
            y.copy_from_slice(&all[start..start + width]);
        }
        self.keep(out, y)
    }

    fn weight(&self, id: WeightId) -> Result<&Tensor> {
        self.weights.get(&id).ok_or_else(|| Error::internal(format!("weight {} was not created", id.0)))
    }

    fn width(&self, id: BufferId) -> usize {
        self.plan.buffers[id.0 as usize].width
    }

    /// Stores what an operation computed; it must have the shape that the plan says.
    fn keep(&mut self, id: BufferId, values: Vec<f32>) -> Result<()> {
        let buffer = &self.plan.buffers[id.0 as usize];
        let rows = match buffer.rows {
            Rows::New => self.run.rows.len(),
            Rows::Out => self.run.outputs.len(),
        };
        if values.len() != rows * buffer.width {
            let (name, n) = (&buffer.name, values.len());
            return Err(Error::internal(format!("{name} got {n} values, expected [{rows}, {}]", buffer.width)));
        }
        self.run.buffers[id.0 as usize] = Some(values);
        Ok(())
    }
}

fn zeros(n: usize) -> Result<Vec<f32>> {
    let mut v = try_vec(n, "a buffer of the reference executor")?;
    v.resize(n, 0.0);
    Ok(v)
}
