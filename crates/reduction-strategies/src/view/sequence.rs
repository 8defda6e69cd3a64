//! What a rule sees: one sequence at one site.

use std::borrow::Cow;
use std::ops::Range;

use candle_core::Tensor;
use ssm_kernels::finite;
use ssm_model::{RowTime, Signal, Supplier};

use super::memo::Memo;
use super::stop::Stop;
use super::tokens::SegmentTokens;
use crate::error::PlanError;

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

/// The part of a layer's scan that does not depend on the token; see [`ssm_model::ScanConstants`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScanView<'a> {
    /// Groups of heads that share B and C; 1 in Mamba.
    pub ngroups: usize,
    /// `-exp(A_log)`: `[d_state, d_inner]`, row-major (Mamba), or `[nheads]` (Mamba-2).
    pub a: &'a [f32],
}

/// The signals of one sequence: a matrix each, and the constants of the scan.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SignalViews<'a> {
    matrices: [Option<Matrix<'a>>; Signal::COUNT],
    scan: Option<ScanView<'a>>,
}

impl<'a> SignalViews<'a> {
    /// With the matrix of a signal, one row per token.
    ///
    /// # Panics
    /// For a signal that is no matrix; see [`SignalViews::with_scan`].
    #[must_use]
    pub fn with(mut self, signal: Signal, matrix: Matrix<'a>) -> Self {
        assert!(signal.info().per_token, "`{signal}` has no row per token");
        self.matrices[signal as usize] = Some(matrix);
        self
    }

    /// With the constants of the scan.
    #[must_use]
    pub fn with_scan(self, scan: ScanView<'a>) -> Self {
        Self { scan: Some(scan), ..self }
    }

    /// The matrix of a signal, where the layer showed it.
    #[must_use]
    pub fn get(&self, signal: Signal) -> Option<Matrix<'a>> {
        self.matrices[signal as usize]
    }

    /// The matrices that are there, in the order of the table of signals.
    pub fn iter(&self) -> impl Iterator<Item = (Signal, Matrix<'a>)> {
        Signal::ALL.iter().filter_map(|signal| Some((*signal, self.get(*signal)?)))
    }

    /// The signals of some of the rows.
    ///
    /// # Panics
    /// If there are no such rows.
    #[must_use]
    pub fn rows_of(&self, rows: &Range<usize>) -> Self {
        Self { matrices: self.matrices.map(|matrix| matrix.map(|matrix| matrix.rows_of(rows))), scan: self.scan }
    }
}

/// Tensors in host memory that hold the rows of a view, for a rule that hands them to somebody who may keep them: whoever clones a tensor
/// keeps its values alive. None where the rows are borrowed from elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Owners<'a> {
    /// Of [`SequenceView::hidden`].
    pub hidden: Option<&'a Tensor>,
    /// Of [`SequenceView::residual`].
    pub residual: Option<&'a Tensor>,
    pub(super) signals: [Option<&'a Tensor>; Signal::COUNT],
}

impl<'a> Owners<'a> {
    /// With the tensor of a signal.
    #[must_use]
    pub fn with(mut self, signal: Signal, tensor: &'a Tensor) -> Self {
        self.signals[signal as usize] = Some(tensor);
        self
    }

    /// The tensor of a signal.
    #[must_use]
    pub fn get(&self, signal: Signal) -> Option<&'a Tensor> {
        self.signals[signal as usize]
    }
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
    /// What the layer showed.
    pub signals: SignalViews<'a>,
    /// Source of random numbers.
    pub draw: Draw,
    /// What other rules computed from this very view, where several plan it.
    pub memo: Option<&'a Memo>,
    /// What holds the values.
    pub owners: Owners<'a>,
    /// Asked by long loops.
    pub stop: Stop<'a>,
}

impl<'a> SequenceView<'a> {
    /// The view of these tokens, without signals and without a memo. `draw` is that of the site; the item is that of the tokens.
    #[must_use]
    pub fn new(tokens: &'a SegmentTokens, hidden: Matrix<'a>, residual: Matrix<'a>, draw: Draw) -> Self {
        Self {
            positions: &tokens.positions,
            sizes: &tokens.sizes,
            protected: &tokens.protected,
            times: &tokens.times,
            hidden,
            residual,
            signals: SignalViews::default(),
            draw: Draw { item: tokens.item, ..draw },
            memo: None,
            owners: Owners::default(),
            stop: Stop::default(),
        }
    }

    /// With the matrix of a signal, one row per token.
    ///
    /// # Panics
    /// For a signal that is no matrix; see [`SequenceView::with_scan`].
    #[must_use]
    pub fn with_signal(self, signal: Signal, matrix: Matrix<'a>) -> Self {
        Self { signals: self.signals.with(signal, matrix), ..self }
    }

    /// With the constants of the scan.
    #[must_use]
    pub fn with_scan(self, scan: ScanView<'a>) -> Self {
        Self { signals: self.signals.with_scan(scan), ..self }
    }

    /// The matrix of a signal, one row per token.
    ///
    /// # Errors
    /// [`PlanError::MissingSignal`] where the layer did not show it.
    pub fn signal(&self, signal: Signal) -> Result<Matrix<'a>, PlanError> {
        self.signals.get(signal).ok_or(PlanError::MissingSignal(signal))
    }

    /// The constants of the scan.
    ///
    /// # Errors
    /// [`PlanError::MissingSignal`] where the layer did not show them.
    pub fn scan(&self) -> Result<ScanView<'a>, PlanError> {
        self.signals.scan.ok_or(PlanError::MissingSignal(Signal::Scan))
    }

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

    /// The error that `what` of the token in `row` is NaN or infinite.
    #[must_use]
    pub fn not_finite(&self, what: impl Into<Cow<'static, str>>, row: usize, value: f32) -> PlanError {
        PlanError::NotFinite { what: what.into(), token: self.positions[row], value }
    }

    /// Refuses a view in which any tensor holds a value that is NaN or infinite: whatever a rule would decide from it means
    /// nothing.
    ///
    /// # Errors
    /// [`PlanError::NotFinite`] names tensor and token.
    pub fn check_finite(&self) -> Result<(), PlanError> {
        // In the order in which a layer computes them, so that the first one named is where it arose.
        let signals =
            |supplier| Signal::matrices_of(supplier).map(|signal| (signal.info().what, self.signals.get(signal)));
        let matrices = std::iter::once(("the residual", Some(self.residual)))
            .chain(signals(Supplier::Layer))
            .chain([("the output of the block", Some(self.hidden))])
            .chain(signals(Supplier::Driver));
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
        let signals = self.signals.iter().map(|(signal, matrix)| (signal.name(), matrix.rows));
        let rows = [("hidden", self.hidden.rows), ("residual", self.residual.rows)].into_iter().chain(signals).chain([
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
