//! An encoder at work: texts go through it several at a time, each whole, and leave nothing behind. What an encoder gives for a
//! text does not depend on the texts that are computed with it.
//!
//! ```text
//! texts ──► tokens ──► steps of at most BATCH_ROWS rows (a longer text: one of its own) ──► one Output per text
//! ```
//! Plans are made for several numbers of rows, each when it is first needed: a short text does not pay for a long one's.

mod request;

pub use request::{EncodeRequest, Input, MAX_CANDIDATES, MAX_INPUTS};

use std::{ops::Range, sync::Arc};

use self::request::Text;
use super::{
    choice::{alternatives, chosen},
    event::{Event, TopLogprob, Usage},
    runner::{Prepared, Runner},
};
use crate::{
    arch::{Model, Task},
    error::{Error, Result},
    kv::{PAGE_POSITIONS, SequenceId},
    plan::{Plan, Row, RowBound, RowInput},
    sample::{LogProbs, Scores},
    tokenizer::Tokenizer,
};

/// Rows of a step of several texts.
const BATCH_ROWS: usize = 128;
/// Texts of a step.
const BATCH_TEXTS: usize = 16;
/// Masks of a step: each has a row of logits.
const BATCH_MASKS: usize = 8;
/// Rows of the smallest plan. Larger ones have four times as many each: the kernels that they take are the same.
const FIRST_ROWS: usize = 32;

/// What an input became.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Which input.
    pub input: usize,
    /// Tokens that it took.
    pub n_tokens: usize,
    /// [rows, width] f32: the embedding, or the logits of the labels; one row for the whole, or with [`Task::Label`] one for
    /// each token of the (first) text. Empty with [`Task::FillMask`].
    pub values: Vec<f32>,
    /// Elements of a row.
    pub width: usize,
    /// With [`Task::Label`] the token of each row, with [`Task::FillMask`] nothing.
    pub tokens: Vec<Token>,
    /// With [`Task::FillMask`] for each mask the most probable tokens, best first, or those that were asked for, as they were.
    pub candidates: Vec<Vec<TopLogprob>>,
}

/// A token of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// The part of the text that it stands for, UTF-16 code units; `None` where that is not known.
    pub place: Option<Range<usize>>,
}

/// What encodes: the model, and the plans that were needed so far.
pub(super) struct Encoder {
    model: Model,
    plans: Vec<(Task, usize, Prepared)>,
    context_tokens: usize,
}

impl Encoder {
    /// Prepares the smallest plan of each task, which has every kernel that larger ones take.
    pub(super) fn new(model: Model, context_tokens: usize, runner: &mut Runner) -> Result<Self> {
        let mut encoder = Self { model, plans: vec![], context_tokens };
        for task in encoder.model.tasks().to_vec() {
            encoder.plan(task, 1, runner)?;
        }
        Ok(encoder)
    }

    pub(super) fn model(&self) -> &Model {
        &self.model
    }

    /// The plan for this many rows.
    fn plan(&mut self, task: Task, n_rows: usize, runner: &mut Runner) -> Result<Prepared> {
        let rows = sizes(self.context_tokens).find(|rows| *rows >= n_rows);
        let rows = rows.ok_or_else(|| Error::internal(format!("{n_rows} rows of {}", self.context_tokens)))?;
        if let Some((.., plan)) = self.plans.iter().find(|(t, r, _)| (*t, *r) == (task, rows)) {
            return Ok(*plan);
        }
        let plan = runner.prepare(Arc::new(record(&self.model, task, rows)?))?;
        self.plans.push((task, rows, plan));
        Ok(plan)
    }
}

/// The numbers of rows that plans are made for, ascending.
fn sizes(context_tokens: usize) -> impl Iterator<Item = usize> {
    let largest = context_tokens.max(BATCH_ROWS);
    let smaller = std::iter::successors(Some(FIRST_ROWS), |rows| rows.checked_mul(4));
    smaller.take_while(move |rows| *rows < largest).chain([largest])
}

fn record(model: &Model, task: Task, rows: usize) -> Result<Plan> {
    let n_outputs = match task {
        Task::Label => rows,
        Task::FillMask => BATCH_MASKS,
        _ => BATCH_TEXTS,
    };
    model.plan(task, RowBound::UpTo(rows), n_outputs)
}

