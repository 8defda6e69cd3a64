//! Accuracy against the achieved FLOPs reduction, one panel per family of strategies.
//!
//! Nearly twenty series in one panel cannot be told apart; the baseline and `random` are repeated in every panel, so
//! that each family is read against the same two references.

use analysis::{Estimate, Interval};
use records::Family;
use records::names::is_loss;

use super::{
    FULL_WIDTH, Failed, Figure, asked_fields, asked_header, csv_line, estimate_fields, figure, interval_fields, legend,
    number, seeds_note,
};
use crate::axes::{BEYOND, LABEL_TEXT, Panel, has_place, padded, ticks};
use crate::canvas::{Align, Canvas, DrawError, Ink, Stroke, Text, draw, fitted};
use crate::style::{self, Style};
use crate::text;
use crate::view::{Scene, SceneTask, Series, View};

/// One point of a curve.
#[derive(Clone, Copy)]
struct Sample {
    x: f64,
    y: f64,
    interval: Interval,
}

/// One curve of a panel; the reference curve `random` is drawn thinner.
struct Curve<'a> {
    label: &'a str,
    style: Style,
    samples: Vec<Sample>,
    reference: bool,
}

/// What the panels of one row show.
enum Quantity<'a> {
    Mean,
    Task(&'a SceneTask),
}

/// Mean over the accuracy tasks.
pub(super) fn mean(view: &View, scene: &Scene) -> Result<Option<Figure>, Failed> {
    let families = families(scene);
    if families.is_empty() || scene.baseline_mean().is_none() {
        return Ok(None);
    }
    let columns = match families.len() {
        4 => 2,
        n => n.min(3),
    };
    let rows = families.len().div_ceil(columns);
    let (left, gap, top) = (36.0, 14.0, 20.0);
    let width = (FULL_WIDTH - left - 6.0 - gap * (columns as f64 - 1.0)) / columns as f64;
    let plot = 112.0;
    let quantity = Quantity::Mean;
    let curves: Vec<Vec<Curve>> = families.iter().map(|&family| curves(view, scene, family, &quantity)).collect();
    let legend_height = |row: usize| {
        let row = curves.iter().skip(row * columns).take(columns);
        row.map(|curves| legend::height(&labels(curves), width)).fold(0.0, f64::max)
    };
    let (x_range, y_range) = ranges(&curves, reference(view, scene, &quantity), true);
    let row_height = |row: usize| top + plot + 16.0 + legend_height(row) + 8.0;
    let height = (0..rows).map(row_height).sum::<f64>() + 10.0;
    let svg = draw(FULL_WIDTH, height, |canvas| {
        let mut offset = 0.0;
        for row in 0..rows {
            let members = (row * columns)..((row + 1) * columns).min(families.len());
            for (column, index) in members.enumerate() {
                let origin = (left + column as f64 * (width + gap), offset + top);
                let panel = Panel::new(origin, width, plot, x_range, y_range);
                let (x_ticks, y_ticks) = (ticks(x_range, 4, 100.0, ""), ticks(y_range, 5, 100.0, ""));
                panel.axes(canvas, &x_ticks, &y_ticks, (true, column == 0))?;
                panel.title(canvas, style::title(families[index]))?;
                paint(canvas, &panel, reference(view, scene, &quantity), &curves[index], 0.13)?;
                let entries: Vec<(&str, Style)> = curves[index].iter().map(|c| (c.label, c.style)).collect();
                legend::draw(canvas, (panel.left, panel.bottom() + 14.0), width, &entries)?;
                if index == 0 {
                    name_reference(canvas, view, scene, &panel, &quantity)?;
                }
            }
            let label = Text::new(LABEL_TEXT).align(Align::Middle).upwards();
            canvas.text((8.0, offset + top + plot / 2.0), "Accuracy, mean over tasks (%)", label)?;
            offset += row_height(row);
        }
        let label = Text::new(LABEL_TEXT).align(Align::Middle);
        canvas.text((left + (FULL_WIDTH - left) / 2.0, height - 9.0), "Achieved FLOPs reduction (%)", label)
    });
    let caption = format!(
        "Accuracy (mean over {} tasks, {} items in all) against the FLOPs reduction that was achieved; {}. Bands are 95 % \
         intervals over items. The horizontal line is `{}`, from which every curve starts; grey `random` is repeated in every \
         panel. {}{}",
        scene.accuracy_tasks().len(),
        scene.items(),
        scene.title(),
        baseline_name(view, scene),
        if curves.iter().any(|curves| has_beyond(curves)) { BEYOND } else { "" },
        seeds_note(view, arms(scene)),
    );
    figure(format!("accuracy_vs_flops_{}", scene.slug()), svg, csv(view, scene), caption)
}

