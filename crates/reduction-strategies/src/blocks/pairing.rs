//! Rounds of pairing: partition, match, select, combine, until enough tokens have left.

use ssm_kernels::ops::{MergeGroup, MergeRule};

use crate::blocks::importance::{Importance, Widths};
use crate::blocks::matching::Edge;
use crate::blocks::select::strongest;
use crate::error::PlanError;
use crate::plan::{BranchMerges, Plan};
use crate::rule::{Combine, Features, PairRule, Partition, Pruned};
use crate::view::SequenceView;
use crate::view::remember;

impl PairRule {
    /// The plan that leaves `n_keep` of the unprotected tokens.
    ///
    /// One round removes at most all sources (about half of the candidates). If more must leave, the survivors go through
    /// further rounds, compared by the values with which they arrived; what was merged into a token that leaves later
    /// shares its fate.
    ///
    /// # Errors
    /// A signal that the layer did not show.
    pub fn plan(&self, view: &SequenceView<'_>, n_keep: usize) -> Result<Plan, PlanError> {
        let n = view.len();
        let mut candidates = view.reducible();
        let mut removed = vec![false; n];
        let mut hidden = Fates::new(n);
        let mut residual = Fates::new(n);
        while candidates.len() > n_keep && candidates.len() > 1 {
            let key = || Edges(self.partition, self.features, candidates.clone());
            let edges = remember(view.memo, key, || {
                let split = self.partition.split(view, &candidates)?;
                self.features.match_up(view, &split)
            })?;
            let chosen = strongest(&edges, candidates.len() - n_keep)?;
            for (fates, combine) in [(&mut hidden, self.hidden), (&mut residual, self.residual)] {
                fates.settle(&chosen, &combine.merging(view, &chosen)?);
            }
            for edge in &chosen {
                removed[edge.source as usize] = true;
            }
            candidates.retain(|row| !removed[*row as usize]);
        }
        let keep = (0..n as u32).filter(|row| !removed[*row as usize]).collect();
        Plan::new(n, keep, hidden.merges(view, self.hidden), residual.merges(view, self.residual))
    }

    /// FLOPs of comparing each source with each target, over all rounds that [`PairRule::plan`] goes through from `n`
    /// candidates down to `n_keep`: `2 sources targets width` a round.
    #[must_use]
    pub fn matching_flops(&self, n: usize, n_keep: usize, widths: Widths) -> f64 {
        let width = widths.of(self.features.source);
        let (mut candidates, mut flops) = (n, 0.0);
        while candidates > n_keep && candidates > 1 {
            let (sources, targets) = self.partition.counts(candidates);
            let (edges, comparisons) = self.features.counts(sources, targets);
            flops += 2.0 * comparisons as f64 * width as f64;
            candidates -= edges.min(candidates - n_keep);
        }
        flops
    }
}

impl PairRule {
    /// Every importance that it reads.
    pub fn importances(&self) -> impl Iterator<Item = Importance> {
        let partition = match self.partition {
            Partition::ByImportance(importance) => Some(importance),
            Partition::EvenOdd => None,
        };
        let pruned = |combine| match combine {
            Combine::Hybrid { pruned: Pruned::LeastImportant(importance), .. } => Some(importance),
            _ => None,
        };
        [partition, pruned(self.hidden), pruned(self.residual)].into_iter().flatten()
    }
}

/// What the targets of `edges` take in; every source ends where its edge points. Targets must stay.
pub(crate) fn merges_of(view: &SequenceView<'_>, edges: &[Edge], combine: Combine) -> BranchMerges {
    let mut fates = Fates::new(view.len());
    for edge in edges {
        fates.0[edge.source as usize] = Fate::Into(edge.target);
    }
    fates.merges(view, combine)
}

/// Memo key: one edge per source among these candidates.
#[derive(PartialEq)]
struct Edges(Partition, Features, Vec<u32>);

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Kept,
    Dropped,
    Into(u32),
}

/// Fate of each token on one branch.
pub(crate) struct Fates(Vec<Fate>);

impl Fates {
    pub(crate) fn new(n: usize) -> Self {
        Self(vec![Fate::Kept; n])
    }

    /// The sources of these edges are removed: merged into the target where `merging` says so, dropped otherwise.
    pub(crate) fn settle(&mut self, edges: &[Edge], merging: &[bool]) {
        for (edge, merging) in edges.iter().zip(merging) {
            self.0[edge.source as usize] = if *merging { Fate::Into(edge.target) } else { Fate::Dropped };
        }
    }

    /// The kept token in which `row` ends, if it is not lost on the way. Edges of a later round start at survivors of the
    /// earlier ones, so the chain ends.
    fn end(&self, mut row: u32) -> Option<u32> {
        loop {
            match self.0[row as usize] {
                Fate::Kept => return Some(row),
                Fate::Dropped => return None,
                Fate::Into(target) => row = target,
            }
        }
    }

