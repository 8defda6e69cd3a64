//! Whether effects lie beyond their margins, many at a time.
//!
//! Holm's step-down procedure (*A simple sequentially rejective multiple test procedure*, Scandinavian Journal of Statistics 6,
//! 1979), carried out on intervals: the comparison that is furthest from its margin gets the interval of level `1 - 0.05 / m`, the next
//! one `1 - 0.05 / (m - 1)`, and so on until one holds its margin; the rest keep that level
//! and stay open. The probability that any of the
//! comparisons is called wrongly is then at most 5 %.
//!
//! These intervals decide and do not hold all at once: each is only as wide as its turn asks. What is shown beside a verdict is the
//! max-t interval (`simultaneous.rs`).

use super::percentile::{Interval, percentile_interval_at, spread};
use super::simultaneous::{JOINT_LEVEL, simultaneous};

/// Probability of any wrong call among the comparisons of a claim.
const ALPHA: f64 = 0.05;

/// What is known of one effect.
#[derive(Clone, Debug)]
pub(crate) enum Evidence {
    /// Its value, and its values over the resamples of items.
    Replicates(f64, Vec<f64>),
    /// One value per task, counted or measured and not sampled: the effect is their median, and all of them must agree.
    Tasks(Vec<f64>),
    /// Nothing: something did not finish.
    Missing,
}

/// How a comparison ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The effect is above the margin.
    Supported,
    /// The effect is at or below the margin, and not known to be below zero.
    Smaller,
    /// The effect is at or below the margin and below zero: it goes the other way.
    Opposite,
    /// The interval holds the margin, or something did not finish.
    Undecided,
}

impl Verdict {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Self; 4] = [Self::Supported, Self::Smaller, Self::Opposite, Self::Undecided];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::Smaller => "smaller than the margin",
            Self::Opposite => "opposite",
            Self::Undecided => "undecided",
        }
    }

    /// What an interval says of a margin.
    pub(crate) fn of(interval: Interval, margin: f64) -> Self {
        if interval.low > margin {
            Self::Supported
        } else if interval.high <= margin {
            if interval.high < 0.0 { Self::Opposite } else { Self::Smaller }
        } else {
            Self::Undecided
        }
    }
}

/// One comparison, decided among its fellows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// The difference of the two sides.
    pub effect: f64,
    /// Holds its effect together with those of all other comparisons; a range over tasks for costs.
    pub interval: Interval,
    /// Joint level of the interval; 1 for a range over tasks.
    pub level: f64,
    /// The interval that decided: Holm's.
    pub deciding: Interval,
    /// 1 minus the level of the deciding interval; 0 for a range over tasks.
    pub alpha: f64,
    /// Two-sided, that the effect lies at the margin; not corrected.
    pub p_value: f64,
    /// What the deciding interval says of the margin.
    pub verdict: Verdict,
}

/// Decides every `(evidence, margin)`.
pub(crate) fn decide(comparisons: &[(Evidence, f64)]) -> Vec<Decision> {
    let p_values: Vec<f64> = comparisons.iter().map(|(evidence, margin)| evidence.p_value(*margin)).collect();
    let sampled = |index: &usize| !matches!(comparisons[*index].0, Evidence::Tasks(_));
    let mut order: Vec<usize> = (0..comparisons.len()).filter(sampled).collect();
    // Many p-values are the smallest that the resamples can show: distance in standard errors tells them apart.
    let distance = |index: usize| comparisons[index].0.distance(comparisons[index].1);
    order.sort_by(|&a, &b| {
        p_values[a].total_cmp(&p_values[b]).then(distance(b).total_cmp(&distance(a))).then(a.cmp(&b))
    });
    let mut decisions: Vec<Option<Decision>> = vec![None; comparisons.len()];
    for (index, (evidence, margin)) in comparisons.iter().enumerate().filter(|(index, _)| !sampled(index)) {
        decisions[index] = Some(evidence.decide(*margin, 0.0));
    }
    let (mut left, mut stopped) = (order.len(), false);
    for index in order {
        let (evidence, margin) = &comparisons[index];
        let mut decision = evidence.decide(*margin, ALPHA / left as f64);
        if stopped {
            decision.verdict = Verdict::Undecided;
        }
        // From the first one that stays open the level stays, and nothing more is decided.
        stopped |= decision.verdict == Verdict::Undecided;
        left -= usize::from(!stopped);
        decisions[index] = Some(decision);
    }
    let mut decisions: Vec<Decision> = decisions.into_iter().flatten().collect();
    show_jointly(comparisons, &mut decisions);
    decisions
}

