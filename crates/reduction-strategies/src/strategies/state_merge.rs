//! `state_merge`: similar neighbours become one token that leaves the state which they would have left.
//!
//! This program's. The scan is a sum of writes, each forgotten since (Ali et al. 2024, <https://arxiv.org/abs/2403.01590>); a mean
//! of two tokens halves what they write together and forgets for one step instead of two. Two tokens `a`, `b` leave
//!
//! ```text
//! h = exp((dt_a + dt_b) A) h_before + exp(dt_b A) dt_a B_a x_a + dt_b B_b x_b
//! ```
//!
//! so that the row in their place must decay for `dt_a + dt_b` and write the weighted *sum*. Formula: pairs as in `local_merge`
//! with `window: 1`; with step sizes `dt_th` of this layer, `m_t = mean_h dt_th`, and
//! `w_t = mean_h dt_th exp(A_h sum_{s after t} dt_sh)` for the tokens `t` of a run, the row becomes `sum w_t x_t / sum w_t`, and in
//! the scans of all later layers its step size is multiplied by `sum m_t / m` in the decay and by `sum w_t / m` in what it
//! writes, `m = sum w_t m_t / sum w_t` ([`ssm_model::RowTime`]). Tokens that already stand for several count with their own
//! factors.
//!
//! Exact for the scan of a layer where the tokens share B (or x) and the step sizes of heads are alike; elsewhere the row's
//! write has rank one where two tokens wrote with rank two. Later layers compute dt, B and x anew from the merged row.
//! `carry` and `content` take it apart: `content: drop, carry: decay` removes the write alone and keeps the decay,
//! `content: merge, carry: nothing` keeps the content and loses the time, `content: drop, carry: nothing` loses both.
//!
//! Convolution and residual see one row.

use std::sync::Arc;

use ssm_kernels::ops::{MergeGroup, MergeRule};
use ssm_model::{RowTime, Signal, SignalSet};

use crate::error::PlanError;
use crate::blocks::importance::{Source, Widths};
use crate::options::{OptionDefault, OptionInfo, OptionKind};
use crate::plan::{BranchMerges, Plan};
use crate::registry::{Family, Registration};
use crate::rule::{Combine, DeviceRule, Features, HostRule, PairRule, Partition, Rule};
use crate::view::SequenceView;

const CARRY: OptionInfo = OptionInfo {
    name: "carry",
    kind: OptionKind::Choice(&["both", "decay", "write", "nothing"]),
    default: OptionDefault::Word("both"),
    help: "what the step size of a row takes over from the tokens that went into it",
};

const CONTENT: OptionInfo = OptionInfo {
    name: "content",
    kind: OptionKind::Choice(&["merge", "drop"]),
    default: OptionDefault::Word("merge"),
    help: "merge: the row becomes the weighted mean of its tokens; drop: it stays the last of them",
};

/// Pairs of neighbours; the mean is replaced by the weights of the writes.
const PAIRS: PairRule = PairRule {
    partition: Partition::EvenOdd,
    features: Features { source: Source::BlockOutput, clip: false, window: Some(1) },
    hidden: Combine::Mean,
    residual: Combine::Mean,
};

#[derive(Debug)]
struct StateMerge {
    decay: bool,
    write: bool,
    merge: bool,
}

/// Tokens that become one row, in order, and what their scans did.
struct Run {
    /// `w_t`: what is left of each write at the end of the run.
    writes: Vec<f64>,
    /// `m_t`: mean step size of each token before any factor.
    steps: Vec<f64>,
    /// Factors of each token in the decay.
    decays: Vec<f64>,
}

impl Run {
    fn of(view: &SequenceView<'_>, tokens: &[u32]) -> Result<Self, PlanError> {
        let dt = view.signal(Signal::Dt)?;
        let a = view.scan()?.a;
        let heads = dt.columns;
        let own = a.len() / heads.max(1);
        // Time from a token to the end of its run, by head.
        let mut after = vec![0.0_f64; heads];
        let (mut writes, mut steps, mut decays) = (Vec::new(), Vec::new(), Vec::new());
        for token in tokens.iter().rev() {
            let (row, time) = (dt.row(*token as usize), view.times[*token as usize]);
            let left = |head: usize| {
                (0..own).map(|state| (after[head] * f64::from(a[state * heads + head])).exp()).sum::<f64>() / own as f64
            };
            let write: f64 = row.iter().enumerate().map(|(head, dt)| f64::from(*dt) * left(head)).sum();
            writes.push(f64::from(time.write) * write / heads as f64);
            steps.push(row.iter().map(|dt| f64::from(*dt)).sum::<f64>() / heads as f64);
            decays.push(f64::from(time.decay));
            for (after, dt) in after.iter_mut().zip(row) {
                *after += f64::from(time.decay) * f64::from(*dt);
            }
        }
        for list in [&mut writes, &mut steps, &mut decays] {
            list.reverse();
        }
        Ok(Self { writes, steps, decays })
    }

