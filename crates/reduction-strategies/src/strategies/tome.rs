//! `tome`: neighbouring halves are matched by similarity and merged, sizes tracked.
//!
//! Token Merging (Bolya et al., ICLR 2023, <https://arxiv.org/abs/2210.09461>; upstream facebookresearch/ToMe
//! `tome/merge.py`). Formula: sources at even, targets at odd places; each source `a` gets one edge to
//! `argmax_b cos(h_a, h_b)`; the strongest edges merge, `h_b <- (s_b h_b + sum s_a h_a) / (s_b + sum s_a)`,
//! `s_b <- s_b + sum s_a`.
//!
//! **Differs from the paper in**: order is kept (upstream returns unmerged tokens first, then targets); features are the
//! block output, there being no attention keys; no proportional attention; hidden states and residual are merged alike;
//! where more than the sources must leave, further rounds follow (upstream caps a site at half).

use crate::blocks::importance::Source;
use crate::blocks::matching::{MATCH_WINDOW_OPTION, match_window};
use crate::registry::{Family, Registration};
use crate::rule::{Combine, Features, PairRule, Partition, Rule};

inventory::submit! {
    Registration {
        name: "tome",
        family: Family::Merging,
        version: 1,
        summary: "Even tokens are matched to odd ones by similarity; the most similar merge by size-weighted mean.",
        source: "ToMe, Bolya et al., ICLR 2023, https://arxiv.org/abs/2210.09461; facebookresearch/ToMe tome/merge.py",
        formula: "b(a) = argmax_{b odd} cos(h_a, h_b) for a even; strongest edges: h_b <- (s_b h_b + sum s_a h_a)/(s_b + sum s_a)",
        differs: "Order kept; features are the block output (no attention keys, no proportional attention); both branches \
                  merge alike; further rounds where more than the sources must leave.",
        options: &[MATCH_WINDOW_OPTION],
        seeded: false,
        build: &|options| {
            Rule::Pair(PairRule {
                partition: Partition::EvenOdd,
                features: Features { source: Source::BlockOutput, clip: false, window: match_window(options) },
                hidden: Combine::SizeWeightedMean,
                residual: Combine::SizeWeightedMean,
            })
        },
    }
}
