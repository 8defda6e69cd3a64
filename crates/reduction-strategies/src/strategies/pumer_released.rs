//! `pumer_released`: the `PuMer` baseline as released by Zhan et al., bug for bug.
//!
//! `wuyushuwys/ToR_SSM` @ 2e9fc62, `pumer` in `src/pom/modules/pom.py`, `bipartite_soft_matching` in `tome.py:18-62`.
//! Formula: `b(a) = argmax_{b odd} cos(max(0, h_a), max(0, h_b))` for `a` even; of the `r` strongest edges the sources are
//! sorted by place and the targets stay sorted by strength; the `k`-th source merges into the `k`-th target by plain mean,
//! on both branches. At most half of the tokens leave.
//!
//! **Differs from the paper in**: sources are sorted and targets are not (`tome.py:57-59`), so tokens merge into the match
//! of another token; no text-informed pruning, no modality gate, no sizes carried from site to site. See `pumer` for the
//! same rule with its own pairs.
//!
//! Protected tokens take no part: even and odd count among the others. Ties and tokens without direction: see
//! [`crate::blocks::released`]. The release also loses a kept row that is exactly zero, which real activations never are.

use std::sync::Arc;

use crate::blocks::released::{METRIC_OPTION, ReleasedCombine, ReleasedMatching, ReleasedPairing, clips};
use crate::registry::{Family, Registration};
use crate::rule::Rule;

inventory::submit! {
    Registration {
        name: "pumer_released",
        family: Family::Released,
        version: 1,
        summary: "The PuMer baseline as released by Zhan et al., bug for bug: even tokens merge into each other's matches.",
        source: "Zhan et al., EMNLP 2024; wuyushuwys/ToR_SSM src/pom/modules/pom.py and tome.py:18-62 @ 2e9fc62 (pumer)",
        formula: "b(a) = argmax_{b odd} cos(max(0,h_a), max(0,h_b)); r strongest; k-th source by place -> k-th target by strength; mean",
        differs: "Targets mispaired with sources; no text-informed pruning, no modality gate, no sizes; at most half leave at a \
                  site. Ties by index.",
        options: &[METRIC_OPTION],
        seeded: false,
        build: &|options| {
            Rule::Host(Arc::new(ReleasedPairing {
                clip: clips(options),
                matching: ReleasedMatching::Tokens,
                hidden: ReleasedCombine::Mean,
            }))
        },
    }
}
