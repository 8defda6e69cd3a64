//! How much the plans of different trials agree.

use std::collections::BTreeMap;

use super::arms::pooling_key;
use super::statistics::{ChanceOverlap, jaccard};
use super::study::Study;
use crate::record::schema::CellRecord;

/// Agreement of two trials at one site of one task, averaged over the items that both recorded.
pub(crate) struct Overlap {
    pub(crate) trial_id: String,
    pub(crate) other_trial_id: String,
    pub(crate) task: String,
    pub(crate) site: usize,
    pub(crate) jaccard: f64,
    /// Mean overlap of independent random subsets with the sizes of these.
    pub(crate) expected_by_chance: f64,
    /// Whether the trials are two seeds of one arm.
    pub(crate) same_arm: bool,
}

/// Mean overlap of one trial with the other arms, by `(trial_id, task, site)`.
pub(crate) type MeanOverlaps = BTreeMap<(String, String, usize), f64>;

/// Kept positions by `(site, item id)`, with the length of the sequence.
type Kept<'a> = BTreeMap<(usize, &'a str), (&'a [u32], usize)>;

/// Every pair of trials of one model, protocol, task, schedule and nominal reduction, each once, in plan order.
pub(crate) fn overlaps(study: &Study) -> Vec<Overlap> {
    let mut groups: BTreeMap<String, Vec<&CellRecord>> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    for cell in study
        .cells
        .iter()
        .filter(|cell| cell.is_done() && !cell.record.plans.is_empty())
    {
        let trial = &cell.record.trial;
        let key = format!(
            "{:?}",
            (
                &trial.model,
                &trial.protocol,
                &cell.record.task,
                &trial.schedule,
                trial.flops_reduction_nominal
            )
        );
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
            let sum = sums
                .entry((trial.clone(), overlap.task.clone(), overlap.site))
                .or_default();
            sum.0 += overlap.jaccard;
            sum.1 += 1.0;
        }
    }
    sums.into_iter()
        .map(|(key, (sum, count))| (key, sum / count))
        .collect()
}

fn kept_sets(cell: &CellRecord) -> Kept<'_> {
    let lengths: BTreeMap<usize, usize> = cell
        .plan_items
        .iter()
        .map(|plan| (plan.item, plan.tokens.len()))
        .collect();
    cell.plans
        .iter()
        .map(|plan| {
            // Without recorded tokens the arriving positions bound the length from below.
            let arriving = plan.kept.len() + plan.dropped.len() + plan.merged.len();
            let length = lengths.get(&plan.item).copied().unwrap_or(arriving);
            (
                (plan.site, cell.items[plan.item].item_id.as_str()),
                (plan.kept.as_slice(), length),
            )
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
    by_site
        .into_iter()
        .map(|(site, (observed, expected, n))| (site, observed / n, expected / n))
        .collect()
}
