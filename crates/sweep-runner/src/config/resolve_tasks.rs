//! Entries of `tasks`: names, files and folders of files; each length of context is a task of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use evaluation::tasks::{Cut, Prompting, TaskRef, benchmarks, is_file_of_items};
use reduction_strategies::spelling::nearest;

use super::catalog::{Catalog, PlannedTask};
use super::error::{Fault, gather};
use super::node::{Located, refuse_duplicates};
use super::resolve::unlisted;
use super::wire_task::{WireCut, WirePrimary, WireTask};
use crate::home;

/// The tasks that the file names. In a file that is `faulty` already, benchmarks are not looked up: that may download them, and the list
/// is incomplete, which is none.
pub(super) fn resolve(
    entries: &[WireTask],
    prompting: Prompting,
    catalog: &dyn Catalog,
    faulty: bool,
) -> Result<Option<Vec<PlannedTask>>, Fault> {
    let mut tasks: Vec<PlannedTask> = Vec::new();
    let may_download = |entry: &WireTask| benchmarks().iter().any(|benchmark| benchmark.name == entry.source.value);
    let resolve_entry = |entry: &WireTask| {
        for source in sources(&entry.source)? {
            for cut in cuts(entry.cut.as_ref())? {
                let reference = TaskRef { source: source.clone(), cut };
                let task = catalog.task(&reference, prompting).map_err(|error| unlisted(&entry.source, error))?;
                if let Some(other) = tasks.iter().find(|other| other.name == task.name) {
                    return Err(twice(&entry.source, &task, other));
                }
                tasks.push(task);
            }
        }
        Ok(())
    };
    let skips = |entry: &&WireTask| faulty && may_download(entry);
    gather(entries.iter().filter(|entry| !skips(entry)).map(resolve_entry))?;
    Ok((!entries.iter().any(|entry| skips(&entry))).then_some(tasks))
}

fn twice(entry: &Located<String>, task: &PlannedTask, other: &PlannedTask) -> Fault {
    if task.reference == other.reference {
        let fault = entry.fault(format!("`tasks` lists `{}` twice", task.reference.source));
        return fault.label("again here").hint("remove one of them");
    }
    let (this, that) = (&task.reference.source, &other.reference.source);
    if this == that {
        let fault = entry.fault(format!("`tasks` asks for `{}` twice, cut at two places", task.name));
        let hint = "give all lengths of one file in one entry, for example `{ context: [10, 20] }`: they score the same tokens";
        return fault.label("again here").hint(hint);
    }
    entry
        .fault(format!("`{this}` and `{that}` are both called `{}` in results", task.name))
        .label("the same name")
        .hint("rename one of the files")
}

/// The task, or the files of the folder, that an entry names.
fn sources(entry: &Located<String>) -> Result<Vec<String>, Fault> {
    let text = &entry.value;
    let expanded = if text.starts_with('~') {
        home::expand(Path::new(text)).map_err(|problem| entry.fault(format!("unknown task `{text}`")).hint(problem))?
    } else {
        Path::new(text).to_owned()
    };
    let shown = expanded.display().to_string();
    if !(shown.contains('/') && expanded.is_dir()) {
        return Ok(vec![shown]);
    }
    let unreadable = |error: std::io::Error| entry.fault(format!("cannot read the folder {shown}: {error}"));
    let mut files = Vec::new();
    for file in fs::read_dir(&expanded).map_err(unreadable)? {
        let file = file.map_err(unreadable)?;
        // A folder of that name is none of its files.
        if is_file_of_items(&file.file_name().to_string_lossy()) && !file.path().is_dir() {
            files.push(file.path().display().to_string());
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(entry
            .fault(format!("the folder {shown} holds no file of items"))
            .label("no tasks")
            .hint("a task is a file that ends in .jsonl or .jsonl.bz2; docs/own-tasks.md describes it".to_owned()));
    }
    Ok(files)
}

/// One stretch per length of context; all score the same tokens.
fn cuts(wire: Option<&WireCut>) -> Result<Vec<Option<Cut>>, Fault> {
    let Some(wire) = wire else { return Ok(vec![None]) };
    refuse_duplicates(&wire.contexts, "`context`", PartialEq::eq, ToString::to_string)?;
    let longest = wire.contexts.iter().map(|context| context.value).max().unwrap_or(1);
    let start = wire.start.as_ref().map_or(longest, |start| start.value);
    if let Some(start) = wire.start.as_ref().filter(|start| start.value < longest) {
        return Err(start
            .fault(format!("a context of {longest} tokens does not fit before token {}", start.value))
            .label("too early")
            .hint("`start` is the token at which the scored continuation begins: at least the longest context"));
    }
    let continuation = wire.continuation.unwrap_or(Cut::CONTINUATION);
    Ok(wire.contexts.iter().map(|context| Some(Cut { context: context.value, start, continuation })).collect())
}

/// The metric by which each task is shown, by the task's name.
pub(super) fn primary(wire: Option<&WirePrimary>, tasks: &[PlannedTask]) -> Result<BTreeMap<String, String>, Fault> {
    let mut primary = BTreeMap::new();
    match wire {
        None => {}
        Some(WirePrimary::Every(metric)) => {
            for task in tasks {
                primary.insert(task.name.clone(), reported(metric, task)?);
            }
        }
        Some(WirePrimary::ByTask(entries)) => {
            for (name, metric) in entries {
                // A running text that is cut in several ways is several tasks; its own name stands for all of them.
                let is_meant = |task: &PlannedTask| [&task.name, &task.reference.source].contains(&&name.value);
                let meant: Vec<&PlannedTask> = tasks.iter().filter(|task| is_meant(task)).collect();
                if meant.is_empty() {
                    let names = tasks.iter().map(|task| task.name.as_str());
                    let near = nearest(&name.value, names.clone()).map(|near| format!("did you mean `{near}`?"));
                    let all = || format!("the tasks are {}", names.collect::<Vec<_>>().join(", "));
                    return Err(name
                        .fault(format!("`primary` names `{}`, which is no task of this experiment", name.value))
                        .label("no such task")
                        .hint(near.unwrap_or_else(all)));
                }
                for task in meant {
                    primary.insert(task.name.clone(), reported(metric, task)?);
                }
            }
        }
    }
    Ok(primary)
}

/// The metric, if the task reports it.
fn reported(metric: &Located<String>, task: &PlannedTask) -> Result<String, Fault> {
    if task.metrics.contains(&metric.value.as_str()) {
        return Ok(metric.value.clone());
    }
    let hint = match nearest(&metric.value, task.metrics.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("{} reports {}; every task reports loss", task.name, task.metrics.join(", ")),
    };
    Err(metric.fault(format!("{} does not report `{}`", task.name, metric.value)).label("no such metric").hint(hint))
}
