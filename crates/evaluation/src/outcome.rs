//! From scored targets to answers, and from answers to items.

use serde::{Deserialize, Serialize};

use crate::error::EvaluationError;
use crate::evaluate::{ChoiceScore, ItemScore};
use crate::query::Query;
use crate::score::ScoredTarget;

/// What a query was answered: no more than the query itself does not say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "(usize, Vec<ScoredTarget>, usize)", into = "(usize, Vec<ScoredTarget>, usize)")]
pub(crate) struct Answer {
    /// Index of the query in its layout.
    pub(crate) query: usize,
    targets: Vec<ScoredTarget>,
    /// Necessary context tokens that survive.
    necessary_kept: usize,
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

    fn score(self, query: &Query) -> ChoiceScore {
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

/// Items from the answers to all queries and from the tokens in and kept of each item.
pub(crate) fn collect(queries: &[Query], answers: Vec<Option<Answer>>, tokens: &[(u64, u64)]) -> Vec<ItemScore> {
    let mut items: Vec<ItemScore> = tokens
        .iter()
        .map(|&(tokens_in, tokens_kept)| ItemScore {
            choices: Vec::new(),
            tokens_in,
            tokens_kept,
            necessary_kept: None,
        })
        .collect();
    let mut necessary: Vec<Vec<f64>> = vec![Vec::new(); items.len()];
    for (query, answer) in queries.iter().zip(answers) {
        let answer = answer.unwrap_or_else(|| unreachable!("every query is placed in one stretch"));
        let item = query.item as usize;
        if !query.necessary.is_empty() {
            necessary[item].push(answer.necessary_kept as f64 / query.necessary.len() as f64);
        }
        items[item].choices.push(answer.score(query));
    }
    for (item, shares) in items.iter_mut().zip(necessary) {
        if !shares.is_empty() {
            item.necessary_kept = Some(shares.iter().sum::<f64>() / shares.len() as f64);
        }
    }
    items
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
