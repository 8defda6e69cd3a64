//! The tensors of a site that rules read.

use ssm_model::{Signal, SignalSet};

use crate::error::PlanError;
use crate::view::{Matrix, SequenceView};

/// A tensor of the site that rules read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Output of the block, `[tokens, d_model]`.
    BlockOutput,
    /// SSM output before the gate, `[tokens, d_inner]`.
    SsmOutput,
    /// SSM output without the skip `D x`, `[tokens, d_inner]`.
    ScanOutput,
    /// SSM output after the gate, `[tokens, d_inner]`.
    GatedOutput,
    /// Residual stream, `[tokens, d_model]`.
    Residual,
    /// Step sizes.
    Dt,
}

impl Source {
    /// Name in options and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlockOutput => "block_output",
            Self::SsmOutput => "ssm_output",
            Self::ScanOutput => "scan_output",
            Self::GatedOutput => "gated_output",
            Self::Residual => "residual",
            Self::Dt => "dt",
        }
    }

    /// The source of that name.
    ///
    /// # Panics
    /// On a word that the strategy should not have declared.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        [Self::BlockOutput, Self::SsmOutput, Self::ScanOutput, Self::GatedOutput, Self::Residual, Self::Dt]
            .into_iter()
            .find(|source| source.name() == word)
            .unwrap_or_else(|| panic!("no source is called `{word}`"))
    }

    /// The signal that it is; none for the two branches, which are always there.
    #[must_use]
    pub fn signal(self) -> Option<Signal> {
        match self {
            Self::BlockOutput | Self::Residual => None,
            Self::SsmOutput => Some(Signal::SsmOutput),
            Self::ScanOutput => Some(Signal::ScanOutput),
            Self::GatedOutput => Some(Signal::GatedOutput),
            Self::Dt => Some(Signal::Dt),
        }
    }

    /// What a layer must show for it.
    #[must_use]
    pub fn signals(self) -> SignalSet {
        match self.signal() {
            Some(signal) => SignalSet::of(&[signal]),
            None => SignalSet::NONE,
        }
    }

    /// The matrix in a view.
    ///
    /// # Errors
    /// [`PlanError::MissingSignal`] where the layer did not show it.
    pub fn of<'a>(self, view: &SequenceView<'a>) -> Result<Matrix<'a>, PlanError> {
        match self {
            Self::BlockOutput => Ok(view.hidden),
            Self::Residual => Ok(view.residual),
            Self::SsmOutput => view.signal(Signal::SsmOutput),
            Self::ScanOutput => view.signal(Signal::ScanOutput),
            Self::GatedOutput => view.signal(Signal::GatedOutput),
            Self::Dt => view.signal(Signal::Dt),
        }
    }
}

/// Columns of the tensors that [`Source`] names, in one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widths {
    /// Width of block output and residual.
    pub d_model: usize,
    /// Width of the SSM output.
    pub d_inner: usize,
    /// Step sizes of a token: one per channel (Mamba) or head (Mamba-2).
    pub dt: usize,
}

impl Widths {
    /// Columns of `source`.
    #[must_use]
    pub fn of(self, source: Source) -> usize {
        match source {
            Source::BlockOutput | Source::Residual => self.d_model,
            Source::SsmOutput | Source::ScanOutput | Source::GatedOutput => self.d_inner,
            Source::Dt => self.dt,
        }
    }
}
