//! From an experiment to its plan: expand, draw, exclude with a reason, check.

use std::collections::{BTreeMap, BTreeSet};

use evaluation::protocol::{self, Refusal};
use miette::Diagnostic;
use records::schema::{TrialKey, in_words};
use thiserror::Error;

use super::achieved::Missed;
use super::{
    Cell, Estimate, Excluded, ExperimentPlan, PlannedTrial, Reason, Setting, claim, grid, ids, matching, probes, sample,
};
use crate::config::{Catalog, Experiment, PlannedTask, Scoring};

/// Most cells that one experiment may have; more is a slip of the pen.
pub const MAX_CELLS: usize = 1_000_000;

/// Why an experiment cannot be planned although its file is valid.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
pub enum GridError {
    /// The grid is absurdly large.
    #[error("the grid has more than {MAX_CELLS} cells")]
    #[diagnostic(help("shorten an axis, use `zip`, or split the experiment"))]
    TooLarge,
    /// Everything was excluded.
    #[error("nothing is left to run: every cell of the grid is excluded")]
    #[diagnostic(help("`exclude` and `zip` together leave no cell; the first reason is: {first}"))]
    Empty {
        /// The first exclusion in words.
        first: String,
    },
    /// Cells without anything to compare them with.
    #[error("the baseline `{baseline}` does not run on {model}, {protocol}, {task}, but other strategies do")]
    #[diagnostic(help("exclude the other strategies there too, or keep the baseline"))]
    NoBaseline {
        /// The baseline.
        baseline: String,
        /// Model of the lonely cells.
        model: String,
        /// Protocol of the lonely cells.
        protocol: String,
        /// Task of the lonely cells.
        task: String,
    },
    /// A baseline that is several things at once.
    #[error(
        "the baseline `{baseline}` runs in several ways on {model}, {protocol}; a difference would be to one of them"
    )]
    #[diagnostic(help(
        "give it one reduction, one set of sites and one set of options, or take `dense`, which is compared with every reduction"
    ))]
    SeveralBaselines {
        /// The baseline.
        baseline: String,
        /// A model on which it runs so.
        model: String,
        /// The protocol.
        protocol: String,
    },
    /// A strategy that reads what the layer of a site does not show.
    #[error("`{strategy}` reads {signal}, which layer {layer} ({kind}) of {model} does not show")]
    #[diagnostic(help(
        "choose an importance and a source that it shows{sites}, or leave these cells out: `exclude: [{{ model: {model}, strategy: {name} }}]`"
    ))]
    NoSignal {
        /// The strategy with its options.
        strategy: Box<str>,
        /// Its name.
        name: &'static str,
        /// What it reads.
        signal: String,
        /// The model.
        model: String,
        /// The first site whose layer does not show it.
        layer: usize,
        /// Kind of that layer.
        kind: &'static str,
        /// Advice for a model whose other layers show it.
        sites: &'static str,
    },
    /// A strategy that keeps another number of tokens than asked for.
    #[error("`{strategy}` cannot be solved for an achieved FLOPs reduction: {why}")]
    #[diagnostic(help(
        "ask for a nominal reduction of it (`flops_reduction: {target}` in a block of its own), and leave it out here: \
         `exclude: [{{ strategy: {strategy}, flops_reduction: {{ achieved: {target} }} }}]`"
    ))]
    OwnCount {
        /// The strategy.
        strategy: &'static str,
        /// What it keeps.
        why: &'static str,
        /// The reduction that was asked for.
        target: f64,
    },
    /// Achieved reductions that no keep ratio gives, up to half a point.
    #[error("no keep ratio achieves the FLOPs reduction that is asked for{}", missed_list(.0))]
    #[diagnostic(help("{}", missed_hint(.0)))]
    NotAchieved(Vec<Missed>),
    /// Items without which no achieved reduction can be solved.
    #[error("an achieved FLOPs reduction needs the lengths of {task} in the tokens of {model}: {problem}")]
    #[diagnostic(help("{help}"))]
    Lengths {
        /// The model.
        model: String,
        /// The task.
        task: String,
        /// Why they cannot be had.
        problem: String,
        /// What to do.
        help: String,
    },
    /// A comparison of the claim that the grid cannot make.
    #[error("the comparison on line {line} compares nothing: {problem}")]
    #[diagnostic(help("{help}"))]
    Claim {
        /// 1-based line of its lower side.
        line: usize,
        /// What is missing.
        problem: String,
        /// What to do.
        help: &'static str,
    },
    /// A comparison of rows of a probe that looks at no model of the experiment.
    #[error("the claim compares rows of the probe `{0}`, which looks at no model of this experiment")]
    #[diagnostic(help("the notes of the plan say why it leaves them out"))]
    ClaimWithoutRows(&'static str),
    /// More comparisons than the resamples can tell apart after a correction.
    #[error("the claim makes {0} comparisons, more than {most}", most = claim::MOST_COMPARISONS)]
    #[diagnostic(help(
        "name fewer arms, or split the claim: intervals of a single one of so many are beyond what the resamples show"
    ))]
    ClaimTooWide(usize),
}

