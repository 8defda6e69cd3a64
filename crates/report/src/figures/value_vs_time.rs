//! What each rule changes against the time that was measured, one panel per task. Other models without a rule compete.

use analysis::{ArmTask, Difference, Estimate, Interval};

use super::lines::{Axis, Line, LinePanel, Lines, Share, Spread};
use super::{Failed, Figure, Query, csv_line, figure, interval_fields, number, seeds_note};
use crate::style::{self, Style};
use crate::text;
use crate::view::{Scene, SceneTask, View};

/// Tasks that are shown together: their values have the same unit.
#[derive(Clone, Copy)]
struct Kind {
    lower_is_better: bool,
    name: &'static str,
    says: &'static str,
    axis: &'static [&'static str],
    factor: f64,
}

const KINDS: [Kind; 2] = [
    Kind {
        lower_is_better: true,
        name: "added_loss",
        says: "Difference of the loss",
        axis: &["Added loss (nats)"],
        factor: 1.0,
    },
    Kind {
        lower_is_better: false,
        name: "accuracy",
        says: "Difference of accuracy in percentage points",
        axis: &["Accuracy, difference (points)", "Difference (points)"],
        factor: 100.0,
    },
];

/// Where the cycle of looks has a ring.
const RING: usize = 7;

/// A point: an arm, what it took, and its difference to the baseline of the model that the figure is about.
struct Sample {
    entry: usize,
    arm: usize,
    task: String,
    /// Milliseconds an item: the median over repeats, the fastest and the slowest.
    ms: [f64; 3],
    difference: Difference,
    achieved: f64,
    n: usize,
}

/// One figure per model, protocol and kind of value, where every cell was repeated for its time.
pub(super) fn draw_all(view: &View, baseline: &str) -> Vec<Result<Option<Figure>, Failed>> {
    let scenes = view.scenes.iter().filter(|scene| !scene.series.is_empty());
    scenes.flat_map(|scene| KINDS.map(|kind| draw(view, scene, kind, baseline))).collect()
}

fn draw(view: &View, scene: &Scene, kind: Kind, baseline: &str) -> Result<Option<Figure>, Failed> {
    let tasks: Vec<&SceneTask> =
        scene.tasks.iter().filter(|task| task.lower_is_better == kind.lower_is_better).collect();
    let Some((reference, _)) = scene.baseline else { return Ok(None) };
    let mut legend: Vec<(String, Style)> =
        scene.series.iter().map(|series| (series.label.clone(), series.style)).collect();
    let mut samples = Vec::new();
    for task in &tasks {
        let Some(base) = view.arms[reference].task(&task.name) else { continue };
        let mut add = |entry: usize, arm: usize| samples.extend(sample(view, entry, arm, base, kind));
        for (entry, series) in scene.series.iter().enumerate() {
            add(entry, reference);
            series.points.iter().for_each(|point| add(entry, point.arm));
        }
    }
    if !samples.iter().any(|sample: &Sample| sample.arm != reference) {
        return Ok(None);
    }
    let own = samples.len();
    for (index, other) in view.scenes.iter().filter(|other| is_rival(other, scene)).enumerate() {
        let Some((arm, _)) = other.baseline else { continue };
        // A ring first, which no rule has by itself.
        let look = style::cycle(RING + index);
        let entry = legend.len();
        legend.push((format!("{} without a rule", other.model_name()), Style { ink: style::REFERENCE.ink, ..look }));
        for task in &tasks {
            let base = view.arms[reference].task(&task.name);
            samples.extend(base.and_then(|base| sample(view, entry, arm, base, kind)));
        }
    }
    let rivals = samples.len() > own;
    let panel = |task: &&SceneTask| {
        let line = |entry: usize| {
            let of_line = samples.iter().filter(|sample| sample.entry == entry && sample.task == task.name);
            let mut points: Vec<(f64, Estimate)> = of_line.map(|sample| (sample.ms[0], estimate(sample))).collect();
            // From the baseline, which is slowest, to what removes most.
            points.reverse();
            Line { entry, points }
        };
        LinePanel { title: format!("{}, n = {}", task.name, task.n), lines: (0..legend.len()).map(line).collect() }
    };
    let repeats = samples.iter().map(|sample| repeats(view, sample)).min().unwrap_or(0);
    let spread = samples.iter().map(|sample| (sample.ms[2] - sample.ms[1]) / sample.ms[0]).fold(0.0, f64::max);
    let lines = Lines {
        grid: vec![(String::new(), tasks.iter().map(panel).collect())],
        x: (&["Measured time an item (ms)", "Time an item (ms)", "ms an item"], Axis::Linear),
        y: (kind.axis, Axis::Linear),
        share: Share::Columns,
        zero: Some(0.0),
        spread: Spread::Bars,
        legend: legend.clone(),
        notes: vec![format!("{}. Bars: paired 95 % intervals.", scene.note())],
        sheet: view.sheet,
    };
    let caption = format!(
        "{} to {} without a rule, paired over items, against the measured time an item; {}. Every curve starts at the model without a rule. \
         {}Times are medians over {repeats} repeats, each cell by itself; fastest and slowest differ by at most {:.0} %. Bars are 95 % \
         intervals over items. {}",
        kind.says,
        text::in_caption(&scene.model_name()),
        scene.title(),
        if rivals { "Other models compete without a rule. " } else { "" },
        spread * 100.0,
        seeds_note(view, samples.iter().map(|sample| sample.arm)),
    );
    let names: Vec<String> = tasks.iter().map(|task| task.name.clone()).collect();
    let mut query = Query::of_scene(view, scene, &names, samples[..own].iter().map(|sample| sample.arm));
    for other in view.scenes.iter().filter(|other| is_rival(other, scene)) {
        query.add(view, other, &names, []);
    }
    let name = format!("{}_vs_time_{}", kind.name, scene.slug());
    figure(name, lines.draw(), csv(view, &legend, &samples, kind, baseline), caption, &query)
}

