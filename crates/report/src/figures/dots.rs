//! Dots with intervals: named rows, a grid of panels with one legend.

use analysis::Estimate;

use super::layout::{Columns, Rows, notes_height, page, ticks_wanted};
use super::legend;
use crate::axes::{Panel, has_place, padded, ticks};
use crate::canvas::{Canvas, DrawError, Ink, Stroke, Text};
use crate::paper::{Sheet, TITLE_TEXT};
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
    /// Label below each column: the first that has room.
    pub(super) x: Vec<Vec<String>>,
    /// A value that has a line of its own in every panel.
    pub(super) zero: Option<f64>,
    pub(super) notes: Vec<String>,
    pub(super) sheet: Sheet,
}

/// A panel that is narrower has no room for its label.
const LEAST: f64 = 62.0;

impl Dots {
    pub(super) fn draw(&self) -> Result<String, DrawError> {
        let sheet = self.sheet;
        let rows: Vec<&str> = self.rows.iter().map(String::as_str).collect();
        let labels: Vec<&str> = self.legend.iter().map(|(label, _)| label.as_str()).collect();
        let legend_height = legend::height(sheet, &labels, sheet.width - 8.0);
        // Rows are as high as their values need, and no lower than lets the legend take a quarter.
        let mut names = Rows::new(sheet, &rows, self.row(), &[]);
        let columns = Columns::fit(sheet, self.x.len(), LEAST, names.left, (0.0, 10.0));
        let lines = self.x.len().div_ceil(columns.count);
        let around = |named: bool| if named { 15.0 + 26.0 } else { 5.0 + 26.0 };
        let head = |panels: &[DotPanel]| panels.iter().any(|panel| !panel.title.is_empty());
        let fixed: f64 = self
            .grid
            .iter()
            .map(|(name, panels)| {
                let own = if name.is_empty() { 0.0 } else { 11.0 };
                own + lines as f64 * around(head(panels))
            })
            .sum();
        let count = (self.grid.len() * lines) as f64;
        let rest = fixed + count * names.height + 6.0 + notes_height(sheet, &self.notes);
        if 3.0 * legend_height > rest {
            let more = (3.0 * legend_height - rest) / count / self.rows.len().max(1) as f64;
            names = Rows::new(sheet, &rows, self.row() + more, &[]);
        }
        let height = fixed + count * names.height + legend_height + 8.0;
        page(sheet, height, &self.notes, |canvas| {
            let mut y = 2.0;
            for (name, panels) in &self.grid {
                if !name.is_empty() {
                    canvas.text((4.0, y + 6.0), name, Text::new(TITLE_TEXT).bold())?;
                    y += 11.0;
                }
                let above = around(head(panels)) - 26.0;
                for (line, chunk) in panels.chunks(columns.count).enumerate() {
                    for (column, panel) in chunk.iter().enumerate() {
                        let corner = (columns.at(column), y + above);
                        let index = line * columns.count + column;
                        let place = Panel::new(corner, columns.width, names.height, self.range(index), (1.0, 0.0));
                        self.panel(canvas, place, &names, panel)?;
                        let labels: Vec<&str> = self.x[index].iter().map(String::as_str).collect();
                        place.label_x(canvas, &labels)?;
                        if column == 0 {
                            names.draw(canvas, corner)?;
                        }
                    }
                    y += above + names.height + 26.0;
                }
            }
            let entries: Vec<_> = self.legend.iter().map(|(label, style)| (label.as_str(), *style)).collect();
            legend::draw(canvas, (4.0, y + 2.0), sheet.width - 8.0, &entries)
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

    fn panel(&self, canvas: &Canvas, place: Panel, names: &Rows, panel: &DotPanel) -> Result<(), DrawError> {
        place.axes(canvas, &ticks((place.x.low, place.x.high), ticks_wanted(place.width), 1.0, ""), &[])?;
        place.title(canvas, &panel.title)?;
        names.stripes(canvas, (place.left, place.top), place.width)?;
        if let Some(zero) = self.zero {
            let x = place.x.at(zero);
            canvas.line(&[(x, place.top), (x, place.bottom())], Stroke::solid(Ink::GREY, 0.6))?;
        }
        for (row, values) in panel.rows.iter().enumerate() {
            let y = place.top + names.at(row);
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
