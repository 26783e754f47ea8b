//! A plan that is ready to run: its buffers, its commands with their bind groups. Nothing here is made per step.

use std::{rc::Rc, sync::Arc};

#[cfg(not(target_arch = "wasm32"))]
use super::fault;
use super::{
    ahead::{self, Run},
    buffers::Buffers,
    cache::Cache,
    context::{Buffer, Context, Subject},
    dispatch::{Counts, Dispatch, Extent, Lowered, Operand},
    forms::Forms,
    lower::{MAX_PAIRS, lower},
    pipelines::pipeline,
    profile,
    step::Regions,
    tables::Tables,
    weights::Weights,
};
use crate::{
    error::{Error, Result},
    kv::PageId,
    plan::{Ahead, Op, Plan, Step, Want},
};

/// Length of a table of frequencies, as shaders/rotation.wgsl has it.
const FREQUENCIES_BYTES: u64 = 8 * MAX_PAIRS as u64;
/// Pages that the step's buffer has room for at first.
const FIRST_PAGES: usize = 64;

/// A prepared plan.
pub(super) struct Prepared {
    pub(super) plan: Arc<Plan>,
    lowered: Lowered,
    buffers: Buffers,
    /// Candidates of the outputs, see `best`.
    best: Buffer,
    embeddings: Buffer,
    /// What a run of steps is told, and its results, see `ahead`; where the plan can be run so.
    run: Option<[Buffer; 2]>,
    /// By [`Operand::Frequencies`].
    frequencies: Vec<Buffer>,
    /// By [`Operand::Biases`].
    biases: Vec<Buffer>,
    /// Frequencies and biases.
    tables_are_there: bool,
    regions: Regions,
    step: Buffer,
    commands: Commands,
    /// What the commands were made for.
    made_for: (Forms, u64),
    #[cfg(not(target_arch = "wasm32"))]
    n_runs: std::cell::Cell<usize>,
}

/// The commands of a step, in the order in which they are run.
#[derive(Default)]
pub(super) struct Commands {
    /// What a step behind another in a run finds done.
    embeds: Vec<Command>,
    rest: Vec<Command>,
    /// The best of blocks of logits.
    blocks: Vec<Command>,
    /// Of all, where a step is by itself.
    best: Vec<Command>,
    /// In a run in its place.
    choose: Vec<Command>,
}

/// A dispatch with everything that WebGPU wants to have for it.
struct Command {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    grid: [Extent; 3],
    /// The run from which on it is left out, see `fault`.
    #[cfg(not(target_arch = "wasm32"))]
    stale_from: usize,
}

/// What an executor has for all its plans.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    pub(super) context: &'a Rc<Context>,
    pub(super) weights: &'a Weights,
    pub(super) cache: &'a Cache,
    pub(super) tables: &'a Tables,
    pub(super) forms: Forms,
}

impl Prepared {
    pub(super) fn new(shared: Shared<'_>, plan: Arc<Plan>) -> Result<Self> {
        let Shared { context, weights, forms, cache, .. } = shared;
        let lowered = lower(&plan, weights, cache.geometry(), forms)?;
        lowered.biases.iter().try_for_each(|b| shared.tables.check_biases(&b.bias))?;
        let buffers = Buffers::new(context, &plan, &lowered);
        let regions = Regions::new(plan.rows.max(), plan.max_outputs, FIRST_PAGES);
        let best_bytes = plan.max_outputs as u64 * super::best::STRIDE_BYTES;
        let embedding_bytes = 4 * (plan.rows.max() * embedding_width(&plan)) as u64;
        let input = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let biases_bytes = lowered.biases.iter().map(|b| 4 * b.len() as u64);
        let can_run = lowered.choose.is_some();
        let run_bytes = if can_run { ahead::UPLOAD_BYTES + ahead::RESULT_BYTES } else { 0 };
        let frequencies_bytes = lowered.ropes.len() as u64 * FREQUENCIES_BYTES;
        let tables_bytes = frequencies_bytes + biases_bytes.clone().sum::<u64>();
        let needed_bytes = run_bytes + best_bytes + embedding_bytes + tables_bytes;
        let (step, best, embeddings, run, frequencies, biases) =
            context.guarded(&plan.name, needed_bytes + regions.n_bytes() as u64, || {
                let best_usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
                let uniform = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
                let frequencies = lowered.ropes.iter();
                (
                    step_buffer(context, &regions),
                    context.buffer("best", best_bytes, best_usage),
                    context.buffer("embeddings", embedding_bytes, input),
                    can_run.then(|| {
                        let told = context.buffer("run", ahead::UPLOAD_BYTES, input);
                        [told, context.buffer("results of a run", ahead::RESULT_BYTES, best_usage)]
                    }),
                    frequencies.map(|_| context.buffer("frequencies", FREQUENCIES_BYTES, uniform)).collect(),
                    biases_bytes.map(|n_bytes| context.buffer("biases by distance", n_bytes, input)).collect(),
                )
            });
        let made_for = (forms, cache.generation());
        let mut prepared = Self {
            plan,
            lowered,
            buffers,
            best,
            embeddings,
            run,
            frequencies,
            biases,
            tables_are_there: false,
            regions,
            step,
            commands: Commands::default(),
            made_for,
            #[cfg(not(target_arch = "wasm32"))]
            n_runs: std::cell::Cell::default(),
        };
        prepared.bind(shared)?;
        Ok(prepared)
    }

