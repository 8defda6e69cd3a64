//! `evit_released`: the `EViT` baseline as released by Zhan et al., bug for bug: the least important tokens stay.
//!
//! `wuyushuwys/ToR_SSM` @ 2e9fc62, `evit` in `src/pom/modules/pom.py:32-47` (default path), scores in `mamba_wrap.py:49-59`.
//! Formula: `S_t = sum_d max(0, h_td)`, a sum of exactly 0 becoming negative infinity; sorted ascending, every token up to
//! the value at rank `n_keep` (from 0) stays, so the `n_keep + 1` LOWEST stay, on both branches.
//!
//! **Differs from the paper in**: the paper's baseline keeps the most important tokens; block output instead of SSM output;
//! one token more than asked stays. See `top_k` for the rule the right way up.
//!
//! The release keeps all tokens tied at the threshold; here ties go by index, so that the count is known beforehand.
//! Protected tokens take no part.

use std::sync::Arc;

use crate::error::PlanError;
use crate::vectors::positive;
use crate::plan::Plan;
use crate::blocks::rank;
use crate::registry::{Family, Registration};
use crate::blocks::released::{METRIC_OPTION, clips};
use crate::rule::{Count, DeviceRule, HostRule, Rule};
use crate::view::SequenceView;

#[derive(Debug)]
struct EvitReleased {
    clip: bool,
}

impl EvitReleased {
    /// The score of the release: the sum over the channels, in order.
    fn score(&self, view: &SequenceView<'_>, row: u32) -> Result<f32, PlanError> {
        let values = view.hidden.row(row as usize).iter();
        let sum: f64 = values.map(|value| f64::from(if self.clip { positive(*value) } else { *value })).sum();
        let score = sum as f32;
        if !score.is_finite() {
            return Err(view.not_finite("the sum of the hidden states", row as usize, score));
        }
        Ok(if sum == 0.0 { f32::NEG_INFINITY } else { score })
    }
}

impl HostRule for EvitReleased {
    fn reads_residual(&self) -> bool {
        false
    }

    fn on_device(&self) -> Option<DeviceRule> {
        Some(DeviceRule::ReleasedLowest { clip: self.clip })
    }

    fn count(&self) -> Count {
        Count::Own("one token more than asked stays, as released")
    }

    fn kept(&self, n_keep: usize, n: usize) -> usize {
        (n_keep + 1).min(n)
    }

    fn plan(&self, view: &SequenceView<'_>, n_keep: usize) -> Result<Plan, PlanError> {
        let candidates = view.reducible();
        let scores = candidates.iter().map(|row| self.score(view, *row)).collect::<Result<Vec<f32>, _>>()?;
        let mut stays = view.protected.to_vec();
        for index in rank::lowest(&scores, self.kept(n_keep, candidates.len()))? {
            stays[candidates[index as usize] as usize] = true;
        }
        Plan::prune(view.len(), (0..view.len() as u32).filter(|row| stays[*row as usize]).collect())
    }
}

inventory::submit! {
    Registration {
        name: "evit_released",
        family: Family::Released,
        version: 1,
        summary: "The EViT baseline as released by Zhan et al., bug for bug: the n_keep + 1 LEAST important tokens stay.",
        source: "Zhan et al., EMNLP 2024; wuyushuwys/ToR_SSM src/pom/modules/pom.py:32-47 and mamba_wrap.py:49-59 @ 2e9fc62 (evit)",
        formula: "S_t = sum_d max(0, h_td), 0 -> -inf; keep = the n_keep + 1 lowest S_t",
        differs: "Upside down (the paper's baseline keeps the most important); block output instead of SSM output; one token \
                  too many. The release keeps all ties at the threshold, here ties go by index.",
        options: &[METRIC_OPTION],
        seeded: false,
        build: &|options| Rule::Host(Arc::new(EvitReleased { clip: clips(options) })),
    }
}
