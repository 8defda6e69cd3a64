//! Legends outside of the data: line, marker and label, in as many columns as fit.

use crate::report::axes::LABEL_TEXT;
use crate::report::canvas::{Canvas, DrawError, Ink, Point, Stroke, Text, text_width};
use crate::report::style::Style;

/// Height of one entry.
pub(super) const LINE: f64 = 9.5;
const SYMBOL: f64 = 24.0;
const GAP: f64 = 8.0;

/// Entries that fit side by side into `width`.
pub(super) fn columns(labels: &[&str], width: f64) -> usize {
    let widest = labels.iter().map(|label| text_width(label, LABEL_TEXT, false)).fold(0.0, f64::max);
    ((width / (widest + SYMBOL + GAP)).floor() as usize).clamp(1, labels.len().max(1))
}

/// Height of the legend.
pub(super) fn height(labels: &[&str], width: f64) -> f64 {
    labels.len().div_ceil(columns(labels, width)) as f64 * LINE
}

/// Draws entries row by row from the top left corner.
pub(super) fn draw(
    canvas: &Canvas,
    (left, top): Point,
    width: f64,
    entries: &[(&str, Style)],
) -> Result<(), DrawError> {
    let labels: Vec<&str> = entries.iter().map(|(label, _)| *label).collect();
    let columns = columns(&labels, width);
    let cell = width / columns as f64;
    for (index, (label, style)) in entries.iter().enumerate() {
        let x = left + (index % columns) as f64 * cell;
        let y = top + ((index / columns) as f64 + 0.5) * LINE;
        symbol(canvas, (x, y), *style)?;
        canvas.text((x + SYMBOL, y), label, Text::new(LABEL_TEXT).ink(Ink::BLACK))?;
    }
    Ok(())
}

/// A piece of line with its marker.
fn symbol(canvas: &Canvas, (x, y): Point, style: Style) -> Result<(), DrawError> {
    canvas.line(&[(x, y), (x + SYMBOL - 4.0, y)], Stroke { ink: style.ink, width: 1.1, dash: style.dash })?;
    canvas.marker((x + (SYMBOL - 4.0) / 2.0, y), style.marker, 2.1, style.ink)
}
