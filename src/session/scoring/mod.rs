//! Scoring: how probable the ends of texts are. Texts of a group share the keys and values of what they have in common, and
//! groups of a request those of what all of them begin with; rows of many texts make up one step.
//!
//! ```text
//! beginning of all groups ──fork──► common rows of a group ──fork──► the rest of each span
//!                                  (of an encoder-decoder behind the memory of its source)
//! ```
//! The rows of several groups go together; how many groups are open at a time, their pages of the cache decide ([`Pages`]).

mod pages;
mod request;

pub use request::{MAX_GROUPS, MAX_SPANS, ScoreGroup, ScoreRequest, Span};

use self::{pages::Pages, request::Group};
use super::{
    event::{Event, Usage},
    runner::{CHUNK_ROWS, Logits, Run, Runner},
};
use crate::{
    error::{Error, Result},
    kv::{PAGE_POSITIONS, SequenceId},
    sample::LogProbs,
    tokenizer::Tokenizer,
};

/// A beginning shorter than this is computed with every group: to share it would cost a step.
const SHORTEST_BEGINNING: usize = 16;

/// How probable the end of a span is.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// Which group, and which span of it.
    pub group: usize,
    /// Which span.
    pub span: usize,
    /// ln P of each token that is scored, given those before it.
    pub logprobs: Vec<f64>,
    /// Whether each of them is the most probable one (of equals the lowest id): greedy decoding would have written the same.
    pub is_greedy: bool,
}

/// A request in progress.
pub(super) struct Scoring {
    groups: Vec<Group>,
    /// The first group that has not been opened.
    next: usize,
    /// What all groups begin with.
    beginning: Beginning,
    open: Vec<Open>,
    pages: Pages,
    /// Runs of the step in flight; none while a source is encoded.
    parts: Vec<Part>,
    n_computed: usize,
}

/// Rows that several sequences have in common.
struct Beginning {
    tokens: Vec<u32>,
    sequence: Option<SequenceId>,
    n_done: usize,
}

/// A group that is being computed.
struct Open {
    group: usize,
    memory: Option<Memory>,
    /// Holds the common rows.
    trunk: Branch,
    /// The first span that is not begun.
    next_span: usize,
    /// Spans that go on behind the common rows.
    branches: Vec<(usize, Branch)>,
    /// Of each span, so far.
    scores: Vec<Score>,
    n_finished: usize,
    n_pages: usize,
}

struct Memory {
    sequence: SequenceId,
    is_encoded: bool,
}

struct Branch {
    sequence: SequenceId,
    /// Rows that are computed.
    n_done: usize,
}

#[derive(Clone)]
struct Score {
    logprobs: Vec<f64>,
    is_greedy: bool,
}

/// Rows `from..to` of a step.
struct Part {
    of: Of,
    from: usize,
    to: usize,
    /// The first of them that gives logits.
    first_output: usize,
}

#[derive(Clone, Copy)]
enum Of {
    Beginning,
    /// The common rows of a group.
    Trunk {
        group: usize,
    },
    Span {
        group: usize,
        span: usize,
    },
    /// The source of a group, whole.
    Source {
        group: usize,
    },
}

impl Scoring {
    /// Everything that is wrong with the request is said here. `decoder_start`: of an encoder-decoder.
    pub(super) fn new(
        request: ScoreRequest,
        tokenizer: &Tokenizer,
        context_tokens: usize,
        decoder_start: Option<u32>,
    ) -> Result<Self> {
        let groups = request.groups(tokenizer, context_tokens, decoder_start)?;
        let beginning = Beginning { tokens: shared_beginning(&groups), sequence: None, n_done: 0 };
        let pages = Pages::new(context_tokens, &beginning.tokens, decoder_start.is_some());
        Ok(Self { groups, next: 0, beginning, open: vec![], pages, parts: vec![], n_computed: 0 })
    }

