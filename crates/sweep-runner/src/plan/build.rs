//! From an experiment to its plan: expand, draw, exclude with a reason, check.

use std::collections::{BTreeMap, BTreeSet};

use records::schema::{TrialKey, in_words};
use ssm_model::SignalSet;

use super::{
    Cell, Estimate, Excluded, ExperimentPlan, GridError, Reason, Setting, bridge, claim, grid, ids, matching, probes,
    sample,
};
use crate::config::{Catalog, Experiment, Scoring};

/// Multiplies an experiment out. `catalog` knows the lengths of items, which achieved reductions are solved on.
///
/// # Errors
/// A grid that is too large or empty, cells without a baseline, or an achieved reduction that cannot be had.
pub fn build(experiment: &Experiment, setting: &Setting, catalog: &dyn Catalog) -> Result<ExperimentPlan, GridError> {
    let grid = grid::expand(experiment, setting, catalog)?;
    let drawn = sample::draw(experiment, &grid.trials, &matching::candidates(experiment, &grid.trials));
    let mut plan = ExperimentPlan {
        experiment: experiment.name.clone(),
        question: experiment.question.clone(),
        claim: None,
        bridges: Vec::new(),
        baseline: experiment.baseline.clone(),
        primary: experiment.primary.clone(),
        seed: experiment.seed,
        fewshot: experiment.prompting.fewshot,
        split: experiment.split,
        setting: setting.clone(),
        upstream_batch_size: experiment.upstream_batch_size,
        record_plans: experiment.record_plans,
        models: experiment.models.clone(),
        tasks: experiment.tasks.clone(),
        trials: Vec::new(),
        cells: Vec::new(),
        probes: Vec::new(),
        excluded: Vec::new(),
        duplicates: grid.duplicates,
        notes: drawn.note.into_iter().collect(),
        total: Estimate::default(),
        guards: Estimate::default(),
        rates: Vec::new(),
    };
    let mut used = vec![false; experiment.exclude.len()];
    for (trial, is_drawn) in grid.trials.into_iter().zip(drawn.keep) {
        let index = plan.trials.len();
        for task in experiment.tasks.iter().filter(|task| trial.has_task(&task.name)) {
            let cell_id = ids::cell_id(&trial, task);
            let matched = matching::excluding(experiment, &trial, task);
            if let Some(which) = matched {
                used[which] = true;
            }
            // What the file excludes is the author's choice, whatever a protocol says of it.
            let reason = matched
                .map(|which| Reason::Exclude(matching::reason(&experiment.exclude[which])))
                .or_else(|| matching::refusal(&trial, task))
                .or_else(|| (!matching::is_listed(experiment, &trial, task)).then_some(Reason::Zip))
                .or_else(|| (!is_drawn).then_some(Reason::Sample));
            if let Some(reason) = reason {
                plan.excluded.push(Excluded { cell_id, trial: trial.describe(), task: task.name.clone(), reason });
                continue;
            }
            let all = task.items[experiment.split as usize];
            let items = experiment.limit.map_or(all, |limit| limit.min(all));
            let estimate = Estimate::of(&trial, &experiment.models[trial.model], task, items);
            plan.total = plan.total + estimate;
            plan.cells.push(Cell {
                cell_id,
                trial_id: trial.key.trial_id.clone(),
                trial: index,
                task: task.name.clone(),
                primary_metric: task.primary_metric,
                items,
                estimate,
            });
        }
        if plan.cells.last().is_some_and(|cell| cell.trial == index) {
            plan.trials.push(trial);
        }
    }
    for (selector, _) in experiment.exclude.iter().zip(used).filter(|(_, used)| !used) {
        plan.notes.push(format!(
            "exclude on line {} leaves out no cell that another entry does not: {selector}",
            selector.line
        ));
    }
    plan.guards = guards(experiment, &plan);
    probes::add(experiment, &mut plan)?;
    check_baseline(&plan)?;
    check_signals(&plan)?;
    let digest = || blake3::hash(experiment.to_yaml().as_bytes()).to_hex().to_string();
    plan.claim = experiment.claim.as_ref().map(|claim| claim::resolve(claim, digest(), &plan)).transpose()?;
    plan.bridges = experiment.bridges.iter().map(|own| bridge::resolve(own, &plan)).collect::<Result<_, _>>()?;
    Ok(plan)
}

