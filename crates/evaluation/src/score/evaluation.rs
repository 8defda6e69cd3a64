//! An evaluation, and how it is put together from parts.

use super::answer::Answer;
use super::item::ItemScore;
use super::partial::Partial;
use super::trace::{ItemPlan, SiteTotals};
use super::work::Work;
use crate::batch::{Layout, Query};

/// Result of [`evaluate`](crate::evaluate).
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Scores, in item order.
    pub items: Vec<ItemScore>,
    /// What happened at each site, in layer order.
    pub sites: Vec<SiteTotals>,
    /// Plans of the first items.
    pub plans: Vec<ItemPlan>,
    /// What was executed.
    pub work: Work,
}

impl Layout {
    /// The evaluation of a cell, from the parts of all stretches in their order: the same bits as if it had run in one piece.
    ///
    /// # Panics
    /// Parts that are not those of this layout, each stretch once.
    #[must_use]
    pub fn evaluation(&self, parts: impl IntoIterator<Item = Partial>) -> Evaluation {
        let whole = parts.into_iter().reduce(Partial::then).unwrap_or_default();
        let mut tokens = vec![(0_u64, 0_u64); self.n_items];
        for (item, tokens_in, tokens_kept) in whole.tokens {
            tokens[item].0 += tokens_in;
            tokens[item].1 += tokens_kept;
        }
        let mut answers = vec![None; self.queries.len()];
        for answer in whole.answers {
            let query = answer.query;
            answers[query] = Some(answer);
        }
        Evaluation {
            items: collect(&self.queries, answers, &tokens),
            sites: whole.traces.sites(),
            plans: whole.traces.plans(),
            work: whole.work,
        }
    }
}

/// Items from the answers to all queries and from the tokens in and kept of each item.
fn collect(queries: &[Query], answers: Vec<Option<Answer>>, tokens: &[(u64, u64)]) -> Vec<ItemScore> {
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
