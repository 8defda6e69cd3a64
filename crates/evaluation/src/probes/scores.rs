//! Every importance metric at every layer, on contexts that nothing was removed from.

use reduction_strategies::blocks::importance::{
    HIDDEN_ATTENTION, HIDDEN_ATTENTION_NO_DECAY, IMPORTANCE_OPTION, Importance, ORACLE, SOURCE_OPTION,
};
use reduction_strategies::blocks::random::{Purpose, uniform};
use reduction_strategies::options::{OptionKind, OptionValue, ResolvedOptions};
use reduction_strategies::{Reads, SiteStream, TokenTable, map_sequences};
use ssm_model::{LanguageModel, Signal, SignalSet};

use super::passes::{embed, forward};
use super::questions::Question;
use crate::batch::Positions;
use crate::error::EvaluationError;
use crate::run::{PackedStream, Wanted, leave_one_out};

/// An importance under the names that experiment files and records use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Named {
    pub(super) importance: &'static str,
    pub(super) source: &'static str,
    /// None for the controls `position` and `random`.
    of: Option<Importance>,
}

/// Every metric on every source that a strategy may name and a model can show, and two controls: `position` (the later, the more
/// important) and `random`. `oracle` runs the model once per token, so it is left out unless asked for.
pub(super) fn all_metrics(shown: SignalSet, oracle: bool) -> Vec<Named> {
    let words = |kind| match kind {
        OptionKind::Choice(words) => words,
        _ => unreachable!("the importance of a strategy is a word"),
    };
    let mut all: Vec<Named> = Vec::new();
    for importance in words(IMPORTANCE_OPTION.kind) {
        for source in words(SOURCE_OPTION.kind) {
            let given = [("importance", importance), ("source", source)];
            let given = given.map(|(key, word)| (key.to_owned(), OptionValue::Word((*word).to_owned()))).into();
            let options = ResolvedOptions::resolve(&[IMPORTANCE_OPTION, SOURCE_OPTION], &given)
                .unwrap_or_else(|error| unreachable!("declared words: {error}"));
            let of = Importance::from_options(&options);
            let missing = !of.signals().without(shown).is_empty();
            if missing || (*of.metric() == ORACLE && !oracle) {
                continue;
            }
            // Metrics of the scan do not look at the source.
            if all.iter().all(|known| known.of != Some(of)) {
                all.push(Named { importance, source: of.source_name(), of: Some(of) });
            }
        }
    }
    let control = |importance| Named { importance, source: "control", of: None };
    all.extend([control("position"), control("random")]);
    all
}

impl Named {
    /// Whether it is the implicit attention, with decay or without.
    pub(super) fn hidden_attention(self) -> Option<bool> {
        let metric = self.of?.metric();
        [(&HIDDEN_ATTENTION, true), (&HIDDEN_ATTENTION_NO_DECAY, false)]
            .into_iter()
            .find_map(|(known, decay)| (metric == known).then_some(decay))
    }
}

/// Scores of the removable tokens: `[layer][question][metric][token]`.
pub(super) type Scores = Vec<Vec<Vec<Vec<f32>>>>;

/// Runs the contexts of `questions` and scores their removable tokens after each of `layers` (ascending).
pub(super) fn scores(
    model: &LanguageModel,
    questions: &[Question<'_>],
    metrics: &[Named],
    layers: &[usize],
    seed: u64,
) -> Result<Scores, EvaluationError> {
    let contexts: Vec<Vec<u32>> = questions.iter().map(|question| question.context.to_vec()).collect();
    let table = TokenTable::new(questions.iter().map(Question::table).collect());
    let wanted = metrics
        .iter()
        .filter_map(|metric| metric.of)
        .fold(SignalSet::default(), |set, importance| set.union(importance.signals()));
    let mut all = Vec::with_capacity(layers.len());
    let end = layers.last().map_or(0, |last| last + 1);
    let request = |_| Wanted { signals: wanted, ..Wanted::default() };
    forward(model, embed(model, &contexts)?, 0..end, request, |layer, stream, shown| {
        if !layers.contains(&layer) {
            return Ok(());
        }
        let PackedStream { segments, activations, .. } = stream;
        let mut signals = shown.signals;
        if wanted.contains(Signal::Influence) {
            let tokens: Vec<_> = table.segments.iter().map(Some).collect();
            let site = SiteStream::new(layer, &tokens, segments, activations, &signals)?;
            let influence = leave_one_out(model, &site, Positions::default())?;
            signals.set(Signal::Influence, Some(influence));
        }
        let site = SiteStream::new(layer, &table, segments, activations, &signals)?;
        let of = |view: &reduction_strategies::SequenceView<'_>| {
            let n = view.len() - 1;
            let one = |metric: &Named| {
                let mut scores = match (metric.of, metric.importance) {
                    (Some(importance), _) => importance.scores(view)?,
                    (None, "position") => view.positions.iter().map(|position| *position as f32).collect(),
                    (None, _) => uniform(view.draw, Purpose::Score, view.len()),
                };
                // The last token is protected and takes no part.
                scores.truncate(n);
                Ok(scores)
            };
            metrics.iter().map(one).collect::<Result<Vec<_>, _>>()
        };
        let by_question = map_sequences(&site, wanted, Reads::ALL, seed, of)?;
        all.push(by_question.into_iter().flatten().collect());
        Ok(())
    })?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_cannot_show_is_not_asked_for() {
        let shown = SignalSet::of(&[Signal::SsmOutput, Signal::Influence]);
        let all = all_metrics(shown, true);
        assert!(all.iter().all(|metric| metric.source != "gated_output" && metric.importance != "dt_mean"));
        assert!(all.iter().any(|metric| metric.importance == "oracle"));
    }

    #[test]
    fn metrics_of_the_scan_are_listed_once() {
        let all = all_metrics(SignalSet::ALL, false);
        let count = |name| all.iter().filter(|metric| metric.importance == name).count();
        assert_eq!((count("clip"), count("dt_mean"), count("hidden_attention"), count("random")), (5, 1, 1, 1));
        assert_eq!(all.iter().filter_map(|metric| metric.hidden_attention()).collect::<Vec<_>>(), [true, false]);
    }
}
