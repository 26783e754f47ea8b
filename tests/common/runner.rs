//! A model in an executor, without session or sampling: a file is loaded and rows of logits come out. For the tests and
//! measurements that compare logits with somebody else's.

use std::{io::Read, sync::Arc, time::Duration};

use kinglet::{
    arch::{Model, Task},
    error::{Error, Result},
    gguf::{Event, Header, Parser},
    kv::{KvFormat, KvGeometry, PageId},
    plan::{Executor, Memory, PlanSlot, Progress, Row, RowBound, RowInput, Step, Want},
    session::FEW_ROWS,
    weights::{Arrivals, WeightId},
};

/// Most rows of a step.
pub const MAX_ROWS: usize = 32;

/// One sequence of one model.
pub struct Runner<E> {
    pub header: Header,
    pub model: Model,
    pub executor: E,
    one: PlanSlot,
    many: PlanSlot,
    /// Once it is needed.
    few: Option<PlanSlot>,
    pages: Vec<PageId>,
    past: usize,
    /// Of an encoder-decoder: what the newest [`Runner::remember`] left.
    memory: Option<(Vec<PageId>, usize)>,
}

impl<E: Executor> Runner<E> {
    /// Reads a file to its end, in chunks, straight into the executor that `new` makes.
    pub fn load(
        mut file: impl Read,
        kv_format: KvFormat,
        context_tokens: usize,
        new: impl Fn(KvGeometry) -> Result<E>,
    ) -> Result<Self> {
        let mut parser = Parser::new();
        let mut loading: Option<(Self, Vec<WeightId>)> = None;
        let (mut chunk, mut arrivals) = (vec![0; 1 << 16], Arrivals::default());
        loop {
            let n = file.read(&mut chunk).map_err(|e| Error::Integrity { what: e.to_string() })?;
            if n == 0 {
                break;
            }
            parser.feed(&chunk[..n], &mut |event| match (event, &mut loading) {
                (Event::Header(header), _) => {
                    let model = Model::from_header(&header)?;
                    let mut executor = new(model.kv_geometry(kv_format))?;
                    let used = model.used_weights()?;
                    used.iter().try_for_each(|id| executor.create_weight(*id, model.weights.spec(*id)))?;
                    let one = executor.prepare(Arc::new(model.plan(Task::Generate, RowBound::One, 1)?))?;
                    let many = executor.prepare(Arc::new(model.plan(
                        Task::Generate,
                        RowBound::UpTo(MAX_ROWS),
                        MAX_ROWS,
                    )?))?;
                    // Not in order: where a page lies must not matter.
                    let pages = (0..KvGeometry::pages_for(context_tokens) as u32).rev().map(PageId).collect();
                    let runner =
                        Self { header: *header, model, executor, one, many, few: None, pages, past: 0, memory: None };
                    loading = Some((runner, used));
                    Ok(())
                }
                (Event::Data { tensor, bytes }, Some((Self { model, executor, .. }, used))) => {
                    arrivals.take(&model.weights, tensor, bytes, &mut |id, bytes| match used.contains(&id) {
                        true => executor.write_weight(id, bytes),
                        false => Ok(()),
                    })
                }
                (Event::Data { .. }, None) => Err(Error::internal("data before the header")),
            })?;
        }
        parser.finish()?;
        let (mut runner, _) = loading.ok_or_else(|| Error::file("an empty file"))?;
        runner.executor.kv_reserve(runner.pages.len())?;
        Ok(runner)
    }

