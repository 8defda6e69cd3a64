//! The same loop with plans made on the GPU: the host waits for nothing until the last layer is queued, then reads back which
//! tokens stayed. Rows are gathered by the next layer as it reads them.

use candle_core::Tensor;
use reduction_strategies::on_gpu::{self, Stream};
use reduction_strategies::{Rule, SitePlan};
use ssm_kernels::Segments;
use ssm_kernels::ops::RowPlan;
use ssm_kernels::ops::reduction::edge_similarity;
use ssm_model::{Activations, LanguageModel, LayerRequest, SignalSet};

use super::{Driven, Reduction, SiteTrace, matching, pairs};
use crate::error::EvaluationError;
use crate::protocol::Batch;

/// What a site leaves behind for the host to read later.
struct Site {
    layer: usize,
    /// Segments as they arrived, and the lengths that they left with; the plan, where anything leaves.
    segments: Segments,
    rows: Option<RowPlan>,
    lengths: Vec<usize>,
    /// Cosine similarity of every removed row and the row it points to.
    similarity: Option<Tensor>,
}

/// Whether the loop of this module serves this reduction.
pub(super) fn takes(model: &LanguageModel, reduction: &Reduction) -> bool {
    model.placement().device.is_cuda() && on_gpu::plans_on_gpu(&reduction.rule, reduction.keep_ratio)
}

pub(super) fn drive(
    model: &LanguageModel,
    batch: &Batch,
    reduction: &Reduction,
) -> Result<(Activations, Driven), EvaluationError> {
    let queued = forward(model, batch, reduction, true)?;
    let activations = queued.activations.clone();
    Ok((activations, read_back(model, batch, reduction, queued)?))
}

/// Everything queued on the GPU; nothing is read back.
pub(super) struct Queued {
    pub(super) activations: Activations,
    /// Segments as they leave the last layer.
    pub(super) segments: Segments,
    protected: Vec<on_gpu::Protected>,
    sites: Vec<Site>,
    token_layers: u64,
    token_pairs: u64,
}

/// The loop. `traces`: whether similarities of merged pairs are computed for the record.
pub(super) fn forward(
    model: &LanguageModel,
    batch: &Batch,
    reduction: &Reduction,
    traces: bool,
) -> Result<Queued, EvaluationError> {
    let protected = on_gpu::protected(&batch.table);
    let mut tokens = on_gpu::token_state(&batch.table, &model.placement().device)?;
    let mut activations = model.embed(&batch.tokens)?;
    let mut segments = batch.segments.clone();
    let mut pending: Option<RowPlan> = None;
    let mut sites = Vec::new();
    let (mut token_layers, mut token_pairs) = (0, 0);
    for layer in 0..model.config().n_layer {
        let reduces = reduction.sites.contains(&layer);
        let signals = if reduces { reduction.rule.signals() } else { SignalSet::default() };
        let request = LayerRequest { signals, rows: pending.as_ref(), ..LayerRequest::default() };
        let output = model.layer(layer, &activations, &segments, request)?;
        pending = None;
        token_layers += segments.n_tokens() as u64;
        token_pairs += pairs(&segments);
        activations = output.activations;
        if !reduces {
            continue;
        }
        let residual = activations.residual.as_ref().unwrap_or(&activations.hidden);
        let stream = Stream {
            tokens: &tokens,
            protected: &protected,
            segments: &segments,
            hidden: &activations.hidden,
            residual,
            signals: &output.signals,
        };
        let arrived = segments.clone();
        let mut site = Site { layer, segments: arrived, rows: None, lengths: Vec::new(), similarity: None };
        if let Some(reduced) = on_gpu::reduce(&reduction.rule, reduction.keep_ratio, &stream)? {
            if traces && matches!(reduction.rule, Rule::Pair(_)) {
                site.similarity = Some(edge_similarity(&activations.hidden, &reduced.rows)?);
            }
            site.rows = Some(reduced.rows.clone());
            pending = Some(reduced.rows);
            tokens = reduced.tokens;
            segments = reduced.segments;
        }
        site.lengths = (0..segments.len()).map(|index| segments.length(index)).collect();
        sites.push(site);
    }
    if let Some(rows) = pending {
        // The last layer was a site: nobody else gathers its rows.
        let residual =
            activations.residual.as_ref().map(|residual| rows.apply(residual, &rows.residual)).transpose()?;
        activations = Activations { hidden: rows.apply(&activations.hidden, &rows.hidden)?, residual };
    }
    Ok(Queued { activations, segments, protected, sites, token_layers, token_pairs })
}

/// Turns what the sites left on the GPU into traces.
fn read_back(
    model: &LanguageModel,
    batch: &Batch,
    reduction: &Reduction,
    queued: Queued,
) -> Result<Driven, EvaluationError> {
    let Queued { segments, protected, sites, token_layers, token_pairs, .. } = queued;
    let protected = &protected;
    let mut table = batch.table.clone();
    let mut traces = Vec::with_capacity(sites.len());
    let mut matching_flops = 0.0;
    for site in sites {
        let plan = match &site.rows {
            Some(rows) => on_gpu::site_plan(rows, &site.lengths, &site.segments, protected)?,
            None => identity(&site.segments, protected),
        };
        let merged_similarity = match (&site.similarity, &site.rows) {
            (Some(similarity), Some(rows)) => on_gpu::merged_similarity(similarity, rows, &site.lengths)?,
            _ => vec![None; site.lengths.len()],
        };
        let arriving = table.clone();
        for (tokens, plan) in arriving.segments.iter().zip(&plan.plans) {
            matching_flops += plan.as_ref().map_or(0.0, |plan| matching(&reduction.rule, model.config(), tokens, plan));
        }
        table = table.apply(&plan)?;
        traces.push(SiteTrace { site: site.layer, plan, arriving, merged_similarity });
    }
    Ok(Driven { segments, table, sites: traces, token_layers, token_pairs, matching_flops })
}

fn identity(segments: &Segments, protected: &[on_gpu::Protected]) -> SitePlan {
    let plan = |(index, protected): (usize, &on_gpu::Protected)| {
        protected.map(|_| reduction_strategies::Plan::identity(segments.length(index)))
    };
    SitePlan { plans: protected.iter().enumerate().map(plan).collect() }
}
