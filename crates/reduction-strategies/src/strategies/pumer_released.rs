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
//! [`crate::released`]. The release also loses a kept row that is exactly zero, which real activations never are.

use std::sync::Arc;

use crate::error::PlanError;
use crate::importance::Widths;
use crate::memo::{MemoKey, remember};
use crate::plan::Plan;
use crate::registry::{Family, Registration};
use crate::released::{METRIC_OPTION, ReleasedCombine, clips, kept_at_most_half_removed, matching_flops, token_edges};
use crate::rule::{HostRule, Rule};
use crate::view::SequenceView;

#[derive(Debug)]
struct PumerReleased {
    clip: bool,
}

impl HostRule for PumerReleased {
    fn reads_residual(&self) -> bool {
        false
    }

    fn own_count(&self) -> Option<&'static str> {
        Some("at most half of the tokens leave at one site, as released")
    }

    fn kept(&self, n_keep: usize, n: usize) -> usize {
        kept_at_most_half_removed(n_keep, n)
    }

    fn matching_flops(&self, n: usize, _n_left: usize, widths: Widths) -> f64 {
        matching_flops(n, widths)
    }

    fn plan(&self, view: &SequenceView<'_>, n_keep: usize) -> Result<Plan, PlanError> {
        let candidates = view.reducible();
        let n_remove = candidates.len() - self.kept(n_keep, candidates.len());
        let pairs = remember(
            view.memo,
            || MemoKey::TokenEdges(self.clip, candidates.clone()),
            || token_edges(view, &candidates, self.clip),
        )?
        .strongest(n_remove)?;
        pairs.plan(view.len(), &candidates, ReleasedCombine::Mean, ReleasedCombine::Mean)
    }
}

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
        build: |options| Rule::Host(Arc::new(PumerReleased { clip: clips(options) })),
    }
}
