//! Lines with bands: a grid of panels with one legend.

use analysis::Estimate;

use super::layout::{Columns, notes_height, page, room_for_legend, ticks_wanted};
use super::legend;
use crate::axes::{BROKEN, Panel, has_place, padded, ticks};
use crate::canvas::{Canvas, DrawError, Ink, Stroke, Text};
use crate::paper::{Sheet, TICK_TEXT, TITLE_TEXT};
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

/// How intervals are drawn: as a band along the line, or where points lie in no order of the level axis as a bar each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    Band,
    Bars,
}

pub(super) struct Lines {
    /// Rows of panels, each with a name above it (none where it is empty).
    pub(super) grid: Vec<(String, Vec<LinePanel>)>,
    pub(super) legend: Vec<(String, Style)>,
    /// Labels of the level axis: the first that has room.
    pub(super) x: (&'static [&'static str], Axis),
    /// The same of the upright axis; none where the title of each panel says it.
    pub(super) y: (&'static [&'static str], Axis),
    pub(super) share: Share,
    /// A value that has a line of its own.
    pub(super) zero: Option<f64>,
    /// How intervals are drawn.
    pub(super) spread: Spread,
    pub(super) notes: Vec<String>,
    pub(super) sheet: Sheet,
}

/// Room of an upright axis with its label.
const AXIS: f64 = 38.0;
/// Height around the data of a panel: title above; ticks and label below.
const AROUND: f64 = 13.0 + 26.0;
/// A panel that is narrower has no room for its labels.
const LEAST: f64 = 62.0;
const PLOT: f64 = 76.0;
/// Height of a row's name.
const NAME: f64 = 11.0;
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

/// A number to one digit.
fn one_digit(value: f64) -> String {
    let unit = 10_f64.powf(value.log10().floor());
    trimmed((value / unit).round() * unit)
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
        let sheet = self.sheet;
        let wanted = self.grid.iter().map(|(_, panels)| panels.len()).max().unwrap_or(1);
        let columns = Columns::fit(sheet, wanted.min(4), LEAST, 0.0, (AXIS, 6.0));
        let labels: Vec<&str> = self.legend.iter().map(|(label, _)| label.as_str()).collect();
        let lines = |panels: &[LinePanel]| panels.len().div_ceil(columns.count);
        let count: usize = self.grid.iter().map(|(_, panels)| lines(panels)).sum();
        let names = self.grid.iter().filter(|(name, _)| !name.is_empty()).count() as f64 * NAME;
        let mut notes = self.notes.clone();
        notes.extend(self.is_broken().then(|| BROKEN.to_owned()));
        notes.extend(self.cut().map(|low| format!("Values below {} are cut off.", one_digit(10_f64.powf(low)))));
        let rest = count as f64 * (PLOT + AROUND) + names + notes_height(sheet, &notes);
        let plot = PLOT + room_for_legend(sheet, &labels, rest, count);
        let panels = count as f64 * (plot + AROUND) + names;
        let height = panels + legend::height(sheet, &labels, sheet.width - 8.0) + 6.0;
        page(sheet, height, &notes, |canvas| {
            let mut y = 2.0;
            for (row, (name, panels)) in self.grid.iter().enumerate() {
                if !name.is_empty() {
                    canvas.text((4.0, y + NAME / 2.0), name, Text::new(TITLE_TEXT).bold())?;
                    y += NAME;
                }
                for (index, panel) in panels.iter().enumerate() {
                    let (line, column) = (index / columns.count, index % columns.count);
                    let corner = (columns.at(column), y + line as f64 * (plot + AROUND) + 13.0);
                    let (xs, ys) = self.ranges(row, index);
                    let place = Panel::new(corner, columns.width, plot, xs, ys);
                    self.panel(canvas, place, panel)?;
                }
                y += lines(panels) as f64 * (plot + AROUND);
            }
            let entries: Vec<_> = self.legend.iter().map(|(label, style)| (label.as_str(), *style)).collect();
            legend::draw(canvas, (4.0, y + 2.0), sheet.width - 8.0, &entries)
        })
    }

    /// Whether some upright axis does not begin at 0.
    fn is_broken(&self) -> bool {
        self.places().any(|(row, column)| self.breaks(self.ranges(row, column).1))
    }

    fn breaks(&self, (low, high): (f64, f64)) -> bool {
        self.y.1 == Axis::Linear && (low > 0.0 || high < 0.0)
    }

    /// The lower end of a logarithmic axis that some value is below.
    fn cut(&self) -> Option<f64> {
        let below = |(row, column): (usize, usize)| {
            let low = self.ranges(row, column).1.0;
            let mut points = self.grid[row].1[column].lines.iter().flat_map(|line| &line.points);
            points.any(|(_, estimate)| self.y.1.at(estimate.value) < low).then_some(low)
        };
        self.places().filter(|_| self.y.1 == Axis::Log10).find_map(below)
    }

    fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        let rows = self.grid.iter().enumerate();
        rows.flat_map(|(row, (_, panels))| (0..panels.len()).map(move |column| (row, column)))
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
            let (middle, half) = (place.x.at(place_of), self.sheet.text_width(&label, TICK_TEXT, false) / 2.0);
            if middle - half < free {
                return (place_of, String::new());
            }
            free = middle + half + 3.0;
            (place_of, label)
        };
        values.into_iter().map(tick).collect()
    }

    fn panel(&self, canvas: &Canvas, place: Panel, panel: &LinePanel) -> Result<(), DrawError> {
        let ranges = ((place.x.low, place.x.high), (place.y.low, place.y.high));
        let wanted = ticks_wanted(place.width);
        let x_ticks = if self.x.1 == Axis::Measured { self.measured(place) } else { self.x.1.ticks(ranges.0, wanted) };
        place.axes(canvas, &x_ticks, &self.y.1.ticks(ranges.1, 4))?;
        place.title(canvas, &panel.title)?;
        place.label_x(canvas, self.x.0)?;
        let own = [panel.title.as_str()];
        place.label_y(canvas, if self.y.0.is_empty() { &own } else { self.y.0 }, AXIS - 8.0)?;
        if self.breaks(ranges.1) {
            place.broken_y(canvas)?;
        }
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
            let lower = seen.iter().map(|(x, e)| at(*x, e.interval.low));
            match self.spread {
                Spread::Band => {
                    canvas.polygon(&upper.chain(lower.rev()).collect::<Vec<_>>(), style.ink.alpha(0.16))?;
                }
                Spread::Bars => {
                    for (high, low) in upper.zip(lower) {
                        canvas.line(&[low, high], Stroke::solid(style.ink.alpha(0.5), 0.8))?;
                    }
                }
            }
            let points: Vec<_> = seen.iter().map(|(x, e)| at(*x, e.value)).collect();
            canvas.line(&points, Stroke { ink: style.ink, width: 1.1, dash: style.dash })?;
            for point in points {
                canvas.marker(point, style.marker, 1.7, style.ink)?;
            }
        }
        Ok(())
    }
}