    /// Weights of the tokens in the mean, the largest 1. A write that is lost in rounding still counts a little, so that
    /// every weight is positive.
    fn weights(&self) -> Vec<f32> {
        let largest = self.writes.iter().copied().fold(0.0, f64::max);
        let weight = |write: &f64| if largest > 0.0 { (write / largest).max(1e-9) as f32 } else { 1.0 };
        self.writes.iter().map(weight).collect()
    }

    /// Factors of the row that stands for all of them.
    fn time(&self) -> RowTime {
        let total: f64 = self.writes.iter().sum();
        let mean = self.writes.iter().zip(&self.steps).map(|(write, step)| write * step).sum::<f64>() / total;
        let decay = self.decays.iter().zip(&self.steps).map(|(decay, step)| decay * step).sum::<f64>() / mean;
        let time = RowTime { decay: decay as f32, write: (total / mean) as f32 };
        // Where no step has a length there is nothing to weigh: as many steps as the tokens had.
        let steps = self.decays.iter().sum::<f64>() as f32;
        if time.is_valid() { time } else { RowTime { decay: steps, write: steps } }
    }
}

impl HostRule for StateMerge {
    fn signals(&self) -> SignalSet {
        SignalSet::of(&[Signal::Dt, Signal::Scan])
    }

    fn also_changes(&self) -> Option<&'static str> {
        Some("lets kept tokens last longer")
    }

    fn matching_flops(&self, n: usize, n_kept: usize, widths: Widths) -> f64 {
        PAIRS.matching_flops(n, n_kept, widths)
    }

    fn on_device(&self) -> Option<DeviceRule> {
        let Self { decay, write, merge } = *self;
        Some(DeviceRule::MergeRuns { features: PAIRS.features, decay, write, merge })
    }

    fn plan(&self, view: &SequenceView<'_>, n_keep: usize) -> Result<Plan, PlanError> {
        let pairs = PAIRS.plan(view, n_keep)?;
        let (mut groups, mut times) = (Vec::new(), Vec::new());
        for group in &pairs.hidden().groups {
            let tokens: Vec<u32> = group.sources.iter().map(|(source, _)| *source).chain([group.into]).collect();
            let run = Run::of(view, &tokens)?;
            let (own, time) = (view.times[group.into as usize], run.time());
            times.push((
                group.into,
                RowTime {
                    decay: if self.decay { time.decay } else { own.decay },
                    write: if self.write { time.write } else { own.write },
                },
            ));
            let weights = run.weights();
            let sources = tokens.iter().zip(&weights).map(|(token, weight)| (*token, *weight));
            groups.push(MergeGroup {
                into: group.into,
                own_weight: weights[weights.len() - 1],
                sources: sources.take(group.sources.len()).collect(),
            });
        }
        let merges = if self.merge { BranchMerges { groups, rule: MergeRule::WeightedMean } } else { BranchMerges::default() };
        Plan::new(view.len(), pairs.keep().to_vec(), merges.clone(), merges)?.with_times(times)
    }
}

