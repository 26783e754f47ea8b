//! Steps on an executor: which plan, which pages, what is in flight. Knows sequences and tokens, but not what they are for.

use std::sync::Arc;

use super::kept::Kept;
use crate::{
    arch::{Model, Task},
    error::{Error, Result},
    kv::{self, Binding, Contents, Kv, KvGeometry, PageId, SequenceId},
    plan::{Ahead, Executor, Memory, MemoryReport, Plan, PlanSlot, Progress, Row, RowBound, Signal, Step, Want},
    sample::Scores,
};

/// Rows of a prefill step.
pub const CHUNK_ROWS: usize = 64;
/// Rows of a step in which every row may ask for logits: several choices at once.
pub const FEW_ROWS: usize = 8;
/// What the logits of a step that scores may take, bytes.
const SCORED_BYTES: usize = 8 << 20;

/// The plans that a session runs.
#[derive(Debug, Clone)]
pub struct Plans {
    /// Of an encoder-decoder what reads the prompt; the others are its decoder then.
    pub remember: Option<RememberPlans>,
    /// One row, its logits.
    pub one: Arc<Plan>,
    /// Up to [`FEW_ROWS`] rows, all their logits.
    pub few: Arc<Plan>,
    /// Up to [`CHUNK_ROWS`] rows, logits of one at most.
    pub chunk: Arc<Plan>,
    /// Up to [`CHUNK_ROWS`] rows, logits of many, precise: what scores texts. It is prepared when a request needs it.
    pub score: Arc<Plan>,
}

/// How an encoder-decoder reads a prompt.
#[derive(Debug, Clone)]
pub struct RememberPlans {
    /// The token with which the decoder begins.
    pub decoder_start: u32,
    /// Ascending by rows, the last for the whole context: a prompt is one step. Each is prepared when a prompt needs it.
    pub plans: Vec<Arc<Plan>>,
}

impl Plans {
    /// Records the plans of a model for a context of so many tokens. `checks_forms`: the device is trusted only in what was prepared
    /// when the model was loaded, so nothing that comes later may multiply in another way.
    pub fn of(model: &Model, context_tokens: usize, checks_forms: bool) -> Result<Self> {
        let n_scored = match checks_forms {
            true => FEW_ROWS,
            false => scored_rows(model.hyper.n_vocab),
        };
        let remember =
            model.decoder_start().map(|start| RememberPlans::of(model, start, context_tokens)).transpose()?;
        Ok(Self {
            remember,
            one: Arc::new(model.plan(Task::Generate, RowBound::One, 1)?),
            few: Arc::new(model.plan(Task::Generate, RowBound::UpTo(FEW_ROWS), FEW_ROWS)?),
            chunk: Arc::new(model.plan(Task::Generate, RowBound::UpTo(CHUNK_ROWS), 1)?),
            score: Arc::new(Plan {
                is_precise: true,
                ..model.plan(Task::Generate, RowBound::UpTo(CHUNK_ROWS), n_scored)?
            }),
        })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Plan>> {
        let later = self.remember.iter().flat_map(|remember| &remember.plans).chain([&self.score]);
        self.decoder().chain(later)
    }

    /// Those that generate, ascending by rows.
    fn decoder(&self) -> impl Iterator<Item = &Arc<Plan>> {
        [&self.one, &self.few, &self.chunk].into_iter()
    }
}

impl RememberPlans {
    /// Each plan has twice the rows of the one before: what is prepared is at most twice what the longest prompt needed.
    fn of(model: &Model, decoder_start: u32, context_tokens: usize) -> Result<Self> {
        let doubled = std::iter::successors(Some(CHUNK_ROWS), |rows| rows.checked_mul(2));
        let sizes = doubled.take_while(|rows| *rows < context_tokens).chain([context_tokens]);
        let plan = |rows| Ok(Arc::new(model.plan(Task::Remember, RowBound::UpTo(rows), 1)?));
        Ok(Self { decoder_start, plans: sizes.map(plan).collect::<Result<_>>()? })
    }
}

/// How many rows of a step may be scored: what the logits' bytes allow, in whole tiles of the CPU.
fn scored_rows(n_vocab: usize) -> usize {
    let rows = SCORED_BYTES / (size_of::<f32>() * n_vocab.max(1));
    (rows - rows % FEW_ROWS).clamp(FEW_ROWS, CHUNK_ROWS)
}

/// A prepared plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prepared {
    slot: PlanSlot,
    n_ops: usize,
    rows: usize,
    outputs: usize,
}

