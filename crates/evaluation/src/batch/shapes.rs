//! What an evaluation will execute, from counts alone: no weights, no model.
//!
//! How many tokens a rule keeps follows from how many arrive. So the lengths of all sequences in every layer, and the achieved FLOPs
//! reduction with them, are known from the items, the protocol, the sites and the keep ratio.

use std::collections::BTreeMap;

use reduction_strategies::{Rule, n_kept_of};

use super::layout::Layout;
use super::positions::token_pairs;
use super::unit::{Sequence, Unit};
use crate::score::Counts;

/// The lengths of all units of a layout.
#[derive(Clone, Debug)]
pub struct Shapes {
    /// Each shape once, with the number of units that have it.
    units: Vec<(Vec<Shape>, u64)>,
}

/// One sequence of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    tokens: usize,
    /// Of them, protected ones.
    protected: usize,
    /// Whether rules see it.
    reducible: bool,
    /// Index of the parent within the unit.
    parent: Option<usize>,
}

/// A keep ratio and what it achieves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Solution {
    /// Share of the arriving tokens kept at each site.
    pub keep_ratio: f64,
    /// Achieved FLOPs reduction, 0 to 1.
    pub achieved: f64,
}

impl Layout {
    /// Its lengths.
    #[must_use]
    pub fn shapes(&self) -> Shapes {
        let mut units: BTreeMap<Vec<Shape>, u64> = BTreeMap::new();
        for unit in &self.units {
            *units.entry(shape(unit)).or_default() += 1;
        }
        Shapes { units: units.into_iter().collect() }
    }
}

fn shape(unit: &Unit) -> Vec<Shape> {
    let of = |sequence: &Sequence| Shape {
        tokens: sequence.tokens.len(),
        protected: sequence.table.protected.iter().filter(|protected| **protected).count(),
        reducible: sequence.table.reducible,
        parent: sequence.parent,
    };
    unit.sequences.iter().map(of).collect()
}

/// Keep ratios are tried in millionths. A step that none of them meets is an accident of rounding, not a count that one could ask for.
const MILLION: u32 = 1_000_000;

impl Shapes {
    /// What a rule at these sites (ascending) leaves a model of `n_layer` layers to execute. A rule of free count may execute less: it
    /// is counted as if it kept every token.
    #[must_use]
    pub fn counts(&self, n_layer: usize, sites: &[usize], rule: &Rule, keep_ratio: f64) -> Counts {
        let mut counts = Counts::default();
        for (unit, number) in &self.units {
            let mut lengths: Vec<usize> = unit.iter().map(|shape| shape.tokens).collect();
            counts.tokens_in += number * sum(&lengths);
            let mut first = 0;
            for last in sites.iter().map(Some).chain([None]) {
                // Nothing changes between two sites; a site's own layer still has all that arrives.
                let end = last.map_or(n_layer, |site| site + 1);
                let times = number * (end - first) as u64;
                counts.token_layers += times * sum(&lengths);
                counts.token_pairs += times * token_pairs(lengths.iter().copied(), |index| unit[index].parent);
                if last.is_some() {
                    for (length, shape) in lengths.iter_mut().zip(unit).filter(|(_, shape)| shape.reducible) {
                        *length = n_kept_of(rule, keep_ratio, *length, shape.protected).unwrap_or(*length);
                    }
                }
                first = end;
            }
        }
        counts
    }

    /// The keep ratio, of six decimals at most, whose achieved FLOPs reduction is nearest to `target`; of two equally near ones the one
    /// that removes less.
    ///
    /// Counts are whole numbers, so that the achieved reduction is a step function of the ratio, and may be far from the target. Of the
    /// ratios of a step, the one with the fewest decimals is returned.
    #[must_use]
    pub fn solve(&self, n_layer: usize, sites: &[usize], rule: &Rule, target: f64) -> Solution {
        let achieved = |ratio: u32| self.counts(n_layer, sites, rule, millionths(ratio)).flops_reduction(n_layer);
        // The reduction falls as the ratio rises. The two steps between which the target is:
        let less = first(|ratio| achieved(ratio) <= target);
        let more = less.saturating_sub(1).max(1);
        let nearer = (achieved(more) - target).abs() < (achieved(less) - target).abs();
        let best = achieved(if nearer { more } else { less });
        // All ratios of the step that is nearer.
        let begin = first(|ratio| achieved(ratio) <= best);
        let end = if achieved(MILLION) < best { first(|ratio| achieved(ratio) < best) - 1 } else { MILLION };
        Solution { keep_ratio: millionths(plainest(begin, end)), achieved: best }
    }