    /// Makes what is out of date anew: commands for other forms or a larger cache, room for more pages; at the first step the
    /// tables, whose weights have come by now.
    pub(super) fn refresh(&mut self, shared: Shared<'_>, n_pages: usize) -> Result<()> {
        if self.made_for.0 != shared.forms {
            *self = Self::new(shared, self.plan.clone())?;
        }
        if !self.tables_are_there {
            for (rope, buffer) in self.lowered.ropes.iter().zip(&self.frequencies) {
                let frequencies = shared.tables.frequencies(rope)?;
                shared.context.queue().write_buffer(buffer, 0, bytemuck::cast_slice(&frequencies));
            }
            for (biases, buffer) in self.lowered.biases.iter().zip(&self.biases) {
                let biases = shared.tables.biases(biases)?;
                shared.context.queue().write_buffer(buffer, 0, bytemuck::cast_slice(&biases));
            }
            self.tables_are_there = true;
        }
        let more_pages = !self.has_room(n_pages);
        if more_pages {
            self.regions.max_pages = n_pages.next_power_of_two();
            let n_bytes = self.regions.n_bytes() as u64;
            self.step = shared.context.guarded("page tables", n_bytes, || step_buffer(shared.context, &self.regions));
        }
        if more_pages || self.made_for.1 != shared.cache.generation() {
            self.bind(shared)?;
        }
        Ok(())
    }

    /// Whether what a run has left for the next one stays where it is, if that has so many pages.
    pub(super) fn keeps_state(&self, forms: Forms, n_pages: usize) -> bool {
        self.made_for.0 == forms && self.has_room(n_pages)
    }

    /// Whether the step's buffer has room for so many pages.
    fn has_room(&self, n_pages: usize) -> bool {
        n_pages <= self.regions.max_pages
    }

    /// Uploads the step's parameters: one write, and one more where it brings embedding rows along.
    pub(super) fn upload(&self, context: &Context, step: &Step<'_>, bytes: &mut Vec<u8>) {
        self.regions.write(step, bytes);
        context.queue().write_buffer(&self.step, 0, bytes);
        if !step.embeddings.is_empty() {
            let embeddings = bytemuck::cast_slice(step.embeddings);
            let n = embeddings.len().min(self.embeddings.size() as usize);
            context.queue().write_buffer(&self.embeddings, 0, &embeddings[..n]);
        }
    }

    /// Uploads what a run is told.
    pub(super) fn upload_run(&self, context: &Context, run: &Run, ahead: &Ahead<'_>, bytes: &mut Vec<u8>) {
        let Some([told, _]) = &self.run else { return };
        run.write(ahead, bytes);
        context.queue().write_buffer(told, 0, bytes);
    }

    /// Uploads the pages of a run's sequence, which may have become more.
    pub(super) fn upload_pages(&self, context: &Context, pages: &[PageId], bytes: &mut Vec<u8>) {
        bytes.clear();
        pages.iter().for_each(|page| bytes.extend_from_slice(&page.0.to_le_bytes()));
        context.queue().write_buffer(&self.step, self.regions.pages().0 as u64, bytes);
    }

