//! From item scores to metrics, as per-item contributions that any aggregate can be rebuilt from.

pub use records::schema::Aggregate;

use super::item::ItemScore;
use crate::tasks::item::{Item, TaskKind, TokenClass};

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

/// Index of the highest value, the first among equals; none where a value is NaN, which is neither higher nor lower.
fn highest(values: impl Iterator<Item = f64>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (index, value) in values.enumerate() {
        if value.is_nan() {
            return None;
        }
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

/// A metric that a task may report. Two measures may share a name: they answer the same question of different tasks, as
/// lm-evaluation-harness counts them or as the reference tasks do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// `acc`: items that count as right ([`correct`]).
    Acc,
    /// `acc_norm`: items whose gold choice has the highest log-likelihood per character.
    AccNorm,
    /// `token_acc`: scored tokens that are the greedy ones.
    TokenAcc,
    /// `perplexity` of a scored token: of a target's in the reference tasks, of a text's.
    Perplexity,
    /// `perplexity` of a whole target, however many tokens it has: the harness's for LAMBADA.
    TargetPerplexity,
    /// `recall_perplexity`: of the words that recall an earlier fact.
    RecallPerplexity,
    /// `recall_acc`: such words that are the greedy ones.
    RecallAcc,
    /// `word_perplexity`: of a word of the original text.
    WordPerplexity,
    /// `byte_perplexity`: of a byte of the original text.
    BytePerplexity,
    /// `bits_per_byte`: binary logarithm of `byte_perplexity`.
    BitsPerByte,
    /// `loss`: nats of a scored token of the right answer, or of the text.
    Loss,
    /// `recall_loss`: nats of a token of a recalled word.
    RecallLoss,
    /// `recall_loss_near`: of one whose nearest earlier mention is less than 100 words back.
    RecallLossNear,
    /// `recall_loss_middle`: 100 to 299 words back.
    RecallLossMiddle,
    /// `recall_loss_far`: 300 to 999 words back.
    RecallLossFar,
    /// `recall_loss_farthest`: 1000 words back or more.
    RecallLossFarthest,
    /// `content_loss`: nats of a token of another content word.
    ContentLoss,
    /// `function_loss`: nats of a token of a function word.
    FunctionLoss,
    /// `other_loss`: nats of a token of punctuation.
    OtherLoss,
}

/// What the tasks of a kind report where they do not say otherwise.
#[must_use]
pub(crate) const fn measures(kind: TaskKind) -> &'static [Measure] {
    match kind {
        TaskKind::MultipleChoice => &[Measure::Acc, Measure::AccNorm, Measure::Loss],
        TaskKind::Target => &[Measure::Acc, Measure::TokenAcc, Measure::Perplexity, Measure::Loss],
        TaskKind::RunningText => &[Measure::Perplexity, Measure::RecallPerplexity, Measure::RecallAcc, Measure::Loss],
    }
}

/// The metrics that a kind of task reports where it does not say otherwise ([`Task::measures`](crate::tasks::Task::measures)).
#[must_use]
pub fn metrics(kind: TaskKind, items: &[Item], scores: &[ItemScore]) -> Vec<Metric> {
    measured(measures(kind), kind, items, scores)
}

/// Some metrics of the items of a task.
#[must_use]
pub fn measured(measures: &[Measure], kind: TaskKind, items: &[Item], scores: &[ItemScore]) -> Vec<Metric> {
    let all = measures.iter().map(|measure| (measure, measure.metric(kind, items, scores)));
    // A class of tokens that no text has is no question that was asked.
    let asked = |(measure, metric): &(&Measure, Metric)| {
        !measure.is_of_a_class() || metric.contributions.iter().any(|(_, weight)| *weight > 0.0)
    };
    all.filter(asked).map(|(_, metric)| metric).collect()
}

