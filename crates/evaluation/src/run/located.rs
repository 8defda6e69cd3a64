//! Where values that are NaN or infinite arose, once an error speaks of them.

use reduction_strategies::PlanError;
use ssm_model::{LanguageModel, LayerConfig, SignalSet};

use super::drive::{SiteObserver, drive_observed};
use super::reduction::Reduction;
use crate::batch::Batch;
use crate::error::EvaluationError;

/// Where what `error` speaks of arose, if it speaks of values that are no numbers: `batch` runs again, one layer after the other,
/// with a look at everything that each layer shows. Other errors, and those that do not come again, stay as they are.
pub(crate) fn located(
    model: &LanguageModel,
    batch: &Batch,
    reduction: &Reduction,
    error: &EvaluationError,
) -> Option<EvaluationError> {
    let score = match error {
        EvaluationError::NotFinite { item, value } => Some((*item, *value)),
        EvaluationError::NotFiniteIn { .. }
        | EvaluationError::Plan(PlanError::NotFinite { .. } | PlanError::Unordered { .. }) => None,
        _ => return None,
    };
    let signals = model.config().layers.iter().map(LayerConfig::signals).fold(SignalSet::default(), SignalSet::union);
    let observer = SiteObserver { signals, every_layer: true, at_site: &mut |_, _| Ok(()) };
    match drive_observed(model, batch, reduction, Some(observer), None) {
        Err(found @ EvaluationError::NotFiniteIn { .. }) => Some(found),
        // All layers are in order.
        Ok(_) => score.map(|(item, value)| EvaluationError::NotFiniteHead { item, value }),
        Err(_) => None,
    }
}
