//! What of a results folder a run may build on: records that are whole, that answer what the plan asks, and that this program's code made.
//! The rest is moved out of the way and made again.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use rayon::prelude::*;
use records::check;
use records::code::Code;
use records::schema::{CellRecord, Status};
use tracing::warn;

use super::aside::{self, Aside};
use super::lease::{Lease, Taken};
use super::store::{Store, StoreError, io};
use crate::plan::{Cell, ExperimentPlan};

/// The lease of whoever moves files away: a record that somebody else made in the meantime must not be taken for the old one.
const LEASE: &str = "aside";
/// Damaged records that are named one by one.
const NAMED: usize = 10;

/// What is to be thought of a record.
enum Verdict {
    /// There is none.
    Absent,
    /// It can be reused.
    Sound(Status),
    /// The same, once it says what the plan says of model, schedule and experiment.
    Relabel(Box<CellRecord>),
    /// It was made by other code.
    OtherCode(Code),
    /// It is not what its name says, or its numbers cannot be.
    Damaged(String),
}

impl Store {
    /// How each cell of a plan ended in earlier runs, from what can be reused. The rest is moved away and said: damaged records, and, unless
    /// `keep_other_code`, records and parts of other code.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn review(&self, plan: &ExperimentPlan, keep_other_code: bool) -> Result<Vec<Option<Status>>, StoreError> {
        let judge = |cell: &Cell| self.judge(plan, cell, keep_other_code);
        let verdicts: Vec<_> = plan.cells.par_iter().map(judge).collect();
        let mut verdicts = verdicts.into_iter().collect::<Result<Vec<_>, _>>()?;
        let is_open = |verdict: &Verdict| !matches!(verdict, Verdict::Absent | Verdict::Sound(_));
        if verdicts.iter().any(is_open) {
            let _lease = self.hold(LEASE, "moving records away that cannot be used")?;
            let mut other_code: BTreeMap<(&str, &str), usize> = BTreeMap::new();
            let (mut relabelled, mut damaged) = (Vec::new(), 0);
            for (cell, verdict) in plan.cells.iter().zip(&mut verdicts).filter(|(_, verdict)| is_open(verdict)) {
                // Only now: somebody else may have been at it since.
                *verdict = judge(cell)?;
                let path = self.cell_path(&cell.cell_id);
                match verdict {
                    Verdict::Absent | Verdict::Sound(_) => {}
                    Verdict::Relabel(record) => {
                        let status = record.status;
                        if let Verdict::Relabel(record) = std::mem::replace(verdict, Verdict::Sound(status)) {
                            relabelled.push(*record);
                        }
                    }
                    Verdict::OtherCode(code) => {
                        let trial = plan.trial_of(cell);
                        let how = (trial.key.strategy.as_str(), code.against(&trial.code));
                        *other_code.entry(how).or_default() += 1;
                        aside::move_quietly(self.folder(), &path, Aside::OtherCode)?;
                    }
                    Verdict::Damaged(why) => {
                        damaged += 1;
                        if damaged <= NAMED {
                            aside::move_away(self.folder(), &path, Aside::Damaged, why)?;
                        } else {
                            aside::move_quietly(self.folder(), &path, Aside::Damaged)?;
                        }
                    }
                }
            }
            if !relabelled.is_empty() {
                self.write_cells(&relabelled)?;
            }
            if damaged > NAMED {
                warn!("{} more damaged records are in damaged/; their cells run again", damaged - NAMED);
            }
            for ((strategy, how), cells) in other_code {
                warn!(
                    "{cells} cells of `{strategy}` were made {how}: they are in other-code/ now and run again \
                     (--keep-other-code takes such cells as they are)"
                );
            }
        }
        if !keep_other_code {
            self.review_parts(plan)?;
        }
        let endings = verdicts.into_iter().map(|verdict| match verdict {
            Verdict::Sound(status) => Some(status),
            _ => None,
        });
        Ok(endings.collect())
    }

    /// Moves cells of other code out of the parts.
    fn review_parts(&self, plan: &ExperimentPlan) -> Result<(), StoreError> {
        let codes = codes(plan);
        let now = |id: &str| codes.get(id).copied();
        let mut others = Vec::new();
        for name in self.parts().names()? {
            if let Some(Ok(head)) = self.parts().head(&name)?
                && head.other_code(now).is_some()
            {
                others.push(name);
            }
        }
        if others.is_empty() {
            return Ok(());
        }
        let _lease = self.hold(LEASE, "moving parts away that other code made")?;
        for name in &others {
            self.parts().keep_code(name, now)?;
        }
        warn!("{} unfinished groups were run by other code: they are in other-code/ now and run again", others.len());
        Ok(())
    }

    /// Whether a record that appeared while this process runs can be reused; a damaged one is moved away.
    ///
    /// # Errors
    /// It was made by other code ([`StoreError::MixedBuilds`]), or the folder cannot be read or written.
    pub fn accept(&self, plan: &ExperimentPlan, cell: &Cell, keep_other_code: bool) -> Result<bool, StoreError> {
        match self.judge(plan, cell, keep_other_code)? {
            Verdict::Absent => Ok(false),
            Verdict::Sound(_) | Verdict::Relabel(_) => Ok(true),
            Verdict::OtherCode(code) => {
                let (path, how) = (self.cell_path(&cell.cell_id), code.against(&plan.trial_of(cell).code));
                Err(StoreError::MixedBuilds { path: path.display().to_string(), how })
            }
            Verdict::Damaged(_) => {
                let _lease = self.hold(LEASE, "moving a record away that is damaged")?;
                let Verdict::Damaged(why) = self.judge(plan, cell, keep_other_code)? else { return Ok(false) };
                aside::move_away(self.folder(), &self.cell_path(&cell.cell_id), Aside::Damaged, &why)?;
                Ok(false)
            }
        }
    }

    fn judge(&self, plan: &ExperimentPlan, cell: &Cell, keep_other_code: bool) -> Result<Verdict, StoreError> {
        let trial = plan.trial_of(cell);
        Ok(match self.look(&cell.cell_id)? {
            None => Verdict::Absent,
            Some(Err(why)) => Verdict::Damaged(why),
            Some(Ok(record)) => match check::asked(&record, &trial.key, &cell.task, cell.primary_metric) {
                Err(why) => Verdict::Damaged(why),
                Ok(()) if record.code != trial.code && !keep_other_code => Verdict::OtherCode(record.code),
                Ok(()) if check::is_labelled(&record, &trial.key) => Verdict::Sound(record.status),
                Ok(()) => Verdict::Relabel(Box::new(CellRecord { trial: trial.key.clone(), ..record })),
            },
        })
    }

    /// Takes a lease that is held for moments, waiting for it.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn hold(&self, name: &str, work: &str) -> Result<Lease, StoreError> {
        loop {
            let taken = self.leases().take(name, work);
            match taken.map_err(|error| io("write", self.leases().folder(), error))? {
                Taken::Mine(lease) => return Ok(lease),
                Taken::Held(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

/// This program's code for each cell of a plan.
pub(crate) fn codes(plan: &ExperimentPlan) -> BTreeMap<&str, &Code> {
    plan.cells.iter().map(|cell| (cell.cell_id.as_str(), &plan.trial_of(cell).code)).collect()
}
