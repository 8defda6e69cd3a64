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
    /// Its value, the same in every resample of so many items: resampling cannot say how far off it may be.
    Constant {
        /// The value.
        value: f64,
        /// Items that it rests on.
        items: usize,
        /// Between what the effect lies on any item; none where nothing bounds it.
        range: Option<(f64, f64)>,
    },
    /// One value per task, counted or measured and not sampled: the effect is their median, and all of them must agree.
    Tasks(Vec<f64>),
    /// Nothing: something did not finish.
    Missing,
}

/// Effects closer than this to a margin lie at it: replicates of scores are kept in single precision.
const ROUNDING: f64 = 1e-5;

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
        if interval.low > margin + ROUNDING {
            Self::Supported
        } else if interval.high <= margin + ROUNDING {
            if interval.high < -ROUNDING { Self::Opposite } else { Self::Smaller }
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

impl Decision {
    /// Whether the shown interval alone would say something else: Holm's asks less of a comparison once clearer ones are decided, and follows the
    /// skew of the replicates.
    pub fn is_by_holm(&self, margin: f64) -> bool {
        Verdict::of(self.interval, margin) != self.verdict
    }
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
    let sampled = comparisons.iter().filter(|(evidence, _)| !matches!(evidence, Evidence::Tasks(_))).count();
    let known = comparisons.iter().zip(decisions).filter_map(|((evidence, _), decision)| match evidence {
        Evidence::Replicates(value, replicates) => Some((decision, (*value, replicates.as_slice()))),
        Evidence::Constant { .. } => {
            // Bonferroni's share, since no resample says how it moves with the others, which share the rest.
            decision.interval = evidence.interval((1.0 - JOINT_LEVEL) / sampled as f64);
            None
        }
        Evidence::Tasks(_) | Evidence::Missing => None,
    });
    let (shown, effects): (Vec<&mut Decision>, Vec<(f64, &[f64])>) = known.unzip();
    let beyond = (1.0 - JOINT_LEVEL) * effects.len() as f64 / sampled.max(1) as f64;
    for (decision, interval) in shown.into_iter().zip(simultaneous(&effects, 1.0 - beyond)) {
        decision.interval = interval;
    }
}

impl Evidence {
    /// An effect with its values over the resamples of `items` items.
    pub(crate) fn new(value: f64, replicates: Vec<f64>, items: usize, range: Option<(f64, f64)>) -> Self {
        let is_constant = replicates.iter().all(|replicate| (replicate - value).abs() <= ROUNDING);
        if is_constant { Self::Constant { value, items, range } } else { Self::Replicates(value, replicates) }
    }

    /// The mean of several effects, by their values over the same resamples; costs keep their values side by side.
    pub(crate) fn mean(parts: &[&Self]) -> Self {
        let (mut value, mut replicates, mut tasks): (f64, Vec<f64>, Vec<f64>) = (0.0, Vec::new(), Vec::new());
        // The smallest number of items bounds the mean, too.
        let (mut constant, mut fewest, mut widest) = (0.0, usize::MAX, Some((f64::INFINITY, f64::NEG_INFINITY)));
        let share = 1.0 / parts.len() as f64;
        for part in parts {
            match part {
                Self::Missing => return Self::Missing,
                Self::Constant { value: own, items, range } => {
                    constant += share * own;
                    fewest = fewest.min(*items);
                    widest = widest.zip(*range).map(|(all, own)| (own.0.min(all.0), own.1.max(all.1)));
                }
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
        } else if !replicates.is_empty() {
            for replicate in &mut replicates {
                *replicate += constant;
            }
            Self::Replicates(value + constant, replicates)
        } else if fewest < usize::MAX {
            Self::Constant { value: constant, items: fewest, range: widest }
        } else {
            Self::Missing
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
            Self::Replicates(value, _) | Self::Constant { value, .. } => *value,
            Self::Tasks(values) => median(values),
            Self::Missing => f64::NAN,
        }
    }

    /// Twice the smaller share on either side of the margin; none where nothing was sampled.
    fn p_value(&self, margin: f64) -> f64 {
        match self {
            Self::Replicates(_, replicates) => {
                let known = replicates.iter().filter(|x| !x.is_nan()).count();
                let above = replicates.iter().filter(|&&x| x > margin + ROUNDING).count();
                (2.0 * (above.min(known - above) + 1) as f64 / (known + 1) as f64).min(1.0)
            }
            Self::Constant { value, .. } if (value - margin).abs() <= ROUNDING => 1.0,
            Self::Constant { value, items, range } => match range {
                // The share of other items that would bring the effect to the margin.
                Some((least, most)) => {
                    let end = if margin < *value { least } else { most };
                    let share = (margin - value) / (end - value);
                    (1.0 - share.clamp(0.0, 1.0)).powi(*items as i32)
                }
                None => f64::from(u8::from(*items < 2)),
            },
            Self::Tasks(_) => f64::NAN,
            Self::Missing => 1.0,
        }
    }

    /// The value where there is one, the mean over tasks for costs.
    pub(crate) fn mean_value(&self) -> f64 {
        match self {
            Self::Tasks(values) => values.iter().sum::<f64>() / values.len() as f64,
            Self::Replicates(..) | Self::Constant { .. } | Self::Missing => self.effect(),
        }
    }

    /// Over resamples of items; 0 for costs, which are counted or measured.
    pub(crate) fn standard_error(&self) -> f64 {
        match self {
            Self::Replicates(_, replicates) => spread(replicates),
            // As if the interval of a single effect were a normal one.
            Self::Constant { .. } => self.interval(ALPHA).half_width() / 1.96,
            Self::Tasks(_) | Self::Missing => 0.0,
        }
    }

    /// Distance from the margin in standard errors.
    fn distance(&self, margin: f64) -> f64 {
        let error = match self {
            Self::Replicates(..) | Self::Constant { .. } => self.standard_error(),
            Self::Tasks(_) | Self::Missing => return 0.0,
        };
        let distance = (self.effect() - margin).abs();
        if error > 0.0 { distance / error } else { f64::MAX }
    }

    pub(crate) fn interval(&self, alpha: f64) -> Interval {
        match self {
            Self::Replicates(_, replicates) => percentile_interval_at(replicates, alpha),
            // Items that differ from all that were seen are, with this probability, no larger share than `1 - alpha^(1/n)`: the bound of
            // zero events in `n` draws (Hanley and Lippman-Hand, JAMA 249, 1983).
            Self::Constant { value, items, range } => match range {
                Some((least, most)) => {
                    let share = 1.0 - alpha.powf(1.0 / *items as f64);
                    Interval { low: value - share * (value - least), high: value + share * (most - value) }
                }
                None if *items < 2 => Interval { low: f64::NEG_INFINITY, high: f64::INFINITY },
                None => Interval { low: *value, high: *value },
            },
            Self::Tasks(values) => Interval {
                low: values.iter().copied().fold(f64::INFINITY, f64::min),
                high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            },
            Self::Missing => Interval { low: f64::NEG_INFINITY, high: f64::INFINITY },
        }
    }
}

/// The middle value; the mean of the two middle ones for an even count, and NaN of none.
pub fn median(values: &[f64]) -> f64 {
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

    /// Differences of shares, in points.
    const SHARES: Option<(f64, f64)> = Some((-100.0, 100.0));

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
    fn what_does_not_vary_is_no_certainty() {
        let constant = |value, items, most| Evidence::new(value, vec![value; 100], items, most);
        // One right answer in place of one right answer says nothing of margins of ten points, nor do four right ones in place of four wrong
        // ones of zero: with gains and losses equally often they come once in sixteen times.
        assert_eq!(verdicts(&[(constant(0.0, 1, SHARES), -10.0)]), [Verdict::Undecided]);
        assert_eq!(verdicts(&[(constant(100.0, 4, SHARES), 0.0)]), [Verdict::Undecided]);
        assert_eq!(verdicts(&[(constant(0.0, 1, None), -10.0)]), [Verdict::Undecided]);
        // Of 500 items none differs: fewer than one of a hundred does.
        let decision = decide(&[(constant(0.0, 500, SHARES), -1.0)])[0];
        assert_eq!(decision.verdict, Verdict::Supported);
        assert!((decision.interval.high - 100.0 * (1.0 - 0.05_f64.powf(1.0 / 500.0))).abs() < 1e-9);
        let mean = Evidence::mean(&[&constant(2.0, 500, SHARES), &even(4.0, 1.0)]);
        assert!(
            matches!(&mean, Evidence::Replicates(value, replicates) if (value - 3.0).abs() < 1e-9 && replicates.len() == 10_000)
        );
        let mean = Evidence::mean(&[&constant(2.0, 500, SHARES), &constant(4.0, 20, Some((-200.0, 50.0)))]);
        assert!(matches!(mean, Evidence::Constant { value: 3.0, items: 20, range: Some((-200.0, 100.0)) }));
    }

    /// Shares at the margin are at it, whatever single precision makes of them.
    #[test]
    fn rounding_is_no_evidence() {
        let lattice: Vec<f64> =
            (0..1_000).map(|i| f64::from(20.0_f32 * 1.000_000_1) + 10.0 * f64::from(i % 5)).collect();
        assert_eq!(verdicts(&[(Evidence::new(40.0, lattice, 10, SHARES), 20.0)]), [Verdict::Undecided]);
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
