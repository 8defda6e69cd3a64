//! Recorded probes with their statistics.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rayon::prelude::*;
use records::check;
use records::claim::PlannedRows;
use records::each_once;
use records::probes::{Contribution, Key, ProbeRow};
use records::probes::{PROBE_SCHEMA_VERSION, ProbeRecord, index_path, record_path};
use records::schema::{Aggregate, MetricRecord, Status};

use super::error::AnalyseError;
use super::input::read_json;
use super::statistics::{
    self, Contributions, Estimate, ResampleBank, Rule, estimate, estimate_from_replicates, mean_of_shares,
};

/// Resamples per interval: a probe has thousands of rows. A claim that rests on some of them draws as many as any other.
const RESAMPLES: usize = 2_000;

/// The probes of an experiment.
#[derive(Default)]
pub struct Probes {
    /// In the order of the plan.
    pub sets: Vec<ProbeSet>,
    /// Planned probes that are not on disk.
    pub unfinished: usize,
    banks: BTreeMap<String, ResampleBank>,
    /// Of each probe and measure: rows of a measure are shown side by side.
    rules: Rules,
}

type Rules = BTreeMap<(String, String), Rule>;

/// One recorded probe.
pub struct ProbeSet {
    /// What the probe recorded.
    pub record: ProbeRecord,
    /// One per row of the record.
    pub estimates: Vec<Estimate>,
}

/// Rows of several tasks taken together.
pub struct PooledRow {
    /// The keys that the rows have in common.
    pub keys: Vec<Key>,
    /// Name of what is measured.
    pub measure: String,
    /// Mean over tasks, with its interval over items.
    pub estimate: Estimate,
}

/// The difference of two rows.
pub struct RowPairs {
    /// Items of all tasks that both rows have.
    pub n: usize,
    /// Items of the task that has fewest.
    pub fewest: usize,
    /// Higher minus lower.
    pub difference: f64,
    /// The same over the resamples of items.
    pub replicates: Vec<f64>,
}

/// Rows that are taken together, with their tasks.
struct Pool<'a> {
    rule: Rule,
    keys: Vec<Key>,
    measure: String,
    rows: Vec<(&'a str, &'a ProbeRow)>,
}

impl Probes {
    /// Reads what `probes.json` lists and computes its intervals.
    ///
    /// # Errors
    /// A file that cannot be read, or is no record of a probe.
    pub fn read(dir: &Path, seed: u64) -> Result<Self, AnalyseError> {
        let ids: Vec<String> = read_json(&index_path(dir))?.unwrap_or_default();
        let records: Vec<_> = ids.par_iter().map(|id| read_one(dir, id)).collect();
        let records = records.into_iter().collect::<Result<Vec<_>, _>>()?;
        let unfinished = records.iter().filter(|record| record.is_none()).count();
        let records: Vec<ProbeRecord> = records.into_iter().flatten().collect();
        let banks: BTreeMap<String, ResampleBank> = records
            .iter()
            .map(|record| (record.task.clone(), ResampleBank::with_draws(seed, &record.task, RESAMPLES)))
            .collect();
        let rules = rules(&records);
        let sets = records.into_par_iter().map(|record| {
            let bank = &banks[&record.task];
            let estimates = record.rows.par_iter().map(|row| {
                let contributions = contributions(&row.contributions);
                let rule = rules[&(record.probe.clone(), row.measure.clone())];
                estimate(&contributions, &bank.of(contributions.len()), rule, false).0
            });
            ProbeSet { estimates: estimates.collect(), record }
        });
        Ok(Self { sets: sets.collect(), unfinished, banks, rules })
    }

