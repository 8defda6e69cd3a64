//! Dots with intervals: named rows, a grid of panels with one legend.

use analysis::Estimate;

use super::{FULL_WIDTH, legend, row_labels};
use crate::axes::{LABEL_TEXT, Panel, TITLE_TEXT, has_place, padded, ticks};
use crate::canvas::{Align, Canvas, DrawError, Ink, Stroke, Text, draw as page};
use crate::style::Style;

/// Points between two rows of up to three values.
const ROW: f64 = 13.0;
/// Points between the values of a row.
const VALUE: f64 = 3.6;

pub(super) struct DotPanel {
    pub(super) title: String,
    /// Per row: entry in the legend and value.
    pub(super) rows: Vec<Vec<(usize, Estimate)>>,
}

pub(super) struct Dots {
    pub(super) rows: Vec<String>,
    /// One row of panels per model; its name and panels.
    pub(super) grid: Vec<(String, Vec<DotPanel>)>,
    pub(super) legend: Vec<(String, Style)>,
    /// Label below each column.
    pub(super) x: Vec<String>,
    /// A value that has a line of its own in every panel.
    pub(super) zero: Option<f64>,
}

impl Dots {
    pub(super) fn draw(&self) -> Result<String, DrawError> {
        let columns = self.x.len();
        let (names, widest) = row_labels(self.rows.iter().map(String::as_str));
        let left = 2.0 + widest;
        let gap = 14.0;
        let width = (FULL_WIDTH - left - 8.0 - gap * (columns as f64 - 1.0)) / columns as f64;
        let plot = self.row() * self.rows.len() as f64 + 2.0;
        let labels: Vec<&str> = self.legend.iter().map(|(label, _)| label.as_str()).collect();
        let (step, top) = (plot + 30.0, 20.0);
        let bottom = top + step * self.grid.len() as f64;
        page(FULL_WIDTH, bottom + 12.0 + legend::height(&labels, FULL_WIDTH - left), |canvas| {
            for (index, (model, panels)) in self.grid.iter().enumerate() {
                let y = top + step * index as f64;
                canvas.text((4.0, y - 12.0), model, Text::new(TITLE_TEXT).bold())?;
                for (column, panel) in panels.iter().enumerate() {
                    let corner = (left + column as f64 * (width + gap), y);
                    let place = Panel::new(corner, width, plot, self.range(column), (1.0, 0.0));
                    self.panel(canvas, place, panel)?;
                    if column == 0 {
                        self.names(canvas, place, &names)?;
                    }
                }
            }
            for (column, label) in self.x.iter().enumerate() {
                let middle = left + column as f64 * (width + gap) + width / 2.0;
                canvas.text((middle, bottom - 12.0), label, Text::new(LABEL_TEXT).align(Align::Middle))?;
            }
            let entries: Vec<_> = self.legend.iter().map(|(label, style)| (label.as_str(), *style)).collect();
            legend::draw(canvas, (left, bottom + 2.0), FULL_WIDTH - left, &entries)
        })
    }

    /// Points between two rows: values of neighbouring rows stay apart.
    fn row(&self) -> f64 {
        let rows = self.grid.iter().flat_map(|(_, panels)| panels).flat_map(|panel| &panel.rows);
        ROW.max(VALUE * rows.map(Vec::len).max().unwrap_or(0) as f64 + 2.0)
    }

    fn range(&self, column: usize) -> (f64, f64) {
        let panels = self.grid.iter().filter_map(|(_, panels)| panels.get(column));
        let values = panels.flat_map(|panel| panel.rows.iter().flatten());
        let ends = values.flat_map(|(_, e)| [e.value, e.interval.low, e.interval.high]);
        padded(ends.chain(self.zero), 0.06)
    }

    fn at(&self, place: Panel, row: usize) -> f64 {
        place.top + (row as f64 + 0.5) * place.height / self.rows.len() as f64
    }

    fn names(&self, canvas: &Canvas, place: Panel, names: &[String]) -> Result<(), DrawError> {
        for (row, name) in names.iter().enumerate() {
            canvas.text((place.left - 4.0, self.at(place, row)), name, Text::new(LABEL_TEXT).align(Align::End))?;
        }
        Ok(())
    }

    fn panel(&self, canvas: &Canvas, place: Panel, panel: &DotPanel) -> Result<(), DrawError> {
        let wanted = ((place.width / 26.0) as usize).clamp(2, 6);
        place.axes(canvas, &ticks((place.x.low, place.x.high), wanted, 1.0, ""), &[], (true, false))?;
        let title = Text::new(TITLE_TEXT).align(Align::Start);
        canvas.text((place.left, place.top - 4.5), &panel.title, title)?;
        if let Some(zero) = self.zero {
            let x = place.x.at(zero);
            canvas.line(&[(x, place.top), (x, place.bottom())], Stroke::solid(Ink::GREY, 0.6))?;
        }
        for (row, values) in panel.rows.iter().enumerate() {
            let y = self.at(place, row);
            if row % 2 == 1 {
                let half = place.height / self.rows.len() as f64 / 2.0;
                canvas.rect((place.left, y - half), (place.right(), y + half), Ink(120, 120, 120, 0.07))?;
            }
            for (index, (entry, estimate)) in values.iter().enumerate() {
                let style = self.legend[*entry].1;
                // Side by side where a row has several.
                let y = y + (index as f64 - (values.len() as f64 - 1.0) / 2.0) * VALUE;
                if !has_place(estimate.value) {
                    place.beyond_x(canvas, y, estimate.value, style.ink)?;
                    continue;
                }
                let (low, high) = (estimate.interval.low, estimate.interval.high);
                if low.is_finite() && high.is_finite() {
                    let stroke = Stroke::solid(style.ink, 0.9);
                    canvas.line(&[(place.x.at(low), y), (place.x.at(high), y)], stroke)?;
                }
                canvas.marker((place.x.at(estimate.value), y), style.marker, 1.9, style.ink)?;
            }
        }
        Ok(())
    }
}
