//! The interpreter of rules on the GPU: all sequences of a stream at once, nothing returns to the host.
//!
//! Counts follow from lengths and protection alone, so the host knows every shape before anything runs. What a rule means is
//! defined by the host's interpreter ([`crate::plan_sequence`]); where scores are apart both make the same plan.

use candle_core::{Device, Tensor};
use ssm_kernels::ops::reduction::{
    self, Carry, NO_FAULT, Pairing, PruneOrder, Reduced, RowNorm, ScoreMetric, Similarity, TokenState,
};
use ssm_kernels::ops::{MergeGroup, MergeRule, RowPlan};
use ssm_kernels::{KernelError, Segments, host};

use crate::blocks::importance::{Importance, Kernel, Source};
use crate::error::PlanError;
use crate::plan::SitePlan;
use crate::plan::{BranchMerges, Plan};
use crate::rule::{Combine, Extreme, PairRule, Partition, Pruned, Rule, Score};
use crate::schedule;
use crate::view::SiteStream;
use crate::view::TokenTable;

/// How many tokens of a segment are protected; `None` for one that no rule touches.
pub type Protected = Option<usize>;

/// The tokens of a stream on a GPU: the counterpart of a [`TokenTable`] that plans made there need.
#[derive(Clone, Debug)]
pub struct GpuTokens {
    /// State of the rows.
    pub rows: TokenState,
    /// Protected tokens per segment.
    pub protected: Vec<Protected>,
}

impl GpuTokens {
    /// The tokens of a table, copied to a GPU.
    ///
    /// # Errors
    /// Of the device.
    pub fn new(table: &TokenTable, device: &Device) -> Result<Self, PlanError> {
        let sizes: Vec<f32> = table.segments.iter().flat_map(|segment| segment.sizes.iter().copied()).collect();
        let protected: Vec<u8> = table
            .segments
            .iter()
            .flat_map(|segment| segment.protected.iter().map(|protected| u8::from(*protected)))
            .collect();
        let n = sizes.len();
        let upload = || {
            Ok::<_, candle_core::Error>(TokenState {
                sizes: Tensor::from_vec(sizes, n, device)?,
                protected: Tensor::from_vec(protected, n, device)?,
            })
        };
        let rows = upload().map_err(KernelError::from)?;
        let count = |protected: &[bool]| protected.iter().filter(|protected| **protected).count();
        let protected = table.segments.iter().map(|segment| segment.reducible.then(|| count(&segment.protected)));
        Ok(Self { rows, protected: protected.collect() })
    }

    /// The tokens after a site. How many are protected stays the same from site to site.
    #[must_use]
    pub fn after(self, reduced: TokenState) -> Self {
        Self { rows: reduced, ..self }
    }
}

/// Whether the GPU can plan this rule at this ratio: rules of the blocks whose plan depends on activations, in one round of
/// pairing without a window. Places and chance need no activations, metrics of the scan read several tensors, tokens decided in
/// order are a loop, and host rules run where they say.
#[must_use]
pub fn plans_on_gpu(rule: &Rule, keep_ratio: f64) -> bool {
    match rule {
        Rule::Prune(Score::Importance { importance, .. }) => importance.metric().kernel().is_some(),
        // At least half of the tokens stay, so one round has enough sources whatever the length.
        Rule::Pair(rule) => {
            let known = |importance: Importance| importance.metric().kernel().is_some();
            keep_ratio >= 0.5 && rule.features.window.is_none() && rule.importances().all(known)
        }
        _ => false,
    }
}

type GpuStream<'a> = SiteStream<'a, GpuTokens>;

/// Decides which rows stay; `None` where all do. Nothing is read back.
///
/// # Errors
/// A ratio outside (0, 1], a missing signal, a rule that [`plans_on_gpu`] denies, or an error of the device.
pub fn reduce(rule: &Rule, keep_ratio: f64, stream: &GpuStream<'_>) -> Result<Option<Reduced>, PlanError> {
    if !(keep_ratio > 0.0 && keep_ratio <= 1.0) {
        return Err(PlanError::KeepRatio(keep_ratio));
    }
    let (lengths, candidates) = counts(rule, keep_ratio, stream);
    if lengths.iter().sum::<usize>() == stream.segments.n_tokens() {
        return Ok(None);
    }
    let reduced = match rule {
        Rule::Prune(Score::Importance { importance, keep }) => {
            let scores = scores(stream, *importance)?;
            let highest = *keep == Extreme::Highest;
            reduction::select_tokens(&scores, &stream.tokens.rows, stream.segments, &lengths, highest)?
        }
        Rule::Pair(rule) => pair(rule, stream, &lengths, &candidates)?,
        Rule::Identity | Rule::Prune(_) | Rule::Online(_) | Rule::Host(_) => return Err(PlanError::NotOnGpu),
    };
    Ok(Some(reduced))
}

