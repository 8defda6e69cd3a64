//! A metric and the tensor it reads.

use ssm_model::SignalSet;

use super::metric::{Compute, Metric, RowOf};
use super::source::Source;
use super::table::metric;
use crate::error::PlanError;
use crate::options::ResolvedOptions;
use crate::view::{SequenceView, remember};

/// A metric and what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Importance {
    metric: &'static Metric,
    /// The tensor whose rows it reads; none for a metric of several tensors.
    source: Option<Source>,
}

impl Importance {
    /// `metric` of `source`; a metric that says what it reads ignores `source`.
    #[must_use]
    pub fn new(metric: &'static Metric, source: Source) -> Self {
        let source = match metric.compute {
            Compute::Row { of: RowOf::Chosen, .. } => Some(source),
            Compute::Row { of: RowOf::Fixed(source), .. } => Some(source),
            Compute::View { .. } => None,
        };
        Self { metric, source }
    }

    /// From the options [`super::IMPORTANCE_OPTION`] and [`super::SOURCE_OPTION`].
    ///
    /// # Panics
    /// If the strategy did not declare both.
    #[must_use]
    pub fn from_options(options: &ResolvedOptions) -> Self {
        Self::new(metric(options.word("importance")), Source::from_word(options.word("source")))
    }

    /// How a row becomes a number.
    #[must_use]
    pub fn metric(self) -> &'static Metric {
        self.metric
    }

    /// The tensor whose rows it reads; none for a metric of several tensors.
    #[must_use]
    pub fn source(self) -> Option<Source> {
        self.source
    }

    /// What records call the tensor that it reads.
    #[must_use]
    pub fn source_name(self) -> &'static str {
        match (self.source, &self.metric.compute) {
            (Some(source), _) => source.name(),
            (None, Compute::View { source, .. }) => source,
            (None, Compute::Row { .. }) => unreachable!("a metric of a row has a source"),
        }
    }

    /// What a layer must show for it.
    #[must_use]
    pub fn signals(self) -> SignalSet {
        match self.metric.compute {
            Compute::Row { .. } => self.source.map_or(SignalSet::NONE, Source::signals),
            Compute::View { signals, .. } => signals,
        }
    }

    /// One score per token of the view, protected ones included; all are finite.
    ///
    /// # Errors
    /// [`PlanError::MissingSignal`] where the layer did not show the source, [`PlanError::NotFinite`] for a token whose score
    /// is NaN or infinite.
    pub fn scores(self, view: &SequenceView<'_>) -> Result<Vec<f32>, PlanError> {
        let scores = || match (&self.metric.compute, self.source) {
            (Compute::Row { score, .. }, Some(source)) => {
                let matrix = source.of(view)?;
                Ok((0..matrix.rows).map(|row| score(matrix.row(row))).collect())
            }
            (Compute::Row { .. }, None) => unreachable!("a metric of a row has a source"),
            (Compute::View { scores, .. }, _) => scores(view),
        };
        let checked = || {
            let scores: Vec<f32> = scores()?;
            match scores.iter().position(|score| !score.is_finite()) {
                Some(row) => Err(view.not_finite(format!("importance `{}`", self.metric.name), row, scores[row])),
                None => Ok(scores),
            }
        };
        Ok(remember(view.memo, || self, checked)?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use ssm_model::Signal;

    use super::*;
    use crate::blocks::importance::{CLIP, DT_L2, DT_MEAN, L_INF, L1, L2, SUM};
    use crate::testing::Sequence;

    #[test]
    fn hand_computed_scores() {
        let row = [3.0, -4.0, 0.0, 0.0];
        let expected = [(&CLIP, 0.75), (&L1, 1.75), (&L2, 5.0), (&SUM, -0.25), (&L_INF, 4.0)];
        for (metric, score) in expected {
            assert!((metric.of(&row) - score).abs() < 1e-7, "{metric:?}");
            assert_eq!(metric.of(&[0.0; 4]).to_bits(), 0.0_f32.to_bits(), "{metric:?} of zeros");
        }
        assert!((DT_MEAN.of(&[0.5, 1.0]) - 0.75).abs() < 1e-7);
        assert!((DT_L2.of(&[3.0, 4.0]) - 5.0).abs() < 1e-7);
    }

    #[test]
    fn no_metric_of_a_row_passes_over_nan() {
        for metric in super::super::METRICS.iter().filter(|metric| metric.reads_chosen_source()) {
            for row in [[1.0, f32::NAN, 9.0], [f32::NAN, 1.0, 2.0], [3.0, -1.0, -f32::NAN]] {
                assert!(metric.of(&row).is_nan(), "{metric:?} {row:?}");
            }
            let sequence = Sequence::of_rows(&[[1.0, 2.0], [f32::NAN, 9.0]]);
            let refused = Importance::new(metric, Source::BlockOutput).scores(&sequence.view()).unwrap_err();
            assert_eq!(refused.to_string(), format!("importance `{}` of token 1 is NaN", metric.name));
        }
    }

    #[test]
    fn step_size_metrics_ignore_the_source() {
        let importance = Importance::new(&DT_MEAN, Source::Residual);
        assert_eq!(importance.source_name(), "dt");
        assert!(importance.signals().contains(Signal::Dt) && !importance.signals().contains(Signal::SsmOutput));
        assert!(Importance::new(&L1, Source::SsmOutput).signals().contains(Signal::SsmOutput));
    }
}
