//! An interval behind its value, in words: `±` half its width, or both of its ends where that would leave what the value can be.
//!
//! An accuracy of 100 % has an interval from 96.4 % to 100 %: `100.0 ± 1.8` would be wrong at both ends, `100.0 +0.0 −3.6` is not.

use analysis::Interval;

/// Least and most that a value can be.
pub(crate) type Range = (f64, f64);

/// Accuracies.
pub(crate) const PERCENT: Range = (0.0, 100.0);
/// Differences of accuracies.
pub(crate) const POINTS: Range = (-100.0, 100.0);
/// Losses and perplexities.
pub(crate) const POSITIVE: Range = (0.0, f64::INFINITY);
/// Their differences.
pub(crate) const ANY: Range = (f64::NEG_INFINITY, f64::INFINITY);

/// What the ends mean, below a table.
pub(crate) const ENDS: &str =
    "+ and −: the way to the ends of the interval, where ± half of it would leave what the value can be";

/// How far an interval reaches from its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Spread {
    /// Half its width.
    Half(f64),
    /// Up and down.
    Ends(f64, f64),
}

impl Spread {
    /// None around what is no finite value, and of an interval that is none.
    pub(crate) fn of(value: f64, interval: Interval, (least, most): Range) -> Option<Self> {
        let half = interval.half_width();
        if !value.is_finite() || half.is_nan() {
            return None;
        }
        // The digits that a product in binary adds.
        let room = 1e-9 * value.abs().max(1.0);
        let stays = half.is_finite() && value - half >= least - room && value + half <= most + room;
        let ends = || Self::Ends((interval.high - value).max(0.0), (value - interval.low).max(0.0));
        Some(if stays { Self::Half(half) } else { ends() })
    }

    /// With what stands before it: `± 1.2`, or `+0.0 −3.6`. `digits` writes a number.
    pub(crate) fn words(self, digits: impl Fn(f64) -> String) -> String {
        match self {
            Self::Half(half) => format!("± {}", digits(half)),
            Self::Ends(up, down) => format!("+{} \u{2212}{}", digits(up), digits(down)),
        }
    }

    /// Both ways.
    pub(crate) fn ways(self) -> (f64, f64) {
        match self {
            Self::Half(half) => (half, half),
            Self::Ends(up, down) => (up, down),
        }
    }
}

/// An interval in another unit.
pub(crate) fn scaled(interval: Interval, unit: f64) -> Interval {
    Interval { low: interval.low * unit, high: interval.high * unit }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(value: f64, low: f64, high: f64, range: Range) -> Option<String> {
        Spread::of(value, Interval { low, high }, range).map(|spread| spread.words(|number| format!("{number:.1}")))
    }

    #[test]
    fn nothing_beyond_what_a_value_can_be_is_said() {
        let said = |value, low, high| words(value, low, high, PERCENT).unwrap();
        assert_eq!(said(93.0, 90.7, 94.7), "± 2.0");
        assert_eq!(said(100.0, 96.4, 100.0), "+0.0 \u{2212}3.6");
        assert_eq!(said(98.0, 93.0, 99.4), "+1.4 \u{2212}5.0");
        assert_eq!(said(0.0, 0.0, 3.6), "+3.6 \u{2212}0.0");
        // Exactly to the end.
        assert_eq!(said(98.0, 96.0, 100.0), "± 2.0");
        assert_eq!(words(100.0, 96.0, 104.0, ANY).unwrap(), "± 4.0");
        assert_eq!(words(3.0, 2.5, f64::INFINITY, POSITIVE).unwrap(), "+inf \u{2212}0.5");
        assert_eq!(words(f64::INFINITY, 2.5, f64::INFINITY, POSITIVE), None);
        assert_eq!(words(-99.0, -100.0, -96.0, POINTS).unwrap(), "+3.0 \u{2212}1.0");
        assert_eq!(words(1.0, f64::NAN, 1.0, ANY), None);
    }
}