/// Rows of one sequence in a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) sequence: SequenceId,
    pub(super) tokens: &'a [u32],
    pub(super) logits: Logits,
    /// What the sequence looks at besides itself: a sequence that [`Runner::begin_remembering`] has filled. All runs of a step have
    /// one, or none has.
    pub(super) memory: Option<SequenceId>,
}

impl Run<'_> {
    fn n_outputs(&self) -> usize {
        self.tokens.len() - self.first_output()
    }

    /// The first of its rows that gives logits.
    fn first_output(&self) -> usize {
        let n = self.tokens.len();
        match self.logits {
            Logits::None => n,
            Logits::Last => n.saturating_sub(1),
            Logits::From(first) => first.min(n),
        }
    }
}

/// Which rows of a run give logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logits {
    None,
    Last,
    /// From this one on.
    From(usize),
}

/// An executor with prepared plans and the book of its cache.
pub(super) struct Runner {
    executor: Box<dyn Executor>,
    /// Ascending by rows.
    plans: Vec<Prepared>,
    remember: Vec<LaterPlan>,
    score: Option<LaterPlan>,
    pub(super) kv: Kv,
    /// What earlier calls left: dropped where its pages are wanted.
    pub(super) kept: Kept,
    /// What the sequences of a request and what is kept may hold together; a request alone may go beyond it.
    n_context_pages: usize,
    flight: Option<Flight>,
    /// Of the newest step.
    want: Want,
}

/// A plan that is prepared when it is needed.
struct LaterPlan {
    plan: Arc<Plan>,
    prepared: Option<Prepared>,
}

/// A step that has begun.
#[derive(Debug, Clone, Copy)]
struct Flight {
    rows: usize,
    /// Operations that have not run, as far as is known.
    ops_left: usize,
    /// It runs elsewhere, and there is nothing to do but to wait.
    pending: bool,
}

impl Runner {
    /// Prepares the plans. The weights may come later, but before the first step.
    pub(super) fn new(
        executor: Box<dyn Executor>,
        plans: &Plans,
        context_tokens: usize,
        n_sequences: usize,
    ) -> Result<Self> {
        let n_pages = KvGeometry::pages_for(context_tokens);
        let mut runner = Self::without_plans(executor, Kv::new(context_tokens, n_pages.saturating_mul(n_sequences)));
        // What an encoder-decoder reads and what it says have a context each.
        runner.n_context_pages = if plans.remember.is_some() { 2 * n_pages } else { n_pages };
        runner.kept = Kept::new(plans.remember.is_some());
        runner.plans = plans.decoder().map(|plan| runner.prepare(plan.clone())).collect::<Result<_>>()?;
        for plan in plans.remember.iter().flat_map(|remember| &remember.plans) {
            // The first one now, so that weights are laid out for it and a device is checked with it.
            let is_first = runner.remember.is_empty();
            let prepared = is_first.then(|| runner.prepare(plan.clone())).transpose()?;
            runner.remember.push(LaterPlan { plan: plan.clone(), prepared });
        }
        runner.score = Some(LaterPlan { plan: plans.score.clone(), prepared: None });
        Ok(runner)
    }

    /// For steps that bring their plan along ([`Self::begin_whole`]).
    pub(super) fn without_plans(executor: Box<dyn Executor>, kv: Kv) -> Self {
        let (kept, n_context_pages, want) = (Kept::default(), 0, Want::All);
        Self { executor, plans: vec![], remember: vec![], score: None, kv, kept, n_context_pages, flight: None, want }
    }

