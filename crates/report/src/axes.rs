//! Panels: a frame with linear axes, ticks and labels, in points.

use super::canvas::{Align, Canvas, DrawError, Ink, Marker, Point, Stroke, Text};
use super::paper::{LABEL_TEXT, TICK_TEXT, TITLE_TEXT};

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

    /// Where a value stands; that of one that is not finite is not either.
    pub(super) fn at(self, value: f64) -> f64 {
        if self.high <= self.low && value.is_finite() {
            return f64::midpoint(self.from, self.to);
        }
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

    /// Grid lines, left and bottom axis with labelled ticks.
    pub(super) fn axes(
        &self,
        canvas: &Canvas,
        x_ticks: &[(f64, String)],
        y_ticks: &[(f64, String)],
    ) -> Result<(), DrawError> {
        let (grid, axis) = (Stroke::solid(Ink::FAINT, 0.4), Stroke::solid(Ink::BLACK, 0.6));
        for (value, label) in y_ticks {
            let y = self.y.at(*value);
            canvas.line(&[(self.left, y), (self.right(), y)], grid)?;
            canvas.line(&[(self.left - 2.0, y), (self.left, y)], axis)?;
            canvas.text((self.left - 3.5, y), label, Text::new(TICK_TEXT).align(Align::End))?;
        }
        for (value, label) in x_ticks {
            let x = self.x.at(*value);
            canvas.line(&[(x, self.top), (x, self.bottom())], grid)?;
            canvas.line(&[(x, self.bottom()), (x, self.bottom() + 2.0)], axis)?;
            canvas.text((x, self.bottom() + 7.0), label, Text::new(TICK_TEXT).align(Align::Middle))?;
        }
        canvas.line(&[(self.left, self.top), (self.left, self.bottom()), (self.right(), self.bottom())], axis)
    }

    /// Marks at the border a value that has no place on the upright axis, at `x` points.
    pub(super) fn beyond_y(&self, canvas: &Canvas, x: f64, value: f64, ink: Ink) -> Result<(), DrawError> {
        let (y, marker) = match value {
            value if value < 0.0 => (self.bottom() - 4.0, Some(Marker::Down)),
            value if value > 0.0 => (self.top + 4.0, Some(Marker::Up)),
            _ => (self.top + 4.0, None),
        };
        if let Some(marker) = marker {
            canvas.marker((x, y), marker, 2.0, ink)?;
        }
        // Before the mark where there is no room behind it.
        let (x, align) = if x + 16.0 < self.right() { (x + 3.5, Align::Start) } else { (x - 3.5, Align::End) };
        canvas.text((x, y), beyond(value), Text::new(TICK_TEXT).ink(ink).align(align))
    }

    /// The same for the level axis, at `y` points.
    pub(super) fn beyond_x(&self, canvas: &Canvas, y: f64, value: f64, ink: Ink) -> Result<(), DrawError> {
        let (x, align, arrow) = match value {
            value if value < 0.0 => (self.left + 1.0, Align::Start, "\u{2190} "),
            value if value > 0.0 => (self.right() - 1.0, Align::End, "\u{2192} "),
            _ => (self.left + self.width / 2.0, Align::Middle, ""),
        };
        canvas.text((x, y), &format!("{arrow}{}", beyond(value)), Text::new(TICK_TEXT).ink(ink).align(align))
    }

    /// A title above the panel, at its left edge.
    pub(super) fn title(&self, canvas: &Canvas, title: &str) -> Result<(), DrawError> {
        let title = canvas.sheet().fitted(title, TITLE_TEXT, true, self.width);
        canvas.text((self.left, self.top - 6.5), &title, Text::new(TITLE_TEXT).bold())
    }

    /// The label of the level axis: the first of `labels` that has room below the panel.
    pub(super) fn label_x(&self, canvas: &Canvas, labels: &[&str]) -> Result<(), DrawError> {
        let label = canvas.sheet().that_fits(labels, LABEL_TEXT, self.width + 8.0);
        let place = (self.left + self.width / 2.0, self.bottom() + 16.5);
        canvas.text(place, &label, Text::new(LABEL_TEXT).align(Align::Middle))
    }

    /// The label of the upright axis, `away` points from it: the first of `labels` that has room.
    pub(super) fn label_y(&self, canvas: &Canvas, labels: &[&str], away: f64) -> Result<(), DrawError> {
        let label = canvas.sheet().that_fits(labels, LABEL_TEXT, self.height + 10.0);
        let place = (self.left - away, self.top + self.height / 2.0);
        canvas.text(place, &label, Text::new(LABEL_TEXT).align(Align::Middle).upwards())
    }

    /// Two strokes across the upright axis at its foot: it does not begin at 0.
    pub(super) fn broken_y(&self, canvas: &Canvas) -> Result<(), DrawError> {
        let y = self.bottom() - 5.0;
        for y in [y - 1.3, y + 1.3] {
            canvas.line(&[(self.left - 3.0, y + 1.5), (self.left + 3.0, y - 1.5)], Stroke::solid(Ink::BLACK, 0.7))?;
        }
        Ok(())
    }

    /// The same for the level axis, at its left end.
    pub(super) fn broken_x(&self, canvas: &Canvas) -> Result<(), DrawError> {
        let x = self.left + 5.0;
        for x in [x - 1.3, x + 1.3] {
            canvas.line(
                &[(x - 1.5, self.bottom() + 3.0), (x + 1.5, self.bottom() - 3.0)],
                Stroke::solid(Ink::BLACK, 0.7),
            )?;
        }
        Ok(())
    }
}