    /// Rows of `sets` after `rename` of their keys, those of equal keys and measure taken together: the mean over tasks (and over whatever
    /// else the keys no longer tell apart), each counting the same. Rows that `rename` returns none for are left out. Items are
    /// resampled within each task, the same ones in all rows of a task.
    pub fn pooled(
        &self,
        sets: &[&ProbeSet],
        rename: impl Fn(&ProbeSet, &ProbeRow) -> Option<Vec<Key>>,
    ) -> Vec<PooledRow> {
        let mut order: Vec<Pool<'_>> = Vec::new();
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        for set in sets {
            for row in &set.record.rows {
                let Some(keys) = rename(set, row) else { continue };
                let name = format!("{} {keys:?}", row.measure);
                let index = *known.entry(name).or_insert_with(|| {
                    let rule = self.rules[&(set.record.probe.clone(), row.measure.clone())];
                    order.push(Pool { rule, keys, measure: row.measure.clone(), rows: Vec::new() });
                    order.len() - 1
                });
                order[index].rows.push((&set.record.task, row));
            }
        }
        let pool = |pool: Pool<'_>| PooledRow {
            estimate: self.pool(&pool.rows, pool.rule),
            keys: pool.keys,
            measure: pool.measure,
        };
        order.into_par_iter().map(pool).collect()
    }

    /// What two rows of a probe differ by on the items that both have: the mean over tasks, each counting the same.
    ///
    /// # Errors
    /// A task without a finished record, or without one of the rows, in words.
    pub fn pairs(&self, model: &str, tasks: &[String], rows: &PlannedRows, seed: u64) -> Result<RowPairs, String> {
        let mut pairs =
            RowPairs { n: 0, fewest: usize::MAX, difference: 0.0, replicates: vec![0.0; statistics::RESAMPLES] };
        let share = 1.0 / tasks.len() as f64;
        for task in tasks {
            let of_task = |set: &&ProbeSet| {
                let record = &set.record;
                record.probe == rows.probe && record.model == model && record.task == *task && set.is_done()
            };
            let mut sets = self.sets.iter().filter(of_task);
            let set = sets.next().ok_or_else(|| format!("`{}` did not finish on {task}", rows.probe))?;
            if sets.next().is_some() {
                return Err(format!(
                    "`{}` looked at {task} more than once, and nothing says which is meant",
                    rows.probe
                ));
            }
            let row = |keys: &[Key]| {
                let found = set.record.rows.iter().find(|row| row.measure == rows.measure && row.keys == keys);
                found.ok_or_else(|| no_row(&set.record, &rows.measure, keys, task))
            };
            let (low, high) = (row(&rows.lower)?, row(&rows.higher)?);
            let items = common_items(low, high);
            if items.is_empty() {
                return Err(format!("no item of {task} has both rows"));
            }
            let bank = ResampleBank::new(seed, task).of(items.len());
            let side = |row: &ProbeRow| {
                let kept = row.contributions.iter().filter(|(item, ..)| items.contains(item));
                contributions(&kept.copied().collect::<Vec<_>>())
            };
            let (low, high) = (side(low), side(high));
            pairs.n += items.len();
            pairs.fewest = pairs.fewest.min(items.len());
            pairs.difference += share * (high.value() - low.value());
            let both = high.replicates(&bank).into_iter().zip(low.replicates(&bank));
            for (sum, (high, low)) in pairs.replicates.iter_mut().zip(both) {
                *sum += share * (high - low);
            }
        }
        Ok(pairs)
    }

    fn pool(&self, rows: &[(&str, &ProbeRow)], rule: Rule) -> Estimate {
        let (mut parts, mut replicates) = (Vec::new(), vec![0.0; RESAMPLES]);
        for (task, row) in rows {
            let contributions = contributions(&row.contributions);
            let resamples = self.banks[*task].of(contributions.len());
            let (part, own) = estimate(&contributions, &resamples, rule, rows.len() > 1);
            parts.push(part);
            for (sum, own) in replicates.iter_mut().zip(own) {
                *sum += own / rows.len() as f64;
            }
        }
        match (parts.as_slice(), rule) {
            ([part], _) => *part,
            (_, Rule::Share) => mean_of_shares(&parts, &replicates),
            (_, Rule::Bootstrap) => {
                let value = parts.iter().map(|part| part.value / rows.len() as f64).sum();
                estimate_from_replicates(parts.iter().map(|part| part.n).sum(), value, &replicates)
            }
        }
    }
}

fn rules(records: &[ProbeRecord]) -> Rules {
    let mut rules = Rules::new();
    for record in records {
        for row in &record.rows {
            let own = Rule::of([&contributions(&row.contributions)]);
            let rule = rules.entry((record.probe.clone(), row.measure.clone())).or_insert(Rule::Share);
            // One row that is no share, and no row of the measure is treated as one.
            if own == Rule::Bootstrap {
                *rule = own;
            }
        }
    }
    rules
}

fn read_one(dir: &Path, id: &str) -> Result<Option<ProbeRecord>, AnalyseError> {
    let path = record_path(dir, id);
    let Some(record) = read_json::<ProbeRecord>(&path)? else { return Ok(None) };
    if record.schema_version != PROBE_SCHEMA_VERSION {
        let (found, expected) = (record.schema_version, PROBE_SCHEMA_VERSION);
        return Err(AnalyseError::SchemaVersion { path, found, expected });
    }
    check::probe(&record, id).map_err(|reason| AnalyseError::Inconsistent { path, reason })?;
    Ok(Some(record))
}

fn contributions(of_items: &[Contribution]) -> Contributions {
    let pairs = of_items.iter().map(|(_, sum, weight)| (*sum, *weight)).collect();
    let metric = MetricRecord { metric: String::new(), aggregate: Aggregate::Mean, contributions: pairs };
    Contributions::of_items(&metric, 0..of_items.len())
}

