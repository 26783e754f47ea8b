//! Finds out, while the weights of a model arrive, which of the constants in `axis` its steps are fastest with on this device: whole steps of
//! the prepared plans are run with each candidate, on what is there of the weights (what they are does not matter to the time). Values are
//! written to nothing but buffers that every step writes anew, and to the first page of a cache that nobody has yet.
//!
//! ```text
//! Executor::warm ─► compile a candidate ─► run it once ─► twice for some milliseconds ─► the next one … ─► the axis is noted
//! ```
//! Nothing waits for it: each call does what can be done now, and what has not been measured when the model is there is measured at the
//! next load. What was chosen holds from the next load on too, whose self-check then covers it: so a load never has two checks.

mod axis;
mod record;

pub(super) use self::record::Record;
use self::{
    axis::{Axis, Chosen},
    record::code,
};
use super::{
    Gpu,
    context::{Buffer, Context},
    dispatch::Counts,
    pipelines::Key,
    prepared::{Commands, Prepared},
    readback::{Readback, Ticket},
};
use crate::{
    error::Result,
    kv::PageId,
    plan::{Op, Plan, Row, RowInput, Signal, Step, Want},
    sorted::SortedSet,
};

/// What all measuring of a load may take, milliseconds.
const BUDGET_MS: f64 = 1_500.0;
/// A run is so long at least: a browser's timestamps are as coarse as 0.1 ms, and without them there is the way to the device and back.
const RUN_MS: f64 = 10.0;
const MOST_REPEATS: usize = 64;
/// Commands of a long step that are run, so that no run is long.
const MOST_COMMANDS: usize = 96;
/// Rows of a step of many.
const MANY_ROWS: usize = 64;
/// Positions that a step of one row sees, and where what matters is the parts of attention.
const POSITIONS: usize = 64;
const FAR_POSITIONS: usize = 1024;
/// What another candidate than the first has to bring.
const IS_BETTER: f64 = 0.97;
/// Runs of a candidate: the first warms up and tells how often to repeat.
const N_RUNS: usize = 3;

/// Milliseconds since some moment.
type Clock = fn() -> f64;

/// What a context knows of tuning: the clock to measure by, what is known.
#[derive(Debug)]
pub(super) struct Tuning {
    pub(super) clock: Clock,
    pub(super) record: Record,
}

/// A measurement under way. It belongs to an executor.
pub(super) struct Tuner {
    clock: Clock,
    class: String,
    /// What has been chosen, at earlier loads too.
    chosen: Chosen,
    /// The axis and the candidate that are measured.
    axis: usize,
    candidate: usize,
    /// Of the axis: its first candidate and the best, with their times.
    first_ms: f64,
    best: (usize, f64),
    spent_ms: f64,
    phase: Phase,
    readback: Readback,
    queries: Option<(wgpu::QuerySet, Buffer)>,
    /// What is not only for candidates.
    in_use: SortedSet<Key>,
}

enum Phase {
    Next,
    Compiling { commands: Commands, since_ms: f64 },
    Running(Run),
}

/// A candidate that runs.
struct Run {
    commands: Commands,
    repeats: usize,
    n_done: usize,
    least_ms: f64,
    ticket: Ticket,
    begun_ms: f64,
}

const TIMES_BYTES: u64 = 16;

/// The forms for a model whose first plan this is, by what is known of its class.
pub(super) fn adopt(gpu: &Gpu, plan: &Plan) {
    let context = &gpu.context;
    let Some(class) = class(gpu, plan) else { return };
    if let Some(tuning) = &*context.tuning().borrow() {
        context.set_forms(Axis::forms(tuning.record.chosen(&class), context.forms(), context.facts()));
    }
}

