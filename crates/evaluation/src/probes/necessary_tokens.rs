//! Probe `necessary_tokens`: does an importance metric find the tokens that the answer needs?
//!
//! Ground truth are the marks of the reference tasks. The metrics are read as a strategy would read them at that layer, on a context that
//! nothing was removed from, without its protected last token.

use super::columns::{Facts, keys};
use super::passes::{Observation, in_groups};
use super::questions::questions;
use super::ranking::{auroc, average_precision, spearman};
use super::scores::{Named, all_metrics, scores};
use super::table::{Key, ProbeTable};
use super::{Column, Measure, Needs, Probe, ProbeSetup, Subject, Values, every, items, layers};
use crate::error::EvaluationError;
use records::each_once;
use reduction_strategies::options::{OptionDefault, OptionInfo, OptionKind};

const ORACLE: OptionInfo = OptionInfo {
    name: "oracle",
    kind: OptionKind::Choice(&["no", "yes"]),
    default: OptionDefault::Word("no"),
    help: "judge the importance oracle (leave one token out) too: one pass per token and layer, contexts of at most 256 tokens",
};

pub(super) static PROBE: Probe = Probe {
    name: "necessary_tokens",
    version: 1,
    question: "Does an importance metric rank the tokens that the answer needs above the others, and do its layers agree?",
    formula: "per item: average precision and AUROC of the scores against the marks of the task; Spearman of the scores at two layers",
    columns: &[
        Column {
            name: "layer",
            help: "0-based; scores are read after this block",
            values: Values::Follow(|facts| keys(&facts.every())),
        },
        Column {
            name: "importance",
            help: "metric, or the controls position (later = more important) and random",
            values: Values::Follow(|facts| names(facts, |metric| metric.importance)),
        },
        Column {
            name: "importance_source",
            help: "tensor that the metric reads",
            values: Values::Follow(|facts| names(facts, |metric| metric.source)),
        },
    ],
    measures: &[
        Measure {
            name: "average_precision",
            unit: "share",
            help: "1 if all necessary tokens come first; `prevalence` is about what chance gives",
        },
        Measure {
            name: "auroc",
            unit: "probability",
            help: "that a necessary token scores above another one: 0.5 by chance, below it the metric points the wrong way",
        },
        Measure { name: "prevalence", unit: "share", help: "necessary tokens among those that may be removed" },
        Measure {
            name: "stability",
            unit: "correlation",
            help: "Spearman of the scores here and at the next layer looked at",
        },
        Measure {
            name: "agreement",
            unit: "correlation",
            help: "mean Spearman of the scores here and at every other layer",
        },
    ],
    options: &[items(40), every(1), ORACLE],
    subject: Subject::Model,
    needs: Needs { necessary_tokens: true, ..Needs::NOTHING },
    cost: "one pass over each context; hidden attention is quadratic in its length",
    run,
};

/// What the metrics are called that are looked at.
fn names(facts: &Facts<'_>, name: impl Fn(&Named) -> &'static str) -> Vec<Key> {
    let oracle = facts.options.word("oracle") == "yes";
    each_once(all_metrics(facts.shown(&facts.every()), oracle).iter().map(|metric| Key::from(name(metric))))
}

fn run(setup: &ProbeSetup<'_>) -> Result<ProbeTable, EvaluationError> {
    let model = setup.model;
    let oracle = setup.options.word("oracle") == "yes";
    let layers = layers(0, model.config().n_layer(), setup.options.integer("every") as usize);
    let metrics = all_metrics(model.config().signals(layers.iter().copied()), oracle);
    in_groups(model, &questions(setup.items), 1, |group| {
        let by_layer = scores(model, group, &metrics, &layers, setup.seed)?;
        let mut seen: Vec<Observation> = Vec::new();
        for (index, question) in group.iter().enumerate() {
            let marks = question.marks();
            let marked = marks.iter().filter(|mark| **mark).count();
            for (at, layer) in layers.iter().enumerate() {
                for (which, metric) in metrics.iter().enumerate() {
                    let here = &by_layer[at][index][which];
                    let keys = vec![Key::from(*layer), Key::from(metric.importance), Key::from(metric.source)];
                    let mut see = |measure, value| seen.push((question.item, measure, value, keys.clone()));
                    see("average_precision", average_precision(here, &marks));
                    see("auroc", auroc(here, &marks));
                    see("prevalence", marked as f64 / marks.len() as f64);
                    let with = |other: usize| spearman(here, &by_layer[other][index][which]);
                    if at + 1 < layers.len() {
                        see("stability", with(at + 1));
                    }
                    let others = (0..layers.len()).filter(|other| *other != at);
                    let correlations: Vec<f64> = others.map(with).collect();
                    see("agreement", correlations.iter().sum::<f64>() / correlations.len() as f64);
                }
            }
        }
        Ok(seen)
    })
}
