//! The driver whose plans are made on the GPU: the host waits for nothing until the last layer is queued, then reads back which
//! tokens were kept. The next layer gathers the rows as it reads them.

use std::ops::Range;
use std::rc::Rc;

use candle_core::Tensor;
use reduction_strategies::interpret::gpu::{self, Decided, GpuTokens};
use reduction_strategies::{Rule, SitePlan, SiteStream, TokenTable};
use ssm_kernels::Segments;
use ssm_kernels::ops::RowPlan;
use ssm_kernels::ops::reduction::{Reduced, edge_similarity};
use ssm_model::{Activations, LanguageModel, LayerState, SignalSet};

use super::drive::PlannedSite;
use super::driven::{Driven, Passed, SiteTrace};
use super::layer::{Check, RowTokens, Wanted};
use super::layers::{Observer, PackedStream, Shown, run_layers};
use super::reduction::{Reduction, matching};
use crate::batch::{Batch, token_pairs_of};
use crate::error::EvaluationError;
use crate::finite::{Arriving, NonFiniteRows};

/// What of a decision the host reads.
struct OnDevice {
    rows: RowPlan,
    faults: Tensor,
    /// `[rows, 2]`: factors on the step sizes, where the rule sets them.
    times: Option<Tensor>,
}

/// What the host reads of a site once everything is queued.
struct Site {
    layer: usize,
    /// Segments as they arrived, and their lengths afterwards; the plan, and which segments were ranked by values that are NaN or infinite,
    /// where any token is removed.
    segments: Segments,
    decided: Option<OnDevice>,
    /// Whether removed rows may be merged; else all are dropped.
    merges: bool,
    lengths: Vec<usize>,
    /// Cosine similarity of every removed row and the row it points to.
    similarity: Option<Tensor>,
    /// Arriving rows that are NaN or infinite, where any token is removed.
    arriving: Option<Rc<NonFiniteRows>>,
}

impl Site {
    /// Queues the decision of `rule` for the stream after a layer, and where `traces` the similarities of what it merges.
    fn plan(
        rule: &Rule,
        keep_ratio: f64,
        stream: &SiteStream<'_, GpuTokens>,
        traces: bool,
        arriving: &Arriving,
    ) -> Result<(Self, Option<Reduced>), EvaluationError> {
        let reduced = gpu::reduce(rule, keep_ratio, stream)?;
        let kept = reduced.as_ref().map_or(stream.segments, |reduced| &reduced.segments);
        let similarity = match &reduced {
            Some(reduced) if traces && reduced.merges => Some(edge_similarity(stream.hidden, &reduced.rows)?),
            _ => None,
        };
        let site = Self {
            layer: stream.layer,
            segments: stream.segments.clone(),
            decided: reduced.as_ref().map(|reduced| OnDevice {
                rows: reduced.rows.clone(),
                faults: reduced.faults.clone(),
                times: reduced.times.clone(),
            }),
            merges: reduced.as_ref().is_some_and(|reduced| reduced.merges),
            lengths: (0..kept.len()).map(|index| kept.length(index)).collect(),
            similarity,
            arriving: match &reduced {
                Some(_) if traces => Some(arriving.of(stream)?),
                _ => None,
            },
        };
        Ok((site, reduced))
    }

    /// What was decided, as it lies on the GPU; refuses rows of the segments of `asking` that are NaN or infinite, and decisions that follow
    /// from such. `place` of a segment and a row that arrives: its item, and the token's position. Waits for the GPU.
    fn read(
        self,
        asking: &[Range<usize>],
        place: impl Fn(usize, usize) -> (u64, u32),
    ) -> Result<ReadSite, EvaluationError> {
        let Self { layer, segments, decided, merges, lengths, similarity, arriving } = self;
        let Some(OnDevice { rows, faults, times }) = decided else {
            return Ok(ReadSite { layer, segments, lengths, decided: None });
        };
        if let Some(arriving) = arriving {
            arriving.check(layer, asking.iter().cloned().flatten(), &place)?;
        }
        let decided = Decided::read(&rows, merges, &faults, times.as_ref(), similarity.as_ref())?;
        decided.check(|segment, row| place(segment, row).1)?;
        Ok(ReadSite { layer, segments, lengths, decided: Some(decided) })
    }
}

/// A site that the host has read.
struct ReadSite {
    layer: usize,
    /// Segments as they arrived, and their lengths afterwards.
    segments: Segments,
    lengths: Vec<usize>,
    /// None where every token is kept.
    decided: Option<Decided>,
}

impl ReadSite {
    /// The plans, and the mean similarity of merged pairs per segment.
    fn planned(&self, protected: &[gpu::Protected]) -> Result<PlannedSite, EvaluationError> {
        let Self { segments, lengths, .. } = self;
        let Some(decided) = &self.decided else {
            return Ok((identity(segments, protected), vec![None; lengths.len()]));
        };
        Ok((decided.site_plan(lengths, segments, protected)?, decided.merged_similarity(lengths)))
    }