/// Goes on as far as it can now; whether there is more to do.
pub(super) fn go_on(gpu: &mut Gpu) -> Result<bool> {
    let mut tuner = match gpu.tuner.take() {
        Some(tuner) => tuner,
        None if gpu.is_tuned => return Ok(false),
        None => {
            gpu.is_tuned = true;
            match Tuner::new(gpu)? {
                Some(tuner) => Box::new(tuner),
                None => return Ok(false),
            }
        }
    };
    let more = tuner.go_on(gpu)?;
    gpu.tuner = Some(tuner);
    if !more {
        end(gpu);
    }
    Ok(more)
}

/// Measures no more, and forgets what only candidates needed.
pub(super) fn end(gpu: &mut Gpu) {
    gpu.is_tuned = true;
    if let Some(tuner) = gpu.tuner.take() {
        gpu.context.pipelines().borrow_mut().retain(&tuner.in_use);
    }
}

/// Models whose steps take the same time, about.
fn class(gpu: &Gpu, plan: &Plan) -> Option<String> {
    let first = plan.ops.iter().find_map(|op| match op {
        Op::MatMul(m) => gpu.weights.spec(m.parts.first()?.weight),
        _ => None,
    })?;
    Some(format!("{} {:?} {}", first.format.name(), first.shape, plan.ops.len()))
}

impl Tuner {
    /// `None` where nobody wants it, or all is known.
    fn new(gpu: &mut Gpu) -> Result<Option<Self>> {
        let context = gpu.context.clone();
        let Some(class) = gpu.plans.first().and_then(|p| class(gpu, &p.plan)) else { return Ok(None) };
        let Some((clock, chosen)) = context.tuning().borrow().as_ref().map(|t| (t.clock, t.record.chosen(&class)))
        else {
            return Ok(None);
        };
        let chosen = without_refused(chosen, &context);
        if let Some(tuning) = &mut *context.tuning().borrow_mut() {
            tuning.record.note(&class, chosen);
        }
        gpu.cache.reserve(1)?;
        let has_timestamps = context.device().features().contains(wgpu::Features::TIMESTAMP_QUERY);
        let queries = has_timestamps.then(|| {
            context.guarded("timestamps", TIMES_BYTES, || {
                let queries = context.device().create_query_set(&wgpu::QuerySetDescriptor {
                    label: Some("tuning"),
                    ty: wgpu::QueryType::Timestamp,
                    count: 2,
                });
                let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
                (queries, context.buffer("tuning", TIMES_BYTES, usage))
            })
        });
        let in_use = context.pipelines().borrow().keys();
        Ok(Some(Self {
            clock,
            class,
            chosen,
            axis: 0,
            candidate: 0,
            first_ms: f64::INFINITY,
            best: (0, f64::INFINITY),
            spent_ms: 0.0,
            phase: Phase::Next,
            readback: Readback::new(context),
            queries,
            in_use,
        }))
    }

    fn go_on(&mut self, gpu: &mut Gpu) -> Result<bool> {
        let Some(axis) = Axis::ALL.get(self.axis).copied() else { return Ok(false) };
        match std::mem::replace(&mut self.phase, Phase::Next) {
            Phase::Next if self.chosen[self.axis].is_some() => self.next_axis(None, gpu),
            Phase::Next if self.candidate == axis.n_candidates() => {
                let is_better = self.best.1 < IS_BETTER * self.first_ms;
                self.next_axis(Some(if is_better { self.best.0 } else { 0 }), gpu);
            }
            Phase::Next if self.spent_ms > BUDGET_MS => return Ok(false),
            Phase::Next => match self.commands(axis, gpu)? {
                Some(commands) => self.phase = Phase::Compiling { commands, since_ms: (self.clock)() },
                None => self.candidate += 1,
            },
            Phase::Compiling { commands, since_ms } => match gpu.context.trial() {
                None => self.phase = Phase::Compiling { commands, since_ms },
                Some(is_good) => {
                    self.spent_ms += (self.clock)() - since_ms;
                    if is_good {
                        let (begun_ms, n_done) = ((self.clock)(), 0);
                        let ticket = self.readback.take(TIMES_BYTES);
                        let run = Run { commands, repeats: 1, n_done, least_ms: f64::INFINITY, ticket, begun_ms };
                        self.submit(axis, run, gpu)?;
                    } else {
                        self.candidate += 1;
                    }
                }
            },
            Phase::Running(run) => self.look(axis, run, gpu)?,
        }
        Ok(self.axis < Axis::ALL.len())
    }

