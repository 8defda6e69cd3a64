//! Keep ratios for reductions that are to be achieved: solved before anything runs, from the lengths of the items alone.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use evaluation::{Scoring, Shapes, Solution};
use reduction_strategies::Count;
use reduction_strategies::registry::Strategy;

use super::error::{GridError, Missed};
use crate::config::{Catalog, Experiment, ModelFacts, PlannedTask, SchedulePoint};

/// Largest distance of the achieved reduction from the one asked for: half a percentage point, within which reductions are compared.
pub const TOLERANCE: f64 = 0.005;

/// What is solved for: model and task, by index, protocol, sites and the reduction, by its bits.
type Asked = (usize, usize, &'static str, Vec<usize>, u64, Option<&'static str>);

/// Solves for one experiment; remembers lengths and solutions.
pub(super) struct Solver<'a> {
    experiment: &'a Experiment,
    catalog: &'a dyn Catalog,
    /// Lengths under each protocol of the experiment, by model and task.
    shapes: HashMap<(usize, usize), Vec<Shapes>>,
    solved: HashMap<Asked, Solution>,
    missed: Vec<Missed>,
}

impl<'a> Solver<'a> {
    pub(super) fn new(experiment: &'a Experiment, catalog: &'a dyn Catalog) -> Self {
        Self { experiment, catalog, shapes: HashMap::new(), solved: HashMap::new(), missed: Vec::new() }
    }

    /// Refuses what was solved if some of it is not achieved, all of that at once.
    ///
    /// # Errors
    /// [`GridError::NotAchieved`].
    pub(super) fn finish(self) -> Result<(), GridError> {
        if self.missed.is_empty() { Ok(()) } else { Err(GridError::NotAchieved(self.missed)) }
    }

    /// The keep ratio by which a strategy comes nearest to achieving `target` at the sites of `point`. Model, task and protocol are
    /// indices into the lists of the experiment.
    ///
    /// # Errors
    /// Items that cannot be had. A reduction that is not achieved is an error of [`Solver::finish`].
    pub(super) fn solve(
        &mut self,
        (model, task, protocol): (usize, usize, usize),
        strategy: &Strategy,
        point: &SchedulePoint,
        target: f64,
    ) -> Result<Solution, GridError> {
        let rule = strategy.rule();
        let (facts, planned) = (&self.experiment.models[model], &self.experiment.tasks[task]);
        let protocol_name = self.experiment.protocols[protocol].name;
        // Rules without a count of their own keep as many tokens as each other: only the others are part of the key.
        let own = matches!(rule.count(), Count::Own(_)).then_some(strategy.registration.name);
        let asked = (model, task, protocol_name, point.sites.clone(), target.to_bits(), own);
        if let Some(solution) = self.solved.get(&asked) {
            return Ok(*solution);
        }
        let shapes = match self.shapes.entry((model, task)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => free.insert(read_shapes(self.experiment, self.catalog, facts, planned)?),
        };
        let shapes = &shapes[protocol];
        let solution = shapes.solve(facts.n_layer(), &point.sites, &rule, target);
        if (solution.achieved - target).abs() > TOLERANCE {
            let most = shapes.most(facts.n_layer(), &point.sites, &rule);
            self.missed.push(Missed {
                place: format!("{}, {protocol_name}, {}, {}", planned.name, facts.reference, point.schedule),
                target: percent(target),
                nearest: percent(solution.achieved),
                most: percent(most),
            });
        }
        self.solved.insert(asked, solution);
        Ok(solution)
    }
}

fn read_shapes(
    experiment: &Experiment,
    catalog: &dyn Catalog,
    model: &ModelFacts,
    task: &PlannedTask,
) -> Result<Vec<Shapes>, GridError> {
    let scorings: Vec<Scoring> = experiment.protocols.iter().map(|protocol| experiment.scoring(protocol)).collect();
    catalog.shapes(&model.reference, &task.reference, experiment.items(), &scorings).map_err(|error| {
        GridError::Lengths {
            model: model.reference.clone(),
            task: task.name.clone(),
            problem: error.message,
            help: error
                .hint
                .unwrap_or_else(|| "the keep ratio of an achieved reduction is solved on these items".to_owned()),
        }
    })
}

/// A share in percent, to a hundredth.
fn percent(share: f64) -> f64 {
    (share * 1e4).round() / 1e2
}
