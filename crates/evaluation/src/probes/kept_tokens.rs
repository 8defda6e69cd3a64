//! Probe `kept_tokens`: how do the tokens that a strategy keeps differ from those that it removes?

use reduction_strategies::blocks::importance::{DT_MEAN, HIDDEN_ATTENTION, Importance, Source, WRITE_NORM};
use reduction_strategies::{Reads, map_sequences};
use ssm_model::{Signal, SignalSet};

use super::half_life::{half_life, mean_row};
use super::passes::{Observation, host, in_groups};
use super::questions::{Question, questions};
use super::table::{Key, ProbeTable};
use super::{Column, Measure, Needs, Probe, ProbeSetup, Recurrence, Subject, Values, items};
use crate::batch::Batch;
use crate::error::EvaluationError;
use crate::run::{SiteObserver, drive_observed};
use reduction_strategies::{SitePlan, SiteStream, TokenTable};
use ssm_kernels::Segments;

pub(super) static PROBE: Probe = Probe {
    name: "kept_tokens",
    version: 1,
    question: "Are the tokens that a strategy removes those that write little, decay little and are read little?",
    formula: "means over kept and over removed tokens of the context at each site; half-life ln 2 / (dt |A|), dt and A averaged over heads (channels)",
    columns: &[
        Column { name: "site", help: "0-based layer after which tokens leave", values: Values::Open },
        Column {
            name: "fate",
            help: "kept or removed (dropped or merged)",
            values: Values::Words(&["kept", "removed"]),
        },
    ],
    measures: &[
        Measure { name: "dt_mean", unit: "step size", help: "mean over heads (channels)" },
        Measure {
            name: "half_life",
            unit: "tokens",
            help: "in which the token makes the state forget half, if all tokens were like it",
        },
        Measure { name: "write_norm", unit: "norm", help: "of what the token writes into the state, ||dt B x||" },
        Measure { name: "influence", unit: "attention", help: "column sum of the implicit attention, with decay" },
        Measure { name: "place", unit: "share", help: "place in the context: 0 the first token, 1 the last" },
        Measure { name: "necessary", unit: "share", help: "tokens that the answer needs" },
    ],
    options: &[items(40)],
    subject: Subject::Reduction,
    needs: Needs { recurrence: Recurrence::EveryLayer, ..Needs::NOTHING },
    cost: "one reduced pass over each context; quadratic in its length",
    run,
};

/// Contexts as the protocol `context` runs them, without continuations.
pub(super) fn contexts(group: &[Question<'_>]) -> Batch {
    let lengths: Vec<usize> = group.iter().map(|question| question.context.len()).collect();
    Batch {
        tokens: group.iter().flat_map(|question| question.context).copied().collect(),
        segments: Segments::independent(&lengths),
        table: TokenTable::new(group.iter().map(Question::table).collect()),
        placements: Vec::new(),
    }
}

fn run(setup: &ProbeSetup<'_>) -> Result<ProbeTable, EvaluationError> {
    let reduction = setup.reduction();
    if reduction.sites.is_empty() {
        return Ok(ProbeTable::default());
    }
    let metrics = [&WRITE_NORM, &HIDDEN_ATTENTION].map(|metric| Importance::new(metric, Source::SsmOutput));
    let signals = metrics.iter().fold(SignalSet::default(), |set, metric| set.union(metric.signals()));
    in_groups(setup.model, &questions(setup.items), 1, |group| {
        let mut seen = Vec::new();
        let mut at_site =
            |site: &SiteStream<'_>, plan: &SitePlan| look(site, plan, group, &metrics, signals, &mut seen);
        let observer = SiteObserver { signals, every_layer: false, at_site: &mut at_site };
        drive_observed(setup.model, &contexts(group), reduction, Some(observer), None)?;
        Ok(seen)
    })
}

fn look(
    site: &SiteStream<'_>,
    plan: &SitePlan,
    group: &[Question<'_>],
    metrics: &[Importance],
    signals: SignalSet,
    seen: &mut Vec<Observation>,
) -> Result<(), EvaluationError> {
    let read = |view: &reduction_strategies::SequenceView<'_>| {
        let scores = metrics.iter().map(|metric| metric.scores(view)).collect::<Result<Vec<_>, _>>()?;
        let dt =
            view.signal(Signal::Dt).map(|dt| (0..dt.rows).map(|row| DT_MEAN.of(dt.row(row))).collect::<Vec<f32>>());
        Ok((scores, dt.unwrap_or_default()))
    };
    let by_question = map_sequences(site, signals, Reads::NONE, 0, read)?;
    let a = site.signals.scan().map(|scan| host(&scan.a.flatten_all()?)).transpose()?;
    let a = a.map(|a| a.to_vec1::<f32>()).transpose()?.unwrap_or_default();
    let mean_a = mean_row(&a, 1)[0];
    for (index, (question, read)) in group.iter().zip(by_question).enumerate() {
        let (Some((scores, dt)), Some(plan)) = (read, &plan.plans[index]) else { continue };
        let tokens = &site.tokens.segments[index];
        let n = question.context.len();
        for row in (0..tokens.positions.len()).filter(|row| !tokens.protected[*row]) {
            let position = tokens.positions[row];
            let fate = if plan.keep().binary_search(&(row as u32)).is_ok() { "kept" } else { "removed" };
            let necessary = question.necessary.binary_search(&position).is_ok();
            let values = [
                ("dt_mean", f64::from(dt[row])),
                ("half_life", half_life(f64::from(dt[row]), mean_a)),
                ("write_norm", f64::from(scores[0][row])),
                ("influence", f64::from(scores[1][row])),
                ("place", f64::from(position) / (n.max(2) - 1) as f64),
                ("necessary", f64::from(u8::from(necessary))),
            ];
            for (measure, value) in values {
                seen.push((question.item, measure, value, vec![Key::from(site.layer), Key::from(fate)]));
            }
        }
    }
    Ok(())
}
