//! `top_p`: the most important tokens that hold a share `p` of the importance are kept; the rest is dropped.
//!
//! Nucleus sampling (Holtzman et al., ICLR 2020, <https://arxiv.org/abs/1904.09751>) keeps the smallest set of words that holds a share
//! `p` of the probability. Here tokens take the place of words, and importance that of probability. Formula: with masses
//! `m_t = max(0, S_t)` in descending order, keep the shortest prefix whose sum is at least `p` of the whole.
//!
//! The count is free: a sequence whose importance is concentrated keeps few tokens, one in which all tokens are alike keeps a share `p`
//! of them. At least one token is kept. Where no token has any mass, all are kept.
//!
//! **Differs from the paper in**: nothing is sampled, and importance is no distribution.

use std::sync::Arc;

use ssm_model::SignalSet;

use crate::blocks::importance::{IMPORTANCE_OPTION, Importance, SOURCE_OPTION, Source};
use crate::blocks::rank;
use crate::error::PlanError;
use crate::options::{OptionDefault, OptionInfo, OptionKind};
use crate::plan::Plan;
use crate::registry::{Family, Registration};
use crate::rule::{Count, HostRule, Rule};
use crate::vectors::positive;
use crate::view::SequenceView;

const P: OptionInfo = OptionInfo {
    name: "p",
    kind: OptionKind::Number { min: 0.0, max: 1.0 },
    default: OptionDefault::Number(0.9),
    help: "share of the importance that the kept tokens hold",
};

#[derive(Debug)]
struct TopP {
    importance: Importance,
    p: f64,
}

impl HostRule for TopP {
    fn signals(&self) -> SignalSet {
        self.importance.signals()
    }

    fn reads_residual(&self) -> bool {
        self.importance.source() == Some(Source::Residual)
    }

    fn count(&self) -> Count {
        Count::Free { threshold: Some(P.name) }
    }

    fn plan(&self, view: &SequenceView<'_>, _n_keep: usize) -> Result<Plan, PlanError> {
        let candidates = view.reducible();
        let scores = self.importance.scores(view)?;
        let masses: Vec<f32> = candidates.iter().map(|row| positive(scores[*row as usize])).collect();
        let ranking = rank::descending(&masses)?;
        // Both sums run in the order of the ranking, so that a share of 1 is reached exactly.
        let total: f64 = ranking.iter().map(|index| f64::from(masses[*index as usize])).sum();
        let mut kept = view.protected.to_vec();
        let mut held = 0.0;
        for (place, index) in ranking.into_iter().enumerate() {
            if total > 0.0 && place > 0 && held >= self.p * total {
                break;
            }
            held += f64::from(masses[index as usize]);
            kept[candidates[index as usize] as usize] = true;
        }
        Plan::prune(view.len(), (0..view.len() as u32).filter(|row| kept[*row as usize]).collect())
    }
}

inventory::submit! {
    Registration {
        name: "top_p",
        family: Family::Pruning,
        version: 1,
        summary: "The most important tokens that hold a share p of the importance are kept, the rest is dropped; the count is free.",
        source: "nucleus sampling, Holtzman et al., ICLR 2020, https://arxiv.org/abs/1904.09751",
        formula: "m_t = max(0, S_t); keep = the shortest prefix of the tokens by descending m_t with sum m_t >= p sum_all m_t",
        differs: "Tokens of a sequence instead of words of a vocabulary; importance instead of probability; nothing is sampled.",
        options: &[P, IMPORTANCE_OPTION, SOURCE_OPTION],
        seeded: false,
        build: &|options| {
            Rule::Host(Arc::new(TopP { importance: Importance::from_options(options), p: options.number("p") }))
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::importance::SUM;
    use crate::interpret::plan_sequence;
    use crate::testing::Sequence;

    fn keep(p: f64, sequence: &Sequence) -> Vec<u32> {
        let rule = TopP { importance: Importance::new(&SUM, Source::BlockOutput), p };
        plan_sequence(&Rule::Host(Arc::new(rule)), &sequence.view(), 1.0).unwrap().keep().to_vec()
    }

    #[test]
    fn shares_by_hand() {
        // Masses 4, 0, 1, 3, 2 of 10.
        let mut sequence = Sequence::of_rows(&[[4.0], [-7.0], [1.0], [3.0], [2.0]]);
        assert_eq!(keep(0.0, &sequence), [0]);
        assert_eq!(keep(0.4, &sequence), [0]);
        assert_eq!(keep(0.41, &sequence), [0, 3]);
        assert_eq!(keep(0.9, &sequence), [0, 3, 4]);
        assert_eq!(keep(1.0, &sequence), [0, 2, 3, 4], "a token without mass adds nothing");
        // What is protected takes no part: 4, 0, 1, 2 are left, and six sevenths are 4 and 2.
        sequence.tokens.protected[3] = true;
        assert_eq!(keep(6.0 / 7.0, &sequence), [0, 3, 4]);
    }

    #[test]
    fn without_any_mass_everything_is_kept() {
        assert_eq!(keep(0.5, &Sequence::of_rows(&[[-1.0], [0.0], [-2.0]])), [0, 1, 2]);
    }
}
