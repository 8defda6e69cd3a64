//! The interpreter of rules on the host: one sequence, one plan.

use crate::blocks::random::{self, Purpose};
use crate::blocks::rank;
use crate::error::PlanError;
use crate::plan::{Plan, SitePlan};
use crate::rule::{Extreme, Placement, Rule, Score};
use crate::schedule;
use crate::view::{Draw, Matrix, Reads, SegmentTokens, SequenceView, SiteStream, map_sequences};

/// Number of tokens that `rule` keeps of a sequence: the protected ones and its share of the others; all of them at a
/// keep ratio of 1. Known before anything runs; none where the count is free, unless all tokens are protected.
#[must_use]
pub fn n_kept(rule: &Rule, keep_ratio: f64, protected: &[bool]) -> Option<usize> {
    n_kept_of(rule, keep_ratio, protected.len(), protected.iter().filter(|protected| **protected).count())
}

/// As [`n_kept`], from counts: of `n` tokens, `protected` are protected.
#[must_use]
pub fn n_kept_of(rule: &Rule, keep_ratio: f64, n: usize, protected: usize) -> Option<usize> {
    let reducible = n - protected;
    if reducible == 0 || (keep_ratio >= 1.0 && !rule.count().is_free()) {
        return Some(n);
    }
    Some(protected + rule.kept(schedule::n_keep(keep_ratio, reducible), reducible)?)
}

/// The plan of `rule` for one sequence at one site.
///
/// Protected tokens are kept untouched; of the others `schedule::n_keep(keep_ratio, unprotected)` are kept, or what the
/// rule declares ([`Rule::kept`]). Where that is all of them the plan is the identity. A rule of free count keeps as many as it
/// decides, whatever the ratio is.
///
/// # Errors
/// A ratio outside (0, 1], a missing signal, or a host rule that breaks its word.
pub fn plan_sequence(rule: &Rule, view: &SequenceView<'_>, keep_ratio: f64) -> Result<Plan, PlanError> {
    if !(keep_ratio > 0.0 && keep_ratio <= 1.0) {
        return Err(PlanError::KeepRatio(keep_ratio));
    }
    view.check()?;
    let n = view.protected.iter().filter(|protected| !**protected).count();
    let is_free = rule.count().is_free();
    let n_keep = if is_free { n } else { schedule::n_keep(keep_ratio, n) };
    let expected = n_kept(rule, keep_ratio, view.protected);
    if expected == Some(view.len()) {
        return Ok(Plan::identity(view.len()));
    }
    let plan = match rule {
        Rule::Online(rule) => rule.plan(view, keep_ratio)?,
        rule => plan_of(rule, view, n_keep)?,
    };
    verify(&plan, view, expected)?;
    Ok(plan)
}

/// The plan of a rule that is asked for `n_keep` of the unprotected tokens, whatever ratio that is.
///
/// # Errors
/// A missing signal, or a rule that decides tokens in order: its quotas follow from the ratio.
pub(crate) fn plan_of(rule: &Rule, view: &SequenceView<'_>, n_keep: usize) -> Result<Plan, PlanError> {
    match rule {
        Rule::Identity => Ok(Plan::identity(view.len())),
        Rule::Prune(score) => prune(*score, view, &view.reducible(), n_keep),
        Rule::Pair(rule) => rule.plan(view, n_keep),
        Rule::Host(rule) => rule.plan(view, n_keep),
        Rule::Online(_) => Err(PlanError::NeedsRatio),
    }
}

/// The plan of a rule that looks at no value ([`Rule::is_blind`]), from the tokens' bookkeeping alone: what
/// [`plan_sequence`] makes of them whatever their values are.
///
/// # Errors
/// As [`plan_sequence`]; a rule that is not blind misses its signals.
pub fn plan_blind(rule: &Rule, keep_ratio: f64, draw: Draw, tokens: &SegmentTokens) -> Result<Plan, PlanError> {
    let nothing = Matrix { values: &[], rows: tokens.positions.len(), columns: 0 };
    let view = SequenceView { draw, ..SequenceView::new(tokens, nothing, nothing, draw) };
    plan_sequence(rule, &view, keep_ratio)
}

