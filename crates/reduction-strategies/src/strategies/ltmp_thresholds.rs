//! `ltmp_thresholds`: similar tokens merge, then unimportant ones are dropped, by two thresholds; as many are kept as pass.
//!
//! Learned Thresholds Token Merging and Pruning (Bonnaerens & Dambre, TMLR 2023, <https://arxiv.org/abs/2307.10780>; upstream
//! Mxbonn/ltmp, `ltmp/timm/lt_mergeprune.py`), with the thresholds as options. Even tokens merge into odd ones where their similarity
//! exceeds `merge_above`; a target takes the highest importance among its own and its sources'; then tokens whose importance is below
//! `prune_below` are dropped. The count is free. `ltmp` is the form whose count is exact.
//!
//! **Differs from the paper in**: thresholds are given or calibrated on held-out items, the same at every site, where the paper learns
//! one pair per block by gradient. Importance is one that a state space model has, divided by the mean magnitude of the sequence's
//! importances, so that one threshold means the same at every site; there it is the mean attention that a token receives, whose mean
//! is the same by construction. Features are the block output instead of the keys. The most important token is kept where none passes:
//! a sequence cannot be empty. A dropped target takes what was merged into it along, as upstream.

use std::sync::Arc;

use ssm_model::SignalSet;

use crate::blocks::importance::{IMPORTANCE_OPTION, Importance, SOURCE_OPTION, Source, Widths};
use crate::blocks::{merges_of, rank};
use crate::error::PlanError;
use crate::options::{OptionDefault, OptionInfo, OptionKind};
use crate::plan::Plan;
use crate::registry::{Family, Registration};
use crate::rule::{Combine, Count, Features, HostRule, Partition, Rule};
use crate::view::SequenceView;

const MERGE_ABOVE: OptionInfo = OptionInfo {
    name: "merge_above",
    kind: OptionKind::Number { min: -1.0, max: 1.0 },
    default: OptionDefault::Number(0.9),
    help: "cosine similarity above which a token merges into its most similar one",
};

const PRUNE_BELOW: OptionInfo = OptionInfo {
    name: "prune_below",
    kind: OptionKind::Number { min: 0.0, max: 10.0 },
    default: OptionDefault::Number(0.5),
    help: "importance below which a token is dropped, in units of the sequence's mean magnitude",
};

const FEATURES: Features = Features { source: Source::BlockOutput, clip: false, window: None };

#[derive(Debug)]
struct LtmpThresholds {
    importance: Importance,
    merge_above: f64,
    prune_below: f64,
}

impl HostRule for LtmpThresholds {
    fn signals(&self) -> SignalSet {
        self.importance.signals()
    }

    fn reads_residual(&self) -> bool {
        self.importance.source() == Some(Source::Residual)
    }

    fn count(&self) -> Count {
        Count::Free { threshold: Some(PRUNE_BELOW.name) }
    }

    fn matching_flops(&self, n: usize, _n_kept: usize, widths: Widths) -> f64 {
        let (sources, targets) = Partition::EvenOdd.counts(n);
        2.0 * sources as f64 * targets as f64 * widths.of(FEATURES.source) as f64
    }

    fn plan(&self, view: &SequenceView<'_>, _n_keep: usize) -> Result<Plan, PlanError> {
        let candidates = view.reducible();
        let mut edges = FEATURES.match_up(view, &Partition::EvenOdd.split(view, &candidates)?)?;
        edges.retain(|edge| f64::from(edge.similarity) > self.merge_above);
        let mut scores = self.importance.scores(view)?;
        let magnitude: f64 = candidates.iter().map(|row| f64::from(scores[*row as usize]).abs()).sum();
        let threshold = self.prune_below * magnitude / candidates.len() as f64;
        let mut kept = vec![true; view.len()];
        for edge in &edges {
            let (source, target) = (scores[edge.source as usize], scores[edge.target as usize]);
            if rank::compare(source, target).is_gt() {
                scores[edge.target as usize] = source;
            }
            kept[edge.source as usize] = false;
        }
        let survivors: Vec<u32> = candidates.into_iter().filter(|row| kept[*row as usize]).collect();
        let importances: Vec<f32> = survivors.iter().map(|row| scores[*row as usize]).collect();
        // The last one of the ranking is kept where nothing else is.
        let ranking = rank::ascending(&importances)?;
        let spared = usize::from(!view.protected.contains(&true));
        for index in &ranking[..ranking.len() - spared] {
            if f64::from(importances[*index as usize]) >= threshold {
                break;
            }
            kept[survivors[*index as usize] as usize] = false;
        }
        edges.retain(|edge| kept[edge.target as usize]);
        let keep = (0..view.len() as u32).filter(|row| kept[*row as usize]).collect();
        let merges = merges_of(view, &edges, Combine::SizeWeightedMean);
        Plan::new(view.len(), keep, merges.clone(), merges)
    }
}

