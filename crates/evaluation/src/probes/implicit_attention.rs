//! Probe `implicit_attention`: which importance metrics agree with what later outputs really read of a token?
//!
//! The influence of a token is the column sum of the implicit attention of the layer's scan
//! ([`reduction_strategies::blocks::importance::HIDDEN_ATTENTION`]).

use super::columns::keys;
use super::passes::{Observation, in_groups};
use super::questions::questions;
use super::ranking::spearman;
use super::scores::{all_metrics, scores};
use super::table::{Key, ProbeTable};
use super::{Column, Measure, Needs, Probe, ProbeSetup, Recurrence, Subject, Values, every, items, layers};
use crate::error::EvaluationError;

pub(super) static PROBE: Probe = Probe {
    name: "implicit_attention",
    version: 1,
    question: "Which importance metrics agree with the influence that a token has on later outputs of the scan?",
    formula: "Spearman, per item, of the scores with the column sums sum_{i >= t} mean_h |a_h(i, t)| of the implicit attention",
    columns: &[
        Column { name: "layer", help: "0-based", values: Values::Follow(|facts| keys(&facts.every())) },
        Column {
            name: "importance",
            help: "metric, or the controls position (later = more important) and random",
            values: Values::Open,
        },
        Column { name: "importance_source", help: "tensor that the metric reads", values: Values::Open },
        Column {
            name: "decay",
            help: "whether the decay between two tokens counts in the implicit attention: with or without",
            values: Values::Words(&["with", "without"]),
        },
    ],
    measures: &[Measure {
        name: "correlation",
        unit: "correlation",
        help: "Spearman over the removable context tokens",
    }],
    options: &[items(40), every(1)],
    subject: Subject::Model,
    needs: Needs { recurrence: Recurrence::EveryLayer, ..Needs::NOTHING },
    cost: "one pass over each context; quadratic in its length",
    run,
};

fn run(setup: &ProbeSetup<'_>) -> Result<ProbeTable, EvaluationError> {
    let model = setup.model;
    let layers = layers(0, model.config().n_layer(), setup.options.integer("every") as usize);
    let metrics = all_metrics(model.config().signals(layers.iter().copied()), false);
    in_groups(model, &questions(setup.items), 1, |group| {
        let by_layer = scores(model, group, &metrics, &layers, setup.seed)?;
        let mut seen: Vec<Observation> = Vec::new();
        for (index, question) in group.iter().enumerate() {
            for (layer, by_question) in layers.iter().zip(&by_layer) {
                let scores = &by_question[index];
                let columns = metrics.iter().zip(scores);
                for (decay, attention) in columns.filter_map(|(metric, own)| Some((metric.hidden_attention()?, own))) {
                    let decay = Key::from(if decay { "with" } else { "without" });
                    for (metric, own) in metrics.iter().zip(scores) {
                        let names = [Key::from(metric.importance), Key::from(metric.source)];
                        let keys = [vec![Key::from(*layer)], names.to_vec(), vec![decay.clone()]].concat();
                        seen.push((question.item, "correlation", spearman(own, attention), keys));
                    }
                }
            }
        }
        Ok(seen)
    })
}
