//! The items of the tasks as text, written once per model and task: whoever reads the results sees what was asked without a model.

use std::collections::BTreeSet;

use evaluation::tasks::{Context, Item, Request, Task};
use records::plan::Cohort;
use records::task_items::{TaskItem, TaskItems};

use super::groups::GroupedCohort;
use super::tasks::Tasks;
use crate::library::Library;
use crate::plan::ExperimentPlan;
use crate::record::store::{Store, StoreError};

/// Tokens that are decoded before a continuation: as many as one character may have.
const BEFORE: usize = 4;

/// Of the cohorts of each model and task the first one: the items do not depend on the protocol.
fn firsts<'a>(cohorts: impl Iterator<Item = &'a Cohort>) -> impl Iterator<Item = &'a Cohort> {
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    cohorts.filter(move |cohort| seen.insert((cohort.model.clone(), cohort.task.clone())))
}

/// Whether the text of some items is not recorded. Of a task that does not fit its model there is none to record.
pub(super) fn are_missing(plan: &ExperimentPlan, store: &Store) -> Result<bool, StoreError> {
    let cohorts = plan.cohorts();
    for cohort in firsts(cohorts.iter()) {
        let failed = |cell: &usize| -> Result<bool, StoreError> {
            let record = store.look(&plan.cells[*cell].cell_id)?;
            Ok(record.is_some_and(|record| record.is_ok_and(|record| record.items.is_empty())))
        };
        if !store.has_task_items(cohort)? && !cohort.cells.first().map_or(Ok(true), failed)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes the items of every model and task whose file is not there.
pub(super) fn write(
    cohorts: &[GroupedCohort],
    tasks: &Tasks,
    library: &Library,
    store: &Store,
) -> Result<(), StoreError> {
    for cohort in firsts(cohorts.iter().map(|cohort| &cohort.planned)) {
        if store.has_task_items(cohort)? {
            continue;
        }
        let Some(task) = tasks.loaded(&cohort.model, &cohort.task) else { continue };
        store.write_task_items(&cohort.cohort_id, &items(&cohort.model, task, library))?;
    }
    Ok(())
}

fn items(model: &str, task: &Task, library: &Library) -> TaskItems {
    let items = task.items.iter().map(|item| as_text(model, item, library)).collect();
    TaskItems { model: model.to_owned(), task: task.name.clone(), items }
}

fn as_text(model: &str, item: &Item, library: &Library) -> TaskItem {
    let none = Context { tokens: Vec::new(), necessary: Vec::new() };
    let first = item.contexts.first().unwrap_or(&none);
    let after = item.requests.first().map_or(&[][..], |request| &request.continuation);
    let ids: Vec<u32> = first.tokens.iter().chain(after).copied().collect();
    let tokens = library.spaced_texts(model, &ids);
    let several = item.contexts.len() > 1;
    let continuation = |request: &Request| {
        // After some of its context, so that a space at its beginning is kept.
        let context = &item.contexts[request.context].tokens;
        let before = if several { context } else { &context[context.len().saturating_sub(BEFORE)..] };
        let ids: Vec<u32> = before.iter().chain(&request.continuation).copied().collect();
        let texts = library.spaced_texts(model, &ids);
        texts[if several { 0 } else { before.len() }..].concat()
    };
    let continuations: Vec<String> = item.requests.iter().map(continuation).collect();
    let right = item.gold.unwrap_or(0) as usize;
    TaskItem {
        item_id: item.id.clone(),
        gold: item.gold,
        text: tokens[..first.tokens.len()].concat(),
        target: continuations.get(right).cloned(),
        choices: if continuations.len() > 1 { continuations } else { Vec::new() },
        context_tokens: first.tokens.len(),
        necessary: first.necessary.clone(),
        tokens,
    }
}