const LEAKS: &str = "running text scored per token after a reduction leaks the future: later tokens decide which earlier ones \
                     stay. Use protocol `context`, which scores the second half of a text after its reduced first half, or \
                     `causal` with a causal strategy";

const NOT_CAUSAL: &str = "protocol `causal` takes strategies that decide each token from tokens up to it (block_causal, local_merge \
                          with decide: online); this one looks at later tokens. Use `aligned` and read its coverage, or `context`";

/// Most reductions that one error lists.
const MOST_MISSED: usize = 12;

fn missed_list(missed: &[Missed]) -> String {
    let shown = missed.iter().take(MOST_MISSED).map(|missed| format!("\n{missed}"));
    let more = missed.len().saturating_sub(MOST_MISSED);
    shown.chain((more > 0).then(|| format!("\nand {more} more"))).collect()
}

fn missed_hint(missed: &[Missed]) -> String {
    let first = if missed.iter().all(|missed| missed.target > missed.most) {
        "ask for less, start at an earlier layer"
    } else {
        "whole tokens are removed at each site, so that short items make coarse steps: ask for the nearest, name fewer sites"
    };
    format!(
        "{first}, or leave the cells out: `exclude: [{{ task: .., protocol: .., flops_reduction: {{ achieved: .. }} }}]`"
    )
}

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
        baseline: experiment.baseline.clone(),
        seed: experiment.seed,
        fewshot: experiment.prompting.fewshot,
        split: experiment.split,
        setting: setting.clone(),
        upstream_batch_size: experiment.upstream_batch_size,
        models: experiment.models.clone(),
        tasks: experiment.tasks.clone(),
        trials: Vec::new(),
        cells: Vec::new(),
        probes: Vec::new(),
        excluded: Vec::new(),
        duplicates: grid.duplicates,
        notes: drawn.note.into_iter().collect(),
        total: Estimate::default(),
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
            let reason = refusal(&trial, task)
                .or_else(|| matched.map(|which| Reason::Exclude(matching::reason(&experiment.exclude[which]))))
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
    probes::add(experiment, &mut plan);
    check_baseline(&plan)?;
    check_signals(&plan)?;
    plan.claim = experiment.claim.as_ref().map(|claim| claim::resolve(claim, &plan)).transpose()?;
    Ok(plan)
}

/// Every rule must find what it reads: better refused here than by a layer in the middle of a run.
fn check_signals(plan: &ExperimentPlan) -> Result<(), GridError> {
    for trial in &plan.trials {
        let model = &plan.models[trial.model];
        let read = trial.strategy.rule().signals();
        for (layer, facts) in trial.key.sites.iter().filter_map(|site| Some((*site, model.layers.get(*site)?))) {
            let missing = read.without(facts.signals).names();
            if missing.is_empty() {
                continue;
            }
            let elsewhere = model.layers.iter().any(|other| read.without(other.signals).names().is_empty());
            return Err(GridError::NoSignal {
                strategy: in_words(&trial.key.strategy, &trial.key.strategy_params).into(),
                name: trial.strategy.registration.name,
                signal: missing.join(" and "),
                model: model.reference.clone(),
                layer,
                kind: facts.kind,
                sites: if elsewhere { ", name sites on layers that show it" } else { "" },
            });
        }
    }
    Ok(())
}

/// Cells that would report a number which means something else than it says.
pub(super) fn refusal(trial: &PlannedTrial, task: &PlannedTask) -> Option<Reason> {
    let (reduces, running_text) = (!trial.key.sites.is_empty(), task.kind == Scoring::RunningText);
    let refusal = protocol::find(&trial.key.protocol)?.refuses(running_text, reduces, trial.strategy.is_causal())?;
    Some(Reason::Nature(match refusal {
        Refusal::NotCausal => NOT_CAUSAL,
        Refusal::LeaksFuture => LEAKS,
    }))
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
