//! Where finished groups and cells go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use evaluation::executor::Sharing;
use evaluation::{Layout, Partial};
use records::check;
use records::schema::{CellRecord, Failure, Status};
use tracing::warn;

use super::cell;
use super::groups::{Group, Unfit};
use super::ledger::{HeldGroup, Ledger};
use super::progress::Progress;
use super::tasks::Tasks;
use super::{RunError, RunOptions};
use crate::config::{self, RecordPlans};
use crate::library::Library;
use crate::rates::Took;
use crate::record::aside::Aside;
use crate::record::manifest::Manifest;
use crate::record::parts::{Outcome, PartHead};

/// Writes down what ends, and counts it.
pub(super) struct Recorder<'a> {
    pub(super) ledger: &'a Ledger<'a>,
    pub(super) library: &'a Library,
    pub(super) options: &'a RunOptions,
    pub(super) progress: Progress,
    pub(super) manifest: Manifest,
    /// Cells that this process recorded.
    pub(super) ran: usize,
    /// Cells of which a group failed in this process.
    pub(super) failed: BTreeSet<usize>,
    /// What those that did not fail took, by model.
    pub(super) took: Vec<Took>,
}

/// What a group gave one of its cells.
pub(super) struct GroupOutcome {
    pub(super) result: Result<Partial, Failure>,
    /// Of each time that it ran.
    pub(super) seconds: Vec<f64>,
}

impl<'a> Recorder<'a> {
    /// One that has recorded nothing yet.
    pub(super) fn new(
        ledger: &'a Ledger<'a>,
        library: &'a Library,
        options: &'a RunOptions,
        progress: Progress,
        manifest: Manifest,
    ) -> Self {
        let took = vec![Took::default(); ledger.plan.models.len()];
        Self { ledger, library, options, progress, manifest, ran: 0, failed: BTreeSet::new(), took }
    }
}

