//! Runs of steps: what the device goes on with is what the sampler would have chosen, and what it computes then is right.

use super::{Failure, Sample, Trial, judge};
use crate::{
    error::{Error, Result},
    plan::{Ahead, BufferId, Executor, Progress, Row, RowInput, Step, Want},
    sample::{Sampler, SamplingParams, Scores, Scratch},
};

/// Steps of the two runs, the second of which is put behind the first.
const N_STEPS: [usize; 2] = [3, 2];
/// How many of the best logits the runs want.
const N_BEST: usize = 40;

impl Trial<'_> {
    pub(super) async fn run_ahead(&mut self) -> Result<(), Failure> {
        self.run_as(SamplingParams::greedy()).await?;
        // Not so small a temperature that all draws are the same, and not so sharp a cut.
        self.run_as(SamplingParams { seed: 5, top_p: 0.9, ..SamplingParams::default() }).await
    }

    async fn run_as(&mut self, params: SamplingParams) -> Result<(), Failure> {
        let plan = self.sample.plan.clone();
        let n_vocab = plan.buffers.get(plan.output.0 as usize).map_or(0, |b| b.width);
        let mut sampler = Sampler::new(
            SamplingParams { top_k: 40.min(n_vocab.saturating_sub(1) as u32), ..params },
            0,
            n_vocab,
            &[],
        )?;
        let Some(n_best) = sampler.wants() else { return Ok(()) };
        let n_best = n_best.max(N_BEST.min(n_vocab));
        let sequences: Vec<_> = self.sample.sequences().collect();
        let memories = self.sample.memories();
        let mut rows = self.sample.rows(1);
        let (sequences, memories, want) = (&sequences[..1], &memories[..1], Want::Best(n_best));
        let step = Step { rows: &[], outputs: &[0], sequences, memories, embeddings: &[], want };
        let chooser = sampler.chooser().ok_or_else(|| Error::internal("a sampler that no device can follow"))?;
        let draws: Vec<f32> = sampler.draws(N_STEPS.iter().sum()).collect();
        let (first, second) = draws.split_at(N_STEPS[0]);
        self.gpu.begin_ahead(self.slots.0, &Step { rows: &rows, ..step }, &Ahead { chooser, draws: first })?;
        let pages = sequences.first().copied().unwrap_or_default();
        if !self.gpu.extend_ahead(pages, &Ahead { chooser, draws: second })? {
            return Err(Error::internal("a run with nothing behind it").into());
        }
        let looked_up = self.looked_up()?;
        let mut scratch = Scratch::default();
        for (run, n) in N_STEPS.into_iter().enumerate() {
            if run > 0 && !self.gpu.follow_ahead()? {
                return Err(Error::internal("a run that was lost").into());
            }
            while self.gpu.advance(usize::MAX)? != Progress::Complete {
                self.gpu.ready().await;
            }
            for i in 0..n {
                self.reference.begin(self.slots.1, &Step { rows: &rows, ..step })?;
                while self.reference.advance(usize::MAX)? != Progress::Complete {}
                let best = (i < self.gpu.n_ahead()).then(|| self.gpu.best(i)).transpose()?.flatten();
                let found = judge::compare_best(best, self.reference.output(0)?, n_best);
                found.map_err(|wrong| self.wrong_run(i, "the best logits", &wrong))?;
                let Some(best) = best else { continue };
                let token = sampler.sample(Scores::Best(best), &mut scratch)?;
                let found = judge::compare_chosen(self.gpu.chosen(i)?, token);
                found.map_err(|wrong| self.wrong_run(i, "the token", &wrong))?;
                sampler.accept(token)?;
                for row in &mut rows {
                    *row = Row { input: RowInput::Token(Sample::token(token)), position: row.position + 1, ..*row };
                }
            }
            // What the step behind the run begins with.
            if let Some(id) = looked_up {
                self.reference.begin(self.slots.1, &Step { rows: &rows, ..step })?;
                while self.reference.advance(usize::MAX)? != Progress::Complete {}
                let found = judge::compare_moved(self.gpu.tap(id)?, self.reference.tap(id)?);
                found.map_err(|wrong| self.wrong_run(n, "the looked-up token", &wrong))?;
            }
        }
        Ok(())
    }

    /// Where runs put the next token's row of the table, if they look it up.
    fn looked_up(&self) -> Result<Option<BufferId>> {
        let lowered = self.gpu.prepared(self.slots.0)?.lowered();
        let first = self.sample.plan.ops.first().filter(|_| lowered.n_embeds > 0);
        Ok(first.and_then(|op| op.writes().first().copied()))
    }

    /// The kernel that makes the next step is to blame: all others were seen to be right.
    fn wrong_run(&self, step: usize, what: &str, wrong: &judge::Wrong) -> Failure {
        let lowered = match self.gpu.prepared(self.slots.0) {
            Ok(prepared) => prepared.lowered(),
            Err(error) => return Failure::Other(error),
        };
        let shaders = lowered.choose.iter().map(|d| d.shader.clone()).collect();
        self.wrong_shaders(shaders, step, what, wrong)
    }
}
