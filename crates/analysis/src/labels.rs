//! The names of rules: the strategy with whatever tells it from its siblings of the same experiment. Figures, tables and frames say the same.

use std::collections::{BTreeMap, BTreeSet};

use records::schema::{TrialKey, options_as_text};

use super::study::Study;

/// Names of all rules of an experiment.
#[derive(Clone, Debug)]
pub struct Labels {
    /// Rules of each strategy, in order of appearance.
    variants: BTreeMap<String, Vec<TrialKey>>,
    schedules: usize,
}

impl Labels {
    /// From the finished trials of a study; its baseline is called by its name alone.
    pub fn of(study: &Study) -> Self {
        let trials = study.cells.iter().filter(|cell| cell.is_done()).map(|cell| &cell.record.trial);
        Self::of_trials(trials.filter(|trial| trial.strategy != study.plan.baseline))
    }

    /// From trials, each of which may come more than once.
    pub fn of_trials<'a>(trials: impl IntoIterator<Item = &'a TrialKey>) -> Self {
        let mut variants: BTreeMap<String, Vec<TrialKey>> = BTreeMap::new();
        let mut schedules = BTreeSet::new();
        let (mut seen, mut rules) = (BTreeSet::new(), BTreeSet::new());
        for trial in trials {
            if !seen.insert(&trial.trial_id) {
                continue;
            }
            if rules.insert(rule(trial)) {
                variants.entry(trial.strategy.clone()).or_default().push(trial.clone());
            }
            if trial.sites.len() != 1 {
                schedules.insert(trial.schedule.clone());
            }
        }
        Self { variants, schedules: schedules.len() }
    }

    /// The strategy with whatever tells it from its siblings.
    pub fn label(&self, trial: &TrialKey) -> String {
        let siblings = self.siblings(&trial.strategy);
        let differs = |of: &dyn Fn(&TrialKey) -> Option<String>| siblings.iter().any(|other| of(other) != of(trial));
        let mut parts = Vec::new();
        if trial.strategy == "top_k" || differs(&|t| t.importance.clone()) {
            parts.extend(trial.importance.clone());
        }
        if differs(&|t| t.importance_source.clone()) {
            parts.extend(trial.importance_source.clone().map(|source| format!("of {source}")));
        }
        // The importance and its source are named above. Where signals come from is one choice for all rules of an experiment: a rule has
        // one name in all models, whether a layer lacks what it reads or not.
        let known = ["importance", "source", "signal_from"];
        let further = options(trial).into_iter().filter(|(name, _)| !known.contains(&name.as_str()));
        for (name, value) in further {
            if differs(&|t| options(t).get(&name).cloned()) {
                parts.push(format!("{name}={value}"));
            }
        }
        if self.schedules > 1 && trial.sites.len() != 1 {
            parts.push(trial.schedule.clone());
        }
        if parts.is_empty() { trial.strategy.clone() } else { format!("{} ({})", trial.strategy, parts.join(", ")) }
    }

    /// The labels of all trials of a study, by id.
    pub(crate) fn by_trial<'a>(&self, study: &'a Study) -> BTreeMap<&'a str, String> {
        let mut labels = BTreeMap::new();
        // Many trials are of one rule.
        let mut known: BTreeMap<(String, &str, bool), String> = BTreeMap::new();
        for trial in study.cells.iter().map(|cell| &cell.record.trial) {
            if !labels.contains_key(trial.trial_id.as_str()) {
                let key = (rule(trial), trial.schedule.as_str(), trial.sites.len() == 1);
                let label = known.entry(key).or_insert_with(|| self.label(trial));
                labels.insert(trial.trial_id.as_str(), label.clone());
            }
        }
        labels
    }

    /// Rules of a strategy, in order of appearance.
    pub fn siblings(&self, strategy: &str) -> &[TrialKey] {
        self.variants.get(strategy).map_or(&[], Vec::as_slice)
    }

    /// Names of the strategies, in alphabetical order.
    pub fn strategies(&self) -> impl Iterator<Item = &str> {
        self.variants.keys().map(String::as_str)
    }
}

/// What figures and tables call a model: its reference without where it comes from. `hub:state-spaces/mamba2-2.7b@main` is `mamba2-2.7b`;
/// random weights are called so.
pub fn model_name(reference: &str) -> String {
    let (scheme, name) = match reference.split_once(':') {
        Some((scheme @ ("builtin" | "hub" | "random"), name)) => (scheme, name),
        _ => ("", reference),
    };
    let name = name.trim_end_matches('/');
    let name = if scheme.is_empty() { name } else { name.split('@').next().unwrap_or(name) };
    let short = name.rsplit('/').next().filter(|short| !short.is_empty()).unwrap_or(reference);
    if scheme == "random" { format!("{short} (random)") } else { short.to_owned() }
}

/// Short names of tasks, in their order: without the words that all of them begin with, up to a `_`. `world_piqa` and `world_recall` are
/// `piqa` and `recall`.
pub fn task_names<'a>(tasks: &[&'a str]) -> Vec<&'a str> {
    let Some(first) = tasks.first().filter(|_| tasks.len() > 1) else { return tasks.to_vec() };
    let ends = first.match_indices('_').map(|(at, _)| at + 1);
    let shared = ends.filter(|&end| tasks.iter().all(|task| task.len() > end && task.starts_with(&first[..end]))).max();
    tasks.iter().map(|task| &task[shared.unwrap_or(0)..]).collect()
}

/// What makes two trials the same rule, whatever they reduce and where.
pub fn rule(trial: &TrialKey) -> String {
    format!("{:?}", (&trial.strategy, &trial.importance, &trial.importance_source, options(trial)))
}

/// Options of a strategy, without a seed.
fn options(trial: &TrialKey) -> BTreeMap<String, String> {
    let mut options = options_as_text(&trial.strategy_params);
    options.remove("seed");
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_called_without_its_place() {
        let named =
            ["builtin:mamba2-world", "hub:state-spaces/mamba2-2.7b@main", "random:mamba2-2.7b@3", "/models/mine/", "x"];
        let names = named.map(model_name);
        assert_eq!(names, ["mamba2-world", "mamba2-2.7b", "mamba2-2.7b (random)", "mine", "x"]);
    }

    #[test]
    fn tasks_lose_what_they_have_in_common() {
        assert_eq!(task_names(&["world_piqa", "world_arc_easy"]), ["piqa", "arc_easy"]);
        assert_eq!(task_names(&["world_arc_challenge", "world_arc_easy"]), ["challenge", "easy"]);
        assert_eq!(task_names(&["arc_easy", "piqa"]), ["arc_easy", "piqa"]);
        assert_eq!(task_names(&["world_piqa"]), ["world_piqa"]);
        assert_eq!(task_names(&["a_", "a_b"]), ["a_", "a_b"]);
    }
}