/// One small panel per task and family.
pub(super) fn by_task(view: &View, scene: &Scene) -> Result<Option<Figure>, Failed> {
    let families = families(scene);
    if families.is_empty() || scene.tasks.is_empty() || scene.baseline.is_none() {
        return Ok(None);
    }
    let (left, gap, plot, top, row_gap) = (36.0, 7.0, 62.0, 30.0, 20.0);
    let width = (FULL_WIDTH - left - 4.0 - gap * (families.len() as f64 - 1.0)) / families.len() as f64;
    let legends: Vec<Vec<(&str, Style)>> = families
        .iter()
        .map(|&family| members(scene, family).map(|series| (series.label.as_str(), series.style)).collect())
        .collect();
    let entries: Vec<(&str, Style)> = legends.into_iter().flatten().fold(Vec::new(), |mut all, entry| {
        if all.iter().all(|(label, _)| *label != entry.0) {
            all.push(entry);
        }
        all
    });
    let names: Vec<&str> = entries.iter().map(|(label, _)| *label).collect();
    let legend_height = legend::height(&names, FULL_WIDTH - left);
    let grid = scene.tasks.len() as f64 * (plot + row_gap);
    let height = top + grid - row_gap + 18.0 + 10.0 + legend_height + 4.0;
    let of_task = |task| -> Vec<Vec<Curve>> {
        families.iter().map(|&family| curves(view, scene, family, &Quantity::Task(task))).collect()
    };
    let beyond = scene.tasks.iter().any(|task| of_task(task).iter().any(|curves| has_beyond(curves)));
    let svg = draw(FULL_WIDTH, height, |canvas| {
        for (row, task) in scene.tasks.iter().enumerate() {
            let quantity = Quantity::Task(task);
            let curves = of_task(task);
            let unit = if task.lower_is_better { 1.0 } else { 100.0 };
            let (x_range, y_range) = ranges(&curves, reference(view, scene, &quantity), !task.lower_is_better);
            let offset = top + row as f64 * (plot + row_gap);
            for (column, curves) in curves.iter().enumerate() {
                let origin = (left + column as f64 * (width + gap), offset);
                let panel = Panel::new(origin, width, plot, x_range, y_range);
                let (x_ticks, y_ticks) = (ticks(x_range, 3, 100.0, ""), ticks(y_range, 4, unit, ""));
                panel.axes(canvas, &x_ticks, &y_ticks, (row + 1 == scene.tasks.len(), column == 0))?;
                paint(canvas, &panel, reference(view, scene, &quantity), curves, 0.09)?;
                if column == 0 {
                    name_reference(canvas, view, scene, &panel, &quantity)?;
                }
                if row == 0 {
                    let title = Text::new(LABEL_TEXT).ink(Ink::GREY).align(Align::Middle);
                    canvas.text((panel.left + width / 2.0, 7.0), style::short_title(families[column]), title)?;
                }
            }
            let better = if task.lower_is_better { ", lower is better" } else { "" };
            let title = format!("{} ({}{better}), n = {}", task.name, task.metric, task.n);
            let title = fitted(&title, LABEL_TEXT, true, FULL_WIDTH - left);
            canvas.text((left, offset - 6.5), &title, Text::new(LABEL_TEXT).bold())?;
            let label = fitted(&with_unit(task), LABEL_TEXT, false, plot + row_gap - 4.0);
            let style = Text::new(LABEL_TEXT).align(Align::Middle).upwards();
            canvas.text((6.0, offset + plot / 2.0), &label, style)?;
        }
        let below = top + grid - row_gap + 18.0;
        let label = Text::new(LABEL_TEXT).align(Align::Middle);
        canvas.text((left + (FULL_WIDTH - left) / 2.0, below), "Achieved FLOPs reduction (%)", label)?;
        legend::draw(canvas, (left, below + 9.0), FULL_WIDTH - left, &entries)
    });
    let caption = format!(
        "The primary metric of each task against the achieved FLOPs reduction; {}. Bands are 95 % intervals over items \
         (Wilson's for shares of items, otherwise item bootstrap). The dashed line is `{}`, from which every curve starts. {}{}",
        scene.title(),
        baseline_name(view, scene),
        if beyond { BEYOND } else { "" },
        seeds_note(view, arms(scene)),
    );
    figure(format!("tasks_vs_flops_{}", scene.slug()), svg, csv(view, scene), caption)
}

