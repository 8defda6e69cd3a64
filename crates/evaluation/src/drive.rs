//! Runs a batch through the model, reducing at the sites: the loop between model and strategies.

#[cfg(feature = "cuda")]
pub(crate) mod on_gpu;

use reduction_strategies::importance::Widths;
use reduction_strategies::{Memo, Plan, Rule, SegmentTokens, SitePlan, TokenTable, plan_site_with};
use ssm_kernels::Segments;
use ssm_model::{
    Activations, LanguageModel, LayerRequest, LayerState, ModelConfig, ModelState, Signal, SignalSet, Signals,
};

use crate::error::EvaluationError;
use crate::finite::{self, Arriving};
use crate::influence::{Leaving, leave_one_out};
use crate::positions::{Positions, token_pairs};
use crate::protocol::Batch;

/// Which tokens leave, where and how many.
#[derive(Clone, Debug)]
pub struct Reduction {
    /// The strategy's rule.
    pub rule: Rule,
    /// Share of the reducible tokens that stays at each site.
    pub keep_ratio: f64,
    /// 0-based layers after which tokens are reduced, ascending.
    pub sites: Vec<usize>,
    /// Seed of everything random in the rule.
    pub seed: u64,
    /// Positions of what is left, where the model reads them.
    pub positions: Positions,
}

impl Reduction {
    /// No reduction at all.
    #[must_use]
    pub fn dense() -> Self {
        Self { rule: Rule::Identity, keep_ratio: 1.0, sites: Vec::new(), seed: 0, positions: Positions::Original }
    }
}

/// What happened at one site of one batch.
pub(crate) struct SiteTrace {
    pub(crate) site: usize,
    pub(crate) plan: SitePlan,
    /// Tokens as they arrived.
    pub(crate) arriving: TokenTable,
    /// Mean cosine similarity of merged pairs, per segment; none where nothing was merged.
    pub(crate) merged_similarity: Vec<Option<f64>>,
}

/// A batch after the last layer, without its activations.
pub(crate) struct Driven {
    pub(crate) segments: Segments,
    pub(crate) table: TokenTable,
    pub(crate) sites: Vec<SiteTrace>,
    /// Tokens alive in each layer, summed over layers.
    pub(crate) token_layers: u64,
    /// Pairs of a token and one that it sees, summed over layers.
    pub(crate) token_pairs: u64,
    /// FLOPs of similarity matching.
    pub(crate) matching_flops: f64,
}

/// What stands at a site before its plan is carried out.
pub(crate) struct AtSite<'a> {
    pub(crate) site: usize,
    pub(crate) segments: &'a Segments,
    pub(crate) table: &'a TokenTable,
    /// After the block.
    pub(crate) activations: &'a Activations,
    pub(crate) signals: &'a Signals,
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
    for layer in 0..model.config().n_layer {
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
        let (plan, merged_similarity) =
            plan_stream(model, reduction, layer, &table, &segments, &activations, &signals, &[])?;
        if let Some(observer) = &mut observer {
            let (segments, table) = (&segments, &table);
            let (activations, signals) = (&activations, &signals);
            (observer.at_site)(&AtSite { site: layer, segments, table, activations, signals, plan: &plan })?;
        }
        let planned =
            table.segments.iter().zip(&plan.plans).filter_map(|(tokens, plan)| Some((tokens, plan.as_ref()?)));
        let flops = planned.map(|(tokens, plan)| matching(&reduction.rule, model.config(), tokens, plan));
        matching_flops += flops.sum::<f64>();
        let residual = activations.residual.as_ref().unwrap_or(&activations.hidden);
        if !plan.is_identity() {
            Arriving::of(&activations.hidden, residual, &segments)?.check(layer, &table.segments)?;
        }
        let (hidden, residual, shortened) = plan.apply(&segments, &activations.hidden, residual)?;
        activations = Activations { hidden, residual: Some(residual) };
        segments = shortened;
        let arriving = table.clone();
        table = table.apply(&plan)?;
        sites.push(SiteTrace { site: layer, plan, arriving, merged_similarity });
    }
    Ok((activations, Driven { segments, table, sites, token_layers, token_pairs, matching_flops }))
}

/// Plans of all segments of a stream, and the mean similarity of merged pairs per segment; decided on the GPU where the model
/// lies there and the rule can be.
#[allow(clippy::too_many_arguments)] // As `plan_site_with`.
pub(crate) fn plan_stream(
    model: &LanguageModel,
    reduction: &Reduction,
    site: usize,
    table: &TokenTable,
    segments: &Segments,
    activations: &Activations,
    signals: &Signals,
    memos: &[Memo],
) -> Result<(SitePlan, Vec<Option<f64>>), EvaluationError> {
    #[cfg(feature = "cuda")]
    if on_gpu::takes(model, reduction) {
        return on_gpu::plan(reduction, site, table, segments, activations, signals);
    }
    #[cfg(not(feature = "cuda"))]
    let _ = model;
    let Reduction { rule, keep_ratio, seed, .. } = reduction;
    let hidden = &activations.hidden;
    let residual = activations.residual.as_ref().unwrap_or(hidden);
    let plan = plan_site_with(rule, *keep_ratio, *seed, site, table, segments, hidden, residual, signals, memos)?;
    let similarities = plan.merged_similarity(segments, hidden)?;
    Ok((plan, similarities))
}

/// Whether [`plan_stream`] reads the rows in host memory for this reduction.
pub(crate) fn plans_on_host(model: &LanguageModel, reduction: &Reduction) -> bool {
    #[cfg(feature = "cuda")]
    if on_gpu::takes(model, reduction) {
        return false;
    }
    let _ = model;
    reduction.rule.reads_values()
}

/// Positions of all rows of a stream.
fn positions(positions: Positions, table: &TokenTable, segments: &Segments) -> Vec<u32> {
    let rows: Vec<usize> = (0..segments.len()).map(|index| segments.length(index)).collect();
    let mut out = Vec::with_capacity(segments.n_tokens());
    positions.extend(&table.segments, |index| segments.parent(index), &rows, &mut out);
    out
}

/// [`token_pairs`] of a stream.
fn pairs(segments: &Segments) -> u64 {
    token_pairs((0..segments.len()).map(|index| segments.length(index)), |index| segments.parent(index))
}

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
    let mut states = Vec::with_capacity(model.config().n_layer);
    #[cfg(feature = "cuda")]
    if on_gpu::takes_all(model, reduction) {
        let on_gpu::Queued { activations, segments, .. } =
            on_gpu::forward(model, &batch, reduction, false, Some(&mut states))?;
        return Ok(Prefilled { activations, segments, state: ModelState(states) });
    }
    let (activations, driven) = drive_observed(model, &batch, reduction, None, Some(&mut states))?;
    Ok(Prefilled { activations, segments: driven.segments, state: ModelState(states) })
}

/// FLOPs of the matching behind the plan of one sequence.
pub(crate) fn matching(rule: &Rule, config: &ModelConfig, arriving: &SegmentTokens, plan: &Plan) -> f64 {
    let d_inner = config.d_inner();
    let widths = Widths { d_model: config.d_model, d_inner, dt: config.dt_width() };
    let n = arriving.protected.iter().filter(|protected| !**protected).count();
    rule.matching_flops(n, n - (plan.n_tokens() - plan.keep().len()), widths)
}