    /// Begins the next step; `false` where none is left, and then the end is said.
    pub(super) fn begin(&mut self, runner: &mut Runner, events: &mut Vec<Event>) -> Result<bool> {
        if self.begin_beginning(runner)? {
            return Ok(true);
        }
        self.open_groups(runner)?;
        if self.begin_source(runner)? {
            return Ok(true);
        }
        self.parts = self.next_parts(runner)?;
        if self.parts.is_empty() {
            if !self.open.is_empty() || self.next < self.groups.len() {
                return Err(Error::internal("scores are missing, and there is nothing left to compute"));
            }
            events.push(Event::End(Usage { prompt_tokens: self.n_computed, ..Usage::default() }));
            return Ok(false);
        }
        let runs = self.parts.iter().map(|part| self.run(part)).collect::<Result<Vec<_>>>()?;
        runner.begin_scoring(&runs)?;
        Ok(true)
    }

    /// What a complete step means.
    pub(super) fn complete(&mut self, runner: &mut Runner, events: &mut Vec<Event>) -> Result<()> {
        let mut output = 0;
        for part in std::mem::take(&mut self.parts) {
            let Part { of, from, to, first_output } = part;
            self.n_computed += to - from;
            for row in first_output..to {
                self.note(of, row, LogProbs::of(runner.scores(output)?)?)?;
                output += 1;
            }
            match of {
                Of::Beginning => self.beginning.n_done = to,
                Of::Source { group } => {
                    if let Some(memory) = &mut self.open(group)?.memory {
                        memory.is_encoded = true;
                    }
                }
                Of::Trunk { group } => self.open(group)?.trunk.n_done = to,
                Of::Span { group, span } => self.branch(group, span)?.n_done = to,
            }
        }
        self.finish_spans(runner, events)
    }

    /// Gives everything back.
    pub(super) fn close(self, runner: &mut Runner) -> Result<()> {
        let of_group = |open: Open| {
            let branches = open.branches.into_iter().map(|(_, branch)| branch.sequence);
            branches.chain([open.trunk.sequence]).chain(open.memory.map(|memory| memory.sequence))
        };
        let mut all = self.open.into_iter().flat_map(of_group).chain(self.beginning.sequence);
        all.try_for_each(|sequence| runner.kv.release(sequence))
    }

    fn begin_beginning(&mut self, runner: &mut Runner) -> Result<bool> {
        let Beginning { tokens, sequence, n_done } = &mut self.beginning;
        let from = *n_done;
        if from == tokens.len() {
            return Ok(false);
        }
        let sequence = *sequence.get_or_insert_with(|| runner.kv.create());
        let to = tokens.len().min(from + CHUNK_ROWS);
        let rows = tokens.get(from..to).unwrap_or_default();
        runner.begin_scoring(&[Run { sequence, tokens: rows, logits: Logits::None, memory: None }])?;
        self.parts = vec![Part { of: Of::Beginning, from, to, first_output: to }];
        Ok(true)
    }

    /// Opens groups, in order, as long as there is room in the cache for them.
    fn open_groups(&mut self, runner: &mut Runner) -> Result<()> {
        while let Some(group) = self.groups.get(self.next) {
            let needs = self.pages.of_group(group);
            if !self.pages.take_group(needs, self.open.is_empty()) {
                return Ok(());
            }
            let trunk = match self.beginning.sequence {
                Some(beginning) => runner.kv.fork(beginning)?,
                None => runner.kv.create(),
            };
            let memory = (!group.source.is_empty()).then(|| Memory { sequence: runner.kv.create(), is_encoded: false });
            self.open.push(Open {
                group: self.next,
                memory,
                trunk: Branch { sequence: trunk, n_done: self.beginning.n_done },
                next_span: 0,
                branches: vec![],
                scores: vec![Score { logprobs: vec![], is_greedy: true }; group.spans.len()],
                n_finished: 0,
                n_pages: needs.held,
            });
            self.next += 1;
        }
        Ok(())
    }