/// What a figure says of a broken axis.
pub(super) const BROKEN: &str = "// on an axis: it does not begin at 0.";

/// What a caption says of values at the border.
pub(super) const BEYOND: &str = "An arrow with ∞ at the border, or NaN, marks a value that is no finite number. ";

/// A value that is not finite, in a word.
pub(super) fn beyond(value: f64) -> &'static str {
    match value {
        value if value > 0.0 => "∞",
        value if value < 0.0 => "\u{2212}∞",
        _ => "NaN",
    }
}

/// More ticks than this are a mistake of the range.
const MOST_TICKS: i64 = 50;

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
    if last.saturating_sub(first) > MOST_TICKS {
        return Vec::new();
    }
    // Neither dozens of zeros nor labels that are all alike.
    let plain = (1e-6..1e7).contains(&step) && (low.abs().max(high.abs()) * unit) < 1e9;
    (first..=last)
        .map(|k| {
            let value = k as f64 * step;
            // A minus sign, not a hyphen; and no "-0".
            let label = if plain {
                format!("{:.*}{suffix}", decimals as usize, value.abs())
            } else if value == 0.0 {
                format!("0{suffix}")
            } else {
                format!("{:.1e}{suffix}", value.abs()).replace(".0e", "e")
            };
            (value / unit, if value < -1e-12 { format!("\u{2212}{label}") } else { label })
        })
        .collect()
}

/// Values beyond this have no place on an axis.
const LARGEST: f64 = 1e300;

/// Whether a value has a place on an axis.
pub(super) fn has_place(value: f64) -> bool {
    value.abs() < LARGEST
}

/// The range of values, widened a little; a fixed width around a single value.
pub(super) fn padded(values: impl IntoIterator<Item = f64>, margin: f64) -> (f64, f64) {
    let (low, high) = values
        .into_iter()
        // Far enough from the largest number that widths are numbers, too.
        .filter(|x| has_place(*x))
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    if low > high {
        return (0.0, 1.0);
    }
    let pad = if high > low { (high - low) * margin } else { 0.05 };
    // At large values the padding may be lost in rounding.
    let pad = if low - pad < low { pad } else { low.abs() * 0.05 };
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
    fn no_range_gives_endless_or_equal_ticks() {
        for range in [
            (f64::NEG_INFINITY, f64::INFINITY),
            (0.0, f64::NAN),
            (0.0, f64::INFINITY),
            (-1e300, 1e300),
            (1e300, 1e300),
            (1e16, 1e16 + 2.0),
            (0.0, 1e-300),
            (0.0, f64::MAX),
            (5.0, 1.0),
        ] {
            let ticks = ticks(range, 4, 100.0, "");
            assert!(ticks.len() < 60 && ticks.iter().all(|(_, label)| label.len() < 16), "{range:?}: {ticks:?}");
        }
        let labels: Vec<String> = ticks((0.0, 4e9), 4, 1.0, "").into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["0", "1e9", "2e9", "3e9", "4e9"]);
    }

    #[test]
    fn every_value_with_a_place_has_a_scale() {
        for values in [vec![1e299], vec![-1e299, 1e299], vec![1e17, 1e17], vec![f64::INFINITY, 2.0], vec![f64::MAX]] {
            let (low, high) = padded(values.iter().copied(), 0.05);
            assert!(low < high && (high - low).is_finite(), "{values:?}");
            let scale = Scale::new((low, high), 0.0, 100.0);
            assert!(
                values.iter().filter(|x| has_place(**x)).all(|x| (0.0..=100.0).contains(&scale.at(*x))),
                "{values:?}"
            );
        }
        assert!(Scale::new((1.0, 1.0), 0.0, 10.0).at(1.0) < 6.0);
    }

    #[test]
    fn a_single_value_still_spans_a_range() {
        assert_eq!(padded([0.5], 0.1), (0.45, 0.55));
        assert_eq!(padded([], 0.1), (0.0, 1.0));
    }
}
