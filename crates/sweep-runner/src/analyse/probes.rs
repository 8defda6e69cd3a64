//! Recorded probes with their statistics.

use std::collections::BTreeMap;
use std::path::Path;

use evaluation::probes::{Key, ProbeRow};
use rayon::prelude::*;

use super::error::AnalyseError;
use super::input::read_json;
use super::statistics::{Contributions, Estimate, ResampleBank, estimate, estimate_from_replicates};
use crate::record::probes::{PROBE_SCHEMA_VERSION, ProbeRecord, ProbeStore};
use crate::record::schema::{Aggregate, MetricRecord, Status};

/// Resamples per interval: a probe has thousands of rows, and no test hangs on them.
const RESAMPLES: usize = 2_000;

/// The probes of an experiment.
#[derive(Default)]
pub(crate) struct Probes {
    /// In the order of the plan.
    pub(crate) sets: Vec<ProbeSet>,
    /// Planned probes that are not on disk.
    pub(crate) unfinished: usize,
    banks: BTreeMap<String, ResampleBank>,
}

/// One recorded probe.
pub(crate) struct ProbeSet {
    pub(crate) record: ProbeRecord,
    /// One per row of the record.
    pub(crate) estimates: Vec<Estimate>,
}

/// Rows of several tasks taken together.
pub(crate) struct PooledRow {
    pub(crate) keys: Vec<Key>,
    pub(crate) measure: String,
    pub(crate) estimate: Estimate,
}

/// Rows that are taken together, with their tasks.
struct Pool<'a> {
    keys: Vec<Key>,
    measure: String,
    rows: Vec<(&'a str, &'a ProbeRow)>,
}

impl Probes {
    /// Reads what `probes.json` lists and computes its intervals.
    pub(crate) fn read(dir: &Path, seed: u64) -> Result<Self, AnalyseError> {
        let store = ProbeStore::at(dir);
        let ids: Vec<String> = read_json(store.index_path())?.unwrap_or_default();
        let records = ids.par_iter().map(|id| read_one(&store, id)).collect::<Result<Vec<_>, _>>()?;
        let unfinished = records.iter().filter(|record| record.is_none()).count();
        let records: Vec<ProbeRecord> = records.into_iter().flatten().collect();
        let banks: BTreeMap<String, ResampleBank> = records
            .iter()
            .map(|record| (record.task.clone(), ResampleBank::with_draws(seed, &record.task, RESAMPLES)))
            .collect();
        let sets = records.into_par_iter().map(|record| {
            let bank = &banks[&record.task];
            let estimates = record.rows.par_iter().map(|row| {
                let contributions = contributions(row);
                estimate(&contributions, &bank.of(contributions.len()), false).0
            });
            ProbeSet { estimates: estimates.collect(), record }
        });
        Ok(Self { sets: sets.collect(), unfinished, banks })
    }

    /// Rows of `sets` after `rename` of their keys, those of equal keys and measure taken together: the mean over tasks (and over whatever
    /// else the keys no longer tell apart), each counting the same. Rows that `rename` returns none for are left out. Items are
    /// resampled within each task, the same ones in all rows of a task.
    pub(crate) fn pooled(
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
                    order.push(Pool { keys, measure: row.measure.clone(), rows: Vec::new() });
                    order.len() - 1
                });
                order[index].rows.push((&set.record.task, row));
            }
        }
        let pool =
            |pool: Pool<'_>| PooledRow { estimate: self.pool(&pool.rows), keys: pool.keys, measure: pool.measure };
        order.into_par_iter().map(pool).collect()
    }

    fn pool(&self, rows: &[(&str, &ProbeRow)]) -> Estimate {
        if let [(task, row)] = rows {
            let contributions = contributions(row);
            return estimate(&contributions, &self.banks[*task].of(contributions.len()), false).0;
        }
        let (mut n, mut value, mut replicates) = (0, 0.0, vec![0.0; RESAMPLES]);
        for (task, row) in rows {
            let contributions = contributions(row);
            n += contributions.len();
            value += contributions.value() / rows.len() as f64;
            let own = contributions.replicates(&self.banks[*task].of(contributions.len()));
            for (sum, own) in replicates.iter_mut().zip(own) {
                *sum += own / rows.len() as f64;
            }
        }
        estimate_from_replicates(n, value, &replicates)
    }
}

fn read_one(store: &ProbeStore, id: &str) -> Result<Option<ProbeRecord>, AnalyseError> {
    let path = store.path(id);
    let Some(record) = read_json::<ProbeRecord>(&path)? else { return Ok(None) };
    if record.schema_version != PROBE_SCHEMA_VERSION {
        let (found, expected) = (record.schema_version, PROBE_SCHEMA_VERSION);
        return Err(AnalyseError::SchemaVersion { path, found, expected });
    }
    if record.rows.iter().any(|row| row.keys.len() != record.columns.len()) {
        let reason = "a row has not one key per column".to_owned();
        return Err(AnalyseError::Inconsistent { cell_id: record.probe_id, reason });
    }
    Ok(Some(record))
}

fn contributions(row: &ProbeRow) -> Contributions {
    let pairs = row.contributions.iter().map(|(_, sum, weight)| (*sum, *weight)).collect();
    let metric = MetricRecord { metric: String::new(), aggregate: Aggregate::Mean, contributions: pairs };
    Contributions::of_items(&metric, 0..row.contributions.len())
}

impl ProbeSet {
    /// Whether it finished.
    pub(crate) fn is_done(&self) -> bool {
        self.record.status == Status::Done
    }
}