impl Measure {
    /// Name in records: lm-evaluation-harness's where it has one.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Acc => "acc",
            Self::AccNorm => "acc_norm",
            Self::TokenAcc => "token_acc",
            Self::Perplexity | Self::TargetPerplexity => "perplexity",
            Self::RecallPerplexity => "recall_perplexity",
            Self::RecallAcc => "recall_acc",
            Self::WordPerplexity => "word_perplexity",
            Self::BytePerplexity => "byte_perplexity",
            Self::BitsPerByte => "bits_per_byte",
            Self::Loss => "loss",
            Self::RecallLoss => "recall_loss",
            Self::RecallLossNear => "recall_loss_near",
            Self::RecallLossMiddle => "recall_loss_middle",
            Self::RecallLossFar => "recall_loss_far",
            Self::RecallLossFarthest => "recall_loss_farthest",
            Self::ContentLoss => "content_loss",
            Self::FunctionLoss => "function_loss",
            Self::OtherLoss => "other_loss",
        }
    }

    /// Whether it counts the tokens of one class.
    fn is_of_a_class(self) -> bool {
        matches!(
            self,
            Self::RecallLoss
                | Self::RecallLossNear
                | Self::RecallLossMiddle
                | Self::RecallLossFar
                | Self::RecallLossFarthest
                | Self::ContentLoss
                | Self::FunctionLoss
                | Self::OtherLoss
        )
    }

    fn aggregate(self) -> Aggregate {
        match self {
            Self::Perplexity
            | Self::TargetPerplexity
            | Self::RecallPerplexity
            | Self::WordPerplexity
            | Self::BytePerplexity => Aggregate::ExpNegMean,
            _ => Aggregate::Mean,
        }
    }

    fn metric(self, kind: TaskKind, items: &[Item], scores: &[ItemScore]) -> Metric {
        let contributions = items.iter().zip(scores).map(|(item, score)| self.contribution(kind, item, score));
        Metric { name: self.name(), aggregate: self.aggregate(), contributions: contributions.collect() }
    }

    /// `(value, weight)` of an item.
    fn contribution(self, kind: TaskKind, item: &Item, score: &ItemScore) -> (f64, f64) {
        let right = |is_right: bool| (f64::from(u8::from(is_right)), 1.0);
        match self {
            Self::Acc => right(correct(kind, item, score) == Some(true)),
            Self::AccNorm => {
                let pairs = score.choices.iter().zip(&item.requests);
                let per_character =
                    pairs.map(|(choice, request)| choice.loglikelihood / request.characters.max(1) as f64);
                right(highest(per_character).map(|index| index as u32) == item.gold)
            }
            Self::TokenAcc => {
                let hits = score.choices[0].tokens.iter().filter(|target| target.hit).count();
                (hits as f64, score.choices[0].asked as f64)
            }
            Self::Perplexity => (loglikelihood(score), asked(score)),
            Self::TargetPerplexity => (score.choices[0].loglikelihood, 1.0),
            Self::RecallPerplexity => {
                let sum = recalls(item, score).map(|(log_prob, _)| f64::from(log_prob)).sum();
                (sum, asked_recalls(item, score))
            }
            Self::RecallAcc => {
                (recalls(item, score).filter(|(_, hit)| *hit).count() as f64, asked_recalls(item, score))
            }
            Self::WordPerplexity => (loglikelihood(score), share_asked(item, score) * item.facts.words as f64),
            Self::BytePerplexity => (loglikelihood(score), share_asked(item, score) * item.facts.bytes as f64),
            Self::BitsPerByte => {
                let bits = (0.0 - loglikelihood(score)) / std::f64::consts::LN_2;
                (bits, share_asked(item, score) * item.facts.bytes as f64)
            }
            // Subtracted, so that certainty is a loss of 0 and not of -0.
            Self::Loss => match item.gold {
                Some(gold) => {
                    let right = &score.choices[gold as usize];
                    (0.0 - right.loglikelihood, right.asked as f64)
                }
                None => (0.0 - loglikelihood(score), asked(score)),
            },
            Self::RecallLoss => class_loss(item, score, |position| is_of(item, position, TokenClass::Recalled)),
            Self::RecallLossNear => recall_loss(item, score, 0..100),
            Self::RecallLossMiddle => recall_loss(item, score, 100..300),
            Self::RecallLossFar => recall_loss(item, score, 300..1000),
            Self::RecallLossFarthest => recall_loss(item, score, 1000..u32::MAX),
            Self::ContentLoss => class_loss(item, score, |position| is_of(item, position, TokenClass::Content)),
            Self::FunctionLoss => class_loss(item, score, |position| is_of(item, position, TokenClass::Function)),
            Self::OtherLoss => class_loss(item, score, |position| is_of(item, position, TokenClass::Other)),
        }
    }
}

/// Nats of the tokens of a running text at the `wanted` positions, and how many of them were asked for.
fn class_loss(item: &Item, score: &ItemScore, wanted: impl Fn(u32) -> bool) -> (f64, f64) {
    let choice = &score.choices[0];
    let from = choice.context_len as u32;
    let read = choice.tokens.iter().filter(|target| wanted(from + target.index));
    let asked = (from..from + choice.asked as u32).filter(|position| wanted(*position)).count();
    debug_assert!(item.contexts.len() == 1, "classes are of texts that are read in one piece");
    (0.0 - read.map(|target| f64::from(target.log_prob)).sum::<f64>(), asked as f64)
}

fn is_of(item: &Item, position: u32, class: TokenClass) -> bool {
    item.classes.get(position as usize) == Some(&class)
}

/// Of recalled words whose nearest earlier mention is so many words back.
fn recall_loss(item: &Item, score: &ItemScore, distances: std::ops::Range<u32>) -> (f64, f64) {
    class_loss(item, score, |position| {
        let index = item.recalls.binary_search(&position).ok();
        index.and_then(|index| item.recall_distances.get(index)).is_some_and(|distance| distances.contains(distance))
    })
}

