//! The mean effect over models and tasks that are both samples of many: a crossed random-effects analysis.
//!
//! Every model meets every task once, with the effect `y_mt = mu + a_m + b_t + e_mt`; `e` holds what a model does on one task alone and
//! the sampling of items. With `M` models, `T` tasks and the mean squares of a two-way table, the variance of the plain mean is
//! `(MS_models + MS_tasks - MS_rest) / (M T)`, where a component that would be negative counts as zero, and its degrees of freedom are
//! Satterthwaite's (*An approximate distribution of estimates of variance components*, Biometrics Bulletin 2, 1946; Searle et al.,
//! *Variance Components*, 1992, chapter 4). All models read the same items, so what the items leave open is common to all cells and does not
//! show in the table: the interval adds the squares of Student's half width and of the half width over items, so that it is never narrower
//! than either. Every table has one cell per pair, so weights are equal. Two models that disagree leave
//! one degree of freedom, and an interval that says nothing: nothing can be said of models in general from them.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use super::percentile::Interval;

/// A mean effect over models and tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Crossed {
    /// The plain mean.
    pub(crate) effect: f64,
    /// Where the mean over models and tasks like these lies.
    pub(crate) interval: Interval,
    /// Standard deviation of the effect between models, over tasks.
    pub(crate) between_models: f64,
    /// The same between tasks, over models; NaN for one task.
    pub(crate) between_tasks: f64,
}

/// Pools `effects[model][task]`. `sampling` is the standard error of the plain mean over resamples of items alone; `alpha` is what the interval
/// leaves outside.
///
/// # Panics
/// There are fewer than two models, which say nothing of others, or no tasks.
pub(crate) fn crossed(effects: &[Vec<f64>], sampling: f64, alpha: f64) -> Crossed {
    assert!(effects.len() > 1 && !effects[0].is_empty(), "several models, and tasks");
    let (models, tasks) = (effects.len() as f64, effects[0].len() as f64);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let by_model: Vec<f64> = effects.iter().map(|row| mean(row)).collect();
    let by_task: Vec<f64> =
        (0..effects[0].len()).map(|task| mean(&effects.iter().map(|row| row[task]).collect::<Vec<_>>())).collect();
    let effect = mean(&by_model);
    let squares = |means: &[f64]| means.iter().map(|x| (x - effect) * (x - effect)).sum::<f64>();
    let of_models = Square { mean: tasks * squares(&by_model) / (models - 1.0), freedom: models - 1.0 };
    let of_tasks = Square { mean: models * squares(&by_task) / (tasks - 1.0), freedom: tasks - 1.0 };
    let rest = effects.iter().zip(&by_model).flat_map(|(row, of_model)| {
        row.iter().zip(&by_task).map(move |(y, of_task)| (y - of_model - of_task + effect).powi(2))
    });
    let freedom = (models - 1.0) * (tasks - 1.0);
    let rest = Square { mean: rest.sum::<f64>() / freedom, freedom };
    let several_tasks = tasks > 1.0;
    let (variance, freedom) = if several_tasks {
        both(of_models, of_tasks, rest, models * tasks)
    } else {
        (of_models.mean / models, of_models.freedom)
    };
    let level = 1.0 - alpha / 2.0;
    let over_items = Normal::standard().inverse_cdf(level) * sampling;
    let half = (quantile(freedom, level) * variance.sqrt()).hypot(over_items);
    let component = |own: Square, share: f64| ((own.mean - rest.mean).max(0.0) / share).sqrt();
    Crossed {
        effect,
        interval: Interval { low: effect - half, high: effect + half },
        between_models: if several_tasks { component(of_models, tasks) } else { of_models.mean.sqrt() },
        between_tasks: if several_tasks { component(of_tasks, models) } else { f64::NAN },
    }
}

/// A mean square with its degrees of freedom.
#[derive(Clone, Copy)]
struct Square {
    mean: f64,
    freedom: f64,
}