fn families(scene: &Scene) -> Vec<Family> {
    let mut families: Vec<Family> = scene.series.iter().map(|series| series.family).collect();
    families.dedup();
    families
}

fn arms(scene: &Scene) -> impl Iterator<Item = usize> + '_ {
    scene.series.iter().flat_map(|series| series.points.iter().map(|point| point.arm))
}

/// The series of a family's panel, the reference `random` first.
fn members(scene: &Scene, family: Family) -> impl Iterator<Item = &Series> {
    let reference = scene.series.iter().filter(move |s| s.strategy == "random" && family != Family::Control);
    reference.chain(scene.series.iter().filter(move |s| s.family == family))
}

fn reference(view: &View, scene: &Scene, quantity: &Quantity) -> Option<Estimate> {
    match quantity {
        Quantity::Mean => scene.baseline_mean().map(|mean| mean.estimate),
        Quantity::Task(task) => {
            let (arm, _) = scene.baseline.as_ref()?;
            view.arms[*arm].task(&task.name).map(|result| result.estimate)
        }
    }
}

fn curves<'a>(view: &View, scene: &'a Scene, family: Family, quantity: &Quantity) -> Vec<Curve<'a>> {
    members(scene, family)
        .map(|series| {
            let mut samples: Vec<Sample> = series
                .points
                .iter()
                .filter_map(|point| match quantity {
                    Quantity::Mean => point.mean.as_ref().map(|mean| (mean.flops_reduction_achieved, mean.estimate)),
                    Quantity::Task(task) => view.arms[point.arm]
                        .task(&task.name)
                        .map(|result| (result.flops_reduction_achieved, result.estimate)),
                })
                .filter(|(x, _)| x.is_finite())
                .map(|(x, estimate)| Sample { x, y: estimate.value, interval: estimate.interval })
                .collect();
            samples.sort_by(|a, b| a.x.total_cmp(&b.x));
            let reference = series.strategy == "random" && family != Family::Control;
            Curve { label: &series.label, style: series.style, samples, reference }
        })
        .collect()
}

/// Whether some value has no place on an axis.
fn has_beyond(curves: &[Curve]) -> bool {
    curves.iter().flat_map(|curve| &curve.samples).any(|sample| !has_place(sample.y))
}

fn baseline_name(view: &View, scene: &Scene) -> String {
    scene.baseline.as_ref().map_or_else(String::new, |(arm, _)| text::in_caption(&view.arms[*arm].trial.strategy))
}

fn labels<'a>(curves: &[Curve<'a>]) -> Vec<&'a str> {
    curves.iter().map(|curve| curve.label).collect()
}

/// Ranges that hold every value; bands may be cut where they are far wider than the differences between curves.
fn ranges(curves: &[Vec<Curve>], reference: Option<Estimate>, share: bool) -> ((f64, f64), (f64, f64)) {
    let samples = || curves.iter().flatten().flat_map(|curve| &curve.samples);
    let right = samples().map(|sample| sample.x).fold(0.0, f64::max);
    let ends = samples().flat_map(|s| [s.y, s.interval.low, s.interval.high]);
    let of_reference = reference.iter().flat_map(|e| [e.value, e.interval.low, e.interval.high]);
    let (low, high) = padded(ends.chain(of_reference), 0.03);
    let y = if share { (low.max(0.0), high.min(1.0)) } else { (low, high) };
    ((0.0, if right > 0.0 { right * 1.05 } else { 1.0 }), y)
}