    /// Positions of the kept tokens of each segment, from those that arrive.
    fn after(&self, positions: Vec<Vec<u32>>) -> Vec<Vec<u32>> {
        let Some(decided) = &self.decided else { return positions };
        let mut rest = decided.keep();
        let mut kept = Vec::with_capacity(positions.len());
        for (segment, (arriving, length)) in positions.iter().zip(&self.lengths).enumerate() {
            let (own, others) = rest.split_at(*length);
            rest = others;
            let start = self.segments.rows(segment).start;
            kept.push(own.iter().map(|row| arriving[*row as usize - start]).collect());
        }
        kept
    }
}

/// Whether rules of this kind are decided on the GPU where the model is there.
pub(crate) fn takes(model: &LanguageModel, reduction: &Reduction) -> bool {
    model.placement().device.is_cuda() && gpu::plans_on_gpu(&reduction.rule)
}

/// Whether all layers are queued without a plan on the host. A model that reads positions needs the plan, since the positions of the
/// kept tokens follow from it; so does a site that reads an earlier layer, since the signals carried from there must be cut to the kept rows.
pub(super) fn takes_all(model: &LanguageModel, reduction: &Reduction) -> bool {
    let reads_its_own = |site: &usize| reduction.source(model.config(), *site) == *site;
    takes(model, reduction) && !model.config().uses_positions() && reduction.sites.iter().all(reads_its_own)
}

/// The decision of a rule that [`takes`] for one site, queued on the GPU.
pub(crate) struct QueuedSite {
    site: Site,
    protected: Vec<gpu::Protected>,
}

impl QueuedSite {
    pub(crate) fn new(
        reduction: &Reduction,
        stream: &SiteStream<'_>,
        arriving: &Arriving,
    ) -> Result<Self, EvaluationError> {
        let tokens = GpuTokens::new(stream.tokens, stream.hidden.device())?;
        let stream = stream.with_tokens(&tokens);
        let (site, _) = Site::plan(&reduction.rule, reduction.keep_ratio, &stream, true, arriving)?;
        Ok(Self { site, protected: tokens.protected })
    }

    /// Waits for the GPU. `table`: the tokens of the stream; `asking`: the segments of those who asked.
    pub(crate) fn read(self, table: &TokenTable, asking: &[Range<usize>]) -> Result<PlannedSite, EvaluationError> {
        let place = |segment: usize, row: usize| table.segments[segment].place(row);
        self.site.read(asking, place)?.planned(&self.protected)
    }
}

/// All layers, and what was decided as it was read: plans are made of it once somebody asks for them.
pub(super) fn pass(
    model: &LanguageModel,
    batch: &Batch,
    reduction: &Reduction,
) -> Result<(Activations, Passed), EvaluationError> {
    let Queued { activations, segments, protected, sites, token_layers, token_pairs, block_flops } =
        forward(model, batch, reduction, true, None)?;
    let mut positions: Vec<Vec<u32>> = batch.table.segments.iter().map(|segment| segment.positions.clone()).collect();
    let mut read_sites = Vec::with_capacity(sites.len());
    for site in sites {
        let place = |segment: usize, row: usize| (batch.table.segments[segment].item, positions[segment][row]);
        let all = 0..site.segments.len();
        let read = site.read(&[all], place)?;
        positions = read.after(positions);
        read_sites.push(read);
    }
    let read = ReadBatch { segments, positions, protected, sites: read_sites, token_layers, token_pairs, block_flops };
    Ok((activations, Passed::Read(Box::new(read))))
}

/// A batch after the last layer, with what was decided at its sites as it lay on the GPU.
pub(crate) struct ReadBatch {
    /// Segments after the last layer.
    pub(super) segments: Segments,
    /// Original positions of the kept tokens of each segment.
    pub(super) positions: Vec<Vec<u32>>,
    protected: Vec<gpu::Protected>,
    sites: Vec<ReadSite>,
    token_layers: u64,
    token_pairs: u64,
    block_flops: u64,
}

/// Everything queued on the GPU; nothing is read back.
pub(super) struct Queued {
    pub(super) activations: Activations,
    /// Segments after the last layer.
    pub(super) segments: Segments,
    protected: Vec<gpu::Protected>,
    sites: Vec<Site>,
    token_layers: u64,
    token_pairs: u64,
    block_flops: u64,
}

