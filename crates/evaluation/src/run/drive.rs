//! Runs a batch through the model, reducing at the sites: the loop between model and strategies.

use reduction_strategies::{SitePlan, SiteStream, TokenTable, plan_site};
use ssm_kernels::Segments;
use ssm_model::{Activations, LanguageModel, LayerRequest, LayerState, Signal, SignalSet};

use super::driven::{Driven, SiteTrace};
use super::influence::{Leaving, leave_one_out};
#[cfg(feature = "cuda")]
use super::on_gpu;
use super::reduction::{Reduction, matching};
use crate::batch::{Batch, Positions, token_pairs};
use crate::error::EvaluationError;
use crate::finite::{self, Arriving};

/// A site before its plan is carried out.
pub(crate) struct AtSite<'a> {
    pub(crate) stream: SiteStream<'a>,
    pub(crate) plan: &'a SitePlan,
}

/// Looks at every site of a batch.
pub(crate) struct Observer<'a> {
    /// What it needs besides the signals of the rule: at sites, or after every layer.
    pub(crate) signals: SignalSet,
    pub(crate) every_layer: bool,
    pub(crate) at_site: &'a mut dyn FnMut(&AtSite<'_>) -> Result<(), EvaluationError>,
}

pub(crate) fn drive(
    model: &LanguageModel,
    batch: &Batch,
    reduction: &Reduction,
) -> Result<(Activations, Driven), EvaluationError> {
    #[cfg(feature = "cuda")]
    if on_gpu::takes_all(model, reduction) {
        return on_gpu::drive(model, batch, reduction);
    }
    drive_observed(model, batch, reduction, None, None)
}

/// [`drive`] with every plan in the hands of the host before the next layer runs, and seen by an observer, for whom every layer is
/// checked; adds the state after each layer to `states`.
pub(crate) fn drive_observed(
    model: &LanguageModel,
    batch: &Batch,
    reduction: &Reduction,
    mut observer: Option<Observer<'_>>,
    mut states: Option<&mut Vec<LayerState>>,
) -> Result<(Activations, Driven), EvaluationError> {
    let observed = observer.as_ref().map_or_else(SignalSet::default, |observer| observer.signals);
    let always =
        if observer.as_ref().is_some_and(|observer| observer.every_layer) { observed } else { SignalSet::default() };
    let mut activations = model.embed(&batch.tokens)?;
    let mut segments = batch.segments.clone();
    let mut table = batch.table.clone();
    let mut sites = Vec::new();
    let (mut token_layers, mut token_pairs, mut matching_flops) = (0, 0, 0.0);
    for layer in 0..model.config().n_layer() {
        let reduces = reduction.sites.contains(&layer);
        let signals = if reduces { reduction.rule.signals().union(observed) } else { always };
        let lengths = (0..segments.len()).map(|index| segments.length(index));
        let times = TokenTable::times(table.segments.iter().zip(lengths));
        let positions = model.config().uses_positions().then(|| positions(reduction.positions, &table, &segments));
        let (time, positions) = (times.as_deref(), positions.as_deref());
        let request = LayerRequest { signals, time, positions, states: states.is_some(), ..LayerRequest::default() };
        let output = model.layer(layer, &activations, &segments, request)?;
        if observer.is_some() {
            let tokens = &table.segments;
            finite::check_layer(layer, &output, &segments, |segment, row| {
                (format!("item {}", tokens[segment].item), tokens[segment].positions[row])
            })?;
        }
        token_layers += segments.n_tokens() as u64;
        token_pairs += pairs(&segments);
        if let Some(states) = &mut states {
            states.extend(output.state);
        }
        activations = output.activations;
        if !reduces {
            continue;
        }
        let mut signals = output.signals;
        if reduction.rule.signals().contains(Signal::Influence) {
            let (activations, positions) = (&activations, reduction.positions);
            let leaving = Leaving { layer, activations, segments: &segments, positions };
            let tokens: Vec<_> = table.segments.iter().map(Some).collect();
            signals.set(Signal::Influence, Some(leave_one_out(model, leaving, &tokens)?));
        }
        let stream = SiteStream::new(layer, &table, &segments, &activations, &signals)?;
        let (plan, merged_similarity) = plan_stream(model, reduction, &stream)?;
        if let Some(observer) = &mut observer {
            (observer.at_site)(&AtSite { stream, plan: &plan })?;
        }
        let planned =
            table.segments.iter().zip(&plan.plans).filter_map(|(tokens, plan)| Some((tokens, plan.as_ref()?)));
        let flops = planned.map(|(tokens, plan)| matching(&reduction.rule, model.config(), layer, tokens, plan));
        matching_flops += flops.sum::<f64>();
        if !plan.is_identity() {
            Arriving::of(&stream)?.check(layer, &table.segments)?;
        }
        (activations, segments) = plan.apply(&stream)?;
        let arriving = table.clone();
        table = table.apply(&plan)?;
        sites.push(SiteTrace { site: layer, plan, arriving, merged_similarity });
    }
    Ok((activations, Driven { segments, table, sites, token_layers, token_pairs, matching_flops }))
}

/// Plans of all segments of a stream, and the mean similarity of merged pairs per segment; decided on the GPU where the model
/// lies there and the rule can be.
pub(crate) fn plan_stream(
    model: &LanguageModel,
    reduction: &Reduction,
    stream: &SiteStream<'_>,
) -> Result<(SitePlan, Vec<Option<f64>>), EvaluationError> {
    #[cfg(feature = "cuda")]
    if on_gpu::takes(model, reduction) {
        return on_gpu::plan(reduction, stream);
    }
    #[cfg(not(feature = "cuda"))]
    let _ = model;
    let Reduction { rule, keep_ratio, seed, .. } = reduction;
    let plan = plan_site(rule, *keep_ratio, *seed, stream)?;
    let similarities = plan.merged_similarity(stream)?;
    Ok((plan, similarities))
}

/// Whether [`plan_stream`] reads the rows in host memory for this reduction.
pub(crate) fn plans_on_host(model: &LanguageModel, reduction: &Reduction) -> bool {
    #[cfg(feature = "cuda")]
    if on_gpu::takes(model, reduction) {
        return false;
    }
    let _ = model;
    !reduction.rule.is_blind()
}

/// Positions of all rows of a stream.
fn positions(positions: Positions, table: &TokenTable, segments: &Segments) -> Vec<u32> {
    let rows: Vec<usize> = (0..segments.len()).map(|index| segments.length(index)).collect();
    let mut out = Vec::with_capacity(segments.n_tokens());
    positions.extend(&table.segments, |index| segments.parent(index), &rows, &mut out);
    out
}

/// [`token_pairs`] of a stream.
pub(super) fn pairs(segments: &Segments) -> u64 {
    token_pairs((0..segments.len()).map(|index| segments.length(index)), |index| segments.parent(index))
}