    /// Records the whole step into one compute pass.
    pub(super) fn record(&self, encoder: &mut wgpu::CommandEncoder, counts: Counts, want: Want) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        self.record_into(&mut pass, self.of_step(want), counts);
    }

    fn of_step(&self, want: Want) -> impl Iterator<Item = &Command> {
        let Commands { embeds, rest, blocks, best, .. } = &self.commands;
        let best = [blocks, best].into_iter().filter(move |_| matches!(want, Want::Best(_)));
        embeds.iter().chain(rest).chain(best.flatten())
    }

    /// Records the step with a compute pass for each dispatch, and the times when it begins and ends into `queries`. Gives the kind of
    /// each that is measured.
    pub(super) fn record_timed(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        counts: Counts,
        want: Want,
        queries: &wgpu::QuerySet,
        weights: &Weights,
    ) -> Vec<String> {
        let mut kinds = vec![];
        let of_op = |dispatch: &Dispatch| self.plan.ops.get(dispatch.op).map(|op| op.kind(|id| weights.spec(id)));
        let dispatches = self.lowered.dispatches.iter().map(|d| (d, of_op(d)));
        let named = dispatches.chain(self.lowered.best.iter().map(|d| (d, Some("Best".to_owned()))));
        for (command, (dispatch, op)) in self.of_step(want).zip(named) {
            if counts.of(command.grid).contains(&0) {
                continue;
            }
            let at = 2 * kinds.len() as u32;
            let timestamp_writes = (kinds.len() < profile::MOST).then_some(wgpu::ComputePassTimestampWrites {
                query_set: queries,
                beginning_of_pass_write_index: Some(at),
                end_of_pass_write_index: Some(at + 1),
            });
            if timestamp_writes.is_some() {
                kinds.push([&op.unwrap_or_default(), ": ", &dispatch.shader.label()].concat());
            }
            let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
            let mut pass = encoder.begin_compute_pass(&descriptor);
            self.record_into(&mut pass, [command].into_iter(), counts);
        }
        kinds
    }

    /// Records a run of steps into one compute pass.
    pub(super) fn record_run(&self, encoder: &mut wgpu::CommandEncoder, run: &Run) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        let Commands { embeds, rest, blocks, choose, .. } = &self.commands;
        for step in 0..run.n_steps {
            let embeds: &[Command] = if step == 0 && !run.is_behind { embeds } else { &[] };
            let commands = embeds.iter().chain(rest).chain(blocks).chain(choose);
            let counts = Counts { rows: 1, outputs: 1, positions: run.position as usize + step + 1 };
            self.record_into(&mut pass, commands, counts);
        }
    }

    fn record_into<'a>(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        commands: impl Iterator<Item = &'a Command>,
        counts: Counts,
    ) {
        #[cfg(not(target_arch = "wasm32"))]
        let n_runs = self.n_runs.replace(self.n_runs.get() + 1);
        for command in commands {
            #[cfg(not(target_arch = "wasm32"))]
            if n_runs >= command.stale_from {
                continue;
            }
            let [x, y, z] = counts.of(command.grid);
            if x > 0 && y > 0 && z > 0 {
                pass.set_pipeline(&command.pipeline);
                pass.set_bind_group(0, &command.bind_group, &[]);
                pass.dispatch_workgroups(x, y, z);
            }
        }
    }

    pub(super) fn lowered(&self) -> &Lowered {
        &self.lowered
    }

    pub(super) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// Where the best logits of the outputs are.
    pub(super) fn best(&self) -> &wgpu::Buffer {
        &self.best
    }

    /// Where the results of a run are, if the plan can be run so.
    pub(super) fn run_results(&self) -> Option<&wgpu::Buffer> {
        self.run.as_ref().map(|[_, results]| &**results)
    }

    pub(super) fn n_bytes(&self) -> u64 {
        let run = self.run.iter().flatten().map(|b| b.size()).sum::<u64>();
        let tables = self.frequencies.iter().chain(&self.biases).map(|b| b.size()).sum::<u64>();
        self.buffers.n_bytes() + self.best.size() + self.embeddings.size() + self.step.size() + tables + run
    }

    /// Makes the pipelines and bind groups.
    fn bind(&mut self, shared: Shared<'_>) -> Result<()> {
        self.commands = self.commands_of(shared, &self.lowered)?;
        self.made_for = (shared.forms, shared.cache.generation());
        Ok(())
    }

    fn commands_of(&self, shared: Shared<'_>, lowered: &Lowered) -> Result<Commands> {
        let commands = |dispatches: &[Dispatch]| -> Result<Vec<Command>> {
            let mut commands = vec![];
            dispatches.iter().try_for_each(|dispatch| self.command(shared, dispatch, &mut commands))?;
            Ok(commands)
        };
        let subject = Subject::Bindings(self.plan.name.clone());
        let Lowered { dispatches, best, choose, n_embeds, .. } = lowered;
        let (embeds, rest) = dispatches.split_at((*n_embeds).min(dispatches.len()));
        let (blocks, best) = best.split_at(best.len().saturating_sub(1));
        shared.context.guarded_as(subject, || {
            let (embeds, rest, blocks) = (commands(embeds)?, commands(rest)?, commands(blocks)?);
            Ok(Commands { embeds, rest, blocks, best: commands(best)?, choose: commands(choose.as_slice())? })
        })
    }

    /// The commands of other forms on the same buffers; `None` where they need others.
    pub(super) fn commands_with(&self, shared: Shared<'_>) -> Result<Option<Commands>> {
        let lowered = lower(&self.plan, shared.weights, shared.cache.geometry(), shared.forms)?;
        let same = lowered.scratch.len() == self.lowered.scratch.len() && lowered.same == self.lowered.same;
        let fits = lowered.scratch.iter().zip(&self.lowered.scratch).all(|(n, there)| n <= there);
        if !(same && fits) {
            return Ok(None);
        }
        self.commands_of(shared, &lowered).map(Some)
    }

    /// Records the first `most` of such commands, and those behind the plan's own.
    pub(super) fn record_trial(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        commands: &Commands,
        counts: Counts,
        most: usize,
    ) {
        let Commands { embeds, rest, blocks, best, .. } = commands;
        // A step of one row is short, and its last product the longest.
        let most = if self.plan.rows.max() == 1 { rest.len() } else { most };
        self.record_into(pass, embeds.iter().chain(rest.iter().take(most)).chain(blocks).chain(best), counts);
    }

    fn command(&self, shared: Shared<'_>, dispatch: &Dispatch, commands: &mut Vec<Command>) -> Result<()> {
        let pipeline = pipeline(shared.context, dispatch);
        let entries = dispatch.operands.iter().map(|(binding, operand)| {
            let resource = wgpu::BindingResource::Buffer(self.binding(shared, *operand)?);
            Ok(wgpu::BindGroupEntry { binding: *binding, resource })
        });
        let entries = entries.collect::<Result<Vec<_>>>()?;
        let label = dispatch.shader.label();
        let bind_group = shared.context.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&label),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        shared.context.count(|made| made.bind_groups += 1);
        commands.push(Command {
            pipeline,
            bind_group,
            grid: dispatch.grid,
            #[cfg(not(target_arch = "wasm32"))]
            stale_from: fault::stale_from(shared.context, dispatch),
        });
        #[cfg(not(target_arch = "wasm32"))]
        commands.extend(fault::saboteurs(shared.context, dispatch, &entries).into_iter().map(
            |(pipeline, bind_group)| Command {
                pipeline,
                bind_group,
                grid: [Extent::Fixed(1); 3],
                stale_from: usize::MAX,
            },
        ));
        Ok(())
    }

    fn binding<'a>(&'a self, shared: Shared<'a>, operand: Operand) -> Result<wgpu::BufferBinding<'a>> {
        let part = |(offset, len): (usize, usize)| {
            Some(wgpu::BufferBinding {
                buffer: &self.step,
                offset: offset as u64,
                size: wgpu::BufferSize::new(len as u64),
            })
        };
        let whole = |buffer: Option<&'a wgpu::Buffer>| buffer.map(wgpu::Buffer::as_entire_buffer_binding);
        let binding = match operand {
            Operand::Step => part((0, size_of::<super::step::Header>())),
            Operand::Rows => part(self.regions.rows()),
            Operand::OnlyRow => part((self.regions.rows().0, size_of::<super::step::RowEntry>())),
            Operand::Outputs => part(self.regions.outputs()),
            Operand::Pages => part(self.regions.pages()),
            Operand::Embeddings => whole(Some(&self.embeddings)),
            Operand::Best => whole(Some(&self.best)),
            Operand::Ahead => whole(self.run.as_ref().map(|[told, _]| &**told)),
            Operand::AheadResults => whole(self.run_results()),
            Operand::Buffer(id) => whole(self.buffers.of(id)),
            Operand::Scratch(index) => whole(self.buffers.scratch(index)),
            Operand::Plane(plane) => whole(shared.weights.buffer(plane)),
            Operand::Cache(layer) => whole(shared.cache.buffer(layer)),
            Operand::Frequencies(index) => whole(self.frequencies.get(index).map(|b| &**b)),
            Operand::Biases(index) => whole(self.biases.get(index).map(|b| &**b)),
        };
        binding.ok_or_else(|| Error::internal(format!("{}: an operand of a shader is not there", self.plan.name)))
    }
}

fn step_buffer(context: &Context, regions: &Regions) -> Buffer {
    let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
    context.buffer("step", regions.n_bytes() as u64, usage)
}

/// Width of the rows that a step may bring along.
fn embedding_width(plan: &Plan) -> usize {
    let out = plan.ops.iter().find_map(|op| match op {
        Op::Embed { out, .. } => plan.buffers.get(out.0 as usize),
        _ => None,
    });
    out.map_or(0, |b| b.width)
}
