//! What each rule adds to the loss or the accuracy against the time that was measured, one panel per task. Other models are shown without
//! a rule.

use analysis::{ArmTask, Difference, Interval};
use records::names::is_share;

use super::lines::{Axis, Line, LinePanel, Lines, Share, Spread};
use super::{Failed, Figure, Query, csv_line, figure, interval_fields, number, seeds_note};
use crate::canvas::Marker;
use crate::losses;
use crate::style::{self, Style};
use crate::text;
use crate::view::{Scene, SceneTask, View};

/// Tasks that are shown together: their values have the same unit.
#[derive(Clone, Copy)]
struct Kind {
    takes: fn(&str) -> bool,
    name: &'static str,
    says: &'static str,
    axis: &'static [&'static str],
    unit: &'static str,
    factor: f64,
}

/// Perplexities and bits are not drawn: their differences have no unit in common.
const KINDS: [Kind; 2] = [
    Kind {
        takes: |metric| losses::unit(metric) == Some("nats"),
        name: "added_loss",
        says: "Loss in nats per token added",
        axis: &["Added loss (nats)"],
        unit: "nats",
        factor: 1.0,
    },
    Kind {
        takes: is_share,
        name: "accuracy",
        says: "Accuracy in percentage points added",
        axis: &["Added accuracy (points)", "Accuracy (points)"],
        unit: "points",
        factor: 100.0,
    },
];

/// A point: an arm, what it took, and its difference to the baseline of the model that the figure is about.
struct Sample {
    entry: usize,
    arm: usize,
    task: String,
    /// Milliseconds per item: the median of the repeats, the fastest and the slowest.
    ms: [f64; 3],
    repeats: usize,
    difference: Difference,
    achieved: f64,
    n: usize,
}

/// One figure per model, protocol and kind of value, of the tasks on which every arm of the model was timed.
pub(super) fn draw_all(view: &View, baseline: &str) -> Vec<Result<Option<Figure>, Failed>> {
    view.scenes.iter().flat_map(|scene| KINDS.map(|kind| draw(view, scene, kind, baseline))).collect()
}

fn draw(view: &View, scene: &Scene, kind: Kind, baseline: &str) -> Result<Option<Figure>, Failed> {
    let Some((reference, _)) = scene.baseline else { return Ok(None) };
    let points = || scene.series.iter().flat_map(|series| &series.points).map(|point| point.arm);
    let is_timed = |task: &&SceneTask| {
        let timed = |arm: usize| view.arms[arm].task(&task.name).is_some_and(|task| task.cost.repeats > 0);
        (kind.takes)(&task.metric) && points().chain([reference]).all(timed)
    };
    let tasks: Vec<&SceneTask> = scene.tasks.iter().filter(is_timed).collect();
    if tasks.is_empty() || points().next().is_none() {
        return Ok(None);
    }
    let mut legend: Vec<(String, Style)> =
        scene.series.iter().map(|series| (series.label.clone(), series.style)).collect();
    let mut samples: Vec<Sample> = Vec::new();
    let bases: Vec<&ArmTask> = tasks.iter().filter_map(|task| view.arms[reference].task(&task.name)).collect();
    for base in &bases {
        for (entry, series) in scene.series.iter().enumerate() {
            // Every curve starts at the baseline.
            let arms = [reference].into_iter().chain(series.points.iter().map(|point| point.arm));
            samples.extend(arms.filter_map(|arm| sample(view, entry, arm, base, kind)));
        }
    }
    let own = samples.len();
    let rivals = view.scenes.iter().filter(|other| other.model != scene.model && other.protocol == scene.protocol);
    let mut shown = Vec::new();
    for (rival, arm) in rivals.filter_map(|rival| Some((rival, rival.baseline.as_ref()?.0))) {
        let of_rival: Vec<Sample> =
            bases.iter().filter_map(|base| sample(view, legend.len(), arm, base, kind)).collect();
        if !of_rival.is_empty() {
            legend.push((format!("{} ({baseline})", rival.model_name()), style::rival(shown.len())));
            samples.extend(of_rival);
            shown.push(rival);
        }
    }
    // On top of the curves that start there.
    let start = legend.len();
    samples.extend(bases.iter().filter_map(|base| sample(view, start, reference, base, kind)));
    legend.push((baseline.to_owned(), Style { marker: Marker::Square, ..style::REFERENCE }));
    let panel = |task: &&SceneTask| {
        let line = |entry: usize| {
            let of_line = samples.iter().filter(|sample| sample.entry == entry && sample.task == task.name);
            Line {
                entry,
                points: of_line.map(|sample| (sample.ms[0], sample.difference.as_estimate(sample.n))).collect(),
            }
        };
        LinePanel { title: task.name.clone(), lines: (0..legend.len()).map(line).collect() }
    };
    let counts: Vec<String> = tasks.iter().map(|task| task.n.to_string()).collect();
    let lines = Lines {
        grid: vec![(String::new(), tasks.iter().map(panel).collect())],
        x: (&["Measured time per item (ms)", "Time per item (ms)", "ms per item"], Axis::Linear),
        y: (kind.axis, Axis::Linear),
        share: Share::Columns,
        zero: Some(0.0),
        spread: Spread::Bars,
        legend: legend.clone(),
        notes: vec![format!("{}; n = {} items. Bars: paired 95 % intervals.", scene.note(), counts.join(", "))],
        sheet: view.sheet,
    };
    let repeats: Vec<usize> = samples.iter().map(|sample| sample.repeats).collect();
    let (fewest, most) = (repeats.iter().min().unwrap_or(&0), repeats.iter().max().unwrap_or(&0));
    let repeats = if fewest == most { most.to_string() } else { format!("{fewest} to {most}") };
    let spread = samples.iter().map(|sample| (sample.ms[2] - sample.ms[1]) / sample.ms[0]).fold(0.0, f64::max);
    let baseline = text::in_caption(baseline);
    let caption = format!(
        "{} to `{baseline}`, paired over items, against the measured time per item; {}. Every curve starts at `{baseline}`. {}Times are medians of {repeats} \
         repeats; the fastest and the slowest differ by at most {:.0} %. Bars are 95 % intervals over items. {}",
        kind.says,
        scene.title(),
        if shown.is_empty() { "" } else { "Other models are shown without a rule. " },
        spread * 100.0,
        seeds_note(view, samples[..own].iter().map(|sample| sample.arm)),
    );
    let names: Vec<String> = tasks.iter().map(|task| task.name.clone()).collect();
    let mut query = Query::of_scene(view, scene, &names, samples[..own].iter().map(|sample| sample.arm));
    for rival in shown {
        query.add(view, rival, &names, []);
    }
    let name = format!("{}_vs_time_{}", kind.name, scene.slug());
    // The baseline is written once, not with every curve.
    let written = samples.iter().filter(|sample| sample.arm != reference || sample.entry == start);
    figure(name, lines.draw(), csv(view, &legend, written, kind), caption, &query)
}

