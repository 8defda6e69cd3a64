//! Guards: what a protocol must fulfil before its numbers mean anything. They run before every sweep.
//!
//! `upstream` fails some of them by nature; that failure, measured, is a result.

use serde::Serialize;
use ssm_model::LanguageModel;

use crate::error::EvaluationError;
use crate::protocol::CAUSAL;
use crate::run::{Reduction, Settings, Setup, evaluate, evaluate_oracle};
use crate::score::Evaluation;
use crate::tasks::{Item, TaskKind};

/// Outcome of one guard.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GuardOutcome {
    /// `oracle`, `identity`, `alone` or `causal`.
    pub guard: &'static str,
    /// Whether the protocol holds what it must.
    pub passed: bool,
    /// Share of the checked values that are right.
    pub measured: f64,
    /// Number of checked values.
    pub checked: usize,
    /// What was measured, in words.
    pub meaning: &'static str,
}

impl GuardOutcome {
    fn new(guard: &'static str, meaning: &'static str, right: usize, checked: usize) -> Self {
        let measured = if checked == 0 { 1.0 } else { right as f64 / checked as f64 };
        Self { guard, passed: right == checked, measured, checked, meaning }
    }
}

/// An oracle, certain of the true successor of the token in every surviving row, must be right on every target. Under
/// `aligned` and `causal` this is asked of the covered targets: the protocol itself says which ones are not.
///
/// # Errors
/// As [`evaluate`].
pub fn oracle(setup: &Setup<'_>) -> Result<GuardOutcome, EvaluationError> {
    let evaluation = evaluate_oracle(setup, Settings::default())?;
    let choices = evaluation.items.iter().flat_map(|item| &item.choices);
    let partial = setup.scoring.protocol().reports_coverage;
    let (mut right, mut checked) = (0, 0);
    for choice in choices {
        let counts = |covered: bool| covered || !partial;
        right += choice.tokens.iter().filter(|target| counts(target.covered) && target.hit).count();
        // Rows that `upstream` cuts away count as wrong: they were asked for.
        checked += if partial { choice.covered } else { choice.asked };
    }
    Ok(GuardOutcome::new("oracle", "targets that an oracle gets right", right, checked))
}

/// At keep ratio 1 a strategy must give the dense scores, bit for bit. A rule of free count has no such ratio: its sites alone must not
/// change a score.
///
/// # Errors
/// As [`evaluate`].
pub fn identity(setup: &Setup<'_>) -> Result<GuardOutcome, EvaluationError> {
    let kept = setup.reduction.keeping_all();
    let dense = evaluate(&Setup { reduction: &Reduction::dense(), ..*setup }, Settings::default())?;
    let reduced = evaluate(&Setup { reduction: &kept, ..*setup }, Settings::default())?;
    Ok(compare("identity", "scores that keep ratio 1 leaves as they are", &dense, &reduced))
}

/// An item alone must score as it does among others, bit for bit.
///
/// # Errors
/// As [`evaluate`].
pub fn alone(setup: &Setup<'_>) -> Result<GuardOutcome, EvaluationError> {
    let together = evaluate(setup, Settings::default())?;
    let settings = Settings { max_tokens: 1, ..Settings::default() };
    let alone = evaluate(&Setup { scoring: setup.scoring.alone(), ..*setup }, settings)?;
    Ok(compare("alone", "scores that do not depend on the batch", &together, &alone))
}

/// Where a strategy claims causality: changing the second half of the tokens must not change the scores of the first.
///
/// # Errors
/// As [`evaluate`]; a rule that claims no causality is refused.
pub fn causal(model: &LanguageModel, items: &[Item], reduction: &Reduction) -> Result<GuardOutcome, EvaluationError> {
    let texts: Vec<Item> = items.iter().map(Item::as_running_text).collect();
    let changed: Vec<Item> = texts
        .iter()
        .map(|item| {
            let mut item = item.clone();
            let tokens = &mut item.contexts[0].tokens;
            let half = tokens.len() / 2;
            tokens[half..].reverse();
            item
        })
        .collect();
    let run = |items: &[Item]| {
        let setup = Setup { model, kind: TaskKind::RunningText, items, scoring: CAUSAL.defaults(), reduction };
        evaluate(&setup, Settings::default())
    };
    let (before, after) = (run(&texts)?, run(&changed)?);
    let (mut right, mut checked) = (0, 0);
    for (item, (a, b)) in texts.iter().zip(before.items.iter().zip(&after.items)) {
        let half = item.contexts[0].tokens.len() / 2;
        for (a, b) in a.choices[0].tokens.iter().zip(&b.choices[0].tokens) {
            // Target `index` is token `index + 1` of the text.
            if (a.index as usize) + 1 < half {
                checked += 1;
                right += usize::from(a.log_prob.to_bits() == b.log_prob.to_bits());
            }
        }
    }
    Ok(GuardOutcome::new("causal", "earlier scores that later tokens leave as they are", right, checked))
}

fn compare(guard: &'static str, meaning: &'static str, a: &Evaluation, b: &Evaluation) -> GuardOutcome {
    let choices = |evaluation: &Evaluation| -> Vec<u64> {
        let choices = evaluation.items.iter().flat_map(|item| &item.choices);
        choices.map(|choice| choice.loglikelihood.to_bits()).collect()
    };
    let (a, b) = (choices(a), choices(b));
    let right = a.iter().zip(&b).filter(|(a, b)| a == b).count();
    GuardOutcome::new(guard, meaning, right, a.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::{ChoiceScore, ItemScore, Work};

    fn evaluation(loglikelihoods: &[f64]) -> Evaluation {
        let choice = |loglikelihood: &f64| ChoiceScore {
            loglikelihood: *loglikelihood,
            greedy: false,
            tokens: Vec::new(),
            context_len: 1,
            asked: 1,
            covered: 1,
        };
        let choices = loglikelihoods.iter().map(choice).collect();
        let items = vec![ItemScore { choices, tokens_in: 0, tokens_kept: 0, necessary_kept: None }];
        Evaluation { items, sites: Vec::new(), plans: Vec::new(), work: Work::default() }
    }

    /// Bit for bit: a difference in the last place is a difference.
    #[test]
    fn scores_are_compared_bit_for_bit() {
        let same = compare("alone", "", &evaluation(&[-1.0, -2.0]), &evaluation(&[-1.0, -2.0]));
        assert!(same.passed && same.checked == 2);
        let other = compare("alone", "", &evaluation(&[-1.0, -2.0]), &evaluation(&[-1.0, (-2.0_f64).next_up()]));
        assert!(!other.passed && (other.measured - 0.5).abs() < 1e-12, "{other:?}");
    }
}
