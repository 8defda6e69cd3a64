//! Where to reduce: heat map of site and keep ratio, from sweeps that reduce at one site at a time.

use analysis::Difference;

use super::layout::{Columns, page};
use super::{Failed, Figure, Query, asked_fields, asked_header, csv_line, figure, interval_fields, number};
use crate::axes::{beyond, has_place, ticks};
use crate::canvas::{Align, Canvas, DrawError, Ink, Stroke, Text};
use crate::paper::{LABEL_TEXT, Sheet, TICK_TEXT, TITLE_TEXT};
use crate::style::diverging;
use crate::text;
use crate::view::{Scene, Series, View, in_percent};

/// Points between two keep ratios.
const CELL_HEIGHT: f64 = 18.0;
/// Room of an upright axis with its label.
const AXIS: f64 = 34.0;
/// Room of the colour bar.
const BAR: f64 = 48.0;
/// Height around a grid: title above; ticks and label below.
const AROUND: f64 = 14.0 + 24.0;
/// A grid that is narrower has no room for its label.
const LEAST: f64 = 90.0;

/// The sweep of one rule as a grid.
struct Grid<'a> {
    series: &'a Series,
    sites: Vec<usize>,
    /// Rows: keep ratios, or what achieved reductions leave.
    keep_ratios: Vec<f64>,
    /// Site, keep ratio, difference, and index of the arm.
    cells: Vec<(usize, f64, Difference, usize)>,
}

impl Grid<'_> {
    /// Whether its rows are achieved reductions (as what they leave) and not keep ratios.
    fn achieved(&self) -> bool {
        self.series.points.iter().all(|point| point.asked.is_achieved())
    }
}

/// Draws the sweeps of one scene, all on one colour scale.
pub(super) fn draw(view: &View, scene: &Scene, baseline: &str) -> Result<Option<Figure>, Failed> {
    let grids: Vec<Grid> = scene.sweeps.iter().filter_map(|series| grid(view, series)).collect();
    if grids.is_empty() {
        return Ok(None);
    }
    let all = || grids.iter().flat_map(|g| &g.cells).map(|cell| cell.2.value);
    let values = || all().filter(|value| has_place(*value));
    let has_beyond = all().any(|value| !has_place(value));
    let largest = values().map(f64::abs).fold(0.0, f64::max);
    // Even a sweep without any effect needs a scale.
    let limit = if largest > 0.0 { largest } else { 0.01 };
    // Colours are symmetric about zero; the bar shows those that occur, and a little of either side.
    let margin = 0.05 * limit;
    let shown = (values().fold(-margin, f64::min), values().fold(margin, f64::max));
    let sheet = view.sheet;
    // The bar is at the right of all panels.
    let left_of_bar = Sheet { width: sheet.width - BAR, ..sheet };
    let columns = Columns::fit(left_of_bar, grids.len().min(2), LEAST, 2.0, (AXIS, 4.0));
    let heights: Vec<f64> = grids
        .chunks(columns.count)
        .map(|row| row.iter().map(|g| g.keep_ratios.len()).max().unwrap_or(1) as f64 * CELL_HEIGHT)
        .collect();
    let total: f64 = heights.iter().map(|h| h + AROUND).sum::<f64>();
    let note = format!(
        "{}, n = {} items of {} tasks. Hatched: the 95 % interval holds 0.",
        scene.note(),
        scene.items(),
        scene.accuracy_tasks().len()
    );
    let svg = page(sheet, total.max(110.0), &[note], |canvas| {
        let mut top = 14.0;
        for (row, members) in grids.chunks(columns.count).enumerate() {
            for (column, grid) in members.iter().enumerate() {
                let corner = (columns.at(column), top);
                paint(canvas, grid, corner, (columns.width, heights[row]), limit)?;
                let upright = Text::new(LABEL_TEXT).align(Align::Middle).upwards();
                let axis = if grid.achieved() { ["Achieved reduction", "Reduction"] } else { ["keep_ratio", "keep"] };
                let axis = sheet.that_fits(&axis, LABEL_TEXT, heights[row] + 8.0);
                canvas.text((corner.0 - AXIS + 7.0, top + heights[row] / 2.0), &axis, upright)?;
                let middle = (corner.0 + columns.width / 2.0, top + heights[row] + 16.5);
                canvas.text(middle, "Site (0-based layer)", Text::new(LABEL_TEXT).align(Align::Middle))?;
            }
            top += heights[row] + AROUND;
        }
        let bar = (sheet.width - BAR + 10.0, 14.0);
        colour_bar(canvas, bar, (heights[0]).max(82.0).min(total - 30.0), limit, shown)
    });
    let caption = format!(
        "Paired difference of mean accuracy to `{}` when tokens are reduced at one site alone \
         ({} tasks, {} items in all); {}. Hatched cells: the 95 % interval (paired bootstrap over items, stratified by \
         task) holds zero. Cells remove different shares of the FLOPs (those are in the CSV). Not corrected for the number of cells.{}",
        text::in_caption(baseline),
        scene.accuracy_tasks().len(),
        scene.items(),
        scene.title(),
        if has_beyond { " ∞ or NaN marks a value that is no finite number." } else { "" },
    );
    let arms = grids.iter().flat_map(|grid| grid.cells.iter().map(|cell| cell.3));
    let query = Query::of_scene(view, scene, &scene.accuracy_tasks(), arms);
    figure(format!("layer_ratio_{}", scene.slug()), svg, csv(view, scene, &grids), caption, &query)
}

