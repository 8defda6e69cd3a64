//! What is there and what is missing, as all processes on the folder left it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use records::code::Code;
use records::schema::Failure;

use super::groups::{Group, GroupedCohort};
use crate::plan::ExperimentPlan;
use crate::record::aside::Aside;
use crate::record::lease::{Lease, Taken};
use crate::record::parts::PartHead;
use crate::record::review;
use crate::record::store::{Store, StoreError, io};

/// Records and parts of a results folder, read again whenever something may have changed.
pub(super) struct Ledger<'a> {
    pub(super) store: &'a Store,
    pub(super) plan: &'a ExperimentPlan,
    pub(super) cohorts: &'a [GroupedCohort],
    /// Cells of the plan by id.
    cells: BTreeMap<&'a str, usize>,
    /// Code of the cells of the plan; none where any will do.
    codes: Option<BTreeMap<&'a str, &'a Code>>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Cells of the plan whose records were looked at, and all records of others.
    recorded: BTreeSet<String>,
    /// Heads by file name.
    parts: BTreeMap<String, PartHead>,
}

/// A group that this process runs.
pub(super) struct HeldGroup {
    pub(super) group: Group,
    /// Cells that lack it, as indices into the plan.
    pub(super) cells: Vec<usize>,
    /// Given back where this is dropped.
    pub(super) lease: Lease,
}

impl<'a> Ledger<'a> {
    /// `recorded`: cells whose records were found to be sound. `keep_other_code`: records and parts of other code are as good.
    pub(super) fn new(
        store: &'a Store,
        plan: &'a ExperimentPlan,
        cohorts: &'a [GroupedCohort],
        recorded: BTreeSet<String>,
        keep_other_code: bool,
    ) -> Result<Self, StoreError> {
        let cells = plan.cells.iter().enumerate().map(|(index, cell)| (cell.cell_id.as_str(), index)).collect();
        let codes = (!keep_other_code).then(|| review::codes(plan));
        let seen = Mutex::new(Seen { recorded, parts: BTreeMap::new() });
        let ledger = Self { store, plan, cohorts, cells, codes, seen };
        ledger.refresh()?;
        Ok(ledger)
    }

    /// Takes note of records that this process wrote.
    pub(super) fn wrote(&self, cell_id: &str) {
        self.seen().recorded.insert(cell_id.to_owned());
    }

    /// Looks at the folder again.
    pub(super) fn refresh(&self) -> Result<(), StoreError> {
        // Parts before records: a part goes away after its cells are recorded, so that nothing is ever in neither.
        let names = self.store.parts().names()?;
        let there = self.store.recorded()?;
        let mut seen = self.seen();
        let mut recorded = BTreeSet::new();
        for id in there {
            let known = seen.recorded.contains(&id);
            if known || self.accepts(&id)? {
                recorded.insert(id);
            }
        }
        let mut parts = BTreeMap::new();
        for name in names {
            let head = match seen.parts.remove(&name) {
                Some(head) => Some(head),
                None => self.head(&name)?,
            };
            parts.extend(head.map(|head| (name, head)));
        }
        *seen = Seen { recorded, parts };
        Ok(())
    }

    /// Whether a record that was not there before can be reused. What other plans recorded is theirs to look at.
    fn accepts(&self, id: &str) -> Result<bool, StoreError> {
        let Some(cell) = self.cells.get(id) else { return Ok(true) };
        self.store.accept(self.plan, &self.plan.cells[*cell], self.codes.is_none())
    }

    /// Head of a part that was not there before; none where it is gone, or damaged and moved away.
    fn head(&self, name: &str) -> Result<Option<PartHead>, StoreError> {
        let parts = self.store.parts();
        let head = match parts.head(name)? {
            None => return Ok(None),
            Some(Err(why)) => {
                parts.move_away(name, Aside::Damaged, &why)?;
                return Ok(None);
            }
            Some(Ok(head)) => head,
        };
        let now = |id: &str| self.codes.as_ref()?.get(id).copied();
        match head.other_code(now) {
            Some((code, now)) => {
                let how = code.against(now);
                Err(StoreError::MixedBuilds { path: format!("the part {name}"), how })
            }
            None => Ok(Some(head)),
        }
    }

    /// Whether a cell has its record.
    pub(super) fn is_recorded(&self, cell: usize) -> bool {
        self.seen().recorded.contains(&self.plan.cells[cell].cell_id)
    }

