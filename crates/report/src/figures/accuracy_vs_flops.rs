//! Accuracy against the achieved FLOPs reduction, one panel per family of strategies.
//!
//! Nearly twenty series in one panel cannot be told apart; the baseline and `random` are repeated in every panel, so
//! that each family is read against the same two references.

use analysis::{Estimate, Interval};
use records::Family;

use super::layout::{Columns, notes_height, page, room_for_legend, ticks_wanted};
use super::{
    Failed, Figure, Query, asked_fields, asked_header, csv_line, estimate_fields, figure, interval_fields, legend,
    number, seeds_note,
};
use crate::axes::{BEYOND, BROKEN, Panel, has_place, padded, ticks};
use crate::canvas::{Canvas, DrawError, Ink, Stroke, Text};
use crate::losses;
use crate::paper::{Sheet, TITLE_TEXT};
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

/// What a block of panels shows.
#[derive(Clone, Copy)]
enum Quantity<'a> {
    Mean,
    Task(&'a SceneTask),
}

/// The panels of one quantity, one per family.
struct Block<'a> {
    quantity: Quantity<'a>,
    /// Above the panels; none where there is one block.
    title: Option<String>,
    panels: Vec<(Family, Vec<Curve<'a>>)>,
    reference: Option<Estimate>,
    x: (f64, f64),
    y: (f64, f64),
}

/// Labels of the level axis, by the room they need.
const REDUCTION: [&str; 3] = ["Achieved FLOPs reduction (%)", "FLOPs reduction (%)", "Reduction (%)"];
/// Room of an upright axis with its label.
const AXIS: f64 = 35.0;
/// Height around the data of a panel: title above; ticks and label below.
const AROUND: f64 = 13.0 + 26.0;
/// Height of the title of a block.
const HEAD: f64 = 11.0;
/// Height of the notes, about.
const NOTES: f64 = 34.0;
/// A panel that is narrower has no room for its labels.
const LEAST: f64 = 66.0;

impl<'a> Block<'a> {
    fn new(view: &View, scene: &'a Scene, quantity: Quantity<'a>, title: Option<String>) -> Self {
        let panels: Vec<_> =
            families(scene).into_iter().map(|family| (family, curves(view, scene, family, quantity))).collect();
        let reference = reference(view, scene, quantity);
        let share = !matches!(quantity, Quantity::Task(task) if task.lower_is_better);
        let (x, y) = ranges(&panels, reference, share);
        Self { quantity, title, panels, reference, x, y }
    }

    /// Factor of the values, and labels of the upright axis.
    fn unit(&self) -> (f64, Vec<String>) {
        match self.quantity {
            Quantity::Mean => (100.0, vec!["Accuracy, mean over tasks (%)".to_owned(), "Accuracy (%)".to_owned()]),
            Quantity::Task(task) if task.lower_is_better => (1.0, vec![with_unit(task)]),
            Quantity::Task(task) => (100.0, vec![with_unit(task)]),
        }
    }

    fn height(&self, columns: &Columns, plot: f64) -> f64 {
        let rows = self.panels.len().div_ceil(columns.count) as f64;
        rows * (plot + AROUND) + if self.title.is_some() { HEAD } else { 0.0 }
    }

    fn has_beyond(&self) -> bool {
        self.panels.iter().any(|(_, curves)| has_beyond(curves))
    }
}

/// Blocks below each other with one legend.
struct Blocks<'a> {
    view: &'a View,
    scene: &'a Scene,
    all: Vec<Block<'a>>,
    columns: Columns,
    plot: f64,
    legend: Vec<(&'a str, Style)>,
    notes: Vec<String>,
}

impl<'a> Blocks<'a> {
    fn new(view: &'a View, scene: &'a Scene, blocks: Vec<Block<'a>>, plot: f64, items: &str) -> Self {
        let sheet = view.sheet;
        let columns = columns(sheet, scene);
        let baseline = scene.baseline.iter().map(|(arm, _)| view.arms[*arm].trial.strategy.as_str());
        let mut legend: Vec<(&str, Style)> = baseline.map(|name| (name, style::REFERENCE)).collect();
        for curve in blocks.iter().flat_map(|block| &block.panels).flat_map(|(_, curves)| curves) {
            if legend.iter().all(|(label, _)| *label != curve.label) {
                legend.push((curve.label, curve.style));
            }
        }
        let mut notes = vec![format!("{}{items}. Bands: 95 % intervals.", scene.note())];
        notes.extend(blocks.iter().any(|block| block.y.0 > 0.0).then(|| BROKEN.to_owned()));
        let mut own = Self { view, scene, all: blocks, columns, plot, legend, notes };
        let rows = own.all.iter().map(|block| block.panels.len().div_ceil(columns.count)).sum();
        let rest = own.panels_height() + notes_height(sheet, &own.notes);
        own.plot += room_for_legend(sheet, &own.labels(), rest, rows);
        own
    }

