//! How far an experiment is, from its results folder alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rayon::prelude::*;
use records::check;
use records::owner::Owner;
use records::plan::{Cohort, PlanIndex};
use records::schema::{CellRecord, Failure, Status as Ending};
use records::task_items::{self, TaskItems};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::aside::{self, Aside};
use super::lease::{Found, SILENCE};
use super::manifest::{Contribution, SharingRecord};
use super::parts::PartHead;
use super::store::{Store, StoreError, damaged, io};

/// How far an experiment is.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Its name.
    pub experiment: String,
    /// Models, in the order of the plan.
    pub models: Vec<ModelStatus>,
    /// Cells that failed, with their errors, by cell id.
    pub failures: BTreeMap<String, Failure>,
    /// Files that are damaged, with what is wrong; the next run moves them away and makes their content again.
    pub damaged: BTreeMap<String, String>,
    /// What processes are running.
    pub leases: Vec<LeaseStatus>,
    /// Processes that took part so far.
    pub processes: usize,
    /// Those of them that stopped before their work was done, in the order in which they began.
    pub stopped: Vec<Stopped>,
    /// What sharing saved so far.
    pub sharing: SharingRecord,
}

/// A process that stopped before its work was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stopped {
    /// Its machine.
    pub host: String,
    /// Its number there.
    pub pid: u32,
    /// Why it stopped.
    pub why: String,
}

/// How far a model is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModelStatus {
    /// Reference.
    pub model: String,
    /// Planned cells.
    pub cells: usize,
    /// Of them, those that are done.
    pub done: usize,
    /// Those that failed.
    pub failed: usize,
    /// Those that have no record.
    pub missing: usize,
    /// Groups that no cell lacks.
    pub groups_done: usize,
    /// All groups; none where no run has counted them yet.
    pub groups: Option<usize>,
}

/// A lease.
#[derive(Clone, Debug, Serialize)]
pub struct LeaseStatus {
    /// What is run, in words.
    pub work: String,
    /// Machine and process id of the holder.
    pub holder: Option<(String, u32)>,
    /// Seconds since it was taken, by the clocks of the two machines.
    pub held_s: u64,
    /// Seconds since the last sign of life.
    pub silent_s: u64,
    /// Whether the next run takes it over.
    pub stale: bool,
}

/// More groups than the items of any task make: a task has at most 500,000 rows.
const MOST_GROUPS: usize = 1_000_000;

/// How a cell ended.
type Ended = (Ending, Failure);

/// Looks at a results folder; none where it has no plan.
///
/// # Errors
/// A file that cannot be read or is damaged.
pub fn read(folder: &Path) -> Result<Option<Status>, StoreError> {
    let Some(plan) = json::<PlanIndex>(&folder.join("plan.json"))? else { return Ok(None) };
    let mut damaged = BTreeMap::new();
    let mut groups: BTreeMap<String, usize> = whole(&folder.join("groups.json"), &mut damaged)?.unwrap_or_default();
    if let Some((cohort, count)) = groups.iter().find(|(_, count)| **count > MOST_GROUPS) {
        let why = format!("cohort {cohort} has {count} groups");
        damaged.insert(folder.join("groups.json").display().to_string(), why);
        groups.clear();
    }
    let store = Store::at(folder);
    let mut parts: Vec<PartHead> = Vec::new();
    for name in if_there(store.parts().names())? {
        match store.parts().head(&name)? {
            Some(Ok(head)) => parts.push(head),
            Some(Err(why)) => drop(damaged.insert(folder.join("parts").join(name).display().to_string(), why)),
            None => {}
        }
    }
    if let Err(why) = store.look_at_guards()? {
        damaged.insert(folder.join("guards.json").display().to_string(), why);
    }
    for cohort in &plan.cohorts {
        let path = task_items::path(folder, &cohort.cohort_id);
        if let Some(items) = whole::<TaskItems>(&path, &mut damaged)?
            && let Err(why) = items.check(&cohort.model, &cohort.task)
        {
            damaged.insert(path.display().to_string(), why);
        }
    }
    let mut cohort_of: Vec<Option<&Cohort>> = vec![None; plan.cells.len()];
    for cohort in &plan.cohorts {
        for cell in &cohort.cells {
            // A cell beyond the list is nobody's.
            if let Some(place) = cohort_of.get_mut(*cell) {
                *place = Some(cohort);
            }
        }
    }
    let look = |(id, cohort): (&String, Option<&Cohort>)| {
        Ok(store.look(id)?.map(|look| look.and_then(|record| ended(&record, cohort))))
    };
    let looks = plan.cells.par_iter().zip(cohort_of).map(look);
    let looks: Vec<Option<Result<Ended, String>>> = looks.collect::<Result<_, StoreError>>()?;
    let mut models: Vec<ModelStatus> = Vec::new();
    let mut failures = BTreeMap::new();
    for cohort in &plan.cohorts {
        if models.last().is_none_or(|last| last.model != cohort.model) {
            models.push(ModelStatus { model: cohort.model.clone(), groups: Some(0), ..ModelStatus::default() });
        }
        let Some(model) = models.last_mut() else { continue };
        let mut unrecorded = BTreeSet::new();
        for (id, look) in cohort.cells.iter().filter_map(|cell| Some((plan.cells.get(*cell)?, looks.get(*cell)?))) {
            model.cells += 1;
            match look {
                Some(Ok((Ending::Done, _))) => model.done += 1,
                Some(Ok((Ending::Failed, failure))) => {
                    model.failed += 1;
                    failures.insert(id.clone(), failure.clone());
                }
                look => {
                    model.missing += 1;
                    unrecorded.insert(id.as_str());
                    if let Some(Err(why)) = look {
                        damaged.insert(store.cell_path(id).display().to_string(), why.clone());
                    }
                }
            }
        }
        let count = groups.get(&cohort.cohort_id).copied();
        model.groups = model.groups.zip(count).map(|(all, own)| all + own);
        let done = |group: &usize| {
            let there = parts.iter().filter(|part| part.cohort == cohort.cohort_id && part.group == *group);
            let there: BTreeSet<&str> = there.flat_map(|part| part.cells.iter().map(String::as_str)).collect();
            unrecorded.is_subset(&there)
        };
        model.groups_done += (0..count.unwrap_or(0)).filter(done).count();
    }
    let (mut processes, mut sharing, mut stopped) = (0, SharingRecord::default(), Vec::new());
    for path in manifests(folder)? {
        let Some(contribution) = whole::<Contribution>(&path, &mut damaged)? else { continue };
        processes += 1;
        let Contribution { host, pid, .. } = contribution;
        stopped.extend(contribution.stopped.map(|why| Stopped { host, pid, why }));
        sharing += contribution.sharing.unwrap_or_default();
    }
    let leases = match store.leases().list(None) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        leases => leases.map_err(|error| io("read", store.leases().folder(), error))?,
    };
    let leases = leases.iter().map(lease).collect();
    Ok(Some(Status { experiment: plan.experiment, models, failures, damaged, leases, processes, stopped, sharing }))
}

