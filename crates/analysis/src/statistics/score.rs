//! Intervals of shares of right answers beyond one trial: means over seeds and over tasks.
//!
//! A bootstrap of answers that are all right has no width, however few they are. These have, as Wilson's interval of one trial has, and
//! are that interval where there is one seed and one task.

use super::estimate::Estimate;
use super::percentile::{Interval, spread};
use super::wilson::wilson;

/// Mean over `seeds` of a share of `n` items, with its values over the resamples.
///
/// Wilson's interval for the effective number of items: that of a simple share with the variance that the resamples show. Answers of
/// one item under several seeds hang together, so it lies between the items and all answers.
pub(crate) fn share_of_seeds(n: usize, seeds: usize, value: f64, replicates: &[f64]) -> Estimate {
    let stderr = spread(replicates);
    let effective = (value * (1.0 - value) / (stderr * stderr)).clamp(n as f64, (n * seeds) as f64);
    // Without variance nothing says that seeds add anything.
    let effective = if effective.is_nan() { n as f64 } else { effective };
    Estimate { n, value, stderr, interval: wilson(value * effective, effective) }
}

/// Mean of `parts`, each with the same weight, with its values over the resamples.
///
/// The interval is recovered from those of the parts (MOVER: Zou and Donner, Statistics in Medicine 27, 2008): distances to their ends add
/// up as standard errors of independent quantities do.
pub(crate) fn mean_of_shares(parts: &[Estimate], replicates: &[f64]) -> Estimate {
    let share = 1.0 / parts.len() as f64;
    let over = |of: &dyn Fn(&Estimate) -> f64| parts.iter().map(|part| of(part) * share).sum::<f64>();
    let value = over(&|part| part.value);
    let reach = |of: &dyn Fn(&Estimate) -> f64| parts.iter().map(|part| (of(part) * share).powi(2)).sum::<f64>().sqrt();
    let below = reach(&|part| part.value - part.interval.low);
    let above = reach(&|part| part.interval.high - part.value);
    Estimate {
        n: parts.iter().map(|part| part.n).sum(),
        value,
        stderr: spread(replicates),
        interval: Interval { low: value - below, high: value + above },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(successes: f64, n: usize) -> Estimate {
        let interval = wilson(successes, n as f64);
        Estimate { n, value: successes / n as f64, stderr: 0.0, interval }
    }

    fn is_close(a: Interval, b: Interval) -> bool {
        (a.low - b.low).abs() < 1e-9 && (a.high - b.high).abs() < 1e-9
    }

    #[test]
    fn one_seed_or_one_task_is_wilsons() {
        // The variance of a share of 30 of 40.
        let half = (0.75 * 0.25 / 40.0_f64).sqrt();
        let replicates: Vec<f64> = (0..10_000).map(|i| 0.75 + half * if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let pooled = share_of_seeds(40, 1, 0.75, &replicates);
        assert!(is_close(pooled.interval, wilson(30.0, 40.0)), "{pooled:?}");
        assert!(is_close(mean_of_shares(&[part(30.0, 40)], &[]).interval, wilson(30.0, 40.0)));
    }

    #[test]
    fn nothing_wrong_is_not_certain() {
        // Three seeds, all right, beside one seed, all right: the same interval, and a width.
        let pooled = share_of_seeds(40, 3, 1.0, &[1.0; 100]);
        assert!(is_close(pooled.interval, wilson(40.0, 40.0)) && pooled.interval.half_width() > 0.04);
        let mean = mean_of_shares(&[part(40.0, 40), part(40.0, 40)], &[1.0; 100]);
        assert!(mean.interval.half_width() > 0.02 && mean.interval.high >= 1.0 && mean.n == 80);
    }

    #[test]
    fn seeds_count_as_far_as_they_differ() {
        let of = |stderr: f64| {
            let replicates: Vec<f64> = (0..100).map(|i| 0.5 + stderr * if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
            share_of_seeds(100, 3, 0.5, &replicates).interval.half_width()
        };
        // The same answers three times, and three independent ones, and an impossible precision.
        assert!((of(0.05) - wilson(50.0, 100.0).half_width()).abs() < 2e-3);
        assert!((of(0.05 / 3.0_f64.sqrt()) - wilson(150.0, 300.0).half_width()).abs() < 2e-3);
        assert!((of(0.001) - wilson(150.0, 300.0).half_width()).abs() < 1e-12);
    }

    #[test]
    fn a_mean_over_tasks_stays_between_zero_and_one() {
        let mean = mean_of_shares(&[part(0.0, 5), part(5.0, 5), part(1.0, 5)], &[]);
        assert!(mean.interval.low >= 0.0 && mean.interval.high <= 1.0 && mean.interval.contains(mean.value));
    }
}
