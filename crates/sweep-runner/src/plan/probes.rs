//! What the probes of an experiment look at.

use evaluation::probes::{Needs, Probe, Recurrence, Subject};
use evaluation::{Positions, SignalFrom};
use records::code::Code;
use records::probes::PROBE_SCHEMA_VERSION;
use records::schema::in_words;
use reduction_strategies::options::ResolvedOptions;
use serde::{Serialize, Serializer};
use serde_json::json;
use ssm_model::Signal;

use super::{ExperimentPlan, GridError, PlannedTrial, ids};
use crate::code;
use crate::config::{Experiment, LayerFacts, PlannedTask, ProbeVariant, Scoring};

/// One probe on one model and task, and on one trial where it looks at strategies.
#[derive(Clone, Debug, Serialize)]
pub struct ProbeCell {
    /// Stable hash of everything that can change its rows.
    pub probe_id: String,
    /// The probe.
    #[serde(serialize_with = "name")]
    pub probe: &'static Probe,
    /// This program's code for it.
    #[serde(skip)]
    pub code: Code,
    /// Its options, defaults filled in.
    pub options: ResolvedOptions,
    /// Index into [`ExperimentPlan::models`].
    #[serde(skip)]
    pub model: usize,
    /// Task name.
    pub task: String,
    /// Items to look at.
    pub items: usize,
    /// Seed of what the probe draws.
    pub seed: u64,
    /// Index into [`ExperimentPlan::trials`], where the probe looks at a strategy.
    #[serde(skip)]
    pub trial: Option<usize>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn name<S: Serializer>(probe: &&'static Probe, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(probe.name)
}

/// Adds the cells of all probes, and a note for what a probe cannot look at.
///
/// # Errors
/// A probe that cannot look at one of the strategies.
pub(super) fn add(experiment: &Experiment, plan: &mut ExperimentPlan) -> Result<(), GridError> {
    for model in 0..plan.models.len() {
        for variant in &experiment.probes {
            for task in &experiment.tasks {
                if variant.probe.needs.necessary_tokens && task.kind == Scoring::RunningText {
                    let note = format!(
                        "the probe {} leaves out {}: running text marks no necessary tokens",
                        variant.probe.name, task.name
                    );
                    if !plan.notes.contains(&note) {
                        plan.notes.push(note);
                    }
                    continue;
                }
                if let Some(layers) = lacks(variant.probe.needs, &plan.models[model].layers) {
                    let model = &plan.models[model];
                    let note = format!("the probe {} leaves out {}: {layers}", variant.probe.name, model.reference);
                    if !plan.notes.contains(&note) {
                        plan.notes.push(note);
                    }
                    continue;
                }
                let trials = match variant.probe.subject {
                    Subject::Model => vec![None],
                    Subject::Reduction => distinct(plan, model, &task.name).into_iter().map(Some).collect(),
                };
                for trial in trials.iter().flatten() {
                    check(variant, &plan.trials[*trial])?;
                }
                let cells = trials.into_iter().map(|trial| cell(experiment, plan, variant, model, task, trial));
                let cells: Vec<ProbeCell> = cells.collect();
                plan.probes.extend(cells);
            }
        }
    }
    Ok(())
}

/// Refuses a strategy that the probe cannot look at.
fn check(variant: &ProbeVariant, trial: &PlannedTrial) -> Result<(), GridError> {
    let Some(reason) = variant.probe.refuses(&trial.strategy.rule(), trial.positions) else { return Ok(()) };
    let compacted = trial.positions == Some(Positions::Compacted);
    let leave = if compacted { "`positions: compacted`".to_owned() } else { format!("`{}`", trial.key.strategy) };
    Err(GridError::ProbeRefuses {
        probe: variant.probe.name,
        line: variant.line,
        strategy: in_words(&trial.key.strategy, &trial.key.strategy_params).into(),
        reason: reason.into(),
        leave: leave.into(),
    })
}

/// Why a probe cannot look at a model with these layers.
fn lacks(needs: Needs, layers: &[LayerFacts]) -> Option<&'static str> {
    let scans = |layer: &LayerFacts| layer.signals.contains(Signal::Scan);
    if needs.recurrence != Recurrence::None && !layers.iter().any(scans) {
        return Some("it has no recurrent layers");
    }
    if needs.recurrence == Recurrence::EveryLayer && !layers.iter().all(scans) {
        return Some("not all of its layers are recurrent");
    }
    let several = |layer: &LayerFacts| layer.kinds.len() > 1;
    (needs.separate_kinds && layers.iter().any(several)).then_some("attention is beside a scan in the same layer")
}

