//! Exact `McNemar` test for paired right/wrong answers.

use super::ln_factorials;

/// Two-sided p-value that `gained` and `lost` answers come from a fair coin.
///
/// Items on which both trials agree carry no information about the difference and do not enter.
pub(crate) fn mcnemar(gained: usize, lost: usize) -> f64 {
    let n = gained + lost;
    if n == 0 {
        return 1.0;
    }
    let ln_factorial = ln_factorials(n);
    let tail: f64 = (0..=gained.min(lost))
        .map(|k| (ln_factorial[n] - ln_factorial[k] - ln_factorial[n - k] - n as f64 * std::f64::consts::LN_2).exp())
        .sum();
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_hand_computed_tails() {
        // 2 * (C(10,0) + C(10,1)) / 2^10 = 22 / 1024.
        assert!((mcnemar(1, 9) - 22.0 / 1024.0).abs() < 1e-12);
        assert!((mcnemar(9, 1) - 22.0 / 1024.0).abs() < 1e-12);
        // 2 * C(5,0) / 2^5.
        assert!((mcnemar(0, 5) - 2.0 / 32.0).abs() < 1e-12);
        assert!((mcnemar(0, 0) - 1.0).abs() < f64::EPSILON);
        assert!((mcnemar(3, 3) - 1.0).abs() < f64::EPSILON);
        // Far beyond the range of 0.5^n in f64.
        assert!(mcnemar(2_000, 2_001) > 0.98 && mcnemar(1_000, 3_000) < 1e-200);
    }
}