    /// An encoder takes a step for every source.
    fn begin_source(&mut self, runner: &mut Runner) -> Result<bool> {
        for open in &self.open {
            let (Some(Memory { sequence, is_encoded: false }), Some(group)) =
                (&open.memory, self.groups.get(open.group))
            else {
                continue;
            };
            runner.begin_remembering(*sequence, &group.source)?;
            let n = group.source.len();
            self.parts = vec![Part { of: Of::Source { group: open.group }, from: 0, to: n, first_output: n }];
            return Ok(true);
        }
        Ok(false)
    }

    /// Rows for the next step: of spans first, because what they hold is given back soonest.
    fn next_parts(&mut self, runner: &mut Runner) -> Result<Vec<Part>> {
        self.begin_branches(runner)?;
        let mut room = Room { rows: CHUNK_ROWS, outputs: runner.n_scored() };
        let mut parts = vec![];
        let Self { groups, open, .. } = self;
        let all = || open.iter().filter_map(|open| Some((open, groups.get(open.group)?)));
        for (open, group) in all() {
            for (span, branch) in &open.branches {
                let Some(Span { tokens, first }) = group.spans.get(*span) else { continue };
                let of = Of::Span { group: open.group, span: *span };
                parts.extend(room.part(of, branch.n_done, tokens.len() - 1, first - 1));
            }
        }
        for (open, group) in all() {
            let of = Of::Trunk { group: open.group };
            parts.extend(room.part(of, open.trunk.n_done, group.n_common, group.first_wanted()));
        }
        Ok(parts)
    }

    /// Spans whose common rows are done go on by themselves, as long as there is room in the cache for them.
    fn begin_branches(&mut self, runner: &mut Runner) -> Result<()> {
        let Self { groups, open, pages, .. } = self;
        let mut none_is_open = open.iter().all(|open| open.branches.is_empty());
        for open in open {
            let Some(group) = groups.get(open.group) else { continue };
            while open.trunk.n_done == group.n_common
                && let Some(span) = group.spans.get(open.next_span)
            {
                if span.rows().len() > group.n_common {
                    if !pages.take_branch(pages::of_branch(span, group.n_common), none_is_open) {
                        return Ok(());
                    }
                    none_is_open = false;
                    let branch = Branch { sequence: runner.kv.fork(open.trunk.sequence)?, n_done: group.n_common };
                    open.branches.push((open.next_span, branch));
                }
                open.next_span += 1;
            }
        }
        Ok(())
    }