    fn labels(&self) -> Vec<&'a str> {
        self.legend.iter().map(|(label, _)| *label).collect()
    }

    fn panels_height(&self) -> f64 {
        self.all.iter().map(|block| block.height(&self.columns, self.plot)).sum::<f64>() + 6.0
    }

    fn draw(&self) -> Result<String, DrawError> {
        let sheet = self.view.sheet;
        let width = sheet.width - 8.0;
        let height = self.panels_height() + legend::height(sheet, &self.labels(), width) + 4.0;
        page(sheet, height, &self.notes, |canvas| {
            let mut top = 2.0;
            for block in &self.all {
                self.block(canvas, block, top)?;
                top += block.height(&self.columns, self.plot);
            }
            legend::draw(canvas, (4.0, top + 4.0), width, &self.legend)
        })
    }

    fn block(&self, canvas: &Canvas, block: &Block, top: f64) -> Result<(), DrawError> {
        let mut top = top;
        if let Some(title) = &block.title {
            let title = canvas.sheet().fitted(title, TITLE_TEXT, true, canvas.sheet().width - 8.0);
            canvas.text((4.0, top + HEAD / 2.0), &title, Text::new(TITLE_TEXT).bold())?;
            top += HEAD;
        }
        let (unit, labels) = block.unit();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        for (index, (family, curves)) in block.panels.iter().enumerate() {
            let (row, column) = (index / self.columns.count, index % self.columns.count);
            let corner = (self.columns.at(column), top + row as f64 * (self.plot + AROUND) + 13.0);
            let panel = Panel::new(corner, self.columns.width, self.plot, block.x, block.y);
            let wanted = ((self.plot / 15.0) as usize).clamp(2, 5);
            let x_ticks = ticks(block.x, ticks_wanted(panel.width).min(4), 100.0, "");
            panel.axes(canvas, &x_ticks, &ticks(block.y, wanted, unit, ""))?;
            panel.label_x(canvas, &REDUCTION)?;
            panel.label_y(canvas, &labels, AXIS - 7.0)?;
            if block.y.0 > 0.0 {
                panel.broken_y(canvas)?;
            }
            let title = [style::title(*family), style::short_title(*family)];
            let title = canvas.sheet().that_fits(&title, TITLE_TEXT, panel.width * 0.94);
            // Families are told by their names: the heading of a block alone is bold.
            let look = Text::new(TITLE_TEXT);
            let look = if block.title.is_some() { look.ink(Ink::GREY) } else { look.bold() };
            canvas.text((panel.left, panel.top - 6.0), &title, look)?;
            paint(canvas, &panel, block.reference, curves, 0.11)?;
        }
        Ok(())
    }

    fn query(&self) -> Query {
        let tasks: Vec<String> = match self.all.first().map(|block| block.quantity) {
            Some(Quantity::Mean) | None => self.scene.accuracy_tasks(),
            Some(Quantity::Task(_)) => {
                let task = |block: &Block| match block.quantity {
                    Quantity::Task(task) => Some(task.name.clone()),
                    Quantity::Mean => None,
                };
                self.all.iter().filter_map(task).collect()
            }
        };
        Query::of_scene(self.view, self.scene, &tasks, arms(self.scene))
    }
}

fn columns(sheet: Sheet, scene: &Scene) -> Columns {
    Columns::fit(sheet, families(scene).len(), LEAST, 2.0, (AXIS, 4.0))
}

/// Mean over the accuracy tasks.
pub(super) fn mean(view: &View, scene: &Scene) -> Result<Option<Figure>, Failed> {
    if families(scene).is_empty() || scene.baseline_mean().is_none() {
        return Ok(None);
    }
    let block = Block::new(view, scene, Quantity::Mean, None);
    let items = format!(", n = {} items of {} tasks", scene.items(), scene.accuracy_tasks().len());
    let blocks = Blocks::new(view, scene, vec![block], 96.0, &items);
    let caption = format!(
        "Accuracy (mean over {} tasks, {} items in all) against the FLOPs reduction that was achieved; {}. Bands are 95 %          intervals over items (Wilson's, of the mean of shares). The horizontal line is `{}`, from which every curve starts; `random` is          repeated in every panel. {}{}",
        scene.accuracy_tasks().len(),
        scene.items(),
        scene.title(),
        baseline_name(view, scene),
        if blocks.all.iter().any(Block::has_beyond) { BEYOND } else { "" },
        seeds_note(view, arms(scene)),
    );
    let query = blocks.query();
    figure(format!("accuracy_vs_flops_{}", scene.slug()), blocks.draw(), csv(view, scene), caption, &query)
}

