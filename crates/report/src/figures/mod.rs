//! The figures, one file each. A figure exists where its data exist.

mod accuracy_vs_flops;
mod added_loss;
mod bridge;
mod claim;
mod differences;
mod dots;
mod layer_ratio;
mod layout;
mod legend;
mod lines;
mod loss_vs_length;
mod probes;
mod protocol_comparison;
mod query;
mod token_map;
mod value_vs_time;

use analysis::{BridgeResult, Estimate, Interval, MARK, NOT_COMPARED, Study};

use records::schema::{Asked, Reduction};

use super::view::View;
use crate::text;
use query::Query;

/// A drawn figure with the numbers that it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Name of its files, without ending.
    pub name: String,
    /// The drawing.
    pub svg: String,
    /// The numbers that it shows, one row a line.
    pub csv: String,
    /// Where they come from, as JSON: rows of a frame, and the ids of trials and probes.
    pub query: String,
    /// What it shows, in words.
    pub caption: String,
}

/// A figure that could not be drawn. The others are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedFigure {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// What could be drawn and what could not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// The figures, in reading order.
    pub figures: Vec<Figure>,
    /// Those that could not be drawn.
    pub failed: Vec<FailedFigure>,
}

impl Drawn {
    fn add<F: IntoIterator<Item = Figure>>(&mut self, drawn: Result<F, Failed>) {
        match drawn {
            Ok(figures) => self.figures.extend(figures),
            Err((name, reason)) => self.failed.push(FailedFigure { name, reason }),
        }
    }
}

/// Draws every figure the experiment has data for, in reading order.
pub(super) fn draw_all(study: &Study, view: &View, bridges: &[BridgeResult]) -> Drawn {
    let mut drawn = Drawn::default();
    if let Some(result) = &study.claim {
        for figure in claim::draw_all(study, result, view.sheet) {
            drawn.add(figure);
        }
    }
    for figure in bridges.iter().flat_map(|own| bridge::draw(own, &study.plan.baseline, view.sheet)) {
        drawn.add(figure);
    }
    for scene in &view.scenes {
        drawn.add(accuracy_vs_flops::mean(view, scene));
        for figure in accuracy_vs_flops::by_task(view, scene) {
            drawn.add(figure);
        }
    }
    for scene in &view.scenes {
        drawn.add(differences::draw(view, scene, &study.plan.baseline));
    }
    for figure in added_loss::draw_all(view, &study.plan.baseline) {
        drawn.add(figure);
    }
    for figure in loss_vs_length::draw_all(view, &study.plan.baseline) {
        drawn.add(figure);
    }
    for figure in value_vs_time::draw_all(view, &study.plan.baseline) {
        drawn.add(figure);
    }
    for asked in protocol_comparison::reductions(view) {
        drawn.add(protocol_comparison::draw(view, asked, &study.plan.baseline));
    }
    for scene in &view.scenes {
        drawn.add(layer_ratio::draw(view, scene, &study.plan.baseline));
    }
    for map in token_map::draw_all(study, view) {
        drawn.add(map);
    }
    for probe in probes::draw_all(study, view.sheet) {
        drawn.add(probe);
    }
    drawn
}

/// A failure with the name of the figure it happened in.
type Failed = (String, String);

/// Finishes a figure or names the one that failed.
fn figure(
    name: String,
    svg: Result<String, String>,
    csv: String,
    caption: String,
    query: &Query,
) -> Result<Option<Figure>, Failed> {
    match svg {
        Ok(svg) => Ok(Some(Figure { query: query.json(&name), name, svg, csv, caption })),
        Err(reason) => Err((name, reason)),
    }
}

/// One line of CSV.
fn csv_line(fields: &[String]) -> String {
    fields.iter().map(|field| text::csv(field)).collect::<Vec<_>>().join(",") + "\n"
}

fn number(value: f64) -> String {
    if value.is_nan() { String::new() } else { format!("{value:.6}") }
}

fn interval_fields(interval: Option<Interval>) -> [String; 2] {
    interval.map_or([String::new(), String::new()], |interval| [number(interval.low), number(interval.high)])
}

fn estimate_fields(estimate: &Estimate) -> [String; 4] {
    let [low, high] = interval_fields(Some(estimate.interval));
    [estimate.n.to_string(), number(estimate.value), low, high]
}

fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// What a figure says of rules that are not compared.
fn apart_note() -> String {
    format!("{MARK} {NOT_COMPARED}")
}

/// How many seeds pooled series have, for captions.
fn seeds_note(view: &View, arms: impl IntoIterator<Item = usize>) -> String {
    let mut pooled: Vec<(String, usize)> = Vec::new();
    for arm in arms.into_iter().map(|index| &view.arms[index]).filter(|arm| arm.seeds.len() > 1) {
        if pooled.iter().all(|(strategy, _)| *strategy != arm.trial.strategy) {
            pooled.push((arm.trial.strategy.clone(), arm.seeds.len()));
        }
    }
    if pooled.is_empty() {
        return "One seed per strategy.".to_owned();
    }
    let list: Vec<String> =
        pooled.iter().map(|(strategy, n)| format!("`{strategy}` is the mean of {n} seeds")).collect();
    format!("{}; one seed otherwise.", list.join(", "))
}

/// The columns of what was asked for: the nominal reduction, empty where an achieved one was asked for, which has a column of its own at
/// the end, and where the count is free.
fn asked_fields(asked: Reduction, with_achieved: bool) -> (String, Option<String>) {
    let value = number(asked.value);
    match asked.asked {
        Asked::Nominal => (value, with_achieved.then(String::new)),
        Asked::Achieved => (String::new(), Some(value)),
        Asked::Nothing => (String::new(), with_achieved.then(String::new)),
    }
}

/// Header of the last column of [`asked_fields`].
fn asked_header(with_achieved: bool) -> &'static str {
    if with_achieved { ",flops_reduction_asked" } else { "" }
}
