//! Forest plot of paired differences to the baseline, one panel per reduction that was asked for.

use analysis::MARK;

use records::schema::{Asked, Reduction};

use super::{
    FULL_WIDTH, Failed, Figure, NOTE, apart_note, asked_fields, asked_header, csv_line, figure, interval_fields,
    number, row_labels, seeds_note, yes_or_no,
};
use crate::axes::{BEYOND, LABEL_TEXT, Panel, TITLE_TEXT, has_place, padded, ticks};
use crate::canvas::{Align, Canvas, DrawError, Ink, Stroke, Text, draw as page, text_width};
use crate::text;
use crate::view::{Scene, Series, SeriesPoint, View};

const ROW: f64 = 10.5;
/// More panels than this are too narrow to read.
const MOST_PANELS: usize = 4;

/// Draws the differences of one scene.
pub(super) fn draw(view: &View, scene: &Scene, baseline: &str) -> Result<Option<Figure>, Failed> {
    let reductions = spread_out(&scene.reductions(), MOST_PANELS);
    let known = |series: &&Series| series.points.iter().any(|point| point.difference.is_some());
    let rows: Vec<&Series> = scene.series.iter().filter(known).collect();
    if rows.is_empty() || reductions.is_empty() {
        return Ok(None);
    }
    let gaps = family_gaps(&rows);
    let ends = rows.iter().flat_map(|s| s.points.iter().filter_map(|p| p.difference));
    let range = padded(ends.flat_map(|d| [d.interval.low, d.interval.high, 0.0]), 0.04);
    let (labels, left) = row_labels(rows.iter().map(|series| series.label.as_str()));
    let gap = 9.0;
    let width = (FULL_WIDTH - left - 8.0 - gap * (reductions.len() as f64 - 1.0)) / reductions.len() as f64;
    let plot = rows.len() as f64 * ROW + gaps.last().copied().unwrap_or(0.0) + 4.0;
    let shown = || rows.iter().flat_map(|series| reductions.iter().filter_map(|asked| series.at(*asked)));
    let apart = shown().any(|point| !point.compared && point.difference.is_some());
    let beyond = shown().filter_map(|point| point.difference).any(|difference| !has_place(difference.value));
    let titles: Vec<Vec<String>> = reductions.iter().map(|&asked| title(asked, width + gap)).collect();
    let top = 8.0 + 10.0 * titles.iter().map(Vec::len).max().unwrap_or(1) as f64;
    let height = top + plot + 26.0 + if apart { NOTE } else { 0.0 };
    let svg = page(FULL_WIDTH, height, |canvas| {
        for (column, &asked) in reductions.iter().enumerate() {
            let origin = (left + column as f64 * (width + gap), top);
            let panel = Panel::new(origin, width, plot, range, (1.0, 0.0));
            panel.axes(canvas, &ticks(range, 4, 100.0, ""), &[], (true, false))?;
            for (line, title) in titles[column].iter().enumerate() {
                let place = (panel.left + width / 2.0, 9.0 + 10.0 * line as f64);
                canvas.text(place, title, Text::new(TITLE_TEXT).bold().align(Align::Middle))?;
            }
            let zero = panel.x.at(0.0);
            canvas.line(
                &[(zero, top), (zero, panel.bottom())],
                Stroke { ink: Ink::BLACK, width: 0.7, dash: &[3.0, 1.5] },
            )?;
            for (row, series) in rows.iter().enumerate() {
                let y = top + 2.0 + (row as f64 + 0.5) * ROW + gaps[row];
                if column == 0 {
                    canvas.text((left - 4.0, y), &labels[row], Text::new(LABEL_TEXT).align(Align::End))?;
                }
                whisker(canvas, &panel, y, series, asked)?;
            }
        }
        let label = Text::new(LABEL_TEXT).align(Align::Middle);
        let middle = left + (FULL_WIDTH - left) / 2.0;
        let text = format!("Accuracy minus {} (percentage points)", text::shortened(baseline, text::SHOWN));
        canvas.text((middle, top + plot + 18.0), &text, label)?;
        if apart { apart_note(canvas, (middle, top + plot + 18.0 + NOTE)) } else { Ok(()) }
    });
    let arms = rows.iter().flat_map(|series| series.points.iter().map(|point| point.arm));
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
        seeds_note(view, arms),
    );
    figure(format!("differences_{}", scene.slug()), svg, csv(view, scene, &rows), caption)
}

/// The title of a panel, in two lines where one has no room.
fn title(asked: Reduction, width: f64) -> Vec<String> {
    if asked.asked == Asked::Nothing {
        return vec![asked.in_words(0)];
    }
    let (share, words) = (format!("{:.0} % {}", asked.value * 100.0, asked.word()), "FLOPs reduction");
    let whole = format!("{share} {words}");
    if text_width(&whole, TITLE_TEXT, true) <= width { vec![whole] } else { vec![share, words.to_owned()] }
}

fn whisker(canvas: &Canvas, panel: &Panel, y: f64, series: &Series, asked: Reduction) -> Result<(), DrawError> {
    let Some((point, difference)) = series.at(asked).and_then(|point| Some((point, point.difference?))) else {
        return canvas.text((panel.x.at(0.0) - 3.0, y), "not run", Text::new(6.5).ink(Ink::GREY).align(Align::End));
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
    canvas.text((x, y), &MARK.to_string(), Text::new(7.0).align(align))
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
