//! The interpreter of rules on the GPU: all sequences of a stream at once, nothing returns to the host.
//!
//! Counts follow from lengths and protection alone, so the host knows every shape before anything runs. What a rule means is
//! defined by the host's interpreter ([`crate::plan_sequence`]); where scores are apart both make the same plan.

mod decided;

use candle_core::{Device, Tensor};
pub use decided::Decided;
use ssm_kernels::KernelError;
use ssm_kernels::ops::reduction::{
    self, Carry, Merging, Pairing, PruneOrder, RankTerm, Reduced, RowNorm, RunMerge, RunScan, ScanTensors, ScoreMetric,
    Sides, Similarity, TokenState,
};
use ssm_model::{RowTime, Signal};

use crate::blocks::importance::{Importance, Kernel, Source};
use crate::error::PlanError;
use crate::rule::{
    Combine, DeviceRule, Extreme, Features, Older, OnlineRule, OnlineScore, PairRule, Partition, Pruned, Removed, Rule,
    Score,
};
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
    /// `[tokens, 2]`, float32: factors on the step sizes of the rows, in the decay and in the write; none where all are 1.
    pub times: Option<Tensor>,
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
        let times = TokenTable::times(&table.segments.iter().map(|segment| (segment, segment.times.len())));
        let upload = || {
            let rows = TokenState {
                sizes: Tensor::from_vec(sizes, n, device)?,
                protected: Tensor::from_vec(protected, n, device)?,
            };
            let pairs = |times: Vec<RowTime>| times.into_iter().flat_map(|time| [time.decay, time.write]).collect();
            let times = times.map(|times| Tensor::from_vec::<_, f32>(pairs(times), (n, 2), device)).transpose()?;
            Ok::<_, candle_core::Error>((rows, times))
        };
        let (rows, times) = upload().map_err(KernelError::from)?;
        let count = |protected: &[bool]| protected.iter().filter(|protected| **protected).count();
        let protected = table.segments.iter().map(|segment| segment.reducible.then(|| count(&segment.protected)));
        Ok(Self { rows, times, protected: protected.collect() })
    }

    /// The tokens after a site. How many are protected is the same at every site.
    ///
    /// # Errors
    /// Of the device.
    pub fn after(&self, reduced: &Reduced) -> Result<Self, PlanError> {
        let kept = |times: &Tensor| times.index_select(&reduced.rows.keep, 0).map_err(KernelError::from);
        let times = match (&reduced.times, &self.times) {
            (Some(times), _) => Some(times.clone()),
            (None, times) => times.as_ref().map(kept).transpose()?,
        };
        Ok(Self { rows: reduced.tokens.clone(), times, protected: self.protected.clone() })
    }
}

/// Whether the GPU can plan this rule: rules of the blocks whose plan depends on activations, and host rules that kernels know
/// ([`crate::HostRule::on_device`]). Places and chance need no activations; free counts run on the host. A rule around another one plans
/// where that one does.
#[must_use]
pub fn plans_on_gpu(rule: &Rule) -> bool {
    let known = |importance: Importance| importance.metric().kernel().is_some();
    match rule {
        Rule::Prune(Score::Importance { importance, .. }) => known(*importance),
        Rule::Pair(rule) => rule.importances().all(known),
        Rule::Online(rule) => match rule.score {
            OnlineScore::Importance(importance) => known(importance),
            OnlineScore::Novelty(_) => true,
            OnlineScore::Random => false,
        },
        Rule::Host(rule) => rule.on_device().is_some_and(|rule| match &rule {
            DeviceRule::KeepLast { older: Older::Rule(older), .. } => {
                !matches!(**older, Rule::Online(_)) && plans_on_gpu(older)
            }
            rule => rule.importances().all(known),
        }),
        _ => false,
    }
}

type GpuStream<'a> = SiteStream<'a, GpuTokens>;

/// Decides which rows are kept; `None` where all are. Nothing is read back.
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
    let lengths = Lengths { kept: &lengths, candidates: &candidates };
    Ok(Some(match rule {
        Rule::Online(rule) => online(rule, keep_ratio, stream, lengths.kept)?,
        rule => shortened(rule, stream, &lengths)?,
    }))
}