    fn next_axis(&mut self, chosen: Option<usize>, gpu: &Gpu) {
        if chosen.is_some() {
            self.chosen[self.axis] = chosen;
            if let Some(tuning) = &mut *gpu.context.tuning().borrow_mut() {
                tuning.record.note(&self.class, self.chosen);
            }
        }
        self.axis += 1;
        (self.candidate, self.first_ms, self.best) = (0, f64::INFINITY, (0, f64::INFINITY));
    }

    /// The commands of a candidate on the plan that it matters to; they may be compiling yet.
    fn commands(&self, axis: Axis, gpu: &Gpu) -> Result<Option<Commands>> {
        let (Some(prepared), context) = (plan_of(axis, gpu), &gpu.context) else { return Ok(None) };
        let now = gpu.forms();
        let forms = Axis::forms(self.chosen, now, context.facts());
        let takes_part = match axis {
            Axis::Tiles => now.tiles,
            Axis::Parts => now.parts,
            Axis::Lanes | Axis::Wide => true,
        };
        let Some(forms) = axis.candidate(self.candidate, forms, context.facts()).filter(|_| takes_part) else {
            return Ok(None);
        };
        context.set_trying(true);
        let commands = prepared.commands_with(gpu.shared_with(forms));
        context.set_trying(false);
        commands
    }

    /// Runs a candidate's commands, the times being asked for.
    fn submit(&mut self, axis: Axis, mut run: Run, gpu: &mut Gpu) -> Result<()> {
        let Gpu { context, plans, upload, cache, .. } = gpu;
        let Some(prepared) = plan_index(axis, plans).and_then(|i| plans.get(i)) else { return Ok(()) };
        debug_assert!(cache.n_pages() > 0, "a page is written to");
        let n_rows = prepared.plan.rows.max().min(MANY_ROWS);
        let first = if axis == Axis::Parts { FAR_POSITIONS - 1 } else { POSITIONS - n_rows };
        let row = |i| Row { segment: 0, input: RowInput::Token(i as u32), position: (first + i) as u32, sequence: 0 };
        let rows: Vec<Row> = (0..n_rows).map(row).collect();
        // All of them the same: what is read is as much.
        let pages = [PageId(0); FAR_POSITIONS / crate::kv::PAGE_POSITIONS];
        let (sequences, want): ([&[PageId]; 1], _) = ([&pages], Want::Best(1));
        let step = Step { rows: &rows, outputs: &[0], sequences: &sequences, memories: &[], embeddings: &[], want };
        prepared.upload(context, &step, upload);
        let counts = Counts { rows: n_rows, outputs: 1, positions: first + 1 };
        let descriptor = wgpu::CommandEncoderDescriptor::default();
        let mut encoder = context.device().create_command_encoder(&descriptor);
        {
            let timestamp_writes = self.queries.as_ref().map(|(queries, _)| wgpu::ComputePassTimestampWrites {
                query_set: queries,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            });
            let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
            let mut pass = encoder.begin_compute_pass(&descriptor);
            for _ in 0..run.repeats {
                prepared.record_trial(&mut pass, &run.commands, counts, MOST_COMMANDS);
            }
        }
        let stage = self.readback.buffer(run.ticket)?;
        match &self.queries {
            Some((queries, resolved)) => {
                encoder.resolve_query_set(queries, 0..2, resolved, 0);
                encoder.copy_buffer_to_buffer(resolved, 0, stage, 0, TIMES_BYTES);
            }
            // Something has to be waited for.
            None => encoder.copy_buffer_to_buffer(prepared.best(), 0, stage, 0, TIMES_BYTES),
        }
        run.begun_ms = (self.clock)();
        context.queue().submit([encoder.finish()]);
        self.readback.map(run.ticket, TIMES_BYTES, &Signal::default())?;
        self.phase = Phase::Running(run);
        Ok(())
    }