/// Every plan that an encoder may come to need.
pub fn encoder_plans(model: &Model, context_tokens: usize) -> Result<Vec<Arc<Plan>>> {
    let of_task =
        |task: &Task| sizes(context_tokens).map(|rows| record(model, *task, rows).map(Arc::new)).collect::<Vec<_>>();
    model.tasks().iter().flat_map(of_task).collect()
}

/// Positions of the cache that a step may take: each text begins a page.
pub fn encoder_positions(context_tokens: usize) -> usize {
    (BATCH_TEXTS * PAGE_POSITIONS + BATCH_ROWS).max(context_tokens)
}

/// A request in progress.
pub(super) struct Encoding {
    task: Task,
    dimensions: Option<usize>,
    n_candidates: usize,
    only: Option<Vec<u32>>,
    texts: Vec<Text>,
    /// The first text that is not done.
    next: usize,
    /// What was found for its masks so far.
    candidates: Vec<Vec<TopLogprob>>,
    /// Of the step in flight.
    parts: Vec<Part>,
}

/// A text in a step.
struct Part {
    sequence: SequenceId,
    /// Its rows that ask.
    n_outputs: usize,
}

impl Encoding {
    /// Everything that is wrong with the request is said here.
    pub(super) fn new(request: EncodeRequest, model: &Model, tokenizer: &Tokenizer, n_ctx: usize) -> Result<Self> {
        let EncodeRequest { task, dimensions, n_candidates, .. } = request;
        let only = request.only.clone();
        let texts = request.texts(model, tokenizer, n_ctx)?;
        let (candidates, parts) = (vec![], vec![]);
        Ok(Self { task, dimensions, n_candidates, only, texts, next: 0, candidates, parts })
    }

    /// Begins the next step; `false` where none is left, and then the end is said.
    pub(super) fn begin(
        &mut self,
        runner: &mut Runner,
        encoder: &mut Encoder,
        tokenizer: &Tokenizer,
        events: &mut Vec<Event>,
    ) -> Result<bool> {
        let batch = self.next_batch();
        if batch.is_empty() {
            let prompt_tokens = self.texts.iter().map(|text| text.encoded.ids.len()).sum();
            events.push(Event::End(Usage { prompt_tokens, ..Usage::default() }));
            return Ok(false);
        }
        let has_kinds = encoder.model.head().is_some_and(|head| head.n_segments > 1);
        let asks_last = encoder.model.head().is_some_and(|head| head.asks_last(self.task));
        let (mut rows, mut outputs) = (vec![], vec![]);
        for (index, text) in self.texts.get(batch).unwrap_or_default().iter().enumerate() {
            let (first, ids) = (rows.len() as u32, &text.encoded.ids);
            let sequence = runner.kv.create();
            self.parts.push(Part { sequence, n_outputs: 0 });
            runner.kv.append(sequence, ids.len())?;
            rows.extend(ids.iter().enumerate().map(|(position, id)| Row {
                input: RowInput::Token(*id),
                position: position as u32,
                sequence: index as u32,
                segment: u32::from(has_kinds && position >= text.encoded.second),
            }));
            let n_before = outputs.len();
            match self.task {
                Task::Label => outputs.extend(text.encoded.text.clone().map(|at| first + at as u32)),
                Task::FillMask => {
                    let masks = ids.iter().enumerate().filter(|(_, id)| Some(**id) == tokenizer.mask());
                    let new = masks.skip(self.candidates.len()).take(BATCH_MASKS);
                    outputs.extend(new.map(|(at, _)| first + at as u32));
                }
                _ => outputs.push(if asks_last { rows.len() as u32 - 1 } else { first }),
            }
            if let Some(part) = self.parts.last_mut() {
                part.n_outputs = outputs.len() - n_before;
            }
        }
        let sequences: Vec<SequenceId> = self.parts.iter().map(|part| part.sequence).collect();
        let plan = encoder.plan(self.task, rows.len(), runner)?;
        runner.begin_whole(plan, &rows, &outputs, &sequences)?;
        Ok(true)
    }

