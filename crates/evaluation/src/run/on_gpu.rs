//! The same loop with plans made on the GPU: the host waits for nothing until the last layer is queued, then reads back which
//! tokens stayed. Rows are gathered by the next layer as it reads them.

use candle_core::Tensor;
use reduction_strategies::interpret::gpu::{self, GpuTokens};
use reduction_strategies::{Rule, SitePlan, SiteStream, TokenTable};
use ssm_kernels::Segments;
use ssm_kernels::ops::RowPlan;
use ssm_kernels::ops::reduction::{Reduced, edge_similarity};
use ssm_model::{Activations, LanguageModel, LayerRequest, LayerState, SignalSet};

use super::drive::pairs;
use super::driven::{Driven, SiteTrace};
use super::reduction::{Reduction, matching};
use crate::batch::Batch;
use crate::error::EvaluationError;
use crate::finite::Arriving;

/// What a site leaves behind for the host to read later.
struct Site {
    layer: usize,
    /// Segments as they arrived, and the lengths that they left with; the plan, where anything leaves.
    segments: Segments,
    rows: Option<RowPlan>,
    lengths: Vec<usize>,
    /// Cosine similarity of every removed row and the row it points to.
    similarity: Option<Tensor>,
    /// Which segments were ranked by values that are no numbers.
    faults: Option<Tensor>,
    /// Arriving rows that hold no numbers, where anything leaves.
    arriving: Option<Arriving>,
}

impl Site {
    /// Queues the decision of `rule` for a stream that left `layer`, and where `traces` the similarities of what it merges.
    fn plan(
        rule: &Rule,
        keep_ratio: f64,
        stream: &SiteStream<'_, GpuTokens>,
        traces: bool,
    ) -> Result<(Self, Option<Reduced>), EvaluationError> {
        let reduced = on_gpu::reduce(rule, keep_ratio, stream)?;
        let left = reduced.as_ref().map_or(stream.segments, |reduced| &reduced.segments);
        let similarity = match &reduced {
            Some(reduced) if traces && matches!(rule, Rule::Pair(_)) => {
                Some(edge_similarity(stream.hidden, &reduced.rows)?)
            }
            _ => None,
        };
        let site = Self {
            layer: stream.layer,
            segments: stream.segments.clone(),
            rows: reduced.as_ref().map(|reduced| reduced.rows.clone()),
            lengths: (0..left.len()).map(|index| left.length(index)).collect(),
            similarity,
            faults: reduced.as_ref().map(|reduced| reduced.faults.clone()),
            arriving: match &reduced {
                Some(_) if traces => Some(Arriving::of(stream)?),
                _ => None,
            },
        };
        Ok((site, reduced))
    }

    /// The plans, and the mean similarity of merged pairs per segment; refuses rows that hold no numbers, and plans that follow
    /// from such. `table`: the tokens as they arrive. Waits for the GPU.
    fn read(&self, protected: &[on_gpu::Protected], table: &TokenTable) -> Result<PlannedSite, EvaluationError> {
        let Some(rows) = &self.rows else {
            return Ok((identity(&self.segments, protected), vec![None; self.lengths.len()]));
        };
        if let Some(arriving) = &self.arriving {
            arriving.check(self.layer, &table.segments)?;
        }
        if let Some(faults) = &self.faults {
            on_gpu::check_faults(faults, |segment, row| table.segments[segment].positions[row])?;
        }
        let plan = on_gpu::site_plan(rows, &self.lengths, &self.segments, protected)?;
        let merged_similarity = match &self.similarity {
            Some(similarity) => on_gpu::merged_similarity(similarity, rows, &self.lengths)?,
            None => vec![None; self.lengths.len()],
        };
        Ok((plan, merged_similarity))
    }
}

/// Plans of a site, and the mean similarity of merged pairs per segment.
pub(crate) type PlannedSite = (SitePlan, Vec<Option<f64>>);

