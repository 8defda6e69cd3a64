//! The declaration of a metric: one static entry each, from which option lists, signals, causality and the GPU path follow.

use std::fmt;

use ssm_model::SignalSet;

use super::source::Source;
use crate::error::PlanError;
use crate::view::SequenceView;

/// How tokens become scores.
pub struct Metric {
    /// Name in options and records.
    pub name: &'static str,
    /// The score of token `t` as a formula in plain text. `v` is the row of the token in the tensor that is read, `D` columns wide.
    pub formula: &'static str,
    /// Where it comes from: paper with year, equation; empty for textbook functions.
    pub reference: &'static str,
    /// What it reads, and how that becomes a score.
    pub compute: Compute,
}

/// What a metric reads, and how that becomes scores.
pub enum Compute {
    /// A function of one row of one tensor.
    Row {
        /// The tensor.
        of: RowOf,
        /// Score of a row; NaN if a value in it is.
        score: fn(&[f32]) -> f32,
        /// What GPU kernels call the same function; a rule with a metric that they do not know is planned on the host.
        kernel: Option<Kernel>,
    },
    /// A function of several tensors, or of several rows.
    View {
        /// What a layer must show for it.
        signals: SignalSet,
        /// Name of the tensor in records.
        source: &'static str,
        /// Whether a token's score depends on later tokens.
        looks_ahead: bool,
        /// One score per token of a view.
        scores: fn(&SequenceView<'_>) -> Result<Vec<f32>, PlanError>,
        /// As above.
        kernel: Option<Kernel>,
    },
}

/// The tensor whose rows a metric reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOf {
    /// The one that the option `source` names.
    Chosen,
    /// Always this one.
    Fixed(Source),
}

/// Functions of tokens that the GPU computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Mean of the positive parts.
    Clip,
    /// Mean magnitude.
    L1,
    /// Euclidean norm.
    L2,
    /// Mean.
    Mean,
    /// Largest magnitude.
    LInf,
    /// Norm of what a token writes into the state.
    WriteNorm,
    /// Influence on the outputs of the token itself and of all later ones.
    HiddenAttention {
        /// Whether it decays from token to token.
        decay: bool,
    },
}

impl Metric {
    /// Whether a token's score depends on later tokens.
    #[must_use]
    pub const fn looks_ahead(&self) -> bool {
        matches!(self.compute, Compute::View { looks_ahead: true, .. })
    }

    /// Whether it reads the tensor that the option `source` names.
    #[must_use]
    pub const fn reads_chosen_source(&self) -> bool {
        matches!(self.compute, Compute::Row { of: RowOf::Chosen, .. })
    }

    /// What GPU kernels call it, if they know it.
    #[must_use]
    pub fn kernel(&self) -> Option<Kernel> {
        match self.compute {
            Compute::Row { kernel, .. } | Compute::View { kernel, .. } => kernel,
        }
    }

    /// The score of one row.
    ///
    /// # Panics
    /// For a metric of several tensors ([`Compute::View`]).
    #[must_use]
    pub fn of(&self, row: &[f32]) -> f32 {
        match self.compute {
            Compute::Row { score, .. } => score(row),
            Compute::View { .. } => panic!("{self:?} is no function of one row"),
        }
    }
}

// Names are unique.
impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Metric {}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metric({})", self.name)
    }
}
