//! `ltmp`: similar tokens merge, then unimportant ones are dropped, with thresholds set so that the count is exact.
//!
//! Learned Thresholds Token Merging and Pruning (Bonnaerens & Dambre, TMLR 2023, <https://arxiv.org/abs/2307.10780>; upstream
//! Mxbonn/ltmp, `ltmp/timm/lt_mergeprune.py`). There each block merges even tokens into odd ones where their similarity exceeds
//! a learned threshold, a target takes the highest importance among its own and its sources', and then tokens below a
//! learned importance threshold are dropped. Formula: of the `r = n - n_keep` tokens to remove, `m = round(merged r)` are merged
//! (similarity threshold: the `m`-th strongest edge) and `r - m` dropped (importance threshold: the quantile that leaves
//! `n_keep`).
//!
//! **Differs from the paper in**: nothing is learned: each threshold is the quantile of its site and sequence that makes the
//! count exact, and the split between merging and dropping is an option. Importance is one that a state space model has, there
//! it is the mean attention that a token receives; features are the block output instead of the keys. At most all even tokens
//! merge; what is left of their share is dropped. A dropped target takes what was merged into it along, as upstream.

use std::sync::Arc;

use ssm_model::SignalSet;

use crate::error::PlanError;
use crate::blocks::importance::{IMPORTANCE_OPTION, Importance, SOURCE_OPTION, Source, Widths};
use crate::options::{OptionDefault, OptionInfo, OptionKind};
use crate::blocks::merges_of;
use crate::plan::Plan;
use crate::blocks::rank;
use crate::registry::{Family, Registration};
use crate::rule::{Combine, DeviceRule, Features, HostRule, Partition, Rule};
use crate::blocks::select::strongest;
use crate::view::SequenceView;

const MERGED: OptionInfo = OptionInfo {
    name: "merged",
    kind: OptionKind::Number { min: 0.0, max: 1.0 },
    default: OptionDefault::Number(0.5),
    help: "share of the removed tokens that are merged; the others are dropped",
};

const FEATURES: Features = Features { source: Source::BlockOutput, clip: false, window: None };

#[derive(Debug)]
struct Ltmp {
    importance: Importance,
    merged: f64,
}

impl Ltmp {
    fn n_merge(&self, n: usize, n_remove: usize) -> usize {
        FEATURES.n_merge(self.merged, n, n_remove)
    }
}

impl HostRule for Ltmp {
    fn signals(&self) -> SignalSet {
        self.importance.signals()
    }

    fn on_device(&self) -> Option<DeviceRule> {
        Some(DeviceRule::MergeThenDrop { importance: self.importance, features: FEATURES, merged: self.merged })
    }

    fn reads_residual(&self) -> bool {
        self.importance.source() == Some(Source::Residual)
    }

    fn matching_flops(&self, n: usize, n_kept: usize, widths: Widths) -> f64 {
        if self.n_merge(n, n - n_kept) == 0 {
            return 0.0;
        }
        let (sources, targets) = Partition::EvenOdd.counts(n);
        2.0 * sources as f64 * targets as f64 * widths.of(FEATURES.source) as f64
    }

    fn plan(&self, view: &SequenceView<'_>, n_keep: usize) -> Result<Plan, PlanError> {
        let candidates = view.reducible();
        let n_remove = candidates.len() - n_keep;
        let n_merge = self.n_merge(candidates.len(), n_remove);
        let mut edges = Vec::new();
        if n_merge > 0 {
            edges = strongest(&FEATURES.match_up(view, &Partition::EvenOdd.split(view, &candidates)?)?, n_merge)?;
        }
        let mut scores = self.importance.scores(view)?;
        let mut stays = vec![true; view.len()];
        for edge in &edges {
            let (source, target) = (scores[edge.source as usize], scores[edge.target as usize]);
            if rank::compare(source, target).is_gt() {
                scores[edge.target as usize] = source;
            }
            stays[edge.source as usize] = false;
        }
        let survivors: Vec<u32> = candidates.into_iter().filter(|row| stays[*row as usize]).collect();
        let left: Vec<f32> = survivors.iter().map(|row| scores[*row as usize]).collect();
        for index in rank::lowest(&left, n_remove - n_merge)? {
            stays[survivors[index as usize] as usize] = false;
        }
        edges.retain(|edge| stays[edge.target as usize]);
        let keep = (0..view.len() as u32).filter(|row| stays[*row as usize]).collect();
        let merges = merges_of(view, &edges, Combine::SizeWeightedMean);
        Plan::new(view.len(), keep, merges.clone(), merges)
    }
}

