//! The way back: a few staging buffers in turn, so that one may be mapped while the next is filled.
//!
//! A stage belongs to one step until its bytes were read or the step was abandoned; an abandoned one comes back by itself once
//! its map is over.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use super::context::{Buffer, Context};
use crate::{
    error::{Error, Result},
    plan::Signal,
};

/// Staging buffers of one executor.
pub(super) struct Readback {
    context: Rc<Context>,
    stages: Vec<Stage>,
}

struct Stage {
    buffer: Buffer,
    /// One of the states below; the map's callback changes it.
    state: Arc<AtomicU8>,
    abandoned: bool,
}

const FREE: u8 = 0;
const TAKEN: u8 = 1;
const MAPPED: u8 = 2;
const FAILED: u8 = 3;

/// A stage that was taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket(usize);

impl Readback {
    pub(super) fn new(context: Rc<Context>) -> Self {
        Self { context, stages: vec![] }
    }

    /// Makes `n` stages of this length, so that none has to be made later.
    pub(super) fn reserve(&mut self, n: usize, n_bytes: u64) {
        let there = self.stages.iter().filter(|s| s.buffer.size() >= n_bytes).count();
        for _ in there..n {
            self.add(n_bytes);
        }
    }

    /// A free stage of at least this length: the smallest that there is, or a new one.
    pub(super) fn take(&mut self, n_bytes: u64) -> Ticket {
        self.recover();
        let fits = |(_, s): &(usize, &Stage)| s.buffer.size() >= n_bytes && s.state.load(Ordering::Acquire) == FREE;
        let found = self.stages.iter().enumerate().filter(fits).min_by_key(|(_, s)| s.buffer.size()).map(|(i, _)| i);
        let index = found.unwrap_or_else(|| self.add(n_bytes));
        if let Some(stage) = self.stages.get_mut(index) {
            stage.state.store(TAKEN, Ordering::Release);
            stage.abandoned = false;
        }
        Ticket(index)
    }

    /// What to copy to.
    pub(super) fn buffer(&self, ticket: Ticket) -> Result<&wgpu::Buffer> {
        self.stages.get(ticket.0).map(|s| &*s.buffer).ok_or_else(no_stage)
    }

    /// Asks for the bytes, after the copy was submitted; `signal` is raised when they are there.
    pub(super) fn map(&self, ticket: Ticket, n_bytes: u64, signal: &Signal) -> Result<()> {
        let stage = self.stages.get(ticket.0).ok_or_else(no_stage)?;
        let (state, raised) = (stage.state.clone(), signal.clone());
        self.context.raise_on_loss(signal);
        stage.buffer.slice(..n_bytes).map_async(wgpu::MapMode::Read, move |result| {
            state.store(if result.is_ok() { MAPPED } else { FAILED }, Ordering::Release);
            raised.raise();
        });
        Ok(())
    }

    /// Gives the bytes to `read` and the stage back; `None` where they are not there yet.
    pub(super) fn read<T>(&mut self, ticket: Ticket, n_bytes: u64, read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        let stage = self.stages.get(ticket.0).ok_or_else(no_stage)?;
        match stage.state.load(Ordering::Acquire) {
            TAKEN => Ok(None),
            MAPPED => {
                let value = {
                    let view = stage.buffer.slice(..n_bytes).get_mapped_range();
                    read(&view.map_err(|e| Error::internal(format!("a mapped buffer cannot be read: {e}")))?)
                };
                stage.buffer.unmap();
                stage.state.store(FREE, Ordering::Release);
                Ok(Some(value))
            }
            _ => Err(self.context.map_failed()),
        }
    }

    /// Nobody wants the bytes any more.
    pub(super) fn abandon(&mut self, ticket: Ticket) {
        if let Some(stage) = self.stages.get_mut(ticket.0) {
            stage.abandoned = true;
        }
    }

    fn recover(&mut self) {
        for stage in self.stages.iter_mut().filter(|s| s.abandoned) {
            if stage.state.load(Ordering::Acquire) == MAPPED {
                stage.buffer.unmap();
                stage.state.store(FREE, Ordering::Release);
                stage.abandoned = false;
            }
        }
    }

    fn add(&mut self, n_bytes: u64) -> usize {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let buffer = self.context.guarded("reading results", n_bytes, || self.context.buffer("stage", n_bytes, usage));
        self.stages.push(Stage { buffer, state: Arc::default(), abandoned: false });
        self.stages.len() - 1
    }
}

fn no_stage() -> Error {
    Error::internal("there is no such stage")
}
