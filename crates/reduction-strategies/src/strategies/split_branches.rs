//! `split_branches`: each branch keeps tokens of its own, so that hidden states and residual of a row come from different tokens.
//!
//! Not a method but the experiment behind a claim: Zhan et al. (EMNLP 2024, <https://aclanthology.org/2024.emnlp-main.100>, section
//! 4) reduce both branches at the same tokens, because different indices would add the hidden states of one token to the residual
//! of another. This rule does just that. The hidden states keep the `n_keep` tokens that `top_k` would keep; the residual keeps as many
//! by an importance of its own rows; then row after row the two are put together. Formula, with `K` and `K'` in ascending order:
//!
//! ```text
//! K  = the n_keep highest S(y_t)         (importance, source)
//! K' = the n_keep highest S'(r_t)        (residual_importance, residual rows r)
//! row i: hidden h_{K_i}, residual r_{K'_i}
//! ```
//!
//! Protected tokens keep their own residual: between two of them both branches keep the same number of tokens. Compare with `top_k` by
//! either importance, which drops the same amount at one set of tokens.
//!
//! **Differs from the paper in**: the paper warns of it and does not run it.

use std::sync::Arc;

use ssm_model::SignalSet;

use crate::error::PlanError;
use crate::blocks::importance::{IMPORTANCE_OPTION, Importance, ROW_IMPORTANCE_OPTION, SOURCE_OPTION, Source, metric};
use crate::options::OptionInfo;
use crate::plan::Plan;
use crate::blocks::rank;
use crate::registry::{Family, Registration};
use crate::rule::{DeviceRule, HostRule, Rule};
use crate::view::SequenceView;

const RESIDUAL_IMPORTANCE: OptionInfo = OptionInfo {
    name: "residual_importance",
    help: "metric of the residual by which the residual keeps its tokens",
    ..ROW_IMPORTANCE_OPTION
};

#[derive(Debug)]
struct SplitBranches {
    hidden: Importance,
    residual: Importance,
}

impl HostRule for SplitBranches {
    fn signals(&self) -> SignalSet {
        self.hidden.signals()
    }

    fn also_changes(&self) -> Option<&'static str> {
        (self.hidden != self.residual).then_some("keeps other tokens on the residual than on the hidden states")
    }

    fn on_device(&self) -> Option<DeviceRule> {
        Some(DeviceRule::SplitBranches { hidden: self.hidden, residual: self.residual })
    }

    fn plan(&self, view: &SequenceView<'_>, n_keep: usize) -> Result<Plan, PlanError> {
        let candidates = view.reducible();
        let of_candidates = |importance: Importance| {
            let scores = importance.scores(view)?;
            Ok::<_, PlanError>(candidates.iter().map(|row| scores[*row as usize]).collect::<Vec<f32>>())
        };
        let mut stays = view.protected.to_vec();
        for index in rank::highest(&of_candidates(self.hidden)?, n_keep)? {
            stays[candidates[index as usize] as usize] = true;
        }
        let scores = of_candidates(self.residual)?;
        let mut residual: Vec<u32> = (0..view.len() as u32).filter(|row| view.protected[*row as usize]).collect();
        let mut first = 0;
        for run in candidates.chunk_by(|a, b| !view.protected[*a as usize..*b as usize].contains(&true)) {
            let count = run.iter().filter(|row| stays[**row as usize]).count();
            let best = rank::highest(&scores[first..first + run.len()], count)?;
            residual.extend(best.into_iter().map(|index| run[index as usize]));
            first += run.len();
        }
        residual.sort_unstable();
        let keep = (0..view.len() as u32).filter(|row| stays[*row as usize]).collect();
        Plan::prune(view.len(), keep)?.with_residual_of(residual)
    }
}

inventory::submit! {
    Registration {
        name: "split_branches",
        family: Family::Control,
        version: 1,
        summary: "Hidden states and residual keep tokens of their own: rows of different tokens are added. Shows what that costs.",
        source: "this program's, for the warning of Zhan et al., EMNLP 2024, https://aclanthology.org/2024.emnlp-main.100, section 4",
        formula: "K = the n_keep highest S(y_t), K' = the n_keep highest S'(r_t), both ascending; row i: hidden h_{K_i}, residual r_{K'_i}",
        differs: "The paper warns of different indices on the two branches and does not run them.",
        options: &[IMPORTANCE_OPTION, SOURCE_OPTION, RESIDUAL_IMPORTANCE],
        seeded: false,
        build: &|options| {
            let metric = metric(options.word("residual_importance"));
            Rule::Host(Arc::new(SplitBranches {
                hidden: Importance::from_options(options),
                residual: Importance::new(metric, Source::Residual),
            }))
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::importance::CLIP;
    use crate::testing::Sequence;
    use crate::view::Matrix;

    #[test]
    fn each_branch_by_hand() {
        // Hidden states rank 4, 1, 0, .. and the residual 0, 3, 5, ..; row 2 is protected.
        let mut sequence = Sequence::of_rows(&[[3.0], [4.0], [0.0], [1.0], [5.0], [2.0]]);
        sequence.tokens.protected[2] = true;
        let residual = [9.0, 1.0, 0.0, 8.0, 2.0, 7.0];
        let view = SequenceView { residual: Matrix { values: &residual, rows: 6, columns: 1 }, ..sequence.view() };
        let rule = SplitBranches {
            hidden: Importance::new(&CLIP, Source::BlockOutput),
            residual: Importance::new(&CLIP, Source::Residual),
        };
        let plan = |n_keep| rule.plan(&view, n_keep).unwrap();
        // One on each side of the protected row: 1 and 4 on the hidden states, 0 and 3 on the residual.
        assert_eq!((plan(2).keep(), plan(2).residual_of()), (&[1, 2, 4][..], &[0, 2, 3][..]));
        // Two before it and one behind, on both.
        assert_eq!((plan(3).keep(), plan(3).residual_of()), (&[0, 1, 2, 4][..], &[0, 1, 2, 3][..]));
        assert_eq!(plan(2).dropped(), [0, 3, 5]);
    }
}
