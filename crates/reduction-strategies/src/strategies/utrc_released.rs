//! `utrc_released`: what the code released with `utrc`'s paper does, bug for bug.
//!
//! Zhan et al., EMNLP 2024; `wuyushuwys/ToR_SSM` @ 2e9fc62, hidden states `hybrid`, residual `merge_only`
//! (`src/pom/modules/pom.py`, `tome.py:262-400`). Formula: `m_t = max(0, h_t) / |max(0, h_t)|`; every channel of `m` is
//! sorted along the tokens by itself; rank `i` of the lower half is matched to `argmax_j m_(i) . m_(j)` of the upper half;
//! of the `r = n - n_keep` strongest the ranks are taken for places: even place `i` leaves for odd place `j`. Hidden states:
//! per channel only the upper half of the leaving values stays (the others become 0) and half of the leaving tokens is
//! counted in the mean; residual: plain mean. At most half of the tokens leave.
//!
//! **Differs from the paper in**: importance is never used; a sort per channel forgets which token a value came from, so
//! that with `metric: clip` the places 0, 2, .., 2(r-1) leave (up to ties) and all merge into place 1, whatever they hold;
//! block output instead of SSM output; sources are sorted and targets are not; `q` acts per channel.
//!
//! Protected tokens take no part: even and odd count among the others. Ties and tokens without direction: see
//! [`crate::blocks::released`].

use std::sync::Arc;

use crate::blocks::released::{METRIC_OPTION, ReleasedCombine, ReleasedMatching, ReleasedPairing, clips};
use crate::registry::{Family, Registration};
use crate::rule::Rule;

inventory::submit! {
    Registration {
        name: "utrc_released",
        family: Family::Released,
        version: 1,
        summary: "What the code released with the paper of utrc does, bug for bug: with clip, places 0, 2, .. leave for place 1.",
        source: "Zhan et al., EMNLP 2024; wuyushuwys/ToR_SSM src/pom/modules/tome.py and pom.py @ 2e9fc62 (hybrid, merge_only)",
        formula: "m = rowwise unit max(0,h); sort each channel of m along tokens; rank i of the lower half -> argmax_j m_(i).m_(j) \
                  of the upper half; strongest r: even place i leaves for odd place j; hidden: per-channel upper half, residual: mean",
        differs: "Importance unused; ranks taken for places, so the choice does not depend on which token stands where; block \
                  output instead of SSM output; targets mispaired; q acts per channel; at most half leave at a site. Ties by index.",
        options: &[METRIC_OPTION],
        seeded: false,
        build: &|options| {
            Rule::Host(Arc::new(ReleasedPairing {
                clip: clips(options),
                matching: ReleasedMatching::Ranks,
                hidden: ReleasedCombine::Hybrid,
            }))
        },
    }
}
