//! How many pages of the cache a request may hold, so that scoring takes no more memory than a conversation that fills the context,
//! and can always go on.
//!
//! ```text
//! held: the beginning of all, the common rows (and memories) of open groups, the branches
//! rule: a group opens only if the largest branch of any open group still fits; so some branch can always go on
//! ```

use super::{
    PAGE_POSITIONS,
    request::{Group, Span},
};
use crate::kv::KvGeometry;

/// Pages beyond those of the context: a branch begins with a copy of its trunk's last page, and short groups go several at a time
/// also where the context is short.
const EXTRA_PAGES: usize = 8;

/// The pages that are held.
#[derive(Debug)]
pub(super) struct Pages {
    most: usize,
    held: usize,
    /// Of the largest branch of any group that was opened.
    largest_branch: usize,
}

/// What a group needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needs {
    /// From its opening to its end.
    pub(super) held: usize,
    /// While its largest branch is computed.
    branch: usize,
}

impl Pages {
    pub(super) fn new(context_tokens: usize, beginning: &[u32], has_memories: bool) -> Self {
        let of_context = KvGeometry::pages_for(context_tokens) * if has_memories { 2 } else { 1 };
        let held = KvGeometry::pages_for(beginning.len());
        Self { most: of_context + EXTRA_PAGES, held, largest_branch: 0 }
    }

    /// What a group needs.
    pub(super) fn of_group(&self, group: &Group) -> Needs {
        let held = KvGeometry::pages_for(group.n_common) + KvGeometry::pages_for(group.source.len());
        let branch = group.spans.iter().map(|span| of_branch(span, group.n_common)).max().unwrap_or(0);
        Needs { held, branch }
    }

    /// Whether a group may open; `is_only`: no other is open, and what is alone always fits.
    pub(super) fn take_group(&mut self, needs: Needs, is_only: bool) -> bool {
        let largest = if is_only { needs.branch } else { self.largest_branch.max(needs.branch) };
        let fits = self.held + needs.held + largest <= self.most;
        if fits || is_only {
            self.held += needs.held;
            self.largest_branch = largest;
        }
        fits || is_only
    }

    /// Whether a branch may begin; `is_only`: no other has begun.
    pub(super) fn take_branch(&mut self, n: usize, is_only: bool) -> bool {
        let fits = self.held + n <= self.most;
        if fits || is_only {
            self.held += n;
        }
        fits || is_only
    }

    pub(super) fn give_back(&mut self, n: usize) {
        self.held -= n;
    }
}

/// Pages of a branch that it does not share with its trunk.
pub(super) fn of_branch(span: &Span, n_common: usize) -> usize {
    let n_rows = span.rows().len();
    if n_rows > n_common { KvGeometry::pages_for(n_rows) - n_common / PAGE_POSITIONS } else { 0 }
}
