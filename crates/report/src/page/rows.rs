//! The main table of the page as data: one row per arm and task, and the mean over the tasks of accuracies.

use analysis::{Arm, Difference, Estimate, MARK};
use serde_json::{Value, json};

use crate::view::{Scene, Series, View, asked_text, distinct};

/// Flags of a row, as the script reads them.
const LOWER_IS_BETTER: u8 = 1;
const NOT_COMPARED: u8 = 2;

/// Words that many rows share, each once.
#[derive(Default)]
struct Words(Vec<String>);

impl Words {
    fn index(&mut self, word: &str) -> usize {
        self.0.iter().position(|known| known == word).unwrap_or_else(|| {
            self.0.push(word.to_owned());
            self.0.len() - 1
        })
    }
}

/// Everything that rows name by its place in a list.
#[derive(Default)]
struct Lists {
    models: Words,
    labels: Words,
    protocols: Words,
    sites: Words,
    tasks: Words,
    metrics: Words,
    asked: Words,
}

/// What a row says of one arm on one task.
struct Cell<'a> {
    task: &'a str,
    metric: &'a str,
    achieved: f64,
    estimate: Estimate,
    difference: Option<Difference>,
    flags: u8,
}

/// The rows; none where nothing finished.
pub(super) fn rows(view: &View, baseline: &str) -> Option<Value> {
    let mut lists = Lists::default();
    let reductions = distinct(view.scenes.iter().flat_map(Scene::reductions));
    let means = view.scenes.iter().any(|scene| scene.accuracy_tasks().len() > 1);
    let mean = means.then(|| lists.tasks.index(MEAN));
    let mut rows: Vec<Value> = Vec::new();
    for scene in &view.scenes {
        let mut add = |label: &str, arm: &Arm, asked: &str, cell: &Cell<'_>| {
            rows.push(json!([
                lists.models.index(&scene.model),
                lists.labels.index(label),
                lists.protocols.index(&scene.protocol),
                lists.tasks.index(cell.task),
                lists.asked.index(asked),
                lists.sites.index(if arm.trial.sites.is_empty() { "" } else { &arm.trial.schedule }),
                lists.metrics.index(cell.metric),
                cell.estimate.n,
                number(cell.achieved),
                number(cell.estimate.value),
                number(cell.estimate.interval.low),
                number(cell.estimate.interval.high),
                cell.difference.and_then(|difference| number(difference.value)),
                cell.difference.and_then(|difference| number(difference.interval.low)),
                cell.difference.and_then(|difference| number(difference.interval.high)),
                cell.difference.and_then(|difference| number(difference.p_value)),
                cell.flags,
            ]));
        };
        if let Some((arm, mean)) = &scene.baseline {
            let arm = &view.arms[*arm];
            for cell in
                of_arm(scene, arm, mean.as_ref().map(|mean| (mean.flops_reduction_achieved, mean.estimate)), None, 0)
            {
                add(baseline, arm, BASELINE, &cell);
            }
        }
        for series in scene.series.iter().chain(&scene.sweeps) {
            add_series(view, scene, series, &reductions, &mut add);
        }
    }
    let Lists { models, labels, protocols, sites, tasks, metrics, asked } = lists;
    (!rows.is_empty()).then(|| {
        json!({
            "models": models.0, "labels": labels.0, "protocols": protocols.0, "sites": sites.0, "tasks": tasks.0,
            "metrics": metrics.0, "asked": asked.0, "mean": mean, "baseline": baseline, "mark": MARK, "r": rows,
        })
    })
}

/// The word for the mean over tasks, and for what is asked of the baseline.
const MEAN: &str = "mean over tasks";
const BASELINE: &str = "–";

fn add_series(
    view: &View,
    scene: &Scene,
    series: &Series,
    reductions: &[records::schema::Reduction],
    add: &mut impl FnMut(&str, &Arm, &str, &Cell<'_>),
) {
    for point in &series.points {
        let arm = &view.arms[point.arm];
        let flags = if point.compared { 0 } else { NOT_COMPARED };
        let mean = point.mean.as_ref().map(|mean| (mean.flops_reduction_achieved, mean.estimate));
        let asked = asked_text(point.asked, reductions);
        for cell in of_arm(scene, arm, mean, point.difference, flags) {
            add(&series.label, arm, &asked, &cell);
        }
    }
}

fn of_arm<'a>(
    scene: &'a Scene,
    arm: &'a Arm,
    mean: Option<(f64, Estimate)>,
    difference: Option<Difference>,
    flags: u8,
) -> Vec<Cell<'a>> {
    let mut cells = Vec::new();
    if let Some((achieved, estimate)) = mean.filter(|_| scene.accuracy_tasks().len() > 1) {
        cells.push(Cell { task: MEAN, metric: "accuracy", achieved, estimate, difference, flags });
    }
    cells.extend(arm.tasks.iter().map(|result| Cell {
        task: &result.task,
        metric: &result.metric,
        achieved: result.flops_reduction_achieved,
        estimate: result.estimate,
        difference: result.difference,
        flags: if result.lower_is_better { LOWER_IS_BETTER } else { 0 } | flags,
    }));
    cells
}

/// To five digits, which is more than the page shows; none for NaN and infinite values.
fn number(value: f64) -> Option<f64> {
    value.is_finite().then(|| (value * 1e5).round() / 1e5)
}
