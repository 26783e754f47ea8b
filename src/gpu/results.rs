//! What comes back from a step: the candidates or the whole output, and the tapped buffers, one after the other in one stage.

use super::{
    ahead::Run,
    best::{self, Row},
    prepared::Prepared,
};
use crate::{
    error::{Error, Result},
    plan::{BufferId, Plan, Rows, Want},
    sample::Best,
    sorted::SortedMap,
};

/// What is to be copied.
pub(super) struct Sources {
    parts: Vec<Part>,
}

#[derive(Clone, Copy)]
enum Part {
    /// The output: so many f32.
    Output { len: usize },
    /// One row's candidates.
    Best { row: usize, n_bytes: u64 },
    /// A tapped buffer: so many f32.
    Tap { id: BufferId, len: usize },
    /// The candidates of so many steps of a run, each of this length.
    Run { n_steps: usize, n_bytes: u64 },
    /// A word, so that the step's end is known.
    End,
}

impl Part {
    fn n_bytes(self) -> u64 {
        match self {
            Self::Output { len } | Self::Tap { len, .. } => 4 * len as u64,
            Self::Best { n_bytes, .. } => n_bytes,
            Self::Run { n_steps, n_bytes } => n_steps as u64 * n_bytes,
            Self::End => 4,
        }
    }
}

impl Sources {
    pub(super) fn of(prepared: &Prepared, n_rows: usize, n_outputs: usize, want: Want) -> Self {
        let plan = &prepared.plan;
        let len = |id: BufferId| len(plan, id, n_rows, n_outputs);
        let mut parts: Vec<Part> = match want {
            _ if n_outputs == 0 => vec![Part::End],
            Want::All => vec![Part::Output { len: len(plan.output) }],
            Want::Best(n) => (0..n_outputs).map(|row| Part::Best { row, n_bytes: best::n_bytes(n) }).collect(),
        };
        parts.extend(plan.taps.iter().map(|id| Part::Tap { id: *id, len: len(*id) }));
        Self { parts }
    }

    /// What comes of a run of steps: taps as they are at its end.
    pub(super) fn of_run(prepared: &Prepared, run: &Run) -> Self {
        let plan = &prepared.plan;
        let taps = plan.taps.iter().map(|id| Part::Tap { id: *id, len: len(plan, *id, 1, 1) });
        let steps = Part::Run { n_steps: run.n_steps, n_bytes: best::n_bytes(run.n_best) };
        Self { parts: [steps].into_iter().chain(taps).collect() }
    }

    pub(super) fn n_bytes(&self) -> u64 {
        self.parts.iter().map(|p| p.n_bytes()).sum()
    }

    pub(super) fn copy(
        &self,
        prepared: &Prepared,
        encoder: &mut wgpu::CommandEncoder,
        stage: &wgpu::Buffer,
    ) -> Result<()> {
        let mut at = 0;
        for part in &self.parts {
            let (source, offset) = match *part {
                Part::Output { .. } => (prepared.buffers().of(prepared.plan.output), 0),
                Part::Best { row, .. } => (Some(prepared.best()), row as u64 * best::STRIDE_BYTES),
                Part::Run { .. } => (prepared.run_results(), 0),
                Part::Tap { id, .. } => (prepared.buffers().of(id), 0),
                Part::End => (Some(prepared.best()), 0),
            };
            let source = source.ok_or_else(|| Error::internal("a result that no operation writes"))?;
            if part.n_bytes() > 0 {
                encoder.copy_buffer_to_buffer(source, offset, stage, at, part.n_bytes());
            }
            at += part.n_bytes();
        }
        Ok(())
    }
}

/// Elements of a buffer in a step of so many rows and outputs.
fn len(plan: &Plan, id: BufferId, n_rows: usize, n_outputs: usize) -> usize {
    plan.buffers.get(id.0 as usize).map_or(0, |b| b.width * if b.rows == Rows::Out { n_outputs } else { n_rows })
}

/// The results of the last complete step.
#[derive(Debug, Default)]
pub(super) struct Results {
    output: Option<Vec<f32>>,
    best: Vec<Row>,
    taps: SortedMap<BufferId, Vec<f32>>,
}

impl Results {
    /// Takes a stage's bytes; `false` where a row has too many candidates, and then nothing counts. Of a run the steps before it do.
    pub(super) fn take(&mut self, sources: &Sources, bytes: &[u8]) -> bool {
        self.output = None;
        self.best.clear();
        self.taps.clear();
        let mut rest = bytes;
        for part in &sources.parts {
            let (now, later) = rest.split_at(rest.len().min(part.n_bytes() as usize));
            rest = later;
            match *part {
                Part::Output { .. } => self.output = Some(floats(now)),
                Part::Tap { id, .. } => drop(self.taps.insert(id, floats(now))),
                Part::End => {}
                Part::Run { n_bytes, .. } => {
                    self.best.extend(now.chunks_exact(n_bytes as usize).map_while(best::parse));
                }
                Part::Best { .. } => match best::parse(now) {
                    Some(row) => self.best.push(row),
                    None => return false,
                },
            }
        }
        true
    }

    pub(super) fn output(&self, o: usize, n_outputs: usize) -> Result<&[f32]> {
        let all = self.output.as_deref().ok_or_else(|| Error::internal("the whole output was not asked for"))?;
        let width = all.len() / n_outputs.max(1);
        all.get(o * width..(o + 1) * width)
            .filter(|_| o < n_outputs)
            .ok_or_else(|| Error::internal(format!("the step has no output {o}")))
    }

    pub(super) fn best(&self, o: usize) -> Result<Option<Best<'_>>> {
        if self.output.is_some() {
            return Ok(None);
        }
        let row = self.best.get(o).ok_or_else(|| Error::internal(format!("the step has no output {o}")))?;
        Ok(Some(Best { candidates: &row.candidates, log_sum_exp: row.log_sum_exp }))
    }

    /// Of how many steps of a run there are results.
    pub(super) fn n_ahead(&self) -> usize {
        self.best.len()
    }

    pub(super) fn chosen(&self, i: usize) -> Result<u32> {
        self.best.get(i).map(|row| row.chosen).ok_or_else(|| Error::internal(format!("the run has no step {i}")))
    }

    pub(super) fn tap(&self, id: BufferId) -> Result<&[f32]> {
        self.taps.get(&id).map(Vec::as_slice).ok_or_else(|| Error::internal(format!("buffer {} is not there", id.0)))
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(bytes)
}