/// Nothing where the arm was not timed, saw other items, or reads the items in other tokens, over which a loss is another mean.
fn sample(view: &View, entry: usize, arm: usize, base: &ArmTask, kind: Kind) -> Option<Sample> {
    let task = view.arms[arm].task(&base.task).filter(|task| task.cost.repeats > 0)?;
    let difference = if std::ptr::eq(task, base) { nothing() } else { task.minus(base)? };
    if kind.unit == "nats" && task.cost.tokens_in != base.cost.tokens_in {
        return None;
    }
    let (low, high) = task.cost.repeats_s;
    let scaled = |value: f64| value * kind.factor;
    Some(Sample {
        entry,
        arm,
        task: base.task.clone(),
        ms: [task.cost.wall_s, low, high].map(|seconds| seconds * 1_000.0 / task.estimate.n.max(1) as f64),
        repeats: task.cost.repeats,
        difference: Difference {
            value: scaled(difference.value),
            interval: Interval { low: scaled(difference.interval.low), high: scaled(difference.interval.high) },
            ..difference
        },
        achieved: task.flops_reduction_achieved,
        n: task.estimate.n,
    })
}

/// The baseline minus itself.
fn nothing() -> Difference {
    Difference { value: 0.0, interval: Interval { low: 0.0, high: 0.0 }, p_value: 1.0 }
}

fn csv<'a>(view: &View, legend: &[(String, Style)], samples: impl Iterator<Item = &'a Sample>, kind: Kind) -> String {
    let mut csv = "model,protocol,series,task,unit,ms_per_item,ms_fastest,ms_slowest,repeats,n,diff,ci_low,ci_high,\
                   flops_reduction_achieved\n"
        .to_owned();
    for sample in samples {
        let arm = &view.arms[sample.arm].trial;
        let series = legend[sample.entry].0.clone();
        let mut fields =
            vec![arm.model.clone(), arm.protocol.clone(), series, sample.task.clone(), kind.unit.to_owned()];
        fields.extend(sample.ms.map(number));
        fields.extend([sample.repeats.to_string(), sample.n.to_string(), number(sample.difference.value)]);
        fields.extend(interval_fields(Some(sample.difference.interval)));
        fields.push(number(sample.achieved));
        csv += &csv_line(&fields);
    }
    csv
}
