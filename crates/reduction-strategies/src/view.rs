//! What a rule sees: one sequence at one site.

use std::ops::Range;

use ssm_kernels::finite;
use ssm_model::RowTime;

use crate::error::PlanError;
use crate::memo::Memo;

/// A borrowed row-major matrix `[rows, columns]`, one row per token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matrix<'a> {
    /// `rows * columns` values.
    pub values: &'a [f32],
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
}

impl<'a> Matrix<'a> {
    /// Row `i`, `[columns]`.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn row(&self, i: usize) -> &'a [f32] {
        &self.values[i * self.columns..(i + 1) * self.columns]
    }

    /// The matrix of some of the rows.
    ///
    /// # Panics
    /// If there are no such rows.
    #[must_use]
    pub fn rows_of(&self, rows: &Range<usize>) -> Self {
        let values = &self.values[rows.start * self.columns..rows.end * self.columns];
        Self { values, rows: rows.len(), columns: self.columns }
    }
}

/// What of a layer's scan does not depend on the token; see [`ssm_model::ScanConstants`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScanView<'a> {
    /// Groups of heads that share B and C; 1 in Mamba.
    pub ngroups: usize,
    /// `-exp(A_log)`: `[d_state, d_inner]`, row-major (Mamba), or `[nheads]` (Mamba-2).
    pub a: &'a [f32],
}

/// What a random choice depends on, and nothing else: not the neighbours in the batch, not the order of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draw {
    /// Seed of the trial.
    pub seed: u64,
    /// The example of the task.
    pub item: u64,
    /// The layer after which tokens are reduced.
    pub site: usize,
}

/// The live tokens of ONE sequence after one block.
///
/// All matrices have one row per token. Signals are there when the rule asked for them ([`crate::Rule::signals`]).
#[derive(Clone, Copy, Debug)]
pub struct SequenceView<'a> {
    /// Positions in the sequence as it entered the model, ascending.
    pub positions: &'a [u32],
    /// How many original tokens each row stands for.
    pub sizes: &'a [f32],
    /// Tokens that no rule may remove or merge into.
    pub protected: &'a [bool],
    /// How long each row lasted for the scan of this layer; step sizes are shown without it.
    pub times: &'a [RowTime],
    /// Output of the block, `[tokens, d_model]`.
    pub hidden: Matrix<'a>,
    /// Residual stream that the next block adds it to, `[tokens, d_model]`.
    pub residual: Matrix<'a>,
    /// SSM output before the gate, `[tokens, d_inner]`.
    pub ssm_output: Option<Matrix<'a>>,
    /// SSM output after the gate, `[tokens, d_inner]`.
    pub gated_output: Option<Matrix<'a>>,
    /// Step sizes, `[tokens, d_inner]` (Mamba) or `[tokens, nheads]` (Mamba-2).
    pub dt: Option<Matrix<'a>>,
    /// Input of the scan, `[tokens, d_inner]`.
    pub x: Option<Matrix<'a>>,
    /// Input maps B, `[tokens, ngroups * d_state]`.
    pub b: Option<Matrix<'a>>,
    /// Output maps C, `[tokens, ngroups * d_state]`.
    pub c: Option<Matrix<'a>>,
    /// The same for every token.
    pub scan: Option<ScanView<'a>>,
    /// Influence on the outcome as the driver measured it, `[tokens, 1]`.
    pub influence: Option<Matrix<'a>>,
    /// Source of random numbers.
    pub draw: Draw,
    /// What other rules computed from this very view, where several plan it.
    pub memo: Option<&'a Memo>,
}

impl SequenceView<'_> {
    /// Number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether there is no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// Rows of the tokens that a rule may remove, ascending.
    #[must_use]
    pub fn reducible(&self) -> Vec<u32> {
        (0..self.len() as u32).filter(|row| !self.protected[*row as usize]).collect()
    }

    /// That `what` of the token in `row` is no finite number.
    #[must_use]
    pub fn not_finite(&self, what: &'static str, row: usize, value: f32) -> PlanError {
        PlanError::NotFinite { what, token: self.positions[row], value }
    }

    /// Refuses a view in which any tensor holds a value that is NaN or infinite: whatever a rule would decide from it means
    /// nothing.
    ///
    /// # Errors
    /// [`PlanError::NotFinite`] names tensor and token.
    pub fn check_finite(&self) -> Result<(), PlanError> {
        // In the order in which a layer computes them, so that the first one named is where it arose.
        let matrices = [
            ("the residual", Some(self.residual)),
            ("x", self.x),
            ("B", self.b),
            ("C", self.c),
            ("dt", self.dt),
            ("the SSM output", self.ssm_output),
            ("the gated output", self.gated_output),
            ("the output of the block", Some(self.hidden)),
            ("the influence", self.influence),
        ];
        for (what, matrix) in matrices {
            let Some(matrix) = matrix.filter(|matrix| !finite::is_finite(matrix.values)) else { continue };
            let bad = matrix.values.iter().position(|value| !value.is_finite());
            let index = bad.unwrap_or_else(|| unreachable!("one of them is not finite"));
            return Err(self.not_finite(what, index / matrix.columns, matrix.values[index]));
        }
        Ok(())
    }

    /// Refuses a view whose parts have different lengths.
    ///
    /// # Errors
    /// [`PlanError::View`] names the part.
    pub fn check(&self) -> Result<(), PlanError> {
        let n = self.len();
        let matrices = [
            ("hidden", Some(self.hidden)),
            ("residual", Some(self.residual)),
            ("ssm_output", self.ssm_output),
            ("gated_output", self.gated_output),
            ("dt", self.dt),
            ("x", self.x),
            ("b", self.b),
            ("c", self.c),
            ("influence", self.influence),
        ];
        let rows = matrices.into_iter().filter_map(|(name, matrix)| matrix.map(|matrix| (name, matrix.rows))).chain([
            ("sizes", self.sizes.len()),
            ("protected", self.protected.len()),
            ("times", self.times.len()),
        ]);
        for (part, got) in rows {
            if got != n {
                return Err(PlanError::View { part, got, expected: n });
            }
        }
        Ok(())
    }
}