/// Plans every reducible segment of a stream, each by itself: neighbours cannot change a plan.
///
/// # Errors
/// Tables that do not describe the same stream, tensors that cannot be read, or what
/// [`plan_sequence`] refuses.
pub fn plan_site(rule: &Rule, keep_ratio: f64, seed: u64, stream: &SiteStream<'_>) -> Result<SitePlan, PlanError> {
    let plan = |view: &SequenceView<'_>| plan_sequence(rule, view, keep_ratio);
    let reads = Reads { hidden: !rule.is_blind(), residual: !rule.is_blind() && rule.reads_residual() };
    let plans = map_sequences(stream, rule.signals(), reads, seed, plan)?;
    Ok(SitePlan { plans })
}

fn prune(score: Score, view: &SequenceView<'_>, candidates: &[u32], n_keep: usize) -> Result<Plan, PlanError> {
    let n = candidates.len();
    let among = |scores: &[f32]| -> Vec<f32> { candidates.iter().map(|row| scores[*row as usize]).collect() };
    let chosen: Vec<u32> = match score {
        Score::Importance { importance, keep } => {
            let scores = among(&importance.scores(view)?);
            match keep {
                Extreme::Highest => rank::highest(&scores, n_keep)?,
                Extreme::Lowest => rank::lowest(&scores, n_keep)?,
            }
        }
        Score::Position(Placement::First) => (0..n_keep as u32).collect(),
        Score::Position(Placement::Last) => ((n - n_keep) as u32..n as u32).collect(),
        Score::Position(Placement::Evenly) => {
            evenly(&candidates.iter().map(|row| view.positions[*row as usize]).collect::<Vec<_>>(), n_keep)
        }
        Score::Random => {
            // Protected tokens draw too, so that protecting one does not shift the numbers of the others.
            let scores = among(&random::uniform(view.draw, Purpose::Score, view.len()));
            rank::highest(&scores, n_keep)?
        }
    };
    let mut stays = view.protected.to_vec();
    for index in &chosen {
        stays[candidates[*index as usize] as usize] = true;
    }
    let mut keep = Vec::with_capacity(view.len() - candidates.len() + chosen.len());
    keep.extend((0..view.len() as u32).filter(|row| stays[*row as usize]));
    Plan::prune(view.len(), keep)
}

/// Indices of the `n_keep` of `positions` (ascending) that stand most evenly: the span is cut into `n_keep` equal stretches,
/// and from the left each takes the position nearest to its centre that is still free, the later of two equally near
/// ones; enough are left for the stretches that follow. In whole numbers, so that every machine agrees.
fn evenly(positions: &[u32], n_keep: usize) -> Vec<u32> {
    let (Some(first), Some(last)) = (positions.first(), positions.last()) else { return Vec::new() };
    let span = i128::from(last - first) + 1;
    let mut next = 0;
    let stretches = 0..n_keep;
    stretches
        .map(|stretch| {
            // Distance of the centres of token and stretch, times 2 n_keep.
            let centre = (2 * stretch as i128 + 1) * span;
            let distance = |index: usize| {
                ((2 * i128::from(positions[index] - first) + 1) * n_keep as i128 - centre).unsigned_abs()
            };
            let end = positions.len() - (n_keep - stretch);
            while next < end && distance(next + 1) <= distance(next) {
                next += 1;
            }
            next += 1;
            next as u32 - 1
        })
        .collect()
}