    /// The largest achieved FLOPs reduction that any keep ratio gives.
    #[must_use]
    pub fn most(&self, n_layer: usize, sites: &[usize], rule: &Rule) -> f64 {
        self.counts(n_layer, sites, rule, millionths(1)).flops_reduction(n_layer)
    }
}

fn millionths(ratio: u32) -> f64 {
    f64::from(ratio) / f64::from(MILLION)
}

/// The first of the ratios for which something holds that holds for all larger ones; the last where it holds for none.
fn first(holds: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (1, MILLION);
    while low < high {
        let middle = u32::midpoint(low, high);
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    high
}

/// The ratio with the fewest decimals of a range; the largest of several.
fn plainest(begin: u32, end: u32) -> u32 {
    let rounded = (0..=6).map(|decimals| 10_u32.pow(6 - decimals)).map(|unit| end / unit * unit);
    rounded.into_iter().find(|ratio| *ratio >= begin).unwrap_or(end)
}

fn sum(lengths: &[usize]) -> u64 {
    lengths.iter().map(|length| *length as u64).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use reduction_strategies::registry::Strategy;

    use super::*;

    fn same(a: f64, b: f64) -> bool {
        a.to_bits() == b.to_bits()
    }

    fn rule(name: &str) -> Rule {
        Strategy::new(name, &BTreeMap::new()).unwrap().rule()
    }

    fn shapes(units: &[(usize, usize)]) -> Shapes {
        let unit = |(context, continuation): &(usize, usize)| {
            let root = Shape { tokens: *context, protected: 1, reducible: true, parent: None };
            let child = Shape { tokens: *continuation, protected: 0, reducible: false, parent: Some(0) };
            (vec![root, child], 1)
        };
        Shapes { units: units.iter().map(unit).collect() }
    }

    #[test]
    fn counts_by_hand() {
        // Ten tokens and a continuation of two, in four layers: after layer 1, five of nine and the protected one are kept.
        let counts = shapes(&[(10, 2)]).counts(4, &[1], &rule("drop_prefix"), 0.5);
        assert_eq!(counts.tokens_in, 12);
        assert_eq!(counts.token_layers, 2 * 12 + 2 * 8);
        let pairs = |context: u64| context * (context + 1) / 2 + 2 * context + 3;
        assert_eq!(counts.token_pairs, 2 * pairs(10) + 2 * pairs(6));
        assert!((counts.flops_reduction(4) - (1.0 - 40.0 / 48.0)).abs() < 1e-12);
    }

    #[test]
    fn the_nearest_step_is_found_and_has_a_plain_ratio() {
        let shapes = shapes(&[(41, 3), (67, 1), (90, 12)]);
        let (rule, sites) = (rule("random"), [3, 7, 11]);
        let achieved = |ratio: f64| shapes.counts(16, &sites, &rule, ratio).flops_reduction(16);
        let all: Vec<f64> = (1..=100_000).map(|i| achieved(f64::from(i) / 100_000.0)).collect();
        for target in [0.0, 0.03, 0.1, 0.2, 0.3, 0.4] {
            let Solution { keep_ratio, achieved: best } = shapes.solve(16, &sites, &rule, target);
            assert!(same(achieved(keep_ratio), best), "{target}");
            let nearest = all.iter().map(|value| (value - target).abs()).fold(f64::INFINITY, f64::min);
            // Ratios of five decimals do not meet every step.
            assert!((best - target).abs() < nearest + 1e-12, "{target}: {best}, {nearest}");
            assert!(keep_ratio.to_string().len() <= 8, "{keep_ratio}");
        }
        assert!(same(shapes.solve(16, &sites, &rule, 0.0).keep_ratio, 1.0));
        let out_of_reach = shapes.solve(16, &sites, &rule, 0.95);
        assert!(same(out_of_reach.achieved, shapes.most(16, &sites, &rule)) && out_of_reach.achieved < 0.8);
    }

    #[test]
    fn plain_ratios() {
        assert_eq!(plainest(851_200, 854_900), 854_000);
        assert_eq!(plainest(700_000, 1_000_000), 1_000_000);
        assert_eq!(plainest(250_000, 250_000), 250_000);
        assert_eq!(plainest(1, 3), 3);
    }
}
