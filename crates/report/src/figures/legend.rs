//! Legends outside of the data: line, marker and label, in as many columns as fit. Labels that are too wide for one go on below.

use crate::canvas::{Canvas, DrawError, Ink, Point, Stroke, Text};
use crate::paper::{LABEL_TEXT, Sheet};
use crate::style::Style;

/// Height of one line of an entry.
pub(super) const LINE: f64 = 9.5;
const SYMBOL: f64 = 22.0;
const GAP: f64 = 6.0;

/// Entries that fit side by side into `width`.
fn columns(sheet: Sheet, labels: &[&str], width: f64) -> usize {
    let widest = labels.iter().map(|label| sheet.text_width(label, LABEL_TEXT, false)).fold(0.0, f64::max);
    ((width / (widest + SYMBOL + GAP)).floor() as usize).clamp(1, labels.len().max(1))
}

/// Labels in lines, by rows of entries.
fn rows(sheet: Sheet, labels: &[&str], width: f64) -> Vec<Vec<Vec<String>>> {
    let columns = columns(sheet, labels, width);
    let room = width / columns as f64 - SYMBOL - GAP / 2.0;
    let lines: Vec<Vec<String>> = labels.iter().map(|label| sheet.broken(label, LABEL_TEXT, false, room)).collect();
    lines.chunks(columns).map(<[Vec<String>]>::to_vec).collect()
}

fn row_height(row: &[Vec<String>]) -> f64 {
    row.iter().map(Vec::len).max().unwrap_or(1) as f64 * LINE
}

/// Height of the legend.
pub(super) fn height(sheet: Sheet, labels: &[&str], width: f64) -> f64 {
    rows(sheet, labels, width).iter().map(|row| row_height(row)).sum()
}

/// Draws entries row by row from the top left corner.
pub(super) fn draw(
    canvas: &Canvas,
    (left, top): Point,
    width: f64,
    entries: &[(&str, Style)],
) -> Result<(), DrawError> {
    let sheet = canvas.sheet();
    let labels: Vec<&str> = entries.iter().map(|(label, _)| *label).collect();
    let cell = width / columns(sheet, &labels, width) as f64;
    let mut looks = entries.iter().map(|(_, style)| *style);
    let mut below = top;
    for row in rows(sheet, &labels, width) {
        for ((column, lines), style) in row.iter().enumerate().zip(looks.by_ref()) {
            let (x, y) = (left + column as f64 * cell, below + 0.5 * LINE);
            symbol(canvas, (x, y), style)?;
            for (index, line) in lines.iter().enumerate() {
                let place = (x + SYMBOL, y + index as f64 * LINE);
                canvas.text(place, line, Text::new(LABEL_TEXT).ink(Ink::BLACK))?;
            }
        }
        below += row_height(&row);
    }
    Ok(())
}

/// A piece of line with its marker.
fn symbol(canvas: &Canvas, (x, y): Point, style: Style) -> Result<(), DrawError> {
    canvas.line(&[(x, y), (x + SYMBOL - 4.0, y)], Stroke { ink: style.ink, width: 1.1, dash: style.dash })?;
    canvas.marker((x + (SYMBOL - 4.0) / 2.0, y), style.marker, 2.1, style.ink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canvas::register_fonts;

    #[test]
    fn a_label_stays_in_its_column() {
        register_fonts();
        let (sheet, width) = (Sheet::of(None), 108.0);
        let labels = ["top_k (clip, of ssm_output)", "utrc", "a_single_word_that_is_wider_than_the_whole_column_is"];
        for line in rows(sheet, &labels, width).iter().flatten().flatten() {
            assert!(sheet.text_width(line, LABEL_TEXT, false) <= width - SYMBOL, "{line}");
        }
        assert_eq!(rows(sheet, &labels, width)[0][0].join(" "), labels[0]);
        assert!(height(sheet, &labels, width) >= 4.0 * LINE);
        // What fits is as it was.
        assert!((height(sheet, &["utrc", "tome"], 200.0) - LINE).abs() < 1e-9);
    }
}