/// That a probe has no row of such keys, and which values there are in the columns where none fits.
fn no_row(record: &ProbeRecord, measure: &str, keys: &[Key], task: &str) -> String {
    let unknown = record.columns.iter().zip(keys).enumerate().filter_map(|(column, (name, key))| {
        let of_measure = record.rows.iter().filter(|row| row.measure == measure);
        let known = each_once(of_measure.map(|row| row.keys[column].to_string()));
        let is_unknown = !known.contains(&key.to_string());
        is_unknown.then(|| format!("{name} {key} (there are {})", known.join(", ")))
    });
    let unknown: Vec<String> = unknown.collect();
    let asked = record.columns.iter().zip(keys).map(|(name, key)| format!("{name} {key}")).collect::<Vec<_>>();
    let asked = if unknown.is_empty() { asked.join(", ") } else { unknown.join(", ") };
    format!("`{}` has no row of `{measure}` on {task} with {asked}", record.probe)
}

/// Items that both rows observed, ascending.
fn common_items(a: &ProbeRow, b: &ProbeRow) -> BTreeSet<u32> {
    let items = |row: &ProbeRow| row.contributions.iter().map(|(item, ..)| *item).collect::<BTreeSet<u32>>();
    items(a).intersection(&items(b)).copied().collect()
}

impl ProbeSet {
    /// Whether it finished.
    pub fn is_done(&self) -> bool {
        self.record.status == Status::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(distance: u64, contributions: &[(u32, f64)]) -> ProbeRow {
        ProbeRow {
            keys: vec![Key::Whole(distance)],
            measure: "divergence".to_owned(),
            contributions: contributions.iter().map(|(item, value)| (*item, *value, 1.0)).collect(),
        }
    }

    fn probes(rows: Vec<ProbeRow>) -> Probes {
        let record = ProbeRecord {
            schema_version: PROBE_SCHEMA_VERSION,
            probe_id: "p".to_owned(),
            code: records::code::Code::default(),
            probe: "state_divergence".to_owned(),
            options: "{}".to_owned(),
            model: "m".to_owned(),
            task: "t".to_owned(),
            trial: None,
            items: 4,
            status: Status::Done,
            error: None,
            hint: None,
            wall_s: 0.0,
            columns: vec!["distance".to_owned()],
            rows,
        };
        Probes { sets: vec![ProbeSet { record, estimates: Vec::new() }], ..Probes::default() }
    }

    fn planned(lower: u64, higher: u64) -> PlannedRows {
        PlannedRows {
            probe: "state_divergence".to_owned(),
            measure: "divergence".to_owned(),
            lower: vec![Key::Whole(lower)],
            higher: vec![Key::Whole(higher)],
        }
    }

    #[test]
    fn rows_are_paired_over_the_items_that_both_have() {
        // Item 0 is near the end, where nothing is 32 tokens away.
        let probes = probes(vec![
            row(2, &[(0, 0.9), (1, 0.3), (2, 0.5)]),
            row(32, &[(1, 0.1), (2, 0.3), (3, 0.8)]),
            row(64, &[(3, 0.8)]),
        ]);
        let tasks = ["t".to_owned()];
        let pairs = probes.pairs("m", &tasks, &planned(2, 32), 7).unwrap();
        assert_eq!((pairs.n, pairs.replicates.len()), (2, statistics::RESAMPLES));
        assert!((pairs.difference + 0.2).abs() < 1e-12);
        // Both items differ by the same: so does every resample.
        assert!(pairs.replicates.iter().all(|replicate| (replicate + 0.2).abs() < 1e-12));
        let refused = |task: &str, rows: &PlannedRows| probes.pairs("m", &[task.to_owned()], rows, 7).err().unwrap();
        assert_eq!(refused("t", &planned(2, 64)), "no item of t has both rows");
        assert!(refused("t", &planned(2, 8)).contains("no row"));
        assert!(refused("u", &planned(2, 32)).contains("did not finish on u"));
        // Two records that the claim could mean.
        let mut both = probes;
        both.sets.push(ProbeSet { record: both.sets[0].record.clone(), estimates: Vec::new() });
        let refused = both.pairs("m", &tasks, &planned(2, 32), 7).err().unwrap();
        assert!(refused.contains("looked at t more than once"), "{refused}");
    }

    #[test]
    fn rows_and_items_that_occur_twice_are_found() {
        let found = |rows: Vec<ProbeRow>| {
            let record = &probes(rows).sets[0].record;
            check::probe(record, &record.probe_id).err()
        };
        assert_eq!(found(vec![row(2, &[(0, 0.9), (2, 0.3)]), row(4, &[(0, 0.9)])]), None);
        assert!(found(vec![row(2, &[(0, 0.9)]), row(2, &[(1, 0.9)])]).unwrap().starts_with("two of its rows are "));
        assert!(found(vec![row(2, &[(1, 0.9), (1, 0.3)])]).unwrap().contains("out of place"));
        assert!(found(vec![row(2, &[(1, 0.9), (0, 0.3)])]).unwrap().contains("out of place"));
    }
}
