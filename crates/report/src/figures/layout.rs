//! How panels share the width of a sheet, rows with names on their left, and the notes below a figure.

use super::legend;
use crate::canvas::{Align, Canvas, DrawError, Ink, Point, Text, draw};
use crate::paper::{LABEL_TEXT, Sheet, TICK_TEXT};

/// Panels side by side. What has no room goes on below.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    pub(super) count: usize,
    /// Width of the data of one panel.
    pub(super) width: f64,
    left: f64,
    before: f64,
    after: f64,
}

impl Columns {
    /// At most `wanted` panels, each at least `least` wide if there are several, with room `before` and `after` each of them and `left`
    /// of all.
    pub(super) fn fit(sheet: Sheet, wanted: usize, least: f64, left: f64, (before, after): (f64, f64)) -> Self {
        let width = |count: usize| (sheet.width - left) / count as f64 - before - after;
        let most = (2..=wanted.max(1)).rev().find(|&count| width(count) >= least).unwrap_or(1);
        // As many rows, evenly filled.
        let count = wanted.max(1).div_ceil(wanted.max(1).div_ceil(most));
        Self { count, width: width(count), left, before, after }
    }

    /// Where the data of a column begin.
    pub(super) fn at(&self, column: usize) -> f64 {
        self.left + column as f64 * (self.before + self.width + self.after) + self.before
    }
}

/// Names of rows on the left of panels; a long one takes several lines.
pub(super) struct Rows {
    lines: Vec<Vec<String>>,
    middles: Vec<f64>,
    heights: Vec<f64>,
    /// Room for the names.
    pub(super) left: f64,
    /// Height of all rows.
    pub(super) height: f64,
}

/// Height of a line of a name.
const LINE: f64 = 9.0;
/// The share of the width that names may take.
const NAMES: f64 = 0.42;

impl Rows {
    /// Rows of at least `least` points, with `gaps` before each.
    pub(super) fn new(sheet: Sheet, names: &[&str], least: f64, gaps: &[f64]) -> Self {
        let lines: Vec<Vec<String>> =
            names.iter().map(|name| sheet.broken(name, LABEL_TEXT, false, NAMES * sheet.width)).collect();
        let widest = lines.iter().flatten().map(|line| sheet.text_width(line, LABEL_TEXT, false)).fold(0.0, f64::max);
        let (mut middles, mut heights, mut top) = (Vec::new(), Vec::new(), 2.0);
        for (row, lines) in lines.iter().enumerate() {
            let height = least.max(lines.len() as f64 * LINE + 3.0);
            top += gaps.get(row).copied().unwrap_or(0.0);
            middles.push(top + height / 2.0);
            heights.push(height);
            top += height;
        }
        Self { lines, middles, heights, left: 7.0 + widest, height: top + 2.0 }
    }

    /// Middle of a row, below the top of its panel.
    pub(super) fn at(&self, row: usize) -> f64 {
        self.middles[row]
    }

    /// Height of a row.
    pub(super) fn height_of(&self, row: usize) -> f64 {
        self.heights[row]
    }

    /// The names beside a panel at `(left, top)`.
    pub(super) fn draw(&self, canvas: &Canvas, (left, top): Point) -> Result<(), DrawError> {
        for (row, lines) in self.lines.iter().enumerate() {
            for (index, line) in lines.iter().enumerate() {
                let y = top + self.middles[row] + (index as f64 - (lines.len() as f64 - 1.0) / 2.0) * LINE;
                canvas.text((left - 4.0, y), line, Text::new(LABEL_TEXT).align(Align::End))?;
            }
        }
        Ok(())
    }

    /// A faint stripe over every second row.
    pub(super) fn stripes(&self, canvas: &Canvas, (left, top): Point, width: f64) -> Result<(), DrawError> {
        for row in (1..self.lines.len()).step_by(2) {
            let (middle, half) = (top + self.middles[row], self.heights[row] / 2.0);
            canvas.rect((left, middle - half), (left + width, middle + half), Ink(120, 120, 120, 0.07))?;
        }
        Ok(())
    }
}