/// All layers. `traces`: whether similarities of merged pairs are computed for the record; `states`: takes the state after each
/// layer.
pub(super) fn forward(
    model: &LanguageModel,
    batch: &Batch,
    reduction: &Reduction,
    traces: bool,
    states: Option<&mut Vec<LayerState>>,
) -> Result<Queued, EvaluationError> {
    let tokens = GpuTokens::new(&batch.table, &model.placement().device)?;
    // The host does not know which rows are kept: a model that runs here reads no positions, and factors on step sizes go from plan to
    // layer on the GPU.
    let row_tokens = RowTokens::on_device(tokens.times.as_ref());
    let stream = PackedStream::new(model.embed(&batch.tokens)?, batch.segments.clone(), row_tokens);
    let mut driver = GpuDriver {
        model,
        reduction,
        traces,
        states,
        tokens,
        sites: Vec::new(),
        token_layers: 0,
        token_pairs: 0,
        block_flops: 0,
    };
    let PackedStream { mut activations, segments, gather, .. } =
        run_layers(model, stream, 0..model.config().n_layer(), &mut driver)?;
    if let Some(rows) = gather {
        // The last layer was a site: no later layer gathers its rows.
        activations = apply(&rows, &activations)?;
    }
    let GpuDriver { tokens, sites, token_layers, token_pairs, block_flops, .. } = driver;
    Ok(Queued { activations, segments, protected: tokens.protected, sites, token_layers, token_pairs, block_flops })
}

/// The rows of a plan, of both branches and the embeddings.
fn apply(rows: &RowPlan, activations: &Activations) -> Result<Activations, EvaluationError> {
    let Activations { hidden, residual, embeddings } = activations;
    let as_residual = |tensor: &Tensor| rows.apply(tensor, &rows.residual);
    Ok(Activations {
        hidden: rows.apply(hidden, &rows.hidden)?,
        residual: residual.as_ref().map(as_residual).transpose()?,
        embeddings: embeddings.as_ref().map(as_residual).transpose()?,
    })
}

/// Queues the decision of every site, and counts.
struct GpuDriver<'a> {
    model: &'a LanguageModel,
    reduction: &'a Reduction,
    traces: bool,
    states: Option<&'a mut Vec<LayerState>>,
    tokens: GpuTokens,
    sites: Vec<Site>,
    token_layers: u64,
    token_pairs: u64,
    block_flops: u64,
}

impl Observer for GpuDriver<'_> {
    fn wanted(&self, layer: usize) -> Wanted<'_> {
        let reduces = self.reduction.sites.contains(&layer);
        let signals = if reduces { self.reduction.rule.signals() } else { SignalSet::default() };
        Wanted { signals, states: self.states.is_some(), check: Check::Off }
    }

    fn after(&mut self, layer: usize, stream: &mut PackedStream, shown: Shown) -> Result<(), EvaluationError> {
        let (tokens, pairs) = (stream.segments.n_tokens() as u64, token_pairs_of(&stream.segments));
        self.token_layers += tokens;
        self.token_pairs += pairs;
        self.block_flops += self.model.config().block_flops(layer, tokens, pairs);
        if let Some(states) = &mut self.states {
            states.extend(shown.state);
        }
        let Reduction { rule, keep_ratio, sites, .. } = self.reduction;
        if !sites.contains(&layer) {
            return Ok(());
        }
        let PackedStream { activations, segments, .. } = &*stream;
        let at_site = SiteStream::new(layer, &self.tokens, segments, activations, &shown.signals)?;
        let (site, reduced) = Site::plan(rule, *keep_ratio, &at_site, self.traces, &Arriving::default())?;
        if let Some(reduced) = reduced {
            self.tokens = self.tokens.after(&reduced)?;
            stream.tokens = RowTokens::on_device(self.tokens.times.as_ref());
            let Reduced { rows, segments, .. } = reduced;
            if rows.is_gathered_by_layers() {
                stream.gather = Some(rows);
            } else {
                stream.activations = apply(&rows, &stream.activations)?;
            }
            stream.segments = segments;
        }
        self.sites.push(site);
        Ok(())
    }
}

impl ReadBatch {
    /// The sites as traces.
    pub(super) fn driven(
        self,
        model: &LanguageModel,
        batch: &Batch,
        reduction: &Reduction,
    ) -> Result<Driven, EvaluationError> {
        let Self { segments, protected, sites, token_layers, token_pairs, block_flops, .. } = self;
        let mut table = batch.table.clone();
        let mut traces = Vec::with_capacity(sites.len());
        let mut matching_flops = 0.0;
        for site in sites {
            let (plan, merged_similarity) = site.planned(&protected)?;
            let after = table.apply(&plan)?;
            let arriving = std::mem::replace(&mut table, after);
            matching_flops += matching(&reduction.rule, model.config(), site.layer, &arriving.segments, &plan.plans);
            traces.push(SiteTrace { site: site.layer, plan, arriving, merged_similarity });
        }
        Ok(Driven { segments, table, sites: traces, token_layers, token_pairs, block_flops, matching_flops })
    }
}

fn identity(segments: &Segments, protected: &[gpu::Protected]) -> SitePlan {
    let plan = |(index, protected): (usize, &gpu::Protected)| {
        protected.map(|_| reduction_strategies::Plan::identity(segments.length(index)))
    };
    SitePlan { plans: protected.iter().enumerate().map(plan).collect() }
}
