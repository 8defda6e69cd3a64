//! `write_read`: tokens that wrote much and read little stay; those that read much and wrote little are dropped.
//!
//! This program's; `docs/better-rule.md` tells how it was found, tuned and judged. How strongly a token writes into the state is
//! its step size, `h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t` (MTR 2025, <https://arxiv.org/abs/2507.14042>; `DeciMamba` 2025,
//! <https://arxiv.org/abs/2406.14528>). What a token reads from the state leaves the block and is added to its own row. The rule
//! takes the size of that output as the amount read: a reading changes a token's own prediction, which nobody scores inside
//! a context, and what it is made of is still in the state. The two measures have no common scale, so their ranks are
//! compared ([`crate::blocks::rank_sum`]). Formula, over the unprotected tokens of a sequence:
//!
//! ```text
//! S_t = r(W_t) - weight r(R_t),   W_t = (1/D) sum_d dt_td,   R_t = (1/D) sum_d max(0, h_td)
//! keep = the n_keep highest S_t
//! ```
//!
//! with `r` the share of tokens below, `dt` the step sizes and `h` the output of the block before the site. Ties go to the lower
//! index. Costs two sums over rows and two sorts; no token is compared with another, nothing is learned.
//!
//! `ranks: write_swapped` (`read_swapped`) is a control for what the ranks say of single tokens: over the unprotected tokens that arrive at
//! a site, counted 0, 1, 2, .. in order of position, the tokens 2k and 2k + 1 exchange their ranks of the writing (of the reading);
//! of an odd number the last keeps its own. The ranks that occur, and where in the sequence they occur, stay.
//!
//! **Differs from its sources in**: MTR merges and `DeciMamba` prunes inside one layer, both by the step size alone. The
//! released code of Zhan et al. keeps the lowest clipped block outputs (`evit_released`), there by mistake.

use std::sync::Arc;

use ssm_model::SignalSet;

use crate::error::PlanError;
use crate::blocks::importance::{Importance, Source, metric};
use crate::blocks::online::{REMOVED_OPTION, into_next, removed};
use crate::options::{OptionDefault, OptionInfo, OptionKind};
use crate::plan::{BranchMerges, Plan};
use crate::blocks::rank;
use crate::blocks::rank_sum::{self, Ranks, Term};
use crate::registry::{Family, Registration};
use crate::rule::{DeviceRule, Extreme, HostRule, Removed, Rule};
use crate::view::SequenceView;

const WRITE_OPTION: OptionInfo = OptionInfo {
    name: "write",
    kind: OptionKind::Choice(&["dt_mean", "dt_l2", "write_norm"]),
    default: OptionDefault::Word("dt_mean"),
    help: "how strongly a token writes into the state",
};

const READ_OPTION: OptionInfo = OptionInfo {
    name: "read",
    kind: OptionKind::Choice(&["clip", "l2", "sum"]),
    default: OptionDefault::Word("clip"),
    help: "how much a token took from the state: a metric of the block output",
};

const WEIGHT_OPTION: OptionInfo = OptionInfo {
    name: "weight",
    kind: OptionKind::Number { min: 0.0, max: 8.0 },
    default: OptionDefault::Number(1.0),
    help: "how much the rank of the reading counts beside that of the writing",
};

const RANKS_OPTION: OptionInfo = OptionInfo {
    name: "ranks",
    kind: OptionKind::Choice(&["own", "write_swapped", "read_swapped"]),
    default: OptionDefault::Word("own"),
    help: "own: each token has its ranks; write_swapped, read_swapped: neighbours (tokens 2k and 2k + 1) exchange that rank, as a control",
};

#[derive(Debug)]
struct WriteRead {
    terms: [Term; 2],
    removed: Removed,
}

impl HostRule for WriteRead {
    fn signals(&self) -> SignalSet {
        rank_sum::signals(&self.terms)
    }

    fn on_device(&self) -> Option<DeviceRule> {
        // Exchanged ranks are a control, and no kernel knows them.
        let own = self.terms.iter().all(|term| term.ranks == Ranks::Own);
        own.then(|| DeviceRule::RankSum { terms: self.terms.to_vec(), removed: self.removed })
    }

    fn plan(&self, view: &SequenceView<'_>, n_keep: usize) -> Result<Plan, PlanError> {
        let candidates = view.reducible();
        let scores = rank_sum::scores(&self.terms, view, &candidates)?;
        let mut stays = view.protected.to_vec();
        for index in rank::highest(&scores, n_keep)? {
            stays[candidates[index as usize] as usize] = true;
        }
        let keep = (0..view.len() as u32).filter(|row| stays[*row as usize]).collect();
        let merges = match self.removed {
            Removed::Dropped => BranchMerges::default(),
            Removed::IntoNext => into_next(view, &stays),
        };
        Plan::new(view.len(), keep, merges.clone(), merges)
    }
}