/// Refuses a plan that does not keep what the rule and the protection promise. `expected`: none where the count is free.
fn verify(plan: &Plan, view: &SequenceView<'_>, expected: Option<usize>) -> Result<(), PlanError> {
    if plan.n_tokens() != view.len() {
        return Err(PlanError::Length { got: plan.n_tokens(), expected: view.len() });
    }
    match expected {
        Some(expected) if plan.keep().len() != expected => {
            return Err(PlanError::Count { got: plan.keep().len(), expected });
        }
        None if plan.keep().is_empty() => return Err(PlanError::NoneKept),
        _ => {}
    }
    for (row, _) in view.protected.iter().enumerate().filter(|(_, protected)| **protected) {
        match plan.keep().binary_search(&(row as u32)) {
            Ok(entry) if plan.residual_of()[entry] == row as u32 => {}
            Ok(_) => return Err(PlanError::Protected { token: row as u32, what: "gave another residual to" }),
            Err(_) => return Err(PlanError::Protected { token: row as u32, what: "removed" }),
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
    use std::sync::Arc;

    use hint::Hint;
    use ssm_model::Signal;

    use super::*;
    use crate::blocks::importance::{DT_MEAN, Importance, SUM, Source};
    use crate::rule::{Count, HostRule};
    use crate::testing::Sequence;

    fn keep(score: Score, sequence: &Sequence, ratio: f64) -> Vec<u32> {
        plan_sequence(&Rule::Prune(score), &sequence.view(), ratio).unwrap().keep().to_vec()
    }

    #[test]
    fn hand_computed_prunings() {
        let mut sequence = Sequence::of_rows(&[[1.0], [5.0], [2.0], [4.0], [3.0], [0.0], [9.0], [7.0]]);
        let importance = Importance::new(&SUM, Source::BlockOutput);
        let by = |keep| Score::Importance { importance, keep };
        assert_eq!(keep(by(Extreme::Highest), &sequence, 0.5), [1, 3, 6, 7]);
        assert_eq!(keep(by(Extreme::Lowest), &sequence, 0.5), [0, 2, 4, 5]);
        assert_eq!(keep(Score::Position(Placement::First), &sequence, 0.5), [0, 1, 2, 3]);
        assert_eq!(keep(Score::Position(Placement::Last), &sequence, 0.5), [4, 5, 6, 7]);
        assert_eq!(keep(Score::Position(Placement::Evenly), &sequence, 0.5), [1, 3, 5, 7]);
        assert_eq!(keep(Score::Position(Placement::Evenly), &sequence, 0.9), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(keep(Score::Random, &sequence, 0.25).len(), 2);
        // Two protected and ceil(0.5 * 6) others.
        sequence.tokens.protected[0] = true;
        sequence.tokens.protected[5] = true;
        assert_eq!(keep(by(Extreme::Highest), &sequence, 0.5), [0, 1, 5, 6, 7]);
        assert_eq!(keep(Score::Position(Placement::Last), &sequence, 0.5), [0, 4, 5, 6, 7]);
    }

    #[test]
    fn evenly_spaced_places_by_hand() {
        let all: Vec<u32> = (0..10).collect();
        // Centres 1.25, 3.75, 6.25, 8.75 of tokens that stand at 0.5, 1.5, ..: the place that holds the centre.
        assert_eq!(evenly(&all, 4), [1, 3, 6, 8]);
        // 4 and 5 are gone, as an earlier site might leave it: centres 0.83, 2.5, 4.17, 5.83, 7.5, 9.17 (2.5 and 7.5 lie
        // in the middle of a token). 4.17 has 3 and 6 beside it, at 0.67 and 2.33; the stretch after it takes 6.
        assert_eq!(evenly(&[0, 1, 2, 3, 6, 7, 8, 9], 6), [0, 2, 3, 4, 5, 7]);
        // All that is left where the end needs it.
        assert_eq!(evenly(&[0, 1, 2, 9], 3), [1, 2, 3]);
        assert_eq!(evenly(&[5], 1), [0]);
        assert!(evenly(&[], 0).is_empty());
    }

    /// Longest run of removed tokens after thinning `n` tokens at seven sites.
    fn longest_gap(n: usize, keep_ratio: f64, thin: impl Fn(&[u32], usize) -> Vec<u32>) -> u32 {
        let mut left: Vec<u32> = (0..n as u32).collect();
        for _ in 0..7 {
            let places = thin(&left, schedule::n_keep(keep_ratio, left.len()));
            left = places.into_iter().map(|place| left[place as usize]).collect();
        }
        left.windows(2).map(|pair| pair[1] - pair[0] - 1).max().unwrap_or(0)
    }

    /// Taking the same relative places at every site digs ever deeper in the same spots.
    #[test]
    fn repeated_thinning_stays_even() {
        let same_places = |left: &[u32], n_keep: usize| -> Vec<u32> {
            (0..n_keep).map(|j| ((2 * j + 1) * left.len() / (2 * n_keep)) as u32).collect()
        };
        for (n, keep_ratio, most) in [(60, 0.97, 1), (200, 0.97, 1), (200, 0.93, 2), (200, 0.9, 2)] {
            assert_eq!(longest_gap(n, keep_ratio, same_places), 7, "{n} tokens, keep_ratio {keep_ratio}");
            let gap = longest_gap(n, keep_ratio, evenly);
            assert!(gap <= most, "{n} tokens, keep_ratio {keep_ratio}: {gap}");
        }
    }

    /// Keeps the rows whose first value is positive, and says that the data decides how many they are.
    #[derive(Debug)]
    struct Positive;

    impl HostRule for Positive {
        fn count(&self) -> Count {
            Count::Free { threshold: None }
        }

        fn plan(&self, view: &SequenceView<'_>, n_keep: usize) -> Result<Plan, PlanError> {
            assert_eq!(n_keep, view.reducible().len(), "all of them may be kept");
            let keep = (0..view.len() as u32).filter(|row| view.hidden.row(*row as usize)[0] > 0.0);
            Plan::prune(view.len(), keep.collect())
        }
    }

    #[test]
    fn a_free_count_is_known_once_planned_and_keeps_a_token() {
        let rule = Rule::Host(Arc::new(Positive));
        let plan = |sequence: &Sequence, ratio| plan_sequence(&rule, &sequence.view(), ratio);
        let mut sequence = Sequence::of_rows(&[[1.0], [-1.0], [2.0], [3.0]]);
        for ratio in [0.1, 0.9, 1.0] {
            assert_eq!(n_kept(&rule, ratio, &[false; 4]), None);
            assert_eq!(plan(&sequence, ratio).unwrap().keep(), [0, 2, 3], "no ratio is asked");
        }
        sequence.tokens.protected[1] = true;
        let error = plan(&sequence, 1.0).unwrap_err();
        assert!(matches!(error, PlanError::Protected { token: 1, .. }), "{error}");
        let error = plan(&Sequence::of_rows(&[[-1.0], [0.0]]), 1.0).unwrap_err();
        assert!(matches!(error, PlanError::NoneKept) && error.hint().is_some(), "{error}");
        // Where nothing is reducible there is nothing to decide.
        let mut closed = Sequence::of_rows(&[[-1.0]]);
        closed.tokens.protected[0] = true;
        assert_eq!(n_kept(&rule, 1.0, &[true]), Some(1));
        assert!(plan(&closed, 1.0).unwrap().is_identity());
    }

    #[test]
    fn a_ratio_out_of_range_and_a_missing_signal_are_refused() {
        let sequence = Sequence::of_rows(&[[1.0], [2.0]]);
        for ratio in [0.0, -0.5, 1.5, f64::NAN] {
            let error = plan_sequence(&Rule::Identity, &sequence.view(), ratio).unwrap_err();
            assert!(matches!(error, PlanError::KeepRatio(_)) && error.hint().is_some());
        }
        let importance = Importance::new(&DT_MEAN, Source::SsmOutput);
        let rule = Rule::Prune(Score::Importance { importance, keep: Extreme::Highest });
        let error = plan_sequence(&rule, &sequence.view(), 0.5).unwrap_err();
        assert!(matches!(error, PlanError::MissingSignal(Signal::Dt)));
        assert!(plan_sequence(&rule, &sequence.view(), 1.0).unwrap().is_identity());
    }
}