/// Rows that each segment keeps, and how many take part.
fn counts(rule: &Rule, keep_ratio: f64, stream: &GpuStream<'_>) -> (Vec<usize>, Vec<usize>) {
    let count = |(index, protected): (usize, &Protected)| {
        let n = stream.segments.length(index);
        match protected {
            None => (n, 0),
            Some(_) if keep_ratio >= 1.0 => (n, 0),
            Some(protected) => {
                let reducible = n - protected;
                // A free count is a host rule's, which `reduce` denies.
                let kept = rule.kept(schedule::n_keep(keep_ratio, reducible), reducible).unwrap_or(reducible);
                (protected + kept, reducible)
            }
        }
    };
    stream.tokens.protected.iter().enumerate().map(count).unzip()
}

fn pair(
    rule: &PairRule,
    stream: &GpuStream<'_>,
    lengths: &[usize],
    candidates: &[usize],
) -> Result<Reduced, PlanError> {
    let features = tensor(stream, rule.features.source)?;
    let norm = if rule.features.clip { RowNorm::Clipped } else { RowNorm::Plain };
    let partition = match rule.partition {
        Partition::EvenOdd => None,
        Partition::ByImportance(importance) => Some(importance),
    };
    // Importance of the very tensor that is compared comes with its norms in one read.
    let together = partition.filter(|importance| importance.source() == Some(rule.features.source));
    let (shared, inverse_norms) = reduction::token_scores(features, together.map(kernel).transpose()?, Some(norm))?;
    let inverse_norms = inverse_norms.ok_or(PlanError::NotOnGpu)?;
    let partition_scores = match (partition, shared) {
        (Some(importance), None) => Some(scores(stream, importance)?),
        (_, shared) => shared,
    };
    let prune_scores = [rule.hidden, rule.residual]
        .into_iter()
        .find_map(|combine| match combine {
            Combine::Hybrid { pruned: Pruned::LeastImportant(importance), .. } => Some(importance),
            _ => None,
        })
        .map(|importance| scores(stream, importance))
        .transpose()?;
    Ok(reduction::pair_tokens(&Pairing {
        similarity: Similarity { x: features, inverse_norms: &inverse_norms, clip: rule.features.clip },
        partition_scores: partition_scores.as_ref(),
        prune_scores: prune_scores.as_ref(),
        hidden: carry(rule.hidden),
        residual: carry(rule.residual),
        tokens: &stream.tokens.rows,
        segments: stream.segments,
        candidates,
        lengths,
    })?)
}

fn carry(combine: Combine) -> Carry {
    match combine {
        Combine::Drop => Carry::Drop,
        Combine::Mean => Carry::Mean,
        Combine::SizeWeightedMean => Carry::SizeWeightedMean,
        Combine::Hybrid { q, pruned } => Carry::Hybrid {
            q,
            order: match pruned {
                Pruned::MostSimilar => PruneOrder::MostSimilar,
                Pruned::LeastSimilar => PruneOrder::LeastSimilar,
                Pruned::LeastImportant(_) => PruneOrder::LeastImportant,
            },
        },
    }
}

/// The kernel that computes an importance.
fn kernel(importance: Importance) -> Result<ScoreMetric, PlanError> {
    match importance.metric().kernel() {
        Some(Kernel::Clip) => Ok(ScoreMetric::Clip),
        Some(Kernel::L1) => Ok(ScoreMetric::L1),
        Some(Kernel::L2) => Ok(ScoreMetric::L2),
        Some(Kernel::Mean) => Ok(ScoreMetric::Mean),
        None => Err(PlanError::NotOnGpu),
    }
}

fn tensor<'a>(stream: &GpuStream<'a>, source: Source) -> Result<&'a Tensor, PlanError> {
    match source.signal() {
        Some(signal) => stream.signals.get(signal).ok_or(PlanError::MissingSignal(signal)),
        None if source == Source::Residual => Ok(stream.residual),
        None => Ok(stream.hidden),
    }
}

fn scores(stream: &GpuStream<'_>, importance: Importance) -> Result<Tensor, PlanError> {
    let source = importance.source().ok_or(PlanError::NotOnGpu)?;
    let (scores, _) = reduction::token_scores(tensor(stream, source)?, Some(kernel(importance)?), None)?;
    scores.ok_or(PlanError::NotOnGpu)
}