/// One small panel per task and family, in as many figures as pages are needed.
pub(super) fn by_task(view: &View, scene: &Scene) -> Vec<Result<Option<Figure>, Failed>> {
    if families(scene).is_empty() || scene.tasks.is_empty() || scene.baseline.is_none() {
        return Vec::new();
    }
    let plot = 50.0;
    let columns = columns(view.sheet, scene);
    let block = families(scene).len().div_ceil(columns.count) as f64 * (plot + AROUND) + HEAD;
    let labels: Vec<&str> = scene.series.iter().map(|series| series.label.as_str()).collect();
    let below = legend::height(view.sheet, &labels, view.sheet.width - 8.0) + NOTES;
    let on_page = ((view.sheet.tallest - below) / block).max(1.0) as usize;
    let pages = scene.tasks.len().div_ceil(on_page);
    let even = scene.tasks.len().div_ceil(pages);
    let parts = scene.tasks.chunks(even).enumerate();
    parts.map(|(part, tasks)| part_by_task(view, scene, tasks, plot, part)).collect()
}

fn part_by_task(
    view: &View,
    scene: &Scene,
    tasks: &[SceneTask],
    plot: f64,
    part: usize,
) -> Result<Option<Figure>, Failed> {
    let mut blocks = Vec::new();
    for task in tasks {
        let better = if task.lower_is_better { ", lower is better" } else { "" };
        let title = format!("{}, n = {}{better}", task.name, task.n);
        blocks.push(Block::new(view, scene, Quantity::Task(task), Some(title)));
    }
    let blocks = Blocks::new(view, scene, blocks, plot, "");
    let caption = format!(
        "The primary metric of each task against the achieved FLOPs reduction; {}. Bands are 95 % intervals over items          (Wilson's for shares of items, otherwise item bootstrap). The dashed line is `{}`, from which every curve starts. {}{}",
        scene.title(),
        baseline_name(view, scene),
        if blocks.all.iter().any(Block::has_beyond) { BEYOND } else { "" },
        seeds_note(view, arms(scene)),
    );
    let name = format!("tasks_vs_flops_{}", scene.slug());
    let name = if part == 0 { name } else { format!("{name}_{}", part + 1) };
    let query = blocks.query();
    figure(name, blocks.draw(), csv(view, scene), caption, &query)
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

fn reference(view: &View, scene: &Scene, quantity: Quantity) -> Option<Estimate> {
    match quantity {
        Quantity::Mean => scene.baseline_mean().map(|mean| mean.estimate),
        Quantity::Task(task) => {
            let (arm, _) = scene.baseline.as_ref()?;
            view.arms[*arm].task(&task.name).map(|result| result.estimate)
        }
    }
}

fn curves<'a>(view: &View, scene: &'a Scene, family: Family, quantity: Quantity) -> Vec<Curve<'a>> {
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

/// Ranges that hold every value; bands may be cut where they are far wider than the differences between curves.
fn ranges(curves: &[(Family, Vec<Curve<'_>>)], reference: Option<Estimate>, share: bool) -> ((f64, f64), (f64, f64)) {
    let samples = || curves.iter().flat_map(|(_, curves)| curves).flat_map(|curve| &curve.samples);
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
        canvas.line(
            &[(panel.left, y), (panel.right(), y)],
            Stroke { ink: Ink::BLACK, width: 0.7, dash: style::REFERENCE.dash },
        )?;
    }
    for (curve, path) in curves.iter().zip(&paths).filter(|(curve, _)| !curve.samples.is_empty()) {
        let width = if curve.reference { 0.9 } else { 1.1 };
        let points: Vec<_> = path.iter().map(|s| panel.at(s.x, s.y)).collect();
        canvas.line(&points, Stroke { ink: curve.style.ink, width, dash: curve.style.dash })?;
        let radius = if curve.reference { 1.5 } else { 2.0 };
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

/// A metric with its unit.
fn with_unit(task: &SceneTask) -> String {
    let metric = &task.metric;
    match losses::unit(metric) {
        _ if !task.lower_is_better => format!("{metric} (%)"),
        Some("nats") => format!("{metric} (nats)"),
        Some(unit) => unit.to_owned(),
        None => metric.clone(),
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