/// Variance of the plain mean and its degrees of freedom, without negative components.
fn both(models: Square, tasks: Square, rest: Square, cells: f64) -> (f64, f64) {
    let larger: Vec<Square> = [models, tasks].into_iter().filter(|own| own.mean > rest.mean).collect();
    // Each component takes off the rest once; a component that is zero leaves the rest in its place.
    let terms: Vec<(f64, Square)> = match larger.as_slice() {
        [] => vec![(1.0, rest)],
        [one] => vec![(1.0, *one)],
        _ => vec![(1.0, models), (1.0, tasks), (-1.0, rest)],
    };
    let sum: f64 = terms.iter().map(|(sign, square)| sign * square.mean).sum();
    let spread: f64 = terms.iter().map(|(_, square)| square.mean * square.mean / square.freedom).sum();
    let freedom = if spread > 0.0 { sum * sum / spread } else { rest.freedom };
    (sum / cells, freedom)
}

/// Quantile of Student's t.
fn quantile(freedom: f64, level: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::INFINITY, |t| t.inverse_cdf(level))
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-6, "{a} is not {b}");
    }

    /// Worked out with R: `t.test(c(1, 2, 4))`, 95 %.
    #[test]
    fn one_task_is_a_t_interval_over_models() {
        let models = [vec![1.0], vec![2.0], vec![4.0]];
        let one = crossed(&models, 0.0, 0.05);
        close(one.effect, 7.0 / 3.0);
        close(one.interval.low, -1.461_250);
        close(one.interval.high, 6.127_917);
        close(one.between_models, (7.0_f64 / 3.0).sqrt());
        assert!(one.between_tasks.is_nan());
        // What items say is added: 1.959964 standard errors.
        let noisy = crossed(&models, 2.0, 0.05).interval.high;
        close(noisy, 7.0 / 3.0 + 3.794_583_f64.hypot(1.959_964 * 2.0));
    }

    #[test]
    fn models_that_disagree_say_nothing_of_others() {
        let disagree = crossed(&[vec![10.0, 11.0, 9.0], vec![-10.0, -9.0, -11.0]], 0.0, 0.05);
        close(disagree.effect, 0.0);
        assert!(disagree.interval.half_width() > 100.0, "{:?}", disagree.interval);
        let agree = crossed(&[vec![10.0, 11.0, 9.0], vec![10.0, 9.5, 10.5]], 0.0, 0.05);
        assert!(agree.interval.half_width() < 2.0, "{:?}", agree.interval);
    }

    /// Three models and six tasks drawn anew each time: about 95 % of the intervals hold the mean that they were drawn around.
    #[test]
    fn intervals_hold_the_mean_over_models_and_tasks() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut normal = move || (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
        let mut covered = 0;
        for _ in 0..2_000 {
            let models: Vec<f64> = (0..3).map(|_| 2.0 * normal()).collect();
            let tasks: Vec<f64> = (0..6).map(|_| normal()).collect();
            let effects: Vec<Vec<f64>> =
                models.iter().map(|model| tasks.iter().map(|task| 5.0 + model + task + normal()).collect()).collect();
            covered += usize::from(crossed(&effects, 0.0, 0.05).interval.contains(5.0));
        }
        assert!((1_840..=1_980).contains(&covered), "{covered} of 2000");
    }

    /// Three trainings read the same items, whose luck moves all of them alike: the interval holds the mean at least as often.
    #[test]
    fn intervals_hold_the_mean_over_trainings_that_share_their_items() {
        let mut random = ChaCha8Rng::seed_from_u64(8);
        let mut normal = move || (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
        for (between, shared) in [(1.0, 1.0), (0.2, 1.0), (1.0, 0.2)] {
            let mut covered = 0;
            for _ in 0..1_000 {
                let luck = shared * normal();
                let effects: Vec<Vec<f64>> = (0..3).map(|_| vec![5.0 + luck + between * normal()]).collect();
                covered += usize::from(crossed(&effects, shared, 0.05).interval.contains(5.0));
            }
            assert!(covered >= 935, "{covered} of 1000 with {between} and {shared}");
        }
    }
}