    /// Gets a plan ready.
    pub(super) fn prepare(&mut self, plan: Arc<Plan>) -> Result<Prepared> {
        let slot = self.executor.prepare(plan.clone())?;
        Ok(Prepared { slot, n_ops: plan.ops.len(), rows: plan.rows.max(), outputs: plan.max_outputs })
    }

    pub(super) fn executor(&mut self) -> &mut dyn Executor {
        self.executor.as_mut()
    }

    pub(super) fn memory(&self) -> MemoryReport {
        self.executor.memory()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.flight.is_none()
    }

    pub(super) fn rows_in_flight(&self) -> Option<usize> {
        self.flight.map(|f| f.rows)
    }

    /// Begins a step that appends each run to its sequence, and gives the `n_best` best logits of each row that asks, or all
    /// where that is `None`. The new positions belong to the sequence at once, but count
    /// only when [`Self::advance`] has said `true`; until then the caller truncates to give up.
    pub(super) fn begin(&mut self, runs: &[Run<'_>], n_best: Option<usize>) -> Result<()> {
        let n_rows: usize = runs.iter().map(|run| run.tokens.len()).sum();
        let n_outputs: usize = runs.iter().map(Run::n_outputs).sum();
        let fits = |p: &&Prepared| n_rows <= p.rows && n_outputs <= p.outputs;
        let plan = self.plans.iter().find(fits).copied();
        let plan =
            plan.ok_or_else(|| Error::internal(format!("no plan for {n_rows} rows with {n_outputs} outputs")))?;
        self.begin_on(plan, runs, n_best.map_or(Want::All, Want::Best))
    }

    /// Begins a step that scores: the same, but always by the precise plan, and all logits.
    pub(super) fn begin_scoring(&mut self, runs: &[Run<'_>]) -> Result<()> {
        let score = self.score.take().ok_or_else(|| Error::internal("a step of a model that generates nothing"))?;
        let prepared = score.prepared.map_or_else(|| self.prepare(score.plan.clone()), Ok);
        self.score = Some(LaterPlan { prepared: prepared.as_ref().ok().copied(), ..score });
        self.begin_on(prepared?, runs, Want::All)
    }

    /// How many rows of a step that scores may give logits.
    pub(super) fn n_scored(&self) -> usize {
        self.score.as_ref().map_or(0, |score| score.plan.max_outputs)
    }

    /// Begins the step that makes a memory of an empty sequence: the whole prompt of an encoder-decoder.
    pub(super) fn begin_remembering(&mut self, sequence: SequenceId, tokens: &[u32]) -> Result<()> {
        let place = self.remember.iter().position(|remember| tokens.len() <= remember.plan.rows.max());
        let remember = place.and_then(|place| self.remember.get(place));
        let remember = remember.ok_or_else(|| Error::internal(format!("no encoder for {} rows", tokens.len())))?;
        let (plan, prepared) = (remember.plan.clone(), remember.prepared);
        let prepared = prepared.map_or_else(|| self.prepare(plan), Ok)?;
        if let Some(remember) = place.and_then(|place| self.remember.get_mut(place)) {
            remember.prepared = Some(prepared);
        }
        self.begin_on(prepared, &[Run { sequence, tokens, logits: Logits::None, memory: None }], Want::All)
    }

    /// How many steps of one row the executor can take ahead; 0: none.
    pub(super) fn most_ahead(&self) -> usize {
        self.plans.first().map_or(0, |plan| self.executor.most_ahead(plan.slot))
    }

    /// Begins a run of steps behind one token: the executor chooses the tokens that come behind it. The positions of all steps belong to
    /// the sequence at once.
    pub(super) fn begin_ahead(&mut self, run: &Run<'_>, n_best: usize, ahead: &Ahead<'_>) -> Result<()> {
        let plan = self.plans.first().copied().ok_or_else(|| Error::internal("a run of no plan"))?;
        let [token] = run.tokens else { return Err(Error::internal("a run behind several tokens")) };
        let start = self.append(run.sequence, ahead.draws.len())?;
        let memories = match run.memory {
            None => vec![],
            Some(id) => vec![Memory { pages: self.kv.pages(id)?, n_positions: self.kv.len(id)? }],
        };
        let position = u32::try_from(start).map_err(|_| Error::internal("a position over 2³²"))?;
        let (rows, sequences, want) =
            ([Row::token(*token, position, 0)], [self.kv.pages(run.sequence)?], Want::Best(n_best));
        let step =
            Step { rows: &rows, outputs: &[0], sequences: &sequences, memories: &memories, embeddings: &[], want };
        self.executor.begin_ahead(plan.slot, &step, ahead)?;
        self.flight = Some(Flight { rows: 1, ops_left: plan.n_ops, pending: false });
        self.want = want;
        Ok(())
    }

    /// Puts another run behind the newest, where that can be.
    pub(super) fn extend_ahead(&mut self, sequence: SequenceId, ahead: &Ahead<'_>) -> Result<bool> {
        let start = self.append(sequence, ahead.draws.len())?;
        let is_there = self.executor.extend_ahead(self.kv.pages(sequence)?, ahead)?;
        if !is_there {
            self.kv.truncate(sequence, start)?;
        }
        Ok(is_there)
    }

    /// Goes over to the run that was put behind the one that is complete.
    pub(super) fn follow_ahead(&mut self) -> Result<()> {
        if !self.executor.follow_ahead()? {
            return Err(Error::internal("a run that nobody put there"));
        }
        self.flight = Some(Flight { rows: 1, ops_left: 0, pending: true });
        Ok(())
    }

    /// Of how many steps of a complete run there are [`Self::scores`].
    pub(super) fn n_ahead(&self) -> usize {
        self.executor.n_ahead()
    }

    /// What the executor chose behind the i-th step of a complete run.
    pub(super) fn chosen(&self, i: usize) -> Result<u32> {
        self.executor.chosen(i)
    }

    /// Makes room for so many positions more; where they begin.
    fn append(&mut self, sequence: SequenceId, n: usize) -> Result<usize> {
        let start = self.kv.len(sequence)?;
        // What is dropped may share the last page, which then needs no copy.
        while self.kv.used_pages().saturating_add(self.kv.pages_wanted(sequence, n)?) > self.n_context_pages
            && self.kept.drop_oldest(&mut self.kv)?
        {}
        for copy in self.kv.append(sequence, n)? {
            self.executor.kv_reserve(self.kv.n_pages())?;
            self.executor.kv_copy(copy.from, copy.to, copy.n_positions)?;
        }
        self.executor.kv_reserve(self.kv.n_pages())?;
        Ok(start)
    }

    fn begin_on(&mut self, plan: Prepared, runs: &[Run<'_>], want: Want) -> Result<()> {
        let mut rows = vec![];
        let mut outputs = vec![];
        for (index, run) in runs.iter().enumerate() {
            let (start, first_output) = (self.append(run.sequence, run.tokens.len())?, run.first_output());
            for (i, &token) in run.tokens.iter().enumerate() {
                if i >= first_output {
                    outputs.push(rows.len() as u32);
                }
                let position = u32::try_from(start + i).map_err(|_| Error::internal("a position over 2³²"))?;
                rows.push(Row::token(token, position, index as u32));
            }
        }
        let sequences = runs.iter().map(|run| self.kv.pages(run.sequence)).collect::<Result<Vec<&[PageId]>>>()?;
        let memory = |id| Ok(Memory { pages: self.kv.pages(id)?, n_positions: self.kv.len(id)? });
        let memories = runs.iter().filter_map(|run| run.memory).map(memory).collect::<Result<Vec<_>>>()?;
        let step =
            Step { rows: &rows, outputs: &outputs, sequences: &sequences, memories: &memories, embeddings: &[], want };
        self.executor.begin(plan.slot, &step)?;
        self.flight = Some(Flight { rows: rows.len(), ops_left: plan.n_ops, pending: false });
        self.want = want;
        Ok(())
    }

    /// Begins a step of a plan whose rows are whole sequences, which have their positions already.
    pub(super) fn begin_whole(
        &mut self,
        plan: Prepared,
        rows: &[Row],
        outputs: &[u32],
        sequences: &[SequenceId],
    ) -> Result<()> {
        self.executor.kv_reserve(self.kv.n_pages())?;
        let sequences = sequences.iter().map(|id| self.kv.pages(*id)).collect::<Result<Vec<&[PageId]>>>()?;
        let (memories, embeddings, want) = (&[], &[], Want::All);
        let step = Step { rows, outputs, sequences: &sequences, memories, embeddings, want };
        self.executor.begin(plan.slot, &step)?;
        self.flight = Some(Flight { rows: rows.len(), ops_left: plan.n_ops, pending: false });
        self.want = want;
        Ok(())
    }

    /// The whole output of the o-th row that asked, of the newest step, which is complete.
    pub(super) fn output(&self, o: usize) -> Result<&[f32]> {
        self.executor.output(o)
    }

    /// Runs up to `ops` operations of the step in flight and takes them off. A step that runs elsewhere takes no operations
    /// off while it is waited for.
    pub(super) fn advance(&mut self, ops: &mut usize) -> Result<Progress> {
        let flight = self.flight.as_mut().ok_or_else(|| Error::internal("no step is in flight"))?;
        let now = flight.ops_left.min(*ops);
        let progress = self.executor.advance(now)?;
        if progress == Progress::More && now == flight.ops_left {
            return Err(Error::internal(format!("a step with {now} operations left ran them and is not complete")));
        }
        flight.pending = progress == Progress::Pending;
        if !flight.pending {
            *ops -= now;
            flight.ops_left -= now;
        }
        if progress == Progress::Complete {
            self.flight = None;
        }
        Ok(progress)
    }

    /// A sequence with the keys and values of a snapshot.
    pub(super) fn restore(&mut self, contents: &Contents<'_>) -> Result<SequenceId> {
        let id = self.kv.create();
        let appended = self.append(id, contents.n_positions());
        let written = appended.and_then(|_| contents.write(self.kv.pages(id)?, self.executor.as_mut()));
        if written.is_err() {
            self.kv.release(id)?;
        }
        written.map(|()| id)
    }

    /// The keys and values of a sequence as bytes; `None` where they are still on their way ([`Self::ready`]).
    pub(super) fn snapshot(
        &mut self,
        sequence: SequenceId,
        note: &[u8],
        tokens: &[u32],
        binding: &Binding,
    ) -> Result<Option<Vec<u8>>> {
        kv::snapshot(&self.kv, sequence, note, tokens, binding, self.executor.as_mut())
    }

    /// Raised when what the executor was asked for can go on.
    pub(super) fn ready(&self) -> Signal {
        self.executor.ready()
    }

    /// Raised when the step in flight can go on; `None` where it can go on now.
    pub(super) fn waiting(&self) -> Option<Signal> {
        self.flight.filter(|f| f.pending).map(|_| self.executor.ready())
    }

    /// Forgets the step in flight; what it wrote does not count once its sequences are truncated.
    pub(super) fn drop_step(&mut self) {
        self.flight = None;
    }

    /// What the newest step, which is complete, says of the o-th row that asked.
    pub(super) fn scores(&self, o: usize) -> Result<Scores<'_>> {
        let Want::Best(wanted) = self.want else { return Ok(Scores::All(self.executor.output(o)?)) };
        match self.executor.best(o)? {
            None => Ok(Scores::All(self.executor.output(o)?)),
            Some(best) if best.candidates.len() >= wanted => Ok(Scores::Best(best)),
            Some(best) => {
                let n = best.candidates.len();
                Err(Error::internal(format!("the executor gave the {n} best logits, {wanted} were asked for")))
            }
        }
    }
}