inventory::submit! {
    Registration {
        name: "ltmp",
        family: Family::Pruning,
        version: 1,
        summary: "The most similar tokens merge, then the least important are dropped; thresholds are quantiles, nothing is learned.",
        source: "LTMP, Bonnaerens & Dambre, TMLR 2023, https://arxiv.org/abs/2307.10780; Mxbonn/ltmp ltmp/timm/lt_mergeprune.py",
        formula: "r = n - n_keep; m = round(merged r) strongest edges a even -> argmax_{b odd} cos(h_a, h_b) merge by size-weighted \
                  mean, S_b <- max(S_b, S_a..); of the rest the r - m lowest S_t are dropped",
        differs: "Thresholds are quantiles that make the count exact instead of learned; importance of the SSM instead of attention; \
                  block output instead of keys.",
        options: &[MERGED, IMPORTANCE_OPTION, SOURCE_OPTION],
        seeded: false,
        build: &|options| {
            let importance = Importance::from_options(options);
            Rule::Host(Arc::new(Ltmp { importance, merged: options.number("merged") }))
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::importance::SUM;
    use crate::testing::Sequence;

    fn rule(merged: f64) -> Ltmp {
        Ltmp { importance: Importance::new(&SUM, Source::BlockOutput), merged }
    }

    #[test]
    fn merges_then_drops_by_hand() {
        // Edges 0 -> 1 (1.0), 2 -> 3 (0.96), 4 -> 3 (0.8); sums 1, 2, 1.4, 7, 1, 5.
        let mut sequence = Sequence::of_rows(&[[1.0, 0.0], [2.0, 0.0], [0.8, 0.6], [3.0, 4.0], [0.0, 1.0], [-1.0, 6.0]]);
        sequence.tokens.sizes[1] = 3.0;
        // Of three that leave, two merge (1.5 rounded away from zero) and the least important of 1, 3, 4, 5 is dropped.
        let edges = FEATURES.match_up(&sequence.view(), &Partition::EvenOdd.split(&sequence.view(), &[0, 1, 2, 3, 4, 5]).unwrap());
        let targets: Vec<u32> = edges.unwrap().iter().map(|edge| edge.target).collect();
        assert_eq!(targets, [1, 3, 5]);
        let plan = rule(0.5).plan(&sequence.view(), 3).unwrap();
        assert_eq!((plan.keep(), plan.dropped()), (&[1, 3, 5][..], vec![2]));
        assert_eq!(plan.merged(), [(0, 1), (4, 5)]);
        assert_eq!(plan.hidden().groups[0].own_weight.to_bits(), 3.0_f32.to_bits());
        // Nothing merges: the three lowest sums leave, of equals the lower place first.
        assert_eq!(rule(0.0).plan(&sequence.view(), 3).unwrap().keep(), [1, 3, 5]);
        assert!(rule(0.0).plan(&sequence.view(), 3).unwrap().merged().is_empty());
        // Five leave: at most the three even ones merge, and what went into a dropped target is lost.
        let plan = rule(1.0).plan(&sequence.view(), 1).unwrap();
        assert_eq!((plan.keep(), plan.merged()), (&[3][..], vec![(2, 3)]));
    }

    #[test]
    fn a_target_is_as_important_as_its_most_important_source() {
        // 0 -> 1 merges; alone, 1 would be the least important.
        let sequence = Sequence::of_rows(&[[9.0, 0.0], [1.0, 0.0], [0.0, 3.0], [-1.0, 5.0]]);
        let plan = rule(0.5).plan(&sequence.view(), 2).unwrap();
        assert_eq!((plan.keep(), plan.dropped()), (&[1, 3][..], vec![2]));
    }
}
