//! From scored targets to the answer to a query.

use serde::{Deserialize, Serialize};

use super::item::ChoiceScore;
use super::target::ScoredTarget;
use crate::batch::Query;
use crate::error::EvaluationError;

/// What a query was answered: no more than the query itself does not say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "(usize, Vec<ScoredTarget>, usize)", into = "(usize, Vec<ScoredTarget>, usize)")]
pub(crate) struct Answer {
    /// Index of the query in its layout.
    pub(crate) query: usize,
    targets: Vec<ScoredTarget>,
    /// Necessary context tokens that survive.
    pub(super) necessary_kept: usize,
}

impl Answer {
    /// The answer to `query`, the one of index `index`, from its scored targets. `survivors`: original positions, ascending, of
    /// the tokens left of the sequence that holds the context.
    pub(crate) fn new(
        index: usize,
        query: &Query,
        targets: Vec<ScoredTarget>,
        survivors: &[u32],
    ) -> Result<Self, EvaluationError> {
        let value = loglikelihood(&targets);
        if !value.is_finite() {
            return Err(EvaluationError::NotFinite { item: query.item, value });
        }
        let necessary_kept =
            query.necessary.iter().filter(|position| survivors.binary_search(position).is_ok()).count();
        Ok(Self { query: index, targets, necessary_kept })
    }

    pub(super) fn score(self, query: &Query) -> ChoiceScore {
        ChoiceScore {
            loglikelihood: loglikelihood(&self.targets),
            greedy: self.targets.iter().all(|target| target.hit),
            context_len: query.context.len(),
            asked: query.scored.len(),
            covered: self.targets.iter().filter(|target| target.covered).count(),
            tokens: self.targets,
        }
    }
}

fn loglikelihood(targets: &[ScoredTarget]) -> f64 {
    targets.iter().map(|target| f64::from(target.log_prob)).sum()
}

impl TryFrom<(usize, Vec<ScoredTarget>, usize)> for Answer {
    type Error = String;

    /// What [`Answer::new`] would refuse is refused when it is read back, too.
    fn try_from((query, targets, necessary_kept): (usize, Vec<ScoredTarget>, usize)) -> Result<Self, String> {
        match loglikelihood(&targets) {
            value if value.is_finite() => Ok(Self { query, targets, necessary_kept }),
            value => Err(format!("the log-likelihood of query {query} is {value}")),
        }
    }
}

impl From<Answer> for (usize, Vec<ScoredTarget>, usize) {
    fn from(answer: Answer) -> Self {
        (answer.query, answer.targets, answer.necessary_kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_no_number_is_not_read_back() {
        let answer = |log_prob: f32| {
            let targets = vec![ScoredTarget { index: 0, log_prob, hit: true, covered: true }];
            serde_json::to_string(&Answer { query: 3, targets, necessary_kept: 1 }).unwrap()
        };
        assert!(serde_json::from_str::<Answer>(&answer(-1.5)).is_ok());
        for log_prob in [f32::NAN, f32::NEG_INFINITY] {
            let refused = serde_json::from_str::<Answer>(&answer(log_prob)).unwrap_err().to_string();
            assert!(refused.contains("the log-likelihood of query 3 is "), "{refused}");
        }
    }
}
