//! `checklist.md`: what conferences ask about reproducibility, answered from the records. What no record says is left to the author, and
//! says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::path::Path;

use analysis::{Analysis, Study};

use crate::page::processes;
use crate::text::{markdown, markdown_code};

/// Where the author has to write.
const AUTHOR: &str = "**To be answered by the author.**";

pub(super) fn page(dir: &Path, study: &Study, analysis: &Analysis) -> String {
    let mut out = String::new();
    // A string takes every text.
    let _ = write(&mut out, dir, study, analysis);
    out
}

fn write(out: &mut String, dir: &Path, study: &Study, analysis: &Analysis) -> fmt::Result {
    let plan = &study.plan;
    let trials: Vec<_> = study.cells.iter().map(|cell| &cell.record.trial).collect();
    let set = |of: &dyn Fn(&&records::schema::TrialKey) -> String| {
        trials.iter().map(of).collect::<BTreeSet<String>>().into_iter().collect::<Vec<_>>().join(", ")
    };
    writeln!(out, "# Reproducibility of {}\n", markdown(&plan.experiment))?;
    writeln!(out, "Filled from the records by `sweep report`.\n\n## Claims\n")?;
    let question = plan.question.as_deref().unwrap_or(AUTHOR).trim();
    writeln!(out, "* Question: {}", if question == AUTHOR { AUTHOR.to_owned() } else { markdown(question) })?;
    match &study.claim {
        Some(_) => writeln!(
            out,
            "* The claim and the comparisons that decide it were fixed in the experiment file; verdict: `verdict.md`."
        )?,
        None => writeln!(out, "* No claim was fixed beforehand: results are exploratory.")?,
    }
    writeln!(out, "* Limitations: {AUTHOR}\n\n## Models and data\n")?;
    writeln!(out, "* Models: {}.", set(&|trial| markdown_code(&trial.model)))?;
    writeln!(out, "* Random weights: {}.", yes(trials.iter().any(|trial| trial.model.starts_with("random:"))))?;
    for (what, digest) in &plan.digests {
        writeln!(out, "* Digest of {}: {}", markdown(what), markdown_code(digest))?;
    }
    let mut tasks: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for cell in study.cells.iter().filter(|cell| cell.is_done()) {
        tasks.entry(&cell.record.task).or_default().insert(cell.record.items.len());
    }
    for (task, items) in tasks {
        let items: Vec<String> = items.iter().map(ToString::to_string).collect();
        writeln!(out, "* {}: {} items.", markdown_code(task), items.join(" or "))?;
    }
    writeln!(
        out,
        "* Split of the items: {}; solved examples before each question: {}.",
        set(&|trial| trial.split.to_string()),
        plan.fewshot
    )?;
    writeln!(out, "* Licences of models and data: {AUTHOR}\n\n## Experiment\n")?;
    writeln!(
        out,
        "* The experiment as it was run, defaults filled in: `experiment.yaml`. Started again, it gives the same results."
    )?;
    writeln!(out, "* Strategies: {}.", set(&|trial| markdown_code(&trial.strategy)))?;
    writeln!(
        out,
        "* Options of each trial: columns `strategy_params`, `sites` and `keep_ratio` of `trials.parquet`. How they were chosen: {AUTHOR}"
    )?;
    writeln!(out, "* Protocols of scoring: {}.", set(&|trial| markdown_code(&trial.protocol)))?;
    writeln!(out, "* Seeds of the rules: {}; of the statistics: {}.", set(&|trial| trial.seed.to_string()), plan.seed)?;
    writeln!(
        out,
        "* Cells: {} done, {} failed, {} unfinished. Left-out results: {}.\n\n## Statistics\n",
        analysis.done,
        analysis.failed,
        study.unfinished,
        if analysis.failed + study.unfinished == 0 { "none" } else { "those that failed or are unfinished" }
    )?;
    writeln!(
        out,
        "* Error bars: 95 % intervals over items (paired bootstrap for differences); docs/statistics.md has the formulas."
    )?;
    writeln!(out, "* Variation over training runs of the models: not measured, each model is one set of weights.")?;
    let guards = study.guards.iter().filter(|guard| !guard.passed).count();
    writeln!(out, "* Guards of the scoring: {} run, {guards} not passed.\n\n## Computing\n", study.guards.len())?;
    writeln!(out, "* Device and precision: {}.", set(&|trial| format!("{} {}", trial.device, trial.dtype)))?;
    let costs: Vec<_> = study.cells.iter().filter(|cell| cell.is_done()).map(|cell| &cell.record.cost).collect();
    let seconds: f64 = costs.iter().map(|cost| cost.repeats_s.iter().sum::<f64>().max(cost.wall_s)).sum();
    let peak = costs.iter().map(|cost| cost.peak_mem_bytes).max().unwrap_or(0);
    let flops: f64 = costs.iter().map(|cost| cost.flops_executed).sum();
    writeln!(
        out,
        "* Time of all cells: {:.1} minutes; peak memory: {:.2} GB; FLOPs as if each cell ran alone: {flops:.2e}.",
        seconds / 60.0,
        peak as f64 / 1e9
    )?;
    writeln!(out, "* Computing that is not in this folder (tuning, failed attempts): {AUTHOR}")?;
    for process in processes(dir) {
        let facts: Vec<String> =
            process.rows.iter().map(|fact| format!("{} {}", fact.what, markdown(&fact.value))).collect();
        writeln!(out, "* {}: {}.", markdown(&process.title), facts.join("; "))?;
    }
    writeln!(
        out,
        "\n## Code\n\n* Revision and digest of the sources: above, per process. Where the code is: {AUTHOR}"
    )?;
    writeln!(out, "* References of methods and data: `references.bib`.")
}

fn yes(is: bool) -> &'static str {
    if is { "yes; scores mean nothing" } else { "no" }
}
