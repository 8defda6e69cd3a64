//! `random_runs`: random runs of neighbouring tokens are dropped.
//!
//! The control for where gaps are: as many tokens as with `random` are removed, whatever they hold, and leave fewer gaps the longer the runs are.
//! Behind a gap a short convolution reads another word than the one that stood before, and attention reads another neighbour.
//! `drop_prefix` is the end of this line: one gap, at the start. Formula, with the `m` unprotected tokens in a circle that is cut into runs of `run`
//! from a random one on (the last run may be shorter, and one reaches from the end to the start):
//!
//! ```text
//! u_b ~ U[0, 1) per run b; runs are removed by ascending u_b until m - n_keep tokens are gone, of the last one its first tokens
//! ```
//!
//! With `run` at least `m` one stretch from a random place on is removed.

use std::sync::Arc;

use ssm_model::SignalSet;

use crate::blocks::random::{self, Purpose};
use crate::blocks::rank;
use crate::error::PlanError;
use crate::options::{OptionDefault, OptionInfo, OptionKind, ResolvedOptions};
use crate::plan::Plan;
use crate::registry::{Family, Registration};
use crate::rule::{HostRule, Rule};
use crate::view::SequenceView;

const RUN: OptionInfo = OptionInfo {
    name: "run",
    kind: OptionKind::Integer { min: 1, max: 65_536 },
    default: OptionDefault::Integer(16),
    help: "length of the runs, in tokens; 1 removes single tokens",
};

inventory::submit! {
    Registration {
        name: "random_runs",
        family: Family::Control,
        version: 1,
        summary: "Control: random runs of neighbouring tokens are dropped.",
        source: "control",
        formula: "u_b ~ U[0,1) per run of `run` tokens; runs go by ascending u_b until n - n_keep tokens are removed",
        differs: "",
        options: &[RUN],
        seeded: true,
        build: &build,
    }
}

fn build(options: &ResolvedOptions) -> Rule {
    Rule::Host(Arc::new(RandomRuns { run: options.integer("run").unsigned_abs() as usize }))
}

#[derive(Debug)]
struct RandomRuns {
    run: usize,
}

impl HostRule for RandomRuns {
    fn signals(&self) -> SignalSet {
        SignalSet::default()
    }

    fn plan(&self, view: &SequenceView<'_>, n_keep: usize) -> Result<Plan, PlanError> {
        let candidates = view.reducible();
        let tokens = candidates.len();
        let draws = random::uniform(view.draw, Purpose::Score, 1 + tokens.div_ceil(self.run));
        let start = (f64::from(draws[0]) * tokens as f64) as usize;
        let rows_of = |run: u32| {
            let first = run as usize * self.run;
            (first..(first + self.run).min(tokens)).map(|index| (start + index) % tokens)
        };
        let order = rank::ascending(&draws[1..])?;
        let removed = order.into_iter().flat_map(rows_of).take(tokens - n_keep);
        let mut is_kept = vec![true; view.len()];
        removed.for_each(|index| is_kept[candidates[index] as usize] = false);
        Plan::prune(view.len(), (0..view.len() as u32).filter(|row| is_kept[*row as usize]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::cases::{KINDS, Sequence};

    /// How many stretches of neighbouring tokens are gone.
    fn gaps(plan: &Plan, n: u32) -> usize {
        let is_kept = |row: u32| plan.keep().binary_search(&row).is_ok();
        (0..n).filter(|row| !is_kept(*row) && (*row == 0 || is_kept(row - 1))).count()
    }

    #[test]
    fn longer_runs_leave_fewer_gaps_and_as_many_tokens() {
        let sequence = Sequence::new(3, 200, KINDS[0]);
        let of = |run: usize| {
            let plan = RandomRuns { run }.plan(&sequence.view(7), 160).unwrap();
            assert_eq!(plan.keep().len(), 160, "{run}");
            gaps(&plan, 200)
        };
        assert!(of(1) > 20, "{}", of(1));
        // Forty tokens are two runs and a half, one of which may reach from the end to the start.
        assert!((2..=4).contains(&of(16)), "{}", of(16));
        assert!(of(1_000) <= 2);
        for run in [1, 7, 64] {
            for n_keep in [0, 1, 199, 200] {
                let plan = RandomRuns { run }.plan(&sequence.view(7), n_keep).unwrap();
                assert_eq!(plan.keep().len(), n_keep, "{run} {n_keep}");
            }
        }
    }
}
