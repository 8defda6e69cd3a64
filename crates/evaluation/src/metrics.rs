//! From item scores to metrics, as per-item contributions that any aggregate can be rebuilt from.

use crate::evaluate::ItemScore;
use crate::tasks::{Item, TaskKind};

/// How contributions become a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// `sum(value) / sum(weight)`.
    Mean,
    /// `exp(-sum(value) / sum(weight))`.
    ExpNegMean,
}

/// One metric with what each item adds to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// lm-evaluation-harness's name where it has one.
    pub name: &'static str,
    /// Rule that turns contributions into the value.
    pub aggregate: Aggregate,
    /// `(value, weight)` per item.
    pub contributions: Vec<(f64, f64)>,
}

impl Metric {
    /// The aggregated value; none where the weights sum to zero.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        let (sum, weight) =
            self.contributions.iter().fold((0.0, 0.0), |(sum, total), (value, weight)| (sum + value, total + weight));
        (weight > 0.0).then(|| match self.aggregate {
            Aggregate::Mean => sum / weight,
            Aggregate::ExpNegMean => (-sum / weight).exp(),
        })
    }
}

/// Index of the highest value, the first among equals.
fn highest(values: impl Iterator<Item = f64>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (index, value) in values.enumerate() {
        if best.is_none_or(|(_, highest)| value > highest) {
            best = Some((index, value));
        }
    }
    best.map(|(index, _)| index)
}

/// The choice with the highest log-likelihood, where the item has several.
#[must_use]
pub fn predicted(item: &Item, score: &ItemScore) -> Option<u32> {
    item.gold?;
    highest(score.choices.iter().map(|choice| choice.loglikelihood)).map(|index| index as u32)
}

/// Whether the item counts as right: the predicted choice is the gold one, or the target is the greedy continuation;
/// none for running text.
#[must_use]
pub fn correct(kind: TaskKind, item: &Item, score: &ItemScore) -> Option<bool> {
    match kind {
        TaskKind::MultipleChoice => Some(predicted(item, score) == item.gold),
        TaskKind::Target => Some(score.choices[0].greedy),
        TaskKind::RunningText => None,
    }
}

/// All metrics of a kind of task.
#[must_use]
pub fn metrics(kind: TaskKind, items: &[Item], scores: &[ItemScore]) -> Vec<Metric> {
    let metric = |name, aggregate, contribution: &dyn Fn(&Item, &ItemScore) -> (f64, f64)| Metric {
        name,
        aggregate,
        contributions: items.iter().zip(scores).map(|(item, score)| contribution(item, score)).collect(),
    };
    let right = |is_right: bool| (f64::from(u8::from(is_right)), 1.0);
    let acc = metric("acc", Aggregate::Mean, &|item, score| right(correct(kind, item, score) == Some(true)));
    let perplexity = metric("perplexity", Aggregate::ExpNegMean, &|_, score| {
        (score.choices[0].loglikelihood, score.choices[0].asked as f64)
    });
    match kind {
        TaskKind::MultipleChoice => {
            let acc_norm = metric("acc_norm", Aggregate::Mean, &|item, score| {
                let per_byte = score.choices.iter().zip(&item.requests);
                let best =
                    highest(per_byte.map(|(choice, request)| choice.loglikelihood / request.bytes.max(1) as f64));
                right(best.map(|index| index as u32) == item.gold)
            });
            vec![acc, acc_norm]
        }
        TaskKind::Target => {
            let token_acc = metric("token_acc", Aggregate::Mean, &|_, score| {
                let hits = score.choices[0].tokens.iter().filter(|target| target.hit).count();
                (hits as f64, score.choices[0].asked as f64)
            });
            vec![acc, token_acc, perplexity]
        }
        TaskKind::RunningText => {
            let recalls = |item: &Item, score: &ItemScore| -> Vec<(f32, bool)> {
                let choice = &score.choices[0];
                let is_recall = |index: u32| item.recalls.binary_search(&(choice.context_len as u32 + index)).is_ok();
                choice.tokens.iter().filter(|t| is_recall(t.index)).map(|t| (t.log_prob, t.hit)).collect()
            };
            let recall_perplexity = metric("recall_perplexity", Aggregate::ExpNegMean, &|item, score| {
                let recalls = recalls(item, score);
                (recalls.iter().map(|(ll, _)| f64::from(*ll)).sum(), recalls.len() as f64)
            });
            let recall_acc = metric("recall_acc", Aggregate::Mean, &|item, score| {
                let recalls = recalls(item, score);
                (recalls.iter().filter(|(_, hit)| *hit).count() as f64, recalls.len() as f64)
            });
            vec![perplexity, recall_perplexity, recall_acc]
        }
    }
}
