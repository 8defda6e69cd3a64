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
use ssm_model::{Signal, Signals};

use crate::error::PlanError;
use crate::importance::{Importance, Metric, Source};
use crate::plan::{BranchMerges, Plan};
use crate::rule::{Combine, Extreme, PairRule, Partition, Pruned, Rule, Score};
use crate::schedule;
use crate::site::SitePlan;
use crate::tokens::TokenTable;

/// How many tokens of a segment are protected; `None` for one that no rule touches.
pub type Protected = Option<usize>;

/// Number of protected tokens of every segment of a table. It stays the same from site to site.
#[must_use]
pub fn protected(table: &TokenTable) -> Vec<Protected> {
    let count = |protected: &[bool]| protected.iter().filter(|protected| **protected).count();
    table.segments.iter().map(|segment| segment.reducible.then(|| count(&segment.protected))).collect()
}

/// The state of a table's rows on a GPU.
///
/// # Errors
/// Of the device.
pub fn token_state(table: &TokenTable, device: &Device) -> Result<TokenState, PlanError> {
    let sizes: Vec<f32> = table.segments.iter().flat_map(|segment| segment.sizes.iter().copied()).collect();
    let protected: Vec<u8> = table
        .segments
        .iter()
        .flat_map(|segment| segment.protected.iter().map(|protected| u8::from(*protected)))
        .collect();
    let rows = sizes.len();
    let upload = || {
        Ok::<_, candle_core::Error>(TokenState {
            sizes: Tensor::from_vec(sizes, rows, device)?,
            protected: Tensor::from_vec(protected, rows, device)?,
        })
    };
    Ok(upload().map_err(KernelError::from)?)
}

/// Whether the GPU can plan this rule at this ratio: rules of the blocks whose plan depends on activations, in one round of
/// pairing without a window. Places and chance need no activations, metrics of the scan read several tensors, tokens decided in
/// order are a loop, and host rules run where they say.
#[must_use]
pub fn plans_on_gpu(rule: &Rule, keep_ratio: f64) -> bool {
    match rule {
        Rule::Prune(Score::Importance { importance, .. }) => importance.metric().reads_one_row(),
        // At least half of the tokens stay, so one round has enough sources whatever the length.
        Rule::Pair(rule) => {
            let one_row = |importance: Importance| importance.metric().reads_one_row();
            keep_ratio >= 0.5 && rule.features.window.is_none() && rule.importances().all(one_row)
        }
        _ => false,
    }
}

/// Arguments of [`reduce`].
#[derive(Clone, Copy, Debug)]
pub struct Stream<'a> {
    /// State of the rows.
    pub tokens: &'a TokenState,
    /// Protected tokens per segment.
    pub protected: &'a [Protected],
    /// The segments.
    pub segments: &'a Segments,
    /// `[tokens, d_model]`: output of the block.
    pub hidden: &'a Tensor,
    /// `[tokens, d_model]`, float32.
    pub residual: &'a Tensor,
    /// What [`Rule::signals`] asked for.
    pub signals: &'a Signals,
}

/// Decides which rows stay; `None` where all do. Nothing is read back.
///
/// # Errors
/// A ratio outside (0, 1], a missing signal, a rule that [`plans_on_gpu`] denies, or an error of the device.
pub fn reduce(rule: &Rule, keep_ratio: f64, stream: &Stream<'_>) -> Result<Option<Reduced>, PlanError> {
    if !(keep_ratio > 0.0 && keep_ratio <= 1.0) {
        return Err(PlanError::KeepRatio(keep_ratio));
    }
    let (lengths, candidates) = counts(rule, keep_ratio, stream);
    if lengths.iter().sum::<usize>() == stream.segments.n_tokens() {
        return Ok(None);
    }
    let reduced = match rule {
        Rule::Prune(Score::Importance { importance, keep }) => {
            let scores = stream.scores(*importance)?;
            let highest = *keep == Extreme::Highest;
            reduction::select_tokens(&scores, stream.tokens, stream.segments, &lengths, highest)?
        }
        Rule::Pair(rule) => pair(rule, stream, &lengths, &candidates)?,
        Rule::Identity | Rule::Prune(_) | Rule::Online(_) | Rule::Host(_) => return Err(PlanError::NotOnGpu),
    };
    Ok(Some(reduced))
}