inventory::submit! {
    Registration {
        name: "ltmp_thresholds",
        family: Family::Pruning,
        version: 1,
        summary: "Tokens that are similar enough merge, then those that are not important enough are dropped; the count is free.",
        source: "LTMP, Bonnaerens & Dambre, TMLR 2023, https://arxiv.org/abs/2307.10780; Mxbonn/ltmp ltmp/timm/lt_mergeprune.py",
        formula: "edges a even -> argmax_{b odd} cos(h_a, h_b) with cos > merge_above merge by size-weighted mean, \
                  S_b <- max(S_b, S_a..); of the rest those with S_t < prune_below mean|S| are dropped",
        differs: "Thresholds are given or calibrated, one pair for all sites, instead of learned per block; importance of the SSM over its \
                  mean magnitude instead of attention; block output instead of keys; at least one token is kept.",
        options: &[MERGE_ABOVE, PRUNE_BELOW, IMPORTANCE_OPTION, SOURCE_OPTION],
        seeded: false,
        build: &|options| {
            let importance = Importance::from_options(options);
            let (merge_above, prune_below) = (options.number("merge_above"), options.number("prune_below"));
            Rule::Host(Arc::new(LtmpThresholds { importance, merge_above, prune_below }))
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::importance::SUM;
    use crate::testing::Sequence;

    fn plan(merge_above: f64, prune_below: f64, sequence: &Sequence) -> Plan {
        let importance = Importance::new(&SUM, Source::BlockOutput);
        let rule = LtmpThresholds { importance, merge_above, prune_below };
        crate::interpret::plan_sequence(&Rule::Host(Arc::new(rule)), &sequence.view(), 1.0).unwrap()
    }

    /// Edges 0 -> 1 (1.0), 2 -> 3 (0.96), 4 -> 3 (0.8); sums 1, 2, 1.4, 7, 1, 5, their mean magnitude 2.9.
    fn sequence() -> Sequence {
        Sequence::of_rows(&[[1.0, 0.0], [2.0, 0.0], [0.8, 0.6], [3.0, 4.0], [0.0, 1.0], [-1.0, 6.0]])
    }

    #[test]
    fn thresholds_by_hand() {
        let sequence = sequence();
        assert!(plan(1.0, 0.0, &sequence).is_identity());
        // 4 is more similar to 5 than to 3 (0.986 against 0.8).
        let merged = plan(0.97, 0.0, &sequence);
        assert_eq!((merged.keep(), merged.merged()), (&[1, 2, 3, 5][..], vec![(0, 1), (4, 5)]));
        // Below 1.45: of the sums 2, 1.4, 7, 5 that are not merged, one.
        let both = plan(0.97, 0.5, &sequence);
        assert_eq!((both.keep(), both.dropped()), (&[1, 3, 5][..], vec![2]));
        // Below 2.32 the target 1 is dropped too, with what was merged into it.
        let more = plan(0.97, 0.8, &sequence);
        assert_eq!((more.keep(), more.merged()), (&[3, 5][..], vec![(4, 5)]));
        assert_eq!(plan(1.0, 0.5, &sequence).keep(), [1, 3, 5]);
    }

    #[test]
    fn the_most_important_token_is_kept_where_none_passes() {
        let mut sequence = sequence();
        assert_eq!(plan(1.0, 10.0, &sequence).keep(), [3]);
        sequence.tokens.protected[2] = true;
        assert_eq!(plan(1.0, 10.0, &sequence).keep(), [2], "a protected token is enough");
    }
}
