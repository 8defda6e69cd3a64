//! `mtr`: tokens with small step sizes merge into the most similar of those just above them; the rest is left alone.
//!
//! *Training-free Token Reduction for Vision Mamba* (Ma et al. 2025, <https://arxiv.org/abs/2507.14042>; no code was found).
//! Formula: `S_t = (1/D) sum_d dt_td`; by `S` the tokens fall into Source (the `r = n - n_keep` lowest), Target (the next `r`,
//! or all others where fewer are left) and Keep; each `a` in Source goes to `argmax_{b in Target} cos(h_a, h_b)` and
//! `h_b <- mean(h_b, h_a..)`. Keep tokens neither leave nor take anything in.
//!
//! **Differs from the paper in**: the order of the tokens is kept, there they are arranged anew for the scan; one scan direction,
//! there step sizes are summed over several; as many targets as sources, which is this program's reading of the split.

use std::sync::Arc;

use crate::error::PlanError;
use crate::blocks::importance::{Importance, Source, Widths, DT_MEAN};
use crate::blocks::merges_of;
use crate::blocks::partition::Split;
use crate::plan::Plan;
use crate::blocks::rank;
use crate::registry::{Family, Registration};
use crate::rule::{Combine, DeviceRule, Features, HostRule, Rule};
use crate::view::SequenceView;
use ssm_model::SignalSet;

const FEATURES: Features = Features { source: Source::BlockOutput, clip: false, window: None };

#[derive(Debug)]
struct Mtr;

impl Mtr {
    fn importance() -> Importance {
        Importance::new(&DT_MEAN, Source::Dt)
    }

    /// Sources and targets among `candidates`, ascending.
    fn split(view: &SequenceView<'_>, candidates: &[u32], n_remove: usize) -> Result<Split, PlanError> {
        let all = Self::importance().scores(view)?;
        let scores: Vec<f32> = candidates.iter().map(|row| all[*row as usize]).collect();
        let ranking = rank::ascending(&scores)?;
        let rows = |part: &[u32]| {
            let mut rows: Vec<u32> = part.iter().map(|index| candidates[*index as usize]).collect();
            rows.sort_unstable();
            rows
        };
        let (sources, rest) = ranking.split_at(n_remove);
        Ok(Split { sources: rows(sources), targets: rows(&rest[..n_remove.min(rest.len())]) })
    }
}

impl HostRule for Mtr {
    fn signals(&self) -> SignalSet {
        Self::importance().signals()
    }

    fn on_device(&self) -> Option<DeviceRule> {
        Some(DeviceRule::LowestIntoNext { importance: Self::importance(), features: FEATURES })
    }

    fn matching_flops(&self, n: usize, n_kept: usize, widths: Widths) -> f64 {
        let n_remove = n - n_kept;
        2.0 * n_remove as f64 * n_remove.min(n_kept) as f64 * widths.of(FEATURES.source) as f64
    }

    fn plan(&self, view: &SequenceView<'_>, n_keep: usize) -> Result<Plan, PlanError> {
        let candidates = view.reducible();
        let split = Self::split(view, &candidates, candidates.len() - n_keep)?;
        let edges = FEATURES.match_up(view, &split)?;
        let keep = (0..view.len() as u32).filter(|row| split.sources.binary_search(row).is_err()).collect();
        let merges = merges_of(view, &edges, Combine::Mean);
        Plan::new(view.len(), keep, merges.clone(), merges)
    }
}

inventory::submit! {
    Registration {
        name: "mtr",
        family: Family::StateAware,
        version: 1,
        summary: "Tokens with the smallest step sizes merge into the most similar of the next larger ones; the rest is left alone.",
        source: "MTR, Ma et al. 2025, https://arxiv.org/abs/2507.14042 (no code found)",
        formula: "S_t = (1/D) sum_d dt_td; r = n - n_keep; Source = r lowest, Target = next r, Keep = rest; \
                  a in Source -> argmax_{b in Target} cos(h_a, h_b); x_b <- mean(x_b, x_a..)",
        differs: "Order kept instead of arranged anew; one scan direction; as many targets as sources (the split as read here).",
        options: &[],
        seeded: false,
        build: &|_| Rule::Host(Arc::new(Mtr)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Sequence;
    use crate::view::Matrix;
    use ssm_model::Signal;

    #[test]
    fn three_groups_by_hand() {
        // Mean step sizes 1, 5, 2, 9, 3, 4: to leave four, sources 0 and 2, targets 4 and 5. Row 3 is most similar to 0, but
        // kept apart.
        let rows = [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.6, 0.8], [0.8, 0.6]];
        let sequence = Sequence::of_rows(&rows);
        let dt = [0.0, 2.0, 4.0, 6.0, 2.0, 2.0, 9.0, 9.0, 3.0, 3.0, 4.0, 4.0];
        let view = sequence.view().with_signal(Signal::Dt, Matrix { values: &dt, rows: 6, columns: 2 });
        let plan = Mtr.plan(&view, 4).unwrap();
        assert_eq!(plan.keep(), [1, 3, 4, 5]);
        assert_eq!(plan.merged(), [(0, 5), (2, 4)]);
        // To leave one, all others are sources and it alone is the target.
        assert_eq!(Mtr.plan(&view, 1).unwrap().merged(), [(0, 3), (1, 3), (2, 3), (4, 3), (5, 3)]);
        // Two sources, two targets, ten columns; five sources, one target.
        let widths = Widths { d_model: 10, d_inner: 20, dt: 2 };
        assert!((Mtr.matching_flops(6, 4, widths) - 80.0).abs() < 1e-9);
        assert!((Mtr.matching_flops(6, 1, widths) - 100.0).abs() < 1e-9);
    }
}
