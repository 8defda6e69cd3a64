//! Whether the tasks of a plan can be put in the tokens of its models, said before anything runs.

use hint::Hint;

use super::{Failure, refused};
use crate::config::Experiment;
use crate::library::Library;
use crate::plan::ExperimentPlan;

/// Adds a note for each task with an item that has no place in a model: the cells of that task would fail, and the others would not. And
/// one for each task of a user with an item so long that it may take unexpected time.
///
/// # Errors
/// Data that cannot be read.
pub(super) fn check(experiment: &Experiment, plan: &mut ExperimentPlan, library: &Library) -> Result<(), Failure> {
    let place = |name: &str| plan.tasks.iter().position(|task| task.name == name);
    let cells = plan.cells.iter().map(|cell| (plan.trial_of(cell).model, place(&cell.task)));
    let probes = plan.probes.iter().map(|probe| (probe.model, place(&probe.task)));
    let mut pairs: Vec<(usize, usize)> =
        cells.chain(probes).filter_map(|(model, task)| task.map(|task| (model, task))).collect();
    pairs.sort_unstable();
    pairs.dedup();
    for (model, task) in pairs {
        let reference = &plan.models[model].reference;
        let task = &plan.tasks[task];
        let Some(error) = library.unfit(reference, &task.reference, experiment.items()).map_err(refused)? else {
            continue;
        };
        let hint = error.hint().map_or_else(String::new, |hint| format!("; {hint}"));
        plan.notes.push(format!("{} will fail on {reference}, and other tasks will not: {error}{hint}", task.name));
    }
    for task in &plan.tasks {
        let prompting = experiment.prompting;
        if let Some(tokens) = library.longer_than_max_length(&task.reference, prompting).map_err(refused)? {
            plan.notes.push(format!(
                "{} has an item of about {tokens} tokens, which is read whole: `max_length` ({}) is for benchmarks",
                task.name, prompting.max_length
            ));
        }
    }
    Ok(())
}
