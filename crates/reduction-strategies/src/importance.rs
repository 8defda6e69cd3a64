//! Importance of a token: one number, higher = keep.
//!
//! With `v` the row of the token in the chosen source, `D` columns wide:
//!
//! | metric | value |
//! |---|---|
//! | `clip` | `(1/D) sum_d max(0, v_d)`: Eq. 5 of Zhan et al. 2024, there on the SSM output |
//! | `l1` | `(1/D) sum_d abs(v_d)` |
//! | `l2` | `sqrt(sum_d v_d^2)` |
//! | `sum` | `(1/D) sum_d v_d` |
//! | `dt_mean` | `(1/D) sum_d dt_d`: the step size as informativeness (MTR 2025, DTP 2026) |
//! | `dt_l2` | `sqrt(sum_d dt_d^2)`: `DeciMamba` 2025 |
//!
//! | `write_norm` | `sqrt(sum_h dt_h^2 |B_g|^2 |x_h|^2)`: Frobenius norm of what the token writes into the state |
//! | `hidden_attention` | influence on later outputs, `sum_{i >= t} mean_h |a_h(i, t)|`; see [`crate::scan_scores`] |
//! | `hidden_attention_no_decay` | the same without the decay between the two tokens |
//! | `oracle` | `KL(p, p without t)` after the last token: leave-one-out, measured by the driver on small inputs |
//!
//! Those with `dt` in them read what they need whatever `source` says. Sums run over the columns in order in float64 and are
//! rounded to float32 once.

use ssm_model::{Signal, SignalSet};

use crate::error::PlanError;
use crate::memo::{MemoKey, remember};
use crate::options::{OptionDefault, OptionInfo, OptionKind, ResolvedOptions};
use crate::scan_scores;
use crate::view::{Matrix, SequenceView};

/// How a row becomes one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Mean of the positive parts.
    Clip,
    /// Mean magnitude.
    L1,
    /// Euclidean norm.
    L2,
    /// Mean.
    Sum,
    /// Mean step size.
    DtMean,
    /// Euclidean norm of the step sizes.
    DtL2,
    /// Norm of what the token writes into the state.
    WriteNorm,
    /// Influence on the outputs of all later tokens.
    HiddenAttention {
        /// Whether the decay between the tokens counts.
        decay: bool,
    },
    /// Change of the outcome when the token leaves, as the driver measured it.
    Oracle,
}

/// A tensor of the site that rules read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Output of the block, `[tokens, d_model]`.
    BlockOutput,
    /// SSM output before the gate, `[tokens, d_inner]`.
    SsmOutput,
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
    pub fn name(self) -> &'static str {
        match self {
            Self::BlockOutput => "block_output",
            Self::SsmOutput => "ssm_output",
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
        [Self::BlockOutput, Self::SsmOutput, Self::GatedOutput, Self::Residual, Self::Dt]
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
            Source::SsmOutput | Source::GatedOutput => self.d_inner,
            Source::Dt => self.dt,
        }
    }
}

/// A metric and what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Importance {
    metric: Metric,
    source: Source,
}

impl Importance {
    /// `metric` of `source`; metrics of the scan read the step sizes and what else they need whatever `source` is.
    #[must_use]
    pub fn new(metric: Metric, source: Source) -> Self {
        let of_source = matches!(metric, Metric::Clip | Metric::L1 | Metric::L2 | Metric::Sum);
        let source = if of_source { source } else { Source::Dt };
        Self { metric, source }
    }

    /// From the options [`IMPORTANCE_OPTION`] and [`SOURCE_OPTION`].
    ///
    /// # Panics
    /// If the strategy did not declare both.
    #[must_use]
    pub fn from_options(options: &ResolvedOptions) -> Self {
        let metric = match options.word("importance") {
            "clip" => Metric::Clip,
            "l1" => Metric::L1,
            "l2" => Metric::L2,
            "sum" => Metric::Sum,
            "dt_mean" => Metric::DtMean,
            "dt_l2" => Metric::DtL2,
            "write_norm" => Metric::WriteNorm,
            "hidden_attention" => Metric::HiddenAttention { decay: true },
            "oracle" => Metric::Oracle,
            "hidden_attention_no_decay" => Metric::HiddenAttention { decay: false },
            word => panic!("no importance is called `{word}`"),
        };
        Self::new(metric, Source::from_word(options.word("source")))
    }

    /// How a row becomes a number.
    #[must_use]
    pub fn metric(self) -> Metric {
        self.metric
    }

    /// What it really reads; the step sizes stand for all that metrics of the scan read.
    #[must_use]
    pub fn source(self) -> Source {
        self.source
    }

    /// What a layer must show for it.
    #[must_use]
    pub fn signals(self) -> SignalSet {
        let set = self.source.signals();
        match self.metric {
            Metric::Oracle => SignalSet::of(&[Signal::Influence]),
            Metric::WriteNorm => set.union(SignalSet::of(&[Signal::X, Signal::B, Signal::Scan])),
            Metric::HiddenAttention { .. } => set.union(SignalSet::of(&[Signal::B, Signal::C, Signal::Scan])),
            _ => set,
        }
    }