/// The trials of a model on a task that differ in more than their protocol: a probe has a protocol of its own.
fn distinct(plan: &ExperimentPlan, model: usize, task: &str) -> Vec<usize> {
    let mut chosen: Vec<usize> = Vec::new();
    let own = plan.trials.iter().enumerate().filter(|(_, trial)| trial.model == model && trial.has_task(task));
    for (index, trial) in own {
        if chosen.iter().all(|known| reduction(&plan.trials[*known]) != reduction(trial)) {
            chosen.push(index);
        }
    }
    chosen
}

/// Everything that decides which tokens are removed.
fn reduction(trial: &PlannedTrial) -> serde_json::Value {
    let key = &trial.key;
    let mut parts = json!({
        "strategy": key.strategy,
        "strategy_version": trial.strategy.registration.version,
        "options": trial.strategy.options,
        "sites": key.sites,
        "keep_ratio": key.keep_ratio,
        "positions": trial.positions.map(Positions::name),
        "seed": key.seed,
    });
    if trial.signal_from != SignalFrom::default() {
        parts["signal_from"] = json!(trial.signal_from.name());
    }
    parts
}

fn cell(
    experiment: &Experiment,
    plan: &ExperimentPlan,
    variant: &ProbeVariant,
    model: usize,
    task: &PlannedTask,
    trial: Option<usize>,
) -> ProbeCell {
    let facts = &plan.models[model];
    let items = Probe::items(
        &variant.options,
        experiment.limit.unwrap_or(usize::MAX).min(task.items[experiment.split as usize]),
    );
    let mut parts = json!({
        "probe_schema_version": PROBE_SCHEMA_VERSION,
        "weights": facts.weights_digest,
        "tokenizer": facts.tokenizer_digest,
        "task": task.name,
        "data": task.data_digest,
        "probe": variant.probe.name,
        "probe_version": variant.probe.version,
        "options": variant.options,
        "items": items,
        "seed": experiment.seed,
        "reduction": trial.map(|trial| reduction(&plan.trials[trial])),
        "device": plan.setting.device,
        "dtype": plan.setting.dtype,
    });
    if !experiment.split.is_all() {
        parts["split"] = json!(experiment.split);
    }
    ProbeCell {
        probe_id: ids::digest(&parts),
        probe: variant.probe,
        code: code::of(trial.map(|trial| &plan.trials[trial].strategy), &plan.setting.device),
        options: variant.options.clone(),
        model,
        task: task.name.clone(),
        items,
        seed: experiment.seed,
        trial,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use evaluation::probes;
    use ssm_model::LayerKind;

    use super::lacks;
    use crate::config::fake::{CATALOG, FakeCatalog, edited, layer};
    use crate::config::{Catalog, LayerFacts, load_str};
    use crate::plan::{ExperimentPlan, Setting, build};

    fn plan(lines: &str, catalog: &dyn Catalog) -> ExperimentPlan {
        let experiment =
            load_str("t.yaml", &edited(lines), catalog).unwrap_or_else(|error| panic!("{}", error.render()));
        build(&experiment, &Setting::default(), catalog).unwrap()
    }

    fn ids(lines: &str, catalog: &dyn Catalog) -> Vec<String> {
        plan(lines, catalog).probes.into_iter().map(|probe| probe.probe_id).collect()
    }

    #[test]
    fn probes_of_strategies_run_per_trial_and_the_protocol_does_not_count() {
        let lines = "protocols: [context, aligned]\nprobes: [similarity, leak]\ntasks: [world_lambada, world_text]";
        let plan = plan(lines, &CATALOG);
        let count = |name: &str| plan.probes.iter().filter(|probe| probe.probe.name == name).count();
        // Two tasks; two trials (dense and top_k) that run under two protocols each.
        assert_eq!((count("similarity"), count("leak")), (2, 4));
        let distinct: BTreeSet<&str> = plan.probes.iter().map(|probe| probe.probe_id.as_str()).collect();
        assert_eq!(distinct.len(), plan.probes.len());
    }

    #[test]
    fn tasks_without_marks_are_left_out_with_a_note() {
        let plan = plan("strategies:\nschedule:\nprobes: [necessary_tokens]\ntasks: [world_text, mqar]", &CATALOG);
        assert_eq!((plan.probes.len(), plan.cells.len()), (1, 0));
        assert!(plan.notes.iter().any(|note| note.contains("world_text")), "{:?}", plan.notes);
    }

    #[test]
    fn probes_look_at_the_layers_that_a_hybrid_has() {
        let lines = "strategies:\nschedule:\nmodels: [builtin:hybrid-books, builtin:neox-books]\n\
                     probes: [state_divergence, causal_split, layer_kind]\ntasks: [books_lastword]";
        let plan = plan(lines, &CATALOG);
        let looked: Vec<(&str, &str)> =
            plan.probes.iter().map(|cell| (cell.probe.name, plan.models[cell.model].reference.as_str())).collect();
        let hybrid = "builtin:hybrid-books";
        assert_eq!(
            looked,
            [("state_divergence", hybrid), ("layer_kind", hybrid), ("layer_kind", "builtin:neox-books")]
        );
        assert_eq!(plan.notes.len(), 3, "{:?}", plan.notes);
        let beside = [LayerFacts { kinds: vec![LayerKind::Mamba2, LayerKind::Attention], ..layer(false) }];
        let needs = |name: &str| probes::find(name).unwrap().needs;
        assert!(lacks(needs("layer_kind"), &beside).unwrap().contains("beside a scan"));
        assert_eq!(lacks(needs("state_divergence"), &beside), None);
    }

    #[test]
    fn a_probe_of_removals_refuses_what_does_more_before_the_run() {
        let refused = |lines: &str| {
            let text = edited(&format!("probes:\n  - kept_tokens\n  - removed_split\n{lines}"));
            let line = 1 + text.lines().position(|line| line.contains("removed_split")).unwrap();
            let experiment = load_str("t.yaml", &text, &CATALOG).unwrap_or_else(|error| panic!("{}", error.render()));
            let problem = build(&experiment, &Setting::default(), &CATALOG).map_err(|error| error.to_string());
            problem.map(|_| ()).map_err(|problem| problem.replace(&format!("on line {line} "), "here "))
        };
        let starts = |lines: &str, begins: &str, ends: &str| {
            let problem = refused(lines).unwrap_err();
            assert!(problem.starts_with(begins) && problem.contains(ends), "{problem}");
        };
        let begins = "the probe `removed_split` here cannot look at `";
        starts("strategies: [dense, state_merge]", begins, "this one lets kept tokens last longer");
        starts("strategies: [dense, split_branches]", begins, "this one keeps other tokens on the residual");
        let hybrid = "models: [builtin:hybrid-books]\ntasks: [books_lastword]\npositions: [original, compacted]";
        starts(hybrid, begins, "with `positions: compacted` a removed token has no position");
        // What is excluded is not looked at, and a recurrence reads no positions.
        assert_eq!(refused("strategies: [dense, top_k, state_merge]\nexclude: [{ strategy: state_merge }]"), Ok(()));
        assert_eq!(refused(&hybrid.replace("original, compacted", "original")), Ok(()));
    }

    #[test]
    fn an_id_holds_what_changes_rows_and_nothing_else() {
        let base = "strategies:\nschedule:\nprobes: [position]";
        let id = ids(base, &CATALOG);
        for same in ["name: other", "question: why?", "limit: 40", "protocols: [aligned]"] {
            assert_eq!(ids(&format!("{base}\n{same}"), &CATALOG), id, "{same}");
        }
        let other_options = "strategies:\nschedule:\nprobes: [{ position: { places: 3 } }]";
        let lines = ["limit: 3", "split: tune", "seed: 1"].map(|line| format!("{base}\n{line}"));
        for other in lines.into_iter().chain([other_options.to_owned()]) {
            assert_ne!(ids(&other, &CATALOG), id, "{other}");
        }
        assert_ne!(ids(base, &FakeCatalog { weights: "v", data: "d" }), id);
        assert_ne!(ids(base, &FakeCatalog { weights: "w", data: "e" }), id);
        let of =
            |keep: &str| ids(&format!("probes: [leak]\nschedule: {{ sites: paper, keep_ratio: {keep} }}"), &CATALOG);
        // The first trial is dense.
        let (a, b) = (of("0.9"), of("0.8"));
        assert!(a[0] == b[0] && a[1] != b[1]);
    }
}
