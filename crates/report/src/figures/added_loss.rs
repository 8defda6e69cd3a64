//! What each rule adds to the loss of each task in several models at the same achieved reduction: families of models side by side.

use records::each_once;
use std::collections::BTreeSet;

use analysis::{Arm, Estimate};
use records::schema::{Asked, Reduction};

use super::dots::{DotPanel, Dots};
use super::{Failed, Figure, Query, apart_note, csv_line, figure, interval_fields, number, seeds_note};
use crate::losses::{self, Loss};
use crate::style;
use crate::text;
use crate::view::{Scene, View, asked_phrase, asked_slug, distinct};

/// More tasks than this are too narrow side by side.
const MOST_TASKS: usize = 4;

/// One figure per protocol and achieved reduction, where several models have a task with a loss.
pub(super) fn draw_all(view: &View, baseline: &str) -> Vec<Result<Option<Figure>, Failed>> {
    let protocols: BTreeSet<&str> = view.scenes.iter().map(|scene| scene.protocol.as_str()).collect();
    let mut figures = Vec::new();
    for protocol in protocols {
        let scenes: Vec<&Scene> = view.scenes.iter().filter(|scene| scene.protocol == protocol).collect();
        let reductions = distinct(scenes.iter().flat_map(|scene| scene.reductions()));
        for asked in reductions.into_iter().filter(|asked| asked.asked == Asked::Achieved) {
            figures.push(draw(view, &scenes, asked, baseline));
        }
    }
    figures
}

/// The losses of one task, model by model.
struct Column<'a> {
    task: &'a str,
    metric: &'a str,
    n: usize,
    models: Vec<Vec<Loss<'a>>>,
}

fn columns<'a>(view: &'a View, scenes: &[&'a Scene], asked: Reduction) -> Vec<Column<'a>> {
    let mut columns: Vec<Column<'a>> = Vec::new();
    for task in scenes.iter().flat_map(|scene| losses::tasks(scene)) {
        if columns.iter().all(|column| column.task != task.name) {
            let models = scenes.iter().map(|scene| losses::of_task(view, scene, asked, task)).collect();
            columns.push(Column { task: &task.name, metric: &task.metric, n: task.n, models });
        }
    }
    columns.truncate(MOST_TASKS);
    columns
}

fn draw(view: &View, scenes: &[&Scene], asked: Reduction, baseline: &str) -> Result<Option<Figure>, Failed> {
    let columns = columns(view, scenes, asked);
    if scenes.len() < 2 || columns.is_empty() {
        return Ok(None);
    }
    let all = || columns.iter().flat_map(|column| column.models.iter().flatten());
    let rows = all().filter(|loss| loss.result.difference.is_some()).map(|loss| loss.series.label.as_str());
    let rows: Vec<&str> = each_once(rows);
    if rows.is_empty() {
        return Ok(None);
    }
    let panel = |column: &Column<'_>| {
        let row = |label: &&str| {
            let of_model = |(entry, losses): (usize, &Vec<Loss<'_>>)| {
                let loss = losses.iter().find(|loss| loss.series.label == **label)?;
                Some((entry, estimate(loss)?))
            };
            column.models.iter().enumerate().filter_map(of_model).collect()
        };
        DotPanel { title: column.task.to_owned(), rows: rows.iter().map(row).collect() }
    };
    let model = |(index, scene): (usize, &&Scene)| (scene.model_name(), style::cycle(index));
    let apart = all().any(|loss| !loss.compared);
    let counts: Vec<String> = columns.iter().map(|column| column.n.to_string()).collect();
    let mut notes = vec![format!(
        "Protocol {}, {}; n = {} items. Bars: paired 95 % intervals.",
        text::shortened(&scenes[0].protocol, text::SHOWN),
        asked.in_words(0),
        counts.join(", ")
    )];
    notes.extend(apart.then(apart_note));
    let dots = Dots {
        rows: rows.iter().map(|label| (*label).to_owned()).collect(),
        grid: vec![(String::new(), columns.iter().map(panel).collect())],
        legend: scenes.iter().enumerate().map(model).collect(),
        x: columns.iter().map(|column| added_to(column.metric)).collect(),
        zero: Some(0.0),
        notes,
        sheet: view.sheet,
    };
    let tasks: Vec<String> =
        columns.iter().map(|column| format!("`{}` ({} items)", text::in_caption(column.task), column.n)).collect();
    let apart = if apart {
        " Some achieved reductions differ by more than half a point: the table of the same name marks them."
    } else {
        ""
    };
    let caption = format!(
        "What each rule adds to the loss of `{}` in each model, at {}, protocol `{}`: {}. Intervals are 95 %, paired bootstrap over \
         items; lower is better.{apart} {}",
        text::in_caption(baseline),
        asked_phrase(asked),
        text::in_caption(&scenes[0].protocol),
        tasks.join(", "),
        seeds_note(view, arms(view, scenes, asked)),
    );
    let name = format!("added_loss_{}_{}", text::file_name(&scenes[0].protocol), asked_slug(asked));
    let shown: Vec<String> = columns.iter().map(|column| column.task.to_owned()).collect();
    let mut query = Query::default();
    for scene in scenes {
        let arms = scene.series.iter().filter_map(|series| series.at(asked)).map(|point| point.arm);
        query.add(view, scene, &shown, arms);
    }
    figure(name, dots.draw(), csv(scenes, &columns), caption, &query)
}

/// Label of an axis: losses are nats per what they count, a perplexity has no unit.
fn added_to(metric: &str) -> Vec<String> {
    let unit = losses::unit(metric).filter(|unit| *unit == "nats").map_or("", |_| " (nats)");
    vec![format!("Added to {metric}{unit}"), format!("Added{unit}")]
}

fn estimate(loss: &Loss<'_>) -> Option<Estimate> {
    Some(loss.result.difference?.as_estimate(loss.result.estimate.n))
}

/// The arms of all models at the reduction.
fn arms(view: &View, scenes: &[&Scene], asked: Reduction) -> BTreeSet<usize> {
    let points = scenes.iter().flat_map(|scene| &scene.series).filter_map(|series| series.at(asked));
    let is_there = |arm: &usize| view.arms.get(*arm).is_some_and(|arm: &Arm| !arm.tasks.is_empty());
    points.map(|point| point.arm).filter(is_there).collect()
}

fn csv(scenes: &[&Scene], columns: &[Column<'_>]) -> String {
    let mut csv =
        "model,protocol,task,metric,series,diff,ci_low,ci_high,flops_reduction_achieved,compared\n".to_owned();
    for column in columns {
        for (scene, losses) in scenes.iter().zip(&column.models) {
            for loss in losses {
                let Some(estimate) = estimate(loss) else { continue };
                let mut fields = vec![scene.model.clone(), scene.protocol.clone(), column.task.to_owned()];
                fields.extend([column.metric.to_owned(), loss.series.label.clone(), number(estimate.value)]);
                fields.extend(interval_fields(Some(estimate.interval)));
                fields.push(number(loss.result.flops_reduction_achieved));
                fields.push(super::yes_or_no(loss.compared).to_owned());
                csv += &csv_line(&fields);
            }
        }
    }
    csv
}
