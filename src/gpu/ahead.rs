//! Runs of steps that follow each other on the GPU: what is uploaded for one, and how it is under way.
//!
//! ```text
//! look up, commands, choose │ commands, choose │ …     one pass; choose finds the best logits, writes a slot of results and the next
//!                                                      step's row, and looks its token up
//! ```

use bytemuck::{Pod, Zeroable, bytes_of};

use super::best;
use crate::plan::Ahead;

/// Most steps of a run.
pub(super) const MOST: usize = 32;
/// Length of what is uploaded for the longest run, bytes.
pub(super) const UPLOAD_BYTES: u64 = size_of::<RunEntry>() as u64;
/// Length of the results of the longest run, bytes.
pub(super) const RESULT_BYTES: u64 = MOST as u64 * best::STRIDE_BYTES;

/// `struct Run` of choose.wgsl.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct RunEntry {
    /// Of its first step.
    pub position: u32,
    /// How many of the best logits are wanted.
    pub n_best: u32,
    /// 0: all.
    pub top_k: u32,
    /// 0: the best.
    pub temperature: f32,
    /// Over 1: all.
    pub top_p: f32,
    /// ln min_p
    pub min_p: f32,
    /// Not used.
    pub unused: [u32; 2],
    /// In [0, 1), for each step.
    pub draws: [f32; MOST],
}

const _: () = assert!(size_of::<RunEntry>() == 32 + 4 * MOST);

/// A run that has begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// Of its first step.
    pub(super) position: u32,
    pub(super) n_steps: usize,
    pub(super) n_best: usize,
    /// Pages of its sequence.
    pub(super) n_pages: usize,
    /// It goes on from another.
    pub(super) is_behind: bool,
}

impl Run {
    /// The run behind this one.
    pub(super) fn next(&self, n_steps: usize) -> Self {
        Self { position: self.position + self.n_steps as u32, n_steps, is_behind: true, ..*self }
    }

    /// What is uploaded for it.
    pub(super) fn write(&self, ahead: &Ahead<'_>, bytes: &mut Vec<u8>) {
        let chooser = ahead.chooser;
        let mut draws = [0.0; MOST];
        draws.iter_mut().zip(ahead.draws).for_each(|(to, draw)| *to = *draw);
        let entry = RunEntry {
            position: self.position,
            n_best: self.n_best as u32,
            top_k: chooser.top_k,
            temperature: chooser.temperature,
            // Never reached by what rounding makes of a sum.
            top_p: if chooser.top_p < 1.0 { chooser.top_p } else { 2.0 },
            min_p: if chooser.min_p > 0.0 { libm::log(f64::from(chooser.min_p)) as f32 } else { f32::MIN },
            unused: [0; 2],
            draws,
        };
        bytes.clear();
        bytes.extend_from_slice(bytes_of(&entry));
    }
}
