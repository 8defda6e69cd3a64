//! Percentile intervals of bootstrap replicates.

/// A 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Half the width: the number after the plus-minus sign.
    pub fn half_width(self) -> f64 {
        (self.high - self.low) / 2.0
    }

    /// Whether the value is inside.
    pub fn contains(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// The 2.5 % and 97.5 % quantiles of the finite replicates, interpolated linearly between order statistics.
pub(crate) fn percentile_interval(replicates: &[f64]) -> Interval {
    percentile_interval_at(replicates, 0.05)
}

/// The interval that leaves half of `alpha` of the finite replicates beyond each end.
pub(crate) fn percentile_interval_at(replicates: &[f64], alpha: f64) -> Interval {
    let mut finite: Vec<f64> = replicates.iter().copied().filter(|x| !x.is_nan()).collect();
    Interval { low: quantile(&mut finite, alpha / 2.0), high: quantile(&mut finite, 1.0 - alpha / 2.0) }
}

/// Standard deviation of the finite replicates: the bootstrap standard error.
pub(crate) fn spread(replicates: &[f64]) -> f64 {
    let finite: Vec<f64> = replicates.iter().copied().filter(|x| x.is_finite()).collect();
    let n = finite.len() as f64;
    if n < 2.0 {
        return f64::NAN;
    }
    let mean = finite.iter().sum::<f64>() / n;
    (finite.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (n - 1.0)).sqrt()
}

/// Reorders `values`, which is cheaper than sorting them.
fn quantile(values: &mut [f64], level: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let position = level * (values.len() - 1) as f64;
    let below = position.floor() as usize;
    let (_, &mut low, rest) = values.select_nth_unstable_by(below, f64::total_cmp);
    let high = rest.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    let share = position - below as f64;
    // Without this branch infinite neighbours would turn an order statistic into NaN.
    if share == 0.0 || low.total_cmp(&high).is_eq() { low } else { low + share * (high - low) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let mut values: Vec<f64> = (0..=40).rev().map(f64::from).collect();
        assert!((quantile(&mut values, 0.025) - 1.0).abs() < 1e-12);
        assert!((quantile(&mut values, 0.975) - 39.0).abs() < 1e-12);
        assert!((quantile(&mut [1.0, 3.0, 2.0], 0.25) - 1.5).abs() < 1e-12);
        assert!(quantile(&mut [], 0.5).is_nan());
    }

    #[test]
    fn spread_is_the_sample_standard_deviation() {
        // Mean 5, squared deviations 9+1+1+1+0+0+4+16 = 32, divided by 7.
        let spread = spread(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert!((spread - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12);
    }
}
