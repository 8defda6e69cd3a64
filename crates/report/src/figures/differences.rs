//! Forest plot of paired differences to the baseline, one panel per reduction that was asked for.

use analysis::MARK;

use records::schema::{Asked, Reduction};

use super::layout::{Columns, Rows, page, ticks_wanted};
use super::{
    Failed, Figure, Query, apart_note, asked_fields, asked_header, csv_line, figure, interval_fields, number,
    seeds_note, yes_or_no,
};
use crate::axes::{BEYOND, Panel, has_place, padded, ticks};
use crate::canvas::{Align, Canvas, DrawError, Ink, Stroke, Text};
use crate::paper::{TICK_TEXT, TITLE_TEXT};
use crate::text;
use crate::view::{Scene, Series, SeriesPoint, View};

const ROW: f64 = 10.5;
/// More panels than this are too narrow to read.
const MOST_PANELS: usize = 4;
/// A panel that is narrower has no room for its label.
const LEAST: f64 = 60.0;

/// Draws the differences of one scene.
pub(super) fn draw(view: &View, scene: &Scene, baseline: &str) -> Result<Option<Figure>, Failed> {
    let reductions = spread_out(&scene.reductions(), MOST_PANELS);
    let known = |series: &&Series| series.points.iter().any(|point| point.difference.is_some());
    let rows: Vec<&Series> = scene.series.iter().filter(known).collect();
    if rows.is_empty() || reductions.is_empty() {
        return Ok(None);
    }
    let sheet = view.sheet;
    let gaps = family_gaps(&rows);
    let ends = rows.iter().flat_map(|s| s.points.iter().filter_map(|p| p.difference));
    let range = padded(ends.flat_map(|d| [d.interval.low, d.interval.high, 0.0]), 0.04);
    let labels: Vec<&str> = rows.iter().map(|series| series.label.as_str()).collect();
    let names = Rows::new(sheet, &labels, ROW, &gaps);
    let columns = Columns::fit(sheet, reductions.len(), LEAST, names.left, (0.0, 9.0));
    let shown = || rows.iter().flat_map(|series| reductions.iter().filter_map(|asked| series.at(*asked)));
    let apart = shown().any(|point| !point.compared && point.difference.is_some());
    let beyond = shown().filter_map(|point| point.difference).any(|difference| !has_place(difference.value));
    let titles: Vec<Vec<String>> = reductions.iter().map(|&asked| title(view, asked, columns.width)).collect();
    let top = 5.0 + 10.0 * titles.iter().map(Vec::len).max().unwrap_or(1) as f64;
    let step = top + names.height + 24.0;
    let height = step * reductions.len().div_ceil(columns.count) as f64 + 2.0;
    let mut notes = vec![format!(
        "{}, n = {} items of {} tasks. Bars: 95 % intervals; pale: the interval holds 0.",
        scene.note(),
        scene.items(),
        scene.accuracy_tasks().len()
    )];
    notes.extend(apart.then(apart_note));
    let name = text::shortened(baseline, text::SHOWN);
    let svg = page(sheet, height, &notes, |canvas| {
        for (index, &asked) in reductions.iter().enumerate() {
            let (row, column) = (index / columns.count, index % columns.count);
            let origin = (columns.at(column), row as f64 * step + top);
            let panel = Panel::new(origin, columns.width, names.height, range, (1.0, 0.0));
            panel.axes(canvas, &ticks(range, ticks_wanted(panel.width), 100.0, ""), &[])?;
            for (line, title) in titles[index].iter().enumerate() {
                let place = (panel.left + panel.width / 2.0, origin.1 - top + 8.0 + 10.0 * line as f64);
                canvas.text(place, title, Text::new(TITLE_TEXT).bold().align(Align::Middle))?;
            }
            let zero = panel.x.at(0.0);
            canvas.line(
                &[(zero, panel.top), (zero, panel.bottom())],
                Stroke { ink: Ink::BLACK, width: 0.7, dash: &[3.0, 1.5] },
            )?;
            if column == 0 {
                names.draw(canvas, origin)?;
            }
            for (row, series) in rows.iter().enumerate() {
                whisker(canvas, &panel, panel.top + names.at(row), series, asked)?;
            }
            let labels = [
                format!("Accuracy minus {name} (percentage points)"),
                format!("Accuracy minus {name} (points)"),
                format!("Points minus {name}"),
                "Difference".to_owned(),
            ];
            panel.label_x(canvas, &labels.each_ref().map(String::as_str))?;
        }
        Ok(())
    });
    let arms = || rows.iter().flat_map(|series| series.points.iter().map(|point| point.arm));
    let words = if reductions.iter().all(|asked| !asked.is_achieved()) { "nominal" } else { "nominal, or achieved," };
    let caption = format!(
        "Paired difference of mean accuracy to `{}` ({} tasks, {} items in all); {}. Bars are 95 % \
         intervals of a paired bootstrap over items, stratified by task; a pale marker means that the interval holds \
         zero. Panels give the {words} FLOPs reduction; {MARK} marks rules whose achieved reduction is more than half a point from that of \
         the others, with which they are not compared. Not corrected for the number of comparisons. {}{}",
        text::in_caption(baseline),
        scene.accuracy_tasks().len(),
        scene.items(),
        scene.title(),
        if beyond { BEYOND } else { "" },
        seeds_note(view, arms()),
    );
    let query = Query::of_scene(view, scene, &scene.accuracy_tasks(), arms());
    figure(format!("differences_{}", scene.slug()), svg, csv(view, scene, &rows), caption, &query)
}