    /// Encodes a text for the decoder, which begins anew: [ids.len(), D].
    pub fn remember(&mut self, ids: &[u32]) -> Result<Vec<Vec<f32>>> {
        let n_rows = ids.len();
        let plan = self.model.plan(Task::Remember, RowBound::UpTo(n_rows), n_rows)?;
        let slot = self.executor.prepare(Arc::new(plan))?;
        // Behind the decoder's pages, and in no order either.
        let (first, n_pages) = (self.pages.len(), KvGeometry::pages_for(n_rows));
        let pages: Vec<PageId> = (first..first + n_pages).rev().map(|page| PageId(page as u32)).collect();
        self.executor.kv_reserve(first + n_pages)?;
        let rows: Vec<Row> = ids.iter().enumerate().map(|(i, id)| Row::token(*id, i as u32, 0)).collect();
        let outputs: Vec<u32> = (0..n_rows as u32).collect();
        let step = Step {
            rows: &rows,
            outputs: &outputs,
            sequences: &[&pages],
            memories: &[],
            embeddings: &[],
            want: Want::All,
        };
        self.run(slot, &step)?;
        let encoded = (0..n_rows).map(|o| Ok(self.executor.output(o)?.to_vec())).collect();
        (self.memory, self.past) = (Some((pages, n_rows)), 0);
        encoded
    }

    fn run(&mut self, slot: PlanSlot, step: &Step<'_>) -> Result<()> {
        self.executor.begin(slot, step)?;
        loop {
            match self.executor.advance(7)? {
                Progress::Complete => return Ok(()),
                Progress::More => {}
                // A software GPU needs the processor.
                Progress::Pending => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }

    /// Forgets the sequence from this position on.
    pub fn truncate(&mut self, position: usize) {
        assert!(position <= self.past);
        self.past = position;
    }

    /// Appends tokens, `rows` at a time, and gives the logits behind each: [ids.len(), V].
    pub fn append(&mut self, ids: &[u32], rows: usize) -> Result<Vec<Vec<f32>>> {
        self.append_tail(ids, rows, ids.len())
    }

    /// Appends tokens, `rows` at a time, and gives the logits behind the last `n_outputs`: [n_outputs, V].
    pub fn append_tail(&mut self, ids: &[u32], rows: usize, n_outputs: usize) -> Result<Vec<Vec<f32>>> {
        let mut logits = vec![];
        let first_output = self.past + ids.len() - n_outputs;
        for ids in ids.chunks(rows) {
            let first = first_output.saturating_sub(self.past).min(ids.len());
            logits.append(&mut self.step(if ids.len() == 1 { self.one } else { self.many }, ids, first)?);
        }
        Ok(logits)
    }

    /// Appends up to [`FEW_ROWS`] tokens in one step, as guesses are verified: [ids.len(), V].
    pub fn verify(&mut self, ids: &[u32]) -> Result<Vec<Vec<f32>>> {
        let plan = || self.model.plan(Task::Generate, RowBound::UpTo(FEW_ROWS), FEW_ROWS);
        let slot = match self.few {
            Some(slot) => slot,
            None => self.executor.prepare(Arc::new(plan()?))?,
        };
        self.few = Some(slot);
        self.step(slot, ids, 0)
    }

    fn step(&mut self, slot: PlanSlot, ids: &[u32], first_output: usize) -> Result<Vec<Vec<f32>>> {
        let row = |(i, id): (usize, &u32)| Row {
            segment: 0,
            input: RowInput::Token(*id),
            position: (self.past + i) as u32,
            sequence: 0,
        };
        let rows: Vec<Row> = ids.iter().enumerate().map(row).collect();
        let outputs: Vec<u32> = (first_output as u32..ids.len() as u32).collect();
        let pages = self.pages.clone();
        let memory = self.memory.clone();
        let memories: Vec<Memory<'_>> = memory.iter().map(|(pages, n)| Memory { pages, n_positions: *n }).collect();
        let step = Step {
            rows: &rows,
            outputs: &outputs,
            sequences: &[&pages],
            memories: &memories,
            embeddings: &[],
            want: Want::All,
        };
        self.run(slot, &step)?;
        self.past += ids.len();
        (0..outputs.len()).map(|o| Ok(self.executor.output(o)?.to_vec())).collect()
    }
}

/// The best token of a row of logits; the first of equals.
pub fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, x) in logits.iter().enumerate() {
        if *x > logits[best] {
            best = i;
        }
    }
    best as u32
}

/// `ln Σ e^x` of a row of logits.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let top = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    top + logits.iter().map(|x| (f64::from(*x) - top).exp()).sum::<f64>().ln()
}