impl Recorder<'_> {
    /// Writes a group down, gives it back, and records the cells that are whole now. Stops the run where too many cells failed.
    pub(super) fn finish(
        &mut self,
        held: HeldGroup,
        outcomes: Vec<GroupOutcome>,
        peak_mem_bytes: u64,
        sharing: Option<Sharing>,
        layout: &Layout,
        tasks: &Tasks,
    ) -> Result<(), RunError> {
        let HeldGroup { group, cells, lease } = held;
        let plan = self.ledger.plan;
        let mut head = PartHead {
            cohort: self.ledger.cohorts[group.cohort].planned.cohort_id.clone(),
            group: group.index,
            cells: cells.iter().map(|cell| plan.cells[*cell].cell_id.clone()).collect(),
            code: cells.iter().map(|cell| plan.trial_of(&plan.cells[*cell]).code.clone()).collect(),
            errors: BTreeMap::new(),
            hints: BTreeMap::new(),
            peak_mem_bytes,
            digest: String::new(),
        };
        let mut payload: Vec<Outcome> = Vec::with_capacity(cells.len());
        for (cell, outcome) in cells.iter().zip(outcomes) {
            let partial = outcome.result.map_err(|Failure { error, hint }| {
                let (trial, cell_facts) = (plan.trial_of(&plan.cells[*cell]), &plan.cells[*cell]);
                if self.failed.insert(*cell) {
                    let (trial, task) = (trial.describe(), &cell_facts.task);
                    warn!(trial, task, error, hint, "cell failed; the others go on");
                }
                head.errors.insert(cell_facts.cell_id.clone(), error);
                head.hints.extend(hint.map(|hint| (cell_facts.cell_id.clone(), hint)));
            });
            payload.push((outcome.seconds, partial.ok()));
        }
        self.ledger.store.parts().write(&head, &payload)?;
        drop(lease);
        self.manifest.groups += 1;
        if let Some(sharing) = sharing {
            *self.manifest.sharing.get_or_insert_default() += sharing.into();
        }
        self.ledger.store.write_manifest(&self.manifest)?;
        self.progress.finished(self.ledger.cohorts[group.cohort].share(group.index) * cells.len() as f64);
        self.ledger.refresh()?;
        self.assemble(group.cohort, layout, tasks)?;
        self.check_failures(group.cohort, tasks)
    }

    /// Records the cells of a cohort that are whole, and removes the parts that nobody needs any more.
    pub(super) fn assemble(&mut self, cohort: usize, layout: &Layout, tasks: &Tasks) -> Result<(), RunError> {
        let ready = self.ledger.ready(cohort);
        if ready.is_empty() {
            return Ok(());
        }
        let (failed, whole): (Vec<_>, Vec<_>) = ready.into_iter().partition(|(_, error)| error.is_some());
        let mut records: Vec<CellRecord> =
            failed.into_iter().filter_map(|(cell, failure)| self.failure(cell, failure?, tasks)).collect();
        let whole: Vec<usize> = whole.into_iter().map(|(cell, _)| cell).collect();
        records.extend(self.whole(cohort, &whole, layout, tasks)?);
        self.record(&records, false)
    }

    /// The records of cells whose groups are all there.
    fn whole(
        &self,
        cohort: usize,
        cells: &[usize],
        layout: &Layout,
        tasks: &Tasks,
    ) -> Result<Vec<CellRecord>, RunError> {
        let plan = self.ledger.plan;
        let facts = &self.ledger.cohorts[cohort];
        let ids: BTreeSet<&str> = cells.iter().map(|cell| plan.cells[*cell].cell_id.as_str()).collect();
        // Time of each repeat, peak memory, and parts in the order of the groups.
        let mut gathered: BTreeMap<String, (Vec<f64>, u64, Vec<Partial>)> = BTreeMap::new();
        for index in 0..facts.spans.len() {
            for name in self.ledger.parts(Group { cohort, index }, &ids) {
                let (head, outcomes) = match self.ledger.store.parts().outcomes(&name)? {
                    Some(Ok(read)) => read,
                    Some(Err(why)) => {
                        self.ledger.store.parts().move_away(&name, Aside::Damaged, &why)?;
                        continue;
                    }
                    None => continue,
                };
                for (cell, (seconds, partial)) in head.cells.into_iter().zip(outcomes) {
                    let Some(partial) = partial.filter(|_| ids.contains(cell.as_str())) else { continue };
                    let cell = gathered.entry(cell).or_default();
                    // Two processes may have run the same group where one was believed dead; they agree.
                    if cell.2.len() == index {
                        cell.0 = if index == 0 { seconds } else { added(&cell.0, &seconds) };
                        cell.1 = cell.1.max(head.peak_mem_bytes);
                        cell.2.push(partial);
                    }
                }
            }
        }
        let record = |cell: &usize| {
            let cell = &plan.cells[*cell];
            let (seconds, peak, parts) = gathered.remove(&cell.cell_id)?;
            // One of its parts went away or was damaged.
            let parts = (parts.len() == facts.spans.len()).then_some(parts)?;
            let trial = plan.trial_of(cell);
            let task = tasks.loaded(&trial.key.model, &cell.task)?;
            let evaluation = layout.evaluation(parts);
            let model = &plan.models[trial.model];
            let record = cell::record(trial, cell, task, model, self.library, &evaluation, (&seconds, peak));
            // What could not be believed when it is read is not written as a result.
            Some(match check::cell(&record, &cell.cell_id) {
                Ok(()) => record,
                Err(why) => {
                    let hint = Some("report it with the experiment: no input should lead here".to_owned());
                    let error = format!("its scores cannot be: {why}");
                    cell::failure(trial, cell, task.truncated, Failure { error, hint })
                }
            })
        };
        let mut records: Vec<CellRecord> = cells.iter().filter_map(record).collect();
        self.trim_plans(cohort, &mut records)?;
        Ok(records)
    }

    /// Removes the plans that were not asked for. Which items a cell loses, its baseline decides, recorded now or before.
    fn trim_plans(&self, cohort: usize, records: &mut [CellRecord]) -> Result<(), RunError> {
        let plan = self.ledger.plan;
        if plan.record_plans != RecordPlans::Lost {
            return Ok(());
        }
        let is_baseline = |cell: &&usize| plan.trial_of(&plan.cells[**cell]).key.strategy == plan.baseline;
        let baseline = self.ledger.cohorts[cohort].planned.cells.iter().find(is_baseline);
        let baseline = match baseline.map(|cell| &plan.cells[*cell].cell_id) {
            Some(id) => match records.iter().find(|record| record.cell_id == *id) {
                Some(record) => Some(record.clone()),
                None => self.ledger.store.look(id)?.and_then(Result::ok),
            },
            None => None,
        };
        for record in records {
            config::trim_to_lost(record, baseline.as_ref());
        }
        Ok(())
    }

    fn failure(&self, cell: usize, failure: Failure, tasks: &Tasks) -> Option<CellRecord> {
        let cell = &self.ledger.plan.cells[cell];
        let trial = self.ledger.plan.trial_of(cell);
        let task = tasks.loaded(&trial.key.model, &cell.task)?;
        Some(cell::failure(trial, cell, task.truncated, failure))
    }

    /// Records the cells of cohorts that cannot be run, and stops the run where too many cells failed.
    pub(super) fn unfit(&mut self, cohorts: &[Unfit]) -> Result<(), RunError> {
        let plan = self.ledger.plan;
        for Unfit { planned, failure } in cohorts {
            let open = planned.cells.iter().copied().filter(|cell| !self.ledger.is_recorded(*cell));
            let records: Vec<CellRecord> = open
                .map(|cell| cell::failure(plan.trial_of(&plan.cells[cell]), &plan.cells[cell], 0, failure.clone()))
                .collect();
            if records.is_empty() {
                continue;
            }
            let Failure { error, hint } = failure;
            warn!(
                model = planned.model,
                task = planned.task,
                cells = records.len(),
                error,
                hint,
                "these cells cannot be run; the others go on"
            );
            self.progress.finished(records.len() as f64);
            self.record(&records, true)?;
            self.stop_after_failures()?;
        }
        Ok(())
    }

    /// Writes records and tidies up behind them. `said`: whether a message was about all of them.
    fn record(&mut self, records: &[CellRecord], said: bool) -> Result<(), RunError> {
        if records.is_empty() {
            return Ok(self.ledger.refresh()?);
        }
        self.ledger.store.write_cells(records)?;
        for record in records {
            self.ledger.wrote(&record.cell_id);
        }
        self.ledger.refresh()?;
        self.ledger.tidy();
        self.ledger.refresh()?;
        self.ran += records.len();
        let plan = self.ledger.plan;
        for record in records {
            let cell = plan.cells.iter().position(|cell| cell.cell_id == record.cell_id);
            let Some(cell) = cell else { continue };
            if record.status == Status::Failed {
                self.failed.insert(cell);
            }
            let cell = &plan.cells[cell];
            if record.status == Status::Done {
                let all = &mut self.took[plan.trial_of(cell).model];
                *all = Took {
                    cells: all.cells + 1,
                    flops: all.flops + cell.estimate.flops,
                    seconds: all.seconds + record.cost.wall_s,
                    peak_mem_bytes: all.peak_mem_bytes.max(record.cost.peak_mem_bytes),
                };
            }
            let took = Duration::from_secs_f64(record.cost.wall_s);
            self.progress.done(plan.trial_of(cell), cell, record, took, said);
        }
        Ok(())
    }

    /// Ends the run where as many cells failed as are allowed; these are recorded, whatever groups they still lack.
    fn check_failures(&mut self, cohort: usize, tasks: &Tasks) -> Result<(), RunError> {
        if self.options.max_failures.is_none_or(|allowed| self.failed.len() < allowed) {
            return Ok(());
        }
        let failing = self.ledger.failing(cohort);
        let records: Vec<CellRecord> =
            failing.into_iter().filter_map(|(cell, failure)| self.failure(cell, failure, tasks)).collect();
        self.record(&records, false)?;
        self.stop_after_failures()
    }

    /// Ends the run where as many cells failed as are allowed.
    fn stop_after_failures(&self) -> Result<(), RunError> {
        let Some(allowed) = self.options.max_failures.filter(|allowed| self.failed.len() >= *allowed) else {
            return Ok(());
        };
        let plan = self.ledger.plan;
        let last = self.failed.iter().next_back().map(|cell| &plan.cells[*cell]);
        let last = last.unwrap_or_else(|| unreachable!("at least {allowed} failed"));
        let record = self.ledger.store.look(&last.cell_id)?.and_then(Result::ok);
        let error = record.map(|record| record.failure().to_string()).unwrap_or_default();
        let (trial, task) = (plan.trial_of(last).describe(), last.task.clone());
        Err(RunError::Failures { failures: self.failed.len(), trial, task, error })
    }
}

/// Times of the same repeats of two groups, added; of a repeat that one of them lacks, nothing.
fn added(all: &[f64], more: &[f64]) -> Vec<f64> {
    all.iter().zip(more).map(|(all, more)| all + more).collect()
}
