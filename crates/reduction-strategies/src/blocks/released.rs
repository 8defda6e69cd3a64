//! What the released code of Zhan et al. shares among its variants: `wuyushuwys/ToR_SSM` @ 2e9fc62, files `mamba_wrap.py`,
//! `pom.py` and `tome.py` in `src/pom/modules`.
//!
//! The behaviour is written down anew and held to values that the release itself computed (`tests/golden_tor_pom.rs`).
//! Two things cannot be matched, because the release does not fix them:
//!
//! - Of equally strong edges the release takes whichever its unstable sort puts first, which varies with the machine; here
//!   the lower index goes first. With the clipped metric many edges tie at zero.
//! - A token without any positive value has no direction: the release divides by zero and ranks NaN, here its similarity
//!   is 0.

use rayon::prelude::*;
use ssm_kernels::ops::{MergeGroup, MergeRule};

use crate::blocks::importance::{Source, Widths};
use crate::blocks::matching::{best_matches, unit_rows};
use crate::blocks::rank;
use crate::error::PlanError;
use crate::options::{OptionDefault, OptionInfo, OptionKind, ResolvedOptions};
use crate::plan::{BranchMerges, Plan};
use crate::rule::{Count, DeviceRule, HostRule};
use crate::view::{Matrix, SequenceView, Stop, remember};

/// The option `metric` of the released variants.
pub const METRIC_OPTION: OptionInfo = OptionInfo {
    name: "metric",
    kind: OptionKind::Choice(&["clip", "none"]),
    default: OptionDefault::Word("clip"),
    help: "clip: negative values of the block output count as zero; none: taken as they are",
};

/// Whether [`METRIC_OPTION`] says `clip`.
#[must_use]
pub fn clips(options: &ResolvedOptions) -> bool {
    options.word("metric") == "clip"
}

/// Edges as the release finds them: entry `i` belongs to the `i`-th even place (source), targets count odd places.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleasedEdges {
    /// Strength of the edge of each source.
    pub similarity: Vec<f32>,
    /// Target of each source.
    pub target: Vec<u32>,
}

/// The pairs that the release merges: both lists have one entry per pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleasedPairs {
    /// Even places, ascending.
    pub sources: Vec<u32>,
    /// Odd places, in order of the strength of the edge that they came from, so that they no longer belong to the source
    /// beside them (`tome.py:54-59`: the sources are sorted, the targets are not).
    pub targets: Vec<u32>,
}

/// `bipartite_soft_matching` (`tome.py:18`): even against odd tokens, by cosine similarity of the (clipped) block output.
///
/// # Errors
/// Of the tensor library.
pub fn token_edges(view: &SequenceView<'_>, candidates: &[u32], clip: bool) -> Result<ReleasedEdges, PlanError> {
    let side = |skip| candidates.iter().copied().skip(skip).step_by(2).collect::<Vec<u32>>();
    let (even, odd) = (unit_rows(view.hidden, &side(0), clip), unit_rows(view.hidden, &side(1), clip));
    edges(&even, &odd, view.hidden.columns, view.stop)
}

/// The matching of `bipartite_hybrid_{prune,merge,pure}` (`tome.py:135`, `:262`, `:359`): every channel is sorted along the
/// tokens by itself, the lower half of the ranks is matched to the upper half, and ranks are then taken for places.
///
/// # Errors
/// Of the tensor library.
pub fn rank_edges(view: &SequenceView<'_>, candidates: &[u32], clip: bool) -> Result<ReleasedEdges, PlanError> {
    let n = candidates.len();
    rank_edges_of(view.hidden, candidates, n - n / 2, clip, view.stop)
}

/// [`rank_edges`] on any tensor, with any number of ranks as sources: the lowest ones.
///
/// # Errors
/// Of the tensor library.
pub(crate) fn rank_edges_of(
    matrix: Matrix<'_>,
    candidates: &[u32],
    n_sources: usize,
    clip: bool,
    stop: Stop<'_>,
) -> Result<ReleasedEdges, PlanError> {
    let columns = matrix.columns;
    let units = unit_rows(matrix, candidates, clip);
    let n = candidates.len();
    let n_targets = n - n_sources;
    let channels: Vec<Vec<f32>> = (0..columns)
        .into_par_iter()
        .map(|channel| {
            let mut values: Vec<f32> = (0..n).map(|row| units[row * columns + channel]).collect();
            values.sort_unstable_by(|a, b| rank::compare(*b, *a));
            values
        })
        .collect();
    let ranks = |range: std::ops::Range<usize>| -> Vec<f32> {
        range.flat_map(|rank| channels.iter().map(move |channel| channel[rank])).collect()
    };
    edges(&ranks(n_targets..n), &ranks(0..n_targets), columns, stop)
}

