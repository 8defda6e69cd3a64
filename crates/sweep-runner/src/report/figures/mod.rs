//! The figures, one file each. A figure exists where its data exist.

mod accuracy_vs_flops;
mod claim;
mod differences;
mod layer_ratio;
mod legend;
mod probes;
mod protocol_comparison;
mod token_map;

use super::error::ReportError;
use super::view::View;
use crate::analyse::{Estimate, Interval, Study};

/// Width of a full text column in points (5.5 inches).
const FULL_WIDTH: f64 = 396.0;

/// A drawn figure with the numbers behind it.
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) svg: String,
    pub(super) csv: String,
    pub(super) caption: String,
}

/// Draws every figure the experiment has data for, in reading order.
pub(super) fn draw_all(study: &Study, view: &View) -> Result<Vec<Figure>, ReportError> {
    let mut figures = Vec::new();
    if let Some(result) = &study.claim {
        figures.extend(named(claim::points(result))?);
        figures.extend(named(claim::costs(result))?);
    }
    for scene in &view.scenes {
        figures.extend(named(accuracy_vs_flops::mean(view, scene))?);
        figures.extend(named(accuracy_vs_flops::by_task(view, scene))?);
    }
    for scene in &view.scenes {
        figures.extend(named(differences::draw(view, scene))?);
    }
    for nominal in protocol_comparison::reductions(view) {
        figures.extend(named(protocol_comparison::draw(view, nominal))?);
    }
    for scene in &view.scenes {
        figures.extend(named(layer_ratio::draw(view, scene))?);
    }
    figures.extend(named(token_map::draw_all(study, view))?);
    figures.extend(named(probes::draw_all(&study.probes))?);
    Ok(figures)
}

/// A failure with the name of the figure it happened in.
type Failed = (String, String);

fn named<T>(drawn: Result<T, Failed>) -> Result<T, ReportError> {
    drawn.map_err(|(figure, reason)| ReportError::Draw { figure, reason })
}

/// Finishes a figure or names the one that failed.
fn figure(name: String, svg: Result<String, String>, csv: String, caption: String) -> Result<Option<Figure>, Failed> {
    match svg {
        Ok(svg) => Ok(Some(Figure { name, svg, csv, caption })),
        Err(reason) => Err((name, reason)),
    }
}

/// One line of CSV.
fn csv_line(fields: &[String]) -> String {
    let quoted = fields.iter().map(|field| {
        if field.contains([',', '"', '\n']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.clone() }
    });
    quoted.collect::<Vec<_>>().join(",") + "\n"
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

/// How many seeds stand behind pooled series, for captions.
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
