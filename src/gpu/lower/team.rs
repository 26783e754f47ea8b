//! How matrix × vector is spread over invocations: see shaders/matvec.wgsl.

use crate::gpu::{
    dispatch::Dispatch,
    forms::Forms,
    shader::{SUBGROUPS, Shader, TEAM_4},
};

/// Workgroups along one dimension of a grid, at WebGPU's default limits.
const MAX_GRID: usize = 65_535;
/// Invocations of a workgroup that adds up in workgroup memory; the shader has room for as many.
const TREE_WORKGROUP: usize = 64;
/// Most lanes of a team that adds up in workgroup memory, where one invocation has to do it.
const MAX_TREE_LANES: usize = 16;

/// A team that takes several rounds, so that there are fewer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rounds {
    pub(super) n_groups: usize,
    /// Teams.
    pub(super) n_blocks: usize,
    pub(super) n_rounds: usize,
    /// Rows of the matrix that a team computes in a round.
    pub(super) team_rows: usize,
}

/// Who computes which rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Team {
    subgroups: bool,
    /// Invocations of a workgroup, a multiple of `lanes`.
    workgroup: usize,
    /// Invocations of a team: a power of two.
    lanes: usize,
    /// Rows of the matrix that a team computes: 1 or 4.
    rows: usize,
}

impl Team {
    /// For a matrix of `n_rows` rows of `row_blocks` blocks and up to `max_rows` rows of x.
    ///
    /// With subgroups the workgroup is as large as the smallest of them, so that it is one subgroup whatever size the driver
    /// takes. Lanes are as many as find work: at least three quarters of the blocks that they could take must be there.
    pub(super) fn of(forms: Forms, row_blocks: usize, n_rows: usize, max_rows: usize) -> Self {
        let (workgroup, most) = match forms.subgroups {
            Some(subgroups) => (subgroups.min as usize, subgroups.min as usize),
            None => (TREE_WORKGROUP, MAX_TREE_LANES),
        };
        let most = (most / forms.lanes_part.max(1)).max(1);
        let is_busy = |lanes: &usize| 4 * row_blocks >= 3 * row_blocks.next_multiple_of(*lanes);
        let powers = (0..=most.ilog2()).rev().map(|i| 1 << i);
        let lanes = powers.into_iter().find(is_busy).unwrap_or(1);
        let rows = if max_rows == 1 && n_rows * lanes >= forms.wide_from_invocations { 4 } else { 1 };
        Self { subgroups: forms.subgroups.is_some(), workgroup, lanes, rows }
    }

    /// Sets the flags of the form. A team of one has nothing to add up.
    pub(super) fn flags(&self, shader: Shader) -> Shader {
        let adds_up = self.lanes > 1;
        let shader = shader.flag(SUBGROUPS, adds_up && self.subgroups).flag("TREE", adds_up && !self.subgroups);
        shader.flag(TEAM_4, self.rows == 4)
    }

    /// Width and height of the grid.
    pub(super) fn grid(&self, n_rows: usize) -> [u32; 2] {
        let n_groups = n_rows.div_ceil(self.rows * self.workgroup / self.lanes);
        let height = n_groups.div_ceil(MAX_GRID).max(1);
        [n_groups.div_ceil(height), height].map(|n| n as u32)
    }

    /// For a product whose rows are blocks (shaders/candidates.wgsl), at most `most`: workgroups, blocks, rounds.
    pub(super) fn rounds(&self, n_rows: usize, most: usize) -> Rounds {
        let n_teams = self.workgroup / self.lanes;
        let n_groups = n_rows.div_ceil(self.rows * n_teams);
        let n_rounds = (n_groups * n_teams).div_ceil(most.max(1));
        let n_groups = n_groups.div_ceil(n_rounds.max(1));
        Rounds { n_groups, n_blocks: n_groups * n_teams, n_rounds, team_rows: self.rows }
    }

    /// Sets the constants of the form.
    pub(super) fn constants(&self, dispatch: Dispatch, width: u32) -> Dispatch {
        dispatch.with("WORKGROUP", self.workgroup as u32).with("LANES", self.lanes as u32).with("GRID_WIDTH", width)
    }
}