    /// Cells that have neither their record nor their part of this group.
    pub(super) fn missing(&self, group: Group) -> Vec<usize> {
        let seen = self.seen();
        let cohort = &self.cohorts[group.cohort];
        let parts: Vec<&PartHead> = seen.parts.values().filter(|part| is_of(part, cohort, group.index)).collect();
        let lacks = |cell: &usize| {
            let id = &self.plan.cells[*cell].cell_id;
            !seen.recorded.contains(id) && parts.iter().all(|part| !part.cells.contains(id))
        };
        cohort.planned.cells.iter().copied().filter(lacks).collect()
    }

    /// Takes a group, if nobody has it and some cell lacks it.
    pub(super) fn hold(&self, group: Group) -> Result<Option<HeldGroup>, StoreError> {
        let cohort = &self.cohorts[group.cohort];
        let leases = self.store.leases();
        let taken = leases.take(&cohort.lease(group.index), &cohort.describe(group.index));
        let Taken::Mine(lease) = taken.map_err(|error| io("write", leases.folder(), error))? else {
            return Ok(None);
        };
        // Only now: who held it before may have finished it since the last look.
        self.refresh()?;
        let cells = self.missing(group);
        Ok((!cells.is_empty()).then_some(HeldGroup { group, cells, lease }))
    }

    /// Names of the parts of a cohort's group that hold one of `cells`.
    pub(super) fn parts(&self, group: Group, cells: &BTreeSet<&str>) -> Vec<String> {
        let seen = self.seen();
        let cohort = &self.cohorts[group.cohort];
        let wanted = seen.parts.iter().filter(|(_, part)| {
            is_of(part, cohort, group.index) && part.cells.iter().any(|cell| cells.contains(cell.as_str()))
        });
        wanted.map(|(name, _)| name.clone()).collect()
    }

    /// Cells of a cohort that can be recorded: those whose groups are all there, and those of which a group failed and all before it
    /// are there, with the error of that group.
    pub(super) fn ready(&self, cohort: usize) -> Vec<(usize, Option<Failure>)> {
        let seen = self.seen();
        let facts = &self.cohorts[cohort];
        let own = |part: &&PartHead| part.cohort == facts.planned.cohort_id;
        let mut ready = Vec::new();
        for &cell in &facts.planned.cells {
            let id = &self.plan.cells[cell].cell_id;
            if seen.recorded.contains(id) {
                continue;
            }
            let mut groups: BTreeMap<usize, Option<Failure>> = BTreeMap::new();
            for part in seen.parts.values().filter(own).filter(|part| part.cells.contains(id)) {
                groups.insert(part.group, part.failure(id));
            }
            let there = (0..facts.spans.len()).map_while(|group| groups.remove(&group));
            let mut there = there.peekable();
            let mut count = 0;
            let mut failed = None;
            while let Some(error) = there.next().filter(|_| failed.is_none()) {
                count += 1;
                failed = error;
            }
            if failed.is_some() || count == facts.spans.len() {
                ready.push((cell, failed));
            }
        }
        ready
    }

    /// Cells of a cohort that failed in some group and have no record, with the error of the first such group that is there.
    pub(super) fn failing(&self, cohort: usize) -> BTreeMap<usize, Failure> {
        let seen = self.seen();
        let facts = &self.cohorts[cohort];
        let mut failing = BTreeMap::new();
        for part in seen.parts.values().filter(|part| part.cohort == facts.planned.cohort_id) {
            for &cell in &facts.planned.cells {
                let id = &self.plan.cells[cell].cell_id;
                if let Some(failure) = part.failure(id).filter(|_| !seen.recorded.contains(id)) {
                    failing.entry(cell).or_insert(failure);
                }
            }
        }
        failing
    }

    /// Removes the parts all of whose cells are recorded, of this plan or of another one.
    pub(super) fn tidy(&self) {
        let seen = self.seen();
        let useless = seen.parts.iter().filter(|(_, part)| part.cells.iter().all(|cell| seen.recorded.contains(cell)));
        for (name, _) in useless {
            self.store.parts().remove(name);
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_of(part: &PartHead, cohort: &GroupedCohort, group: usize) -> bool {
    part.group == group && part.cohort == cohort.planned.cohort_id
}
