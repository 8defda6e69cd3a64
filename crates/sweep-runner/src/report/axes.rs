//! Panels: a frame with linear axes, ticks and labels, in points.

use super::canvas::{Align, Canvas, DrawError, Ink, Point, Stroke, Text};

/// Size of tick labels.
pub(super) const TICK_TEXT: f64 = 7.0;
/// Size of axis labels and legends.
pub(super) const LABEL_TEXT: f64 = 7.5;
/// Size of panel titles.
pub(super) const TITLE_TEXT: f64 = 8.0;

/// A linear scale from data to points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) low: f64,
    pub(super) high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// Maps `low..high` to `from..to`.
    pub(super) fn new((low, high): (f64, f64), from: f64, to: f64) -> Self {
        Self { low, high, from, to }
    }

    /// Where a value stands.
    pub(super) fn at(self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }
}

/// A rectangle for data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) x: Scale,
    pub(super) y: Scale,
}

impl Panel {
    /// A panel at `(left, top)` that shows the given ranges.
    pub(super) fn new((left, top): Point, width: f64, height: f64, x: (f64, f64), y: (f64, f64)) -> Self {
        let x = Scale::new(x, left, left + width);
        let y = Scale::new(y, top + height, top);
        Self { left, top, width, height, x, y }
    }

    pub(super) fn right(&self) -> f64 {
        self.left + self.width
    }

    pub(super) fn bottom(&self) -> f64 {
        self.top + self.height
    }

    /// Position of a data point.
    pub(super) fn at(&self, x: f64, y: f64) -> Point {
        (self.x.at(x), self.y.at(y))
    }

    /// Grid lines, left and bottom axis with ticks; labels of a side only where `labels` says so.
    pub(super) fn axes(
        &self,
        canvas: &Canvas,
        x_ticks: &[(f64, String)],
        y_ticks: &[(f64, String)],
        (label_x, label_y): (bool, bool),
    ) -> Result<(), DrawError> {
        let (grid, axis) = (Stroke::solid(Ink::FAINT, 0.4), Stroke::solid(Ink::BLACK, 0.6));
        for (value, label) in y_ticks {
            let y = self.y.at(*value);
            canvas.line(&[(self.left, y), (self.right(), y)], grid)?;
            canvas.line(&[(self.left - 2.0, y), (self.left, y)], axis)?;
            if label_y {
                canvas.text((self.left - 3.5, y), label, Text::new(TICK_TEXT).align(Align::End))?;
            }
        }
        for (value, label) in x_ticks {
            let x = self.x.at(*value);
            canvas.line(&[(x, self.top), (x, self.bottom())], grid)?;
            canvas.line(&[(x, self.bottom()), (x, self.bottom() + 2.0)], axis)?;
            if label_x {
                canvas.text((x, self.bottom() + 7.0), label, Text::new(TICK_TEXT).align(Align::Middle))?;
            }
        }
        canvas.line(&[(self.left, self.top), (self.left, self.bottom()), (self.right(), self.bottom())], axis)
    }

    /// A title above the panel, at its left edge.
    pub(super) fn title(&self, canvas: &Canvas, title: &str) -> Result<(), DrawError> {
        canvas.text((self.left, self.top - 6.5), title, Text::new(TITLE_TEXT).bold())
    }
}

/// Ticks at round numbers inside `low..=high`, about `wanted` of them, with labels of equal precision.
pub(super) fn ticks((low, high): (f64, f64), wanted: usize, unit: f64, suffix: &str) -> Vec<(f64, String)> {
    let raw = (high - low) * unit / wanted.max(1) as f64;
    if !raw.is_finite() || raw <= 0.0 {
        return Vec::new();
    }
    let magnitude = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|m| m * magnitude).find(|&s| s >= raw * 0.999).unwrap_or(raw);
    let decimals =
        (0..6).find(|&d| ((step * 10_f64.powi(d)).round() - step * 10_f64.powi(d)).abs() < 1e-9).unwrap_or(6);
    let first = (low * unit / step - 1e-9).ceil() as i64;
    let last = (high * unit / step + 1e-9).floor() as i64;
    (first..=last)
        .map(|k| {
            let value = k as f64 * step;
            // A minus sign, not a hyphen; and no "-0".
            let label = format!("{:.*}{suffix}", decimals as usize, value.abs());
            (value / unit, if value < -1e-12 { format!("\u{2212}{label}") } else { label })
        })
        .collect()
}

/// The range of values, widened a little; a fixed width around a single value.
pub(super) fn padded(values: impl IntoIterator<Item = f64>, margin: f64) -> (f64, f64) {
    let (low, high) = values
        .into_iter()
        .filter(|x| x.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    if low > high {
        return (0.0, 1.0);
    }
    let pad = if high > low { (high - low) * margin } else { 0.05 };
    (low - pad, high + pad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let labels = |ticks: Vec<(f64, String)>| ticks.into_iter().map(|(_, label)| label).collect::<Vec<_>>();
        assert_eq!(labels(ticks((0.0, 0.3), 3, 100.0, "")), ["0", "10", "20", "30"]);
        assert_eq!(labels(ticks((-0.11, 0.02), 3, 100.0, "")), ["\u{2212}10", "\u{2212}5", "0"]);
        assert!(ticks((1.0, 1.0), 3, 1.0, "").is_empty());
    }

    #[test]
    fn a_single_value_still_spans_a_range() {
        assert_eq!(padded([0.5], 0.1), (0.45, 0.55));
        assert_eq!(padded([], 0.1), (0.0, 1.0));
    }
}
