//! The product of the axes: every trial of an experiment, once, in the order of the file.

use std::collections::{BTreeMap, HashSet};

use evaluation::{Positions, Protocol, SignalFrom};
use records::schema::TrialKey;
use reduction_strategies::options::OptionValue;
use reduction_strategies::schedule::nominal_flops_reduction;

use super::achieved::Solver;
use super::{GridError, MAX_CELLS, PlannedTrial, Setting, calibrated, ids, matching};
use crate::code;
use crate::config::{Amount, Catalog, Experiment, ModelFacts, PlannedTask, SchedulePoint, Variant};

/// All trials before anything is excluded.
pub(super) struct Grid {
    pub(super) trials: Vec<PlannedTrial>,
    /// Cells that turned up more than once.
    pub(super) duplicates: usize,
}

pub(super) fn expand(experiment: &Experiment, setting: &Setting, catalog: &dyn Catalog) -> Result<Grid, GridError> {
    let mut grid = Grid { trials: Vec::new(), duplicates: 0 };
    let mut seen = HashSet::new();
    let mut solver = Solver::new(experiment, catalog);
    let dense = [SchedulePoint { schedule: "none".to_owned(), sites: Vec::new(), keep_ratio: Some(1.0), amount: None }];
    for (index, model) in experiment.models.iter().enumerate() {
        let points: Vec<SchedulePoint> =
            experiment.schedules.iter().flat_map(|schedule| schedule.points[index].iter().cloned()).collect();
        for (protocol_index, &protocol) in experiment.protocols.iter().enumerate() {
            for variant in &experiment.strategies {
                let served = |point: &&SchedulePoint| {
                    point.amount.is_some_and(|amount| amount.is_of_free_counts() == variant.is_free())
                };
                let points: Vec<&SchedulePoint> =
                    if variant.is_dense() { dense.iter().collect() } else { points.iter().filter(served).collect() };
                let code = code::of(Some(&variant.strategy), &setting.device);
                let own_seed = [experiment.seed];
                let seeds = if variant.seeds.is_empty() { &own_seed[..] } else { &variant.seeds };
                // Nothing reads positions in a recurrence, and where nothing is removed all are the same.
                let positions: Vec<Option<Positions>> = if model.uses_positions && !variant.is_dense() {
                    experiment.positions.iter().copied().map(Some).collect()
                } else {
                    vec![None]
                };
                let each = positions.len().saturating_mul(seeds.len());
                let size = points.len().saturating_mul(each).saturating_add(grid.trials.len());
                if size.saturating_mul(experiment.tasks.len()) > MAX_CELLS {
                    return Err(GridError::TooLarge);
                }
                let how = positions.iter().flat_map(|positions| seeds.iter().map(move |seed| (*positions, *seed)));
                let how: Vec<(Option<Positions>, u64)> = how.collect();
                for (point, &(positions, seed)) in
                    points.iter().flat_map(|point| how.iter().map(move |how| (*point, how)))
                {
                    let mut key = key(experiment, setting, model, protocol, variant, point, seed);
                    let signal_from = signal_from(experiment, model, variant, &key.sites);
                    key.strategy_params = params(variant, positions, signal_from);
                    let trial = PlannedTrial {
                        key,
                        code: code.clone(),
                        strategy: variant.strategy.clone(),
                        model: index,
                        amount: point.amount,
                        task: None,
                        achieved: None,
                        calibrate: None,
                        positions,
                        signal_from,
                    };
                    let trials = match point.amount {
                        Some(Amount::AchievedReduction(target)) => {
                            each_task(experiment, &mut solver, protocol_index, &trial, point, target)?
                        }
                        Some(Amount::Calibrated(target)) => {
                            calibrated::each_task(experiment, catalog, &trial, model, target)
                        }
                        _ => vec![trial],
                    };
                    for mut trial in trials {
                        let nominal = |ratio| nominal_flops_reduction(&trial.key.sites, model.n_layer(), ratio);
                        trial.key.flops_reduction_nominal = trial.key.keep_ratio.map(nominal);
                        trial.key.trial_id = ids::trial_id(&trial, model, experiment.upstream_batch_size);
                        if seen.insert(trial.key.trial_id.clone()) {
                            grid.trials.push(trial);
                        } else {
                            let tasks = experiment.tasks.iter().filter(|task| trial.has_task(&task.name));
                            grid.duplicates += tasks.count();
                        }
                    }
                }
            }
        }
    }
    solver.finish()?;
    Ok(grid)
}