/// Height of a line of the notes.
const NOTE: f64 = 8.5;

/// A page of `height` points with notes below it: what a reader must know of the figure who has not read the caption.
pub(super) fn page(
    sheet: Sheet,
    height: f64,
    notes: &[String],
    paint: impl FnOnce(&Canvas) -> Result<(), DrawError>,
) -> Result<String, DrawError> {
    let lines = note_lines(sheet, notes);
    draw(sheet, height + notes_height(sheet, notes), |canvas| {
        paint(canvas)?;
        for (index, line) in lines.iter().enumerate() {
            let y = height + (index as f64 + 0.5) * NOTE;
            canvas.text((4.0, y), line, Text::new(TICK_TEXT).ink(Ink::GREY))?;
        }
        Ok(())
    })
}

fn note_lines(sheet: Sheet, notes: &[String]) -> Vec<String> {
    notes.iter().flat_map(|note| sheet.broken(note, TICK_TEXT, false, sheet.width - 8.0)).collect()
}

/// Height that notes take below a figure.
pub(super) fn notes_height(sheet: Sheet, notes: &[String]) -> f64 {
    let lines = note_lines(sheet, notes).len();
    if lines == 0 { 0.0 } else { lines as f64 * NOTE + 3.0 }
}

/// How much higher each of `rows` rows of panels must be for the legend to take at most a quarter of a figure that is `rest` high without
/// it.
pub(super) fn room_for_legend(sheet: Sheet, labels: &[&str], rest: f64, rows: usize) -> f64 {
    ((3.0 * legend::height(sheet, labels, sheet.width - 8.0) - rest) / rows.max(1) as f64).max(0.0)
}

/// Ticks that have room on a level axis.
pub(super) fn ticks_wanted(width: f64) -> usize {
    ((width / 22.0) as usize).clamp(3, 6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canvas::register_fonts;
    use crate::paper::Paper;

    #[test]
    fn panels_fill_the_width_and_go_on_below() {
        let sheet = Sheet::of(None);
        let columns = Columns::fit(sheet, 4, 66.0, 2.0, (34.0, 0.0));
        assert_eq!(columns.count, 2, "two rows of two, not three and one");
        assert!((columns.at(1) + columns.width - sheet.width).abs() < 1e-9);
        assert_eq!(Columns::fit(Sheet::of(Some(Paper::Acl)), 5, 66.0, 2.0, (34.0, 0.0)).count, 2);
        assert_eq!(Columns::fit(sheet, 0, 66.0, 2.0, (34.0, 0.0)).count, 1);
    }

    #[test]
    fn a_long_name_takes_lines_and_not_letters() {
        register_fonts();
        let sheet = Sheet::of(Some(Paper::Acl));
        let name = "hidden from attention, against nothing hidden, removed necessary";
        let rows = Rows::new(sheet, &[name, "utrc"], 10.0, &[]);
        assert!(rows.lines[0].len() > 1 && rows.lines[0].join(" ") == name, "{:?}", rows.lines);
        assert!(rows.left <= NAMES * sheet.width + 8.0 && rows.height_of(0) > rows.height_of(1));
        assert!(rows.at(1) > rows.at(0));
    }

    #[test]
    fn a_legend_takes_at_most_a_quarter() {
        register_fonts();
        let sheet = Sheet::of(Some(Paper::Acl));
        let labels = ["top_k (hidden_attention)"; 14];
        let (rest, legend) = (200.0, legend::height(sheet, &labels, sheet.width - 8.0));
        let more = room_for_legend(sheet, &labels, rest, 2);
        assert!(legend / (rest + 2.0 * more + legend) <= 0.25 + 1e-9 && more > 0.0);
        assert!(room_for_legend(sheet, &["a"], rest, 2).abs() < 1e-9);
    }
}