/// What the guards are likely to cost: the first item of each task for the oracle, and on the first task of short items two
/// items in four runs.
fn guards(experiment: &Experiment, plan: &ExperimentPlan) -> Estimate {
    let short = experiment.tasks.iter().position(|task| task.kind != Scoring::RunningText);
    let mut total = Estimate::default();
    for (index, model) in plan.models.iter().enumerate() {
        for (_, trial) in plan.guarded(index) {
            for (task, facts) in experiment.tasks.iter().enumerate() {
                let runs = if short == Some(task) { 1 + 2 * 4 } else { 1 };
                total = total + Estimate::of(trial, model, facts, runs);
            }
        }
    }
    total
}

/// Every rule must find what it reads: better refused here than by a layer in the middle of a run.
fn check_signals(plan: &ExperimentPlan) -> Result<(), GridError> {
    for trial in &plan.trials {
        let model = &plan.models[trial.model];
        let read = trial.strategy.rule().signals();
        let shown: Vec<SignalSet> = model.layers.iter().map(|layer| layer.signals).collect();
        for (layer, facts) in trial.key.sites.iter().filter_map(|site| Some((*site, model.layers.get(*site)?))) {
            if trial.signal_from.layer(read, &shown, layer).is_some() {
                continue;
            }
            let missing = read.without(facts.signals).names();
            let elsewhere = model.layers.iter().any(|other| read.without(other.signals).names().is_empty());
            return Err(GridError::NoSignal {
                strategy: in_words(&trial.key.strategy, &trial.key.strategy_params).into(),
                name: trial.strategy.registration.name,
                signal: missing.join(" and "),
                model: model.reference.clone(),
                layer,
                kind: facts.kind,
                sites: if elsewhere {
                    ", name sites on layers that show it, take it from the layer before (`signal_from: nearest_ssm`)"
                } else {
                    ""
                },
            });
        }
    }
    Ok(())
}

/// Every group of cells that are compared with each other needs the baseline among them.
fn check_baseline(plan: &ExperimentPlan) -> Result<(), GridError> {
    if plan.cells.is_empty() && !plan.probes.is_empty() {
        return Ok(());
    }
    if plan.cells.is_empty() {
        let first = plan.excluded.first().map_or_else(String::new, |excluded| excluded.reason.to_string());
        return Err(GridError::Empty { first });
    }
    let group = |cell: &Cell| {
        let key = &plan.trials[cell.trial].key;
        (key.model.clone(), key.protocol.clone(), cell.task.clone())
    };
    let is_baseline = |cell: &&Cell| plan.trials[cell.trial].key.strategy == plan.baseline;
    check_one_baseline(plan)?;
    let compared: BTreeSet<_> = plan.cells.iter().filter(is_baseline).map(group).collect();
    match plan.cells.iter().map(group).find(|group| !compared.contains(group)) {
        Some((model, protocol, task)) => {
            Err(GridError::NoBaseline { baseline: plan.baseline.clone(), model, protocol, task })
        }
        None => Ok(()),
    }
}

/// A baseline that reduces is one arm: a figure cannot be compared with two.
fn check_one_baseline(plan: &ExperimentPlan) -> Result<(), GridError> {
    let mut arms: BTreeMap<(&str, &str), TrialKey> = BTreeMap::new();
    for key in plan.trials.iter().map(|trial| &trial.key).filter(|key| key.strategy == plan.baseline) {
        let arm = key.arm();
        let known = arms.entry((&key.model, &key.protocol)).or_insert_with(|| arm.clone());
        if *known != arm {
            let (baseline, model, protocol) = (plan.baseline.clone(), key.model.clone(), key.protocol.clone());
            return Err(GridError::SeveralBaselines { baseline, model, protocol });
        }
    }
    Ok(())
}