fn grid<'a>(view: &View, series: &'a Series) -> Option<Grid<'a>> {
    let cells: Vec<(usize, f64, Difference, usize)> = series
        .points
        .iter()
        .filter_map(|point| {
            let trial = &view.arms[point.arm].trial;
            // Rows of achieved reductions, whose keep ratios differ from task to task, are placed by what is left.
            let row = trial.flops_reduction_asked.map(|asked| 1.0 - asked).or(trial.keep_ratio)?;
            Some((*trial.sites.first()?, row, point.difference?, point.arm))
        })
        .collect();
    let mut sites: Vec<usize> = cells.iter().map(|cell| cell.0).collect();
    sites.sort_unstable();
    sites.dedup();
    let mut keep_ratios: Vec<f64> = cells.iter().map(|cell| cell.1).collect();
    keep_ratios.sort_by(|a, b| b.total_cmp(a));
    keep_ratios.dedup_by(|a, b| (*a - *b).abs() < 1e-6);
    (sites.len() > 1).then_some(Grid { series, sites, keep_ratios, cells })
}

fn paint(
    canvas: &Canvas,
    grid: &Grid,
    (left, top): (f64, f64),
    (width, height): (f64, f64),
    limit: f64,
) -> Result<(), DrawError> {
    let (cell_width, cell_height) = (width / grid.sites.len() as f64, height / grid.keep_ratios.len() as f64);
    let title = canvas.sheet().fitted(&grid.series.label, TITLE_TEXT, true, width);
    canvas.text((left, top - 7.0), &title, Text::new(TITLE_TEXT).bold())?;
    // Pale grey behind cells that were not run.
    canvas.rect((left, top), (left + width, top + height), Ink::FAINT)?;
    for &(site, keep_ratio, difference, _) in &grid.cells {
        let column = grid.sites.iter().position(|&s| s == site).unwrap_or(0) as f64;
        let row = grid.keep_ratios.iter().position(|k| (k - keep_ratio).abs() < 1e-6).unwrap_or(0) as f64;
        let from = (left + column * cell_width, top + row * cell_height);
        let to = (from.0 + cell_width, from.1 + cell_height);
        if !has_place(difference.value) {
            let middle = (from.0 + cell_width / 2.0, from.1 + cell_height / 2.0);
            canvas.text(middle, beyond(difference.value), Text::new(TICK_TEXT).align(Align::Middle))?;
            continue;
        }
        canvas.rect(from, to, diverging(difference.value / limit))?;
        if difference.interval.contains(0.0) {
            // Faint: where nothing was found must not draw the eye away from where something was.
            canvas.hatch(from, to, 4.4, Stroke::solid(Ink(185, 185, 185, 1.0), 0.3))?;
        }
        canvas.frame(from, to, Stroke::solid(Ink(255, 255, 255, 1.0), 0.6))?;
    }
    // Every label that has room.
    let step = (14.0 / cell_width).ceil().max(1.0) as usize;
    for (column, site) in grid.sites.iter().enumerate().step_by(step) {
        let x = left + (column as f64 + 0.5) * cell_width;
        canvas.text((x, top + height + 6.5), &site.to_string(), Text::new(TICK_TEXT).align(Align::Middle))?;
    }
    for (row, keep_ratio) in grid.keep_ratios.iter().enumerate() {
        let y = top + (row as f64 + 0.5) * cell_height;
        let label = if grid.achieved() {
            format!("{} %", in_percent(1.0 - keep_ratio))
        } else if *keep_ratio < 5e-4 {
            text::number(*keep_ratio)
        } else {
            format!("{keep_ratio:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        canvas.text((left - 3.0, y), &label, Text::new(TICK_TEXT).align(Align::End))?;
    }
    Ok(())
}

/// The colours of the values `low..=high`, where `limit` has the full colour.
fn colour_bar(
    canvas: &Canvas,
    (left, top): (f64, f64),
    height: f64,
    limit: f64,
    (low, high): (f64, f64),
) -> Result<(), DrawError> {
    const STEPS: usize = 64;
    let width = 7.0;
    for step in 0..STEPS {
        let share = (high - (high - low) * (step as f64 + 0.5) / STEPS as f64) / limit;
        let y = top + height * step as f64 / STEPS as f64;
        // Each step reaches down to the end and is painted over by the next: no seams where edges are smoothed.
        canvas.rect((left, y), (left + width, top + height), diverging(share))?;
    }
    canvas.frame((left, top), (left + width, top + height), Stroke::solid(Ink::BLACK, 0.4))?;
    for (value, label) in ticks((low, high), 4, 100.0, "") {
        let y = top + height * (high - value) / (high - low);
        canvas.line(&[(left + width, y), (left + width + 2.0, y)], Stroke::solid(Ink::BLACK, 0.5))?;
        canvas.text((left + width + 3.5, y), &label, Text::new(TICK_TEXT))?;
    }
    let title = Text::new(LABEL_TEXT).align(Align::Middle).upwards();
    canvas.text((left + width + 25.0, top + height / 2.0), "Difference (points)", title)
}

fn csv(view: &View, scene: &Scene, grids: &[Grid]) -> String {
    let header = "model,protocol,series,site,keep_ratio,diff,ci_low,ci_high,p_value,flops_reduction_nominal,flops_reduction_achieved";
    let mut csv = format!("{header}{}\n", asked_header(view.asks_achieved()));
    for grid in grids {
        for (site, keep_ratio, difference, arm) in &grid.cells {
            let mut fields = vec![scene.model.clone(), scene.protocol.clone(), grid.series.label.clone()];
            let ratio = if grid.achieved() { String::new() } else { number(*keep_ratio) };
            fields.extend([site.to_string(), ratio, number(difference.value)]);
            fields.extend(interval_fields(Some(difference.interval)));
            fields.push(number(difference.p_value));
            let arm = &view.arms[*arm];
            let (nominal, asked) = asked_fields(arm.trial.reduction(), view.asks_achieved());
            fields.push(nominal);
            fields.push(number(arm.achieved().unwrap_or(f64::NAN)));
            fields.extend(asked);
            csv += &csv_line(&fields);
        }
    }
    csv
}
