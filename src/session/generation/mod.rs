//! A generation in progress: what its next step is, and what a finished step means.
//!
//! ```text
//! prompt ──► (chunks on the sequence of choice 0) ──► fork for choices 1…
//!        ──► tokens that the request brings along, choice by choice ──► decode: one row per choice that goes on,
//!            and where only one does, rows for tokens that are guessed ([`super::speculation`]), or a run of steps ([`ahead`])
//! ```
//! With a beam search every beam forks the prompt, and the choices get the best hypotheses at the end. With an encoder-decoder the
//! prompt is encoded first, in one step, into a memory that all choices look at; what the decoder calls its prompt is the token
//! that it begins with.

mod ahead;

use std::sync::Arc;

use self::ahead::Lookahead;
use super::{
    branches::Branches,
    choice::{Choice, Limits, alternatives},
    event::{Echo, Event, Usage},
    horizon::Horizon,
    request::Request,
    runner::{CHUNK_ROWS, FEW_ROWS, Logits, Run, Runner},
    speculation::{Decoded, Drafter, Speculator, Took},
};
use crate::{
    error::{Error, Result},
    kv::SequenceId,
    sample::{LogProbs, Scratch},
    tokenizer::{StreamDecoder, Tokenizer},
};

/// What the step in flight is for. Ranges are positions of prompt and answer together.
#[derive(Debug, Clone)]
enum Work {
    /// The whole source of an encoder-decoder.
    Remember,
    /// Tokens `from..to` of the prompt.
    Prompt { from: usize, to: usize },
    /// Tokens `from..to` of one choice, which the request brought along.
    Replay { choice: usize, to: usize },
    /// The newest token of each of these choices.
    Decode { choices: Vec<usize> },
    /// Tokens of the only choice that goes on: the newest, and guesses of the next ones.
    Verify { choice: usize, tokens: Vec<u32> },
    /// So many steps of the only choice that goes on, by the device itself.
    Ahead { choice: usize, n_steps: usize },
    /// The newest token of every beam.
    Beams,
}

/// What an encoder-decoder answers to.
struct Source {
    tokens: Vec<u32>,
    /// Where it is encoded, from the moment at which the generation has its place.
    memory: Option<SequenceId>,
    is_encoded: bool,
}

/// A generation in progress.
pub(super) struct Generation {
    request: Request,
    tokenizer: Arc<Tokenizer>,
    choices: Vec<Choice>,
    source: Option<Source>,
    branches: Option<Branches>,
    /// Tokens of the prompt that the cache had at the start.
    n_reused: usize,
    /// Scores of the prompt so far, where the request wants them.
    echo: Option<Echo>,
    /// What is known from the start, but said after the prompt.
    opening: Vec<Event>,
    work: Option<Work>,
    /// Of the last choice that goes on.
    drafter: Drafter,
    ahead: Lookahead,
}

impl Generation {
    /// Takes a validated request, and the tokens that it brings along; chooses no sequence yet ([`Self::occupy`]). With a
    /// `source` the request's prompt is what the decoder begins with.
    pub(super) fn new(
        request: Request,
        limits: Limits,
        tokenizer: Arc<Tokenizer>,
        source: Option<Vec<u32>>,
    ) -> Result<Self> {
        let (mut choices, mut opening) = (vec![], vec![]);
        for index in 0..request.n {
            // What an encoder-decoder says goes on after nothing.
            let mut choice = Choice::new(index, &request, limits, &tokenizer, source.is_some())?;
            if let Some(given) = request.generated.as_ref().and_then(|g| g.get(index)) {
                choice.replay(given, &mut opening)?;
            }
            choice.end_if_full(&mut opening);
            choices.push(choice);
        }
        let echo = request.echo.then(|| Echo { logprobs: vec![None], top: vec![vec![]], ..Echo::default() });
        let ends = if request.ignore_eos { &[] } else { tokenizer.end_of_generation() };
        let branches = request.beams.map(|params| Branches::new(params, ends, limits.max_tokens));
        let source = source.map(|tokens| Source { tokens, memory: None, is_encoded: false });
        let (n_reused, work, drafter, ahead) = (0, None, Drafter::default(), Lookahead::default());
        Ok(Self { request, tokenizer, choices, source, branches, n_reused, echo, opening, work, drafter, ahead })
    }