/// A trial of each task, with the keep ratio by which it achieves `target` there. Nothing is solved where it does not run.
fn each_task(
    experiment: &Experiment,
    solver: &mut Solver<'_>,
    protocol: usize,
    trial: &PlannedTrial,
    point: &SchedulePoint,
    target: f64,
) -> Result<Vec<PlannedTrial>, GridError> {
    let one = |(index, task): (usize, &PlannedTask)| {
        let mut own = PlannedTrial { task: Some(task.name.clone()), ..trial.clone() };
        own.key.flops_reduction_asked = Some(target);
        if matching::runs(experiment, &own, task) {
            let solution = solver.solve((trial.model, index, protocol), &trial.strategy, point, target)?;
            own.key.keep_ratio = Some(solution.keep_ratio);
            own.achieved = Some(solution.achieved);
        }
        Ok(own)
    };
    experiment.tasks.iter().enumerate().map(one).collect()
}

/// Where a rule takes its signals from: what the experiment says, if it matters to any of the sites.
fn signal_from(experiment: &Experiment, model: &ModelFacts, variant: &Variant, sites: &[usize]) -> SignalFrom {
    let read = variant.strategy.rule().signals();
    let shows = |site: &usize| model.layers.get(*site).is_none_or(|layer| read.without(layer.signals).is_empty());
    if sites.iter().all(shows) { SignalFrom::default() } else { experiment.signal_from }
}

/// Options as compact JSON with sorted keys; positions and where signals come from are among them where they are not the default.
fn params(variant: &Variant, positions: Option<Positions>, signal_from: SignalFrom) -> String {
    let options = variant.strategy.options.to_json();
    let positions = positions.filter(|positions| *positions != Positions::default()).map(Positions::name);
    let signal_from = Some(signal_from).filter(|from| *from != SignalFrom::default()).map(SignalFrom::name);
    let more = [("positions", positions), ("signal_from", signal_from)];
    if more.iter().all(|(_, value)| value.is_none()) {
        return options;
    }
    let mut all: BTreeMap<String, serde_json::Value> = serde_json::from_str(&options).unwrap_or_default();
    all.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))));
    serde_json::to_string(&all).unwrap_or(options)
}

fn key(
    experiment: &Experiment,
    setting: &Setting,
    model: &ModelFacts,
    protocol: &'static Protocol,
    variant: &Variant,
    point: &SchedulePoint,
    seed: u64,
) -> TrialKey {
    let options = &variant.strategy.options;
    let word = |name: &str| match options.get(name) {
        Some(OptionValue::Word(word)) => Some(word.clone()),
        _ => None,
    };
    TrialKey {
        trial_id: String::new(),
        experiment: experiment.name.clone(),
        model: model.reference.clone(),
        strategy: variant.strategy.registration.name.to_owned(),
        strategy_params: String::new(),
        importance: word("importance"),
        importance_source: word("source"),
        schedule: point.schedule.clone(),
        sites: point.sites.clone(),
        // Solved later where there is none and the count is not free.
        keep_ratio: match point.amount {
            Some(amount) if amount.is_of_free_counts() => None,
            _ => Some(point.keep_ratio.unwrap_or(1.0)),
        },
        flops_reduction_nominal: None,
        flops_reduction_asked: None,
        calibration: None,
        protocol: protocol.name.to_owned(),
        seed,
        split: experiment.split,
        limit: experiment.limit,
        device: setting.device.clone(),
        dtype: setting.dtype.clone(),
    }
}
