//! Heat map: rows by name, columns by layer, one panel per model, one colour scale.

use analysis::Estimate;

use crate::axes::{beyond, has_place, ticks};
use crate::canvas::{Align, Canvas, DrawError, Ink, Point, Stroke, Text};
use crate::figures::layout::{Columns, page};
use crate::paper::{LABEL_TEXT, Sheet, TICK_TEXT, TITLE_TEXT};
use crate::style::diverging;

/// Points between two rows.
const ROW: f64 = 10.0;
const GAP: f64 = 10.0;
/// Room for the colour bar.
const BAR: f64 = 50.0;

pub(super) struct HeatMap {
    pub(super) rows: Vec<String>,
    pub(super) columns: Vec<u64>,
    /// Title and cells `[row][column]`.
    pub(super) panels: Vec<(String, Vec<Vec<Option<Estimate>>>)>,
    /// The value without colour: intervals that hold it are hatched.
    pub(super) centre: f64,
    /// Distance from the centre with the full colour.
    pub(super) limit: f64,
    pub(super) unit: &'static str,
    pub(super) notes: Vec<String>,
    pub(super) sheet: Sheet,
}

/// A panel that is narrower has no room for its label.
const LEAST: f64 = 90.0;

impl HeatMap {
    pub(super) fn draw(&self) -> Result<String, DrawError> {
        let sheet = self.sheet;
        let left = 8.0 + self.rows.iter().map(|row| sheet.text_width(row, TICK_TEXT, false)).fold(0.0, f64::max);
        // The colour bar is at the right of all.
        let columns =
            Columns::fit(Sheet { width: sheet.width - BAR, ..sheet }, self.panels.len(), LEAST, left, (0.0, GAP));
        let plot = ROW * self.rows.len() as f64;
        let (top, step) = (14.0, plot + 38.0);
        let height = step * self.panels.len().div_ceil(columns.count) as f64;
        page(sheet, height.max(60.0), &self.notes, |canvas| {
            for (index, (title, cells)) in self.panels.iter().enumerate() {
                let (line, column) = (index / columns.count, index % columns.count);
                let corner = (columns.at(column), line as f64 * step + top);
                if column == 0 {
                    for (row, name) in self.rows.iter().enumerate() {
                        let y = corner.1 + (row as f64 + 0.5) * ROW;
                        canvas.text((left - 3.0, y), name, Text::new(TICK_TEXT).align(Align::End))?;
                    }
                }
                let title = sheet.fitted(title, TITLE_TEXT, true, columns.width);
                canvas.text((corner.0, corner.1 - 7.0), &title, Text::new(TITLE_TEXT).bold())?;
                self.panel(canvas, corner, columns.width, cells)?;
                let middle = (corner.0 + columns.width / 2.0, corner.1 + plot + 16.5);
                canvas.text(middle, "Layer (0-based)", Text::new(LABEL_TEXT).align(Align::Middle))?;
            }
            self.bar(canvas, (sheet.width - BAR + 10.0, top), plot)
        })
    }

    fn panel(
        &self,
        canvas: &Canvas,
        (left, top): Point,
        width: f64,
        cells: &[Vec<Option<Estimate>>],
    ) -> Result<(), DrawError> {
        let cell = width / self.columns.len() as f64;
        canvas.rect((left, top), (left + width, top + ROW * self.rows.len() as f64), Ink::FAINT)?;
        for (row, cells) in cells.iter().enumerate() {
            for (column, estimate) in cells.iter().enumerate() {
                let Some(estimate) = estimate else { continue };
                let from = (left + column as f64 * cell, top + row as f64 * ROW);
                let to = (from.0 + cell, from.1 + ROW);
                if !has_place(estimate.value) {
                    let middle = (from.0 + cell / 2.0, from.1 + ROW / 2.0);
                    canvas.text(middle, beyond(estimate.value), Text::new(TICK_TEXT).align(Align::Middle))?;
                    continue;
                }
                canvas.rect(from, to, diverging((estimate.value - self.centre) / self.limit))?;
                if estimate.interval.contains(self.centre) {
                    canvas.hatch(from, to, 3.6, Stroke::solid(Ink(185, 185, 185, 1.0), 0.3))?;
                }
                canvas.frame(from, to, Stroke::solid(Ink(255, 255, 255, 1.0), 0.4))?;
            }
        }
        let step = (14.0 / cell).ceil().max(1.0) as usize;
        for (column, layer) in self.columns.iter().enumerate().step_by(step) {
            let x = left + (column as f64 + 0.5) * cell;
            let y = top + ROW * self.rows.len() as f64 + 6.5;
            canvas.text((x, y), &layer.to_string(), Text::new(TICK_TEXT).align(Align::Middle))?;
        }
        Ok(())
    }

    /// The colours of the values that occur.
    fn bar(&self, canvas: &Canvas, (left, top): Point, height: f64) -> Result<(), DrawError> {
        const STEPS: usize = 64;
        let width = 7.0;
        let all = || self.panels.iter().flat_map(|(_, cells)| cells.iter().flatten().flatten());
        let values = || all().map(|estimate| estimate.value).filter(|value| has_place(*value));
        let low = values().fold(self.centre, f64::min);
        let high = values().fold(self.centre, f64::max);
        for step in 0..STEPS {
            let value = high - (high - low) * (step as f64 + 0.5) / STEPS as f64;
            let y = top + height * step as f64 / STEPS as f64;
            canvas.rect((left, y), (left + width, top + height), diverging((value - self.centre) / self.limit))?;
        }
        canvas.frame((left, top), (left + width, top + height), Stroke::solid(Ink::BLACK, 0.4))?;
        for (value, label) in ticks((low, high), 5, 1.0, "") {
            let y = top + height * (high - value) / (high - low);
            canvas.line(&[(left + width, y), (left + width + 2.0, y)], Stroke::solid(Ink::BLACK, 0.5))?;
            canvas.text((left + width + 3.5, y), &label, Text::new(TICK_TEXT))?;
        }
        let title = Text::new(LABEL_TEXT).align(Align::Middle).upwards();
        canvas.text((left + width + 27.0, top + height / 2.0), self.unit, title)
    }
}