inventory::submit! {
    Registration {
        name: "state_merge",
        family: Family::StateAware,
        version: 1,
        summary: "Similar neighbours become one token whose decay and write in later scans are those of all its tokens.",
        source: "this program's; the scan as a sum of writes: Ali et al. 2024, https://arxiv.org/abs/2403.01590",
        formula: "pairs as local_merge with window 1; w_t = mean_h dt_th exp(A_h sum_{s after t} dt_sh), m_t = mean_h dt_th; \
                  x <- sum w_t x_t / sum w_t; later scans: dt * sum m_t / m in the decay, dt * sum w_t / m in the write, m = sum w_t m_t / sum w_t",
        differs: "Exact for one layer's scan where tokens share B and heads share dt; later layers compute dt, B and x from the merged row.",
        options: &[CARRY, CONTENT],
        seeded: false,
        build: &|options| {
            let carry = options.word("carry");
            Rule::Host(Arc::new(StateMerge {
                decay: matches!(carry, "both" | "decay"),
                write: matches!(carry, "both" | "write"),
                merge: options.word("content") == "merge",
            }))
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Sequence;
    use crate::view::{Matrix, ScanView};

    const A: f32 = -0.8;

    /// One head, one channel, one state: `h` after the rows `(dt, x)` with their factors.
    fn state(before: f64, rows: &[(f64, f64, RowTime)]) -> f64 {
        rows.iter().fold(before, |h, (dt, x, time)| {
            (f64::from(time.decay) * dt * f64::from(A)).exp() * h + f64::from(time.write) * dt * x
        })
    }

    /// The rule on tokens of one run: the merged value of `x`, the mean step size and the factors.
    fn merged(dt: &[f32], x: &[f64], times: &[RowTime]) -> (f64, f64, RowTime) {
        let mut sequence = Sequence::of_rows(&vec![[1.0]; dt.len()]);
        sequence.tokens.times = times.to_vec();
        let view = sequence.view().with_signal(Signal::Dt, Matrix { values: dt, rows: dt.len(), columns: 1 });
        let view = view.with_scan(ScanView { ngroups: 1, a: &[A] });
        let rule = StateMerge { decay: true, write: true, merge: true };
        let plan = rule.plan(&view, 1).unwrap();
        assert_eq!(plan.keep(), [dt.len() as u32 - 1]);
        let group = &plan.hidden().groups[0];
        let weights = group.sources.iter().map(|(_, weight)| *weight).chain([group.own_weight]).map(f64::from);
        let (mut sum, mut total, mut step) = (0.0, 0.0, 0.0);
        for ((weight, x), dt) in weights.zip(x).zip(dt) {
            (sum, total, step) = (sum + weight * x, total + weight, step + weight * f64::from(*dt));
        }
        (step / total, sum / total, plan.times()[0].1)
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-6 * a.abs().max(1.0), "{a} {b}");
    }

    /// What the rule is for, against the recurrence in float64: the state after the merged row is the state after its tokens.
    #[test]
    fn the_state_after_a_merged_row_is_that_after_its_tokens() {
        let one = RowTime::ONE;
        for (dt, x) in [(vec![0.5_f32, 0.25], vec![2.0, 3.0]), (vec![0.1, 0.9, 0.4, 0.7], vec![1.0, 5.0, -2.0, 0.5])] {
            let tokens: Vec<_> = dt.iter().zip(&x).map(|(dt, x)| (f64::from(*dt), *x, one)).collect();
            let row = merged(&dt, &x, &vec![one; dt.len()]);
            close(state(1.5, &tokens), state(1.5, &[row]));
            // A plain mean without factors is another state.
            let mean_step = dt.iter().map(|dt| f64::from(*dt)).sum::<f64>() / dt.len() as f64;
            let mean = (mean_step, x.iter().sum::<f64>() / x.len() as f64, one);
            assert!((state(1.5, &tokens) - state(1.5, &[mean])).abs() > 0.3);
        }
    }

    #[test]
    fn merging_again_counts_what_rows_already_stand_for() {
        let (dt, x) = ([0.5_f32, 0.25, 0.75], [2.0, -3.0, 1.0]);
        let one = RowTime::ONE;
        let tokens: Vec<_> = dt.iter().zip(&x).map(|(dt, x)| (f64::from(*dt), *x, one)).collect();
        let (step, value, time) = merged(&dt[..2], &x[..2], &[one; 2]);
        let again = merged(&[step as f32, dt[2]], &[value, x[2]], &[time, one]);
        close(state(-1.0, &tokens), state(-1.0, &[again]));
    }

    #[test]
    fn two_equal_tokens_by_hand() {
        let (step, value, time) = merged(&[0.5, 0.5], &[4.0, 4.0], &[RowTime::ONE; 2]);
        close(step, 0.5);
        close(value, 4.0);
        close(f64::from(time.decay), 2.0);
        close(f64::from(time.write), 1.0 + (0.5 * f64::from(A)).exp());
    }

    #[test]
    fn parts_can_be_carried_alone() {
        let mut sequence = Sequence::of_rows(&[[1.0], [1.0], [1.0]]);
        sequence.tokens.times[1] = RowTime { decay: 3.0, write: 2.0 };
        let view = sequence.view().with_signal(Signal::Dt, Matrix { values: &[0.5, 0.5, 0.5], rows: 3, columns: 1 });
        let view = view.with_scan(ScanView { ngroups: 1, a: &[A] });
        let plan = |decay, write, merge| StateMerge { decay, write, merge }.plan(&view, 2).unwrap();
        let time = |decay, write| plan(decay, write, true).times()[0].1;
        close(f64::from(time(true, true).decay), 4.0);
        close(f64::from(time(true, false).write), 2.0);
        close(f64::from(time(false, true).decay), 3.0);
        assert_eq!(plan(true, false, false).dropped(), [0]);
        assert_eq!(plan(true, true, true).merged(), [(0, 1)]);
    }
}