    /// The prompt, or the source, goes to this sequence, which holds its first `n_reused` tokens.
    pub(super) fn occupy(&mut self, sequence: SequenceId, n_reused: usize, runner: &mut Runner) {
        self.n_reused = n_reused;
        let Some(first) = self.choices.first_mut() else { return };
        match &mut self.source {
            Some(source) => {
                source.memory = Some(sequence);
                source.is_encoded = n_reused > 0;
                first.sequence = Some(runner.kv.create());
            }
            None => {
                first.sequence = Some(sequence);
                first.n_cached = n_reused;
            }
        }
    }

    pub(super) fn request(&self) -> &Request {
        &self.request
    }

    /// Whether the request wants the logits of every token of the prompt.
    pub(super) fn scores_prompt(request: &Request) -> bool {
        request.echo && request.logprobs.is_some()
    }

    /// Begins the next step; `false` where none is left, and then the end is said.
    pub(super) fn begin(
        &mut self,
        runner: &mut Runner,
        speculator: &mut Speculator,
        horizon: &mut Horizon,
        events: &mut Vec<Event>,
    ) -> Result<bool> {
        let n_prompt = self.request.prompt.len();
        let Some(work) = self.next_work() else {
            self.end(runner, events)?;
            return Ok(false);
        };
        self.says_how(&work, runner, speculator);
        let work = if self.follows() { work } else { self.speculate(work, speculator) };
        let work = self.look_ahead(work, runner, horizon);
        horizon.begun();
        let memory = self.source.as_ref().and_then(|source| source.memory);
        match &work {
            Work::Remember => {
                let tokens = self.source.as_ref().map(|source| source.tokens.as_slice()).unwrap_or_default();
                let memory = memory.ok_or_else(|| Error::internal("an encoder without a memory"))?;
                runner.begin_remembering(memory, tokens)?;
            }
            Work::Beams => {
                let branches = self.branches.as_ref().ok_or_else(|| Error::internal("beams without a search"))?;
                branches.begin(runner, memory)?;
            }
            Work::Prompt { from, to } => {
                let logits = match Self::scores_prompt(&self.request) {
                    true => Logits::From(0),
                    false if *to == n_prompt && self.unstarted().next().is_some() => Logits::Last,
                    false => Logits::None,
                };
                let tokens = self.request.prompt.get(*from..*to).unwrap_or_default();
                let n_best = match &self.branches {
                    _ if logits == Logits::From(0) => None,
                    Some(branches) => branches.wants(),
                    None => self.wants(self.unstarted()),
                };
                runner.begin(&[Run { sequence: sequence(self.choices.first())?, tokens, logits, memory }], n_best)?;
            }
            Work::Replay { choice, to } => {
                let choice = self.choices.get(*choice);
                let (from, all) = choice.map_or((0, 0), |c| (c.n_cached, n_prompt + c.generated.len()));
                let given = choice.map(|c| c.generated.as_slice()).unwrap_or_default();
                let tokens = given.get(from - n_prompt..*to - n_prompt).unwrap_or_default();
                let logits = if *to == all { Logits::Last } else { Logits::None };
                runner.begin(&[Run { sequence: sequence(choice)?, tokens, logits, memory }], self.wants(choice))?;
            }
            Work::Decode { choices } => {
                let run = |i: &usize| -> Result<Run<'_>> {
                    let choice = self.choices.get(*i);
                    let newest = choice.and_then(|c| c.generated.last_chunk::<1>());
                    let tokens = newest.ok_or_else(|| Error::internal("a choice without tokens decodes"))?;
                    Ok(Run { sequence: sequence(choice)?, tokens, logits: Logits::Last, memory })
                };
                let n_best = self.wants(choices.iter().filter_map(|i| self.choices.get(*i)));
                runner.begin(&choices.iter().map(run).collect::<Result<Vec<_>>>()?, n_best)?;
            }
            Work::Ahead { choice, n_steps } => self.begin_ahead(*choice, *n_steps, runner, horizon, speculator)?,
            Work::Verify { choice, tokens } => {
                let choice = self.choices.get(*choice);
                let n_best = choice.and_then(|c| c.wants_all(self.request.logprobs, tokens.len().saturating_sub(1)));
                runner
                    .begin(&[Run { sequence: sequence(choice)?, tokens, logits: Logits::From(0), memory }], n_best)?;
            }
        }
        self.work = Some(work);
        Ok(true)
    }

    /// What a complete step means; what it was, where it went on with the only choice that does.
    pub(super) fn complete(
        &mut self,
        runner: &mut Runner,
        scratch: &mut Scratch,
        horizon: &mut Horizon,
        events: &mut Vec<Event>,
    ) -> Result<Option<Decoded>> {
        let mut decoded = None;
        let work = self.work.take().ok_or_else(|| Error::internal("a step without a purpose"))?;
        let top = self.request.logprobs;
        match work {
            Work::Remember => {
                if let Some(source) = &mut self.source {
                    source.is_encoded = true;
                }
            }
            Work::Beams => self.beams_done(runner, events)?,
            Work::Prompt { from, to } => self.prompt_done(from, to, runner, scratch, events)?,
            Work::Replay { choice, to } => {
                if let Some(choice) = self.choices.get_mut(choice) {
                    choice.n_cached = to;
                    if to == self.request.prompt.len() + choice.generated.len() {
                        choice.sample(runner.scores(0)?, top, scratch, events)?;
                    }
                }
            }
            Work::Ahead { choice, n_steps } => {
                let (waited_ms, took) = (horizon.ended(n_steps), self.took());
                decoded = Some(Decoded { n_rows: 1, n_tokens: n_steps, waited_ms, took });
                self.ahead_done(choice, n_steps, runner, scratch, events)?;
            }
            Work::Verify { choice, tokens } => {
                let waited_ms = horizon.ended(0);
                let n_tokens = self.draft_done(choice, &tokens, runner, scratch, events)?;
                decoded = Some(Decoded { n_rows: tokens.len(), n_tokens, waited_ms, took: Took::Step });
            }
            Work::Decode { choices } => {
                let step =
                    Decoded { n_rows: 1, n_tokens: 1, waited_ms: horizon.ended(choices.len()), took: Took::Step };
                decoded = (choices.len() == 1 && !self.is_an_exception()).then_some(step);
                for (o, index) in choices.into_iter().enumerate() {
                    if let Some(choice) = self.choices.get_mut(index) {
                        choice.n_cached += 1;
                        choice.sample(runner.scores(o)?, top, scratch, events)?;
                    }
                }
            }
        }
        self.release_finished(runner)?;
        Ok(decoded)
    }

    /// Gives the sequences back, save the first choice's, or the memory: that one is returned with the tokens that it holds and
    /// that count.
    pub(super) fn close(mut self, runner: &mut Runner) -> Result<(SequenceId, Vec<u32>)> {
        if let Some(branches) = &mut self.branches {
            branches.release(&mut runner.kv)?;
        }
        if let Some(Source { tokens, memory: Some(memory), is_encoded }) = self.source {
            let kept = if is_encoded { tokens } else { vec![] };
            runner.kv.truncate(memory, kept.len())?;
            self.choices.iter().filter_map(|c| c.sequence).try_for_each(|id| runner.kv.release(id))?;
            return Ok((memory, kept));
        }
        let first = self.choices.first().ok_or_else(|| Error::internal("a generation without choices"))?;
        let kept = sequence(Some(first))?;
        let mut tokens = std::mem::take(&mut self.request.prompt);
        tokens.extend_from_slice(&first.generated);
        tokens.truncate(first.n_cached);
        runner.kv.truncate(kept, tokens.len())?;
        for choice in self.choices.iter().skip(1) {
            if let Some(id) = choice.sequence {
                runner.kv.release(id)?;
            }
        }
        Ok((kept, tokens))
    }

    /// How many of the best logits are enough for every one of these choices; `None`: all are needed.
    fn wants<'a>(&self, choices: impl IntoIterator<Item = &'a Choice>) -> Option<usize> {
        choices.into_iter().try_fold(1, |most, choice| Some(choice.wants(self.request.logprobs)?.max(most)))
    }

    /// The choices whose first token comes from the logits behind the prompt.
    fn unstarted(&self) -> impl Iterator<Item = &Choice> {
        self.choices.iter().filter(|c| c.finished.is_none() && c.generated.is_empty())
    }

    fn next_work(&self) -> Option<Work> {
        let n_prompt = self.request.prompt.len();
        let scores = Self::scores_prompt(&self.request);
        let from = self.choices.first()?.n_cached;
        let goes_on = |c: &Choice| c.finished.is_none();
        if from < n_prompt {
            if !scores && !self.choices.iter().any(goes_on) {
                return None;
            }
            if self.source.as_ref().is_some_and(|source| !source.is_encoded) {
                return Some(Work::Remember);
            }
            let rows = if scores { FEW_ROWS } else { CHUNK_ROWS };
            return Some(Work::Prompt { from, to: n_prompt.min(from + rows) });
        }
        if let Some(branches) = &self.branches {
            return (!branches.search.is_done() && self.choices.iter().any(goes_on)).then_some(Work::Beams);
        }
        let pending = |c: &Choice| n_prompt + c.generated.len() - c.n_cached;
        let open = || self.choices.iter().enumerate().filter(|(_, c)| goes_on(c));
        if let Some((choice, c)) = open().find(|(_, c)| pending(c) > 1) {
            return Some(Work::Replay { choice, to: c.n_cached + pending(c).min(CHUNK_ROWS) });
        }
        let choices: Vec<usize> = open().map(|(i, _)| i).take(FEW_ROWS).collect();
        (!choices.is_empty()).then_some(Work::Decode { choices })
    }

    /// Guesses how the only choice that goes on does so.
    fn speculate(&mut self, work: Work, speculator: &mut Speculator) -> Work {
        let Self { request, choices, source, drafter, .. } = self;
        let Work::Decode { choices: decoded } = &work else { return work };
        let &[choice] = decoded.as_slice() else { return work };
        let Some((going_on, newest)) = choices.get(choice).and_then(|c| Some((c, *c.generated.last()?))) else {
            return work;
        };
        let text = text(source, request, going_on);
        let mut tokens = drafter.draft(text, going_on.most_drafted(), request.speculation, speculator);
        if let Some(end) = tokens.iter().position(|token| going_on.ends_with(*token)) {
            // Nothing comes behind it.
            tokens.truncate(end);
        }
        if tokens.is_empty() {
            return work;
        }
        tokens.insert(0, newest);
        Work::Verify { choice, tokens }
    }

    /// The logits behind the newest token of a choice and behind guesses are there; how many tokens that gave.
    fn draft_done(
        &mut self,
        choice: usize,
        tokens: &[u32],
        runner: &mut Runner,
        scratch: &mut Scratch,
        events: &mut Vec<Event>,
    ) -> Result<usize> {
        let Self { request, choices, drafter, .. } = self;
        let choice = choices.get_mut(choice).ok_or_else(|| Error::internal("a draft for no choice"))?;
        let mut n_tokens = 0;
        loop {
            choice.sample(runner.scores(n_tokens)?, request.logprobs, scratch, events)?;
            n_tokens += 1;
            let is_guessed = tokens.get(n_tokens) == choice.generated.last();
            drafter.n_accepted += usize::from(is_guessed);
            if !is_guessed || choice.finished.is_some() {
                break;
            }
        }
        drafter.n_drafted += tokens.len() - 1;
        // Of the rows those in front of the newest token count, as if there had been no others.
        choice.n_cached += n_tokens;
        runner.kv.truncate(sequence(Some(choice))?, choice.n_cached)?;
        self.ahead.guessed();
        Ok(n_tokens)
    }

    fn prompt_done(
        &mut self,
        from: usize,
        to: usize,
        runner: &mut Runner,
        scratch: &mut Scratch,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        let total = self.request.prompt.len();
        self.score(from, to, runner)?;
        if let Some(first) = self.choices.first_mut() {
            first.n_cached = to;
        }
        let (processed, all) = self.source.as_ref().map_or((to, total), |s| (s.tokens.len(), s.tokens.len()));
        events.push(Event::Prefill { processed, total: all, cached: self.n_reused });
        if to < total {
            return Ok(());
        }
        self.say_opening(events);
        if self.branches.is_some() {
            return self.beams_done(runner, events);
        }
        let trunk = sequence(self.choices.first())?;
        let output = if Self::scores_prompt(&self.request) { to - from - 1 } else { 0 };
        for choice in &mut self.choices {
            if choice.finished.is_some() {
                continue;
            }
            if choice.sequence.is_none() {
                choice.sequence = Some(runner.kv.fork(trunk)?);
                choice.n_cached = total;
            }
            if choice.generated.is_empty() {
                choice.sample(runner.scores(output)?, self.request.logprobs, scratch, events)?;
            }
        }
        Ok(())
    }

    /// The beams have new logits; where the search is done, the choices get the best hypotheses.
    fn beams_done(&mut self, runner: &mut Runner, events: &mut Vec<Event>) -> Result<()> {
        let Self { branches: Some(branches), choices, .. } = self else {
            return Err(Error::internal("beams without a search"));
        };
        // Nothing is wanted where every choice had ended before it began.
        if choices.iter().all(|c| c.finished.is_some()) {
            return Ok(());
        }
        branches.complete(runner, sequence(choices.first())?)?;
        if !branches.search.is_done() {
            return Ok(());
        }
        for (choice, hypothesis) in choices.iter_mut().zip(branches.search.finished()) {
            choice.deliver(&hypothesis.tokens, events)?;
        }
        match choices.iter().find(|c| c.finished.is_none()) {
            Some(_) => Err(Error::internal(format!("a search gave {} hypotheses", branches.search.finished().len()))),
            None => Ok(()),
        }
    }

    /// Scores the tokens behind `from..to` by the logits of the step.
    fn score(&mut self, from: usize, to: usize, runner: &Runner) -> Result<()> {
        let (Some(echo), Some(n_top)) = (&mut self.echo, self.request.logprobs) else { return Ok(()) };
        for (o, position) in (from..to).enumerate() {
            if let Some(&next) = self.request.prompt.get(position + 1) {
                let all = LogProbs::of(runner.scores(o)?)?;
                echo.logprobs.push(Some(all.get(next)?));
                echo.top.push(alternatives(&all, n_top, &self.tokenizer));
            }
        }
        Ok(())
    }

    /// The echo, and the end of choices that had ended before they began.
    fn say_opening(&mut self, events: &mut Vec<Event>) {
        if let Some(echo) = self.echo.take() {
            events.push(Event::Echo(self.whole_echo(echo)));
        }
        events.append(&mut self.opening);
    }

    fn whole_echo(&self, mut echo: Echo) -> Echo {
        let ids = &self.request.prompt;
        let mut decoder = StreamDecoder::new(true);
        echo.texts = ids.iter().map(|&id| decoder.push(&self.tokenizer, id)).collect();
        if let Some(last) = echo.texts.last_mut() {
            last.push_str(&decoder.finish());
        }
        echo.logprobs.resize(ids.len(), None);
        echo.top.resize(ids.len(), vec![]);
        echo.ids = ids.clone();
        echo
    }

    /// Choices that ended no longer hold pages, save the first, whose pages the next call may reuse.
    fn release_finished(&mut self, runner: &mut Runner) -> Result<()> {
        for choice in self.choices.iter_mut().skip(1) {
            if choice.finished.is_some()
                && let Some(id) = choice.sequence.take()
            {
                runner.kv.release(id)?;
            }
        }
        Ok(())
    }

    fn end(&mut self, runner: &mut Runner, events: &mut Vec<Event>) -> Result<()> {
        self.say_opening(events);
        self.release_finished(runner)?;
        events.push(Event::End(Usage {
            prompt_tokens: self.source.as_ref().map_or(self.request.prompt.len(), |source| source.tokens.len()),
            completion_tokens: self.choices.iter().map(|c| c.generated.len()).sum(),
            cached_tokens: self.n_reused,
            drafted_tokens: self.drafter.n_drafted,
            accepted_tokens: self.drafter.n_accepted,
        }));
        Ok(())
    }
}

/// What is read, what is gone on from, and the answer.
fn text<'a>(source: &'a Option<Source>, request: &'a Request, going_on: &'a Choice) -> [&'a [u32]; 3] {
    let read = source.as_ref().map_or(&[][..], |source| &source.tokens);
    [read, &request.prompt, &going_on.generated]
}

fn sequence(choice: Option<&Choice>) -> Result<SequenceId> {
    choice.and_then(|c| c.sequence).ok_or_else(|| Error::internal("a choice without a sequence"))
}