fn lease(found: &Found) -> LeaseStatus {
    let silent_s = SystemTime::now().duration_since(found.beat).map_or(0, |silence| silence.as_secs());
    let Some(record) = &found.record else {
        let (work, holder, held_s) = ("something that is just beginning".to_owned(), None, silent_s);
        return LeaseStatus { work, holder, held_s, silent_s, stale: silent_s > SILENCE.as_secs() };
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let stale = found.seems_stale(Owner::me());
    LeaseStatus {
        work: record.work.clone(),
        holder: Some((record.owner.host.clone(), record.owner.pid)),
        held_s: now.saturating_sub(record.since_unix_s),
        silent_s,
        stale,
    }
}

/// Moves files away that say how far an experiment is and are damaged; they hold nothing that a result depends on.
///
/// # Errors
/// A file can neither be read nor moved.
pub(super) fn move_damaged(folder: &Path) -> Result<(), StoreError> {
    let mut damaged = BTreeMap::new();
    let groups = folder.join("groups.json");
    whole::<BTreeMap<String, usize>>(&groups, &mut damaged)?;
    if let Some(why) = damaged.remove(&groups.display().to_string()) {
        aside::move_away(folder, &groups, Aside::Damaged, &why)?;
    }
    for path in manifests(folder)? {
        whole::<Contribution>(&path, &mut damaged)?;
        if let Some(why) = damaged.remove(&path.display().to_string()) {
            aside::move_away(folder, &path, Aside::Damaged, &why)?;
        }
    }
    Ok(())
}

/// Manifests of all processes, in the order in which they began.
fn manifests(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let folder = folder.join("manifests");
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| io("read", &folder, error))?,
    };
    let paths: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(|error| io("read", &folder, error))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    // Their names begin with the times at which they began.
    paths.sort();
    Ok(paths)
}

fn ended(record: &CellRecord, cohort: Option<&Cohort>) -> Result<Ended, String> {
    cohort.map_or(Ok(()), |cohort| check::of_cohort(record, cohort))?;
    Ok((record.status, record.failure()))
}

/// Folders of earlier versions have no parts.
fn if_there(names: Result<Vec<String>, StoreError>) -> Result<Vec<String>, StoreError> {
    match names {
        Err(StoreError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names,
    }
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let text = aside::read_if_there(path)?;
    text.map(|text| serde_json::from_slice(&text).map_err(|error| damaged(path, error))).transpose()
}

/// As [`json`], with a damaged file among the damaged ones.
fn whole<T: DeserializeOwned>(path: &Path, all: &mut BTreeMap<String, String>) -> Result<Option<T>, StoreError> {
    match json(path) {
        Err(StoreError::Damaged { path, error }) => {
            all.insert(path, error);
            Ok(None)
        }
        read => read,
    }
}
