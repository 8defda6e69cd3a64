//! From scored targets to choices, and from choices to items.

use crate::error::EvaluationError;
use crate::evaluate::{ChoiceScore, ItemScore};
use crate::query::Query;
use crate::score::ScoredTarget;

/// A scored query.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    score: ChoiceScore,
    /// Necessary context tokens that survive, and how many there are.
    necessary: (usize, usize),
}

impl Choice {
    /// The answer to `query` from its scored targets. `survivors`: original positions, ascending, of the tokens left of
    /// the sequence that holds the context.
    pub(crate) fn new(query: &Query, own: Vec<ScoredTarget>, survivors: &[u32]) -> Result<Self, EvaluationError> {
        let kept = query.necessary.iter().filter(|position| survivors.binary_search(position).is_ok()).count();
        let loglikelihood: f64 = own.iter().map(|target| f64::from(target.log_prob)).sum();
        if !loglikelihood.is_finite() {
            return Err(EvaluationError::NotFinite { item: query.item, value: loglikelihood });
        }
        Ok(Self {
            score: ChoiceScore {
                loglikelihood,
                greedy: own.iter().all(|target| target.hit),
                context_len: query.context.len(),
                asked: query.scored.len(),
                covered: own.iter().filter(|target| target.covered).count(),
                tokens: own,
            },
            necessary: (kept, query.necessary.len()),
        })
    }
}

/// Items from the choices of all queries and from the tokens in and kept of each item.
pub(crate) fn collect(queries: &[Query], choices: Vec<Option<Choice>>, tokens: &[(u64, u64)]) -> Vec<ItemScore> {
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
    for (query, choice) in queries.iter().zip(choices) {
        let choice = choice.unwrap_or_else(|| unreachable!("every query is placed in one batch"));
        let item = query.item as usize;
        if choice.necessary.1 > 0 {
            necessary[item].push(choice.necessary.0 as f64 / choice.necessary.1 as f64);
        }
        items[item].choices.push(choice.score);
    }
    for (item, shares) in items.iter_mut().zip(necessary) {
        if !shares.is_empty() {
            item.necessary_kept = Some(shares.iter().sum::<f64>() / shares.len() as f64);
        }
    }
    items
}
