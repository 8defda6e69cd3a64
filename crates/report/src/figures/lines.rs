//! Lines with bands: a grid of panels with one legend.

use analysis::Estimate;

use super::{FULL_WIDTH, legend};
use crate::axes::{LABEL_TEXT, Panel, TICK_TEXT, TITLE_TEXT, has_place, padded, ticks};
use crate::canvas::{Align, Canvas, DrawError, Ink, Stroke, Text, draw as page, text_width};
use crate::style::Style;
use crate::text;

/// A line of a panel: its entry in the legend, and its points.
pub(super) struct Line {
    pub(super) entry: usize,
    pub(super) points: Vec<(f64, Estimate)>,
}

pub(super) struct LinePanel {
    pub(super) title: String,
    pub(super) lines: Vec<Line>,
}

/// How values become places.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Axis {
    Linear,
    /// Whole numbers have ticks.
    Whole,
    /// Powers of two have ticks.
    Log2,
    /// As [`Axis::Log2`], with ticks at the values that were measured.
    Measured,
    /// Powers of ten have ticks; at most [`DECADES`] are shown.
    Log10,
}

/// Which panels have the same range of values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    All,
    Columns,
    Rows,
}

pub(super) struct Lines {
    /// Rows of panels, each with a name above it (none where it is empty).
    pub(super) grid: Vec<(String, Vec<LinePanel>)>,
    pub(super) legend: Vec<(String, Style)>,
    pub(super) x: (&'static str, Axis),
    /// Label of each column (or of all), on the left of each row.
    pub(super) y: (&'static str, Axis),
    pub(super) share: Share,
    /// A value that has a line of its own.
    pub(super) zero: Option<f64>,
}

const PLOT: f64 = 82.0;
/// Height of a row's name.
const NAME: f64 = 13.0;
/// Decades of a logarithmic axis.
const DECADES: f64 = 4.0;

impl Axis {
    fn at(self, value: f64) -> f64 {
        match self {
            Self::Linear | Self::Whole => value,
            Self::Log2 | Self::Measured => value.log2(),
            Self::Log10 => value.log10(),
        }
    }

    fn ticks(self, (low, high): (f64, f64), wanted: usize) -> Vec<(f64, String)> {
        let powers = |base: f64, step: i32| -> Vec<(f64, String)> {
            let range = (low.ceil() as i32..=high.floor() as i32).step_by(step as usize);
            range.map(|power| (f64::from(power), trimmed(base.powi(power)))).collect()
        };
        let step = |count: f64| (count / wanted as f64).ceil().max(1.0) as i32;
        match self {
            Self::Linear => ticks((low, high), wanted, 1.0, ""),
            Self::Whole => {
                let range = (low.ceil() as i32..=high.floor() as i32).step_by(step(high - low) as usize);
                range.map(|value| (f64::from(value), value.to_string())).collect()
            }
            Self::Log2 | Self::Measured => powers(2.0, step(high - low)),
            Self::Log10 => powers(10.0, step(high - low)),
        }
    }
}

fn trimmed(value: f64) -> String {
    if !(1e-6..1e7).contains(&value) {
        return text::number(value);
    }
    if value >= 1.0 {
        return format!("{value:.0}");
    }
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Lines {
    pub(super) fn draw(&self) -> Result<String, DrawError> {
        let columns = self.grid.iter().map(|(_, panels)| panels.len()).max().unwrap_or(1);
        let (left, gap) = (38.0, if self.share == Share::Columns { 26.0 } else { 9.0 });
        let width = (FULL_WIDTH - left - 6.0 - gap * (columns as f64 - 1.0)) / columns as f64;
        let labels: Vec<&str> = self.legend.iter().map(|(label, _)| label.as_str()).collect();
        let named = self.grid.iter().any(|(name, _)| !name.is_empty());
        let name = if named { NAME } else { 0.0 };
        let (step, top) = (PLOT + 24.0 + name, 16.0 + name);
        let bottom = top + step * self.grid.len() as f64 - name;
        let height = bottom + 16.0 + legend::height(&labels, FULL_WIDTH - left);
        page(FULL_WIDTH, height, |canvas| {
            for (row, (name, panels)) in self.grid.iter().enumerate() {
                let y = top + step * row as f64;
                canvas.text((left, y - 6.5 - NAME), name, Text::new(TITLE_TEXT).bold())?;
                for (column, panel) in panels.iter().enumerate() {
                    let corner = (left + column as f64 * (width + gap), y);
                    let (xs, ys) = self.ranges(row, column);
                    let place = Panel::new(corner, width, PLOT, xs, ys);
                    self.panel(canvas, place, panel, column == 0 || self.share == Share::Columns)?;
                }
                let label = Text::new(LABEL_TEXT).align(Align::Middle).upwards();
                canvas.text((6.0, y + PLOT / 2.0), self.y.0, label)?;
            }
            let middle = left + (FULL_WIDTH - left) / 2.0;
            canvas.text((middle, bottom - 4.0), self.x.0, Text::new(LABEL_TEXT).align(Align::Middle))?;
            let entries: Vec<_> = self.legend.iter().map(|(label, style)| (label.as_str(), *style)).collect();
            legend::draw(canvas, (left, bottom + 8.0), FULL_WIDTH - left, &entries)
        })
    }

    /// Values that are seen, on both axes, in the panels that share a range with this one.
    fn ranges(&self, row: usize, column: usize) -> ((f64, f64), (f64, f64)) {
        let rows = self.grid.iter().enumerate().filter(|(index, _)| self.share != Share::Rows || *index == row);
        let panels = rows.flat_map(|(_, (_, panels))| panels.iter().enumerate());
        let panels = panels.filter(|(index, _)| self.share != Share::Columns || *index == column);
        let points = panels.flat_map(|(_, panel)| &panel.lines).flat_map(|line| &line.points);
        let (mut xs, mut ys) = (Vec::new(), Vec::new());
        for (x, estimate) in points {
            xs.push(self.x.1.at(*x));
            ys.extend([estimate.value, estimate.interval.low, estimate.interval.high].map(|y| self.y.1.at(y)));
        }
        ys.extend(self.zero.map(|zero| self.y.1.at(zero)));
        let (low, high) = padded(ys, 0.05);
        (padded(xs, 0.05), (if self.y.1 == Axis::Log10 { low.max(high - DECADES) } else { low }, high))
    }

    /// A tick at each value of the level axis, with a label where it does not run into the one before.
    fn measured(&self, place: Panel) -> Vec<(f64, String)> {
        let lines = self.grid.iter().flat_map(|(_, panels)| panels).flat_map(|panel| &panel.lines);
        let mut values: Vec<f64> = lines.flat_map(|line| line.points.iter().map(|(x, _)| *x)).collect();
        values.sort_by(f64::total_cmp);
        values.dedup_by(|a, b| a.total_cmp(b).is_eq());
        let mut free = f64::NEG_INFINITY;
        let tick = |value: f64| {
            let (place_of, label) = (self.x.1.at(value), trimmed(value));
            let (middle, half) = (place.x.at(place_of), text_width(&label, TICK_TEXT, false) / 2.0);
            if middle - half < free {
                return (place_of, String::new());
            }
            free = middle + half + 3.0;
            (place_of, label)
        };
        values.into_iter().map(tick).collect()
    }

    fn panel(&self, canvas: &Canvas, place: Panel, panel: &LinePanel, labelled: bool) -> Result<(), DrawError> {
        let ranges = ((place.x.low, place.x.high), (place.y.low, place.y.high));
        let wide = (place.width / 22.0) as usize;
        let x_ticks =
            if self.x.1 == Axis::Measured { self.measured(place) } else { self.x.1.ticks(ranges.0, wide.min(8)) };
        place.axes(canvas, &x_ticks, &self.y.1.ticks(ranges.1, 4), (true, labelled))?;
        place.title(canvas, &panel.title)?;
        if let Some(zero) = self.zero {
            let y = place.y.at(self.y.1.at(zero));
            canvas.line(&[(place.left, y), (place.right(), y)], Stroke::solid(Ink::GREY, 0.6))?;
        }
        for line in &panel.lines {
            let style = self.legend[line.entry].1;
            // Zero has no place on a logarithmic axis, and what lies below it is cut off.
            let at = |x: f64, y: f64| {
                let y = self.y.1.at(y).clamp(place.y.low, place.y.high);
                place.at(self.x.1.at(x), y)
            };
            let inside = |e: &Estimate| has_place(e.value) && self.y.1.at(e.value) >= place.y.low;
            for (x, estimate) in line.points.iter().filter(|(_, estimate)| !has_place(estimate.value)) {
                place.beyond_y(canvas, place.x.at(self.x.1.at(*x)), estimate.value, style.ink)?;
            }
            let seen: Vec<_> = line.points.iter().filter(|(_, e)| inside(e)).collect();
            let upper = seen.iter().map(|(x, e)| at(*x, e.interval.high));
            let lower = seen.iter().rev().map(|(x, e)| at(*x, e.interval.low));
            canvas.polygon(&upper.chain(lower).collect::<Vec<_>>(), style.ink.alpha(0.16))?;
            let points: Vec<_> = seen.iter().map(|(x, e)| at(*x, e.value)).collect();
            canvas.line(&points, Stroke { ink: style.ink, width: 1.1, dash: style.dash })?;
            for point in points {
                canvas.marker(point, style.marker, 1.7, style.ink)?;
            }
        }
        Ok(())
    }
}