/// Refuses a reduction ([`Reduced::faults`]) that ranked values which are no finite numbers: its plan means nothing. `position` of a
/// segment and a row in it. Waits for the GPU.
///
/// # Errors
/// [`PlanError::NotFinite`] names the first token; errors of the device.
pub fn check_faults(faults: &Tensor, position: impl Fn(usize, usize) -> u32) -> Result<(), PlanError> {
    let rows = faults.to_vec1::<u32>().map_err(KernelError::from)?;
    match rows.iter().enumerate().find(|(_, row)| **row != NO_FAULT) {
        Some((segment, row)) => Err(PlanError::NotFinite {
            what: "the importance or similarity".into(),
            token: position(segment, *row as usize),
            value: f32::NAN,
        }),
        None => Ok(()),
    }
}

/// Reads a reduction back as plans, one per segment that a rule may touch; [`check_faults`] says whether they mean anything. Waits for the
/// GPU.
///
/// # Errors
/// Of the device; a plan that breaks the rules of [`Plan::new`] is an error in a kernel.
pub fn site_plan(
    rows: &RowPlan,
    lengths: &[usize],
    segments: &Segments,
    protected: &[Protected],
) -> Result<SitePlan, PlanError> {
    let ids = |tensor: &Tensor| tensor.to_vec1::<u32>();
    let weights = |tensor: &Tensor| tensor.to_vec1::<f32>();
    let read = || {
        let branch = |weights_of: &ssm_kernels::ops::BranchWeights| {
            Ok::<_, candle_core::Error>((weights(&weights_of.edge)?, weights(&weights_of.own)?))
        };
        Ok::<_, candle_core::Error>((
            ids(&rows.keep)?,
            ids(&rows.edge_off)?,
            ids(&rows.edge_src)?,
            branch(&rows.hidden)?,
            branch(&rows.residual)?,
        ))
    };
    let (keep, edge_off, edge_src, hidden, residual) = read().map_err(KernelError::from)?;
    let mut first_kept = 0;
    let mut plans = Vec::with_capacity(segments.len());
    for (index, length) in lengths.iter().enumerate() {
        let (kept, start) = (first_kept..first_kept + length, segments.rows(index).start as u32);
        first_kept += length;
        if protected[index].is_none() {
            plans.push(None);
            continue;
        }
        let groups = |(edge, own): &(Vec<f32>, Vec<f32>)| {
            let group = |row: usize| {
                let edges = edge_off[row] as usize..edge_off[row + 1] as usize;
                let sources: Vec<(u32, f32)> =
                    edges.filter(|e| edge[*e] != 0.0).map(|e| (edge_src[e] - start, edge[e])).collect();
                (!sources.is_empty()).then(|| MergeGroup { into: keep[row] - start, own_weight: own[row], sources })
            };
            BranchMerges { groups: kept.clone().filter_map(group).collect(), rule: MergeRule::WeightedMean }
        };
        let (hidden, residual) = (groups(&hidden), groups(&residual));
        let rows = keep[kept].iter().map(|row| row - start).collect();
        plans.push(Some(Plan::new(segments.length(index), rows, hidden, residual)?));
    }
    Ok(SitePlan { plans })
}

/// Mean cosine similarity of the merged pairs of each segment on the hidden branch; see
/// [`SitePlan::merged_similarity`]. Waits for the GPU.
///
/// # Errors
/// Of the device.
pub fn merged_similarity(
    similarity: &Tensor,
    rows: &RowPlan,
    lengths: &[usize],
) -> Result<Vec<Option<f64>>, PlanError> {
    let values = host::copy(similarity)?;
    let read = || {
        Ok::<_, candle_core::Error>((
            values.to_vec1::<f32>()?,
            rows.edge_off.to_vec1::<u32>()?,
            rows.hidden.edge.to_vec1::<f32>()?,
        ))
    };
    let (similarity, edge_off, weights) = read().map_err(KernelError::from)?;
    let mut first_kept = 0;
    let mut means = Vec::with_capacity(lengths.len());
    for length in lengths {
        let edges = edge_off[first_kept] as usize..edge_off[first_kept + length] as usize;
        first_kept += length;
        let merged: Vec<f64> = edges.filter(|e| weights[*e] != 0.0).map(|e| f64::from(similarity[e])).collect();
        means.push((!merged.is_empty()).then(|| merged.iter().sum::<f64>() / merged.len() as f64));
    }
    Ok(means)
}
