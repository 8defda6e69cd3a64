//! `decimate`: the tokens with the largest step sizes stay; the rest is dropped.
//!
//! `DeciMamba` (Ben-Kish et al., ICLR 2025, <https://arxiv.org/abs/2406.14528>); upstream assafbk/DeciMamba,
//! `get_non_decimated_indices` in the selective-scan interface (type `max_p`). Formula: keep the `n_keep` highest
//! `S_t = sqrt(sum_d softplus(dt_td + bias_d)^2)`, in order.
//!
//! **Differs from the paper in**: there tokens leave inside the mixer, between convolution and scan, at a few decimating
//! layers; here after the block, at the sites of the schedule, so that the residual of a dropped token goes too. There
//! `max(min(n, L_base beta^s), min_len)` tokens stay at the `s`-th decimating layer whatever the input's length, here
//! `ceil(keep_ratio n)`. Mamba-2 has one step size per head instead of one per channel. What upstream calls the response is
//! never decimated: that is the protocol's affair here.

use crate::blocks::importance::{Importance, Source, DT_L2};
use crate::registry::{Family, Registration};
use crate::rule::{Extreme, Rule, Score};

inventory::submit! {
    Registration {
        name: "decimate",
        family: Family::StateAware,
        version: 1,
        summary: "The tokens with the largest step sizes stay, the rest is dropped.",
        source: "DeciMamba, Ben-Kish et al., ICLR 2025, https://arxiv.org/abs/2406.14528; assafbk/DeciMamba get_non_decimated_indices",
        formula: "S_t = sqrt(sum_d softplus(dt_td + bias_d)^2); keep = the n_keep highest S_t",
        differs: "Tokens leave after the block instead of between convolution and scan, at the schedule's sites and ratios instead of \
                  max(min(n, L_base beta^s), min_len); one step size per head in Mamba-2.",
        options: &[],
        seeded: false,
        build: &|_| {
            let importance = Importance::new(&DT_L2, Source::Dt);
            Rule::Prune(Score::Importance { importance, keep: Extreme::Highest })
        },
    }
}