/// Rows that each segment keeps, and how many take part.
fn counts(rule: &Rule, keep_ratio: f64, stream: &Stream<'_>) -> (Vec<usize>, Vec<usize>) {
    let count = |(index, protected): (usize, &Protected)| {
        let n = stream.segments.length(index);
        match protected {
            None => (n, 0),
            Some(_) if keep_ratio >= 1.0 => (n, 0),
            Some(protected) => {
                let reducible = n - protected;
                (protected + rule.kept(schedule::n_keep(keep_ratio, reducible), reducible), reducible)
            }
        }
    };
    stream.protected.iter().enumerate().map(count).unzip()
}

fn pair(rule: &PairRule, stream: &Stream<'_>, lengths: &[usize], candidates: &[usize]) -> Result<Reduced, PlanError> {
    let features = stream.source(rule.features.source)?;
    let norm = if rule.features.clip { RowNorm::Clipped } else { RowNorm::Plain };
    let partition = match rule.partition {
        Partition::EvenOdd => None,
        Partition::ByImportance(importance) => Some(importance),
    };
    // Importance of the very tensor that is compared comes with its norms in one read.
    let together = partition.filter(|importance| importance.source() == rule.features.source);
    let (shared, inverse_norms) = reduction::token_scores(
        features,
        together.map(|importance| metric(importance.metric())).transpose()?,
        Some(norm),
    )?;
    let inverse_norms = inverse_norms.ok_or(PlanError::NotOnGpu)?;
    let partition_scores = match (partition, shared) {
        (Some(importance), None) => Some(stream.scores(importance)?),
        (_, shared) => shared,
    };
    let prune_scores = [rule.hidden, rule.residual]
        .into_iter()
        .find_map(|combine| match combine {
            Combine::Hybrid { pruned: Pruned::LeastImportant(importance), .. } => Some(importance),
            _ => None,
        })
        .map(|importance| stream.scores(importance))
        .transpose()?;
    Ok(reduction::pair_tokens(&Pairing {
        similarity: Similarity { x: features, inverse_norms: &inverse_norms, clip: rule.features.clip },
        partition_scores: partition_scores.as_ref(),
        prune_scores: prune_scores.as_ref(),
        hidden: carry(rule.hidden),
        residual: carry(rule.residual),
        tokens: stream.tokens,
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

fn metric(metric: Metric) -> Result<ScoreMetric, PlanError> {
    Ok(match metric {
        Metric::Clip => ScoreMetric::Clip,
        Metric::L1 => ScoreMetric::L1,
        Metric::L2 | Metric::DtL2 => ScoreMetric::L2,
        Metric::Sum | Metric::DtMean => ScoreMetric::Mean,
        Metric::WriteNorm | Metric::HiddenAttention { .. } | Metric::Oracle => return Err(PlanError::NotOnGpu),
    })
}

impl Stream<'_> {
    fn source(&self, source: Source) -> Result<&Tensor, PlanError> {
        match source {
            Source::BlockOutput => Ok(self.hidden),
            Source::Residual => Ok(self.residual),
            Source::SsmOutput => self.signal(Signal::SsmOutput),
            Source::GatedOutput => self.signal(Signal::GatedOutput),
            Source::Dt => self.signal(Signal::Dt),
        }
    }

    fn signal(&self, signal: Signal) -> Result<&Tensor, PlanError> {
        self.signals.get(signal).ok_or(PlanError::MissingSignal(signal))
    }

    fn scores(&self, importance: Importance) -> Result<Tensor, PlanError> {
        let (scores, _) =
            reduction::token_scores(self.source(importance.source())?, Some(metric(importance.metric())?), None)?;
        scores.ok_or(PlanError::NotOnGpu)
    }
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
            what: "the importance or similarity",
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
