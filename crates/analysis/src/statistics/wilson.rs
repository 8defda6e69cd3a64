//! Wilson score interval of a proportion.

use super::percentile::Interval;

/// 97.5 % quantile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// 95 % interval of a proportion of `successes` among `n`; stays inside 0..1 and has width at 0 and at n.
pub(crate) fn wilson(successes: f64, n: f64) -> Interval {
    if n <= 0.0 {
        return Interval { low: f64::NAN, high: f64::NAN };
    }
    let p = successes / n;
    let z2 = Z * Z;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    // Rounding may leave the ends a few ulp outside of what the formula allows.
    Interval { low: (centre - half).max(0.0), high: (centre + half).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_published_values() {
        // Newcombe (1998), table I: 81 of 263 gives 0.2553 to 0.3662; 0 of 20 gives 0 to 0.1611.
        let interval = wilson(81.0, 263.0);
        assert!((interval.low - 0.2553).abs() < 5e-5 && (interval.high - 0.3662).abs() < 5e-5);
        let interval = wilson(0.0, 20.0);
        assert!(interval.low.abs() < 1e-12 && (interval.high - 0.1611).abs() < 5e-5);
        assert!((wilson(20.0, 20.0).high - 1.0).abs() < 1e-12);
    }
}
