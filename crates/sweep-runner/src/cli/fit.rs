//! Whether the tasks of a plan can be put in the tokens of its models, said before anything runs.

use evaluation::tasks::Unfit;
use hint::Hint;
use miette::miette;

use super::{Failure, refused};
use crate::config::Experiment;
use crate::library::Library;
use crate::plan::ExperimentPlan;

/// Refuses reference tasks on a tokenizer that they were not written for, and adds a note for each benchmark with an item that has no
/// place in a model: the cells of that task would fail, and the others would not.
///
/// # Errors
/// Such a reference task, or data that cannot be read.
pub(super) fn check(experiment: &Experiment, plan: &mut ExperimentPlan, library: &Library) -> Result<(), Failure> {
    let cells = plan.cells.iter().map(|cell| (plan.trial_of(cell).model, cell.task.clone()));
    let mut pairs: Vec<(usize, String)> =
        cells.chain(plan.probes.iter().map(|probe| (probe.model, probe.task.clone()))).collect();
    pairs.sort_by_key(|(model, task)| (*model, plan.tasks.iter().position(|facts| facts.name == *task)));
    pairs.dedup();
    let mut strange: Option<(String, Vec<String>, String)> = None;
    for (model, task) in pairs {
        let reference = plan.models[model].reference.clone();
        let found = library.unfit(&reference, &task, experiment.items());
        match found.map_err(refused)? {
            None => {}
            Some(Unfit::Item(error)) => {
                let hint = error.hint().map_or_else(String::new, |hint| format!("; {hint}"));
                plan.notes.push(format!("{task} will fail on {reference}, and other tasks will not: {error}{hint}"));
            }
            Some(Unfit::Tokenizer(error)) => {
                let (first, tasks, _) =
                    strange.get_or_insert_with(|| (reference.clone(), Vec::new(), error.to_string()));
                if *first == reference {
                    tasks.push(task);
                }
            }
        }
    }
    let Some((model, tasks, why)) = strange else { return Ok(()) };
    let tasks = tasks.join(", ");
    let help = format!(
        "reference tasks mark single words and go with the tokenizer of the builtin models; remove one of the two, or write \
         `exclude: [{{ model: {model}, task: [{tasks}] }}]`"
    );
    Err(refused(miette!(
        help = help,
        "the tokenizer of `{model}` does not fit {tasks}: it cuts words otherwise ({why})"
    )))
}
