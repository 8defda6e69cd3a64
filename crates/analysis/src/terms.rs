//! On which terms two arms meet: whether they removed as much as each other.
//!
//! The one place that decides it. Tables, figures, the headline, claims and `compare` ask here.

/// Achieved FLOPs reductions that are further apart than this are not compared: half a percentage point.
pub(crate) const EQUAL_REDUCTION: f64 = 0.005;

/// Sums of shares are rounded; two that are half a point apart on paper are.
const ROUNDING: f64 = 1e-9;

/// The mark of an arm that is shown and not compared.
pub const MARK: char = '†';

/// What [`MARK`] says, below whatever shows it.
pub const NOT_COMPARED: &str = "achieved reduction differs by more than half a point: not compared";

/// How two sides of a comparison stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terms {
    /// They removed as much as each other, up to half a point.
    Equal,
    /// They did not: the difference is not one of the rules alone.
    Unequal,
    /// One side is not reduced at all: what is compared is the reduction itself.
    Unreduced,
    /// There is no reduction to compare: rows of a probe, or a side that did not finish.
    Unknown,
}

impl Terms {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Unequal => "unequal",
            Self::Unreduced => "unreduced",
            Self::Unknown => "unknown",
        }
    }
}

/// Terms of two sides, each with its achieved reduction and whether it reduces at any site.
pub(crate) fn terms(a: (f64, bool), b: (f64, bool)) -> Terms {
    if !(a.0.is_finite() && b.0.is_finite()) {
        Terms::Unknown
    } else if a.1 != b.1 {
        Terms::Unreduced
    } else if are_equal(a.0, b.0) {
        Terms::Equal
    } else {
        Terms::Unequal
    }
}

/// Whether two achieved reductions count as the same.
pub fn are_equal(a: f64, b: f64) -> bool {
    (a - b).abs() <= EQUAL_REDUCTION + ROUNDING
}

/// Which arms of one group (a model, protocol and nominal reduction, and a task where a column is one) may be compared with each
/// other, by their achieved reductions (none where an arm has no result): the largest set that is nowhere more than half a point apart;
/// of several equally large ones that whose mean is nearest to the nominal value, then the one that removed more.
pub fn comparable_set(achieved: &[Option<f64>], nominal: f64) -> Vec<bool> {
    let known = |value: &Option<f64>| value.filter(|value| value.is_finite());
    let mut sorted: Vec<f64> = achieved.iter().filter_map(known).collect();
    sorted.sort_by(f64::total_cmp);
    // Members, minus the distance from the nominal value, and the lowest member, in the order in which they count.
    let mut best: Option<(usize, f64, f64)> = None;
    for (start, &low) in sorted.iter().enumerate() {
        let members = sorted[start..].iter().take_while(|&&value| are_equal(low, value));
        let (count, sum) = members.fold((0_usize, 0.0), |(count, sum), value| (count + 1, sum + value));
        let nearness = -(sum / count as f64 - nominal).abs();
        let better =
            best.is_none_or(|(most, nearest, _)| count > most || (count == most && nearness >= nearest - ROUNDING));
        if better {
            best = Some((count, nearness, low));
        }
    }
    let inside = |value: f64| best.is_some_and(|(_, _, low)| value >= low && are_equal(low, value));
    achieved.iter().map(|value| known(value).is_some_and(inside)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(achieved: &[f64], nominal: f64) -> Vec<bool> {
        comparable_set(&achieved.iter().copied().map(Some).collect::<Vec<_>>(), nominal)
    }

    #[test]
    fn the_one_that_removes_less_stays_outside() {
        // Nominal 10 %: the released EViT removes 0.77 %, the others 3.1 %.
        assert_eq!(set(&[0.031, 0.0077, 0.0312, 0.0309], 0.1), [true, false, true, true]);
        // Half a point is inside, more is not.
        assert_eq!(set(&[0.090, 0.095, 0.0951], 0.1), [false, true, true]);
        assert_eq!(set(&[0.090, 0.095], 0.1), [true, true]);
    }

    #[test]
    fn ties_go_to_the_nominal_value_and_then_to_the_higher() {
        assert_eq!(set(&[0.05, 0.09], 0.1), [false, true]);
        assert_eq!(set(&[0.05, 0.09], 0.04), [true, false]);
        assert_eq!(set(&[0.09, 0.11], 0.1), [false, true]);
    }

    #[test]
    fn what_did_not_finish_is_outside() {
        assert_eq!(comparable_set(&[None, Some(0.1), Some(f64::NAN)], 0.1), [false, true, false]);
        assert!(comparable_set(&[], 0.1).is_empty());
    }

    #[test]
    fn sides_meet_on_terms() {
        assert_eq!(terms((0.1, true), (0.104, true)), Terms::Equal);
        assert_eq!(terms((0.1, true), (0.106, true)), Terms::Unequal);
        assert_eq!(terms((0.0, false), (0.1, true)), Terms::Unreduced);
        // A rule that removes nothing is a rule all the same.
        assert_eq!(terms((0.0, true), (0.1, true)), Terms::Unequal);
        assert_eq!(terms((f64::NAN, true), (0.1, true)), Terms::Unknown);
    }
}