/// Gives every sampled effect the interval that holds together with the others.
fn show_jointly(comparisons: &[(Evidence, f64)], decisions: &mut [Decision]) {
    let known = comparisons.iter().zip(decisions).filter_map(|((evidence, _), decision)| match evidence {
        Evidence::Replicates(value, replicates) => Some((decision, (*value, replicates.as_slice()))),
        Evidence::Tasks(_) | Evidence::Missing => None,
    });
    let (shown, effects): (Vec<&mut Decision>, Vec<(f64, &[f64])>) = known.unzip();
    for (decision, interval) in shown.into_iter().zip(simultaneous(&effects)) {
        decision.interval = interval;
    }
}

impl Evidence {
    /// The mean of several effects, by their values over the same resamples; costs keep their values side by side.
    pub(crate) fn mean(parts: &[&Self]) -> Self {
        let (mut value, mut replicates, mut tasks): (f64, Vec<f64>, Vec<f64>) = (0.0, Vec::new(), Vec::new());
        let share = 1.0 / parts.len() as f64;
        for part in parts {
            match part {
                Self::Missing => return Self::Missing,
                Self::Tasks(values) => tasks.extend(values),
                Self::Replicates(own, of_own) => {
                    value += share * own;
                    replicates.resize(of_own.len(), 0.0);
                    replicates.iter_mut().zip(of_own).for_each(|(sum, x)| *sum += share * x);
                }
            }
        }
        if !tasks.is_empty() {
            Self::Tasks(tasks)
        } else if replicates.is_empty() {
            Self::Missing
        } else {
            Self::Replicates(value, replicates)
        }
    }

    fn decide(&self, margin: f64, alpha: f64) -> Decision {
        let interval = self.interval(alpha);
        let verdict = Verdict::of(interval, margin);
        let level = if matches!(self, Self::Tasks(_)) { 1.0 } else { JOINT_LEVEL };
        let (effect, p_value) = (self.effect(), self.p_value(margin));
        Decision { effect, interval, level, deciding: interval, alpha, p_value, verdict }
    }

    fn effect(&self) -> f64 {
        match self {
            Self::Replicates(value, _) => *value,
            Self::Tasks(values) => median(values),
            Self::Missing => f64::NAN,
        }
    }

    /// Twice the smaller share on either side of the margin; none where nothing was sampled.
    fn p_value(&self, margin: f64) -> f64 {
        match self {
            Self::Replicates(_, replicates) => {
                let known = replicates.iter().filter(|x| !x.is_nan()).count();
                let above = replicates.iter().filter(|&&x| x > margin).count();
                (2.0 * (above.min(known - above) + 1) as f64 / (known + 1) as f64).min(1.0)
            }
            Self::Tasks(_) => f64::NAN,
            Self::Missing => 1.0,
        }
    }

    /// The value where there is one, the mean over tasks for costs.
    pub(crate) fn mean_value(&self) -> f64 {
        match self {
            Self::Tasks(values) => values.iter().sum::<f64>() / values.len() as f64,
            Self::Replicates(..) | Self::Missing => self.effect(),
        }
    }

    /// Over resamples of items; 0 for costs, which are counted or measured.
    pub(crate) fn standard_error(&self) -> f64 {
        match self {
            Self::Replicates(_, replicates) => spread(replicates),
            Self::Tasks(_) | Self::Missing => 0.0,
        }
    }

    /// Distance from the margin in standard errors.
    fn distance(&self, margin: f64) -> f64 {
        let error = match self {
            Self::Replicates(..) => self.standard_error(),
            Self::Tasks(_) | Self::Missing => return 0.0,
        };
        let distance = (self.effect() - margin).abs();
        if error > 0.0 { distance / error } else { f64::MAX }
    }