/// The reduction of a rule that is told how many tokens are kept, whatever ratio that is.
fn shortened(rule: &Rule, stream: &GpuStream<'_>, lengths: &Lengths<'_>) -> Result<Reduced, PlanError> {
    match rule {
        Rule::Prune(Score::Importance { importance, keep }) => {
            let scores = scores(stream, *importance)?;
            let highest = *keep == Extreme::Highest;
            Ok(reduction::select_tokens(&scores, &stream.tokens.rows, stream.segments, lengths.kept, highest)?)
        }
        Rule::Pair(rule) => pair(rule, stream, lengths.kept, lengths.candidates),
        Rule::Host(rule) => on_device(&rule.on_device().ok_or(PlanError::NotOnGpu)?, stream, lengths),
        Rule::Identity | Rule::Prune(_) | Rule::Online(_) => Err(PlanError::NotOnGpu),
    }
}

/// Rows that each segment keeps, and how many take part.
struct Lengths<'a> {
    kept: &'a [usize],
    candidates: &'a [usize],
}

/// Keeps the unprotected rows that are flagged.
fn flagged(flags: &Tensor, stream: &GpuStream<'_>, lengths: &[usize]) -> Result<Reduced, PlanError> {
    Ok(reduction::select_tokens(flags, &stream.tokens.rows, stream.segments, lengths, true)?)
}

/// What becomes of the rows that `reduced` drops: they are lost, or go into the next.
fn removing(removed: Removed, reduced: Reduced, stream: &GpuStream<'_>) -> Result<Reduced, PlanError> {
    let tokens = &stream.tokens.rows;
    match removed {
        Removed::Dropped => Ok(reduced),
        Removed::IntoNext => {
            let merging = Merging { hidden: Some(&tokens.sizes), residual: Some(&tokens.sizes), ..Merging::default() };
            Ok(reduction::merge_removed(reduced, merging, tokens, stream.segments)?)
        }
    }
}

fn online(rule: &OnlineRule, keep_ratio: f64, stream: &GpuStream<'_>, lengths: &[usize]) -> Result<Reduced, PlanError> {
    let scores = match rule.score {
        OnlineScore::Importance(importance) => scores(stream, importance)?,
        OnlineScore::Novelty(features) => {
            let (x, norms) = features_of(stream, features)?;
            reduction::novelty(similarity(x, &norms, features), stream.segments)?
        }
        OnlineScore::Random => return Err(PlanError::NotOnGpu),
    };
    let tokens = &stream.tokens.rows;
    let flags = reduction::decide_in_order(&scores, tokens, stream.segments, lengths, keep_ratio, rule.block)?;
    removing(rule.removed, flagged(&flags, stream, lengths)?, stream)
}

