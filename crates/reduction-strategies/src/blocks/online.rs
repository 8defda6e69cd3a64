//! Rules that decide tokens in order, so that no earlier fate follows from a later token.
//!
//! What `ceil(keep_ratio * n)` says of the first `e` tokens is the quota up to `e`. A block of tokens has the difference of the
//! quotas at its two ends, whatever the tokens hold, so counts are known before anything runs. Inside a block a token stays
//! if its score is high enough among all tokens before it for what is left of the quota:
//!
//! ```text
//! Q of R: what is left of the quota for the R tokens of the block from t on;   m tokens before t, g of them score as high
//! Q = 0: t leaves      Q = R: t stays      else: t stays if g / (m + 1) < Q / R
//! ```
//!
//! The last block ends where the sequence ends. That is the one thing about later tokens that a fate follows from
//! ([`Causality::WithinBlock`]).

use ssm_kernels::ops::{MergeGroup, MergeRule};

use crate::blocks::importance::Widths;
use crate::blocks::matching::unit_rows;
use crate::blocks::random::{self, Purpose};
use crate::blocks::rank;
use crate::error::PlanError;
use crate::options::{OptionDefault, OptionInfo, OptionKind, ResolvedOptions};
use crate::plan::{BranchMerges, Plan};
use crate::rule::{Causality, Features, OnlineRule, OnlineScore, Removed};
use crate::schedule;
use crate::vectors::dot;
use crate::view::SequenceView;

/// The option `block` of every strategy that decides tokens in order.
pub const BLOCK_OPTION: OptionInfo = OptionInfo {
    name: "block",
    kind: OptionKind::Integer { min: 1, max: 65_536 },
    default: OptionDefault::Integer(16),
    help: "tokens that share a quota where tokens are decided in order",
};

/// The option `removed` of strategies that decide tokens in order.
pub const REMOVED_OPTION: OptionInfo = OptionInfo {
    name: "removed",
    kind: OptionKind::Choice(&["drop", "merge"]),
    default: OptionDefault::Word("drop"),
    help: "drop: a token that leaves is dropped; merge: it goes into the next token that stays",
};

/// What [`REMOVED_OPTION`] says.
///
/// # Panics
/// If the strategy did not declare it.
#[must_use]
pub fn removed(options: &ResolvedOptions) -> Removed {
    if options.word("removed") == "merge" { Removed::IntoNext } else { Removed::Dropped }
}

impl OnlineRule {
    /// From which tokens fates follow.
    #[must_use]
    pub fn causality(&self) -> Causality {
        match self.score {
            OnlineScore::Importance(importance) if importance.metric().looks_ahead() => Causality::None,
            _ if self.block <= 1 => Causality::Streaming,
            _ => Causality::WithinBlock(self.block),
        }
    }

    /// FLOPs of comparing each of `n` tokens with those before it.
    #[must_use]
    pub fn matching_flops(&self, n: usize, widths: Widths) -> f64 {
        let OnlineScore::Novelty(features) = self.score else { return 0.0 };
        let pairs: usize = (0..n).map(|row| features.window.map_or(row, |window| window.min(row))).sum();
        2.0 * pairs as f64 * widths.of(features.source) as f64
    }

    /// The plan that leaves `schedule::n_keep(keep_ratio, n)` of the `n` unprotected tokens.
    ///
    /// # Errors
    /// A signal that the layer did not show.
    pub fn plan(&self, view: &SequenceView<'_>, keep_ratio: f64) -> Result<Plan, PlanError> {
        let candidates = view.reducible();
        let scores = self.scores(view)?;
        let among: Vec<f32> = candidates.iter().map(|row| scores[*row as usize]).collect();
        let mut stays = view.protected.to_vec();
        for (row, keep) in candidates.iter().zip(self.decide(&among, keep_ratio)) {
            stays[*row as usize] = keep;
        }
        let keep = (0..view.len() as u32).filter(|row| stays[*row as usize]).collect();
        let merges = match self.removed {
            Removed::Dropped => BranchMerges::default(),
            Removed::IntoNext => into_next(view, &stays),
        };
        Plan::new(view.len(), keep, merges.clone(), merges)
    }

    /// Whether each token stays, from the scores up to it.
    fn decide(&self, scores: &[f32], keep_ratio: f64) -> Vec<bool> {
        let mut before: Vec<f32> = Vec::with_capacity(scores.len());
        let mut stays = Vec::with_capacity(scores.len());
        let mut quota = 0;
        for (index, score) in scores.iter().enumerate() {
            let left = self.block - index % self.block;
            let left = left.min(scores.len() - index);
            if index % self.block == 0 {
                quota = schedule::n_keep(keep_ratio, index + left) - schedule::n_keep(keep_ratio, index);
            }
            // Ascending, in the form in which scores are compared.
            let score = rank::canonical(*score);
            let lower = before.partition_point(|earlier| *earlier < score);
            let as_high = before.len() - lower;
            let keep = quota > 0 && (quota >= left || as_high * left < quota * (before.len() + 1));
            quota -= usize::from(keep);
            stays.push(keep);
            before.insert(lower, score);
        }
        stays
    }

    fn scores(&self, view: &SequenceView<'_>) -> Result<Vec<f32>, PlanError> {
        match self.score {
            OnlineScore::Importance(importance) => importance.scores(view),
            OnlineScore::Random => Ok(random::uniform(view.draw, Purpose::Score, view.len())),
            OnlineScore::Novelty(features) => novelty(features, view),
        }
    }
}

