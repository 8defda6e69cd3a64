//! One turn over all models: whatever is missing and free is run. What others hold is left for the next turn.

use std::collections::BTreeMap;

use evaluation::{Layout, Reduction};
use ssm_model::LanguageModel;

use super::groups::{self, Group, GroupedCohort, Unfit};
use super::guard::{self, Guards};
use super::recorder::Recorder;
use super::tasks::Tasks;
use super::{RunError, alone, cell, shared};
use crate::config::Experiment;
use crate::plan::ExperimentPlan;
use crate::record::store::{StoreError, io};

/// A model with what it is to run.
pub(super) struct Loaded<'a> {
    plan: &'a ExperimentPlan,
    pub(super) model: &'a LanguageModel,
    pub(super) tasks: &'a Tasks,
    /// By cohort.
    pub(super) layouts: &'a BTreeMap<usize, Layout>,
    pub(super) groups: Vec<Group>,
}

impl Loaded<'_> {
    pub(super) fn reduction(&self, cell: usize) -> Reduction {
        cell::reduction(self.plan.trial_of(&self.plan.cells[cell]))
    }
}

/// Runs every group of `mine` and every guard that is missing and that nobody else runs, and records all cells that are whole.
pub(super) fn run(
    experiment: &Experiment,
    mine: &[Group],
    guards: &mut Guards<'_>,
    tasks: &mut Tasks,
    recorder: &mut Recorder<'_>,
) -> Result<(), RunError> {
    let ledger = recorder.ledger;
    let plan = ledger.plan;
    // One model at a time: two large ones may not fit.
    for (index, facts) in plan.models.iter().enumerate() {
        let of_model = |group: &&Group| ledger.cohorts[group.cohort].model == index;
        let mut open = Vec::new();
        for group in mine.iter().filter(of_model) {
            if !ledger.missing(*group).is_empty() && is_free(recorder, *group)? {
                open.push(*group);
            }
        }
        let mut layouts = BTreeMap::new();
        for (cohort, own) in ledger.cohorts.iter().enumerate().filter(|(_, cohort)| cohort.model == index) {
            let is_open = open.iter().any(|group| group.cohort == cohort);
            if is_open || !ledger.ready(cohort).is_empty() {
                let layout = groups::layout(experiment, &own.planned, recorder.library, tasks)?;
                recorder.assemble(cohort, &layout, tasks)?;
                layouts.insert(cohort, layout);
            }
        }
        let unguarded = guards.are_missing(index) && guards.are_free(index)?;
        if recorder.options.stop.requested().is_some() || (open.is_empty() && !unguarded) {
            continue;
        }
        recorder.progress.say(&format!("loading {}", facts.reference));
        let model = match recorder.library.load_model(&facts.reference, &recorder.options.placement) {
            Ok(model) => model,
            // A matter of this model: others go on.
            Err(error) if error.is_of_model() => {
                let cohorts = ledger.cohorts.iter().filter(|cohort| cohort.model == index);
                let unfit =
                    |cohort: &GroupedCohort| Unfit { planned: cohort.planned.clone(), failure: error.failure() };
                recorder.unfit(&cohorts.map(unfit).collect::<Vec<_>>())?;
                guards.drop_model(index);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let stop = recorder.options.stop.clone();
        let model = model.stopping_when(move || stop.requested().is_some());
        guard::run(experiment, index, &model, recorder, tasks, guards)?;
        let loaded = Loaded { plan, model: &model, tasks, layouts: &layouts, groups: open };
        if recorder.options.runs_alone() {
            alone::run(&loaded, recorder)?;
        } else {
            shared::run(&loaded, recorder)?;
        }
    }
    Ok(())
}

fn is_free(recorder: &Recorder<'_>, group: Group) -> Result<bool, StoreError> {
    let leases = recorder.ledger.store.leases();
    let name = recorder.ledger.cohorts[group.cohort].lease(group.index);
    Ok(leases.holder(&name).map_err(|error| io("read", leases.folder(), error))?.is_none())
}
