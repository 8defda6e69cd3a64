//! The loop over layers: a packed stream passes through some of them, and an observer looks at it or changes it after each.

use std::ops::Range;

use ssm_kernels::Segments;
use ssm_kernels::ops::RowPlan;
use ssm_model::{Activations, LanguageModel, LayerState, Signals};

use super::layer::{LayerInput, RowTokens, Wanted, run_layer};
use crate::error::EvaluationError;

/// A packed stream between two layers.
pub(crate) struct PackedStream {
    pub(crate) activations: Activations,
    /// Those of the gathered rows, where the next layer gathers.
    pub(crate) segments: Segments,
    pub(crate) tokens: RowTokens,
    /// Rows that the next layer gathers and merges as it reads them.
    pub(crate) gather: Option<RowPlan>,
}

impl PackedStream {
    /// Rows that are gathered already.
    pub(crate) fn new(activations: Activations, segments: Segments, tokens: RowTokens) -> Self {
        Self { activations, segments, tokens, gather: None }
    }

    /// What the next layer reads, from zero states.
    pub(crate) fn input(&self) -> LayerInput<'_> {
        let Self { activations, segments, tokens, gather } = self;
        LayerInput { activations, segments, tokens, initial: None, gather: gather.as_ref() }
    }
}

/// What a layer returned besides the activations.
pub(crate) struct Shown {
    pub(crate) signals: Signals,
    pub(crate) state: Option<LayerState>,
}

/// Looks at a stream after every layer, or changes it: what reduces, forks or measures.
pub(crate) trait Observer {
    /// What it wants of `layer`, which comes next.
    fn wanted(&self, layer: usize) -> Wanted<'_>;

    /// Sees the stream as it comes out of `layer`; the next layer reads what this makes of it.
    fn after(&mut self, layer: usize, stream: &mut PackedStream, shown: Shown) -> Result<(), EvaluationError>;
}

/// Wants nothing and changes nothing.
pub(crate) struct Unobserved;

impl Observer for Unobserved {
    fn wanted(&self, _: usize) -> Wanted<'_> {
        Wanted::default()
    }

    fn after(&mut self, _: usize, _: &mut PackedStream, _: Shown) -> Result<(), EvaluationError> {
        Ok(())
    }
}

/// Runs `layers` over a stream.
pub(crate) fn run_layers(
    model: &LanguageModel,
    mut stream: PackedStream,
    layers: Range<usize>,
    observer: &mut impl Observer,
) -> Result<PackedStream, EvaluationError> {
    for layer in layers {
        let output = run_layer(model, layer, stream.input(), observer.wanted(layer))?;
        stream.activations = output.activations;
        stream.gather = None;
        observer.after(layer, &mut stream, Shown { signals: output.signals, state: output.state })?;
    }
    Ok(stream)
}
