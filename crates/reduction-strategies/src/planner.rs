//! The interpreter of rules on the host: one sequence, one plan.

use crate::error::PlanError;
use crate::plan::Plan;
use crate::random::{self, Purpose};
use crate::rank;
use crate::rule::{Extreme, Placement, Rule, Score};
use crate::schedule;
use crate::view::SequenceView;

/// Number of tokens that `rule` leaves of a sequence: the protected ones and its share of the others; all of them at a
/// keep ratio of 1. Known before anything runs.
#[must_use]
pub fn n_left(rule: &Rule, keep_ratio: f64, protected: &[bool]) -> usize {
    if keep_ratio >= 1.0 {
        return protected.len();
    }
    let reducible = protected.iter().filter(|protected| !**protected).count();
    protected.len() - reducible + rule.kept(schedule::n_keep(keep_ratio, reducible), reducible)
}

/// The plan of `rule` for one sequence at one site.
///
/// Protected tokens stay untouched; of the others `schedule::n_keep(keep_ratio, unprotected)` stay, or what the rule
/// declares ([`Rule::kept`]). Where that is all of them the plan is the identity.
///
/// # Errors
/// A ratio outside (0, 1], a missing signal, or a host rule that breaks its word.
pub fn plan_sequence(rule: &Rule, view: &SequenceView<'_>, keep_ratio: f64) -> Result<Plan, PlanError> {
    if !(keep_ratio > 0.0 && keep_ratio <= 1.0) {
        return Err(PlanError::KeepRatio(keep_ratio));
    }
    view.check()?;
    let candidates = view.reducible();
    let n_keep = schedule::n_keep(keep_ratio, candidates.len());
    let expected = n_left(rule, keep_ratio, view.protected);
    if expected == view.len() {
        return Ok(Plan::identity(view.len()));
    }
    let plan = match rule {
        Rule::Identity => Plan::identity(view.len()),
        Rule::Prune(score) => prune(*score, view, &candidates, n_keep)?,
        Rule::Pair(rule) => rule.plan(view, n_keep)?,
        Rule::Host(rule) => rule.plan(view, n_keep)?,
    };
    verify(&plan, view, expected)?;
    Ok(plan)
}

fn prune(score: Score, view: &SequenceView<'_>, candidates: &[u32], n_keep: usize) -> Result<Plan, PlanError> {
    let n = candidates.len();
    let among = |scores: &[f32]| -> Vec<f32> { candidates.iter().map(|row| scores[*row as usize]).collect() };
    let chosen: Vec<u32> = match score {
        Score::Importance { importance, keep } => {
            let scores = among(&importance.scores(view)?);
            let ranking = match keep {
                Extreme::Highest => rank::descending(&scores),
                Extreme::Lowest => rank::ascending(&scores),
            };
            rank::first(ranking, n_keep)
        }
        Score::Position(Placement::First) => (0..n_keep as u32).collect(),
        Score::Position(Placement::Last) => ((n - n_keep) as u32..n as u32).collect(),
        Score::Position(Placement::Evenly) => (0..n_keep).map(|j| ((2 * j + 1) * n / (2 * n_keep)) as u32).collect(),
        Score::Random => {
            // Protected tokens draw too, so that protecting one does not shift the numbers of the others.
            let scores = among(&random::uniform(view.draw, Purpose::Score, view.len()));
            rank::first(rank::descending(&scores), n_keep)
        }
    };
    let mut stays = view.protected.to_vec();
    for index in chosen {
        stays[candidates[index as usize] as usize] = true;
    }
    Plan::prune(view.len(), (0..view.len() as u32).filter(|row| stays[*row as usize]).collect())
}

/// Refuses a plan that does not keep what the rule and the protection promise.
fn verify(plan: &Plan, view: &SequenceView<'_>, expected: usize) -> Result<(), PlanError> {
    if plan.n_tokens() != view.len() {
        return Err(PlanError::Length { got: plan.n_tokens(), expected: view.len() });
    }
    if plan.keep().len() != expected {
        return Err(PlanError::Count { got: plan.keep().len(), expected });
    }
    for (row, _) in view.protected.iter().enumerate().filter(|(_, protected)| **protected) {
        if plan.keep().binary_search(&(row as u32)).is_err() {
            return Err(PlanError::Protected { token: row as u32, what: "removed" });
        }
    }
    for group in plan.hidden().groups.iter().chain(&plan.residual().groups) {
        if view.protected[group.into as usize] {
            return Err(PlanError::Protected { token: group.into, what: "merged into" });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::importance::{Importance, Metric, Source};
    use crate::testing::Sequence;

    fn keep(score: Score, sequence: &Sequence, ratio: f64) -> Vec<u32> {
        plan_sequence(&Rule::Prune(score), &sequence.view(), ratio).unwrap().keep().to_vec()
    }

    #[test]
    fn hand_computed_prunings() {
        let mut sequence = Sequence::of_rows(&[[1.0], [5.0], [2.0], [4.0], [3.0], [0.0], [9.0], [7.0]]);
        let importance = Importance::new(Metric::Sum, Source::BlockOutput);
        let by = |keep| Score::Importance { importance, keep };
        assert_eq!(keep(by(Extreme::Highest), &sequence, 0.5), [1, 3, 6, 7]);
        assert_eq!(keep(by(Extreme::Lowest), &sequence, 0.5), [0, 2, 4, 5]);
        assert_eq!(keep(Score::Position(Placement::First), &sequence, 0.5), [0, 1, 2, 3]);
        assert_eq!(keep(Score::Position(Placement::Last), &sequence, 0.5), [4, 5, 6, 7]);
        assert_eq!(keep(Score::Position(Placement::Evenly), &sequence, 0.5), [1, 3, 5, 7]);
        assert_eq!(keep(Score::Position(Placement::Evenly), &sequence, 0.9), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(keep(Score::Random, &sequence, 0.25).len(), 2);
        // Two protected and ceil(0.5 * 6) others.
        sequence.protected[0] = true;
        sequence.protected[5] = true;
        assert_eq!(keep(by(Extreme::Highest), &sequence, 0.5), [0, 1, 5, 6, 7]);
        assert_eq!(keep(Score::Position(Placement::Last), &sequence, 0.5), [0, 4, 5, 6, 7]);
    }

    #[test]
    fn a_ratio_out_of_range_and_a_missing_signal_are_refused() {
        let sequence = Sequence::of_rows(&[[1.0], [2.0]]);
        for ratio in [0.0, -0.5, 1.5, f64::NAN] {
            let error = plan_sequence(&Rule::Identity, &sequence.view(), ratio).unwrap_err();
            assert!(matches!(error, PlanError::KeepRatio(_)) && error.hint().is_some());
        }
        let importance = Importance::new(Metric::DtMean, Source::SsmOutput);
        let rule = Rule::Prune(Score::Importance { importance, keep: Extreme::Highest });
        let error = plan_sequence(&rule, &sequence.view(), 0.5).unwrap_err();
        assert!(matches!(error, PlanError::MissingSignal("dt")));
        assert!(plan_sequence(&rule, &sequence.view(), 1.0).unwrap().is_identity());
    }
}