fn edges(sources: &[f32], targets: &[f32], columns: usize, stop: Stop<'_>) -> Result<ReleasedEdges, PlanError> {
    let (target, similarity) = best_matches(sources, targets, columns, stop)?.into_iter().unzip();
    Ok(ReleasedEdges { similarity, target })
}

impl ReleasedEdges {
    /// The `count` strongest edges, paired as the release pairs them.
    ///
    /// # Errors
    /// A similarity that is NaN.
    pub fn strongest(&self, count: usize) -> Result<ReleasedPairs, PlanError> {
        let mut sources = rank::descending(&self.similarity)?;
        sources.truncate(count);
        let targets = sources.iter().map(|source| self.target[*source as usize]).collect();
        sources.sort_unstable();
        Ok(ReleasedPairs { sources, targets })
    }
}

/// What the release does with the values of its pairs on one branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleasedCombine {
    /// `merge_only` and `pumer`: the plain mean of a target and its sources.
    Mean,
    /// `hybrid`: per channel the upper half of the source values stays and the others become zero (`tome.py:388-394`); the
    /// token counts go through the same mask, so that half of the sources counts in the divisor. Which half is a matter of
    /// ties between ones; here the later ones. With the clipped metric all sources share one target and it cannot matter.
    Hybrid,
}

impl ReleasedPairs {
    /// The plan: sources leave, targets take them in. `candidates` are the rows that take part, ascending; even and odd
    /// places count among them.
    ///
    /// # Errors
    /// Pairs that are not a plan.
    pub fn plan(
        &self,
        n_tokens: usize,
        candidates: &[u32],
        hidden: ReleasedCombine,
        residual: ReleasedCombine,
    ) -> Result<Plan, PlanError> {
        let mut stays = vec![true; n_tokens];
        for source in &self.sources {
            stays[candidates[2 * *source as usize] as usize] = false;
        }
        let keep = (0..n_tokens as u32).filter(|row| stays[*row as usize]).collect();
        Plan::new(n_tokens, keep, self.merges(candidates, hidden), self.merges(candidates, residual))
    }

    fn merges(&self, candidates: &[u32], combine: ReleasedCombine) -> BranchMerges {
        let kept = self.sources.len() / 2;
        let mut by_target = vec![Vec::new(); candidates.len() / 2];
        for (index, (source, target)) in self.sources.iter().zip(&self.targets).enumerate() {
            let counts = combine == ReleasedCombine::Mean || index >= self.sources.len() - kept;
            by_target[*target as usize].push((candidates[2 * *source as usize], if counts { 1.0 } else { 0.0 }));
        }
        let groups = by_target.into_iter().enumerate().filter(|(_, sources)| !sources.is_empty());
        let groups = groups
            .map(|(target, sources)| MergeGroup { into: candidates[2 * target + 1], own_weight: 1.0, sources })
            .collect();
        let rule = match combine {
            ReleasedCombine::Mean => MergeRule::WeightedMean,
            ReleasedCombine::Hybrid => MergeRule::ChannelTopHalf { kept },
        };
        BranchMerges { groups, rule }
    }
}

/// How the release matches tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleasedMatching {
    /// Even places with odd ones ([`token_edges`]).
    Tokens,
    /// Ranks per channel with ranks ([`rank_edges`]).
    Ranks,
}

/// The rule that the release runs as `pumer` and as `hybrid`: one matching, pairs mixed up, plain mean on the residual.
#[derive(Debug)]
pub struct ReleasedPairing {
    /// Whether negative values count as zero.
    pub clip: bool,
    /// Who is compared with whom.
    pub matching: ReleasedMatching,
    /// What happens on the hidden branch.
    pub hidden: ReleasedCombine,
}