/// Whether the model of a scene without a rule competes with the rules of another.
fn is_rival(other: &Scene, scene: &Scene) -> bool {
    other.model != scene.model && other.protocol == scene.protocol
}

/// Nothing where the arm was not repeated for its time, or saw other items.
fn sample(view: &View, entry: usize, arm: usize, base: &ArmTask, kind: Kind) -> Option<Sample> {
    let task = view.arms[arm].task(&base.task).filter(|task| task.cost.repeats > 0)?;
    let difference = if std::ptr::eq(task, base) { nothing() } else { task.minus(base)? };
    let (low, high) = task.cost.repeats_s;
    let scaled = |value: f64| value * kind.factor;
    Some(Sample {
        entry,
        arm,
        task: base.task.clone(),
        ms: [task.cost.wall_s, low, high].map(|seconds| seconds * 1_000.0 / task.estimate.n.max(1) as f64),
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

fn repeats(view: &View, sample: &Sample) -> usize {
    view.arms[sample.arm].task(&sample.task).map_or(0, |task| task.cost.repeats)
}

fn estimate(sample: &Sample) -> Estimate {
    let Difference { value, interval, .. } = sample.difference;
    Estimate { n: sample.n, value, stderr: f64::NAN, interval }
}

fn csv(view: &View, legend: &[(String, Style)], samples: &[Sample], kind: Kind, baseline: &str) -> String {
    let unit = if kind.lower_is_better { "nats" } else { "points" };
    let mut csv = "model,protocol,series,task,unit,ms_an_item,ms_fastest,ms_slowest,repeats,n,diff,ci_low,ci_high,\
                   flops_reduction_achieved\n"
        .to_owned();
    for sample in samples {
        let arm = &view.arms[sample.arm].trial;
        let series = if arm.strategy == baseline { baseline } else { legend[sample.entry].0.as_str() };
        let mut fields =
            vec![arm.model.clone(), arm.protocol.clone(), series.to_owned(), sample.task.clone(), unit.to_owned()];
        fields.extend(sample.ms.map(number));
        fields.extend([repeats(view, sample).to_string(), sample.n.to_string(), number(sample.difference.value)]);
        fields.extend(interval_fields(Some(sample.difference.interval)));
        fields.push(number(sample.achieved));
        let line = csv_line(&fields);
        // The baseline starts every curve and is written once.
        if !csv.contains(&line) {
            csv += &line;
        }
    }
    csv
}
