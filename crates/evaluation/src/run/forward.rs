//! Forwards that keep no trace: what a benchmark times, and the prompt of a generation.

use reduction_strategies::TokenTable;
use ssm_kernels::Segments;
use ssm_model::{Activations, LanguageModel, ModelState};

use super::drive::{drive, drive_observed};
#[cfg(feature = "cuda")]
use super::on_gpu;
use super::reduction::Reduction;
use crate::batch::Batch;
use crate::error::EvaluationError;

/// A forward through all layers that keeps no trace: activations after the last layer and the segments that are left.
///
/// On a GPU nothing is waited for; the caller synchronises, and looks for values that are no numbers itself.
///
/// # Errors
/// As of an evaluation.
pub fn forward(
    model: &LanguageModel,
    tokens: Vec<u32>,
    segments: Segments,
    table: TokenTable,
    reduction: &Reduction,
) -> Result<(Activations, Segments), EvaluationError> {
    let batch = Batch { tokens, segments, table, placements: Vec::new() };
    #[cfg(feature = "cuda")]
    if on_gpu::takes_all(model, reduction) {
        let queued = on_gpu::forward(model, &batch, reduction, false, None)?;
        return Ok((queued.activations, queued.segments));
    }
    let (activations, driven) = drive(model, &batch, reduction)?;
    Ok((activations, driven.segments))
}

/// A prompt that went through all layers.
pub struct Prefilled {
    /// After the last layer.
    pub activations: Activations,
    /// Segments that are left.
    pub segments: Segments,
    /// What each segment goes on from: [`LanguageModel::step`].
    pub state: ModelState,
}

/// As [`forward`], with the states from which the sequences go on.
///
/// # Errors
/// As of an evaluation.
pub fn prefill(
    model: &LanguageModel,
    tokens: Vec<u32>,
    segments: Segments,
    table: TokenTable,
    reduction: &Reduction,
) -> Result<Prefilled, EvaluationError> {
    let batch = Batch { tokens, segments, table, placements: Vec::new() };
    let mut states = Vec::with_capacity(model.config().n_layer());
    #[cfg(feature = "cuda")]
    if on_gpu::takes_all(model, reduction) {
        let on_gpu::Queued { activations, segments, .. } =
            on_gpu::forward(model, &batch, reduction, false, Some(&mut states))?;
        return Ok(Prefilled { activations, segments, state: ModelState(states) });
    }
    let (activations, driven) = drive_observed(model, &batch, reduction, None, Some(&mut states))?;
    Ok(Prefilled { activations, segments: driven.segments, state: ModelState(states) })
}
