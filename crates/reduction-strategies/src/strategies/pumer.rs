//! `pumer`: even tokens merge into similar odd ones by plain mean, as the text baseline of Zhan et al. means to.
//!
//! `PuMer` (Cao et al., ACL 2023, <https://arxiv.org/abs/2305.17530>) in the form in which Zhan et al. (EMNLP 2024) compare
//! with it: `pumer` in `src/pom/modules/pom.py` and `bipartite_soft_matching` in `tome.py` of `wuyushuwys/ToR_SSM` @ 2e9fc62.
//! Formula: sources at even, targets at odd places; edges by `cos(max(0, h_a), max(0, h_b))`; strongest edges merge by
//! plain mean on both branches.
//!
//! **Differs from the paper in**: no text-informed pruning and no modality gate (there is one modality); order kept;
//! sizes do not weigh. Unlike the release (`pumer_released`), each source merges into its own match.

use crate::blocks::importance::Source;
use crate::blocks::matching::{MATCH_WINDOW_OPTION, match_window};
use crate::registry::{Family, Registration};
use crate::rule::{Combine, Features, PairRule, Partition, Rule};

inventory::submit! {
    Registration {
        name: "pumer",
        family: Family::Merging,
        version: 1,
        summary: "Even tokens are matched to odd ones by clipped block output; the most similar merge by plain mean.",
        source: "PuMer, Cao et al., ACL 2023, https://arxiv.org/abs/2305.17530, as used by Zhan et al., EMNLP 2024; \
                 wuyushuwys/ToR_SSM src/pom/modules/pom.py @ 2e9fc62",
        formula: "b(a) = argmax_{b odd} cos(max(0,h_a), max(0,h_b)) for a even; strongest edges: x_b <- mean(x_b, x_a..)",
        differs: "No text-informed pruning and no modality gate; sizes do not weigh; pairs as matched, which the release \
                  mixes up (pumer_released); further rounds where more than the sources must leave.",
        options: &[MATCH_WINDOW_OPTION],
        seeded: false,
        build: &|options| {
            Rule::Pair(PairRule {
                partition: Partition::EvenOdd,
                features: Features { source: Source::BlockOutput, clip: true, window: match_window(options) },
                hidden: Combine::Mean,
                residual: Combine::Mean,
            })
        },
    }
}
