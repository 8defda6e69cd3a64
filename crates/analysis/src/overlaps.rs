//! How much the plans of different trials agree.

use std::collections::BTreeMap;

use records::schema::{CellRecord, FIRST_PLANS};

use super::arms::pooling_key;
use super::statistics::{ChanceOverlap, jaccard};
use super::study::Study;

/// Agreement of two trials at one site of one task, averaged over the items that both recorded.
pub(crate) struct Overlap {
    pub trial_id: String,
    pub other_trial_id: String,
    pub task: String,
    pub site: usize,
    pub jaccard: f64,
    /// Mean overlap of independent random subsets with the sizes of these.
    pub expected_by_chance: f64,
    /// Whether the trials are two seeds of one arm.
    pub same_arm: bool,
}

/// Mean overlap of one trial with the other arms, by `(trial_id, task, site)`.
pub(crate) type MeanOverlaps = BTreeMap<(String, String, usize), f64>;

/// Kept positions by `(site, item id)`, with the length of the sequence.
type Kept<'a> = BTreeMap<(usize, &'a str), (&'a [u32], usize)>;

/// Every pair of trials of one model, protocol, task, schedule and nominal reduction, each once, in plan order.
pub(crate) fn overlaps(study: &Study) -> Vec<Overlap> {
    let mut groups: BTreeMap<String, Vec<&CellRecord>> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    for cell in study.cells.iter().filter(|cell| cell.is_done() && !cell.record.plans.is_empty()) {
        let trial = &cell.record.trial;
        // Of free counts those belong together that were calibrated for the same.
        let nominal = trial.flops_reduction_nominal;
        let reduction = (nominal, trial.flops_reduction_asked.filter(|_| nominal.is_none()));
        let key = format!("{:?}", (&trial.model, &trial.protocol, &cell.record.task, &trial.schedule, reduction));
        if !groups.contains_key(&key) {
            order.push(key.clone());
        }
        groups.entry(key).or_default().push(&cell.record);
    }
    let mut chance = ChanceOverlap::default();
    let mut all = Vec::new();
    for key in order {
        let group = &groups[&key];
        let kept: Vec<Kept> = group.iter().map(|cell| kept_sets(cell)).collect();
        let arms: Vec<String> = group.iter().map(|cell| pooling_key(&cell.trial)).collect();
        for (i, a) in group.iter().enumerate() {
            for (j, b) in group.iter().enumerate().skip(i + 1) {
                for (site, observed, expected) in compare(&kept[i], &kept[j], &mut chance) {
                    all.push(Overlap {
                        trial_id: a.trial.trial_id.clone(),
                        other_trial_id: b.trial.trial_id.clone(),
                        task: a.task.clone(),
                        site,
                        jaccard: observed,
                        expected_by_chance: expected,
                        same_arm: arms[i] == arms[j],
                    });
                }
            }
        }
    }
    all
}

/// Mean over the other arms; two seeds of one arm are not "another strategy".
pub(crate) fn mean_overlaps(overlaps: &[Overlap]) -> MeanOverlaps {
    let mut sums: BTreeMap<(String, String, usize), (f64, f64)> = BTreeMap::new();
    for overlap in overlaps.iter().filter(|overlap| !overlap.same_arm) {
        for trial in [&overlap.trial_id, &overlap.other_trial_id] {
            let sum = sums.entry((trial.clone(), overlap.task.clone(), overlap.site)).or_default();
            sum.0 += overlap.jaccard;
            sum.1 += 1.0;
        }
    }
    sums.into_iter().map(|(key, (sum, count))| (key, sum / count)).collect()
}

fn kept_sets(cell: &CellRecord) -> Kept<'_> {
    let lengths: BTreeMap<usize, usize> = cell.plan_items.iter().map(|plan| (plan.item, plan.tokens.len())).collect();
    // The same items of every cell, whatever was recorded besides: those that a rule loses are no fair sample.
    cell.plans
        .iter()
        .filter(|plan| plan.item < FIRST_PLANS)
        .map(|plan| {
            // Without recorded tokens the arriving positions bound the length from below.
            let arriving = plan.kept.len() + plan.dropped.len() + plan.merged.len();
            let length = lengths.get(&plan.item).copied().unwrap_or(arriving);
            ((plan.site, cell.items[plan.item].item_id.as_str()), (plan.kept.as_slice(), length))
        })
        .collect()
}

fn compare(a: &Kept, b: &Kept, chance: &mut ChanceOverlap) -> Vec<(usize, f64, f64)> {
    let mut by_site: BTreeMap<usize, (f64, f64, f64)> = BTreeMap::new();
    for (key, (kept, length)) in a {
        let Some((other, other_length)) = b.get(key) else {
            continue;
        };
        let sums = by_site.entry(key.0).or_default();
        sums.0 += jaccard(kept, other);
        sums.1 += chance.expected(*length.max(other_length), kept.len(), other.len());
        sums.2 += 1.0;
    }
    by_site.into_iter().map(|(site, (observed, expected, n))| (site, observed / n, expected / n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlap(a: &str, b: &str, jaccard: f64, same_arm: bool) -> Overlap {
        Overlap {
            trial_id: a.to_owned(),
            other_trial_id: b.to_owned(),
            task: "t".to_owned(),
            site: 3,
            jaccard,
            expected_by_chance: 0.0,
            same_arm,
        }
    }

    #[test]
    fn another_seed_is_not_another_strategy() {
        let pairs = [overlap("a", "b", 0.5, false), overlap("a", "c", 0.7, false), overlap("b", "c", 0.1, true)];
        let means = mean_overlaps(&pairs);
        let of = |trial: &str| means[&(trial.to_owned(), "t".to_owned(), 3)];
        assert!((of("a") - 0.6).abs() < 1e-12);
        assert!((of("b") - 0.5).abs() < 1e-12 && (of("c") - 0.7).abs() < 1e-12);
    }

    #[test]
    fn plans_are_compared_site_by_site_over_common_items() {
        let (first, second, third) = ([0, 1, 2, 3], [0, 1], [1, 2]);
        let a: Kept = [((3, "x"), (&first[..], 4)), ((5, "x"), (&second[..], 4))].into();
        let b: Kept = [((3, "x"), (&first[..], 4)), ((5, "x"), (&third[..], 4)), ((5, "y"), (&third[..], 4))].into();
        let compared = compare(&a, &b, &mut ChanceOverlap::default());
        assert_eq!(compared.len(), 2);
        assert!((compared[0].1 - 1.0).abs() < 1e-12 && (compared[0].2 - 1.0).abs() < 1e-12);
        // One common token of three; by chance 1/6 * 1 + 4/6 * 1/3.
        assert!((compared[1].1 - 1.0 / 3.0).abs() < 1e-12);
        assert!((compared[1].2 - (1.0 / 6.0 + 2.0 / 9.0)).abs() < 1e-12);
    }
}
