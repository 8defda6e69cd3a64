//! `little_changed`: tokens whose residual stream the block changed least are dropped.
//!
//! Formula: `S_t = 1 - cos(r_t, r_t + h_t)`, with `r` the residual stream that the block read and `h` its output; keep the first
//! `sinks` tokens of the text and the highest `S_t`. This is the block influence of Men et al. 2024 (`ShortGPT`), per token.
//!
//! **Differs from the paper in**: the paper removes layers by the mean of this score; here it removes tokens.

use std::sync::Arc;

use ssm_model::{Signal, SignalSet};

use crate::PlanError;
use crate::blocks::rank;
use crate::options::{OptionDefault, OptionInfo, OptionKind, ResolvedOptions};
use crate::registry::{Family, Registration};
use crate::rule::{HostRule, Rule};
use crate::vectors::{dot, norm};
use crate::{Plan, SequenceView};

const SINKS: OptionInfo = OptionInfo {
    name: "sinks",
    kind: OptionKind::Integer { min: 0, max: 64 },
    default: OptionDefault::Integer(4),
    help: "tokens at the start of the text that rank first",
};

const WEIGHT: OptionInfo = OptionInfo {
    name: "weight",
    kind: OptionKind::Choice(&["none", "dt"]),
    default: OptionDefault::Word("none"),
    help: "dt: the score is multiplied by the mean step size of the token",
};

inventory::submit! {
    Registration {
        name: "little_changed",
        family: Family::Pruning,
        version: 1,
        summary: "Tokens whose residual stream the block changed least are dropped.",
        source: "docs/adding-a-strategy.md; score of Men et al. 2024 (ShortGPT)",
        formula: "S_t = 1 - cos(r_t, r_t + h_t); keep = the first `sinks` tokens, then the highest S_t",
        differs: "The paper removes layers by the mean of this score.",
        options: &[SINKS, WEIGHT],
        seeded: false,
        build: &build,
    }
}

fn build(options: &ResolvedOptions) -> Rule {
    Rule::Host(Arc::new(LittleChanged {
        sinks: options.integer("sinks") as u32,
        weighted: options.word("weight") == "dt",
    }))
}

// Rules that print alike share their plans, so `Debug` is derived and every field that changes a plan is a field.
#[derive(Debug)]
struct LittleChanged {
    sinks: u32,
    weighted: bool,
}

impl LittleChanged {
    /// The score of one row; 0 where a vector has no direction.
    fn score(&self, view: &SequenceView<'_>, row: usize) -> Result<f32, PlanError> {
        if view.positions[row] < self.sinks {
            return Ok(f32::INFINITY);
        }
        let before = view.residual.row(row);
        // What the next block reads: the residual stream after a block is `hidden + residual`.
        let after: Vec<f32> = view.hidden.row(row).iter().zip(before).map(|(h, r)| h + r).collect();
        let norms = norm(before) * norm(&after);
        let change = if norms > 0.0 { 1.0 - dot(before, &after) / norms } else { 0.0 };
        let weight = if self.weighted {
            let dt = view.signal(Signal::Dt)?.row(row);
            dt.iter().map(|dt| f64::from(*dt)).sum::<f64>() / dt.len() as f64
        } else {
            1.0
        };
        Ok((change * weight) as f32)
    }
}

impl HostRule for LittleChanged {
    fn signals(&self) -> SignalSet {
        if self.weighted { SignalSet::of(&[Signal::Dt]) } else { SignalSet::default() }
    }

    fn plan(&self, view: &SequenceView<'_>, n_keep: usize) -> Result<Plan, PlanError> {
        let candidates = view.reducible(); // protected tokens take no part
        let scores = candidates.iter().map(|row| self.score(view, *row as usize)).collect::<Result<Vec<f32>, _>>()?;
        let mut is_kept = view.protected.to_vec();
        // `rank` settles ties and refuses NaN.
        for index in rank::highest(&scores, n_keep)? {
            is_kept[candidates[index as usize] as usize] = true;
        }
        Plan::prune(view.len(), (0..view.len() as u32).filter(|row| is_kept[*row as usize]).collect())
    }
}