/// Whether rules of this kind are decided on the GPU where the model lies there.
pub(crate) fn takes(model: &LanguageModel, reduction: &Reduction) -> bool {
    model.placement().device.is_cuda() && on_gpu::plans_on_gpu(&reduction.rule, reduction.keep_ratio)
}

/// Whether the whole loop runs on the GPU: nobody needs a plan on the host before the end. A model that reads positions does,
/// since those of what is left follow from the plan.
pub(super) fn takes_all(model: &LanguageModel, reduction: &Reduction) -> bool {
    takes(model, reduction) && !model.config().uses_positions()
}

/// The decision of a rule that [`takes`] for one site, made on the GPU and read back.
pub(crate) fn plan(reduction: &Reduction, stream: &SiteStream<'_>) -> Result<PlannedSite, EvaluationError> {
    let tokens = GpuTokens::new(stream.tokens, stream.hidden.device())?;
    let (site, _) = Site::plan(&reduction.rule, reduction.keep_ratio, &stream.with_tokens(&tokens), true)?;
    site.read(&tokens.protected, stream.tokens)
}

pub(super) fn drive(
    model: &LanguageModel,
    batch: &Batch,
    reduction: &Reduction,
) -> Result<(Activations, Driven), EvaluationError> {
    let queued = forward(model, batch, reduction, true, None)?;
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

/// The loop. `traces`: whether similarities of merged pairs are computed for the record; `states`: takes the state after each
/// layer.
pub(super) fn forward(
    model: &LanguageModel,
    batch: &Batch,
    reduction: &Reduction,
    traces: bool,
    mut states: Option<&mut Vec<LayerState>>,
) -> Result<Queued, EvaluationError> {
    let mut tokens = GpuTokens::new(&batch.table, &model.placement().device)?;
    let mut activations = model.embed(&batch.tokens)?;
    let mut segments = batch.segments.clone();
    let mut pending: Option<RowPlan> = None;
    let mut sites = Vec::new();
    let (mut token_layers, mut token_pairs) = (0, 0);
    for layer in 0..model.config().n_layer() {
        let reduces = reduction.sites.contains(&layer);
        let signals = if reduces { reduction.rule.signals() } else { SignalSet::default() };
        let (rows, wanted) = (pending.as_ref(), states.is_some());
        let request = LayerRequest { signals, rows, states: wanted, ..LayerRequest::default() };
        let output = model.layer(layer, &activations, &segments, request)?;
        if let Some(states) = &mut states {
            states.extend(output.state);
        }
        pending = None;
        token_layers += segments.n_tokens() as u64;
        token_pairs += pairs(&segments);
        activations = output.activations;
        if !reduces {
            continue;
        }
        let stream = SiteStream::new(layer, &tokens, &segments, &activations, &output.signals)?;
        let (site, reduced) = Site::plan(&reduction.rule, reduction.keep_ratio, &stream, traces)?;
        if let Some(reduced) = reduced {
            pending = Some(reduced.rows);
            tokens = tokens.after(reduced.tokens);
            segments = reduced.segments;
        }
        sites.push(site);
    }
    if let Some(rows) = pending {
        // The last layer was a site: nobody else gathers its rows.
        let residual =
            activations.residual.as_ref().map(|residual| rows.apply(residual, &rows.residual)).transpose()?;
        activations = Activations { hidden: rows.apply(&activations.hidden, &rows.hidden)?, residual };
    }
    Ok(Queued { activations, segments, protected: tokens.protected, sites, token_layers, token_pairs })
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
        let (plan, merged_similarity) = site.read(protected, &table)?;
        let arriving = table.clone();
        for (tokens, plan) in arriving.segments.iter().zip(&plan.plans) {
            let flops = |plan| matching(&reduction.rule, model.config(), site.layer, tokens, plan);
            matching_flops += plan.as_ref().map_or(0.0, flops);
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