fn paint(
    canvas: &Canvas,
    panel: &Panel,
    reference: Option<Estimate>,
    curves: &[Curve],
    band: f64,
) -> Result<(), DrawError> {
    let start = reference.map(|e| Sample { x: 0.0, y: e.value, interval: e.interval });
    let paths: Vec<Vec<Sample>> =
        curves.iter().map(|curve| start.iter().copied().chain(curve.samples.iter().copied()).collect()).collect();
    for (curve, path) in curves.iter().zip(&paths).filter(|(curve, _)| !curve.samples.is_empty()) {
        // A value without a place interrupts curve and band.
        for run in path.split(|sample| !has_place(sample.y)).filter(|run| run.len() > 1) {
            let upper = run.iter().map(|s| panel.at(s.x, s.interval.high.clamp(panel.y.low, panel.y.high)));
            let lower = run.iter().rev().map(|s| panel.at(s.x, s.interval.low.clamp(panel.y.low, panel.y.high)));
            canvas.polygon(&upper.chain(lower).collect::<Vec<_>>(), curve.style.ink.alpha(band))?;
        }
    }
    if let Some(estimate) = reference.filter(|estimate| !has_place(estimate.value)) {
        panel.beyond_y(canvas, panel.left + 3.0, estimate.value, Ink::BLACK)?;
    } else if let Some(estimate) = reference {
        let y = panel.y.at(estimate.value);
        canvas
            .line(&[(panel.left, y), (panel.right(), y)], Stroke { ink: Ink::BLACK, width: 0.7, dash: &[3.0, 1.5] })?;
    }
    for (curve, path) in curves.iter().zip(&paths).filter(|(curve, _)| !curve.samples.is_empty()) {
        let width = if curve.reference { 0.8 } else { 1.1 };
        let points: Vec<_> = path.iter().map(|s| panel.at(s.x, s.y)).collect();
        canvas.line(&points, Stroke { ink: curve.style.ink, width, dash: curve.style.dash })?;
        let radius = if curve.reference { 1.4 } else { 2.0 };
        for sample in &curve.samples {
            if !has_place(sample.y) {
                panel.beyond_y(canvas, panel.x.at(sample.x), sample.y, curve.style.ink)?;
                continue;
            }
            canvas.marker(panel.at(sample.x, sample.y), curve.style.marker, radius, curve.style.ink)?;
        }
    }
    Ok(())
}

/// Names the dashed line.
fn name_reference(
    canvas: &Canvas,
    view: &View,
    scene: &Scene,
    panel: &Panel,
    quantity: &Quantity,
) -> Result<(), DrawError> {
    let value = reference(view, scene, quantity).map(|estimate| estimate.value).filter(|value| has_place(*value));
    let (Some((arm, _)), Some(value)) = (&scene.baseline, value) else {
        return Ok(());
    };
    // Below the line where there is no room above it.
    let y = panel.y.at(value);
    let y = if y - 9.0 < panel.top { y + 5.0 } else { y - 5.0 };
    let style = Text::new(LABEL_TEXT).align(Align::End);
    canvas.text((panel.right() - 1.0, y), &view.arms[*arm].trial.strategy, style)
}

/// A metric with its unit.
fn with_unit(task: &SceneTask) -> String {
    let metric = &task.metric;
    match metric.as_str() {
        _ if !task.lower_is_better => format!("{metric} (%)"),
        "bits_per_byte" => "bits per byte".to_owned(),
        metric if is_loss(metric) => format!("{metric} (nats)"),
        metric => metric.to_owned(),
    }
}

fn csv(view: &View, scene: &Scene) -> String {
    let header = "model,protocol,series,family,task,metric,flops_reduction_nominal,flops_reduction_achieved,seeds,n,value,ci_low,ci_high,diff,diff_ci_low,diff_ci_high,p_value";
    let mut csv = format!("{header}{}\n", asked_header(view.asks_achieved()));
    let baseline = scene.baseline.iter().map(|(arm, mean)| {
        let name = &view.arms[*arm].trial.strategy;
        (name.clone(), name.clone(), *arm, mean.as_ref(), None)
    });
    let points = scene.series.iter().flat_map(|series| {
        let family = style::title(series.family);
        series.points.iter().map(|p| (series.label.clone(), family.to_owned(), p.arm, p.mean.as_ref(), p.difference))
    });
    for (label, family, arm, mean, difference) in baseline.chain(points) {
        let arm = &view.arms[arm];
        let means = mean.map(|m| ("mean over tasks", "acc", m.flops_reduction_achieved, m.estimate, difference));
        let tasks = arm
            .tasks
            .iter()
            .map(|t| (t.task.as_str(), t.metric.as_str(), t.flops_reduction_achieved, t.estimate, t.difference));
        for (task, metric, achieved, estimate, difference) in means.into_iter().chain(tasks) {
            let (nominal, asked) = asked_fields(arm.trial.reduction(), view.asks_achieved());
            let mut fields = vec![
                scene.model.clone(),
                scene.protocol.clone(),
                label.clone(),
                family.clone(),
                task.to_owned(),
                metric.to_owned(),
                nominal,
                number(achieved),
                arm.seeds.len().to_string(),
            ];
            fields.extend(estimate_fields(&estimate));
            fields.push(difference.map_or(String::new(), |d| number(d.value)));
            fields.extend(interval_fields(difference.map(|d| d.interval)));
            fields.push(difference.map_or(String::new(), |d| number(d.p_value)));
            fields.extend(asked);
            csv += &csv_line(&fields);
        }
    }
    csv
}
