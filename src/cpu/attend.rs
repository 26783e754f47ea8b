//! [`Attention`] on the threads of a job. In a step of several rows an item is a block of rows and a kv head. In a step of one row it is a
//! kv head and a split of its positions, so that a long past is shared by all threads: each leaves its part, and who is the last
//! to finish a part of a head joins them. Who has the last split appends the row's key and value to the cache, where the plan puts
//! that off until here.

use std::ops::Range;

use super::{
    attention::{Group, Sight, splits},
    cache::{Cell, Pages, of_format},
    run::Context,
    scratch::{Scratch, group_rows},
};
use crate::{
    kv::PageId,
    plan::{Attention, Op, Sees},
};

impl Context<'_> {
    /// How many items there are.
    pub(super) fn n_attention_items(&self, a: &Attention) -> usize {
        match self.rows.len() {
            1 => a.kv_heads * splits(self.positions(a, 0)).len(),
            n => a.kv_heads * n.div_ceil(group_rows(a)),
        }
    }

    /// Item `item` of the attention `op`.
    pub(super) fn attend(&self, op: usize, a: &Attention, item: usize, scratch: &mut Scratch) {
        if self.rows.len() > 1 {
            let (block, g) = (item / a.kv_heads, item % a.kv_heads);
            return of_format!(self.pages, pages => self.attend_rows(pages, a, block, g, scratch));
        }
        let splits = splits(self.positions(a, 0));
        let (g, split) = (item / splits.len(), splits.start + item % splits.len());
        if split + 1 == splits.end
            && let Some(write) = self.phases.appends(op)
        {
            self.append(write, g, scratch);
        }
        of_format!(self.pages, pages => self.attend_split(pages, a, [g, split], splits, scratch));
    }

    /// Writes what operation `write` has of kv head g to the cache: the key rotated, if that is part of the operation.
    pub(super) fn append(&self, write: usize, g: usize, scratch: &mut Scratch) {
        for t in 0..self.rows.len() {
            match &self.plan.ops[write] {
                Op::KvWrite { layer, k, v } => {
                    self.kv_write(*layer, g, t, self.head(*k, t, g), self.head(*v, t, g));
                }
                Op::RopeKv { layer, rope, k, v, .. } => {
                    let Some(table) = self.rope(rope) else { return };
                    let rotated = &mut scratch.head[..rope.head_size];
                    table.rotate(t, self.head(*k, t, g), rotated);
                    self.kv_write(*layer, g, t, rotated, self.head(*v, t, g));
                }
                _ => {}
            }
        }
    }

    /// The pages of a sequence that attention reads.
    fn attended_pages(&self, a: &Attention, sequence: u32) -> &[PageId] {
        match a.sees {
            Sees::Past | Sees::Whole => &self.sequences[sequence as usize],
            Sees::Memory => &self.memories[sequence as usize].0,
        }
    }

    /// The positions that row t sees.
    fn positions(&self, a: &Attention, t: usize) -> Range<usize> {
        let (position, sequence) = (self.rows[t].position as usize, self.rows[t].sequence);
        let first = a.window.map_or(0, |window| (position + 1).saturating_sub(window));
        match a.sees {
            Sees::Past => first..position + 1,
            Sees::Whole => {
                let n = self.rows.iter().filter(|r| r.sequence == sequence).count();
                first..a.window.map_or(n, |window| n.min(position.saturating_add(window)))
            }
            Sees::Memory => 0..self.memories[sequence as usize].1,
        }
    }

    fn group(&self, a: &Attention, sequence: u32) -> Group<'_> {
        let bias = a.bias.and_then(|bias| self.biases.iter().find(|b| b.bias == bias));
        let pages = self.attended_pages(a, sequence);
        Group { head_size: a.head_size, scale: a.scale, soft_cap: a.soft_cap, bias, pages }
    }

    /// Gives the scratch the queries of row t that share kv head g.
    fn push_queries<C: Cell>(&self, a: &Attention, group: &Group<'_>, t: usize, g: usize, scratch: &mut Scratch) {
        let (q, positions) = (self.row(a.q, t), self.positions(a, t));
        for head in heads_of(a, g) {
            let sight = Sight { position: self.rows[t].position as usize, head, positions: positions.clone() };
            scratch.attention.push::<C>(group, &q[columns(a, head)], sight);
        }
    }

    /// The only row, one split of kv head g.
    fn attend_split<C: Cell>(
        &self,
        pages: &Pages<C>,
        a: &Attention,
        [g, split]: [usize; 2],
        splits: Range<usize>,
        scratch: &mut Scratch,
    ) {
        let group = self.group(a, self.rows[0].sequence);
        scratch.attention.clear();
        self.push_queries::<C>(a, &group, 0, g, scratch);
        let attention = &mut scratch.attention;
        attention.run_split(&group, split, &|page| self.region(pages, a.layer, g, page));
        if splits.len() > 1 {
            for (i, head) in heads_of(a, g).enumerate() {
                let (softmax, acc) = attention.part(&group, i);
                self.partials.leave(head * splits.len() + split - splits.start, softmax, acc);
            }
            if !self.partials.is_last(g, splits.len()) {
                return;
            }
            for (i, head) in heads_of(a, g).enumerate() {
                let parts = head * splits.len()..(head + 1) * splits.len();
                parts.for_each(|part| attention.join(&group, i, self.partials.left(part)));
            }
        } else {
            attention.join_own(&group);
        }
        for (i, head) in heads_of(a, g).enumerate() {
            attention.finish(&group, i, self.columns_mut(a.out, 0, columns(a, head)));
        }
    }

    /// Block `block` of rows, all heads of kv head g.
    fn attend_rows<C: Cell>(&self, pages: &Pages<C>, a: &Attention, block: usize, g: usize, scratch: &mut Scratch) {
        let size = group_rows(a);
        let mut start = block * size;
        let end = self.rows.len().min(start + size);
        while start < end {
            // Rows of one sequence attend together.
            let sequence = self.rows[start].sequence;
            let n = self.rows[start..end].iter().take_while(|r| r.sequence == sequence).count();
            let group = self.group(a, sequence);
            scratch.attention.clear();
            (start..start + n).for_each(|t| self.push_queries::<C>(a, &group, t, g, scratch));
            scratch.attention.run(&group, &|page| self.region(pages, a.layer, g, page));
            let rows_heads = (start..start + n).flat_map(|t| heads_of(a, g).map(move |head| (t, head)));
            for (i, (t, head)) in rows_heads.enumerate() {
                scratch.attention.finish(&group, i, self.columns_mut(a.out, t, columns(a, head)));
            }
            start += n;
        }
    }
}

/// The query heads that share a kv head.
fn heads_of(a: &Attention, g: usize) -> Range<usize> {
    let n = a.heads / a.kv_heads;
    g * n..(g + 1) * n
}

/// Where a head's elements are in a row of queries, or of results.
fn columns(a: &Attention, head: usize) -> Range<usize> {
    head * a.head_size..(head + 1) * a.head_size
}
