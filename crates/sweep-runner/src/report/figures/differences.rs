//! Forest plot of paired differences to the baseline, one panel per nominal reduction.

use super::{FULL_WIDTH, Failed, Figure, csv_line, figure, interval_fields, number, seeds_note};
use crate::report::axes::{LABEL_TEXT, Panel, TITLE_TEXT, padded, ticks};
use crate::report::canvas::{Align, Canvas, DrawError, Ink, Stroke, Text, draw as page, text_width};
use crate::report::view::{Scene, Series, View};

const ROW: f64 = 10.5;
/// More panels than this are too narrow to read.
const MOST_PANELS: usize = 4;

/// Draws the differences of one scene.
pub(super) fn draw(view: &View, scene: &Scene) -> Result<Option<Figure>, Failed> {
    let reductions = spread_out(&scene.reductions(), MOST_PANELS);
    let known = |series: &&Series| series.points.iter().any(|point| point.difference.is_some());
    let rows: Vec<&Series> = scene.series.iter().filter(known).collect();
    if rows.is_empty() || reductions.is_empty() {
        return Ok(None);
    }
    let gaps = family_gaps(&rows);
    let ends = rows.iter().flat_map(|s| s.points.iter().filter_map(|p| p.difference));
    let range = padded(ends.flat_map(|d| [d.interval.low, d.interval.high, 0.0]), 0.04);
    let left = 8.0 + rows.iter().map(|s| text_width(&s.label, LABEL_TEXT, false)).fold(0.0, f64::max);
    let gap = 9.0;
    let width = (FULL_WIDTH - left - 8.0 - gap * (reductions.len() as f64 - 1.0)) / reductions.len() as f64;
    let plot = rows.len() as f64 * ROW + gaps.last().copied().unwrap_or(0.0) + 4.0;
    let (top, height) = (18.0, plot + 18.0 + 26.0);
    let svg = page(FULL_WIDTH, height, |canvas| {
        for (column, &nominal) in reductions.iter().enumerate() {
            let origin = (left + column as f64 * (width + gap), top);
            let panel = Panel::new(origin, width, plot, range, (1.0, 0.0));
            panel.axes(canvas, &ticks(range, 4, 100.0, ""), &[], (true, false))?;
            let title = format!("{:.0} % fewer FLOPs", nominal * 100.0);
            canvas.text((panel.left + width / 2.0, 9.0), &title, Text::new(TITLE_TEXT).bold().align(Align::Middle))?;
            let zero = panel.x.at(0.0);
            canvas.line(
                &[(zero, top), (zero, panel.bottom())],
                Stroke { ink: Ink::BLACK, width: 0.7, dash: &[3.0, 1.5] },
            )?;
            for (row, series) in rows.iter().enumerate() {
                let y = top + 2.0 + (row as f64 + 0.5) * ROW + gaps[row];
                if column == 0 {
                    canvas.text((left - 4.0, y), &series.label, Text::new(LABEL_TEXT).align(Align::End))?;
                }
                whisker(canvas, &panel, y, series, nominal)?;
            }
        }
        let label = Text::new(LABEL_TEXT).align(Align::Middle);
        let middle = left + (FULL_WIDTH - left) / 2.0;
        canvas.text((middle, height - 8.0), "Accuracy minus baseline (percentage points)", label)
    });
    let arms = rows.iter().flat_map(|series| series.points.iter().map(|point| point.arm));
    let caption = format!(
        "Paired difference of mean accuracy to the unreduced baseline ({} tasks, {} items in all); {}. Bars are 95 % \
         intervals of a paired bootstrap over items, stratified by task; a pale marker means that the interval holds \
         zero. Panels give the nominal FLOPs reduction. Not corrected for the number of comparisons. {}",
        scene.accuracy_tasks().len(),
        scene.items(),
        scene.title(),
        seeds_note(view, arms),
    );
    figure(format!("differences_{}", scene.slug()), svg, csv(scene, &rows), caption)
}

fn whisker(canvas: &Canvas, panel: &Panel, y: f64, series: &Series, nominal: f64) -> Result<(), DrawError> {
    let Some(difference) = series.at(nominal).and_then(|point| point.difference) else {
        return canvas.text((panel.x.at(0.0) - 3.0, y), "not run", Text::new(6.5).ink(Ink::GREY).align(Align::End));
    };
    let interval = difference.interval;
    let ink = series.style.ink;
    let ink = if interval.contains(0.0) { ink.mix(Ink(255, 255, 255, 1.0), 0.55) } else { ink };
    canvas.line(&[(panel.x.at(interval.low), y), (panel.x.at(interval.high), y)], Stroke::solid(ink, 1.1))?;
    canvas.marker((panel.x.at(difference.value), y), series.style.marker, 2.4, ink)
}

/// Extra space before each row, so that families stand apart.
pub(super) fn family_gaps(rows: &[&Series]) -> Vec<f64> {
    let mut gap = 0.0;
    let mut gaps = Vec::with_capacity(rows.len());
    for (index, series) in rows.iter().enumerate() {
        if index > 0 && rows[index - 1].family != series.family {
            gap += 4.0;
        }
        gaps.push(gap);
    }
    gaps
}

/// At most `most` of the values, with the smallest and the largest.
pub(super) fn spread_out(values: &[f64], most: usize) -> Vec<f64> {
    if values.len() <= most {
        return values.to_vec();
    }
    (0..most).map(|i| values[i * (values.len() - 1) / (most - 1).max(1)]).collect()
}

fn csv(scene: &Scene, rows: &[&Series]) -> String {
    let mut csv = "model,protocol,series,flops_reduction_nominal,diff,ci_low,ci_high,p_value\n".to_owned();
    for series in rows {
        for point in &series.points {
            let Some(difference) = point.difference else {
                continue;
            };
            let mut fields = vec![scene.model.clone(), scene.protocol.clone(), series.label.clone()];
            fields.extend([number(point.nominal), number(difference.value)]);
            fields.extend(interval_fields(Some(difference.interval)));
            fields.push(number(difference.p_value));
            csv += &csv_line(&fields);
        }
    }
    csv
}