    fn run(&self, part: &Part) -> Result<Run<'_>> {
        let (rows, open, sequence) = match part.of {
            Of::Trunk { group } => {
                let (open, group) = self.opened(group)?;
                (group.common(), open, open.trunk.sequence)
            }
            Of::Span { group, span } => {
                let (open, group) = self.opened(group)?;
                let branch = open.branches.iter().find(|(s, _)| *s == span);
                let (_, branch) = branch.ok_or_else(|| Error::internal("a span without a branch"))?;
                (group.spans.get(span).map_or(&[][..], Span::rows), open, branch.sequence)
            }
            Of::Beginning | Of::Source { .. } => return Err(Error::internal("a run of what has a step of its own")),
        };
        Ok(Run {
            sequence,
            tokens: rows.get(part.from..part.to).unwrap_or_default(),
            logits: Logits::From(part.first_output - part.from),
            memory: open.memory.as_ref().map(|memory| memory.sequence),
        })
    }

    /// The logits of a row score the token behind it, of every span that goes through this row.
    fn note(&mut self, of: Of, row: usize, all: LogProbs<'_>) -> Result<()> {
        let (group, spans) = match of {
            Of::Trunk { group } => (group, 0..usize::MAX),
            Of::Span { group, span } => (group, span..span + 1),
            Of::Beginning | Of::Source { .. } => return Err(Error::internal("logits that nobody asked for")),
        };
        let (open, group) = self.opened_mut(group)?;
        for (s, (span, score)) in group.spans.iter().zip(&mut open.scores).enumerate() {
            let next = span.tokens.get(row + 1).filter(|_| spans.contains(&s) && row + 1 >= span.first);
            let Some(&next) = next else { continue };
            score.logprobs.push(all.get(next)?);
            score.is_greedy &= all.is_best(next);
        }
        Ok(())
    }

    /// Says what is known, and gives back what is not needed any more.
    fn finish_spans(&mut self, runner: &mut Runner, events: &mut Vec<Event>) -> Result<()> {
        let Self { groups, open, pages, .. } = self;
        for open in open.iter_mut() {
            let Some(group) = groups.get(open.group) else { continue };
            for (s, (span, score)) in group.spans.iter().zip(&mut open.scores).enumerate() {
                if score.logprobs.is_empty() || score.logprobs.len() < span.tokens.len() - span.first {
                    continue;
                }
                let Score { logprobs, is_greedy } =
                    std::mem::replace(score, Score { logprobs: vec![], is_greedy: true });
                events.push(Event::Scored(Scored { group: open.group, span: s, logprobs, is_greedy }));
                open.n_finished += 1;
                if let Some(place) = open.branches.iter().position(|(b, _)| *b == s) {
                    runner.kv.release(open.branches.remove(place).1.sequence)?;
                    pages.give_back(pages::of_branch(span, group.n_common));
                }
            }
        }
        for done in open.extract_if(.., |open| open.n_finished == open.scores.len()) {
            runner.kv.release(done.trunk.sequence)?;
            done.memory.map_or(Ok(()), |memory| runner.kv.release(memory.sequence))?;
            pages.give_back(done.n_pages);
        }
        Ok(())
    }

    fn opened(&self, group: usize) -> Result<(&Open, &Group)> {
        let open = self.open.iter().find(|open| open.group == group).zip(self.groups.get(group));
        open.ok_or_else(|| Error::internal("a group that is not open"))
    }

    fn opened_mut(&mut self, group: usize) -> Result<(&mut Open, &Group)> {
        let open = self.open.iter_mut().find(|open| open.group == group).zip(self.groups.get(group));
        open.ok_or_else(|| Error::internal("a group that is not open"))
    }

    fn open(&mut self, group: usize) -> Result<&mut Open> {
        Ok(self.opened_mut(group)?.0)
    }

    fn branch(&mut self, group: usize, span: usize) -> Result<&mut Branch> {
        let branch = self.open(group)?.branches.iter_mut().find(|(s, _)| *s == span);
        branch.map(|(_, branch)| branch).ok_or_else(|| Error::internal("a span without a branch"))
    }
}

/// What a step still has room for.
struct Room {
    rows: usize,
    outputs: usize,
}

impl Room {
    /// As many of the rows `from..to` as there is room for; those from `wanted` on give logits.
    fn part(&mut self, of: Of, from: usize, to: usize, wanted: usize) -> Option<Part> {
        let first_output = wanted.max(from);
        let to = to.min(from + self.rows).min(first_output + self.outputs);
        if to <= from {
            return None;
        }
        let first_output = first_output.min(to);
        self.rows -= to - from;
        self.outputs -= to - first_output;
        Some(Part { of, from, to, first_output })
    }
}

/// What all groups begin with, as far as nobody wants the logits there, and each has rows of its own behind it.
fn shared_beginning(groups: &[Group]) -> Vec<u32> {
    let [first, rest @ ..] = groups else { return vec![] };
    if rest.is_empty() || !first.source.is_empty() {
        return vec![];
    }
    let free = groups.iter().map(|group| group.first_wanted().min(group.n_common)).min().unwrap_or(0);
    let same = |group: &Group| first.common().iter().zip(group.common()).take_while(|(a, b)| a == b).count();
    let n = rest.iter().map(same).min().unwrap_or(0).min(free);
    let n = if n < SHORTEST_BEGINNING { 0 } else { n };
    first.common().get(..n).unwrap_or_default().to_vec()
}