fn on_device(rule: &DeviceRule, stream: &GpuStream<'_>, lengths: &Lengths<'_>) -> Result<Reduced, PlanError> {
    let tokens = &stream.tokens.rows;
    let edges = |similarity| reduction::Edges {
        similarity,
        tokens,
        segments: stream.segments,
        candidates: lengths.candidates,
        lengths: lengths.kept,
    };
    match rule {
        DeviceRule::RankSum { terms, removed } => {
            let all: Vec<Tensor> =
                terms.iter().map(|term| scores(stream, term.importance)).collect::<Result<_, _>>()?;
            let ranked: Vec<RankTerm<'_>> = terms
                .iter()
                .zip(&all)
                .map(|(term, scores)| RankTerm { scores, highest: term.keep == Extreme::Highest, weight: term.weight })
                .collect();
            let sums = reduction::rank_sum(&ranked, tokens, stream.segments)?;
            removing(*removed, flagged(&sums, stream, lengths.kept)?, stream)
        }
        DeviceRule::Chunks(importance) => {
            let scores = scores(stream, *importance)?;
            let flags = reduction::chunk_ends(&scores, tokens, stream.segments, lengths.kept)?;
            removing(Removed::IntoNext, flagged(&flags, stream, lengths.kept)?, stream)
        }
        DeviceRule::LowestIntoNext { importance, features } => {
            let scores = scores(stream, *importance)?;
            let (x, norms) = features_of(stream, *features)?;
            Ok(reduction::pair_tokens(&Pairing {
                similarity: similarity(x, &norms, *features),
                sides: Sides::Lowest(&scores),
                prune_scores: None,
                hidden: Carry::Mean,
                residual: Carry::Mean,
                tokens,
                segments: stream.segments,
                candidates: lengths.candidates,
                lengths: lengths.kept,
            })?)
        }
        DeviceRule::MergeThenDrop { importance, features, merged } => {
            let scores = scores(stream, *importance)?;
            let (x, norms) = features_of(stream, *features)?;
            let merges = |(index, candidates): (usize, &usize)| {
                features.n_merge(*merged, *candidates, stream.segments.length(index) - lengths.kept[index])
            };
            let merges: Vec<usize> = lengths.candidates.iter().enumerate().map(merges).collect();
            let fates = reduction::merge_then_drop(&edges(similarity(x, &norms, *features)), &scores, &merges)?;
            let weights = Some(&tokens.sizes);
            let merging =
                Merging { targets: Some(&fates.targets), hidden: weights, residual: weights, ..Merging::default() };
            let dropped = flagged(&fates.flags, stream, lengths.kept)?;
            Ok(reduction::merge_removed(dropped, merging, tokens, stream.segments)?)
        }
        DeviceRule::ReleasedPairs { clip, by_rank, hidden_tops } => {
            let features = Features { source: Source::BlockOutput, clip: *clip, window: None };
            let (x, norms) = features_of(stream, features)?;
            let edges = edges(similarity(x, &norms, features));
            let (fates, weights) = reduction::released_pairs(&edges, *by_rank, *hidden_tops)?;
            let merging = Merging {
                targets: Some(&fates.targets),
                hidden: hidden_tops.then_some(&weights),
                residual: None,
                hidden_tops: *hidden_tops,
            };
            let dropped = flagged(&fates.flags, stream, lengths.kept)?;
            Ok(reduction::merge_removed(dropped, merging, tokens, stream.segments)?)
        }
        DeviceRule::ReleasedLowest { clip } => {
            let metric = if *clip { ScoreMetric::Clip } else { ScoreMetric::ReleasedMean };
            let (scores, _) = reduction::token_scores(stream.hidden, Some(metric), None)?;
            let scores = scores.ok_or(PlanError::NotOnGpu)?;
            Ok(reduction::select_tokens(&scores, tokens, stream.segments, lengths.kept, false)?)
        }
        DeviceRule::SplitBranches { hidden, residual } => {
            let kept =
                reduction::select_tokens(&scores(stream, *hidden)?, tokens, stream.segments, lengths.kept, true)?;
            Ok(reduction::split_branches(kept, &scores(stream, *residual)?, tokens, stream.segments)?)
        }
        DeviceRule::MergeRuns { features, decay, write, merge } => {
            let merge = RunMerge { decay: *decay, write: *write, merge: *merge };
            merge_runs(*features, merge, stream, lengths)
        }
        DeviceRule::KeepLast { share, older } => keep_last(*share, older, stream, lengths),
    }
}

/// Neighbours are paired; a row that takes some in replaces them in the scans of later layers.
fn merge_runs(
    features: Features,
    merge: RunMerge,
    stream: &GpuStream<'_>,
    lengths: &Lengths<'_>,
) -> Result<Reduced, PlanError> {
    let (x, norms) = features_of(stream, features)?;
    let carry = if merge.merge { Carry::Mean } else { Carry::Drop };
    let paired = reduction::pair_tokens(&Pairing {
        similarity: similarity(x, &norms, features),
        sides: Sides::EvenOdd,
        prune_scores: None,
        hidden: carry,
        residual: carry,
        tokens: &stream.tokens.rows,
        segments: stream.segments,
        candidates: lengths.candidates,
        lengths: lengths.kept,
    })?;
    let constants = stream.signals.scan().ok_or(PlanError::MissingSignal(Signal::Scan))?;
    let (dt, times) = (signal(stream, Signal::Dt)?, stream.tokens.times.as_ref());
    Ok(reduction::merge_runs(paired, &RunScan { dt, a: &constants.a, times }, merge, stream.segments)?)
}

/// The last candidates are protected, and `older` chooses among the others.
fn keep_last(share: f64, older: &Older, stream: &GpuStream<'_>, lengths: &Lengths<'_>) -> Result<Reduced, PlanError> {
    let arriving = stream.tokens;
    let last = |(index, protected): (usize, &Protected)| {
        protected.map_or(0, |protected| schedule::n_last(share, lengths.kept[index] - protected))
    };
    let last: Vec<usize> = arriving.protected.iter().enumerate().map(last).collect();
    let tokens = GpuTokens {
        rows: reduction::protect_last(&arriving.rows, stream.segments, &last)?,
        times: arriving.times.clone(),
        protected: arriving.protected.iter().zip(&last).map(|(protected, last)| Some((*protected)? + last)).collect(),
    };
    let candidates: Vec<usize> = lengths.candidates.iter().zip(&last).map(|(all, last)| all - last).collect();
    let reduced = match older {
        Older::Repeats(source) => {
            let features = Features { source: *source, clip: false, window: None };
            let (x, norms) = features_of(stream, features)?;
            // No candidate is among as many rows at the end as candidates are kept there.
            let scored = |(index, last): (usize, &usize)| {
                let n = stream.segments.length(index);
                if lengths.kept[index] == n { 0 } else { n - last }
            };
            let scored: Vec<usize> = last.iter().enumerate().map(scored).collect();
            let scores = reduction::newness(x, &norms, stream.segments, &scored)?;
            reduction::select_tokens(&scores, &tokens.rows, stream.segments, lengths.kept, true)?
        }
        Older::Rule(rule) => {
            let lengths = Lengths { kept: lengths.kept, candidates: &candidates };
            shortened(rule, &stream.with_tokens(&tokens), &lengths)?
        }
    };
    Ok(reduction::protect_as(reduced, &arriving.rows)?)
}