/// Memo key: the released edges among these candidates, with clipping or without.
#[derive(PartialEq)]
struct Edges(ReleasedMatching, bool, Vec<u32>);

impl HostRule for ReleasedPairing {
    fn reads_residual(&self) -> bool {
        false
    }

    fn on_device(&self) -> Option<DeviceRule> {
        Some(DeviceRule::ReleasedPairs {
            clip: self.clip,
            by_rank: self.matching == ReleasedMatching::Ranks,
            hidden_tops: self.hidden == ReleasedCombine::Hybrid,
        })
    }

    fn count(&self) -> Count {
        Count::Own("at most half of the tokens leave at one site, as released")
    }

    fn kept(&self, n_keep: usize, n: usize) -> usize {
        n_keep.max(n - n / 2)
    }

    // One round: both matchings compare one half with the other on the block output.
    fn matching_flops(&self, n: usize, _n_kept: usize, widths: Widths) -> f64 {
        let half = n / 2;
        2.0 * half as f64 * (n - half) as f64 * widths.of(Source::BlockOutput) as f64
    }

    fn plan(&self, view: &SequenceView<'_>, n_keep: usize) -> Result<Plan, PlanError> {
        let candidates = view.reducible();
        let n_remove = candidates.len() - self.kept(n_keep, candidates.len());
        let key = || Edges(self.matching, self.clip, candidates.clone());
        let edges = remember(view.memo, key, || match self.matching {
            ReleasedMatching::Tokens => token_edges(view, &candidates, self.clip),
            ReleasedMatching::Ranks => rank_edges(view, &candidates, self.clip),
        })?;
        edges.strongest(n_remove)?.plan(view.len(), &candidates, self.hidden, ReleasedCombine::Mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Sequence;

    #[test]
    fn pairs_are_mixed_up_as_released() {
        let edges = ReleasedEdges { similarity: vec![0.1, 0.9, 0.5, 0.7], target: vec![0, 3, 1, 2] };
        // Strongest first: sources 1, 3, 2 with targets 3, 2, 1; then only the sources are sorted.
        let pairs = edges.strongest(3).unwrap();
        assert_eq!(pairs, ReleasedPairs { sources: vec![1, 2, 3], targets: vec![3, 2, 1] });
        let candidates: Vec<u32> = (1..9).collect();
        let plan = pairs.plan(9, &candidates, ReleasedCombine::Hybrid, ReleasedCombine::Mean).unwrap();
        assert_eq!(plan.keep(), [0, 1, 2, 4, 6, 8]);
        assert_eq!(plan.merged(), [(3, 8), (5, 6), (7, 4)]);
        assert_eq!(plan.hidden().rule, MergeRule::ChannelTopHalf { kept: 1 });
        assert_eq!(plan.hidden().groups[0].sources, [(7, 1.0)]);
        assert_eq!(plan.hidden().groups[1].sources, [(5, 0.0)]);
    }

    #[test]
    fn matching_is_counted_by_hand() {
        let widths = Widths { d_model: 10, d_inner: 20, dt: 3 };
        let rule =
            |name: &str| crate::registry::Strategy::new(name, &std::collections::BTreeMap::new()).unwrap().rule();
        for (name, flops) in [
            ("utrc_released", 2.0 * 3.0 * 4.0 * 10.0),
            ("pumer_released", 2.0 * 4.0 * 3.0 * 10.0),
            ("evit_released", 0.0),
        ] {
            assert!((rule(name).matching_flops(7, 6, widths) - flops).abs() < 1e-9, "{name}");
            assert!(rule(name).matching_flops(7, 7, widths).abs() < 1e-9, "{name}: nothing leaves");
        }
    }

    #[test]
    fn ranks_do_not_know_where_a_token_stands() {
        let rows = [[0.9, 0.1], [0.2, 0.7], [0.4, 0.4], [0.8, 0.3], [0.1, 0.5]];
        let mut turned = rows;
        turned.reverse();
        let all: Vec<u32> = (0..5).collect();
        let edges = |rows: &[[f32; 2]]| rank_edges(&Sequence::of_rows(rows).view(), &all, true).unwrap();
        assert_eq!(edges(&rows), edges(&turned));
        assert_eq!(edges(&rows).target, [0, 0, 0]);
    }
}