inventory::submit! {
    Registration {
        name: "write_read",
        family: Family::StateAware,
        version: 1,
        summary: "Tokens that wrote much into the state and read little from it stay, by the difference of the two ranks.",
        source: "this program's; step size as importance: MTR, Ma et al. 2025, https://arxiv.org/abs/2507.14042",
        formula: "S_t = r((1/D) sum_d dt_td) - weight r((1/D) sum_d max(0, h_td)), r = share of tokens below; \
                  keep = the n_keep highest S_t",
        differs: "MTR and DeciMamba rank by the step size alone; the released EViT keeps low block outputs by mistake.",
        options: &[WRITE_OPTION, READ_OPTION, WEIGHT_OPTION, RANKS_OPTION, REMOVED_OPTION],
        seeded: false,
        build: &|options| {
            let (write, read) = (metric(options.word("write")), metric(options.word("read")));
            let term = |metric, source, keep, weight, swapped| {
                let ranks = if options.word("ranks") == swapped { Ranks::Swapped } else { Ranks::Own };
                Term { importance: Importance::new(metric, source), keep, weight, ranks }
            };
            Rule::Host(Arc::new(WriteRead {
                terms: [
                    term(write, Source::Dt, Extreme::Highest, 1.0, "write_swapped"),
                    term(read, Source::BlockOutput, Extreme::Lowest, options.number("weight"), "read_swapped"),
                ],
                removed: removed(options),
            }))
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::options::OptionValue;
    use crate::interpret::plan_sequence;
    use crate::registry::Strategy;
    use crate::testing::Sequence;
    use crate::view::Matrix;
    use ssm_model::Signal;

    fn rule(options: &[(&str, OptionValue)]) -> Rule {
        let options: BTreeMap<_, _> = options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Strategy::new("write_read", &options).unwrap().rule()
    }

    /// Clipped means of the rows 1, 4, 2, 0, 3, 9; mean step sizes 5, 4, 1, 2, 3, 9. Row 5 is protected.
    fn plan(options: &[(&str, OptionValue)], keep_ratio: f64) -> Plan {
        let rows = [[2.0, -9.0], [4.0, 4.0], [1.0, 3.0], [-1.0, 0.0], [0.0, 6.0], [9.0, 9.0]];
        let mut sequence = Sequence::of_rows(&rows);
        sequence.tokens.protected[5] = true;
        let dt = [4.0, 6.0, 4.0, 4.0, 0.0, 2.0, 2.0, 2.0, 3.0, 3.0, 9.0, 9.0];
        let view = sequence.view().with_signal(Signal::Dt, Matrix { values: &dt, rows: 6, columns: 2 });
        plan_sequence(&rule(options), &view, keep_ratio).unwrap()
    }

    #[test]
    fn ranks_of_both_by_hand() {
        // Places in writing 4, 3, 0, 1, 2 and in reading 1, 4, 2, 0, 3: differences 3, -1, -2, 1, -1.
        assert_eq!(plan(&[], 0.4).keep(), [0, 3, 5]);
        // Rows 1 and 4 tie: the lower index stays.
        assert_eq!(plan(&[], 0.6).keep(), [0, 1, 3, 5]);
        assert_eq!(plan(&[], 0.8).keep(), [0, 1, 3, 4, 5]);
        // Without the reading the step size decides; at four times the weight the differences are 0, -13, -8, 1, -10.
        assert_eq!(plan(&[("weight", OptionValue::Number(0.0))], 0.4).keep(), [0, 1, 5]);
        assert_eq!(plan(&[("weight", OptionValue::Number(4.0))], 0.6).keep(), [0, 2, 3, 5]);
    }

    #[test]
    fn neighbours_exchange_ranks_by_hand() {
        let swapped = |word: &str| vec![("ranks", OptionValue::Word(word.to_owned()))];
        // Places in writing 3, 4, 1, 0, 2: differences 2, 0, -1, 0, -1.
        assert_eq!(plan(&swapped("write_swapped"), 0.4).keep(), [0, 1, 5]);
        assert_eq!(plan(&swapped("write_swapped"), 0.6).keep(), [0, 1, 3, 5]);
        // Places in reading 4, 1, 0, 2, 3: differences 0, 2, 0, -1, -1.
        assert_eq!(plan(&swapped("read_swapped"), 0.4).keep(), [0, 1, 5]);
        assert_eq!(plan(&swapped("read_swapped"), 0.6).keep(), [0, 1, 2, 5]);
    }

    #[test]
    fn what_leaves_can_go_into_the_next_that_stays() {
        let merging = [("removed", OptionValue::Word("merge".to_owned()))];
        let merged = plan(&merging, 0.4);
        assert_eq!(merged.keep(), [0, 3, 5]);
        assert_eq!(merged.merged(), [(1, 3), (2, 3)]);
        // Row 4 has none but the protected one behind it.
        assert_eq!(merged.dropped(), [4]);
    }

    #[test]
    fn a_layer_without_step_sizes_is_named() {
        let sequence = Sequence::of_rows(&[[1.0], [2.0], [3.0]]);
        let error = plan_sequence(&rule(&[]), &sequence.view(), 0.5).unwrap_err();
        assert!(matches!(error, PlanError::MissingSignal(Signal::Dt)), "{error}");
    }
}
