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
            // Running text asks for every token after its context, whatever was read.
            let asked = |item: &Item, score: &ItemScore| {
                let (from, to) = (score.choices[0].context_len, score.choices[0].context_len + score.choices[0].asked);
                item.recalls.iter().filter(|position| (from..to).contains(&(**position as usize))).count() as f64
            };
            let recalls = |item: &Item, score: &ItemScore| -> Vec<(f32, bool)> {
                let choice = &score.choices[0];
                let is_recall = |index: u32| item.recalls.binary_search(&(choice.context_len as u32 + index)).is_ok();
                choice.tokens.iter().filter(|t| is_recall(t.index)).map(|t| (t.log_prob, t.hit)).collect()
            };
            let recall_perplexity = metric("recall_perplexity", Aggregate::ExpNegMean, &|item, score| {
                let recalls = recalls(item, score);
                (recalls.iter().map(|(ll, _)| f64::from(*ll)).sum(), asked(item, score))
            });
            let recall_acc = metric("recall_acc", Aggregate::Mean, &|item, score| {
                let recalls = recalls(item, score);
                (recalls.iter().filter(|(_, hit)| *hit).count() as f64, asked(item, score))
            });
            vec![perplexity, recall_perplexity, recall_acc]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::ChoiceScore;
    use crate::score::ScoredTarget;
    use crate::tasks::{Context, Request};

    fn item(gold: Option<u32>, bytes: &[usize], recalls: &[u32]) -> Item {
        let request = |bytes: &usize| Request { context: 0, continuation: vec![1], scored: vec![0], bytes: *bytes };
        Item {
            id: "i".to_owned(),
            gold,
            contexts: vec![Context { tokens: vec![1], necessary: Vec::new() }],
            requests: bytes.iter().map(request).collect(),
            recalls: recalls.to_vec(),
        }
    }

    /// One choice with `(log-probability, hit)` per token, of which `asked` were asked for.
    fn choice(tokens: &[(f32, bool)], asked: usize) -> ChoiceScore {
        let target = |(index, (log_prob, hit)): (usize, &(f32, bool))| ScoredTarget {
            index: index as u32,
            log_prob: *log_prob,
            hit: *hit,
            covered: true,
        };
        ChoiceScore {
            loglikelihood: tokens.iter().map(|(log_prob, _)| f64::from(*log_prob)).sum(),
            greedy: tokens.iter().all(|(_, hit)| *hit),
            tokens: tokens.iter().enumerate().map(target).collect(),
            context_len: 1,
            asked,
            covered: tokens.len(),
        }
    }

    fn score(choices: Vec<ChoiceScore>) -> ItemScore {
        ItemScore { choices, tokens_in: 0, tokens_kept: 0, necessary_kept: None }
    }

    fn value(metrics: &[Metric], name: &str) -> f64 {
        metrics.iter().find(|metric| metric.name == name).unwrap().value().unwrap()
    }

    fn assert_near(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-12, "{got} instead of {want}");
    }

    #[test]
    fn choices_are_ranked_by_sum_and_by_sum_per_byte() {
        // The short choice has the higher sum, the long one the higher sum per byte: -2/2 < -3/6.
        let items = [item(Some(0), &[2, 6], &[]), item(Some(1), &[2, 6], &[]), item(Some(1), &[2, 6], &[])];
        let scores = vec![score(vec![choice(&[(-2.0, false)], 1), choice(&[(-3.0, false)], 1)]); 3];
        let metrics = metrics(TaskKind::MultipleChoice, &items, &scores);
        assert_near(value(&metrics, "acc"), 1.0 / 3.0);
        assert_near(value(&metrics, "acc_norm"), 2.0 / 3.0);
    }

    #[test]
    fn equal_choices_go_to_the_first() {
        let items = [item(Some(1), &[2, 2], &[])];
        let scores = [score(vec![choice(&[(-2.0, false)], 1); 2])];
        assert_eq!(predicted(&items[0], &scores[0]), Some(0));
        assert_near(value(&metrics(TaskKind::MultipleChoice, &items, &scores), "acc"), 0.0);
    }

    #[test]
    fn targets_count_whole_and_by_token() {
        let items = [item(None, &[1], &[]), item(None, &[1], &[])];
        let all = choice(&[(-0.5, true)], 1);
        let half = choice(&[(-1.0, true), (-1.5, false), (-1.0, true)], 3);
        let metrics = metrics(TaskKind::Target, &items, &[score(vec![all]), score(vec![half])]);
        assert_near(value(&metrics, "acc"), 0.5);
        assert_near(value(&metrics, "token_acc"), 3.0 / 4.0);
        assert_near(value(&metrics, "perplexity"), (4.0_f64 / 4.0).exp());
    }

    /// The released code's best possible score is the one that has read nothing; tokens asked for still divide.
    #[test]
    fn no_rows_count_as_exact_match_but_not_as_right_tokens() {
        let items = [item(None, &[1], &[])];
        let scores = [score(vec![choice(&[], 2)])];
        let metrics = metrics(TaskKind::Target, &items, &scores);
        assert_near(scores[0].choices[0].loglikelihood, 0.0);
        assert_near(value(&metrics, "acc"), 1.0);
        assert_near(value(&metrics, "perplexity"), 1.0);
        assert_near(value(&metrics, "token_acc"), 0.0);
    }

    #[test]
    fn running_text_tells_recalled_words_apart() {
        // Target `index` is word `index + 1` of the text: words 2 and 3 recall something.
        let items = [item(None, &[], &[2, 3])];
        let scores = [score(vec![choice(&[(-1.0, true), (-2.0, false), (-4.0, true)], 3)])];
        let metrics = metrics(TaskKind::RunningText, &items, &scores);
        assert_near(value(&metrics, "perplexity"), (7.0_f64 / 3.0).exp());
        assert_near(value(&metrics, "recall_perplexity"), 3.0_f64.exp());
        assert_near(value(&metrics, "recall_acc"), 0.5);
        assert_eq!(correct(TaskKind::RunningText, &items[0], &scores[0]), None);
    }

    /// Targets that were asked for and not read divide, recalled ones too; those of the context were not asked for.
    #[test]
    fn recalled_words_that_were_not_read_still_divide() {
        // Words 2, 3 and 4 recall something; only the targets 1 and 2 (words 2 and 3) of 4 were read; word 0 is context.
        let items = [item(None, &[], &[0, 2, 3, 4])];
        let mut read = choice(&[(-1.0, true), (-2.0, false)], 4);
        for (target, index) in read.tokens.iter_mut().zip([1, 2]) {
            target.index = index;
        }
        let metrics = metrics(TaskKind::RunningText, &items, &[score(vec![read])]);
        assert_near(value(&metrics, "recall_perplexity"), (3.0_f64 / 3.0).exp());
        assert_near(value(&metrics, "recall_acc"), 1.0 / 3.0);
        assert_near(value(&metrics, "perplexity"), (3.0_f64 / 4.0).exp());
    }

    #[test]
    fn nothing_weighed_has_no_value() {
        let metric = Metric { name: "acc", aggregate: Aggregate::Mean, contributions: Vec::new() };
        assert_eq!(metric.value(), None);
    }
}