/// Minus the largest cosine similarity of each row with the rows just before it; the first row is as new as can be.
fn novelty(features: Features, view: &SequenceView<'_>) -> Result<Vec<f32>, PlanError> {
    let matrix = features.source.of(view)?;
    let rows: Vec<u32> = (0..view.len() as u32).collect();
    let units = unit_rows(matrix, &rows, features.clip);
    let unit = |row: usize| &units[row * matrix.columns..(row + 1) * matrix.columns];
    let newness = |row: usize| {
        view.stop.check()?;
        let first = features.window.map_or(0, |window| row.saturating_sub(window));
        let largest = (first..row).map(|before| dot(unit(row), unit(before))).reduce(larger);
        Ok(-(largest.unwrap_or(-1.0)) as f32)
    };
    let scores: Vec<f32> = (0..view.len()).map(newness).collect::<Result<_, PlanError>>()?;
    rank::check(&scores)?;
    Ok(scores)
}

/// The larger of two numbers, NaN if either is.
fn larger(a: f64, b: f64) -> f64 {
    if b > a || b.is_nan() { b } else { a }
}

/// Every token that leaves goes into the next one that stays and is not protected; those after the last such are dropped.
pub(crate) fn into_next(view: &SequenceView<'_>, stays: &[bool]) -> BranchMerges {
    let mut groups = Vec::new();
    let mut waiting: Vec<(u32, f32)> = Vec::new();
    for (row, stays) in stays.iter().enumerate() {
        if !stays {
            waiting.push((row as u32, view.sizes[row]));
        } else if !view.protected[row] && !waiting.is_empty() {
            let sources = std::mem::take(&mut waiting);
            groups.push(MergeGroup { into: row as u32, own_weight: view.sizes[row], sources });
        }
    }
    BranchMerges { groups, rule: MergeRule::WeightedMean }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::importance::{HIDDEN_ATTENTION, Importance, SUM, Source};
    use crate::testing::Sequence;

    fn rule(block: usize) -> OnlineRule {
        let importance = Importance::new(&SUM, Source::BlockOutput);
        OnlineRule { score: OnlineScore::Importance(importance), block, removed: Removed::IntoNext }
    }

    #[test]
    fn decisions_by_hand() {
        // Blocks of four with a quota of two each.
        // 5: 0/1 < 2/4, stays. 1: one higher, 1/2 < 1/3 is false, leaves. 6: 0/3 < 1/2, stays. 9: the quota is used up.
        // 2: 3 of 4 higher, 3/5 < 2/4 is false. 3: 3/6 < 2/3, stays. 0: 6/7 < 1/2 is false. 1: forced.
        let scores = [5.0, 1.0, 6.0, 9.0, 2.0, 3.0, 0.0, 1.0];
        assert_eq!(rule(4).decide(&scores, 0.5), [true, false, true, false, false, true, false, true]);
        // In blocks of one only the place counts: ceil(0.5 t) grows at every other token.
        let alternating = [true, false, true, false, true, false, true, false];
        assert_eq!(rule(1).decide(&scores, 0.5), alternating);
        // A last block of two has what is left of ceil(0.5 * 6) = 3.
        assert_eq!(rule(4).decide(&scores[..6], 0.5).iter().filter(|stays| **stays).count(), 3);
    }

    #[test]
    fn what_leaves_goes_into_the_next_that_stays() {
        let rows = [[5.0], [1.0], [6.0], [9.0], [2.0], [3.0], [0.0], [1.0]];
        let mut sequence = Sequence::of_rows(&rows);
        sequence.tokens.sizes[3] = 2.0;
        let plan = rule(4).plan(&sequence.view(), 0.5).unwrap();
        assert_eq!(plan.keep(), [0, 2, 5, 7]);
        assert_eq!(plan.merged(), [(1, 2), (3, 5), (4, 5), (6, 7)]);
        assert_eq!(plan.residual().groups[1].sources, [(3, 2.0), (4, 1.0)]);
        let dropping = OnlineRule { removed: Removed::Dropped, ..rule(4) };
        assert_eq!(dropping.plan(&sequence.view(), 0.5).unwrap().dropped(), [1, 3, 4, 6]);
    }

    #[test]
    fn novelty_is_distance_from_what_was_just_read() {
        let sequence = Sequence::of_rows(&[[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]);
        let features = |window| Features { source: Source::BlockOutput, clip: false, window };
        assert_eq!(novelty(features(Some(1)), &sequence.view()).unwrap(), [1.0, -1.0, 0.0, 0.0, 0.0]);
        assert_eq!(novelty(features(None), &sequence.view()).unwrap(), [1.0, -1.0, 0.0, -1.0, 0.0]);
        let novelty = OnlineRule { score: OnlineScore::Novelty(features(Some(2))), ..rule(4) };
        // 0 + 1 + 2 + 2 + 2 comparisons of ten columns.
        let flops = novelty.matching_flops(5, Widths { d_model: 10, d_inner: 20, dt: 3 });
        assert!((flops - 140.0).abs() < 1e-9);
    }

    #[test]
    fn an_importance_that_looks_ahead_is_not_causal() {
        assert_eq!(rule(1).causality(), Causality::Streaming);
        assert_eq!(rule(8).causality(), Causality::WithinBlock(8));
        let importance = Importance::new(&HIDDEN_ATTENTION, Source::Dt);
        let ahead = OnlineRule { score: OnlineScore::Importance(importance), ..rule(8) };
        assert_eq!(ahead.causality(), Causality::None);
    }
}