    /// One score per token of the view, protected ones included; all are finite.
    ///
    /// # Errors
    /// [`PlanError::MissingSignal`] where the layer did not show the source, [`PlanError::NotFinite`] for a token whose score
    /// is no number.
    pub fn scores(self, view: &SequenceView<'_>) -> Result<Vec<f32>, PlanError> {
        let scores = || match self.metric {
            Metric::WriteNorm => scan_scores::write_norm(view),
            Metric::HiddenAttention { decay } => scan_scores::hidden_attention(view, decay),
            Metric::Oracle => Ok(view.signal(Signal::Influence)?.values.to_vec()),
            metric => {
                let matrix = self.source.of(view)?;
                Ok((0..matrix.rows).map(|row| metric.of(matrix.row(row))).collect::<Vec<f32>>())
            }
        };
        let checked = || {
            let scores = scores()?;
            match scores.iter().position(|score| !score.is_finite()) {
                Some(row) => Err(view.not_finite(self.metric.what(), row, scores[row])),
                None => Ok(scores),
            }
        };
        Ok(remember(view.memo, || MemoKey::Scores(self), checked)?.to_vec())
    }
}

impl Metric {
    /// Whether it is a function of one row of one tensor ([`Metric::of`]).
    #[must_use]
    pub fn reads_one_row(self) -> bool {
        !matches!(self, Self::WriteNorm | Self::HiddenAttention { .. } | Self::Oracle)
    }

    /// What messages call it.
    fn what(self) -> &'static str {
        match self {
            Self::Clip => "importance `clip`",
            Self::L1 => "importance `l1`",
            Self::L2 => "importance `l2`",
            Self::Sum => "importance `sum`",
            Self::DtMean => "importance `dt_mean`",
            Self::DtL2 => "importance `dt_l2`",
            Self::WriteNorm => "importance `write_norm`",
            Self::HiddenAttention { decay: true } => "importance `hidden_attention`",
            Self::HiddenAttention { decay: false } => "importance `hidden_attention_no_decay`",
            Self::Oracle => "importance `oracle`",
        }
    }

    /// Whether a token's score depends on later tokens.
    #[must_use]
    pub fn looks_ahead(self) -> bool {
        matches!(self, Self::HiddenAttention { .. } | Self::Oracle)
    }

    /// The score of one row.
    ///
    /// # Panics
    /// For a metric of several tensors ([`Metric::reads_one_row`]).
    #[must_use]
    pub fn of(self, row: &[f32]) -> f32 {
        let sum = |f: fn(f64) -> f64| row.iter().map(|value| f(f64::from(*value))).sum::<f64>();
        let mean = |f: fn(f64) -> f64| if row.is_empty() { 0.0 } else { sum(f) / row.len() as f64 };
        let score = match self {
            // As `matching::positive`: NaN is not taken for a negative number.
            Self::Clip => mean(|value| if value > 0.0 || value.is_nan() { value } else { 0.0 }),
            Self::L1 => mean(f64::abs),
            Self::Sum | Self::DtMean => mean(|value| value),
            Self::L2 | Self::DtL2 => sum(|value| value * value).sqrt(),
            Self::WriteNorm | Self::HiddenAttention { .. } | Self::Oracle => {
                panic!("{self:?} is no function of one row")
            }
        };
        score as f32
    }
}

/// The option `importance` of every strategy that ranks by it.
pub const IMPORTANCE_OPTION: OptionInfo = OptionInfo {
    name: "importance",
    kind: OptionKind::Choice(&[
        "clip",
        "l1",
        "l2",
        "sum",
        "dt_mean",
        "dt_l2",
        "write_norm",
        "hidden_attention",
        "hidden_attention_no_decay",
        "oracle",
    ]),
    default: OptionDefault::Word("clip"),
    help: "what makes a token important; from dt_mean on they read what they need; oracle: leave-one-out, small inputs only",
};

/// [`IMPORTANCE_OPTION`] without the metrics that look at later tokens.
pub const CAUSAL_IMPORTANCE_OPTION: OptionInfo = OptionInfo {
    kind: OptionKind::Choice(&["clip", "l1", "l2", "sum", "dt_mean", "dt_l2", "write_norm"]),
    ..IMPORTANCE_OPTION
};

/// The option `source` that goes with [`IMPORTANCE_OPTION`].
pub const SOURCE_OPTION: OptionInfo = OptionInfo {
    name: "source",
    kind: OptionKind::Choice(&["block_output", "ssm_output", "gated_output", "residual"]),
    default: OptionDefault::Word("ssm_output"),
    help: "the tensor that clip, l1, l2 and sum are computed from; ignored by the metrics of the scan",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_computed_scores() {
        let row = [3.0, -4.0, 0.0, 0.0];
        let expected = [(Metric::Clip, 0.75), (Metric::L1, 1.75), (Metric::L2, 5.0), (Metric::Sum, -0.25)];
        for (metric, score) in expected {
            assert!((metric.of(&row) - score).abs() < 1e-7, "{metric:?}");
            assert_eq!(metric.of(&[0.0; 4]).to_bits(), 0.0_f32.to_bits(), "{metric:?} of zeros");
        }
        assert!((Metric::DtMean.of(&[0.5, 1.0]) - 0.75).abs() < 1e-7);
        assert!((Metric::DtL2.of(&[3.0, 4.0]) - 5.0).abs() < 1e-7);
    }

    #[test]
    fn step_size_metrics_ignore_the_source() {
        let importance = Importance::new(Metric::DtMean, Source::Residual);
        assert_eq!(importance.source().name(), "dt");
        assert!(importance.signals().contains(Signal::Dt) && !importance.signals().contains(Signal::SsmOutput));
        assert!(Importance::new(Metric::L1, Source::SsmOutput).signals().contains(Signal::SsmOutput));
    }
}