/// The title of a panel, in lines that have room.
fn title(view: &View, asked: Reduction, width: f64) -> Vec<String> {
    let title = match asked.asked {
        Asked::Nothing => asked.in_words(0),
        _ => format!("{:.0} % {} FLOPs reduction", asked.value * 100.0, asked.word()),
    };
    view.sheet.broken(&title, TITLE_TEXT, true, width)
}

fn whisker(canvas: &Canvas, panel: &Panel, y: f64, series: &Series, asked: Reduction) -> Result<(), DrawError> {
    let Some((point, difference)) = series.at(asked).and_then(|point| Some((point, point.difference?))) else {
        return canvas.text(
            (panel.x.at(0.0) - 3.0, y),
            "not run",
            Text::new(TICK_TEXT).ink(Ink::GREY).align(Align::End),
        );
    };
    let interval = difference.interval;
    let ink = series.style.ink;
    let ink = if interval.contains(0.0) { ink.mix(Ink(255, 255, 255, 1.0), 0.55) } else { ink };
    if !has_place(difference.value) {
        return panel.beyond_x(canvas, y, difference.value, ink);
    }
    let (low, high) = (panel.x.at(interval.low), panel.x.at(interval.high));
    canvas.line(&[(low, y), (high, y)], Stroke::solid(ink, 1.1))?;
    canvas.marker((panel.x.at(difference.value), y), series.style.marker, 2.4, ink)?;
    mark_apart(canvas, panel, point, (low, high), y)
}

/// The mark of a rule that is not compared, behind its interval or, where that has no room, before it.
pub(super) fn mark_apart(
    canvas: &Canvas,
    panel: &Panel,
    point: &SeriesPoint,
    (low, high): (f64, f64),
    y: f64,
) -> Result<(), DrawError> {
    if point.compared {
        return Ok(());
    }
    let (x, align) = if high + 6.0 < panel.right() { (high + 2.0, Align::Start) } else { (low - 2.0, Align::End) };
    canvas.text((x, y), &MARK.to_string(), Text::new(TICK_TEXT).align(align))
}

/// Space before each row, so that families stand apart.
pub(super) fn family_gaps(rows: &[&Series]) -> Vec<f64> {
    let apart = |index: usize| index > 0 && rows[index - 1].family != rows[index].family;
    (0..rows.len()).map(|index| if apart(index) { 4.0 } else { 0.0 }).collect()
}

/// At most `most` of the values, with the smallest and the largest.
pub(super) fn spread_out<T: Copy>(values: &[T], most: usize) -> Vec<T> {
    if values.len() <= most {
        return values.to_vec();
    }
    (0..most).map(|i| values[i * (values.len() - 1) / (most - 1).max(1)]).collect()
}

fn csv(view: &View, scene: &Scene, rows: &[&Series]) -> String {
    let header =
        "model,protocol,series,flops_reduction_nominal,diff,ci_low,ci_high,p_value,flops_reduction_achieved,compared";
    let mut csv = format!("{header}{}\n", asked_header(view.asks_achieved()));
    for series in rows {
        for point in &series.points {
            let Some(difference) = point.difference else {
                continue;
            };
            let mut fields = vec![scene.model.clone(), scene.protocol.clone(), series.label.clone()];
            let (nominal, asked) = asked_fields(point.asked, view.asks_achieved());
            fields.extend([nominal, number(difference.value)]);
            fields.extend(interval_fields(Some(difference.interval)));
            fields.push(number(difference.p_value));
            let achieved = point.mean.as_ref().map(|mean| mean.flops_reduction_achieved);
            fields.push(number(achieved.or(view.arms[point.arm].achieved()).unwrap_or(f64::NAN)));
            fields.push(yes_or_no(point.compared).to_owned());
            fields.extend(asked);
            csv += &csv_line(&fields);
        }
    }
    csv
}