    pub(crate) fn merges(&self, view: &SequenceView<'_>, combine: Combine) -> BranchMerges {
        let mut sources: Vec<Vec<(u32, f32)>> = vec![Vec::new(); self.0.len()];
        for row in 0..self.0.len() as u32 {
            if let Some(end) = self.end(row).filter(|end| *end != row) {
                sources[end as usize].push((row, combine.weight(view, row)));
            }
        }
        let groups = sources.into_iter().enumerate().filter(|(_, sources)| !sources.is_empty());
        let groups = groups
            .map(|(into, sources)| {
                let into = into as u32;
                MergeGroup { into, own_weight: combine.weight(view, into), sources }
            })
            .collect();
        BranchMerges { groups, rule: MergeRule::WeightedMean }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::importance::Source;
    use crate::rule::{Features, Partition, Pruned};
    use crate::testing::Sequence;

    fn rule(hidden: Combine, residual: Combine) -> PairRule {
        let features = Features { source: Source::BlockOutput, clip: false, window: None };
        PairRule { partition: Partition::EvenOdd, features, hidden, residual }
    }

    #[test]
    fn one_round_by_hand() {
        // Even rows against odd ones: 0 -> 1 (1.0), 2 -> 3 (0.96), 4 -> 3 (0.8). Two must leave: 0 and 2.
        let sequence = Sequence::of_rows(&[[1.0, 0.0], [2.0, 0.0], [0.8, 0.6], [3.0, 4.0], [0.0, 1.0]]);
        let hybrid = Combine::Hybrid { q: 0.5, pruned: Pruned::MostSimilar };
        let plan = rule(hybrid, Combine::Mean).plan(&sequence.view(), 3).unwrap();
        assert_eq!(plan.keep(), [1, 3, 4]);
        let group = |into, source| MergeGroup { into, own_weight: 1.0, sources: vec![(source, 1.0)] };
        assert_eq!(plan.hidden().groups, [group(3, 2)]);
        assert_eq!(plan.residual().groups, [group(1, 0), group(3, 2)]);
        assert_eq!(plan.dropped(), [0]);
    }

    #[test]
    fn every_round_of_matching_counts() {
        let widths = Widths { d_model: 10, d_inner: 20, dt: 3 };
        let even_odd = rule(Combine::Mean, Combine::Mean);
        // 7 candidates: 4 sources, 3 targets. To leave 5, one round: 2 * 4 * 3 * 10.
        assert!((even_odd.matching_flops(7, 5, widths) - 240.0).abs() < 1e-9);
        // To leave 2: all 4 sources go, then of 3 (2 sources, 1 target) one: 240 + 2 * 2 * 1 * 10.
        assert!((even_odd.matching_flops(7, 2, widths) - 280.0).abs() < 1e-9);
        // The less important half is rounded down: 3 sources, then of 4 two, then of 2 one.
        let importance = crate::blocks::importance::Importance::new(&crate::blocks::importance::SUM, Source::SsmOutput);
        let features = Features { source: Source::SsmOutput, clip: false, window: None };
        let halves = PairRule { partition: Partition::ByImportance(importance), features, ..even_odd };
        let by_hand = 2.0 * 20.0 * f64::from(3 * 4 + 2 * 2 + 1);
        assert!((halves.matching_flops(7, 1, widths) - by_hand).abs() < 1e-9);
        assert!(even_odd.matching_flops(7, 7, widths).abs() < 1e-9);
        assert_eq!((widths.of(Source::Dt), widths.of(Source::GatedOutput), widths.of(Source::Residual)), (3, 20, 10));
    }

    #[test]
    fn further_rounds_follow_the_chain() {
        // Round 1: 0 -> 1, 2 -> 3 (all equal, ties to the lowest target: 0 -> 1, 2 -> 1). Round 2: of 1, 3: 1 -> 3.
        let mut sequence = Sequence::of_rows(&[[1.0], [1.0], [1.0], [1.0]]);
        sequence.tokens.sizes = vec![1.0, 2.0, 3.0, 4.0];
        let plan = rule(Combine::SizeWeightedMean, Combine::Mean).plan(&sequence.view(), 1).unwrap();
        assert_eq!(plan.keep(), [3]);
        assert_eq!(
            plan.hidden().groups,
            [MergeGroup { into: 3, own_weight: 4.0, sources: vec![(0, 1.0), (1, 2.0), (2, 3.0)] }]
        );
        assert_eq!(plan.residual().groups[0].sources, [(0, 1.0), (1, 1.0), (2, 1.0)]);
    }

    #[test]
    fn protected_tokens_take_no_part() {
        let mut sequence = Sequence::of_rows(&[[1.0], [1.0], [1.0], [1.0], [1.0]]);
        sequence.tokens.protected = vec![true, false, false, true, false];
        let plan = rule(Combine::Mean, Combine::Drop).plan(&sequence.view(), 1).unwrap();
        assert_eq!(plan.keep(), [0, 2, 3]);
        assert_eq!(plan.merged(), [(1, 2), (4, 2)]);
        assert!(plan.residual().groups.is_empty());
    }
}