/// The tensor that tokens are compared by, and the inverse norms of its rows.
fn features_of<'a>(stream: &GpuStream<'a>, features: Features) -> Result<(&'a Tensor, Tensor), PlanError> {
    let x = tensor(stream, features.source)?;
    let (_, norms) = reduction::token_scores(x, None, Some(row_norm(features)))?;
    Ok((x, norms.ok_or(PlanError::NotOnGpu)?))
}

fn row_norm(features: Features) -> RowNorm {
    if features.clip { RowNorm::Clipped } else { RowNorm::Plain }
}

fn similarity<'a>(x: &'a Tensor, inverse_norms: &'a Tensor, features: Features) -> Similarity<'a> {
    Similarity { x, inverse_norms, clip: features.clip, window: features.window }
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
    let partition = match rule.partition {
        Partition::EvenOdd => None,
        Partition::ByImportance(importance) => Some(importance),
    };
    // Importance of the very tensor that is compared comes with its norms in one read.
    let together = partition.filter(|importance| importance.source() == Some(rule.features.source));
    let metric = together.and_then(|importance| of_row(importance.metric().kernel()?));
    let (shared, inverse_norms) = reduction::token_scores(features, metric, Some(row_norm(rule.features)))?;
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
        similarity: similarity(features, &inverse_norms, rule.features),
        sides: partition_scores.as_ref().map_or(Sides::EvenOdd, Sides::Halves),
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

fn tensor<'a>(stream: &GpuStream<'a>, source: Source) -> Result<&'a Tensor, PlanError> {
    match source.signal() {
        Some(known) => signal(stream, known),
        None if source == Source::Residual => Ok(stream.residual),
        None => Ok(stream.hidden),
    }
}

fn signal<'a>(stream: &GpuStream<'a>, signal: Signal) -> Result<&'a Tensor, PlanError> {
    stream.signals.get(signal).ok_or(PlanError::MissingSignal(signal))
}

/// The importance as a kernel over rows computes it; `None` where it needs the scan.
fn of_row(kernel: Kernel) -> Option<ScoreMetric> {
    match kernel {
        Kernel::Clip => Some(ScoreMetric::Clip),
        Kernel::L1 => Some(ScoreMetric::L1),
        Kernel::L2 => Some(ScoreMetric::L2),
        Kernel::Mean => Some(ScoreMetric::Mean),
        Kernel::LInf => Some(ScoreMetric::LInf),
        Kernel::WriteNorm | Kernel::HiddenAttention { .. } => None,
    }
}

fn scores(stream: &GpuStream<'_>, importance: Importance) -> Result<Tensor, PlanError> {
    let scan = || {
        let constants = stream.signals.scan().ok_or(PlanError::MissingSignal(Signal::Scan))?;
        let (dt, b) = (signal(stream, Signal::Dt)?, signal(stream, Signal::B)?);
        Ok::<_, PlanError>((ScanTensors { dt, b, groups: constants.ngroups }, constants))
    };
    match importance.metric().kernel().ok_or(PlanError::NotOnGpu)? {
        Kernel::WriteNorm => Ok(reduction::write_norm(&scan()?.0, signal(stream, Signal::X)?)?),
        Kernel::HiddenAttention { decay } => {
            let (scan, constants) = scan()?;
            let rates = decay.then_some(&constants.a);
            Ok(reduction::hidden_attention(&scan, signal(stream, Signal::C)?, rates, stream.segments)?)
        }
        kernel => {
            let source = importance.source().ok_or(PlanError::NotOnGpu)?;
            let (scores, _) = reduction::token_scores(tensor(stream, source)?, of_row(kernel), None)?;
            scores.ok_or(PlanError::NotOnGpu)
        }
    }
}
