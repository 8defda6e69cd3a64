//! One layer over a packed stream: every layer that this crate runs, runs here.

use candle_core::Tensor;
use reduction_strategies::{SegmentTokens, TokenTable};
use ssm_kernels::Segments;
use ssm_kernels::ops::RowPlan;
use ssm_model::{
    Activations, LanguageModel, LayerConfig, LayerOutput, LayerRequest, LayerState, RowTime, SignalSet, Times,
};

use crate::batch::Positions;
use crate::error::EvaluationError;
use crate::finite::{check_items, check_sequences};

/// What a layer reads of the tokens besides their activations: positions, and factors on the step sizes.
///
/// Both come from one constructor, so no caller can pass one and forget the other.
pub(crate) struct RowTokens {
    /// One per row; none where the model reads none or the rows are numbered consecutively.
    positions: Option<Vec<u32>>,
    /// None where all factors are 1.
    times: Option<RowFactors>,
}

/// Factors on the step sizes, one pair per row ([`Times`]).
enum RowFactors {
    Host(Vec<RowTime>),
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "only a plan made on a GPU has its factors there"))]
    Device(Tensor),
}

impl RowFactors {
    fn get(&self) -> Times<'_> {
        match self {
            Self::Host(times) => Times::Host(times),
            Self::Device(times) => Times::Device(times),
        }
    }
}

impl RowTokens {
    /// Tokens from which nothing was removed: each segment continues its parent.
    pub(crate) fn untouched() -> Self {
        Self { positions: None, times: None }
    }

    /// Tokens of a model that reads no positions, with the factors `[tokens, 2]` that a plan on the GPU left there; none: all are 1.
    #[cfg(feature = "cuda")]
    pub(crate) fn on_device(times: Option<&Tensor>) -> Self {
        Self { positions: None, times: times.cloned().map(RowFactors::Device) }
    }

    /// Tokens at these positions, one per row, with all step sizes as they are.
    pub(crate) fn at(model: &LanguageModel, positions: Vec<u32>) -> Self {
        Self { positions: model.config().uses_positions().then_some(positions), times: None }
    }

    /// The tokens of some trees of segments, in the order of `segments`. Of a table that is longer than its segment only the
    /// first rows count.
    pub(crate) fn of(model: &LanguageModel, trees: &[(&[SegmentTokens], Positions)], segments: &Segments) -> Self {
        let lengths: Vec<usize> = (0..segments.len()).map(|index| segments.length(index)).collect();
        let tables = trees.iter().flat_map(|(table, _)| table.iter());
        let times = TokenTable::times(&tables.zip(lengths.iter().copied())).map(RowFactors::Host);
        let positions = model.config().uses_positions().then(|| {
            let mut all = Vec::with_capacity(segments.n_tokens());
            let mut first = 0;
            for (table, positions) in trees {
                let parent = |index: usize| segments.parent(first + index).map(|parent| parent - first);
                positions.extend(table, parent, &lengths[first..], &mut all);
                first += table.len();
            }
            all
        });
        Self { positions, times }
    }
}

/// A packed stream before a layer.
#[derive(Clone, Copy)]
pub(crate) struct LayerInput<'a> {
    pub(crate) activations: &'a Activations,
    /// Which rows belong together: those of the gathered rows where the layer gathers.
    pub(crate) segments: &'a Segments,
    pub(crate) tokens: &'a RowTokens,
    /// State before each root segment; zeros where absent.
    pub(crate) initial: Option<&'a LayerState>,
    /// Rows that the layer gathers and merges as it reads them.
    pub(crate) gather: Option<&'a RowPlan>,
}

/// What a layer returns besides the activations.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) signals: SignalSet,
    /// Whether to return the state after each segment.
    pub(crate) states: bool,
    pub(crate) check: Check<'a>,
}

/// Whether an output that is NaN or infinite is an error. The check waits for a GPU.
#[derive(Clone, Copy, Default)]
pub(crate) enum Check<'a> {
    /// The caller checks what it reads in the end.
    #[default]
    Off,
    /// The error names the sequence by its index.
    Sequences,
    /// The error names the item and the token: the tokens of each segment.
    Items(&'a [SegmentTokens]),
}

/// Runs one layer.
pub(crate) fn run_layer(
    model: &LanguageModel,
    layer: usize,
    input: LayerInput<'_>,
    wanted: Wanted<'_>,
) -> Result<LayerOutput, EvaluationError> {
    let LayerInput { activations, segments, tokens, initial, gather } = input;
    // In a hybrid the factors concern the layers with a scan. A model without any refuses them.
    let layers = &model.config().layers;
    let concerns = layers.get(layer).is_some_and(LayerConfig::has_scan) || !layers.iter().any(LayerConfig::has_scan);
    let request = LayerRequest {
        initial,
        signals: wanted.signals,
        states: wanted.states,
        rows: gather,
        positions: tokens.positions.as_deref(),
        time: tokens.times.as_ref().map(RowFactors::get).filter(|_| concerns),
    };
    let output = model.layer(layer, activations, segments, request)?;
    match wanted.check {
        Check::Off => {}
        Check::Sequences => check_sequences(layer, &output, segments)?,
        Check::Items(tokens) => check_items(layer, &output, segments, tokens)?,
    }
    Ok(output)
}
