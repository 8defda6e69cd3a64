//! What a reduction costs on the same tokens after contexts of several lengths, one panel per model.

use std::collections::BTreeSet;

use analysis::{Arm, Estimate};
use records::schema::Reduction;

use super::lines::{Axis, Line, LinePanel, Lines, Share, Spread};
use super::{Failed, Figure, Query, asked_fields, asked_header, csv_line, figure, interval_fields, number, seeds_note};
use crate::losses;
use crate::style::Style;
use crate::text;
use crate::view::{Scene, SceneTask, Series, View, distinct};

/// A point: the length of the context, and the difference to the baseline on the task of that length.
struct Sample {
    label: String,
    arm: usize,
    length: usize,
    difference: Estimate,
    achieved: f64,
}

/// One figure per protocol, reduction and task that has several lengths.
pub(super) fn draw_all(view: &View, baseline: &str) -> Vec<Result<Option<Figure>, Failed>> {
    let protocols: BTreeSet<&str> = view.scenes.iter().map(|scene| scene.protocol.as_str()).collect();
    let mut figures = Vec::new();
    for protocol in protocols {
        let scenes: Vec<&Scene> = view.scenes.iter().filter(|scene| scene.protocol == protocol).collect();
        let sources: BTreeSet<&str> = scenes.iter().flat_map(|scene| &scene.tasks).filter_map(source).collect();
        for asked in distinct(scenes.iter().flat_map(|scene| scene.reductions())) {
            for source in &sources {
                figures.push(draw(view, &scenes, (protocol, source), asked, baseline));
            }
        }
    }
    figures
}

/// The task before a context was cut, and the length of the context: `books_long@1024`.
fn cut(task: &str) -> Option<(&str, usize)> {
    let (source, length) = task.rsplit_once('@')?;
    Some((source, length.parse().ok()?))
}

fn source(task: &SceneTask) -> Option<&str> {
    cut(&task.name).filter(|_| task.lower_is_better).map(|(source, _)| source)
}

fn draw(
    view: &View,
    scenes: &[&Scene],
    (protocol, source): (&str, &str),
    asked: Reduction,
    baseline: &str,
) -> Result<Option<Figure>, Failed> {
    let models: Vec<(&Scene, Vec<Sample>)> =
        scenes.iter().map(|scene| (*scene, samples(view, scene, source, asked))).collect();
    let lengths: BTreeSet<usize> = models.iter().flat_map(|(_, samples)| samples).map(|s| s.length).collect();
    if lengths.len() < 2 {
        return Ok(None);
    }
    let mut legend: Vec<(String, Style)> = Vec::new();
    let shown = |label: &str| models.iter().flat_map(|(_, samples)| samples).any(|sample| sample.label == label);
    let mut series: Vec<&Series> = scenes.iter().flat_map(|scene| &scene.series).collect();
    series.sort_by_key(|series| series.family);
    for series in series.into_iter().filter(|series| shown(&series.label)) {
        if legend.iter().all(|(label, _)| *label != series.label) {
            legend.push((series.label.clone(), series.style));
        }
    }
    let metric = scenes.iter().flat_map(|scene| &scene.tasks).find(|task| self::source(task) == Some(source));
    let (metric, n) = metric.map_or_else(Default::default, |task| (task.metric.clone(), task.n));
    let panel = |(scene, samples): &(&Scene, Vec<Sample>)| {
        let line = |(entry, (label, _)): (usize, &(String, Style))| {
            let own = samples.iter().filter(|sample| sample.label == *label);
            Line { entry, points: own.map(|sample| (sample.length as f64, sample.difference)).collect() }
        };
        LinePanel { title: scene.model_name(), lines: legend.iter().enumerate().map(line).collect() }
    };
    let lines = Lines {
        grid: vec![(String::new(), models.iter().map(panel).collect())],
        x: (&["Tokens of the context", "Context (tokens)"], Axis::Measured),
        y: (added(&metric), Axis::Linear),
        share: Share::All,
        zero: Some(0.0),
        spread: Spread::Band,
        legend: legend.clone(),
        notes: vec![format!(
            "{source}, protocol {}, {}; n = {n} texts. Bands: paired 95 % intervals.",
            text::shortened(protocol, text::SHOWN),
            asked.in_words(0)
        )],
        sheet: view.sheet,
    };
    let arms = models.iter().flat_map(|(_, samples)| samples).map(|sample| sample.arm).collect::<BTreeSet<_>>();
    let caption = format!(
        "Difference of {metric} to `{}` on the same tokens of {} ({n} texts), after contexts of several lengths; protocol `{}`, {}. \
         Bands are 95 % intervals of a paired bootstrap over texts. {}",
        text::in_caption(baseline),
        text::in_caption(source),
        text::in_caption(protocol),
        asked.in_words(0),
        seeds_note(view, arms),
    );
    let name = format!(
        "loss_vs_length_{}_{}_{}_{:.0}",
        text::file_name(source),
        text::file_name(protocol),
        asked.word(),
        asked.value * 100.0
    );
    let mut query = Query::default();
    for (scene, samples) in &models {
        let lengths = scene.tasks.iter().filter(|task| self::source(task) == Some(source));
        let tasks: Vec<String> = lengths.map(|task| task.name.clone()).collect();
        query.add(view, scene, &tasks, samples.iter().map(|sample| sample.arm));
    }
    figure(name, lines.draw(), csv(view, &models, asked), caption, &query)
}

fn samples(view: &View, scene: &Scene, wanted: &str, asked: Reduction) -> Vec<Sample> {
    let mut samples = Vec::new();
    for series in &scene.series {
        let Some(point) = series.at(asked) else { continue };
        let arm: &Arm = &view.arms[point.arm];
        for task in &arm.tasks {
            let Some((source, length)) = cut(&task.task).filter(|_| task.lower_is_better) else { continue };
            let Some(difference) = task.difference.as_ref().filter(|_| source == wanted) else { continue };
            samples.push(Sample {
                label: series.label.clone(),
                arm: point.arm,
                length,
                difference: difference.as_estimate(task.estimate.n),
                achieved: task.flops_reduction_achieved,
            });
        }
    }
    // In the order of the series.
    samples.sort_by_key(|sample| sample.length);
    samples
}

fn csv(view: &View, models: &[(&Scene, Vec<Sample>)], asked: Reduction) -> String {
    let header = "model,protocol,series,context,diff,ci_low,ci_high,flops_reduction_nominal,flops_reduction_achieved";
    let mut csv = format!("{header}{}\n", asked_header(view.asks_achieved()));
    for (scene, samples) in models {
        for sample in samples {
            let (nominal, asked) = asked_fields(asked, view.asks_achieved());
            let mut fields = vec![scene.model.clone(), scene.protocol.clone(), sample.label.clone()];
            fields.extend([sample.length.to_string(), number(sample.difference.value)]);
            fields.extend(interval_fields(Some(sample.difference.interval)));
            fields.extend([nominal, number(sample.achieved)]);
            fields.extend(asked);
            csv += &csv_line(&fields);
        }
    }
    csv
}

/// Label of the upright axis.
fn added(metric: &str) -> &'static [&'static str] {
    match losses::unit(metric) {
        Some("nats") => &["Added loss (nats)"],
        Some(_) => &["Added bits per byte"],
        None => &["Added perplexity"],
    }
}
