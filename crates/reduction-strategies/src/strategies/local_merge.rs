//! `local_merge`: a token may merge only with one near to it.
//!
//! *Efficient Time Series Processing for Transformers and State-Space Models through Token Merging* (Götz et al., ICML 2025,
//! <https://arxiv.org/abs/2405.17951>; no code was found). Formula, `decide: whole`: the matching of `tome` with edges
//! `a_i -> b_j` for `|i - j| < window` alone, `a` the even and `b` the odd tokens; linear cost. With `window: 1` only pairs of
//! neighbours merge, and the result stands at the later of the two.
//!
//! That much keeps values from flowing back, but it is not causal: which pairs merge is decided over the whole sequence, and
//! whether the earlier of a pair has a row of its own follows from the later one. `decide: online` is: a token is removed if it
//! resembles one of the `window` tokens before it, in a contest with earlier tokens ([`crate::blocks::online`]), and goes into
//! the next that stays: `S_t = -max_{0 < d <= window} cos(h_t, h_{t-d})`.
//!
//! **Differs from the paper in**: features are the block output; both branches merge alike, size-weighted; exactly `n_keep` stay,
//! in further rounds where more than the even tokens must be removed; outputs are not spread out to their tokens again.
//! `decide: online` is this program's.

use crate::blocks::importance::Source;
use crate::blocks::online::BLOCK_OPTION;
use crate::options::{OptionDefault, OptionInfo, OptionKind, ResolvedOptions};
use crate::registry::{Family, Registration};
use crate::rule::{Combine, Features, OnlineRule, OnlineScore, PairRule, Partition, Removed, Rule};

const WINDOW: OptionInfo = OptionInfo {
    name: "window",
    kind: OptionKind::Integer { min: 1, max: 4096 },
    default: OptionDefault::Integer(1),
    help: "how far apart tokens may be that are compared; 1: neighbours",
};

const DECIDE: OptionInfo = OptionInfo {
    name: "decide",
    kind: OptionKind::Choice(&["whole", "online"]),
    default: OptionDefault::Word("whole"),
    help: "whole: the strongest edges of the sequence; online: token by token from what came before, which is causal",
};

inventory::submit! {
    Registration {
        name: "local_merge",
        family: Family::Merging,
        version: 1,
        summary: "Only tokens near to each other merge: neighbours with window 1; decided over the sequence or token by token.",
        source: "Local merging, Goetz et al., ICML 2025, https://arxiv.org/abs/2405.17951 (no code found)",
        formula: "whole: as tome with edges a_i -> b_j for |i - j| < window; \
                  online: S_t = -max_{0<d<=window} cos(h_t, h_(t-d)), quota per block, what leaves goes into the next that stays",
        differs: "Block output as features; exact counts by further rounds; outputs are not spread out again. decide: online is this \
                  program's: with decide: whole later tokens decide which earlier ones have a row.",
        options: &[WINDOW, DECIDE, BLOCK_OPTION],
        seeded: false,
        build: &build,
    }
}

fn build(options: &ResolvedOptions) -> Rule {
    let window = options.integer("window").unsigned_abs() as usize;
    let features = Features { source: Source::BlockOutput, clip: false, window: Some(window) };
    if options.word("decide") == "online" {
        let block = options.integer("block").unsigned_abs() as usize;
        return Rule::Online(OnlineRule { score: OnlineScore::Novelty(features), block, removed: Removed::IntoNext });
    }
    let combine = Combine::SizeWeightedMean;
    Rule::Pair(PairRule { partition: Partition::EvenOdd, features, hidden: combine, residual: combine })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpret::plan_sequence;
    use crate::testing::Sequence;

    #[test]
    fn neighbours_merge_into_the_later_one() {
        // Pairs (0, 1) 1.0, (2, 3) 0.0, (4, 5) 0.6; without a window 2 would go to 1.
        let sequence = Sequence::of_rows(&[[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [0.0, 1.0], [0.6, 0.8], [1.0, 0.0], [1.0, 0.0]]);
        let features = Features { source: Source::BlockOutput, clip: false, window: Some(1) };
        let combine = Combine::SizeWeightedMean;
        let rule = PairRule { partition: Partition::EvenOdd, features, hidden: combine, residual: combine };
        let plan = plan_sequence(&Rule::Pair(rule), &sequence.view(), 0.7).unwrap();
        assert_eq!(plan.merged(), [(0, 1), (4, 5)]);
        // Down to two: the three pairs first, then among 1, 3, 5, 6 (1, 3) and (5, 6), of which the second is stronger.
        let plan = plan_sequence(&Rule::Pair(rule), &sequence.view(), 0.4).unwrap();
        assert_eq!((plan.keep(), plan.merged()), (&[1, 3, 6][..], vec![(0, 1), (2, 3), (4, 6), (5, 6)]));
    }
}