    /// Takes what has come of a run.
    fn look(&mut self, axis: Axis, mut run: Run, gpu: &mut Gpu) -> Result<()> {
        // Some browsers look for finished work only when something is submitted.
        gpu.context.nudge();
        gpu.context.usable()?;
        let read = |bytes: &[u8]| -> Vec<u64> { bytemuck::pod_collect_to_vec(bytes) };
        let Some(ticks) = self.readback.read(run.ticket, TIMES_BYTES, read)? else {
            self.phase = Phase::Running(run);
            return Ok(());
        };
        let wall_ms = (self.clock)() - run.begun_ms;
        self.spent_ms += wall_ms;
        let period_ms = f64::from(gpu.context.queue().get_timestamp_period()) / 1e6;
        let device_ms = match (&self.queries, &ticks[..]) {
            (Some(_), [from, to]) if to > from => (to - from) as f64 * period_ms,
            _ => wall_ms,
        };
        let step_ms = device_ms / run.repeats as f64;
        run.n_done += 1;
        if run.n_done == 1 {
            run.repeats = ((RUN_MS / step_ms.max(1e-3)) as usize).clamp(1, MOST_REPEATS);
        } else {
            run.least_ms = run.least_ms.min(step_ms);
        }
        // What is that much slower at once is not run again.
        if run.n_done < N_RUNS && !(run.n_done > 1 && run.least_ms > 2.0 * self.first_ms) {
            run.ticket = self.readback.take(TIMES_BYTES);
            return self.submit(axis, run, gpu);
        }
        if self.candidate == 0 {
            self.first_ms = run.least_ms;
        }
        if run.least_ms < self.best.1 {
            self.best = (self.candidate, run.least_ms);
        }
        self.candidate += 1;
        Ok(())
    }
}

/// Without tiles that the self-check has found wrong: they are not to be taken at every load anew.
fn without_refused(mut chosen: Chosen, context: &Context) -> Chosen {
    let now = context.forms();
    if Axis::forms(chosen, now, context.facts()) != now {
        chosen[0] = Some(0);
    }
    chosen
}

fn plan_of(axis: Axis, gpu: &Gpu) -> Option<&Prepared> {
    gpu.plans.get(plan_index(axis, &gpu.plans)?)
}

/// Of the plans the one whose steps are measured.
fn plan_index(axis: Axis, plans: &[Prepared]) -> Option<usize> {
    plans.iter().position(|prepared| match axis {
        Axis::Tiles => prepared.plan.rows.max() >= MANY_ROWS,
        Axis::Lanes | Axis::Wide | Axis::Parts => prepared.plan.rows.max() == 1,
    })
}

impl Context {
    /// From now on models are tuned for this device, by this clock; `record` is what [`Self::tuned`] gave at an earlier time, on a device
    /// that was called the same.
    pub fn tune(&self, clock: Clock, device: &str, record: &str) {
        let subgroups = self.facts().subgroups.map_or(0, |s| s.min);
        let record = Record::new(&format!("{device} {subgroups}"), record);
        *self.tuning().borrow_mut() = Some(Tuning { clock, record });
    }

    /// What has been found out on this device, at earlier times too; where it is tuned.
    pub fn tuned(&self) -> Option<String> {
        self.tuning().borrow().as_ref().map(|tuning| tuning.record.text())
    }
}

impl Gpu {
    /// By axis what is known of the model, for tests: `1,0,-,2`.
    pub fn tuned_code(&self) -> Option<String> {
        let class = class(self, &self.plans.first()?.plan)?;
        self.context.tuning().borrow().as_ref().map(|tuning| code(tuning.record.chosen(&class)))
    }
}