    /// The texts of the next step.
    fn next_batch(&self) -> Range<usize> {
        let rest = self.texts.get(self.next..).unwrap_or_default();
        let most = if self.task == Task::FillMask { 1 } else { BATCH_TEXTS };
        let mut n_rows = 0;
        let fits = |(i, text): &(usize, &Text)| {
            n_rows += text.encoded.ids.len();
            *i == 0 || n_rows <= BATCH_ROWS
        };
        self.next..self.next + rest.iter().enumerate().take(most).take_while(fits).count()
    }

    /// What a complete step means.
    pub(super) fn complete(
        &mut self,
        runner: &mut Runner,
        encoder: &Encoder,
        tokenizer: &Tokenizer,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        let mut first = 0;
        for n_outputs in self.parts.iter().map(|part| part.n_outputs).collect::<Vec<_>>() {
            let outputs = first..first + n_outputs;
            first = outputs.end;
            let done = match self.task {
                Task::FillMask => self.fill(outputs, runner, tokenizer)?,
                _ => Some(self.output(outputs, runner, encoder)?),
            };
            if let Some(output) = done {
                events.push(Event::Output(output));
                self.next += 1;
            }
        }
        self.parts.drain(..).try_for_each(|part| runner.kv.release(part.sequence))
    }

    /// The embedding or the logits of the next text.
    fn output(&self, outputs: Range<usize>, runner: &Runner, encoder: &Encoder) -> Result<Output> {
        let text = self.next_text()?;
        let head = encoder.model.head();
        let mut values = vec![];
        for o in outputs {
            values.extend_from_slice(runner.output(o)?);
        }
        if !values.iter().all(|x| x.is_finite()) {
            return Err(Error::internal("the model gives numbers that are not finite"));
        }
        let width = match self.task {
            Task::Embed => self.dimensions.unwrap_or(values.len()),
            _ => head.map_or(0, |head| head.labels.len()),
        };
        if self.task == Task::Embed {
            values.truncate(width);
            if head.is_none_or(|head| head.normalize) {
                normalize(&mut values);
            }
        }
        let tokens = if self.task == Task::Label { text.tokens() } else { vec![] };
        let n_tokens = text.encoded.ids.len();
        Ok(Output { input: self.next, n_tokens, values, width, tokens, candidates: vec![] })
    }

    /// Notes what stands for the masks that were computed; the output once there are no more.
    fn fill(&mut self, outputs: Range<usize>, runner: &Runner, tokenizer: &Tokenizer) -> Result<Option<Output>> {
        for o in outputs {
            let all = LogProbs::of(Scores::All(runner.output(o)?))?;
            self.candidates.push(match &self.only {
                Some(ids) => chosen(&all, ids, tokenizer)?,
                None => alternatives(&all, self.n_candidates, tokenizer),
            });
        }
        let ids = &self.next_text()?.encoded.ids;
        if self.candidates.len() < ids.iter().filter(|id| Some(**id) == tokenizer.mask()).count() {
            return Ok(None);
        }
        let (n_tokens, candidates) = (ids.len(), std::mem::take(&mut self.candidates));
        Ok(Some(Output { input: self.next, n_tokens, values: vec![], width: 0, tokens: vec![], candidates }))
    }

    fn next_text(&self) -> Result<&Text> {
        self.texts.get(self.next).ok_or_else(|| Error::internal("an output of no text"))
    }

    /// Gives the pages of the step in flight back.
    pub(super) fn close(self, runner: &mut Runner) -> Result<()> {
        self.parts.iter().try_for_each(|part| runner.kv.release(part.sequence))
    }
}

impl Text {
    /// The tokens of the text, without those at its ends.
    fn tokens(&self) -> Vec<Token> {
        let source = self.source.as_deref().unwrap_or_default();
        let (mut byte, mut unit) = (0, 0);
        // Places ascend, but for those of one word, which may be the same.
        let mut units = |at: usize| {
            if at < byte {
                (byte, unit) = (0, 0);
            }
            unit += source.get(byte..at).map_or(0, |passed| passed.encode_utf16().count());
            byte = at;
            unit
        };
        let mut places = self.encoded.places.iter();
        let ids = self.encoded.ids.get(self.encoded.text.clone()).unwrap_or_default();
        ids.iter().map(|id| Token { id: *id, place: places.next().map(|p| units(p.start)..units(p.end)) }).collect()
    }
}

/// Divides by the length; a vector of zeros stays one.
fn normalize(values: &mut [f32]) {
    let length = values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if length > 0.0 {
        values.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
}