/// Log-likelihood of all that was scored: the windows of a text add up.
fn loglikelihood(score: &ItemScore) -> f64 {
    score.choices.iter().map(|choice| choice.loglikelihood).sum()
}

/// Tokens that were asked for.
fn asked(score: &ItemScore) -> f64 {
    score.choices.iter().map(|choice| choice.asked as f64).sum()
}

/// Share of a running text that was asked for. Under `context` a part of each window is context and not scored: words and bytes
/// are then counted in proportion to tokens, since those of the original text have no place in the tokens.
fn share_asked(item: &Item, score: &ItemScore) -> f64 {
    let scored =
        item.contexts.iter().enumerate().map(|(index, context)| context.tokens.len() - item.scored_from(index));
    asked(score) / (scored.sum::<usize>() as f64).max(1.0)
}

/// Recalled words that a running text asks for: those after its context, whatever was read.
fn asked_recalls(item: &Item, score: &ItemScore) -> f64 {
    let (from, to) = (score.choices[0].context_len, score.choices[0].context_len + score.choices[0].asked);
    item.recalls.iter().filter(|position| (from..to).contains(&(**position as usize))).count() as f64
}

/// Log-probability and hit of the recalled words that were read.
fn recalls(item: &Item, score: &ItemScore) -> impl Iterator<Item = (f32, bool)> {
    let choice = &score.choices[0];
    let is_recall = |index: u32| item.recalls.binary_search(&(choice.context_len as u32 + index)).is_ok();
    choice.tokens.iter().filter(move |target| is_recall(target.index)).map(|target| (target.log_prob, target.hit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::{ChoiceScore, ScoredTarget};
    use crate::tasks::{Context, ItemFacts, Request};

    fn item(gold: Option<u32>, characters: &[usize], recalls: &[u32]) -> Item {
        let request = |characters: &usize| Request {
            context: 0,
            continuation: vec![1],
            scored: vec![0],
            characters: *characters,
        };
        Item {
            id: "i".to_owned(),
            gold,
            contexts: vec![Context { tokens: vec![1], necessary: Vec::new() }],
            requests: characters.iter().map(request).collect(),
            recalls: recalls.to_vec(),
            ..Item::default()
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
    fn choices_are_ranked_by_sum_and_by_sum_per_character() {
        // The short choice has the higher sum, the long one the higher sum per character: -2/2 < -3/6.
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

    /// LAMBADA's perplexity in the harness is that of a word, whatever its tokens.
    #[test]
    fn the_perplexity_of_a_target_counts_it_once() {
        let items = [item(None, &[1], &[]), item(None, &[1], &[])];
        let scores = [score(vec![choice(&[(-1.0, true); 3], 3)]), score(vec![choice(&[(-2.0, true)], 1)])];
        let metrics = measured(&[Measure::TargetPerplexity, Measure::Acc], TaskKind::Target, &items, &scores);
        assert_eq!((metrics[0].name, metrics[1].name), ("perplexity", "acc"));
        assert_near(metrics[0].value().unwrap(), 2.5_f64.exp());
    }

    /// A text of two windows: 3 and 2 scored tokens, 4 words, 10 bytes.
    #[test]
    fn windows_of_a_text_add_up_and_words_and_bytes_divide() {
        let mut text = item(None, &[], &[]);
        text.contexts = vec![
            Context { tokens: vec![0, 1, 2, 3], necessary: Vec::new() },
            Context { tokens: vec![2, 3, 4, 5], necessary: Vec::new() },
        ];
        text.facts = ItemFacts { words: 4, bytes: 10, scored_from: vec![1, 2], ..ItemFacts::default() };
        let windows = vec![choice(&[(-1.0, true); 3], 3), choice(&[(-2.0, false); 2], 2)];
        let asked = [Measure::WordPerplexity, Measure::BytePerplexity, Measure::BitsPerByte, Measure::Perplexity];
        let items = [text];
        let metrics = measured(&asked, TaskKind::RunningText, &items, &[score(windows)]);
        assert_near(metrics[0].value().unwrap(), (7.0_f64 / 4.0).exp());
        assert_near(metrics[1].value().unwrap(), 0.7_f64.exp());
        assert_near(metrics[2].value().unwrap(), 0.7 / std::f64::consts::LN_2);
        assert_near(metrics[3].value().unwrap(), (7.0_f64 / 5.0).exp());
        // Where the first window was half context: 4 of 5 tokens are asked for, and 4 of 5 words count.
        let part = vec![choice(&[(-1.0, true); 2], 2), choice(&[(-2.0, false); 2], 2)];
        let metrics = measured(&asked, TaskKind::RunningText, &items, &[score(part)]);
        assert_near(metrics[0].value().unwrap(), (6.0_f64 / (0.8 * 4.0)).exp());
    }

    #[test]
    fn nothing_weighed_has_no_value() {
        let metric = Metric { name: "acc", aggregate: Aggregate::Mean, contributions: Vec::new() };
        assert_eq!(metric.value(), None);
    }
}