    pub(crate) fn interval(&self, alpha: f64) -> Interval {
        match self {
            Self::Replicates(_, replicates) => percentile_interval_at(replicates, alpha),
            Self::Tasks(values) => Interval {
                low: values.iter().copied().fold(f64::INFINITY, f64::min),
                high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            },
            Self::Missing => Interval { low: f64::NEG_INFINITY, high: f64::INFINITY },
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10,000 replicates spread evenly over `centre - half ..= centre + half`.
    fn even(centre: f64, half: f64) -> Evidence {
        let replicates = (0..10_000).map(|i| centre + half * (f64::from(i) / 4_999.5 - 1.0)).collect();
        Evidence::Replicates(centre, replicates)
    }

    fn verdicts(comparisons: &[(Evidence, f64)]) -> Vec<Verdict> {
        decide(comparisons).iter().map(|decision| decision.verdict).collect()
    }

    #[test]
    fn the_interval_decides() {
        assert_eq!(verdicts(&[(even(5.0, 1.0), 2.0)]), [Verdict::Supported]);
        assert_eq!(verdicts(&[(even(-5.0, 1.0), 2.0)]), [Verdict::Opposite]);
        // An effect in the right direction that is too small to count, and one that may have either direction.
        assert_eq!(verdicts(&[(even(1.0, 0.5), 2.0)]), [Verdict::Smaller]);
        assert_eq!(verdicts(&[(even(-0.5, 1.0), 2.0)]), [Verdict::Smaller]);
        assert_eq!(verdicts(&[(even(2.5, 1.0), 2.0)]), [Verdict::Undecided]);
        // A negative margin: not worse by more than that.
        assert_eq!(verdicts(&[(even(-0.5, 1.0), -2.0)]), [Verdict::Supported]);
        assert_eq!(verdicts(&[(even(-4.0, 1.0), -2.0)]), [Verdict::Opposite]);
        // Two arms that do the same are no different, whatever the margin.
        assert_eq!(verdicts(&[(even(0.0, 0.0), 0.0)]), [Verdict::Smaller]);
    }

    #[test]
    fn many_comparisons_need_more_evidence_each() {
        // 98.5 % of the replicates lie above the margin: enough for an interval of 95 % ...
        let close = || (even(2.0 + 0.97, 1.0), 2.0);
        assert_eq!(verdicts(&[close()]), [Verdict::Supported]);
        // ... which is not enough where it is one of ten.
        let ten: Vec<_> = (0..10).map(|_| close()).collect();
        assert_eq!(verdicts(&ten), [Verdict::Undecided; 10]);
    }

    #[test]
    fn clear_comparisons_make_room_for_the_next() {
        // Bonferroni would ask the last one for 99.5 %; after nine clear ones Holm asks for 95 %.
        let mut ten: Vec<_> = (0..9).map(|_| (even(9.0, 1.0), 2.0)).collect();
        ten.push((even(2.97, 1.0), 2.0));
        let decisions = decide(&ten);
        assert!(decisions.iter().all(|decision| decision.verdict == Verdict::Supported));
        assert!((decisions[9].alpha - 0.05).abs() < 1e-12 && (decisions[0].alpha - 0.005).abs() < 1e-12);
        // An unfinished comparison is the last in the queue, and stays open.
        ten.push((Evidence::Missing, 0.0));
        let decisions = decide(&ten);
        assert!(decisions[10].interval.half_width().is_infinite());
        assert_eq!((decisions[9].verdict, decisions[10].verdict), (Verdict::Undecided, Verdict::Undecided));
        assert!((decisions[9].alpha - 0.025).abs() < 1e-12);
    }

    #[test]
    fn tasks_must_agree_and_take_no_part_in_the_correction() {
        let tasks = |low: f64| Evidence::Tasks(vec![low, 12.0, 20.0, 14.0]);
        let decisions = decide(&[(tasks(10.5), 10.0), (even(2.97, 1.0), 2.0), (tasks(9.0), 10.0), (tasks(9.0), 30.0)]);
        let verdicts: Vec<Verdict> = decisions.iter().map(|decision| decision.verdict).collect();
        assert_eq!(verdicts, [Verdict::Supported, Verdict::Supported, Verdict::Undecided, Verdict::Smaller]);
        assert_eq!((decisions[0].effect, decisions[0].interval), (13.0, Interval { low: 10.5, high: 20.0 }));
        assert!((decisions[1].alpha - 0.05).abs() < 1e-12 && decisions[0].p_value.is_nan());
    }
}
