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

/// How a comparison or a claim ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The effect is above the margin.
    Supported,
    /// The effect is at or below the margin.
    Refuted,
    /// The interval holds the margin, or something did not finish.
    Undecided,
}

impl Verdict {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::Refuted => "refuted",
            Self::Undecided => "undecided",
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

/// Decides every `(evidence, margin)`: above the margin is supported, at or below it refuted.
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

/// The verdict over all comparisons of which `needed` must be supported: refuted once so many are refuted that the rest
/// could not make up for it.
pub(crate) fn of_share(verdicts: &[Verdict], needed: usize) -> Verdict {
    let count = |which: Verdict| verdicts.iter().filter(|verdict| **verdict == which).count();
    if count(Verdict::Supported) >= needed {
        Verdict::Supported
    } else if verdicts.len() - count(Verdict::Refuted) < needed {
        Verdict::Refuted
    } else {
        Verdict::Undecided
    }
}

impl Evidence {
    fn decide(&self, margin: f64, alpha: f64) -> Decision {
        let interval = self.interval(alpha);
        let verdict = if interval.low > margin {
            Verdict::Supported
        } else if interval.high <= margin {
            Verdict::Refuted
        } else {
            Verdict::Undecided
        };
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

    /// Distance from the margin in standard errors.
    fn distance(&self, margin: f64) -> f64 {
        let error = match self {
            Self::Replicates(_, replicates) => spread(replicates),
            Self::Tasks(_) | Self::Missing => return 0.0,
        };
        let distance = (self.effect() - margin).abs();
        if error > 0.0 { distance / error } else { f64::MAX }
    }

    fn interval(&self, alpha: f64) -> Interval {
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
        assert_eq!(verdicts(&[(even(-5.0, 1.0), 2.0)]), [Verdict::Refuted]);
        // An effect in the right direction that is too small to count.
        assert_eq!(verdicts(&[(even(1.0, 0.5), 2.0)]), [Verdict::Refuted]);
        assert_eq!(verdicts(&[(even(2.5, 1.0), 2.0)]), [Verdict::Undecided]);
        // A negative margin: not worse by more than that.
        assert_eq!(verdicts(&[(even(-0.5, 1.0), -2.0)]), [Verdict::Supported]);
        // Two arms that do the same are no different, whatever the margin.
        assert_eq!(verdicts(&[(even(0.0, 0.0), 0.0)]), [Verdict::Refuted]);
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
        assert_eq!(verdicts, [Verdict::Supported, Verdict::Supported, Verdict::Undecided, Verdict::Refuted]);
        assert_eq!((decisions[0].effect, decisions[0].interval), (13.0, Interval { low: 10.5, high: 20.0 }));
        assert!((decisions[1].alpha - 0.05).abs() < 1e-12 && decisions[0].p_value.is_nan());
    }

    #[test]
    fn a_claim_is_lost_where_the_rest_cannot_save_it() {
        use Verdict::{Refuted, Supported, Undecided};
        let (all, most) = (3, 2);
        assert_eq!(of_share(&[Supported, Supported, Supported], all), Supported);
        assert_eq!(of_share(&[Supported, Supported, Undecided], all), Undecided);
        assert_eq!(of_share(&[Supported, Supported, Undecided], most), Supported);
        assert_eq!(of_share(&[Supported, Supported, Refuted], all), Refuted);
        assert_eq!(of_share(&[Supported, Refuted, Undecided], most), Undecided);
        assert_eq!(of_share(&[Refuted, Refuted, Undecided], most), Refuted);
    }
}
